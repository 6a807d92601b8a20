"""Order along an axis, sets and counts. NumPy finds the positions; the values are gathered from the
input, so gradients go to the elements that were chosen.

NaN is larger than every number. Sorting is stable, always: of equal elements the first comes first.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import IndexError as TgIndexError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .create import _require_memory
from .index import _scatter, gather_along, index_tensor, take_slices
from .reduce import ValuesIndices, _extreme_vjp, amax, amin
from .rules import as_operand, axis_of, constant, convert, explicit, promote, real_numbers, record
from .shape import reshape


def comparable(a: np.ndarray) -> np.ndarray:
    """a in a dtype that NumPy orders, with equal order."""
    return a.astype(np.float32) if a.dtype == dtypes.bfloat16 else a


def order_of(x: Tensor, axis: int, descending: bool = False) -> np.ndarray:
    """The positions, int64, of the elements along axis in stable order."""
    a = comparable(x._array)
    if not descending:
        return np.argsort(a, axis, kind="stable")
    backwards = np.argsort(np.flip(a, axis), axis, kind="stable")
    return np.flip(a.shape[axis] - 1 - backwards, axis)


def _chosen(x: Tensor, at: np.ndarray, axis: int, shape: tuple[int, ...]) -> ValuesIndices:
    """The elements of x at the positions along axis, values and positions in the given shape."""
    index = constant(np.ascontiguousarray(at, np.int64))
    return ValuesIndices(
        reshape(gather_along(x, index, axis), shape), index._view(index._array.reshape(shape))
    )


def _along(op: str, input: Any, dim: int) -> tuple[Tensor, Tensor, int]:
    """input, input with at least one axis, and the axis dim."""
    x = real_numbers(op, as_operand(input, op))
    return x, x if x.ndim else reshape(x, 1), axis_of(dim, x.ndim, op)


def _reduced(x: Tensor, axis: int, keepdim: bool) -> tuple[int, ...]:
    if keepdim:
        return tuple([1 if i == axis else n for i, n in enumerate(x.shape)])
    return tuple([n for i, n in enumerate(x.shape) if i != axis])


# --- sorting --------------------------------------------------------------------------------------
def sort(
    input: Any, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> ValuesIndices:
    """The elements along dim in ascending (or descending) order, and where they were:
    (values, indices).

    stable has no effect: equal elements keep their order. NaN counts as the largest.

    >>> import tilegrad as tg
    >>> tg.sort(tg.tensor([3, 1, 2])).indices
    tensor([1, 2, 0])
    """
    x, y, axis = _along("sort", input, dim)
    return _chosen(y, order_of(y, axis, bool(descending)), axis, x.shape)


def argsort(input: Any, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Tensor:
    """Where the elements along dim are in order: the indices, as sort returns them.

    >>> import tilegrad as tg
    >>> tg.argsort(tg.tensor([3, 1, 2]), descending=True)
    tensor([0, 2, 1])
    """
    return sort(as_operand(input, "argsort").detach(), dim, descending, stable=stable).indices


def msort(input: Any) -> Tensor:
    """The values of sort along the first axis.

    >>> import tilegrad as tg
    >>> tg.msort(tg.tensor([[2, 1], [1, 3]]))
    tensor([[1, 1],
            [2, 3]])
    """
    return sort(input, 0).values


def _few(y: Tensor, k: int, axis: int, largest: bool) -> np.ndarray:
    """The positions of the first k in order: of a long axis without NaN by selection, where what
    is beyond the k-th element is taken, then its equals in turn."""
    a = comparable(y._array)
    n = a.shape[axis]
    if not 0 < k <= n // 8 or a.size == 0 or (a.dtype.kind == "f" and np.isnan(a).any()):
        return np.take(order_of(y, axis, largest), np.arange(k), axis)
    a = np.moveaxis(a, axis, -1)
    rank = n - k if largest else k - 1
    limit = np.partition(a, rank, -1)[..., rank, None]
    beyond, equal = (a > limit if largest else a < limit), a == limit
    taken = beyond | (equal & (np.cumsum(equal, -1) <= k - beyond.sum(-1, keepdims=True)))
    at = np.nonzero(taken)[-1].reshape(*a.shape[:-1], k)
    few = constant(np.take_along_axis(a, at, -1))
    order = order_of(few, few.ndim - 1, largest)
    return np.moveaxis(np.take_along_axis(at, order, -1), -1, axis)


def topk(
    input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """The k largest (or smallest) elements along dim in order, and where they were; sorted has no
    effect. Of equal elements the first are taken. Raises IndexError unless 0 <= k <= the length.

    >>> import tilegrad as tg
    >>> tg.topk(tg.tensor([3.0, 1.0, 2.0]), 2).values
    tensor([3., 2.])
    """
    x, y, axis = _along("topk", input, dim)
    n = y.shape[axis]
    if not 0 <= k <= n:
        raise TgIndexError(f"topk: k = {k} is out of range for dim {dim} of length {n}")
    at = _few(y, int(k), axis, bool(largest))
    return _chosen(y, at, axis, at.shape if x.ndim or k != 1 else ())


def _at_rank(y: Tensor, order: np.ndarray, rank: Any, axis: int, shape: Any) -> ValuesIndices:
    """The element of the given rank: a number, or an array of length 1 along axis."""
    rank = np.broadcast_to(rank, _reduced(y, axis, True))
    return _chosen(y, np.take_along_axis(order, rank, axis), axis, shape)


def _require_elements(op: str, y: Tensor, axis: int) -> None:
    if y.shape[axis] == 0:
        raise TgIndexError(f"{op}: dim {axis} of shape {y.shape} holds nothing to choose from")


def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The k-th smallest element along dim, k from 1, and where it is.

    Raises IndexError unless 1 <= k <= the length.

    >>> import tilegrad as tg
    >>> tg.kthvalue(tg.tensor([3.0, 1.0, 2.0]), 2)
    ValuesIndices(values=tensor(2.), indices=tensor(2))
    """
    x, y, axis = _along("kthvalue", input, dim)
    n = y.shape[axis]
    if not 1 <= k <= n:
        raise TgIndexError(f"kthvalue: k = {k} is out of range for dim {dim} of length {n}")
    shape = _reduced(x, axis, keepdim)
    return _at_rank(y, order_of(y, axis), k - 1, axis, shape)


