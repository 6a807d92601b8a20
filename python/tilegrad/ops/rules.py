"""How ops state their derivatives, and how they are recorded.

Each op states its derivative once, as tilegrad ops, so that it can be differentiated again:
``elementwise`` (a linear map per input, which serves as vjp and jvp), ``linear`` (its transpose),
``bilinear`` (a map per operand) or ``explicit``. A *fused* gradient kernel, where one is named,
replaces the composite whenever the backward pass itself is not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..errors import DTypeError, GradientError
from ..errors import IndexError as TgIndexError
from ..errors import ValueError as TgValueError
from ..grad_mode import mode
from ..recording import constants
from ..tape import Rule, attach, new_tensor
from ..tensor import Tensor

_new: Callable[..., Tensor] = new_tensor
_SUM = 0  # REDUCE.index("sum")

RULES: dict[str, Rule] = {}
"""Every rule by the name of its op."""


def record(rule: Rule, array: Any, inputs: Sequence[Tensor | None], params: Any = None) -> Tensor:
    """The result ``array`` of an op as a Tensor, on the tape where an input requires grad."""
    out = _new(array)
    for t in inputs:
        if t is not None and t._node is not None:
            if not mode.enabled:
                return out
            return attach(
                out, rule, inputs, [None if t is None else t._node for t in inputs], params
            )
    return out


def record_view(rule: Rule, array: Any, x: Tensor, params: Any = None) -> Tensor:
    """As record, for an array that views the storage of x."""
    out = x._view(array)
    if x._node is not None and mode.enabled:
        return attach(out, rule, (x,), (x._node,), params)
    return out


def _register(rule: Rule) -> Rule:
    if rule.name in RULES:
        raise GradientError(f"two rules are named {rule.name}")
    RULES[rule.name] = rule
    return rule


def stretched(a: Any, shape: tuple[int, ...]) -> Any:
    """``np.broadcast_to``, without its cost where the array is contiguous: the result is read-only
    and has stride 0 along stretched axes."""
    if not (a.flags.c_contiguous and a.dtype.kind == "f"):
        return np.broadcast_to(a, shape)
    lead = len(shape) - a.ndim
    strides = [
        0 if i < lead or a.shape[i - lead] != n else a.strides[i - lead]
        for i, n in enumerate(shape)
    ]
    y = np.ndarray(shape, a.dtype, a, 0, strides)
    y.flags.writeable = False
    return y


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """g summed over the axes along which ``shape`` was stretched by broadcasting."""
    have = g._array.shape
    if have == shape:
        return g
    lead = len(have) - len(shape)
    axes = tuple(i for i in range(len(have)) if i < lead or (shape[i - lead] == 1 and have[i] != 1))
    a = kernels.of(g._array).reduce(_SUM, g._array, axes, True)
    return record(SUM_TO, a.reshape(shape), (g,), have)


def _sum_to_vjp(g: Tensor, need: Any, inputs: Any, out: Any, have: Any, nodes: Any) -> Any:
    return (record_view(BROADCAST, stretched(g._array, have), g),)


def _broadcast_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    return (sum_to(g, nodes[0].shape),)


SUM_TO = _register(Rule("sum_to", (), _sum_to_vjp))
BROADCAST = _register(Rule("broadcast_to", (), _broadcast_vjp))


def elementwise(
    name: str,
    *derivatives: Callable | None,
    saves: Sequence[int] = (),
    fused: Callable | None = None,
) -> Rule:
    """derivatives[i](t, *inputs, out, *params) is the i-th partial derivative applied to t, a
    cotangent or a tangent; None where it is zero. fused: see ``tape.Rule``."""

    def vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
        grads: list[Tensor | None] = []
        for i, wanted in enumerate(need):
            if not wanted:
                grads.append(None)
                continue
            d, shape = derivatives[i], nodes[i].shape
            if d is None:
                grads.append(zeros(shape, g.dtype))
                continue
            t = d(g, *inputs, out) if params is None else d(g, *inputs, out, *params)
            grads.append(t if t._array.shape == shape else sum_to(t, shape))
        return grads

    def vjp_of_one(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
        if first is None:
            return (zeros(nodes[0].shape, g.dtype),)
        return (first(g, inputs[0], out, *(params or ())),)

    def jvp(tangents: Any, inputs: Any, out: Tensor, params: Any) -> Tensor:
        shape, total = out._array.shape, None
        for d, t in zip(derivatives, tangents, strict=True):
            if d is not None and t is not None:
                part = d(t, *inputs, out, *(params or ()))
                total = part if total is None else total + part
        if total is None:
            return zeros(shape, out.dtype)
        if total._array.shape == shape:
            return total
        return record_view(BROADCAST, stretched(total._array, shape), total)

    first = derivatives[0]
    if len(derivatives) == 1:
        vjp = vjp_of_one
    return _register(Rule(name, tuple(saves), vjp, fused, jvp))


def linear(name: str, transpose: Callable) -> Rule:
    """An op linear in its one input: transpose(g, params, shape of the input)."""

    def vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> tuple:
        return (transpose(g, params, nodes[0].shape),)

    return _register(Rule(name, (), vjp))


def bilinear(
    name: str,
    left: Callable,
    right: Callable,
    bias: Callable | None = None,
    fused: Callable | None = None,
) -> Rule:
    """An op linear in each of two operands: left(g, b, params, shape of a) is the gradient of a,
    right(g, a, params, shape of b) that of b; bias(g, params) that of an added third one. fused:
    see ``tape.Rule``."""

    def vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> list:
        grads = [
            left(g, inputs[1], params, nodes[0].shape) if need[0] else None,
            right(g, inputs[0], params, nodes[1].shape) if need[1] else None,
        ]
        if len(need) > 2:
            grads.append(bias(g, params) if need[2] and bias is not None else None)
        return grads

    return _register(Rule(name, (0, 1), vjp, fused))


def explicit(
    name: str, vjp: Callable, saves: Sequence[int] = (), fused: Callable | None = None
) -> Rule:
    """vjp(g, need, inputs, out, params, nodes) -> one gradient or None per input, as tilegrad ops;
    fused: see ``tape.Rule``."""
    return _register(Rule(name, tuple(saves), vjp, fused))


def refused(name: str, why: str) -> Rule:
    """An op without a derivative: raises, by name, when a gradient would have to pass."""

    def vjp(*args: Any) -> Any:
        raise GradientError(f"{name}: {why}")

    return _register(Rule(name, (), vjp))


def constant(array: Any) -> Tensor:
    """A result through which no gradient passes by definition (comparisons, argmax ...)."""
    return _new(array)


@constants
def zeros(shape: tuple[int, ...], dtype: np.dtype) -> Tensor:
    """Zeros from the kernel pool."""
    return _new(kernels.for_dtype(dtype).full(shape, dtype, np.zeros((), dtype)))


_scalars: dict[Any, Any] = {}


@constants
def scalar(value: Any, dtype: np.dtype, op: str = "tensor") -> Tensor:
    """A Python or NumPy number as a 0-d tensor of the given dtype."""
    key = (value.__class__, value, dtype)
    a = _scalars.get(key)
    if a is None:
        try:
            with np.errstate(all="ignore"):
                a = np.asarray(value).astype(dtype) if dtype.kind not in "iu" else None
                a = np.array(value, dtype) if a is None else a
        except OverflowError as e:
            raise TgValueError(f"{op}: {value} is out of range for {dtype}") from e
        except (TypeError, ValueError):
            raise DTypeError(f"{op}: {value!r} is not a number of dtype {dtype}") from None
        a.flags.writeable = False
        if value and len(_scalars) < 1000:  # 0.0 and -0.0 are equal keys
            _scalars[key] = a
    return _new(a)


def convert(x: Tensor, dtype: np.dtype) -> Tensor:
    """x in another dtype; recorded between those that carry gradients. Complex numbers raise
    DTypeError rather than lose a part: see ``cast``."""
    a = x._array
    if a.dtype == dtype:
        return x
    if a.dtype.kind == "c" and dtype.kind not in "cb":
        raise DTypeError(f"{a.dtype} is not converted to {dtype}; take the real part or abs()")
    return cast(x, dtype)


def cast(x: Tensor, dtype: np.dtype) -> Tensor:
    """As convert, but a complex number becomes its real part."""
    a = x._array
    if a.dtype == dtype:
        return x
    y = kernels.for_dtype(dtype if dtype.kind == "c" else a.dtype).cast(a, dtype)
    if dtypes.is_differentiable(a.dtype) and dtypes.is_differentiable(dtype):
        return record(CAST, y, (x,), a.dtype)
    return _new(y)


# Of a complex cotangent, a real tensor takes the real part.
CAST = linear("to", lambda g, dtype, shape: cast(g, dtype))


def as_operand(x: Any, op: str, name: str = "input") -> Tensor:
    """A tensor, an array or a number as a Tensor; arrays share memory. name: of the argument."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, (bool, int, float, complex, np.generic)):
        return scalar(x, dtypes.scalar_dtype(x), op)
    if isinstance(x, np.ndarray):
        from ..tensor import from_numpy

        return from_numpy(x)
    raise DTypeError(f"{op}: {name} must be a tensor, array or number, got {type(x).__name__}")


