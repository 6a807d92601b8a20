"""The functions of linear algebra that stand at the top level too; ``tilegrad.linalg`` is loaded
when one of them is first called."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import ShapeError
from ..tensor import Tensor
from .rules import as_operand, promote
from .shape import matrix_transpose


def det(input: Any) -> Tensor:
    """As linalg.det: the determinants of the square matrices (..., n, n).

    >>> import tilegrad as tg
    >>> tg.det(tg.tensor([[2.0, 1.0], [1.0, 3.0]]))
    tensor(5.)
    """
    from .. import linalg

    return linalg.det(input)


def logdet(input: Any) -> Tensor:
    """The logarithm of the determinants of the matrices (..., n, n); NaN where one is negative.

    >>> import tilegrad as tg
    >>> tg.logdet(tg.eye(2))
    tensor(0.)
    """
    from ..linalg.solving import logdet as logarithm

    return logarithm(input)


def slogdet(input: Any) -> Any:
    """As linalg.slogdet: the sign of the determinants and the logarithm of their magnitude.

    >>> import tilegrad as tg
    >>> tg.slogdet(tg.eye(2)).sign
    tensor(1.)
    """
    from .. import linalg

    return linalg.slogdet(input)


def inverse(input: Any) -> Tensor:
    """As linalg.inv: the inverse of the square matrices (..., n, n).

    >>> import tilegrad as tg
    >>> tg.inverse(tg.tensor([[4.0]]))
    tensor([[0.25]])
    """
    from .. import linalg

    return linalg.inv(input)


def pinverse(input: Any, rcond: float = 1e-15) -> Tensor:
    """As linalg.pinv: singular values up to rcond times the largest count as zero.

    >>> import tilegrad as tg
    >>> tg.pinverse(tg.tensor([[2.0], [0.0]]))
    tensor([[0.5, 0. ]])
    """
    from .. import linalg

    return linalg.pinv(input, rtol=rcond)


def cholesky(input: Any, upper: bool = False) -> Tensor:
    """As linalg.cholesky: the lower triangular factor, or with upper its transpose.

    >>> import tilegrad as tg
    >>> tg.cholesky(tg.tensor([[4.0]]))
    tensor([[2.]])
    """
    from .. import linalg

    return linalg.cholesky(input, upper=upper)


def cholesky_solve(input: Any, L: Any, upper: bool = False) -> Tensor:
    """The solution X of A X = input; L is the Cholesky factor of A (with upper, its transpose).

    >>> import tilegrad as tg
    >>> tg.cholesky_solve(tg.tensor([[4.0]]), tg.tensor([[2.0]]))
    tensor([[1.]])
    """
    from ..linalg.solving import cholesky_solve as solution

    b, low = promote("cholesky_solve", input, L)
    return solution(b, low, upper)


def cholesky_inverse(L: Any, upper: bool = False) -> Tensor:
    """The inverse of the matrix whose Cholesky factor is L (with upper, its transpose).

    >>> import tilegrad as tg
    >>> tg.cholesky_inverse(tg.tensor([[2.0]]))
    tensor([[0.25]])
    """
    from ..linalg.common import eye_like, matrix
    from ..linalg.solving import cholesky_solve as solution

    low = matrix("cholesky_inverse", L, square=True)
    return solution(eye_like(low, low.shape[-1]), low, upper)


def qr(input: Any, some: bool = True) -> Any:
    """As linalg.qr: reduced, or with some=False complete.

    >>> import tilegrad as tg
    >>> tg.qr(tg.tensor([[3.0], [4.0]])).R
    tensor([[-5.]])
    """
    from .. import linalg

    return linalg.qr(input, "reduced" if some else "complete")


class USV(NamedTuple):
    """What svd returns."""

    U: Tensor
    S: Tensor
    V: Tensor


def svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """The singular value decomposition U diag(S) V^T: (U, S, V), with V itself where linalg.svd
    returns its transpose.

    some: the first k = min(m, n) columns of U and V alone. compute_uv=False: zeros for U and V.

    >>> import tilegrad as tg
    >>> tg.svd(tg.tensor([[3.0, 0.0], [0.0, 4.0]]))[1]
    tensor([4., 3.])
    """
    from .. import linalg

    x = as_operand(input, "svd")
    if not compute_uv:
        s = linalg.svdvals(x)
        m, n = x.shape[-2:]
        lead = x.shape[:-2]
        return USV(x.new_zeros((*lead, m, m)), s, x.new_zeros((*lead, n, n)))
    u, s, vh = linalg.svd(x, not some)
    return USV(u, s, matrix_transpose(vh))


def matrix_power(input: Any, n: int) -> Tensor:
    """As linalg.matrix_power: the square matrices to the power n.

    >>> import tilegrad as tg
    >>> tg.matrix_power(tg.tensor([[2.0]]), 3)
    tensor([[8.]])
    """
    from .. import linalg

    return linalg.matrix_power(input, n)


def matrix_exp(input: Any) -> Tensor:
    """As linalg.matrix_exp: e to the square matrices (..., n, n).

    >>> import tilegrad as tg
    >>> tg.matrix_exp(tg.zeros(1, 1))
    tensor([[1.]])
    """
    from .. import linalg

    return linalg.matrix_exp(input)


def cross(input: Any, other: Any, dim: int | None = None) -> Tensor:
    """As linalg.cross, along dim: the first axis of length 3 unless given.

    >>> import tilegrad as tg
    >>> tg.cross(tg.tensor([1.0, 0.0, 0.0]), tg.tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    from .. import linalg

    if dim is None:
        shape = as_operand(input, "cross").shape
        if 3 not in shape:
            raise ShapeError(f"cross: no axis of {shape} has length 3")
        dim = shape.index(3)
    return linalg.cross(input, other, dim=dim)


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        cholesky, cholesky_inverse, cholesky_solve, cross, det, inverse, logdet, matrix_exp,
        matrix_power, pinverse, qr, slogdet, svd,
    )
}  # fmt: skip

__all__ = [
    "cholesky", "cholesky_inverse", "cholesky_solve", "cross", "det", "inverse", "logdet",
    "matrix_exp", "matrix_power", "pinverse", "qr", "slogdet", "svd",
]  # fmt: skip
