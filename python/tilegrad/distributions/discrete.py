"""Distributions over finitely many values, by their probabilities or their logarithms."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes, ops
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..grad_mode import enable_grad, no_grad
from ..tensor import Tensor
from .distribution import Distribution, broadcast


def _clamped(probs: Tensor) -> Tensor:
    """Probabilities kept off 0 and 1 by the spacing of their dtype, where logarithms are taken."""
    eps = float(dtypes.finfo(probs.dtype).eps)
    return probs.clamp(eps, 1 - eps)


def log_sigmoid(x: Tensor) -> Tensor:
    """log(1 / (1 + e**-x)) without overflow."""
    return -ops.logaddexp(-x, ops.zeros_like(x))


class _Discrete(Distribution):
    """Either probs or logits is given; the other one is computed when it is asked for."""

    has_enumerate_support = True
    _found: dict[str, Tensor]

    def _set(self, probs: Any, logits: Any, validate_args: bool | None) -> Tensor:
        """The parameter that is given, checked; Distribution's part of the object."""
        name, axes = type(self).__name__, self._axes.get("probs", 0)
        if (probs is None) == (logits is None):
            raise TgValueError(f"{name}: expects either probs or logits, not both")
        (x,) = broadcast(logits if probs is None else probs)
        if not dtypes.is_floating(x.dtype):
            raise TgValueError(f"{name}: expects floating probs or logits, got {x.dtype}")
        if x.ndim < axes:
            raise ShapeError(f"{name}: expects at least {axes} axis, got shape {x.shape}")
        super().__init__(x.shape[: x.ndim - axes], (), validate_args)
        if probs is None:
            self._require("logits", ~x.detach().isnan(), "numbers")
        return x

    def _known(self, name: str, other: str) -> Tensor:
        if name not in self._found:
            with enable_grad():  # also when first asked for under no_grad
                self._found[name] = self._converted(name, self._found[other])
        return self._found[name]

    @property
    def probs(self) -> Tensor:
        """The probabilities."""
        return self._known("probs", "logits")

    @property
    def logits(self) -> Tensor:
        """The probabilities as logits."""
        return self._known("logits", "probs")

    def _converted(self, name: str, x: Tensor) -> Tensor:
        raise NotImplementedError


class Bernoulli(_Discrete):
    """1 with probability probs, else 0; logits: log(probs / (1 - probs)).

    Exactly one of the two is given. Raises ValueError for probs outside [0, 1].

    >>> import tilegrad as tg
    >>> from tilegrad.distributions import Bernoulli
    >>> Bernoulli(tg.tensor([0.0, 1.0])).sample()
    tensor([0., 1.])
    """

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        x = self._set(probs, logits, validate_args)
        self._given = {"logits" if probs is None else "probs": x}
        self._found = dict(self._given)
        if probs is not None:
            p = x.detach()
            self._require("probs", (p >= 0) & (p <= 1), "0 <= probs <= 1")

    def _converted(self, name: str, x: Tensor) -> Tensor:
        if name == "probs":
            return ops.sigmoid(x)  # type: ignore[no-any-return]
        p = _clamped(x)
        return p.log() - ops.log1p(-p)

    @property
    def mean(self) -> Tensor:
        """probs"""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """The likelier value, NaN where both are."""
        p = self.probs
        return ops.where(p == 0.5, math.nan, (p >= 0.5).type_as(p))

    @property
    def variance(self) -> Tensor:
        """probs * (1 - probs)"""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Zeros and ones in the dtype of the parameter; no gradient passes."""
        with no_grad():
            return ops.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def _check_support(self, value: Tensor) -> None:
        self._require("value", (value == 0) | (value == 1), "zeros and ones")

    def log_prob(self, value: Tensor) -> Tensor:
        """log(probs) where value is 1, log(1 - probs) where it is 0."""
        x, logits = self._value(value), self.logits
        return x * logits + log_sigmoid(-logits)

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        return -self.probs * self.logits - log_sigmoid(-self.logits)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 and 1 along a new first axis."""
        p = self.probs.detach()
        values = ops.arange(2, dtype=p.dtype).reshape(2, *[1] * p.ndim)
        return values.expand(2, *p.shape) if expand else values


class Categorical(_Discrete):
    """Whole numbers from 0 below n with the weights probs (..., n), or logits, their logarithms.

    Exactly one of the two is given, and normalised along the last axis. Raises ValueError for
    weights that are negative or add up to 0, and values that are no index.

    >>> import tilegrad as tg
    >>> from tilegrad.distributions import Categorical
    >>> actions = Categorical(probs=tg.tensor([0.25, 0.75]))
    >>> actions.log_prob(tg.tensor(1)).exp()
    tensor(0.75)
    >>> actions.sample((3,)).shape
    (3,)
    """

    _axes = {"probs": 1, "logits": 1}

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        x = self._set(probs, logits, validate_args)
        self._num_events = x.shape[-1]
        if probs is None:
            self._given = {"logits": x - ops.logsumexp(x, -1, keepdim=True)}
        else:
            w = x.detach()
            total = w.sum(-1, keepdim=True)
            positive = (w >= 0) & (total > 0) & total.isfinite()
            self._require("probs", positive, "weights >= 0 with a finite sum > 0")
            self._given = {"probs": x / x.sum(-1, keepdim=True)}
        self._found = dict(self._given)

    def _converted(self, name: str, x: Tensor) -> Tensor:
        y: Tensor = ops.softmax(x, -1) if name == "probs" else _clamped(x).log()
        return y

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of probs and logits."""
        return (*self._batch_shape, self._num_events)

    @property
    def mean(self) -> Tensor:
        """NaN: the numbers are names."""
        return ops.full(self._batch_shape, math.nan, dtype=self.probs.dtype)

    @property
    def mode(self) -> Tensor:
        """The likeliest number."""
        return self.probs.argmax(-1)

    @property
    def variance(self) -> Tensor:
        """NaN: the numbers are names."""
        return self.mean

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Numbers, int64."""
        shape = self._extended_shape(sample_shape)
        rows = self.probs.detach().reshape(-1, self._num_events)
        count = math.prod(sample_shape)
        if not math.prod(shape):
            return ops.zeros(shape, dtype=dtypes.int64)
        return ops.multinomial(rows, count, True).t().reshape(shape)

    def _check_support(self, value: Tensor) -> None:
        whole = (value >= 0) & (value < self._num_events) & (value % 1 == 0)
        self._require("value", whole, f"whole numbers from 0 below {self._num_events}")

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability of each number in value."""
        x = self._value(value).long()
        shape = ops.broadcast_shapes(x.shape, self._batch_shape)
        logits = self.logits.expand(*shape, self._num_events)
        return ops.gather(logits, -1, x.expand(shape).unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """The entropy in nats."""
        logits = self.logits
        low = float(dtypes.finfo(logits.dtype).min)  # 0 * -inf is to be 0
        return -(logits.clamp(min=low) * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """The numbers along a new first axis."""
        values = ops.arange(self._num_events).reshape(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values
