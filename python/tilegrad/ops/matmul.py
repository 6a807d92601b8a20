"""Products of matrices and vectors. All of them are one bilinear kernel and views."""

from __future__ import annotations

import math
from typing import Any

from .. import kernels
from ..errors import ShapeError, renamed
from ..tensor import Tensor
from .rules import _SUM, _new, bilinear, promote, record, sum_to
from .shape import reshape, squeeze, transpose, unsqueeze

# --- rules ----------------------------------------------------------------------------------------


def _left(g: Tensor, b: Tensor, params: Any, shape: tuple[int, ...]) -> Tensor:
    return sum_to(_product(g, transpose(b, -1, -2)), shape)


def _right(g: Tensor, a: Tensor, params: Any, shape: tuple[int, ...]) -> Tensor:
    if len(shape) == 2 and a.ndim > 2:  # one product over all rows instead of a sum of products
        a, g = _rows(a), _rows(g)
    return sum_to(_product(transpose(a, -1, -2), g), shape)


def _matmul_fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> Any:
    a, b, _ = saved
    if a.ndim > 2 or b.ndim > 2:
        return MATMUL.vjp(g, need, (_new(a), _new(b)), None, params, nodes)
    product = kernels.of(a).matmul
    left = _new(product(g._array, b.T)) if need[0] else None
    return left, _new(product(a.T, g._array)) if need[1] else None


def _linear_fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> Any:
    x, w = saved[:2]
    rows, k = _rows(g)._array, kernels.of(w)
    gx = _new(k.matmul(rows, w).reshape(x.shape)) if need[0] else None
    gw = _new(k.matmul(rows.T, _rows(_new(x))._array)) if need[1] else None
    if len(need) == 2:
        return gx, gw
    return gx, gw, _new(k.reduce(_SUM, rows, (0,), False)) if need[2] else None


MATMUL = bilinear("matmul", _left, _right, fused=_matmul_fused)
LINEAR = bilinear(
    "linear",
    lambda g, w, params, shape: matmul(g, w),
    lambda g, x, params, shape: _product(transpose(_rows(g), 0, 1), _rows(x)),
    lambda g, params: sum_to(g, g.shape[-1:]),
    _linear_fused,
)


def _rows(x: Tensor) -> Tensor:
    """x (..., n) as (rows, n)."""
    s = x.shape
    return x if len(s) == 2 else reshape(x, math.prod(s[:-1]), s[-1])


def _product(a: Tensor, b: Tensor) -> Tensor:
    x, y = a._array, b._array
    return record(MATMUL, kernels.of(x).matmul(x, y), (a, b))


def operands(op: str, *xs: Any) -> Any:
    """xs as tensors of one dtype."""
    first = xs[0]
    if isinstance(first, Tensor):
        d = first._array.dtype
        for x in xs:
            if not isinstance(x, Tensor) or x._array.dtype != d:
                break
        else:
            return xs
    return promote(op, *xs)


def _expect(op: str, a: Tensor, b: Tensor, ndims: tuple[int, int]) -> None:
    if (a.ndim, b.ndim) != ndims:
        raise ShapeError(
            f"{op}: expects tensors of {ndims[0]} and {ndims[1]} dimensions, got input of shape "
            f"{a.shape} and a second operand of shape {b.shape}"
        )


# --- functions ------------------------------------------------------------------------------------


def matmul(input: Any, other: Any) -> Tensor:
    """The matrix product, also written ``input @ other``.

    Both 1-d: their dot product. One 1-d: a row (input) or column (other) that is dropped from the
    result. Else (..., m, k) @ (..., k, n) -> (..., m, n), leading axes broadcast. Dtypes are
    promoted; bool raises DTypeError. float16 and bfloat16 sum in float32. Raises ShapeError when
    the inner sizes differ, the leading axes do not broadcast or an operand has no dimensions.

    >>> import tilegrad as tg
    >>> tg.matmul(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([1.0, 1.0]))
    tensor([3., 7.])
    """
    a, b = operands("matmul", input, other)
    na, nb = a._array.ndim, b._array.ndim
    if na > 1 and nb > 1:
        return _product(a, b)
    if na == 0 or nb == 0:
        raise ShapeError(
            f"matmul: expects at least 1 dimension, got input {a.shape} and other {b.shape}"
        )
    if a.shape[-1] != b.shape[0 if nb == 1 else -2]:
        raise ShapeError(
            f"matmul: axis -1 of input {a.shape} has {a.shape[-1]}, but axis "
            f"{-min(nb, 2)} of other {b.shape} has {b.shape[-min(nb, 2)]}"
        )
    y = _product(unsqueeze(a, 0) if na == 1 else a, unsqueeze(b, 1) if nb == 1 else b)
    if na == 1:
        y = squeeze(y, -2)
    return squeeze(y, -1) if nb == 1 else y


