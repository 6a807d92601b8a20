"""Reductions over any axes: sums, products, means, extremes, running sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import dtypes, kernels
from ..errors import DTypeError
from ..grad_mode import mode
from ..kernels import contract
from ..tensor import Tensor
from .binary import maximum, minimum
from .index import take_along_dim
from .join import cat, flip
from .rules import (
    as_operand,
    axes_of,
    axis_of,
    constant,
    convert,
    either,
    explicit,
    linear,
    record,
    stretched,
)
from .shape import expand, reshape, unsqueeze
from .slicing import narrow

_OP = {name: i for i, name in enumerate(contract.REDUCE)}


def _kept(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def spread(t: Tensor, axes: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """A reduced tensor, its axes back (with or without keepdim), stretched to ``shape``."""
    if mode.enabled and t._node is not None:
        return expand(reshape(t, _kept(shape, axes)), shape)
    return Tensor._new(stretched(t._array.reshape(_kept(shape, axes)), shape))


def arguments(
    op: str, input: Any, dim: Any, keepdim: bool, axis: Any, keepdims: bool | None
) -> tuple[Tensor, tuple[int, ...], bool]:
    """The tensor, the sorted axes and keepdim, under either spelling."""
    x = as_operand(input, op)
    keep = keepdim if keepdims is None else keepdims
    return x, axes_of(either(op, dim, axis), x.ndim, op), bool(keep)


def length(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    """How many elements one result is made of."""
    return math.prod(shape[i] for i in axes)


SUM = linear("sum", lambda g, axes, shape: spread(g, axes, shape))


def sum(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The sum over the axes dim (an int, a tuple, or None for all).

    input: any shape and dtype; integers and bool sum to int64. keepdim leaves the axes with length
    1. dtype: converts before summing. axis and keepdims are other names for dim and keepdim.
    Raises IndexError for an axis out of range.

    >>> import tilegrad as tg
    >>> tg.sum(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), 0)
    tensor([4., 6.])
    """
    x, axes, keep = arguments("sum", input, dim, keepdim, axis, keepdims)
    if dtype is not None:
        x = convert(x, dtypes.dtype(dtype))
    a = kernels.of(x._array).reduce(_OP["sum"], x._array, axes, keep)
    return _as_asked(record(SUM, a, (x,), axes), dtype)


def _as_asked(y: Tensor, dtype: Any) -> Tensor:
    """The dtype asked for, where the kernel counts short integers in int64."""
    return y if dtype is None else convert(y, dtypes.dtype(dtype))


def mean(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The arithmetic mean over the axes dim; NaN over nothing. Arguments as for sum.

    Raises DTypeError for integers; give dtype to convert them.

    >>> import tilegrad as tg
    >>> tg.mean(tg.tensor([1.0, 2.0, 6.0]))
    tensor(3.)
    """
    x, axes, keep = arguments("mean", input, dim, keepdim, axis, keepdims)
    if dtype is not None:
        x = convert(x, dtypes.dtype(dtype))
    if not dtypes.is_differentiable(x.dtype):
        raise DTypeError(f"mean: expects a floating tensor, got {x.dtype}; pass dtype=")
    d = x.dtype
    wide = convert(x, dtypes.float32) if d.itemsize == 2 else x  # a half sum could overflow
    return convert(sum(wide, axes, keep) / length(x.shape, axes), d)


def _product_of_others(x: Tensor, axis: int) -> Tensor:
    """For every element the product of the others along axis, without a division."""
    n = x.shape[axis]
    if n == 1:
        return x * 0 + 1
    half = n // 2
    left, right = narrow(x, axis, 0, half), narrow(x, axis, half, n - half)
    return cat(
        [
            _product_of_others(left, axis) * _prod(right, (axis,), True),
            _product_of_others(right, axis) * _prod(left, (axis,), True),
        ],
        axis,
    )


def _prod_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axes: Any, nodes: Any) -> tuple:
    (x,) = inputs
    if x._array.size == 0 or not axes:
        return (spread(g, axes, x.shape),)
    # The reduced axes as one, in front of the others.
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    order = (*axes, *rest)
    moved = x.permute(order)
    flat = reshape(moved, (-1, *[x.shape[i] for i in rest]))
    back = [order.index(i) for i in range(x.ndim)]
    others = reshape(_product_of_others(flat, 0), moved.shape).permute(back)
    return (spread(g, axes, x.shape) * others,)


PROD = explicit("prod", _prod_vjp, saves=(0,))


def _prod(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    a = kernels.of(x._array).reduce(_OP["prod"], x._array, axes, keep)
    return record(PROD, a, (x,), axes)


def prod(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The product over the axes dim, 1 over nothing. Arguments as for sum; exact at zeros.

    >>> import tilegrad as tg
    >>> tg.prod(tg.tensor([2.0, 3.0, 4.0]))
    tensor(24.)
    """
    x, axes, keep = arguments("prod", input, dim, keepdim, axis, keepdims)
    x = x if dtype is None else convert(x, dtypes.dtype(dtype))
    return _as_asked(_prod(x, axes, keep), dtype)


def _extreme_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axes: Any, nodes: Any) -> tuple:
    (x,) = inputs
    ties = x == spread(out.detach(), axes, x.shape)
    share = sum(ties, axes, True)
    return (spread(g, axes, x.shape) * ties / share,)


