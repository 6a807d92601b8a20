"""Derivatives on request: ``backward`` and ``grad``, and the switches of recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import dtypes, kernels, tape
from .errors import DTypeError, GradientError
from .grad_mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    mode,
    no_grad,
    set_grad_enabled,
)
from .tape import CONSTANT, Node, _accumulate, run

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = [
    "backward", "enable_grad", "grad", "inference_mode", "is_grad_enabled", "no_grad",
    "set_grad_enabled",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # They stand on tensors, which stand on this module.
    if name == "Function":
        from .function import Function

        return Function
    if name in ("functional", "gradcheck"):
        from . import functional, testing

        return functional if name == "functional" else testing.gradcheck
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_ONES = {d: np.ones((), d) for d in dtypes.FLOATING}


def conj(g: Tensor, recorded: bool | None = None) -> Tensor:
    """A complex gradient in the other convention: PyTorch's outside of the tape, inside the one of
    ``ops.complexes``. A real one is the same in both. recorded: whether the conjugation is;
    None: as everything else."""
    if g._array.dtype.kind != "c":
        return g
    from .ops.complexes import conj

    if recorded is None or recorded == mode.enabled:
        return conj(g)
    with set_grad_enabled(recorded):
        return conj(g)


def outside(hook: Callable) -> Callable:
    """A hook on the complex gradient inside the tape, called with the one that users know."""

    def turned(g: Tensor) -> Tensor | None:
        replaced = hook(conj(g))
        return None if replaced is None else conj(replaced)

    return turned


def root(y: Tensor, g: Tensor | None) -> tuple[Node, Tensor]:
    """Where a pass from y starts, and with what."""
    try:
        node = y._node
    except AttributeError:
        raise DTypeError(f"backward: expects tensors, got {type(y).__name__}") from None
    if node is None or node.rule is CONSTANT:
        raise GradientError(
            f"backward: a tensor of shape {y.shape} does not require grad and was not "
            "computed from one that does"
        )
    a = y._array
    if g is None:
        if a.size != 1:
            raise GradientError(
                f"backward: a gradient must be given for an output of shape {y.shape}; only "
                "an output of one element has an implicit gradient of 1"
            )
        one = _ONES.get(a.dtype)
        if one is None:
            raise GradientError(f"backward: a gradient must be given for an output of {a.dtype}")
        return node, tape.new_tensor(kernels.of(a).full(a.shape, a.dtype, one))
    b = g._array
    if b.shape != node.shape or (b.dtype is not a.dtype and b.dtype != a.dtype):
        raise GradientError(
            f"backward: the gradient has shape {g.shape} and dtype {g.dtype}, "
            f"but the output has shape {y.shape} and dtype {y.dtype}"
        )
    return node, g if b.dtype.kind != "c" else conj(g)


def _listed(x: Any) -> list:
    return list(x) if isinstance(x, (tuple, list)) else [x]


def _roots(op: str, outputs: Any, cotangents: Any) -> tuple[list[Node], list[Tensor]]:
    ys = _listed(outputs)
    gs = [None] * len(ys) if cotangents is None else _listed(cotangents)
    if len(gs) != len(ys):
        raise GradientError(f"{op}: {len(ys)} outputs, but {len(gs)} gradients")
    starts = [root(y, g) for y, g in zip(ys, gs, strict=True)]
    return [n for n, _ in starts], [g for _, g in starts]


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Accumulates the gradients of tensors into the ``.grad`` of leaves.

    tensors: outputs of any shape; grad_tensors: one cotangent per output, same shape and dtype,
    or None for real outputs of one element. The gradient of a complex z = x + i y is dL/dx + i
    dL/dy. retain_graph (default: create_graph) keeps saved values for
    another pass. create_graph records the pass itself, for higher derivatives. inputs restricts the
    accumulation to these leaves. Raises GradientError.

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> tg.autograd.backward((x * x).sum())
    >>> x.grad
    tensor([2., 4.])
    """
    keep = create_graph if retain_graph is None else retain_graph
    roots = _roots("backward", tensors, grad_tensors)
    if inputs is None:
        run(*roots, None, keep, create_graph)
        return
    leaves = [t for t in _listed(inputs) if t._node is not None]
    found = run(*roots, [t._node for t in leaves], keep, create_graph)
    for t in leaves:
        if t._node in found:
            g = found.pop(t._node)
            if t._node.rule is None:
                _accumulate(t._node, g, create_graph)
                continue
            g = conj(g, create_graph)
            t.grad = t.grad + g if t.grad is not None else g if create_graph else g.clone()


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    *,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of outputs with respect to inputs, as a tuple; ``.grad`` is not touched.

    Shapes and dtypes are those of inputs. Raises GradientError when an input does not require grad,
    or does not lead to an output and allow_unused is false; else its gradient is None, or zeros
    where materialize_grads is set, which allows unused inputs. only_inputs has no effect.

    >>> import tilegrad as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> (g,) = tg.autograd.grad(x**3, x, create_graph=True)
    >>> tg.autograd.grad(g, x)
    (tensor(18.),)
    """
    xs = _listed(inputs)
    for i, x in enumerate(xs):
        if x._node is None:
            raise GradientError(f"grad: input {i} of shape {x.shape} does not require grad")
    keep = create_graph if retain_graph is None else retain_graph
    roots = _roots("grad", outputs, grad_outputs)
    found = run(*roots, [x._node for x in xs], keep, create_graph)
    for i, x in enumerate(xs):
        if x._node not in found and not (allow_unused or materialize_grads):
            raise GradientError(
                f"grad: input {i} of shape {x.shape} was not used to compute the outputs; pass "
                "allow_unused=True to get None for it"
            )
    gradients: list[Tensor | None] = []
    for x in xs:
        g = found.get(x._node)
        if g is None:
            gradients.append(x.new_zeros(x.shape) if materialize_grads else None)
        else:
            gradients.append(g if x._node.rule is None else conj(g, create_graph))
    return tuple(gradients)
