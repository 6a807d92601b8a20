"""``x[index]`` and ``x[index] = v`` with tensors, arrays, lists and masks among the indices.

As in PyTorch, ints and slices are applied first. The remaining indices broadcast together; their
axes are replaced, where they are neighbours, in place, else at the front.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..errors import DTypeError, ShapeError, renamed
from ..errors import IndexError as TgIndexError
from ..kernels.contract import BINARY
from ..recording import constants
from ..tensor import Tensor, from_numpy
from .index import as_index, index_tensor, nonzero, take_slices
from .rules import assigned, explicit, linear, record, sum_to
from .shape import broadcast_shapes, broadcast_to, permute, reshape, unsqueeze
from .slicing import getitem

_ADD = BINARY.index("add")


class _Advanced:
    """An index tensor and the number of axes it stands for: one, or a mask's own number."""

    def __init__(self, item: Any) -> None:
        t = as_index(item)
        if t.dtype == dtypes.uint8:
            raise DTypeError(
                "index: uint8 is ambiguous; convert it to bool (a mask) or int64 (positions)"
            )
        self.is_mask = t.dtype == dtypes.bool_
        self.tensor = t if self.is_mask else index_tensor(t, "index")
        self.axes = t.ndim if self.is_mask else 1


def _parse(x: Tensor, index: Any) -> list[Any]:
    """The index as one item per axis of x or new axis, without Ellipsis: int, slice, None or
    _Advanced."""
    items: list[Any] = []
    for i in index if isinstance(index, tuple) else (index,):
        if i is None or i is Ellipsis or isinstance(i, slice):
            items.append(i)
        elif isinstance(i, (int, np.integer)) and not isinstance(i, bool):
            items.append(int(i))
        elif isinstance(i, (Tensor, np.ndarray)) and i.ndim == 0 and i.dtype.kind in "iu":
            items.append(int(i))
        else:
            items.append(_Advanced(i))
    counts = [i.axes if isinstance(i, _Advanced) else i not in (None, ...) for i in items]
    used = sum(counts)
    dots = [n for n, i in enumerate(items) if i is Ellipsis]
    if len(dots) > 1 or used > x.ndim:
        raise TgIndexError(
            f"index: {used} axes and {len(dots)} Ellipsis for a tensor of shape {x.shape}"
        )
    at = dots[0] if dots else len(items)
    items[at : at + 1] = [slice(None)] * (x.ndim - used)
    axis = 0
    for i in items:
        if isinstance(i, _Advanced):
            if i.is_mask and i.tensor.shape != x.shape[axis : axis + i.axes]:
                raise TgIndexError(
                    f"index: a mask of shape {i.tensor.shape} does not fit axes {axis} to"
                    f" {axis + i.axes} of shape {x.shape}"
                )
            axis += i.axes
        else:
            axis += i is not None
    return items


def _positions(i: _Advanced) -> Tensor:
    """The int64 index of a mask into its axes as one, or of positions as they are."""
    if not i.is_mask:
        return i.tensor
    (at,) = nonzero(reshape(i.tensor, -1), as_tuple=True)
    return at


@constants
def _offsets(size: int, step: int, at: Tensor) -> Tensor:
    """at * step, with negative values counted from the end and values outside size refused: looked
    up in the table of all offsets, so that the kernel's one check of indices serves."""
    table = np.arange(size, dtype=np.int64) * step
    return Tensor._new(kernels.of(table).take(table, at._array, 0))


def _sum(a: Tensor, b: Tensor) -> Tensor:
    try:
        return Tensor._new(kernels.of(a._array).binary(_ADD, a._array, b._array))
    except ShapeError:
        raise TgIndexError(
            f"index: the indices of shapes {a.shape} and {b.shape} do not broadcast"
        ) from None


