"""Basic indexing and taking apart: views by ints and slices, and their transposes."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from .. import kernels
from ..errors import IndexError as TgIndexError
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor
from .rules import assigned, axis_of, explicit, linear, record, record_view, sum_to, zeros
from .shape import reshape


def _embed_vjp(g: Tensor, params: Any, shape: Any) -> Tensor:
    return record_view(INDEX, g._array[params], g, params)


EMBED = linear("index_embed", _embed_vjp)


def _embed(g: Tensor, index: Any, shape: tuple[int, ...]) -> Tensor:
    """Zeros of the given shape with g at index: the transpose of basic indexing."""
    y = zeros(shape, g.dtype)._array
    kernels.of(y).copy_into(y[index], g._array)
    return record(EMBED, y, (g,), index)


INDEX = linear("index", _embed)


def basic_index(index: Any) -> tuple | None:
    """The index as a tuple ending in an Ellipsis, or None unless it is made of ints, slices, None
    and Ellipsis only."""
    items = index if isinstance(index, tuple) else (index,)
    out: list[Any] = []
    for i in items:
        if i is None or i is Ellipsis or isinstance(i, slice):
            out.append(i)
        elif isinstance(i, (bool, np.bool_)):
            return None
        elif isinstance(i, (int, np.integer)):
            out.append(int(i))
        elif isinstance(i, Tensor) and i.ndim == 0 and i.dtype.kind in "iu":
            out.append(int(i))
        else:
            return None
    if not any(i is Ellipsis for i in out):
        out.append(Ellipsis)
    return tuple(out)


def getitem(input: Tensor, index: Any) -> Tensor:
    """``x[index]``: a view for ints, slices, None and Ellipsis, a copy for tensors and masks.

    Raises IndexError when an index is out of range or there are too many.

    >>> import tilegrad as tg
    >>> tg.arange(6).reshape(2, 3)[1, ::2]
    tensor([3, 5])
    """
    basic = basic_index(index)
    if basic is None:
        from .advanced import advanced_getitem

        return advanced_getitem(input, index)
    try:
        a = input._array[basic]
    except IndexError as e:
        raise TgIndexError(f"index: {e}; the tensor has shape {input.shape}") from None
    return record_view(INDEX, a, input, basic)


@constants
def _overwrite_vjp(g: Tensor, need: Any, inputs: Any, out: Any, index: Any, nodes: Any) -> Any:
    kept = inserted = None
    if need[0]:
        y = kernels.of(g._array).copy(g._array)
        hole = y[index]
        kernels.of(y).copy_into(hole, np.zeros((), y.dtype))
        kept = record(ERASE, y, (g,), index)
    if need[1]:
        inserted = sum_to(record_view(INDEX, g._array[index], g, index), nodes[1].shape)
    return kept, inserted


def _erase_vjp(g: Tensor, index: Any, shape: Any) -> Tensor:
    y = kernels.of(g._array).copy(g._array)
    kernels.of(y).copy_into(y[index], np.zeros((), y.dtype))
    return record(ERASE, y, (g,), index)


ERASE = linear("index_erase", _erase_vjp)
OVERWRITE = explicit("setitem", _overwrite_vjp)


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """``x[index] = value`` with broadcasting; recorded where either requires grad.

    Raises IndexError, ShapeError, and GradientError on a leaf that requires grad.

    >>> import tilegrad as tg
    >>> x = tg.zeros(3)
    >>> x[1:] = 5
    >>> x
    tensor([0., 5., 5.])
    """
    basic = basic_index(index)
    if basic is None:
        from .advanced import advanced_setitem

        advanced_setitem(input, index, value)
        return
    v = assigned("setitem", value, input.dtype)
    try:
        target = input._array[basic]
    except IndexError as e:
        raise TgIndexError(f"setitem: {e}; the tensor has shape {input.shape}") from None
    # As NumPy and PyTorch: leading axes of length 1 of the value do not count.
    while v.ndim > target.ndim and v.shape[0] == 1:
        v = reshape(v, v.shape[1:])
    try:
        if input._writable("setitem", (v,)):
            kernels.of(target).copy_into(target, v._array)
            input._written()
            return
        y = kernels.of(input._array).copy(input._array)
        kernels.of(y).copy_into(y[basic], v._array)
    except ShapeError:
        raise ShapeError(
            f"setitem: a value of shape {v.shape} does not broadcast to the indexed shape "
            f"{target.shape}"
        ) from None
    input._rebind(record(OVERWRITE, y, (input, v), basic))


def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """``x[...] = src``; returns x.

    >>> import tilegrad as tg
    >>> tg.zeros(2).copy_(tg.ones(2))
    tensor([1., 1.])
    """
    setitem(input, ..., src)
    return input


def fill_(input: Tensor, value: Any) -> Tensor:
    """Every element becomes value; returns x.

    >>> import tilegrad as tg
    >>> tg.zeros(2).fill_(3)
    tensor([3., 3.])
    """
    setitem(input, ..., value)
    return input


def zero_(input: Tensor) -> Tensor:
    """Every element becomes zero; returns x.

    >>> import tilegrad as tg
    >>> tg.ones(2).zero_()
    tensor([0., 0.])
    """
    return fill_(input, 0)


# --- taking apart ---------------------------------------------------------------------------------
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The view of length elements from start along dim.

    >>> import tilegrad as tg
    >>> tg.arange(5).narrow(0, 1, 3)
    tensor([1, 2, 3])
    """
    d = axis_of(dim, input.ndim, "narrow")
    n = input.shape[d]
    start = start + n if start < 0 else start
    if not (0 <= start and 0 <= length and start + length <= n):
        raise TgIndexError(f"narrow: start {start} and length {length} leave axis {dim} of {n}")
    return getitem(input, (slice(None),) * d + (slice(start, start + length),))


