"""Elements placed or combined at the positions of an index, in row-major order of the index: where
several fall on one place, the last one stays."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..errors import IndexError as TgIndexError
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .binary import add, eq, floor_divide, mul, true_divide, where
from .elementwise import add_inplace
from .index import _same_dtype, _scatter, gather_along, index_tensor, mask_tensor, take_slices
from .join import cat
from .rules import as_operand, axis_of, constant, convert, explicit, record, scalar
from .shape import broadcast_shapes, broadcast_to, reshape
from .slicing import getitem


class _Places:
    """Checked arguments of one call: the index as int64 (not negative), and for every element of
    it the flat position it means in input."""

    def __init__(self, op: str, input: Tensor, dim: int, index: Any) -> None:
        self.op, self.shape = op, input.shape
        at = index_tensor(index, op)
        if input.ndim == 0:
            at, self.shape = reshape(at, -1), (1,)
        self.axis = axis_of(dim, len(self.shape), op)
        if at.ndim != len(self.shape) and at._array.size == 0:
            at = reshape(at, (0,) * len(self.shape))
        off = [n for i, n in enumerate(at.shape) if i != self.axis]
        room = [n for i, n in enumerate(self.shape) if i != self.axis]
        if at.ndim != len(self.shape) or any(n > m for n, m in zip(off, room, strict=True)):
            raise ShapeError(
                f"{op}: expects index no larger than input off dim {dim}, got {at.shape} and"
                f" {input.shape}"
            )
        size, a = self.shape[self.axis], at._array
        if a.size and not (-size <= a.min() and a.max() < size):
            bad = int(a.min()) if a.min() < -size else int(a.max())
            raise TgIndexError(f"{op}: index {bad} is out of range for dim {dim} of length {size}")
        a = np.asarray(np.where(a < 0, a + size, a))
        self.index = constant(a)
        grid: list[Any] = list(np.indices(a.shape, sparse=True))
        grid[self.axis] = a
        flat: Any = np.zeros(a.shape, np.int64)
        for n, g in zip(self.shape, grid, strict=True):
            flat = flat * n + g
        self.flat: np.ndarray = flat.reshape(-1)

    def source(self, src: Tensor) -> Tensor:
        """The part of src that index reaches."""
        if src.ndim == 0:
            src = reshape(src, (1,) * len(self.shape))
        shape = self.index.shape
        if src.ndim != len(shape) or any(n > m for n, m in zip(shape, src.shape, strict=True)):
            raise ShapeError(
                f"{self.op}: expects index no larger than src, got {shape} and {src.shape}"
            )
        return src if src.shape == shape else getitem(src, tuple(slice(n) for n in shape))

    def hit(self, shape: tuple[int, ...]) -> Tensor:
        """Whether an index falls on each element of input."""
        y = np.zeros(shape, np.bool_)
        y.reshape(-1)[self.flat] = True
        return constant(y)


def _replaced(input: Tensor, flat: np.ndarray, values: Tensor) -> Tensor:
    """input with values (one dimension) at flat positions, the last of equal ones."""
    last = np.full(input._array.size, -1, np.int64)
    last[flat] = np.arange(flat.size)
    last = np.asarray(last.reshape(input.shape))
    if flat.size == 0:
        return where(constant(np.zeros(input.shape, np.bool_)), input, input)
    return where(
        constant(np.asarray(last >= 0)),
        take_slices(values, constant(np.asarray(np.maximum(last, 0))), 0),
        input,
    )


def scatter(
    input: Tensor, dim: int, index: Any, src: Any = None, *, value: Any = None,
    reduce: str | None = None,
) -> Tensor:  # fmt: skip
    """input with src at index along dim: ``y[index[i][j]][j] = src[i][j]`` for dim 0.

    index: no larger than src, nor (off dim) than input. src: a tensor of input's dtype, or a number
    (also by the name value). Of several sources for one place the last one stays. reduce: None,
    "add" or "multiply", which combine with what is there. Raises IndexError, ShapeError,
    DTypeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.scatter(tg.zeros(3), 0, tg.tensor([2, 0]), tg.tensor([1.0, 2.0]))
    tensor([2., 0., 1.])
    """
    x = as_operand(input, "scatter")
    if (src is None) == (value is None):
        raise TgValueError("scatter: expects src or value")
    if reduce not in (None, "add", "multiply"):
        raise TgValueError(f"scatter: reduce is None, 'add' or 'multiply', got {reduce!r}")
    places = _Places("scatter", x, dim, index)
    src = value if src is None else src
    if isinstance(src, Tensor):
        _same_dtype("scatter", x, "src", src)
        part = places.source(src)
    else:
        number = scalar(src, x.dtype, "scatter")
        part = broadcast_to(number, places.index.shape)
    if reduce is not None:
        return _combined(x, places, part, "sum" if reduce == "add" else "prod", True)
    return _replaced(x, places.flat, reshape(part, -1))


# --- reductions -----------------------------------------------------------------------------------
def _extreme_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    x, src, index = inputs
    axis, include_self, hit = params
    g, y = (g, out.detach()) if g.ndim else (reshape(g, 1), reshape(out.detach(), 1))
    x = x if x.ndim else reshape(x, 1)
    mine = convert(eq(x, y), g.dtype)
    if not include_self:
        mine = where(constant(hit), 0.0, mine)
    theirs = convert(eq(src, gather_along(y, index, axis)), g.dtype)
    share = true_divide(g, add(mine, _scatter(theirs, index, axis, y.shape)))
    return (
        reshape(mul(share, mine), nodes[0].shape) if need[0] else None,
        mul(gather_along(share, index, axis), theirs) if need[1] else None,
        None,
    )


_EXTREME = explicit("scatter_extreme", _extreme_vjp, saves=(0, 1, 2, -1))


def _extreme(x: Tensor, places: _Places, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    """Largest or smallest; ties share the gradient equally."""
    function = np.maximum if reduce == "amax" else np.minimum
    half = x.dtype.itemsize == 2 and dtypes.is_floating(x.dtype)
    work = np.array(x._array, np.float32 if half else x.dtype, order="C")
    flat = work.reshape(-1)
    values = src._array.reshape(-1).astype(work.dtype)
    if not include_self:
        flat[places.flat] = values
    with np.errstate(invalid="ignore"):
        function.at(flat, places.flat, values)
    y = kernels.of(work).cast(work, x.dtype) if half else work
    hit = places.hit(places.shape)._array
    return record(_EXTREME, y, (x, src, places.index), (places.axis, include_self, hit))


def _products(flat: np.ndarray, values: Tensor) -> tuple[np.ndarray, Tensor]:
    """The places, each once, and the products of the values at each: neighbours are multiplied in
    rounds, so a zero does no harm to the gradient."""
    order = np.argsort(flat, kind="stable")
    flat, values = flat[order], take_slices(values, constant(order), 0)
    while flat.size and bool((flat[1:] == flat[:-1]).any()):
        first = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
        rank = np.arange(flat.size) - np.repeat(first, np.diff(np.r_[first, flat.size]))
        left = np.flatnonzero(rank % 2 == 0)
        right = np.minimum(left + 1, flat.size - 1)
        paired = (right > left) & (flat[right] == flat[left])
        other = where(constant(paired), take_slices(values, constant(right), 0), 1)
        values = mul(take_slices(values, constant(left), 0), convert(other, values.dtype))
        flat = flat[left]
    return flat, values


def _combined(x: Tensor, places: _Places, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    if reduce in ("amax", "amin"):
        return _extreme(x, places, src, reduce, include_self)
    if reduce == "prod":
        flat, values = places.flat, reshape(src, -1)
        if include_self:
            here = np.unique(flat)
            values = cat([take_slices(reshape(x, -1), constant(here), 0), values])
            flat = np.concatenate([here, flat])
        return _replaced(x, *_products(flat, values))
    start = x if include_self else where(places.hit(x.shape), 0, x)
    total = _scatter(src, places.index, places.axis, places.shape)
    y = add(convert(start, x.dtype), reshape(total, x.shape))
    if reduce == "sum":
        return y
    counts = np.bincount(places.flat, minlength=x._array.size).reshape(x.shape) + include_self
    n = convert(constant(np.maximum(counts, 1).astype(np.int64)), x.dtype)
    return true_divide(y, n) if dtypes.is_floating(x.dtype) else floor_divide(y, n)


_REDUCTIONS = ("sum", "prod", "mean", "amax", "amin")


def scatter_reduce(
    input: Tensor, dim: int, index: Any, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """input with the elements of src combined at index along dim, as scatter places them.

    src: of input's dtype. reduce: "sum", "prod", "mean", "amax" or "amin". include_self: what input
    holds at a place counts. Ties of amax and amin share the gradient equally. Raises IndexError,
    ShapeError, DTypeError, ValueError.

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0, 2.0, 3.0])
    >>> tg.scatter_reduce(tg.zeros(2), 0, tg.tensor([0, 0, 1]), x, "amax")
    tensor([2., 3.])
    """
    x = as_operand(input, "scatter_reduce")
    if reduce not in _REDUCTIONS:
        raise TgValueError(f"scatter_reduce: reduce must be one of {_REDUCTIONS}, got {reduce!r}")
    _same_dtype("scatter_reduce", x, "src", src)
    places = _Places("scatter_reduce", x, dim, index)
    return _combined(x, places, places.source(src), reduce, include_self)


def index_reduce(
    input: Tensor, dim: int, index: Any, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """input with the slices of source combined at index along dim; otherwise as scatter_reduce.

    index: of one dimension, as long as source along dim. source: of input's dtype and, off dim,
    shape. reduce: "prod", "mean", "amax" or "amin".

    >>> import tilegrad as tg
    >>> tg.index_reduce(tg.ones(2), 0, tg.tensor([0, 0]), tg.tensor([2.0, 3.0]), "prod")
    tensor([6., 1.])
    """
    x = as_operand(input, "index_reduce")
    if reduce not in _REDUCTIONS[1:]:
        raise TgValueError(f"index_reduce: reduce is one of {_REDUCTIONS[1:]}, got {reduce!r}")
    _same_dtype("index_reduce", x, "source", source)
    axis, at = axis_of(dim, x.ndim, "index_reduce"), index_tensor(index, "index_reduce")
    expected = (*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])
    if at.ndim != 1 or source.shape != expected:
        raise ShapeError(f"index_reduce: expects source of shape {expected}, got {source.shape}")
    wide = reshape(at, tuple(-1 if i == axis else 1 for i in range(max(x.ndim, 1))))
    places = _Places("index_reduce", x, axis, broadcast_to(wide, source.shape))
    return _combined(x, places, places.source(source), reduce, include_self)


# --- masks ----------------------------------------------------------------------------------------
def masked_scatter(input: Tensor, mask: Any, source: Tensor) -> Tensor:
    """The elements of source, one after the other, where mask holds, else input.

    mask: bool; broadcasts with input. source: of input's dtype, with at least as many elements as
    mask has places. Raises DTypeError, ShapeError.

    >>> import tilegrad as tg
    >>> tg.masked_scatter(tg.zeros(3), tg.tensor([True, False, True]), tg.tensor([5.0, 6.0]))
    tensor([5., 0., 6.])
    """
    x, m = as_operand(input, "masked_scatter"), mask_tensor(mask, "masked_scatter")
    _same_dtype("masked_scatter", x, "source", source)
    shape = broadcast_shapes(x.shape, m.shape)
    keep = np.broadcast_to(m._array, shape)
    count = int(keep.sum())
    if count > source._array.size:
        raise ShapeError(
            f"masked_scatter: mask has {count} places, source of shape {source.shape} too few"
            " elements"
        )
    if count == 0:
        return where(m, x, x)
    at = np.maximum(np.cumsum(keep.reshape(-1)) - 1, 0).reshape(shape)
    return where(m, take_slices(reshape(source, -1), constant(at), 0), x)


def put(input: Tensor, index: Any, source: Tensor, accumulate: bool = False) -> Tensor:
    """input with source at the positions index of the flattened tensor; accumulate adds.

    source: of input's dtype, as many elements as index.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 2).put_(tg.tensor([3, 0]), tg.tensor([5.0, 6.0]))
    tensor([[6., 0.],
            [0., 5.]])
    """
    at = index_tensor(index, "put")
    if at._array.size != source._array.size:
        raise ShapeError(f"put: expects source of shape {at.shape}, got {source.shape}")
    flat, v = reshape(input, -1), reshape(source, -1)
    y = (scatter_reduce(flat, 0, reshape(at, -1), v, "sum") if accumulate
         else scatter(flat, 0, reshape(at, -1), v))  # fmt: skip
    return reshape(y, input.shape)


METHODS: dict[str, Any] = {
    f.__name__: f for f in (index_reduce, masked_scatter, scatter, scatter_reduce)
}
for _fn in (index_reduce, masked_scatter, put, scatter, scatter_reduce):
    add_inplace(_fn.__name__ + "_", _fn)

__all__ = ["index_reduce", "masked_scatter", "scatter", "scatter_reduce"]
