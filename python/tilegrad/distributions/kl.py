"""The Kullback-Leibler divergence, a formula per pair of classes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import linalg, ops
from ..errors import ShapeError
from ..tensor import Tensor
from .continuous import Exponential, Laplace, Normal, Uniform
from .discrete import Bernoulli, Categorical, log_sigmoid
from .distribution import Distribution, Independent, last
from .multivariate import MultivariateNormal

_FORMULAS: dict[tuple[type, type], Callable[[Any, Any], Tensor]] = {}


def register_kl(type_p: type, type_q: type) -> Callable:
    """Decorates the function of (p, q) that kl_divergence calls for instances of these classes.

    Raises TypeError for anything but subclasses of Distribution.
    """
    for t in (type_p, type_q):
        if not (isinstance(t, type) and issubclass(t, Distribution)):
            raise TypeError(f"register_kl: expects classes of distributions, got {t!r}")

    def register(formula: Callable) -> Callable:
        _FORMULAS[type_p, type_q] = formula
        return formula

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The expectation under p of log p - log q, of shape batch_shape, in nats.

    Raises NotImplementedError for pairs of classes without a formula (see register_kl).

    >>> from tilegrad.distributions import Normal, kl_divergence
    >>> kl_divergence(Normal(0.0, 1.0), Normal(1.0, 1.0))
    tensor(0.5)
    """
    for a in type(p).__mro__:
        for b in type(q).__mro__:
            if (a, b) in _FORMULAS:
                return _FORMULAS[a, b](p, q)
    names = f"{type(p).__name__} and {type(q).__name__}"
    raise NotImplementedError(f"kl_divergence: no formula is known for {names}")


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    distance = ((p.loc - q.loc) / q.scale).square()
    return 0.5 * (ratio + distance - 1 - ratio.log())


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio, distance = p.scale / q.scale, (p.loc - q.loc).abs()
    return distance / q.scale + ratio * ops.exp(-distance / p.scale) - ratio.log() - 1


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    inside = (q.low <= p.low) & (q.high >= p.high)
    return ops.where(inside, ((q.high - q.low) / (p.high - p.low)).log(), math.inf)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    width = p.high - p.low
    apart = (width.square() / 12 + (p.mean - q.loc).square()) / q.scale.square()
    return 0.5 * apart + (q.scale * math.sqrt(2 * math.pi) / width).log()


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    one = log_sigmoid(p.logits) - log_sigmoid(q.logits)
    zero = log_sigmoid(-p.logits) - log_sigmoid(-q.logits)
    return _weighted(p.probs, one, q.probs == 0) + _weighted(1 - p.probs, zero, q.probs == 1)


def _weighted(weight: Tensor, x: Tensor, impossible: Tensor) -> Tensor:
    """weight * x, 0 where weight is, and inf where the event is impossible under q alone."""
    y = ops.where(impossible, math.inf, weight * x)
    return ops.where(weight == 0, 0.0, y)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Tensor:
    return _weighted(p.probs, p.logits - q.logits, q.probs == 0).sum(-1)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("kl_divergence: Independent with different numbers of axes")
    return last(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ShapeError(f"kl_divergence: vectors of {p.event_shape} and {q.event_shape} elements")
    batch = ops.broadcast_shapes(p.batch_shape, q.batch_shape)
    n = p.event_shape[0]
    factors = [d.scale_tril.expand(*batch, n, n) for d in (p, q)]
    spread = linalg.solve_triangular(factors[1], factors[0], upper=False).square().sum((-2, -1))
    apart = q._whitened(q.loc - p.loc).square().sum(-1)
    return q._half_log_det() - p._half_log_det() + 0.5 * (spread + apart - n)
