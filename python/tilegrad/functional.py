"""``tilegrad.autograd.functional``: derivatives at a point, with PyTorch's arguments. ``func`` has
the same as functions of functions, which nest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import func as transforms
from .errors import ShapeError
from .errors import ValueError as TgValueError
from .grad_mode import mode, set_grad_enabled
from .tensor import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _like(inputs: Any, values: tuple[Any, ...]) -> Any:
    return values if isinstance(inputs, (tuple, list)) else values[0]


def _directions(op: str, v: Any, like: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """v, or ones where it may be left out: for one element."""
    if v is not None:
        return _tuple(v)
    if len(like) != 1 or like[0]._array.size != 1:
        raise ShapeError(f"{op}: v may be left out for one element only, got {like[0].shape}")
    return (like[0].new_ones(like[0].shape),)


def _recording(create_graph: bool) -> set_grad_enabled:
    return set_grad_enabled(mode.enabled and create_graph)


def jacobian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The derivatives of every output element in every input element: (*output, *input).

    inputs: a floating tensor or a tuple of them; several inputs or outputs give tuples, outputs
    outside. create_graph: the result can be differentiated. strategy: "reverse-mode" or
    "forward-mode"; strict and vectorize are accepted and have no effect. Raises ValueError,
    DTypeError.

    >>> import tilegrad as tg
    >>> tg.autograd.functional.jacobian(lambda x: x * x, tg.tensor([1.0, 3.0]))
    tensor([[2., 0.],
            [0., 6.]])
    """
    ways = {"reverse-mode": transforms.jacrev, "forward-mode": transforms.jacfwd}
    if strategy not in ways:
        raise TgValueError(f"jacobian: strategy must be one of {list(ways)}, got {strategy!r}")
    xs = _tuple(inputs)
    argnums: Any = tuple(range(len(xs))) if isinstance(inputs, (tuple, list)) else 0
    with _recording(create_graph):
        return ways[strategy](func, argnums)(*xs)


def hessian(
    func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False,
    vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """The second derivatives of func, which returns one element: (*input, *input), for several
    inputs a tuple of tuples. Arguments and errors as for jacobian.

    >>> import tilegrad as tg
    >>> tg.autograd.functional.hessian(lambda x: x.prod(), tg.tensor([2.0, 5.0]))
    tensor([[0., 1.],
            [1., 0.]])
    """
    xs = _tuple(inputs)
    argnums: Any = tuple(range(len(xs))) if isinstance(inputs, (tuple, list)) else 0
    with _recording(create_graph):
        return jacobian(transforms.grad(func, argnums), inputs, create_graph,
                        strategy=outer_jacobian_strategy)  # fmt: skip


def vjp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(outputs, v times the Jacobian). v: like the outputs; may be left out for one element.

    >>> import tilegrad as tg
    >>> tg.autograd.functional.vjp(lambda x: (x * x).sum(), tg.tensor([1.0, 3.0]))
    (tensor(10.), tensor([2., 6.]))
    """
    xs = _tuple(inputs)
    with _recording(create_graph):
        y, pull = transforms.vjp(func, *xs)
        cotangents = _directions("vjp", v, tuple(transforms.leaves(y)))
        return y, _like(inputs, pull(transforms.rebuilt(y, cotangents)))


def jvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(outputs, the Jacobian times v), by forward mode. v: like the inputs.

    >>> import tilegrad as tg
    >>> tg.autograd.functional.jvp(lambda x: x * x, tg.tensor(3.0))
    (tensor(9.), tensor(6.))
    """
    xs = _tuple(inputs)
    with _recording(create_graph):
        return transforms.jvp(func, xs, _directions("jvp", v, xs))  # type: ignore[return-value]


def hvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(output, the Hessian times v) of func, which returns one element. v: like the inputs.

    >>> import tilegrad as tg
    >>> x, v = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 0.0])
    >>> tg.autograd.functional.hvp(lambda x: (x**3).sum(), x, v)
    (tensor(9.), tensor([6., 0.]))
    """
    xs = _tuple(inputs)
    argnums = tuple(range(len(xs)))
    with _recording(create_graph):
        (y, _), (_, product) = transforms.jvp(
            transforms.value_and_grad(func, argnums), xs, _directions("hvp", v, xs)
        )
        return y, _like(inputs, product)


def vhp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """As hvp: the Hessian is symmetric.

    >>> import tilegrad as tg
    >>> tg.autograd.functional.vhp(lambda x: x**3, tg.tensor(2.0))
    (tensor(8.), tensor(12.))
    """
    return hvp(func, inputs, v, create_graph, strict)
