"""Norms and products."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..ops import diagonals, moments
from ..ops.binary import mul, sub
from ..ops.complexes import conj
from ..ops.contraction import chain
from ..ops.join import roll
from ..ops.reduce import amax, amin, sum
from ..ops.rules import as_operand, axes_of, axis_of, convert, promote
from ..ops.shape import broadcast_tensors, movedim, reshape, squeeze, unsqueeze
from ..ops.statistics import vander as _vander
from ..ops.unary import abs
from ..tensor import Tensor
from .common import matrix
from .spectral import svdvals


def vector_norm(
    x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of x as vectors along dim (an int, a tuple, None: all): sum(|x|**ord) to the power
    1/ord, inf and -inf for the extremes, 0 for the count of what is not zero.

    x: any shape and floating dtype. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.linalg.vector_norm(tg.tensor([3.0, -4.0]), float("inf"))
    tensor(4.)
    """
    x = as_operand(x, "linalg.vector_norm", "x")
    return moments.norm(x, float(ord), dim, keepdim, dtype=dtype)


_SUMMED = (1, -1, float("inf"), -float("inf"))


def _extreme(x: Tensor, axis: int, keepdim: bool, largest: bool) -> Tensor:
    """The largest of the numbers >= 0 along axis, 0 of none; or the smallest."""
    if largest and x.shape[axis] == 0:
        return sum(x, axis, keepdim)
    return (amax if largest else amin)(x, axis, keepdim)


def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of the matrices in two axes dim of A: ord "fro", "nuc" (the sum of the singular
    values), 2 and -2 (their extremes), 1 and -1 (extremes of the column sums of |A|), inf and -inf
    (of the row sums).

    Raises ShapeError, DTypeError, ValueError for another ord.

    >>> import tilegrad as tg
    >>> tg.linalg.matrix_norm(tg.tensor([[1.0, -2.0], [3.0, 4.0]]), 1)
    tensor(6.)
    """
    (x,) = promote("linalg.matrix_norm", A)
    x = x if dtype is None else convert(x, dtypes.dtype(dtype))
    if x.ndim < 2 or not isinstance(dim, (tuple, list)) or len(dim) != 2:
        raise ShapeError(f"linalg.matrix_norm: expects two axes dim of two or more, got {dim} for "
                         f"shape {x.shape}")  # fmt: skip
    axes_of(tuple(dim), x.ndim, "linalg.matrix_norm")
    rows, columns = (axis_of(d, x.ndim, "linalg.matrix_norm") for d in dim)
    if ord == "fro":
        return moments.norm(x, 2, (rows, columns), keepdim)
    if ord in _SUMMED:
        gone, left = (rows, columns) if ord in (1, -1) else (columns, rows)
        y = _extreme(sum(abs(x), gone, True), left, True, ord > 0)
    elif ord in ("nuc", 2, -2):
        s = svdvals(matrix("linalg.matrix_norm", movedim(x, (rows, columns), (-2, -1))))
        y = sum(s, -1) if ord == "nuc" else _extreme(s, -1, False, ord > 0)
        if not keepdim:
            return y
        y = movedim(reshape(y, (*y.shape, 1, 1)), (-2, -1), (rows, columns))
    else:
        raise TgValueError(f"linalg.matrix_norm: no norm is named {ord!r}")
    return y if keepdim else squeeze(y, (rows, columns))


def norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A vector norm or a matrix norm. Without ord, the 2-norm of all elements in dim; with ord, of
    matrices where dim names two axes (or A has two and dim is None), of vectors otherwise.

    A: floating; ord, keepdim and dtype as for vector_norm and matrix_norm.

    >>> import tilegrad as tg
    >>> tg.linalg.norm(tg.tensor([[3.0, 0.0], [0.0, 4.0]]), "nuc")
    tensor(7.)
    """
    x = as_operand(A, "linalg.norm")
    if ord is None:
        return vector_norm(x, 2, dim, keepdim, dtype=dtype)
    pair = isinstance(dim, (tuple, list)) and len(dim) == 2
    if pair or (dim is None and x.ndim == 2):
        return matrix_norm(x, ord, dim if pair else (-2, -1), keepdim, dtype=dtype)
    if isinstance(ord, str) or (dim is None and x.ndim > 2):
        raise TgValueError(f"linalg.norm: ord {ord!r} needs dim to name the axes of {x.shape}")
    return vector_norm(x, ord, dim, keepdim, dtype=dtype)


