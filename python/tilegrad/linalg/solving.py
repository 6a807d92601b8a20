"""Determinants, inverses and systems of linear equations.

Source of the derivatives: Giles, An extended collection of matrix derivative results for forward
and reverse mode algorithmic differentiation, 2008; of pinv: Golub and Pereyra, 1973.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..ops.binary import add, eq, mul, sub, where
from ..ops.create import tril, triu
from ..ops.matmul import matmul
from ..ops.reduce import sum
from ..ops.rules import constant, explicit, record
from ..ops.shape import expand, movedim, reshape, squeeze, unsqueeze
from ..tensor import Tensor
from .common import batched, computed, eye_like, matrix, mt, precise


# --- inverse and determinant ----------------------------------------------------------------------
def _inv_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    return (-matmul(mt(out), matmul(g, mt(out))),)


_INV = explicit("inv", _inv_vjp, saves=(-1,))


def inv(A: Any) -> Tensor:
    """The inverse of the square matrices A (..., n, n).

    Raises LinAlgError where one is singular, ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.linalg.inv(tg.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]])
    """
    a = matrix("linalg.inv", A, square=True)
    return record(_INV, computed("linalg.inv", np.linalg.inv, a._array), (a,))


def _cofactors(a: Tensor) -> Tensor:
    """The derivative of det, also where it is zero: the products of all singular values but one."""
    from .spectral import svd

    u, s, vh = svd(a, full_matrices=False)
    n = s.shape[-1]
    one = eye_like(a, n)
    others = where(eq(one, 1), one, unsqueeze(s, -2)).prod(-1)
    turn = mul(_det(u), _det(vh))
    return mul(matmul(mul(u, unsqueeze(others, -2)), vh), reshape(turn, (*turn.shape, 1, 1)))


def _det_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    (a,) = inputs
    scale = lambda t: reshape(t, (*t.shape, 1, 1))  # noqa: E731
    if (out._array == 0).any():
        return (mul(_cofactors(a), scale(g)),)
    return (mul(mt(inv(a)), scale(mul(g, out))),)


_DET = explicit("det", _det_vjp, saves=(0, -1))


def _det(a: Tensor) -> Tensor:
    return record(_DET, np.asarray(np.linalg.det(a._array)), (a,))


def det(A: Any) -> Tensor:
    """The determinants of the square matrices A (..., n, n): (...). The gradient of singular ones
    is that of the singular value decomposition.

    >>> import tilegrad as tg
    >>> tg.linalg.det(tg.tensor([[2.0, 1.0], [1.0, 3.0]]))
    tensor(5.)
    """
    return _det(matrix("linalg.det", A, square=True))


class SignLog(NamedTuple):
    """What slogdet returns."""

    sign: Tensor
    logabsdet: Tensor


def _slogdet_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    return (mul(mt(inv(inputs[0])), reshape(g, (*g.shape, 1, 1))),)


_SLOGDET = explicit("slogdet", _slogdet_vjp, saves=(0,))


def slogdet(A: Any) -> SignLog:
    """The sign of the determinants of the square matrices A (..., n, n) and the logarithm of their
    magnitude, -inf where it is zero: (sign, logabsdet).

    >>> import tilegrad as tg
    >>> tg.linalg.slogdet(tg.tensor([[0.0, 1.0], [1.0, 0.0]]))
    SignLog(sign=tensor(-1.), logabsdet=tensor(0.))
    """
    a = matrix("linalg.slogdet", A, square=True)
    side, magnitude = np.linalg.slogdet(a._array)
    return SignLog(constant(np.asarray(side)), record(_SLOGDET, np.asarray(magnitude), (a,)))


def logdet(A: Any) -> Tensor:
    """The logarithm of the determinants of A (..., n, n); NaN where one is negative.

    >>> import tilegrad as tg
    >>> tg.logdet(tg.eye(2))
    tensor(0.)
    """
    side, magnitude = slogdet(A)
    return where(eq(side, -1), math.nan, magnitude)


# --- systems --------------------------------------------------------------------------------------
def _solve_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    gb = _solved(mt(inputs[0]), g, "linalg.solve")
    return (-matmul(gb, mt(out)) if need[0] else None), (gb if need[1] else None)


_SOLVE = explicit("solve", _solve_vjp, saves=(0, -1))


def _solved(a: Tensor, b: Tensor, op: str) -> Tensor:
    return record(_SOLVE, computed(op, np.linalg.solve, a._array, b._array), (a, b))


def solve(A: Any, B: Any, *, left: bool = True) -> Tensor:
    """X with A X = B, or with left=False X A = B; A (..., n, n), B (..., n, k), leading axes
    broadcast. With left, B may be vectors: (n,), or of A's leading shape (..., n).

    Raises LinAlgError where A is singular, ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.linalg.solve(tg.tensor([[2.0, 0.0], [0.0, 4.0]]), tg.tensor([2.0, 2.0]))
    tensor([1. , 0.5])
    """
    a, b = precise("linalg.solve", A, B)
    a = matrix("linalg.solve", a, square=True)
    vector = left and (b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1]))
    if vector:
        b = unsqueeze(b, -1)
    if b.ndim < 2 or b.shape[-2 if left else -1] != a.shape[-1]:
        raise ShapeError(f"linalg.solve: expects B of {a.shape[-1]} rows for A {a.shape}, got "
                         f"shape {b.shape}, left={left}")  # fmt: skip
    a, b = batched("linalg.solve", a, b)
    x = _solved(a, b, "linalg.solve") if left else mt(_solved(mt(a), mt(b), "linalg.solve"))
    return squeeze(x, -1) if vector else x


def _triangle(a: Tensor, upper: bool, unit: bool) -> Tensor:
    """The part of a that solve_triangular reads."""
    offset = int(unit)
    return triu(a, offset) if upper else tril(a, -offset)


def _triangular_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    upper, unit = params
    gb = _triangular(mt(inputs[0]), g, not upper, unit)
    ga = _triangle(-matmul(gb, mt(out)), upper, unit) if need[0] else None
    return ga, (gb if need[1] else None)


_TRIANGULAR = explicit("solve_triangular", _triangular_vjp, saves=(0, -1))


def _triangular(a: Tensor, b: Tensor, upper: bool, unit: bool) -> Tensor:
    x = _triangle(a.detach(), upper, unit)._array
    if unit:
        x = x + np.eye(x.shape[-1], dtype=x.dtype)
    y = b._array
    if not upper:  # an upper triangle needs no pivots, so that elimination is substitution
        x, y = x[..., ::-1, ::-1], y[..., ::-1, :]
    z = computed("linalg.solve_triangular", np.linalg.solve, x, y)
    return record(_TRIANGULAR, z if upper else z[..., ::-1, :], (a, b), (upper, unit))


def solve_triangular(
    A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """X with A X = B (left=False: X A = B) for triangular A (..., n, n) and B (..., n, k).

    What lies beyond the diagonal (upper: below it) is not read, nor, if unitriangular, itself.

    Raises LinAlgError where the diagonal holds a zero, ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.linalg.solve_triangular(tg.tensor([[2.0, 9.0], [1.0, 1.0]]), tg.ones(2, 1), upper=False)
    tensor([[0.5],
            [0.5]])
    """
    a, b = precise("linalg.solve_triangular", A, B)
    a = matrix("linalg.solve_triangular", a, square=True)
    if b.ndim < 2 or b.shape[-2 if left else -1] != a.shape[-1]:
        raise ShapeError(f"linalg.solve_triangular: expects B of {a.shape[-1]} rows for A {a.shape}"
                         f", got shape {b.shape}, left={left}")  # fmt: skip
    a, b = batched("linalg.solve_triangular", a, b)
    if left:
        return _triangular(a, b, upper, unitriangular)
    return mt(_triangular(mt(a), mt(b), not upper, unitriangular))


# --- cholesky -------------------------------------------------------------------------------------
def _cholesky_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    # gA = L^-T phi(L^T gL) L^-1, made symmetric; phi is the lower triangle, half on the diagonal.
    p = tril(matmul(mt(out), tril(g)))
    p = sub(p, mul(eye_like(g, g.shape[-1]), mul(p, 0.5)))
    s = mt(_triangular(mt(out), mt(_triangular(mt(out), p, True, False)), True, False))
    return (mul(add(s, mt(s)), 0.5),)


_CHOLESKY = explicit("cholesky", _cholesky_vjp, saves=(-1,))


def cholesky(A: Any, *, upper: bool = False) -> Tensor:
    """The lower triangular L with A = L L^T, for symmetric positive definite A (..., n, n).

    The lower triangle of A is read; upper: L^T is returned, from the upper one.

    Raises LinAlgError where A is not positive definite, ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.linalg.cholesky(tg.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    a = matrix("linalg.cholesky", A, square=True)
    if upper:
        return mt(cholesky(mt(a)))
    return record(_CHOLESKY, computed("linalg.cholesky", np.linalg.cholesky, a._array), (a,))


def cholesky_solve(B: Any, L: Any, upper: bool = False) -> Tensor:
    """X with A X = B, where L is the Cholesky factor of A (with upper, its transpose).

    B (..., n, k), L (..., n, n).

    >>> import tilegrad as tg
    >>> tg.cholesky_solve(tg.tensor([[4.0]]), tg.tensor([[2.0]]))
    tensor([[1.]])
    """
    low = mt(L) if upper else L
    y = solve_triangular(low, B, upper=False)
    return solve_triangular(mt(low), y, upper=True)


# --- pseudo-inverse -------------------------------------------------------------------------------
def _pinv_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    a, y, gt = inputs[0], out, mt(g)
    yt = mt(y)
    first = matmul(gt, matmul(y, yt))
    second = matmul(matmul(yt, y), gt)
    ga = -matmul(yt, matmul(g, yt))
    ga = add(ga, sub(first, matmul(a, matmul(y, first))))
    return (add(ga, sub(second, matmul(matmul(second, y), a))),)


_PINV = explicit("pinv", _pinv_vjp, saves=(0, -1))


def cutoff(op: str, a: Tensor, s: np.ndarray, atol: Any, rtol: Any) -> np.ndarray:
    """The largest singular value that counts as zero, from the descending s."""
    if rtol is None:
        eps = float(np.finfo(a.dtype).eps) * max(a.shape[-2:])
        rtol = 0.0 if atol is not None else eps
    low = np.asarray(0.0 if atol is None else getattr(atol, "_array", atol))
    part = np.asarray(getattr(rtol, "_array", rtol))
    top = s.max(-1) if s.shape[-1] else np.zeros(s.shape[:-1])
    try:
        return np.maximum(low, part * top)[..., None]
    except ValueError:
        raise ShapeError(f"{op}: atol and rtol do not broadcast to {s.shape[:-1]}") from None


def pinv(A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """The Moore-Penrose inverse of the matrices A (..., m, n): (..., n, m).

    Singular values up to max(atol, rtol * the largest) count as zero; rtol is max(m, n) eps unless
    one of the two is given. hermitian: A is symmetric (which is faster). The gradient takes the
    rank as constant.

    >>> import tilegrad as tg
    >>> tg.linalg.pinv(tg.tensor([[2.0], [0.0]]))
    tensor([[0.5, 0. ]])
    """
    a = matrix("linalg.pinv", A, square=hermitian)
    if hermitian:
        w, u = computed("linalg.pinv", np.linalg.eigh, a._array)
        vh = np.swapaxes(u, -1, -2)
    else:
        u, w, vh = computed("linalg.pinv", np.linalg.svd, a._array, full_matrices=False)
    s = np.abs(w)
    keep = s > cutoff("linalg.pinv", a, s, atol, rtol)
    r = np.where(keep, 1 / np.where(keep, w, 1), 0)
    y = np.swapaxes(vh, -1, -2) @ (r[..., None] * np.swapaxes(u, -1, -2))
    return record(_PINV, y.astype(a.dtype, copy=False), (a,))


class LeastSquares(NamedTuple):
    """What lstsq returns."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


_DRIVERS = (None, "gels", "gelsy", "gelsd", "gelss")


def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares:
    """The X of least norm that minimises the Frobenius norm of A X - B; A (..., m, n), B (..., m,
    k): (solution, residuals, rank, singular_values).

    rcond: singular values up to rcond times the largest count as zero, max(m, n) eps unless given.
    driver: "gelsy" (also None), "gels", "gelsd" or "gelss"; the singular value decomposition is
    always used. All but gelsy return residuals, the squared distances, where m > n and the rank is
    full; gelsd and gelss the singular values; all but gels the rank. What is not returned is empty.
    Raises ShapeError, DTypeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.linalg.lstsq(tg.tensor([[1.0], [1.0]]), tg.tensor([[1.0], [3.0]])).solution
    tensor([[2.]])
    """
    a, b = precise("linalg.lstsq", A, B)
    a = matrix("linalg.lstsq", a)
    if driver not in _DRIVERS:
        raise TgValueError(f"linalg.lstsq: driver must be one of {_DRIVERS}, got {driver!r}")
    vector = b.ndim == a.ndim - 1 and b.shape == a.shape[:-1]
    b = unsqueeze(b, -1) if vector else b
    if b.ndim < 2 or b.shape[-2] != a.shape[-2]:
        raise ShapeError(f"linalg.lstsq: A {a.shape} and B {b.shape} differ in rows")
    a, b = batched("linalg.lstsq", a, b)
    m, n = a.shape[-2:]
    s = computed("linalg.lstsq", np.linalg.svd, a._array, compute_uv=False)
    rank = (s > cutoff("linalg.lstsq", a, s, None, rcond)).sum(-1)
    x = matmul(pinv(a, rtol=rcond), b)
    error = sub(matmul(a, x), b)
    full = driver in ("gels", "gelsd", "gelss") and m > n and bool((rank == n).all())
    rest = sum(mul(error, error), -2) if full else constant(np.zeros(0, a.dtype))
    return LeastSquares(
        squeeze(x, -1) if vector else x,
        rest,
        constant(np.asarray(() if driver == "gels" else rank, np.int64)),
        constant(s if driver in ("gelsd", "gelss") else np.zeros(0, a.dtype)),
    )


# --- powers ---------------------------------------------------------------------------------------
def matrix_power(A: Any, n: int) -> Tensor:
    """The square matrices A (..., m, m) to the power n; of their inverses where n is negative.

    >>> import tilegrad as tg
    >>> tg.linalg.matrix_power(tg.tensor([[1.0, 1.0], [0.0, 1.0]]), 3)
    tensor([[1., 3.],
            [0., 1.]])
    """
    a = matrix("linalg.matrix_power", A, square=True)
    if n == 0:
        return add(expand(eye_like(a, a.shape[-1]), a.shape), mul(a, 0))
    a, n = (inv(a), -n) if n < 0 else (a, n)
    y: Tensor | None = None
    while n:
        if n & 1:
            y = a if y is None else matmul(y, a)
        n >>= 1
        a = matmul(a, a) if n else a
    return mul(a, 1) if y is None else y


_PADE = (64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
         10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182,
         1)  # fmt: skip


def matrix_exp(A: Any) -> Tensor:
    """e**A of the square matrices A (..., n, n), by scaling, a Pade approximant of degree 13 and
    squaring.

    Source: Higham, The scaling and squaring method for the matrix exponential revisited, 2005.

    >>> import tilegrad as tg
    >>> tg.linalg.matrix_exp(tg.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    a = matrix("linalg.matrix_exp", A, square=True)
    if a._array.size == 0:
        return mul(a, 1)
    norm = float(np.abs(a._array).sum(-2).max())
    if not math.isfinite(norm):
        return mul(a, math.nan)
    squarings = max(0, math.ceil(math.log2(norm / 5.371920351148152))) if norm > 0 else 0
    # Scaled so that the coefficients fit float32.
    c = [p / _PADE[0] for p in _PADE]
    one = eye_like(a, a.shape[-1])
    x = mul(a, 0.5**squarings)
    x2 = matmul(x, x)
    x4 = matmul(x2, x2)
    x6 = matmul(x4, x2)

    def series(first: int) -> Tensor:
        high = add(add(mul(x6, c[first + 12]), mul(x4, c[first + 10])), mul(x2, c[first + 8]))
        low = add(add(mul(x6, c[first + 6]), mul(x4, c[first + 4])), mul(x2, c[first + 2]))
        return add(add(matmul(x6, high), low), mul(one, c[first]))

    even, odd = series(0), matmul(x, series(1))
    y = _solved(sub(even, odd), add(even, odd), "linalg.matrix_exp")
    for _ in range(squarings):
        y = matmul(y, y)
    return y


# --- tensors as matrices --------------------------------------------------------------------------
def tensorinv(A: Any, ind: int = 2) -> Tensor:
    """The inverse of A as a map from its last axes to its first ind axes, of equal sizes.

    >>> import tilegrad as tg
    >>> tg.linalg.tensorinv(tg.eye(6).reshape(2, 3, 6), 2).shape
    (6, 2, 3)
    """
    (a,) = precise("linalg.tensorinv", A)
    if ind < 1 or math.prod(a.shape[:ind]) != math.prod(a.shape[ind:]):
        raise ShapeError(f"linalg.tensorinv: {a.shape} is no square map with ind = {ind}")
    n = math.prod(a.shape[:ind])
    return reshape(inv(reshape(a, (n, n))), (*a.shape[ind:], *a.shape[:ind]))


def tensorsolve(A: Any, B: Any, dims: Any = None) -> Tensor:
    """X with tensordot(A, X, X.ndim) = B; dims: axes of A moved to the end first.

    >>> import tilegrad as tg
    >>> tg.linalg.tensorsolve(tg.eye(6).reshape(2, 3, 6), tg.ones(2, 3)).shape
    (6,)
    """
    a, b = precise("linalg.tensorsolve", A, B)
    if dims is not None:
        a = movedim(a, tuple(dims), tuple(range(a.ndim - len(dims), a.ndim)))
    rest, n = a.shape[b.ndim :], b._array.size
    if math.prod(rest) != n or a._array.size != n * n:
        raise ShapeError(f"linalg.tensorsolve: A {a.shape} is no square map onto B {b.shape}")
    return reshape(solve(reshape(a, (n, n)), reshape(b, n)), rest)
