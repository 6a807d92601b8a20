"""Tensors repeated, split, stacked, turned and rewritten in part: compositions of views and
copies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor
from .create import _require_memory
from .index import index_tensor, take_slices
from .join import _tensors, cat, flip, vstack
from .rules import (
    as_operand,
    axis_of,
    constant,
    linear,
    promote,
    record,
    record_view,
    sizes_of,
    zeros,
)
from .shape import clone, expand, reshape, transpose, unsqueeze
from .slicing import narrow, select, setitem


# --- repetition -----------------------------------------------------------------------------------
def _repeated(op: str, x: Tensor, counts: tuple[int, ...]) -> Tensor:
    if any(n < 0 for n in counts):
        raise TgValueError(f"{op}: counts must not be negative, got {counts}")
    shape = (1,) * (len(counts) - x.ndim) + x.shape
    _require_memory(op, math.prod(shape) * math.prod(counts))
    y = reshape(x, tuple([k for n in shape for k in (1, n)]))
    wide = expand(y, tuple([k for m, n in zip(counts, shape, strict=True) for k in (m, n)]))
    return reshape(
        clone(wide, memory_format="contiguous"),
        tuple([m * n for m, n in zip(counts, shape, strict=True)]),
    )


def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """The tensor laid side by side, repeats[i] times along axis i; more repeats than axes add axes
    in front.

    >>> import tilegrad as tg
    >>> tg.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    counts = sizes_of(repeats, "repeat")
    if len(counts) < input.ndim:
        raise ShapeError(f"repeat: expects a count per axis of shape {input.shape}, got {counts}")
    return _repeated("repeat", input, counts)


def tile(input: Any, dims: Any, *more: Any) -> Tensor:
    """As repeat, where fewer dims (ints, more after the first, or one tuple) than axes leave the
    first axes as they are.

    >>> import tilegrad as tg
    >>> tg.tile(tg.tensor([1, 2]), (2,))
    tensor([1, 2, 1, 2])
    """
    x, counts = as_operand(input, "tile"), sizes_of((dims, *more), "tile")
    return _repeated("tile", x, (1,) * (x.ndim - len(counts)) + counts)