def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The view at one index along dim, without that axis.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3).select(1, 0).shape
    (2,)
    """
    d = axis_of(dim, input.ndim, "select")
    return getitem(input, (slice(None),) * d + (index,))


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The views at every index along dim.

    >>> import tilegrad as tg
    >>> tg.tensor([1, 2]).unbind()
    (tensor(1), tensor(2))
    """
    d = axis_of(dim, input.ndim, "unbind")
    return tuple(select(input, d, i) for i in range(input.shape[d]))


def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views along dim, of one length (the last may be shorter) or of the lengths given.

    split_size_or_sections: the length, or a list of lengths that add up to the axis.

    >>> import tilegrad as tg
    >>> [x.shape for x in tg.arange(5).split(2)]
    [(2,), (2,), (1,)]
    """
    d = axis_of(dim, input.ndim, "split")
    n = input.shape[d]
    if isinstance(split_size_or_sections, (tuple, list)):
        sizes = [int(s) for s in split_size_or_sections]
        if builtins.sum(sizes) != n or any(s < 0 for s in sizes):
            raise ShapeError(f"split: sections {sizes} do not add up to axis {dim} of length {n}")
    else:
        step = int(split_size_or_sections)
        if step < 1:
            raise TgValueError(f"split: the length must be at least 1, got {step}")
        sizes = [builtins.min(step, n - i) for i in range(0, n, step)] or [0]
    out, start = [], 0
    for s in sizes:
        out.append(narrow(input, d, start, s))
        start += s
    return tuple(out)


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` views of equal length along dim; the last may be shorter.

    >>> import tilegrad as tg
    >>> [x.shape for x in tg.arange(5).chunk(2)]
    [(3,), (2,)]
    """
    d = axis_of(dim, input.ndim, "chunk")
    if chunks < 1:
        raise TgValueError(f"chunk: chunks must be at least 1, got {chunks}")
    n = input.shape[d]
    return split(input, -(-n // chunks) if n else [0] * chunks, d)


METHODS: dict[str, Any] = {
    f.__name__: f for f in (copy_, fill_, zero_, narrow, select, unbind, split, chunk)
}
METHODS.update(__getitem__=getitem, __setitem__=setitem)

__all__ = ["chunk", "narrow", "select", "split", "unbind"]