MEDIAN = explicit("median", _extreme_vjp, saves=(0, -1))


def _median(op: str, input: Any, dim: int | None, keepdim: bool, rank: Callable) -> Any:
    if dim is None:
        x = real_numbers(op, as_operand(input, op))
        if x._array.size == 0:
            nan = np.nan if dtypes.is_floating(x.dtype) else np.iinfo(np.int64).min
            return record(MEDIAN, np.asarray(nan).astype(x.dtype), (x,), tuple(range(x.ndim)))
        flat = reshape(x.detach(), -1)
        y = _median(op, flat, 0, False, rank).values
        return record(MEDIAN, y._array, (x,), tuple(range(x.ndim)))
    x, y, axis = _along(op, input, dim)
    _require_elements(op, y, axis)
    nans = np.isnan(comparable(y._array)).sum(axis, keepdims=True)
    at = rank(y.shape[axis], nans)
    return _at_rank(y, order_of(y, axis), at, axis, _reduced(x, axis, keepdim))


def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of all elements, or along dim with where it is: (values, indices).

    NaN where there is one. Of all elements, those equal to the median share the gradient. Raises
    IndexError for an axis without elements.

    >>> import tilegrad as tg
    >>> tg.median(tg.tensor([3.0, 1.0, 2.0, 7.0]))
    tensor(2.)
    """
    return _median(
        "median", input, dim, keepdim, lambda n, nans: np.where(nans > 0, n - nans, (n - 1) // 2)
    )


def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """As median, of the elements that are no NaN.

    >>> import tilegrad as tg
    >>> tg.nanmedian(tg.tensor([3.0, float("nan"), 2.0]))
    tensor(2.)
    """
    return _median(
        "nanmedian", input, dim, keepdim, lambda n, nans: np.maximum((n - nans - 1) // 2, 0)
    )


def mode(input: Any, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The most frequent element along dim, the smallest of several, and where it is last.

    Raises IndexError for an axis without elements.

    >>> import tilegrad as tg
    >>> tg.mode(tg.tensor([2, 1, 2, 1]))
    ValuesIndices(values=tensor(1), indices=tensor(3))
    """
    x, y, axis = _along("mode", input, dim)
    _require_elements("mode", y, axis)
    order = order_of(y, axis)
    a = np.moveaxis(np.take_along_axis(comparable(y._array), order, axis), axis, -1)
    place = np.arange(a.shape[-1])
    fresh = np.ones(a.shape, np.bool_)
    fresh[..., 1:] = a[..., 1:] != a[..., :-1]
    count = place - np.maximum.accumulate(np.where(fresh, place, 0), -1)
    rank = np.expand_dims(np.argmax(count, -1), axis)
    return _at_rank(y, order, rank, axis, _reduced(x, axis, keepdim))


