"""Factorisations into orthogonal matrices: qr, eigh, svd, and what follows from them.

Where two singular values or eigenvalues are equal, their vectors have no derivative; that part of a
gradient is taken as zero. Source of the derivatives: Giles, 2008; of qr: Walter and Lehmann,
Algorithmic differentiation of linear algebra functions with application in optimum experimental
design, 2010.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..errors import LinAlgError
from ..errors import ValueError as TgValueError
from ..ops.binary import add, eq, mul, sub, true_divide, where
from ..ops.create import triu
from ..ops.join import cat
from ..ops.matmul import matmul
from ..ops.reduce import sum
from ..ops.rules import as_operand, constant, explicit, record, zeros
from ..ops.shape import unsqueeze
from ..ops.slicing import narrow
from ..tensor import Tensor
from .common import computed, eye_like, matrix, mt, pack, unpack
from .solving import _triangular, cutoff, inv


def _divided(x: Tensor, y: Tensor) -> Tensor:
    """x / y, and 0 where y is 0."""
    none = eq(y, 0)
    return where(none, 0.0, true_divide(x, where(none, 1.0, y)))


def _gaps(w: Tensor) -> Tensor:
    """w[j] - w[i]."""
    return sub(unsqueeze(w, -2), unsqueeze(w, -1))


def _complement_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    # The complement turns only as the basis forces it to: dC = -B dB^T C.
    return (-matmul(out, matmul(mt(g), inputs[0])),)


_COMPLEMENT = explicit("complement", _complement_vjp, saves=(0, -1))


def _completed(basis: Tensor, full: np.ndarray) -> Tensor:
    """The orthonormal columns of basis with the further ones of full."""
    rest = record(_COMPLEMENT, full[..., basis.shape[-1] :], (basis,))
    return cat([basis, rest], -1)


# --- qr -------------------------------------------------------------------------------------------
class QR(NamedTuple):
    """What qr returns."""

    Q: Tensor
    R: Tensor


def _qr_vjp(g: Tensor, need: Any, inputs: Any, out: Any, shapes: Any, nodes: Any) -> Any:
    (gq, gr), (q, r) = unpack(g, shapes), unpack(out, shapes)
    t = triu(sub(matmul(triu(gr), mt(r)), matmul(mt(q), gq)))
    t = sub(add(t, mt(t)), mul(eye_like(t, t.shape[-1]), t))
    return (mt(_triangular(r, mt(add(gq, matmul(q, t))), True, False)),)


_QR = explicit("qr", _qr_vjp, saves=(-1,))


def qr(A: Any, mode: str = "reduced") -> QR:
    """A = Q R with orthonormal columns of Q and upper triangular R, for A (..., m, n).

    mode: "reduced", Q (..., m, k) and R (..., k, n) with k = min(m, n); "complete", Q (..., m, m)
    and R (..., m, n), where the gradient is that of functions which do not depend on a rotation of
    the columns that complete Q; "r", an empty Q. The gradient needs linearly independent first k
    columns. Raises ShapeError, DTypeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.linalg.qr(tg.tensor([[3.0], [4.0]])).R
    tensor([[-5.]])
    """
    a = matrix("linalg.qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise TgValueError(f"linalg.qr: mode is 'reduced', 'complete' or 'r', got {mode!r}")
    m, n = a.shape[-2:]
    k = min(m, n)
    first = narrow(a, -1, 0, k)
    parts = computed("linalg.qr", np.linalg.qr, first._array)
    shapes = [p.shape[-2:] for p in parts]
    q, r = unpack(record(_QR, pack(parts, a.ndim - 2), (first,), shapes), shapes)
    if n > k:
        r = cat([r, matmul(mt(q), narrow(a, -1, k, n - k))], -1)
    if mode == "complete" and m > k:
        q = _completed(q, computed("linalg.qr", np.linalg.qr, a._array, mode="complete")[0])
        r = cat([r, zeros((*a.shape[:-2], m - k, n), a.dtype)], -2)
    return QR(constant(np.zeros(0, a.dtype)) if mode == "r" else q, r)


# --- eigenvalues ----------------------------------------------------------------------------------
class Eigen(NamedTuple):
    """What eigh returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def _eigh_vjp(g: Tensor, need: Any, inputs: Any, out: Any, shapes: Any, nodes: Any) -> Any:
    (gw, gv), (w, v) = unpack(g, shapes), unpack(out, shapes)
    inner = _divided(matmul(mt(v), gv), _gaps(w))
    inner = add(inner, mul(eye_like(w, w.shape[-1]), unsqueeze(gw, -2)))
    ga = matmul(v, matmul(inner, mt(v)))
    return (mul(add(ga, mt(ga)), 0.5),)


_EIGH = explicit("eigh", _eigh_vjp, saves=(-1,))


