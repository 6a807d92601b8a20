"""The normal distribution of vectors."""

from __future__ import annotations

from typing import Any

from .. import linalg, ops
from ..errors import LinAlgError, ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .distribution import LOG_2PI, Distribution


class MultivariateNormal(Distribution):
    """Vectors (..., n) of mean loc and with covariance_matrix, or its inverse, precision_matrix, or
    its Cholesky factor, scale_tril; all (..., n, n), exactly one given.

    Raises ValueError for matrices that are not positive definite, ShapeError.

    >>> import tilegrad as tg
    >>> from tilegrad.distributions import MultivariateNormal
    >>> d = MultivariateNormal(tg.zeros(2), tg.tensor([[2.0, 1.0], [1.0, 2.0]]))
    >>> d.log_prob(tg.tensor([1.0, 0.0]))
    tensor(-2.7205)
    """

    has_rsample = True
    _axes = {"loc": 1, "scale_tril": 2}
    loc: Tensor
    scale_tril: Tensor

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        given = [m for m in (covariance_matrix, precision_matrix, scale_tril) if m is not None]
        if len(given) != 1:
            raise TgValueError(
                "MultivariateNormal: expects one of covariance_matrix, precision_matrix and "
                f"scale_tril, got {len(given)}"
            )
        m = given[0]
        if loc.ndim < 1 or m.ndim < 2 or m.shape[-2:] != (loc.shape[-1],) * 2:
            raise ShapeError(
                f"MultivariateNormal: expects loc (..., n) and a matrix (..., n, n), got "
                f"{loc.shape} and {m.shape}"
            )
        batch = ops.broadcast_shapes(loc.shape[:-1], m.shape[:-2])
        super().__init__(batch, loc.shape[-1:], validate_args)
        n = loc.shape[-1]
        try:
            if precision_matrix is not None:
                # flipped both ways, the factor of the inverse is lower triangular: U^T U = P^-1
                factor = linalg.cholesky(precision_matrix.flip((-2, -1))).flip((-2, -1)).mT
                eye = ops.eye(n, dtype=m.dtype)
                m = linalg.solve_triangular(factor, eye, upper=False)
            elif covariance_matrix is not None:
                m = linalg.cholesky(covariance_matrix)
        except LinAlgError as e:
            raise TgValueError(f"MultivariateNormal: {e}") from None
        self.loc = loc.expand(*batch, n)
        self.scale_tril = m.expand(*batch, n, n)
        self._given = {"loc": self.loc, "scale_tril": self.scale_tril}
        if scale_tril is not None:
            low = m.detach()
            right = (low.tril() == low).all() and (low.diagonal(0, -2, -1) > 0).all()
            self._require("scale_tril", right, "lower triangular with a positive diagonal")

    @property
    def covariance_matrix(self) -> Tensor:
        """The expected outer product of a draw's distance from the mean."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self) -> Tensor:
        """The inverse of covariance_matrix."""
        return linalg.inv(self.covariance_matrix)

    @property
    def mean(self) -> Tensor:
        """loc"""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc"""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The diagonal of covariance_matrix."""
        return self.scale_tril.square().sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc plus scale_tril times normal noise."""
        z = ops.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + (self.scale_tril @ z.unsqueeze(-1)).squeeze(-1)

    def _whitened(self, x: Tensor) -> Tensor:
        """scale_tril^-1 x"""
        return linalg.solve_triangular(self.scale_tril, x.unsqueeze(-1), upper=False).squeeze(-1)

    def _half_log_det(self) -> Tensor:
        return self.scale_tril.diagonal(0, -2, -1).log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density of the vectors in value."""
        z = self._whitened(self._value(value) - self.loc)
        n = self._event_shape[0]
        return -0.5 * (n * LOG_2PI + z.square().sum(-1)) - self._half_log_det()

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return 0.5 * self._event_shape[0] * (1 + LOG_2PI) + self._half_log_det()