def mm(input: Any, mat2: Any) -> Tensor:
    """The product of two matrices, input (m, k) and mat2 (k, n), without broadcasting.

    >>> import tilegrad as tg
    >>> tg.mm(tg.ones(2, 3), tg.ones(3, 4)).shape
    (2, 4)
    """
    a, b = operands("mm", input, mat2)
    _expect("mm", a, b, (2, 2))
    try:
        return _product(a, b)
    except ShapeError as e:
        raise renamed(e, "mm", other="mat2") from None


def bmm(input: Any, mat2: Any) -> Tensor:
    """The products of two batches of matrices, input (n, m, k) and mat2 (n, k, p).

    >>> import tilegrad as tg
    >>> tg.bmm(tg.ones(5, 2, 3), tg.ones(5, 3, 4)).shape
    (5, 2, 4)
    """
    a, b = operands("bmm", input, mat2)
    _expect("bmm", a, b, (3, 3))
    if a.shape[0] != b.shape[0]:
        raise ShapeError(
            f"bmm: input holds {a.shape[0]} matrices (shape {a.shape}), but mat2 holds "
            f"{b.shape[0]} (shape {b.shape})"
        )
    try:
        return _product(a, b)
    except ShapeError as e:
        raise renamed(e, "bmm", other="mat2") from None


def mv(input: Any, vec: Any) -> Tensor:
    """The product of a matrix, input (m, k), and a vector, vec (k,).

    >>> import tilegrad as tg
    >>> tg.mv(tg.ones(2, 3), tg.ones(3))
    tensor([3., 3.])
    """
    a, b = operands("mv", input, vec)
    _expect("mv", a, b, (2, 1))
    try:
        return matmul(a, b)
    except ShapeError as e:
        raise renamed(e, "mv", other="vec") from None


def dot(input: Any, tensor: Any) -> Tensor:
    """The sum of the products of the elements of two vectors, input and tensor, of one length.

    >>> import tilegrad as tg
    >>> tg.dot(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    tensor(11.)
    """
    a, b = operands("dot", input, tensor)
    _expect("dot", a, b, (1, 1))
    try:
        return matmul(a, b)
    except ShapeError as e:
        raise renamed(e, "dot", other="tensor") from None


def outer(input: Any, vec2: Any) -> Tensor:
    """The products of every element of input (n,) with every element of vec2 (m,): (n, m).

    >>> import tilegrad as tg
    >>> tg.outer(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    tensor([[3., 4.],
            [6., 8.]])
    """
    a, b = operands("outer", input, vec2)
    _expect("outer", a, b, (1, 1))
    return unsqueeze(a, 1) * unsqueeze(b, 0)


def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """``input @ weight.T + bias``, in one kernel.

    input (..., features); weight (outputs, features), or (features,) for a single output without
    an axis of its own; bias (outputs,) or None. Floating dtypes. Raises ShapeError when sizes
    differ.

    >>> import tilegrad as tg
    >>> tg.linear(tg.ones(2, 3), tg.ones(4, 3), tg.zeros(4)).shape
    (2, 4)
    """
    if bias is None:
        (x, w), b = operands("linear", input, weight), None
    else:
        x, w, b = operands("linear", input, weight, bias)
    if w.ndim == 1:
        y = matmul(x, w)
        return y if b is None else y + b
    y = kernels.of(x._array).linear(x._array, w._array, None if b is None else b._array)
    return record(LINEAR, y, (x, w) if b is None else (x, w, b))


METHODS = {
    "__matmul__": matmul,
    "__rmatmul__": lambda self, other: matmul(other, self),
    **{f.__name__: f for f in (matmul, mm, bmm, mv, dot, outer)},
}

__all__ = ["bmm", "dot", "linear", "matmul", "mm", "mv", "outer"]