# --- sets -----------------------------------------------------------------------------------------
def _groups(x: Tensor, axis: int, order: Callable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For the slices along axis, neighbours in the given order: the first of each group of equal
    ones, the group of each, and the sizes of the groups."""
    a = np.moveaxis(comparable(x._array), axis, 0)
    n = a.shape[0]
    rows = a.reshape(n, a.size // n if n else 0)
    at = order(rows)
    fresh = np.ones(n, np.bool_)
    fresh[1:] = (rows[at[1:]] != rows[at[:-1]]).any(1)
    group = np.empty(n, np.int64)
    group[at] = np.cumsum(fresh) - 1
    return at[fresh], group, np.diff(np.flatnonzero(np.r_[fresh, True]))


def _ascending(rows: np.ndarray) -> np.ndarray:
    if rows.shape[1] == 1:
        return np.argsort(rows[:, 0], kind="stable")
    return np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(rows.shape[0])


def _set(op: str, input: Any, dim: int | None, order: Callable, inverse: bool, counts: bool) -> Any:
    x = as_operand(input, op)
    flat = reshape(x, -1) if dim is None else x
    axis = 0 if dim is None else axis_of(dim, x.ndim, op)
    first, group, sizes = _groups(flat if flat.ndim else reshape(flat, 1), axis, order)
    y = take_slices(flat if flat.ndim else reshape(flat, 1), constant(first), axis)
    out = [y]
    if inverse:
        out.append(constant(group.reshape(x.shape) if dim is None else group))
    if counts:
        out.append(constant(sizes.astype(np.int64)))
    return out[0] if len(out) == 1 else tuple(out)


def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The different elements in ascending order, or the different slices along dim.

    sorted has no effect: they are. return_inverse: for each element the position of its like in the
    result. return_counts: how often each occurs. Several results come as a tuple. The gradient goes
    to the first of equal elements. Every NaN is different.

    >>> import tilegrad as tg
    >>> tg.unique(tg.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    return _set("unique", input, dim, _ascending, return_inverse, return_counts)


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements without those equal to the one before; return_inverse, return_counts and dim as
    for unique.

    >>> import tilegrad as tg
    >>> tg.unique_consecutive(tg.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    in_place = lambda rows: np.arange(rows.shape[0])  # noqa: E731
    return _set("unique_consecutive", input, dim, in_place, return_inverse, return_counts)


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each of elements is among test_elements, as bool; invert: is not.

    assume_unique: neither holds an element twice (which is faster).

    >>> import tilegrad as tg
    >>> tg.isin(tg.tensor([1, 2, 3]), tg.tensor([2, 5]))
    tensor([False,  True, False])
    """
    a, b = promote("isin", elements, test_elements)
    found = np.isin(
        comparable(a._array), comparable(b._array), assume_unique=assume_unique, invert=invert
    )
    return constant(np.asarray(found).reshape(a.shape))


def searchsorted(
    sorted_sequence: Any, input: Any, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Any = None,
) -> Tensor:  # fmt: skip
    """Where each element of input belongs in sorted_sequence, ascending along its last axis: before
    the first element not smaller, or, with right (or side="right"), before the first larger one.

    sorted_sequence: a vector, or of input's leading shape. sorter: the order of an unsorted
    sequence, as argsort gives it. out_int32: int32 instead of int64. Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.searchsorted(tg.tensor([1, 3, 5]), tg.tensor([3, 4]))
    tensor([1, 2])
    """
    s, v = (
        real_numbers("searchsorted", x) for x in promote("searchsorted", sorted_sequence, input)
    )
    if side not in (None, "left", "right") or (side == "left" and right):
        raise TgValueError(f"searchsorted: side is 'left' or 'right', got {side!r}, right={right}")
    if s.ndim == 0 or (s.ndim > 1 and s.shape[:-1] != v.shape[:-1]) or (s.ndim > 1 and v.ndim == 0):
        raise ShapeError(
            f"searchsorted: sorted_sequence {s.shape} is no vector and differs from input {v.shape}"
            " off the last axis"
        )
    a, b = comparable(s._array), comparable(v._array)
    if sorter is not None:
        order = index_tensor(sorter, "searchsorted")
        if order.shape != s.shape:
            raise ShapeError(f"searchsorted: sorter {order.shape} for a sequence of {s.shape}")
        a = np.take_along_axis(a, order._array, -1)
    where: Any = "right" if right or side == "right" else "left"
    if a.ndim == 1:
        found = np.asarray(np.searchsorted(a, b, where))
    else:
        found = np.empty(b.shape, np.int64)
        for at in np.ndindex(a.shape[:-1]):
            found[at] = np.searchsorted(a[at], b[at], where)
    return constant(found.astype(np.int32 if out_int32 else np.int64))


def bucketize(
    input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The bucket of each element: how many of the ascending boundaries are smaller (with right: not
    larger). out_int32: int32 instead of int64.

    >>> import tilegrad as tg
    >>> tg.bucketize(tg.tensor([0.5, 3.0]), tg.tensor([1.0, 2.0, 3.0]))
    tensor([0, 2])
    """
    b = as_operand(boundaries, "bucketize")
    if b.ndim != 1:
        raise ShapeError(f"bucketize: boundaries must be a vector, got shape {b.shape}")
    return searchsorted(b, input, out_int32=out_int32, right=right)


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often 0, 1, 2 ... occur in a vector of integers, or the sums of their weights.

    weights: of input's shape; floating ones get gradients. minlength: the least length of the
    result. Raises DTypeError, ShapeError, ValueError for negative numbers.

    >>> import tilegrad as tg
    >>> tg.bincount(tg.tensor([1, 1, 3]))
    tensor([0, 2, 0, 1])
    """
    at = index_tensor(input, "bincount")
    if at.ndim != 1:
        raise ShapeError(f"bincount: expects a vector, got shape {at.shape}")
    a = at._array
    if minlength < 0 or (a.size and a.min() < 0):
        raise TgValueError("bincount: expects minlength and elements >= 0")
    n = builtins.max(int(a.max()) + 1 if a.size else 0, int(minlength))
    _require_memory("bincount", n)
    if weights is None:
        return constant(np.bincount(a, minlength=n).astype(np.int64))
    w = as_operand(weights, "bincount")
    if w.shape != at.shape:
        raise ShapeError(f"bincount: expects weights of shape {at.shape}, got {w.shape}")
    if w.dtype != dtypes.float32:
        w = convert(w, dtypes.float64)
    return _scatter(w, at, 0, (n,))


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of bins equal parts of [min, max], in input's dtype; what
    lies outside does not count, and no gradient passes.

    min, max: equal (as by default) for the extremes of input. Raises DTypeError for integers,
    ValueError.

    >>> import tilegrad as tg
    >>> tg.histc(tg.tensor([1.0, 2.0, 1.0]), 4, 0, 3)
    tensor([0., 2., 1., 0.])
    """
    x = as_operand(input, "histc")
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"histc: expects a floating tensor, got {x.dtype}")
    a = np.asarray(x._array, np.float64).reshape(-1)
    low, high = float(min), float(max)
    if low == high and a.size:
        low, high = float(a.min()), float(a.max())
    if low == high:
        low, high = low - 1, high + 1
    if bins < 1 or not low <= high or not np.isfinite([low, high]).all():
        raise TgValueError(f"histc: expects bins > 0 and a finite range, got {bins}, {low}, {high}")
    counts, _ = np.histogram(a[(a >= low) & (a <= high)], bins, (low, high))
    return constant(counts.astype(x.dtype))


class MinMax(NamedTuple):
    """What aminmax returns."""

    min: Tensor
    max: Tensor


def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """The minimum and the maximum of all elements or along dim, by the names min and max.

    >>> import tilegrad as tg
    >>> tg.aminmax(tg.tensor([3, 1, 2])).max
    tensor(3)
    """
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        aminmax, argsort, bincount, histc, kthvalue, median, mode, msort, nanmedian, sort,
        topk, unique, unique_consecutive,
    )
}  # fmt: skip

__all__ = [
    "aminmax", "argsort", "bincount", "bucketize", "histc", "isin", "kthvalue", "median", "mode",
    "msort", "nanmedian", "searchsorted", "sort", "topk", "unique", "unique_consecutive",
]  # fmt: skip
