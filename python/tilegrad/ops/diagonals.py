"""Diagonals of the last or any two axes, and grids of indices and coordinates."""

from __future__ import annotations

import builtins
import itertools
import math
from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor
from .create import _from_host, _require_memory, _shape
from .index import take_slices
from .join import cat, stack
from .reduce import sum
from .rules import as_operand, axis_of, constant, linear, promote, record, record_view, zeros
from .shape import broadcast_tensors, clone, permute, reshape
from .slicing import setitem


# --- diagonals ------------------------------------------------------------------------------------
def _diagonal(a: Any, offset: int, axis1: int, axis2: int) -> Any:
    """NumPy's view, writable where a is."""
    y = a.diagonal(offset, axis1, axis2)
    y.flags.writeable = a.flags.writeable
    return y


def _on_diagonal(g: Tensor, params: tuple[int, int, int], shape: tuple[int, ...]) -> Tensor:
    """Zeros of the given shape with g on a diagonal: the transpose of diagonal."""
    y = zeros(shape, g.dtype)._array
    kernels.of(y).copy_into(_diagonal(y, *params), g._array)
    return record(EMBED, y, (g,), params)


def _picked(x: Tensor, params: tuple[int, int, int]) -> Tensor:
    return record_view(DIAGONAL, _diagonal(x._array, *params), x, params)


DIAGONAL = linear("diagonal", _on_diagonal)
EMBED = linear("diagonal_embed", lambda g, params, shape: _picked(g, params))


