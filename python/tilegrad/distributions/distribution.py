"""What every distribution has, and Independent, which counts batch axes as one event."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .. import dtypes, ops
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..tensor import Tensor, as_tensor


def broadcast(*values: Any) -> list[Tensor]:
    """Parameters as tensors of one shape; numbers take the dtype of the tensors beside them, or the
    default one."""
    given = [v.dtype for v in values if isinstance(v, Tensor)]
    d = given[0] if given else dtypes.get_default_dtype()
    xs = [v if isinstance(v, Tensor) else as_tensor(v, dtype=d) for v in values]
    shape = ops.broadcast_shapes(*(x.shape for x in xs))
    # No node where none is needed: two passes may go back through the parameters.
    return [x if x.shape == shape else x.expand(shape) for x in xs]


def last(x: Tensor, axes: int) -> Tensor:
    """x summed over its last axes."""
    return x.sum(tuple(range(-axes, 0))) if axes else x


class Distribution:
    """A random variable per element of batch_shape, each of shape event_shape.

    validate_args: whether parameters and the arguments of log_prob and cdf are checked (so they are
    unless False); then values outside the support raise ValueError. Subclasses define rsample or
    sample, and log_prob; they keep what they were given in ``_given``, and in ``_axes`` how many
    axes of it lie behind the batch.
    """

    has_rsample = False
    """Whether gradients pass from draws to parameters."""
    has_enumerate_support = False
    """Whether enumerate_support lists the values."""

    _axes: ClassVar[dict[str, int]] = {}
    _given: dict[str, Tensor]

    def __init__(
        self,
        batch_shape: tuple[int, ...] = (),
        event_shape: tuple[int, ...] = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape, self._event_shape = tuple(batch_shape), tuple(event_shape)
        self._validate_args = validate_args is not False

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one draw."""
        return self._event_shape

    def _missing(self, what: str) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no {what}")

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return self._missing("mean")  # type: ignore[no-any-return]

    @property
    def mode(self) -> Tensor:
        """The value of highest probability or density."""
        return self._missing("mode")  # type: ignore[no-any-return]

    @property
    def variance(self) -> Tensor:
        """The expected squared distance from the mean."""
        return self._missing("variance")  # type: ignore[no-any-return]

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of shape (*sample_shape, *batch_shape, *event_shape); no gradient passes."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """As sample, written as a function of the parameters and of noise, so that gradients pass
        to the parameters. Raises NotImplementedError unless has_rsample."""
        return self._missing("rsample")  # type: ignore[no-any-return]

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability, or density, of value; its shape is that of value
        broadcast with batch_shape, without event_shape. Raises ValueError outside the support."""
        return self._missing("log_prob")  # type: ignore[no-any-return]

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of a draw that is at most value."""
        return self._missing("cdf")  # type: ignore[no-any-return]

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of cdf."""
        return self._missing("icdf")  # type: ignore[no-any-return]

    def entropy(self) -> Tensor:
        """The expected -log_prob, of shape batch_shape, in nats."""
        return self._missing("entropy")  # type: ignore[no-any-return]

    def perplexity(self) -> Tensor:
        """e to the power of the entropy."""
        return self.entropy().exp()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Every value, along a new first axis; expand: repeated over batch_shape. Raises
        NotImplementedError unless has_enumerate_support."""
        return self._missing("enumerate_support")  # type: ignore[no-any-return]

    def expand(self, batch_shape: Any) -> Any:
        """The same distribution with parameters expanded to batch_shape, without copies."""
        given: dict[str, Any] = {
            name: x.expand(*batch_shape, *x.shape[x.ndim - self._axes.get(name, 0) :])
            for name, x in self._given.items()
        }
        return type(self)(**given, validate_args=self._validate_args)

    # --- for subclasses ---------------------------------------------------------------------------
    def _extended_shape(self, sample_shape: Any = ()) -> tuple[int, ...]:
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def _require(self, name: str, condition: Tensor, what: str) -> None:
        """Raises ValueError unless the condition on an argument holds everywhere (NaN: nowhere)."""
        if self._validate_args and not condition.all():
            raise TgValueError(
                f"{type(self).__name__}: expects {what}, not so everywhere in {name}"
            )

    def _value(self, value: Any) -> Tensor:
        """value as a tensor, checked against the shapes and the support."""
        if not isinstance(value, Tensor):
            raise TypeError(f"{type(self).__name__}: expects a tensor, got {type(value).__name__}")
        if self._validate_args:
            whole = self._batch_shape + self._event_shape
            try:
                ops.broadcast_shapes(value.shape, whole)
                fits = value.shape[value.ndim - len(self._event_shape) :] == self._event_shape
            except ShapeError:
                fits = False
            if not fits:
                raise ShapeError(
                    f"{type(self).__name__}: a value of shape {value.shape} does not fit batch "
                    f"{self._batch_shape} and event {self._event_shape}"
                )
            self._check_support(value.detach())
        return value

    def _check_support(self, value: Tensor) -> None:
        self._require("value", ~value.isnan(), "numbers")

    def __repr__(self) -> str:
        parts = [
            f"{name}: {x.item() if x.numel() == 1 else x.shape}" for name, x in self._given.items()
        ]
        return f"{type(self).__name__}({', '.join(parts)})"


class Independent(Distribution):
    """base_distribution with its last reinterpreted_batch_ndims batch axes counted as event axes:
    log_prob and entropy are summed over them.

    Raises ShapeError when the batch has fewer axes.

    >>> import tilegrad as tg
    >>> from tilegrad.distributions import Independent, Normal
    >>> policy = Independent(Normal(tg.zeros(5, 2), tg.ones(5, 2)), 1)
    >>> policy.batch_shape, policy.event_shape, policy.log_prob(policy.sample()).shape
    ((5,), (2,), (5,))
    """

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        n, batch = reinterpreted_batch_ndims, base_distribution.batch_shape
        if not 0 <= n <= len(batch):
            raise ShapeError(
                f"Independent: expects 0 to {len(batch)} axes of batch {batch}, got {n}"
            )
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, n
        split = len(batch) - n
        event = batch[split:] + base_distribution.event_shape
        super().__init__(batch[:split], event, validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """As the base."""
        return self.base_dist.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """As the base, while no axis is reinterpreted."""
        return self.reinterpreted_batch_ndims == 0 and self.base_dist.has_enumerate_support

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        """The value of highest probability or density."""
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        """The variance of each part of an event."""
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """As the base."""
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """As the base."""
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum of the base's over the axes of an event."""
        return last(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        """The sum of the base's over the axes of an event."""
        return last(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """As the base. Raises NotImplementedError for reinterpreted axes: too many values."""
        if self.reinterpreted_batch_ndims:
            return super().enumerate_support(expand)
        return self.base_dist.enumerate_support(expand)

    def expand(self, batch_shape: Any) -> Independent:
        """The base expanded to batch_shape and the reinterpreted axes."""
        own = self._event_shape[: self.reinterpreted_batch_ndims]
        base = self.base_dist.expand((*batch_shape, *own))
        return Independent(base, self.reinterpreted_batch_ndims, self._validate_args)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"


LOG_2PI = math.log(2 * math.pi)