def assigned(op: str, value: Any, dtype: np.dtype) -> Tensor:
    """What is written into a tensor of a dtype, converted to that; a number is rounded once."""
    if isinstance(value, float) and dtypes.is_floating(dtype):
        return scalar(value, dtype, op)
    (x,) = promote(op, value)
    if x.dtype.kind == "c" != dtype.kind:
        raise DTypeError(f"{op}: a tensor of {dtype} cannot hold values of {x.dtype}")
    return convert(x, dtype)


def real_numbers(op: str, x: Tensor) -> Tensor:
    """x, unless it is complex: of what would go on to compute something else."""
    if x._array.dtype.kind == "c":
        raise DTypeError(f"{op}: expects a real tensor, got {x.dtype}")
    return x


def result_type(*operands: Any) -> np.dtype:
    """The promoted dtype of tensors, arrays and numbers, by PyTorch's rules.

    >>> import tilegrad as tg
    >>> tg.result_type(tg.tensor([1, 2]), 0.5)
    dtype('float32')
    """
    kinds: list[np.dtype | None] = [None, None, None]
    for x in operands:
        if isinstance(x, (Tensor, np.ndarray)):
            d, k = x.dtype, 1 if x.ndim == 0 else 0
        elif isinstance(x, np.dtype):
            d, k = x, 0
        else:
            try:
                d, k = dtypes.scalar_dtype(x), 2
            except DTypeError as e:
                what = "input" if x is operands[0] else "operand"
                raise DTypeError(f"result_type: {what} {e}") from None
        before = kinds[k]
        kinds[k] = d if before is None else dtypes.promote_types(before, d)
    r = dtypes.combine(*kinds)
    if r is None:
        raise DTypeError("result_type: expects at least one operand")
    return r