def _two_axes(op: str, dim1: int, dim2: int, ndim: int) -> tuple[int, int]:
    if ndim < 2:
        raise ShapeError(f"{op}: expects at least 2 dimensions, got {ndim}")
    i, j = axis_of(dim1, ndim, op), axis_of(dim2, ndim, op)
    if i == j:
        raise TgValueError(f"{op}: dim1 and dim2 name one axis, {dim1} and {dim2}")
    return i, j


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The view of a diagonal of the axes dim1 and dim2, as the last axis.

    offset: above (positive) or below the main diagonal. Raises ShapeError below 2 dimensions.

    >>> import tilegrad as tg
    >>> tg.diagonal(tg.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    x = as_operand(input, "diagonal")
    return _picked(x, (int(offset), *_two_axes("diagonal", dim1, dim2, x.ndim)))


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zeros with the last axis of input on a diagonal of two new axes, dim1 and dim2 of the result.

    offset: above (positive) or below the main diagonal.

    >>> import tilegrad as tg
    >>> tg.diag_embed(tg.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    x = as_operand(input, "diag_embed")
    if x.ndim == 0:
        raise ShapeError("diag_embed: expects at least 1 dimension, got shape ()")
    i, j = _two_axes("diag_embed", dim1, dim2, x.ndim + 1)
    n = x.shape[-1] + abs(offset)
    if i > j:  # the rows lie behind the columns
        i, j, offset = j, i, -offset
    shape = list(x.shape[:-1])
    shape.insert(i, n)
    shape.insert(j, n)
    _require_memory("diag_embed", math.prod(shape))
    return _on_diagonal(x, (int(offset), i, j), tuple(shape))


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """A vector as the diagonal of a matrix, or the diagonal of a matrix as a vector.

    diagonal: above (positive) or below the main one. Raises ShapeError for other dimensions.

    >>> import tilegrad as tg
    >>> tg.diag(tg.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    x = as_operand(input, "diag")
    if x.ndim == 1:
        return diag_embed(x, diagonal)
    if x.ndim != 2:
        raise ShapeError(f"diag: expects 1 or 2 dimensions, got shape {x.shape}")
    return clone(_picked(x, (int(diagonal), 0, 1)))


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The elements of input on a diagonal of a matrix; offset as for diagonal.

    >>> import tilegrad as tg
    >>> tg.diagflat(tg.tensor([[1], [2]]))
    tensor([[1, 0],
            [0, 2]])
    """
    return diag_embed(reshape(as_operand(input, "diagflat"), -1), offset)


def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix. Raises ShapeError for other dimensions.

    >>> import tilegrad as tg
    >>> tg.trace(tg.tensor([[1, 2], [3, 4]]))
    tensor(5)
    """
    x = as_operand(input, "trace")
    if x.ndim != 2:
        raise ShapeError(f"trace: expects a matrix, got shape {x.shape}")
    return sum(diagonal(x))


def diagonal_scatter(
    input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy of input with src in place of its diagonal; offset, dim1 and dim2 as for diagonal.

    Raises ShapeError unless src has the shape of that diagonal.

    >>> import tilegrad as tg
    >>> tg.diagonal_scatter(tg.zeros(2, 2), tg.ones(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    x, v = promote("diagonal_scatter", input, src)
    hole = diagonal(x, offset, dim1, dim2)
    if v.shape != hole.shape:
        raise ShapeError(f"diagonal_scatter: expects src of shape {hole.shape}, got {v.shape}")
    i, j = _two_axes("diagonal_scatter", dim1, dim2, x.ndim)
    return x + _on_diagonal(v - hole, (int(offset), i, j), x.shape)


def fill_diagonal_(input: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """fill_value on the main diagonal, in place; returns the tensor.

    input: at least 2 dimensions, of one length where there are more. wrap: the diagonal of a tall
    matrix goes on after a row of distance.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 2).fill_diagonal_(5)
    tensor([[5., 0.],
            [0., 5.]])
    """
    s = input.shape
    if len(s) < 2 or (len(s) > 2 and len(set(s)) > 1):
        raise ShapeError(f"fill_diagonal_: expects a matrix or axes of one length, got {s}")
    step = _diagonal_step(s)
    stop = math.prod(s) if wrap and len(s) == 2 else min(s) * step
    at = np.unravel_index(np.arange(0, min(stop, math.prod(s)), step), s)
    setitem(input, tuple(constant(i) for i in at), fill_value)
    return input


def _diagonal_step(shape: tuple[int, ...]) -> int:
    """The distance of neighbours on the main diagonal, in elements of a contiguous tensor."""
    step = total = 1
    for n in shape[:0:-1]:
        step *= n
        total += step
    return total


def block_diag(*tensors: Any) -> Tensor:
    """The matrices (tensors) along the diagonal of one, zeros elsewhere; vectors are rows.

    Raises ShapeError for more than 2 dimensions.

    >>> import tilegrad as tg
    >>> tg.block_diag(tg.tensor([[1]]), tg.tensor([[2, 3]]))
    tensor([[1, 0, 0],
            [0, 2, 3]])
    """
    if not tensors:
        return constant(np.zeros((1, 0), dtypes.get_default_dtype()))
    parts = []
    for x in promote("block_diag", *tensors):
        if x.ndim > 2:
            raise ShapeError(f"block_diag: expects at most 2 dimensions, got shape {x.shape}")
        parts.append(x if x.ndim == 2 else reshape(x, (1, -1)))
    width = builtins.sum(x.shape[1] for x in parts)
    rows, start = [], 0
    for x in parts:
        m, n = x.shape
        pieces = [zeros((m, start), x.dtype), x, zeros((m, width - start - n), x.dtype)]
        rows.append(cat(pieces, 1))
        start += n
    return cat(rows, 0)


# --- grids ----------------------------------------------------------------------------------------
@constants
def _triangle_indices(
    op: str, row: int, col: int, offset: int, dtype: Any, device: Any, lower: bool
) -> Tensor:
    m, n = _shape(op, (row, col))
    _require_memory(op, m * n)
    keep = np.tri(m, n, offset if lower else offset - 1, dtype=np.bool_)
    at = np.stack(np.nonzero(keep if lower else ~keep))
    return _from_host(at, dtypes.int64 if dtype is None else dtype, device, False)


def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """The indices, (2, count), of the elements of a row x col matrix on and below a diagonal.

    offset: of the diagonal, upwards. dtype: int64 unless given.

    >>> import tilegrad as tg
    >>> tg.tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    return _triangle_indices("tril_indices", row, col, offset, dtype, device, True)


def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """As tril_indices, for the elements on and above the diagonal.

    >>> import tilegrad as tg
    >>> tg.triu_indices(2, 2)
    tensor([[0, 0, 1],
            [0, 1, 1]])
    """
    return _triangle_indices("triu_indices", row, col, offset, dtype, device, False)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Views of the vectors, each along an axis of its own, stretched to the grid of all.

    tensors: of at most one dimension, as arguments or one list. indexing: "ij", or "xy", which
    exchanges the first two axes. Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> [x.tolist() for x in tg.meshgrid(tg.tensor([1, 2]), tg.tensor([3, 4]))]
    [[[1, 1], [2, 2]], [[3, 4], [3, 4]]]
    """
    one = len(tensors) == 1 and isinstance(tensors[0], (tuple, list))
    parts = [as_operand(x, "meshgrid") for x in (tensors[0] if one else tensors)]
    if not parts:
        raise TgValueError("meshgrid: expects at least one tensor")
    if indexing not in ("ij", "xy"):
        raise TgValueError(f"meshgrid: indexing is 'ij' or 'xy', got {indexing!r}")
    for x in parts:
        if x.ndim > 1:
            raise ShapeError(f"meshgrid: expects vectors, got shape {x.shape}")
        if x.dtype != parts[0].dtype:
            raise DTypeError(f"meshgrid: expects one dtype, got {x.dtype} and {parts[0].dtype}")
    n = len(parts)
    grids = broadcast_tensors(*[reshape(x, (-1, *[1] * (n - i - 1))) for i, x in enumerate(parts)])
    if indexing == "ij" or n < 2:
        return grids
    return tuple(permute(x, (1, 0, *range(2, n))) for x in grids)


def cartesian_prod(*tensors: Any) -> Tensor:
    """Every combination of an element of each of the vectors, a row each; one vector is returned.

    tensors: vectors of one dtype.

    >>> import tilegrad as tg
    >>> tg.cartesian_prod(tg.tensor([1, 2]), tg.tensor([3]))
    tensor([[1, 3],
            [2, 3]])
    """
    grids = meshgrid(*tensors)
    if len(grids) == 1:
        return grids[0]
    return stack([reshape(x, -1) for x in grids], 1)


@constants
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """The choices of r elements of a vector, a row each, in the order of their positions.

    with_replacement: an element may be chosen again. Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.combinations(tg.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    x = as_operand(input, "combinations")
    if x.ndim != 1:
        raise ShapeError(f"combinations: expects a vector, got shape {x.shape}")
    if r < 0:
        raise TgValueError(f"combinations: r must not be negative, got {r}")
    n = x.shape[0]
    if r == 0:
        return constant(np.zeros(0, x.dtype))
    count = math.comb(n + r - 1, r) if with_replacement else math.comb(n, r)
    _require_memory("combinations", count * r)
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    flat = itertools.chain.from_iterable(choose(range(n), r))
    at = np.fromiter(flat, np.int64, count * r).reshape(count, r)
    return take_slices(x, constant(at), 0)


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (diag, diag_embed, diagflat, diagonal, diagonal_scatter, fill_diagonal_, trace)
}

__all__ = [
    "block_diag", "cartesian_prod", "combinations", "diag", "diag_embed", "diagflat", "diagonal",
    "diagonal_scatter", "meshgrid", "trace", "tril_indices", "triu_indices",
]  # fmt: skip