def advanced_getitem(x: Tensor, index: Any) -> Tensor:
    """``x[index]`` where index holds tensors, arrays, lists or masks: a copy.

    Raises IndexError for values out of range, masks of the wrong shape and indices that do not
    broadcast.
    """
    items = _parse(x, index)
    if builtins.any(not isinstance(i, (slice, _Advanced)) or _cuts(i) for i in items):
        # Basic items first; an index's axes stay for the second step.
        basic: list[Any] = []
        for i in items:
            basic += [slice(None)] * i.axes if isinstance(i, _Advanced) else [i]
        x = getitem(x, (*basic, ...))
        items = [i for i in items if not isinstance(i, int)]
        items = [i if isinstance(i, _Advanced) else slice(None) for i in items]
    # Every mask becomes one index: its axes are merged (a mask without axes gets one of length 1).
    at: dict[int, Tensor] = {}
    for axis, i in enumerate(items):
        if not isinstance(i, _Advanced):
            continue
        if i.axes == 0:
            x = unsqueeze(x, axis)
        elif i.axes > 1:
            merged = math.prod(x.shape[axis : axis + i.axes])
            x = reshape(x, (*x.shape[:axis], merged, *x.shape[axis + i.axes :]))
        at[axis] = _positions(i)
    axes = list(at)
    try:
        if len(axes) == 1:
            return take_slices(x, at[axes[0]], axes[0])
        return _take_several(x, axes, [at[a] for a in axes])
    except TgIndexError as e:
        raise renamed(e, "index", f" (the tensor has shape {x.shape})") from None


def _cuts(i: Any) -> bool:
    return isinstance(i, slice) and i != slice(None)


def _take_several(x: Tensor, axes: list[int], at: list[Tensor]) -> Tensor:
    """Several indexed axes as one, so that one index serves."""
    first = axes[0]
    if axes[-1] - first != len(axes) - 1:
        others = [a for a in range(x.ndim) if a not in axes]
        x, first = permute(x, axes + others), 0
    sizes = x.shape[first : first + len(axes)]
    total: Tensor | None = None
    for n, index in enumerate(at):
        part = _offsets(sizes[n], math.prod(sizes[n + 1 :]), index)
        total = part if total is None else _sum(total, part)
    assert total is not None
    merged = (*x.shape[:first], math.prod(sizes), *x.shape[first + len(axes) :])
    return take_slices(reshape(x, merged), total, first)


# --- assignment -----------------------------------------------------------------------------------
def _flat_index(x: Tensor, index: Any) -> Tensor:
    """The position in row-major x of every element of ``x[index]``, in its shape."""
    items = _parse(x, index)
    advanced = [n for n, i in enumerate(items) if isinstance(i, _Advanced)]
    # Where the indexed axes go: the place of the first, or the front when others lie between.
    # Ints leave no axis behind, so they separate nothing.
    between = [i for i in items[advanced[0] : advanced[-1]] if i is None or isinstance(i, slice)]
    place = 0 if between else advanced[0]
    joint = broadcast_shapes_of([_positions(items[n]) for n in advanced])
    shape: list[int] = []
    parts: list[tuple[Any, int | None]] = []  # offsets, and their axis in the result (None: joint)
    axis, start = 0, None
    for n, i in enumerate(items):
        if n == place:
            start = len(shape)
            shape += joint
        axes = i.axes if isinstance(i, _Advanced) else int(i is not None)
        size, step = math.prod(x.shape[axis : axis + axes]), math.prod(x.shape[axis + axes :])
        axis += axes
        if i is None:
            shape.append(1)
        elif isinstance(i, _Advanced):
            parts.append((_offsets(size, step, _positions(i)), None))
        elif isinstance(i, int):
            parts.append((_offsets(size, step, index_tensor(i, "index")), None))
        else:
            line = np.arange(size, dtype=np.int64)[i] * step
            parts.append((Tensor._new(line), len(shape)))
            shape.append(line.shape[0])
    assert start is not None
    after = len(shape) - start - len(joint)
    total: Tensor | None = None
    for part, own in parts:
        trailing = after if own is None else len(shape) - own - 1
        part = reshape(part, (*part.shape, *[1] * trailing))
        total = part if total is None else _sum(total, part)
    assert total is not None
    return broadcast_to(total, shape)


def broadcast_shapes_of(tensors: list[Tensor]) -> tuple[int, ...]:
    """The common shape of index tensors; IndexError where there is none."""
    shapes = [t.shape for t in tensors]
    try:
        return broadcast_shapes(*shapes)
    except ShapeError:
        raise TgIndexError(f"index: the indices of shapes {shapes} do not broadcast") from None