def repeat_interleave(
    input: Any, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Every slice along dim repeats times in a row: a number, or one per slice.

    Without dim, input is flattened. With repeats left out, input holds the counts and the result
    the position of each. output_size: the length along dim, checked where given. Raises ShapeError,
    ValueError for negative counts.

    >>> import tilegrad as tg
    >>> tg.repeat_interleave(tg.tensor([1, 2]), tg.tensor([1, 3]))
    tensor([1, 2, 2, 2])
    """
    x = as_operand(input, "repeat_interleave")
    if repeats is None:
        if x.ndim != 1:
            raise ShapeError(f"repeat_interleave: expects counts as a vector, got {x.shape}")
        repeats, x = x, constant(np.arange(x.shape[0]))
    if dim is None:
        x, dim = reshape(x, -1), 0
    axis = axis_of(dim, x.ndim, "repeat_interleave")
    counts = index_tensor(repeats, "repeat_interleave")._array
    n = x.shape[axis]
    if counts.ndim > 1 or counts.size not in (1, n):
        raise ShapeError(
            f"repeat_interleave: expects one count or {n} for dim {dim}, got {counts.shape}"
        )
    if counts.size and counts.min() < 0:
        raise TgValueError("repeat_interleave: counts must not be negative")
    counts = np.broadcast_to(counts.reshape(-1), (n,))
    total = int(counts.sum())
    if output_size is not None and output_size != total:
        raise TgValueError(f"repeat_interleave: output_size {output_size}, but counts sum {total}")
    _require_memory("repeat_interleave", total)
    at = np.repeat(np.arange(n), counts)
    return take_slices(x, constant(at), axis, "repeat_interleave")


# --- parts ----------------------------------------------------------------------------------------
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views along dim: as many as a number says, of lengths that differ by one at most, or cut
    before each of a list of indices.

    indices_or_sections: an int >= 1, or ints (negative count from the end).

    >>> import tilegrad as tg
    >>> [x.tolist() for x in tg.tensor_split(tg.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    """
    x = as_operand(input, "tensor_split")
    if x.ndim == 0:
        raise ShapeError("tensor_split: expects at least 1 dimension, got shape ()")
    axis = axis_of(dim, x.ndim, "tensor_split")
    n = x.shape[axis]
    given = indices_or_sections
    given = given.tolist() if isinstance(given, Tensor) else given
    if isinstance(given, (tuple, list)):
        cuts = [slice(None, int(i)).indices(n)[1] for i in given]
    else:
        if given < 1:
            raise TgValueError(f"tensor_split: expects at least 1 section, got {given}")
        size, longer = divmod(n, int(given))
        cuts = [i * size + min(i, longer) for i in range(1, int(given))]
    edges = zip([0, *cuts], [*cuts, n], strict=True)
    return tuple(narrow(x, axis, a, max(b - a, 0)) for a, b in edges)


def _split_along(name: str, axis: int, least: int) -> Callable:
    def fn(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        x = as_operand(input, name)
        if x.ndim < least:
            raise ShapeError(f"{name}: expects at least {least} dimensions, got shape {x.shape}")
        at = 0 if x.ndim == 1 else axis
        given = indices_or_sections
        if isinstance(given, int) and (given < 1 or x.shape[at] % given):
            raise ShapeError(
                f"{name}: axis {at} of length {x.shape[at]} has no {given} equal parts"
            )
        return tensor_split(x, given, at)

    fn.__name__ = fn.__qualname__ = name
    shape = ", ".join("2" * 3)
    fn.__doc__ = (
        f"As tensor_split along axis {axis}{' (0 of a vector)' if name == 'hsplit' else ''}; a "
        f"number of sections\n    must divide its length.\n\n"
        f"    >>> import tilegrad as tg\n    >>> len(tg.{name}(tg.ones({shape}), 2))\n    2\n"
    )
    return fn


hsplit, vsplit = _split_along("hsplit", 1, 1), _split_along("vsplit", 0, 2)
dsplit = _split_along("dsplit", 2, 3)


# --- joining --------------------------------------------------------------------------------------
def _at_least(name: str, shaped: Callable) -> Callable:
    def fn(*tensors: Any) -> Any:
        one = len(tensors) == 1 and isinstance(tensors[0], (tuple, list))
        out = tuple(shaped(as_operand(x, name)) for x in (tensors[0] if one else tensors))
        return out[0] if len(tensors) == 1 and not one else out

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = (
        f"The tensors with axes of length 1 added, where they have fewer than {name[8]} dimensions;"
        f"\n    a tuple of them for several.\n\n"
        f"    >>> import tilegrad as tg\n    >>> tg.{name}(tg.tensor(5)).ndim\n    {name[8]}\n"
    )
    return fn


def _deep(x: Tensor) -> Tensor:
    if x.ndim >= 3:
        return x
    return unsqueeze(x, 2) if x.ndim == 2 else reshape(x, (1, -1, 1))


atleast_1d = _at_least("atleast_1d", lambda x: x if x.ndim else reshape(x, 1))
atleast_2d = _at_least("atleast_2d", lambda x: x if x.ndim > 1 else reshape(x, (1, -1)))
atleast_3d = _at_least("atleast_3d", _deep)


def dstack(tensors: Any) -> Tensor:
    """The tensors joined along the third axis, as by atleast_3d and cat.

    >>> import tilegrad as tg
    >>> tg.dstack([tg.tensor([1, 2]), tg.tensor([3, 4])]).shape
    (1, 2, 2)
    """
    return cat([_deep(t) for t in _tensors("dstack", tensors)], 2)


def column_stack(tensors: Any) -> Tensor:
    """The tensors joined along the second axis; those of one dimension are columns.

    >>> import tilegrad as tg
    >>> tg.column_stack([tg.tensor([1, 2]), tg.tensor([3, 4])])
    tensor([[1, 3],
            [2, 4]])
    """
    parts = _tensors("column_stack", tensors)
    return cat([t if t.ndim > 1 else reshape(t, (-1, 1)) for t in parts], 1)


# --- turning --------------------------------------------------------------------------------------
def rot90(input: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """The tensor turned k times by a right angle, from the first towards the second of two dims.

    Raises ShapeError below 2 dimensions, ValueError unless dims are two axes.

    >>> import tilegrad as tg
    >>> tg.rot90(tg.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    x = as_operand(input, "rot90")
    if x.ndim < 2 or len(dims) != 2:
        raise ShapeError(f"rot90: expects two dims of two or more, got {dims} of shape {x.shape}")
    i, j = (axis_of(d, x.ndim, "rot90") for d in dims)
    if i == j:
        raise TgValueError(f"rot90: expects two different dims, got {tuple(dims)}")
    turns = k % 4
    if turns == 2:
        return clone(flip(x, i, j))
    if turns == 0:
        return clone(x)
    return clone(transpose(flip(x, j if turns == 1 else i), i, j))


# --- a part replaced ------------------------------------------------------------------------------
def _with(op: str, input: Tensor, src: Any, index: tuple[Any, ...]) -> Tensor:
    x, v = promote(op, input, src)
    y = clone(x, memory_format="contiguous")
    hole = y._array[index].shape
    if v.shape != hole:
        raise ShapeError(f"{op}: expects src of shape {hole}, got {v.shape}")
    setitem(y, index, v)
    return y


def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of input with src in place of select(dim, index).

    Raises ShapeError, IndexError.

    >>> import tilegrad as tg
    >>> tg.select_scatter(tg.zeros(2, 2), tg.ones(2), 0, 1)
    tensor([[0., 0.],
            [1., 1.]])
    """
    select(input.detach(), dim, index)  # raises where either is out of range
    d = axis_of(dim, input.ndim, "select_scatter")
    return _with("select_scatter", input, src, (*(slice(None),) * d, index, ...))


def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> Tensor:  # fmt: skip
    """A copy of input with src in place of the slice start:end:step along dim.

    Raises ShapeError unless src has the shape of that slice.

    >>> import tilegrad as tg
    >>> tg.slice_scatter(tg.zeros(3), tg.ones(2), start=1)
    tensor([0., 1., 1.])
    """
    d = axis_of(dim, input.ndim, "slice_scatter")
    return _with("slice_scatter", input, src, (*(slice(None),) * d, slice(start, end, step), ...))


def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """As narrow, copied.

    >>> import tilegrad as tg
    >>> tg.narrow_copy(tg.arange(5), 0, 1, 3)
    tensor([1, 2, 3])
    """
    return clone(narrow(input, dim, start, length))


# --- windows --------------------------------------------------------------------------------------
@constants
def _windows(a: Any, params: tuple[int, int, int]) -> Any:
    axis, size, step = params
    y = np.lib.stride_tricks.sliding_window_view(a, size, axis, writeable=a.flags.writeable)
    return y[(slice(None),) * axis + (slice(None, None, step),)]


def _unfolded(x: Tensor, params: tuple[int, int, int]) -> Tensor:
    return record_view(UNFOLD, _windows(x._array, params), x, params)


def _fold(g: Tensor, params: tuple[int, int, int], shape: tuple[int, ...]) -> Tensor:
    """Zeros of the given shape with the windows of g added: the transpose of unfold."""
    axis, size, step = params
    y = zeros(shape, dtypes.float32 if g.dtype.itemsize == 2 else g.dtype)._array
    lead, count = (slice(None),) * axis, g.shape[axis]
    for i in range(size):
        y[(*lead, slice(i, i + (count - 1) * step + 1, step))] += g._array[..., i]
    return record(FOLD, y.astype(g.dtype, copy=False), (g,), params)


UNFOLD = linear("unfold_axis", _fold)
FOLD = linear("fold_axis", lambda g, params, shape: _unfolded(g, params))


def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """The view of all windows of a size along one dimension, step apart, as a new last axis.

    Raises ShapeError for windows longer than the axis, ValueError for step < 1.

    >>> import tilegrad as tg
    >>> tg.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    axis = axis_of(dimension, input.ndim, "unfold")
    n = input.shape[axis] if input.ndim else 1
    if not 0 <= size <= n:
        raise ShapeError(f"unfold: size {size} for axis {dimension} of length {n}")
    if step < 1:
        raise TgValueError(f"unfold: step must be at least 1, got {step}")
    if input.ndim == 0:
        return narrow(reshape(input, 1), 0, 0, size)
    return _unfolded(input, (axis, int(size), int(step)))


row_stack = vstack
METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        dsplit, hsplit, narrow_copy, repeat, repeat_interleave, rot90, select_scatter,
        slice_scatter, tensor_split, tile, unfold, vsplit,
    )
}  # fmt: skip

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "column_stack", "dsplit", "dstack",
    "hsplit", "narrow_copy", "repeat_interleave", "rot90", "row_stack", "select_scatter",
    "slice_scatter", "tensor_split", "tile", "vsplit",
]  # fmt: skip