# --- products -------------------------------------------------------------------------------------
def cross(input: Any, other: Any, *, dim: int = -1) -> Tensor:
    """The cross products of vectors of three elements along dim; the other axes broadcast.

    Raises ShapeError.

    >>> import tilegrad as tg
    >>> tg.linalg.cross(tg.tensor([1.0, 0.0, 0.0]), tg.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    a, b = promote("linalg.cross", input, other)
    if a.ndim != b.ndim or a.ndim == 0:
        raise ShapeError(f"linalg.cross: expects as many axes, got {a.shape} and {b.shape}")
    d = axis_of(dim, a.ndim, "linalg.cross")
    if a.shape[d] != 3 or b.shape[d] != 3:
        raise ShapeError(f"linalg.cross: expects length 3 along dim {dim}, got {a.shape} and "
                         f"{b.shape}")  # fmt: skip
    a, b = broadcast_tensors(a, b)
    return sub(mul(roll(a, -1, d), roll(b, -2, d)), mul(roll(a, -2, d), roll(b, -1, d)))


def vecdot(x: Any, y: Any, *, dim: int = -1) -> Tensor:
    """The sums of the products of conj(x) and y along dim; the other axes broadcast.

    >>> import tilegrad as tg
    >>> tg.linalg.vecdot(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    tensor(11.)
    """
    return sum(mul(conj(as_operand(x, "linalg.vecdot", "x")), y), dim)


def multi_dot(tensors: Any) -> Tensor:
    """The product of two matrices or more, in the order of multiplication that costs least; the
    first and the last of the tensors may be vectors. Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.linalg.multi_dot([tg.ones(2), tg.ones(2, 3), tg.ones(3)])
    tensor(6.)
    """
    if not isinstance(tensors, (tuple, list)):
        kind = type(tensors).__name__
        raise DTypeError(f"linalg.multi_dot: tensors must be a tuple or list, got {kind}")
    parts = promote("linalg.multi_dot", *tensors) if len(tensors) else []
    if len(parts) < 2:
        raise TgValueError(f"linalg.multi_dot: expects at least 2 tensors, got {len(parts)}")
    row, column = parts[0].ndim == 1, parts[-1].ndim == 1
    parts[0] = unsqueeze(parts[0], 0) if row else parts[0]
    parts[-1] = unsqueeze(parts[-1], 1) if column else parts[-1]
    for x in parts:
        if x.ndim != 2:
            raise ShapeError(f"linalg.multi_dot: expects matrices, got shape {x.shape}")
    y = chain(parts, "linalg.multi_dot")
    y = squeeze(y, 1) if column else y
    return squeeze(y, 0) if row else y


def diagonal(A: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """As tilegrad.diagonal, of the last two axes of A unless dim1 and dim2 say otherwise; offset as
    there.

    >>> import tilegrad as tg
    >>> tg.linalg.diagonal(tg.ones(5, 2, 3)).shape
    (5, 2)
    """
    return diagonals.diagonal(A, offset, dim1, dim2)


def vander(x: Any, *, N: int | None = None) -> Tensor:
    """The Vandermonde matrices of the vectors in the last axis of x: powers 0 to N - 1 as columns.

    N: the length of the vectors unless given.

    >>> import tilegrad as tg
    >>> tg.linalg.vander(tg.tensor([2.0, 3.0]))
    tensor([[1., 2.],
            [1., 3.]])
    """
    v = as_operand(x, "linalg.vander")
    if v.ndim == 0:
        raise ShapeError("linalg.vander: expects at least 1 dimension, got shape ()")
    n = v.shape[-1] if N is None else N
    return reshape(_vander(reshape(v, -1), n, True), (*v.shape, n))