def promote(op: str, *operands: Any, floating: bool = False) -> list[Tensor]:
    """The operands as tensors of their common dtype (at least the default floating one when
    ``floating``)."""
    try:
        dtype = result_type(*operands)
    except DTypeError as e:
        raise DTypeError(f"{op}: {str(e).removeprefix('result_type: ')}") from None
    if floating and not dtypes.is_floating(dtype) and dtype.kind != "c":
        dtype = dtypes.get_default_dtype()
    out = []
    for x in operands:
        if isinstance(x, (Tensor, np.ndarray)):
            out.append(convert(as_operand(x, op), dtype))
        else:
            out.append(scalar(x, dtype, op))
    return out


def number(x: Any, op: str, name: str, low: float | None = None, high: float = np.inf) -> float:
    """A parameter as a float; low: it must lie in [low, high]."""
    try:
        value = float(x)
    except (TypeError, ValueError):
        raise DTypeError(f"{op}: {name} must be a number, got {x!r} ({type(x).__name__})") from None
    if low is not None and not low <= value <= high:
        what = f"lie in [{low:g}, {high:g}]" if high < np.inf else f"be at least {low:g}"
        raise TgValueError(f"{op}: {name} must {what}, got {x}")
    return value


def sizes_of(args: tuple[Any, ...], op: str) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` alike as a tuple of ints."""
    if len(args) == 1 and isinstance(args[0], (tuple, list)):
        args = tuple(args[0])
    try:
        return tuple([index(n) for n in args])
    except TypeError:
        raise DTypeError(f"{op}: sizes and dims must be ints, got {args}") from None


def axes_of(dim: Any, ndim: int, op: str) -> tuple[int, ...]:
    """dim (None, an int or a sequence; negative counts from the end) as a sorted tuple."""
    if dim is None:
        return tuple(range(ndim))
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    axes = sorted(axis_of(d, ndim, op) for d in dims)
    if len(set(axes)) != len(axes):
        raise TgValueError(f"{op}: dim {tuple(dims)} names an axis twice")
    return tuple(axes) if ndim else ()  # as in PyTorch, dim 0 of a 0-d tensor is no axis


def either(op: str, dim: Any, axis: Any) -> Any:
    """The argument that has two names."""
    if axis is not None and dim is not None:
        raise TgValueError(f"{op}: dim and axis are two names for one argument; give one")
    return dim if axis is None else axis


def axis_of(dim: Any, ndim: int, op: str) -> int:
    """One axis as a non-negative int."""
    try:
        d = index(dim)
    except TypeError:
        d = None
    if d is None or isinstance(dim, bool):
        raise DTypeError(f"{op}: dim must be an int, got {type(dim).__name__}")
    bound = max(ndim, 1)
    if not -bound <= d < bound:
        raise TgIndexError(f"{op}: dim {d} is out of range for a tensor of {ndim} dimensions")
    return d % bound