AMAX = explicit("amax", _extreme_vjp, saves=(0, -1))
AMIN = explicit("amin", _extreme_vjp, saves=(0, -1))


def _over_axes(name: str, kernel: str, rule: Any, doc: str) -> Callable[..., Tensor]:
    """A reduction with no arguments of its own; rule None: no gradient passes."""
    op = _OP[kernel]

    def fn(
        input: Any,
        dim: Any = None,
        keepdim: bool = False,
        *,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> Tensor:
        x, axes, keep = arguments(name, input, dim, keepdim, axis, keepdims)
        a = kernels.of(x._array).reduce(op, x._array, axes, keep)
        return constant(a) if rule is None else record(rule, a, (x,), axes)

    return _documented(fn, name, doc)


def _documented(fn: Callable, name: str, doc: str) -> Callable:
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    return fn


amax = _over_axes(
    "amax",
    "max",
    AMAX,
    """The maximum over the axes dim; NaN wins. Ties share the gradient equally.

    input: any real dtype. Raises ValueError over nothing.

    >>> import tilegrad as tg
    >>> tg.amax(tg.tensor([[1, 5], [3, 2]]), 1)
    tensor([5, 3])
    """,
)
amin = _over_axes(
    "amin",
    "min",
    AMIN,
    """The minimum over the axes dim; NaN wins. Ties share the gradient equally.

    input: any real dtype. Raises ValueError over nothing.

    >>> import tilegrad as tg
    >>> tg.amin(tg.tensor([[1, 5], [3, 2]]), 1)
    tensor([1, 2])
    """,
)
any = _over_axes(
    "any",
    "any",
    None,
    """Whether any element over the axes dim is non-zero, as bool; false over nothing.

    >>> import tilegrad as tg
    >>> tg.any(tg.tensor([[0, 0], [0, 1]]), 1)
    tensor([False,  True])
    """,
)
all = _over_axes(
    "all",
    "all",
    None,
    """Whether all elements over the axes dim are non-zero, as bool; true over nothing.

    >>> import tilegrad as tg
    >>> tg.all(tg.tensor([[1, 1], [0, 1]]), 1)
    tensor([ True, False])
    """,
)


class ValuesIndices(NamedTuple):
    """What max and min along one axis return."""

    values: Tensor
    indices: Tensor


def _extreme(op: str, args: tuple, kwargs: dict, *forms_of: Callable) -> Any:
    whole, pair, position = forms_of

    def forms(
        input: Any,
        dim: Any = None,
        keepdim: bool = False,
        *,
        other: Any = None,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> Any:
        if isinstance(dim, Tensor):
            dim, other = None, dim
        if other is not None:
            return pair(input, other)
        dim = either(op, dim, axis)
        keepdim = keepdim if keepdims is None else keepdims
        if dim is None:
            return whole(input, keepdim=keepdim)
        x = as_operand(input, op)
        at = axis_of(dim, x.ndim, op)
        index = position(x, at, True)
        values = take_along_dim(x, index, at) if x.ndim else x
        if not keepdim and x.ndim:
            shape = tuple([n for i, n in enumerate(x.shape) if i != at])
            values, index = reshape(values, shape), reshape(index, shape)
        return ValuesIndices(values, index)

    return forms(*args, **kwargs)


def max(input: Any, *args: Any, **kwargs: Any) -> Any:
    """Three forms: ``max(x)``, the maximum of all; ``max(x, dim, keepdim=False)``, the named tuple
    (values, indices) along one axis, where the first extreme takes the gradient; ``max(x, other)``,
    element by element.

    >>> import tilegrad as tg
    >>> tg.max(tg.tensor([[1.0, 5.0], [3.0, 2.0]]), 1).indices
    tensor([1, 0])
    """
    return _extreme("max", (input, *args), kwargs, amax, maximum, argmax)


def min(input: Any, *args: Any, **kwargs: Any) -> Any:
    """Three forms: ``min(x)``, the minimum of all; ``min(x, dim, keepdim=False)``, the named tuple
    (values, indices) along one axis, where the first extreme takes the gradient; ``min(x, other)``,
    element by element.

    >>> import tilegrad as tg
    >>> tg.min(tg.tensor([[1.0, 5.0], [3.0, 2.0]]), 1).values
    tensor([1., 2.])
    """
    return _extreme("min", (input, *args), kwargs, amin, minimum, argmin)


_ARG = {name: i for i, name in enumerate(contract.ARG_REDUCE)}


def _position(name: str, doc: str) -> Callable[..., Tensor]:
    """The index of an extreme."""
    op = _ARG[name]

    def fn(
        input: Any,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool | None = None,
    ) -> Tensor:
        x, dim = as_operand(input, name), either(name, dim, axis)
        keepdim = keepdim if keepdims is None else keepdims
        if dim is None:
            flat = reshape(x.detach(), -1)
            a = kernels.of(x._array).arg_reduce(op, flat._array, 0, False)
            return constant(a.reshape((1,) * x.ndim) if keepdim else a)
        if x.ndim == 0:
            x = reshape(x.detach(), 1)
            dim, keepdim = 0, False
        at = axis_of(dim, x.ndim, name)
        return constant(kernels.of(x._array).arg_reduce(op, x._array, at, keepdim))

    return _documented(fn, name, doc)


argmax = _position(
    "argmax",
    """The index (int64) of the first maximum along dim, or in the flattened tensor; NaN counts as
    the maximum. Raises ValueError over nothing.

    >>> import tilegrad as tg
    >>> tg.argmax(tg.tensor([1.0, 7.0, 7.0]))
    tensor(1)
    """,
)
argmin = _position(
    "argmin",
    """The index (int64) of the first minimum along dim, or in the flattened tensor; NaN counts as
    the minimum. Raises ValueError over nothing.

    >>> import tilegrad as tg
    >>> tg.argmin(tg.tensor([3.0, 1.0, 1.0]))
    tensor(1)
    """,
)


def count_nonzero(input: Any, dim: Any = None, *, axis: Any = None) -> Tensor:
    """How many elements over the axes dim are not zero, as int64. axis is another name for dim.

    >>> import tilegrad as tg
    >>> tg.count_nonzero(tg.tensor([0.0, 2.0, 3.0]))
    tensor(2)
    """
    return sum(as_operand(input, "count_nonzero") != 0, either("count_nonzero", dim, axis))


# --- running sums ---------------------------------------------------------------------------------
CUMSUM = linear("cumsum", lambda g, axis, shape: flip(cumsum(flip(g, axis), axis), axis))


def cumsum(
    input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None
) -> Tensor:
    """y[i] = x[0] + ... + x[i] along dim; integers and bool give int64. axis is another name for
    dim, of which one must be given.

    >>> import tilegrad as tg
    >>> tg.cumsum(tg.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    return _running("cumsum", CUMSUM, input, either("cumsum", dim, axis), dtype)


def _cumprod_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axis: Any, nodes: Any) -> tuple:
    # gx[i] = (x[0] ... x[i-1]) r[i] with r[i] = g[i] + x[i+1] r[i+1]: no division, so exact at 0.
    (x,) = inputs
    n = x.shape[axis]
    if n == 0:
        return (g,)
    before = cumprod(narrow(x, axis, 0, n - 1), axis)
    left = cat([narrow(x, axis, 0, 1) * 0 + 1, before], axis)
    r = narrow(g, axis, n - 1, 1)
    rows = [r]
    for i in range(n - 2, -1, -1):
        r = narrow(g, axis, i, 1) + narrow(x, axis, i + 1, 1) * r
        rows.append(r)
    return (left * cat(rows[::-1], axis),)


CUMPROD = explicit("cumprod", _cumprod_vjp, saves=(0,))


def cumprod(
    input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None
) -> Tensor:
    """y[i] = x[0] * ... * x[i] along dim; integers and bool give int64. axis is another name for
    dim, of which one must be given.

    >>> import tilegrad as tg
    >>> tg.cumprod(tg.tensor([1, 2, 3]), 0)
    tensor([1, 2, 6])
    """
    return _running("cumprod", CUMPROD, input, either("cumprod", dim, axis), dtype)


def _running(op: str, rule: Any, input: Any, dim: Any, dtype: Any) -> Tensor:
    x = as_operand(input, op)
    if dtype is not None:
        x = convert(x, dtypes.dtype(dtype))
    at = axis_of(dim, x.ndim, op)
    flat = x if x.ndim else unsqueeze(x, 0)
    a = kernels.of(x._array).cumulative(contract.CUMULATIVE.index(op), flat._array, at)
    y = _as_asked(record(rule, a, (flat,), at), dtype)
    return y if x.ndim else reshape(y, ())


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        sum, mean, prod, amax, amin, max, min, argmax, argmin, any, all, count_nonzero, cumsum,
        cumprod,
    )
}  # fmt: skip

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "count_nonzero", "cumprod", "cumsum", "max",
    "mean", "min", "prod", "sum",
]  # fmt: skip