def _put(x: Tensor, flat: Tensor, value: Any, accumulate: bool) -> Any:
    """A row-major copy of x's array with value stored or added at flat."""
    y = kernels.of(x._array).copy(x._array, "C")
    kernels.of(y).put(y, flat._array, value, accumulate)
    return y


def _stored(flat: Tensor, size: int) -> Tensor:
    """Whether each element of flat is the last to name its position, and so what stays there."""
    order = np.arange(flat._array.size, dtype=np.int64).reshape(flat.shape)
    winners = np.full(size, -1, np.int64)
    k = kernels.of(winners)
    k.put(winners, flat._array, order, False)
    return from_numpy(k.take(winners, flat._array, 0)) == from_numpy(order)


def _erase(g: Tensor, flat: Tensor) -> Tensor:
    """g with zeros at flat."""
    return record(PUT_ZERO, _put(g, flat, np.zeros((), g.dtype), False), (g,), flat)


def _put_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    flat, accumulate = params
    kept = value = None
    if need[0]:
        kept = g if accumulate else _erase(g, flat)
    if need[1]:
        value = take_slices(reshape(g, -1), flat, 0)
        if not accumulate:
            value = value * _stored(flat, g._array.size)
        value = sum_to(value, nodes[1].shape)
    return kept, value


PUT = explicit("index_put", _put_vjp)
PUT_ZERO = linear("index_put_zero", lambda g, flat, shape: _erase(g, flat))


def _assigned(op: str, x: Tensor, index: Any, value: Any) -> tuple[Tensor, Tensor]:
    """Where x[index] lies, and value converted to x's dtype and checked against that shape."""
    try:
        flat = _flat_index(x, index)
    except TgIndexError as e:
        raise renamed(e, op, f" (the tensor has shape {x.shape})") from None
    v = assigned(op, value, x.dtype)
    while v.ndim > flat.ndim and v.shape[0] == 1:
        v = reshape(v, v.shape[1:])
    lead = flat.ndim - v.ndim
    if lead < 0 or builtins.any(
        n not in (1, m) for n, m in zip(v.shape, flat.shape[lead:], strict=True)
    ):
        raise ShapeError(
            f"{op}: a value of shape {v.shape} does not broadcast to the indexed shape {flat.shape}"
        )
    return flat, v


def advanced_setitem(x: Tensor, index: Any, value: Any) -> None:
    """``x[index] = value`` where index holds tensors, arrays, lists or masks.

    value broadcasts to the shape of ``x[index]``; of equal positions the last one stays. Recorded
    where x or value requires grad. Raises IndexError, ShapeError.
    """
    _assign("setitem", x, index, value, False)


def _assign(op: str, x: Tensor, index: Any, value: Any, accumulate: bool) -> None:
    flat, v = _assigned(op, x, index, value)
    if not x._writable(op, (v,)):
        y = _put(x, flat, v._array, accumulate)
        x._rebind(record(PUT, y, (x, v), (flat, accumulate)))
        return
    a = x._array
    k = kernels.of(a)
    if a.flags.c_contiguous:
        k.put(a, flat._array, v._array, accumulate)
    else:
        k.copy_into(a, _put(x, flat, v._array, accumulate))
    x._written()


def index_put(input: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """input with values stored at ``input[indices]``, or added there with accumulate; indices is a
    tuple of tensors.

    >>> import tilegrad as tg
    >>> tg.index_put(tg.zeros(3), (tg.tensor([0, 0]),), tg.tensor([1.0, 2.0]), accumulate=True)
    tensor([3., 0., 0.])
    """
    flat, v = _assigned("index_put", input, tuple(indices), values)
    y = _put(input, flat, v._array, accumulate)
    return record(PUT, y, (input, v), (flat, accumulate))


def index_put_(input: Tensor, indices: Any, values: Any, accumulate: bool = False) -> Tensor:
    """As index_put, written into this tensor; returns it."""
    _assign("index_put_", input, tuple(indices), values, accumulate)
    return input


METHODS: dict[str, Any] = {"index_put": index_put, "index_put_": index_put_}

__all__ = ["index_put"]
