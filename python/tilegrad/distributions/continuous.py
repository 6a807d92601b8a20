"""Densities on the line. Every draw is a function of the parameters and of noise."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes, ops
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .distribution import LOG_2PI, Distribution, broadcast


class _Continuous(Distribution):
    """Parameters that broadcast: each an attribute, and their shape the batch shape."""

    has_rsample = True

    def _set(self, validate_args: bool | None, **parameters: Any) -> None:
        xs = broadcast(*parameters.values())
        super().__init__(xs[0].shape, (), validate_args)
        self._given = dict(zip(parameters, xs, strict=True))
        for name, x in self._given.items():
            setattr(self, name, x)
            if name in ("scale", "rate"):
                self._require(name, x.detach() > 0, f"{name} > 0")
            else:
                self._require(name, ~x.detach().isnan(), "numbers")

    def _noise(self, draw: Any, sample_shape: Any, like: Tensor) -> Tensor:
        z: Tensor = draw(self._extended_shape(sample_shape), dtype=like.dtype)
        return z


class _LocationScale(_Continuous):
    """A symmetric density, moved to loc and stretched by scale > 0."""

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, loc=loc, scale=scale)

    @property
    def mean(self) -> Tensor:
        """loc"""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc"""
        return self.loc


class Normal(_LocationScale):
    """The normal distribution of mean loc and standard deviation scale > 0.

    Raises ValueError for other scales.

    >>> import tilegrad as tg
    >>> from tilegrad.distributions import Normal
    >>> Normal(0.0, 1.0).log_prob(tg.tensor(0.0))
    tensor(-0.9189)
    """

    @property
    def stddev(self) -> Tensor:
        """scale"""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """scale squared"""
        return self.scale.square()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """loc plus normal noise times scale."""
        return self.loc + self.scale * self._noise(ops.randn, sample_shape, self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density of value."""
        z = (self._value(value) - self.loc) / self.scale
        return -0.5 * z.square() - self.scale.log() - 0.5 * LOG_2PI

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw that is at most value."""
        z = (self._value(value) - self.loc) / self.scale
        return 0.5 * (1 + ops.erf(z * math.sqrt(0.5)))

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of cdf."""
        return self.loc + self.scale * ops.erfinv(2 * value - 1) * math.sqrt(2)

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return 0.5 + 0.5 * LOG_2PI + self.scale.log()


class Laplace(_LocationScale):
    """The density e**(-abs(x - loc) / scale) / (2 scale), scale > 0.

    Raises ValueError for other scales.

    >>> import tilegrad as tg
    >>> from tilegrad.distributions import Laplace
    >>> Laplace(0.0, 1.0).cdf(tg.tensor([0.0]))
    tensor([0.5])
    """

    @property
    def variance(self) -> Tensor:
        """2 scale squared"""
        return 2 * self.scale.square()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """icdf of uniform noise."""
        eps = float(dtypes.finfo(self.loc.dtype).eps)
        u = (2 * self._noise(ops.rand, sample_shape, self.loc) - 1).clamp(min=eps - 1)
        return self.loc - self.scale * ops.sign(u) * ops.log1p(-u.abs())

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density of value."""
        z = (self._value(value) - self.loc).abs() / self.scale
        return -z - (2 * self.scale).log()

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw that is at most value."""
        z = (self._value(value) - self.loc) / self.scale
        return 0.5 - 0.5 * ops.sign(z) * ops.expm1(-z.abs())

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of cdf."""
        term = value - 0.5
        return self.loc - self.scale * ops.sign(term) * ops.log1p(-2 * term.abs())

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return 1 + (2 * self.scale).log()


class Uniform(_Continuous):
    """Equal density between low and high, low < high.

    Raises ValueError unless low < high.

    >>> import tilegrad as tg
    >>> from tilegrad.distributions import Uniform
    >>> Uniform(0.0, 4.0).mean
    tensor(2.)
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, low=low, high=high)
        if self._validate_args and not (self.low < self.high).all():
            raise TgValueError("Uniform: expects low < high everywhere")

    @property
    def mean(self) -> Tensor:
        """The middle."""
        return (self.low + self.high) / 2

    @property
    def mode(self) -> Tensor:
        """NaN: no value stands out."""
        return math.nan * self.high

    @property
    def variance(self) -> Tensor:
        """A twelfth of the width squared."""
        return (self.high - self.low).square() / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """low plus uniform noise times the width."""
        u = self._noise(ops.rand, sample_shape, self.low)
        return self.low + u * (self.high - self.low)

    def _check_support(self, value: Tensor) -> None:
        inside = (value >= self.low) & (value <= self.high)
        self._require("value", inside, "numbers from low to high")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density of value: -inf outside and at high."""
        x = self._value(value)
        inside = ((x >= self.low) & (x < self.high)).type_as(self.low)
        return inside.log() - (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw that is at most value."""
        return ((self._value(value) - self.low) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of cdf."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return (self.high - self.low).log()


class Exponential(_Continuous):
    """Waiting times: the density rate * e**(-rate * x) for x >= 0, rate > 0.

    Raises ValueError for other rates.

    >>> import tilegrad as tg
    >>> from tilegrad.distributions import Exponential
    >>> Exponential(2.0).mean
    tensor(0.5)
    """

    rate: Tensor

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, rate=rate)

    @property
    def mean(self) -> Tensor:
        """1 / rate"""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        """0"""
        return ops.zeros_like(self.rate)  # type: ignore[no-any-return]

    @property
    def stddev(self) -> Tensor:
        """1 / rate"""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        """1 / rate squared"""
        return self.rate.square().reciprocal()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """icdf of uniform noise."""
        return self.icdf(self._noise(ops.rand, sample_shape, self.rate))

    def _check_support(self, value: Tensor) -> None:
        self._require("value", value >= 0, "numbers >= 0")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density of value."""
        return self.rate.log() - self.rate * self._value(value)

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw that is at most value."""
        return -ops.expm1(-self.rate * self._value(value))

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of cdf."""
        return -ops.log1p(-value) / self.rate

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return 1 - self.rate.log()