def eigh(A: Any, UPLO: str = "L") -> Eigen:
    """The eigenvalues, ascending, and the eigenvectors, as columns, of symmetric A (..., n, n).

    UPLO: "L" or "U", the triangle that is read. The gradient is symmetric. The signs of the
    eigenvectors are arbitrary. Raises LinAlgError, ShapeError, DTypeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.linalg.eigh(tg.tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    a = matrix("linalg.eigh", A, square=True)
    if UPLO not in ("L", "U", "l", "u"):
        raise TgValueError(f"linalg.eigh: UPLO is 'L' or 'U', got {UPLO!r}")
    parts = computed("linalg.eigh", np.linalg.eigh, a._array, UPLO=UPLO)
    n = a.shape[-1]
    shapes = [(n,), (n, n)]
    w, v = unpack(record(_EIGH, pack(parts, a.ndim - 2), (a,), shapes), shapes)
    return Eigen(w, v)


def eigvalsh(A: Any, UPLO: str = "L") -> Tensor:
    """The eigenvalues of eigh; A and UPLO as there.

    >>> import tilegrad as tg
    >>> tg.linalg.eigvalsh(tg.tensor([[2.0, 0.0], [0.0, 1.0]]))
    tensor([1., 2.])
    """
    return eigh(as_operand(A, "linalg.eigvalsh", "A"), UPLO).eigenvalues


# --- singular values ------------------------------------------------------------------------------
class SVD(NamedTuple):
    """What svd returns."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _svd_vjp(g: Tensor, need: Any, inputs: Any, out: Any, shapes: Any, nodes: Any) -> Any:
    (gu, gs, gvh), (u, s, vh) = unpack(g, shapes), unpack(out, shapes)
    (m, k), n = shapes[0], shapes[2][1]
    gaps = _gaps(mul(s, s))
    row, column = unsqueeze(s, -2), unsqueeze(s, -1)
    uu, vv = matmul(mt(u), gu), matmul(vh, mt(gvh))
    left, right = _divided(sub(uu, mt(uu)), gaps), _divided(sub(vv, mt(vv)), gaps)
    inner = add(mul(left, row), mul(column, right))
    inner = add(inner, mul(eye_like(s, k), unsqueeze(gs, -2)))
    ga = matmul(u, matmul(inner, vh))
    if m > k:
        ga = add(ga, matmul(_divided(sub(gu, matmul(u, uu)), row), vh))
    if n > k:
        ga = add(ga, matmul(u, _divided(sub(gvh, matmul(mt(vv), vh)), column)))
    return (ga,)


_SVD = explicit("svd", _svd_vjp, saves=(-1,))


def svd(A: Any, full_matrices: bool = True, *, driver: str | None = None) -> SVD:
    """A = U diag(S) Vh with orthonormal U and Vh and descending S >= 0, for A (..., m, n).

    full_matrices: U (..., m, m) and Vh (..., n, n); otherwise U (..., m, k) and Vh (..., k, n) with
    k = min(m, n). The signs of the vectors are arbitrary, and so is a rotation of those that
    complete a basis: the gradient is that of functions which do not depend on it. driver is
    accepted. Raises LinAlgError, ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.linalg.svd(tg.tensor([[3.0, 0.0], [0.0, 4.0]])).S
    tensor([4., 3.])
    """
    a = matrix("linalg.svd", A)
    m, n = a.shape[-2:]
    k = min(m, n)
    full = computed("linalg.svd", np.linalg.svd, a._array, full_matrices=bool(full_matrices))
    parts = [full[0][..., :k], full[1], full[2][..., :k, :]]
    shapes = [(m, k), (k,), (k, n)]
    u, s, vh = unpack(record(_SVD, pack(parts, a.ndim - 2), (a,), shapes), shapes)
    if full_matrices and m > k:
        u = _completed(u, full[0])
    if full_matrices and n > k:
        vh = mt(_completed(mt(vh), np.swapaxes(full[2], -1, -2)))
    return SVD(u, s, vh)


def svdvals(A: Any, *, driver: str | None = None) -> Tensor:
    """The singular values of A (..., m, n), descending; driver is accepted.

    >>> import tilegrad as tg
    >>> tg.linalg.svdvals(tg.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor([4., 3.])
    """
    return svd(matrix("linalg.svdvals", A), full_matrices=False).S


def matrix_rank(
    A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, tol: Any = None
) -> Tensor:
    """The number of singular values of A (..., m, n) above max(atol, rtol * the largest), int64.

    rtol is max(m, n) eps unless one of the two is given; tol is another name of atol. hermitian: A
    is symmetric.

    >>> import tilegrad as tg
    >>> tg.linalg.matrix_rank(tg.tensor([[1.0, 2.0], [2.0, 4.0]]))
    tensor(1)
    """
    a = matrix("linalg.matrix_rank", A, square=hermitian)
    if hermitian:
        s = np.abs(computed("linalg.matrix_rank", np.linalg.eigvalsh, a._array))
    else:
        s = computed("linalg.matrix_rank", np.linalg.svd, a._array, compute_uv=False)
    limit = cutoff("linalg.matrix_rank", a, s, tol if atol is None else atol, rtol)
    return constant(np.asarray((s > limit).sum(-1), np.int64))


def cond(A: Any, p: Any = None) -> Tensor:
    """The condition numbers of A (..., m, n): the largest singular value over the smallest (p None
    or 2), the smallest over the largest (-2), or norm(A, p) * norm(inv(A), p) for p "fro", "nuc",
    inf, -inf, 1 or -1 and square A; inf for singular matrices, 0 for empty ones.

    >>> import tilegrad as tg
    >>> tg.linalg.cond(tg.tensor([[4.0, 0.0], [0.0, 2.0]]))
    tensor(2.)
    """
    from .norms import matrix_norm

    a = matrix("linalg.cond", A)
    if 0 in a.shape[-2:] and p not in ("fro", "nuc"):
        return sum(a, (-2, -1))
    if p in (None, 2, -2):
        s = svdvals(a)
        high, low = narrow(s, -1, 0, 1), narrow(s, -1, s.shape[-1] - 1, 1)
        ratio = true_divide(low, high) if p == -2 else true_divide(high, low)
        return ratio.squeeze(-1)
    a = matrix("linalg.cond", a, square=True)
    top = matrix_norm(a, p)
    try:
        return mul(top, matrix_norm(inv(a), p))
    except LinAlgError:
        return add(mul(top, 0), np.inf)
