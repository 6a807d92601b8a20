"""Draws from distributions that tensors describe. No gradient passes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..generator import Generator
from ..tensor import Tensor
from .binary import add, mul
from .random import _draw, _into, rand, randn
from .rules import as_operand, constant, convert
from .unary import exp


def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """num_samples indices, int64, drawn by the weights in each row of input: (n,) or (rows, n).

    The weights need not add up to 1. replacement: an index may be drawn again; otherwise one is
    drawn at most once (by the order of exponential waiting times). Raises ValueError for negative,
    infinite or missing weights, or too many samples; ShapeError, DTypeError.

    Source: Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.

    >>> import tilegrad as tg
    >>> tg.multinomial(tg.tensor([0.0, 2.0]), 3, replacement=True)
    tensor([1, 1, 1])
    """
    x = as_operand(input, "multinomial")
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"multinomial: expects a floating tensor, got {x.dtype}")
    if x.ndim not in (1, 2) or x._array.size == 0:
        raise ShapeError(f"multinomial: expects weights (n,) or (rows, n), got shape {x.shape}")
    w = np.asarray(x._array, np.float64).reshape(-1, x.shape[-1])
    rows, n = w.shape
    if not np.isfinite(w).all() or (w < 0).any() or not (w.sum(1) > 0).all():
        raise TgValueError("multinomial: weights must be finite, not negative, and not all zero")
    if num_samples < 1 or not (replacement or num_samples <= n):
        raise TgValueError(
            f"multinomial: cannot draw {num_samples} of {n} indices, replacement={replacement}"
        )
    if not replacement and (np.count_nonzero(w, 1) < num_samples).any():
        raise TgValueError(f"multinomial: fewer than {num_samples} weights are positive")
    if replacement:
        u = _draw("random_uniform", (rows, int(num_samples)), dtypes.float64, generator)
        ends = np.cumsum(w, 1)
        at = [
            np.minimum(np.searchsorted(e, v * e[-1], "right"), np.flatnonzero(r)[-1])
            for e, v, r in zip(ends, u, w, strict=True)
        ]
        drawn = np.stack(at)
    else:
        u = _draw("random_uniform", (rows, n), dtypes.float64, generator)
        with np.errstate(divide="ignore"):
            wait = np.where(w > 0, -np.log1p(-u) / w, np.inf)
        drawn = np.argsort(wait, 1, kind="stable")[:, : int(num_samples)]
    return constant(np.ascontiguousarray(drawn.reshape(*x.shape[:-1], -1), np.int64))


def poisson(input: Any, generator: Generator | None = None) -> Tensor:
    """Poisson random numbers with the rates in input, in its shape and dtype.

    Raises DTypeError for integers, ValueError for rates that are negative or no numbers.

    >>> import tilegrad as tg
    >>> tg.poisson(tg.zeros(2))
    tensor([0., 0.])
    """
    x = as_operand(input, "poisson")
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"poisson: expects a floating tensor, got {x.dtype}")
    rate = np.asarray(x._array, np.float64)
    if not (rate >= 0).all():
        raise TgValueError("poisson: rates must not be negative")
    key = _draw("random_int", (2,), None, generator, 0, 2**63 - 1)
    stream = np.random.Generator(np.random.Philox(key=np.asarray(key, np.uint64)))
    return constant(np.asarray(stream.poisson(rate)).astype(x.dtype))


# --- in place -------------------------------------------------------------------------------------
def _drawn_in(op: str, x: Tensor) -> np.dtype:
    """The dtype of the numbers behind those of a floating tensor: never a half type."""
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"{op}: expects a floating tensor, got {x.dtype}")
    return dtypes.float64 if x.dtype == dtypes.float64 else dtypes.float32


def _filled(op: str, x: Tensor, generator: Generator | None, of_uniform: Callable) -> Tensor:
    """x overwritten with a function of uniform numbers in [0, 1)."""
    u = rand(x.shape, generator=generator, dtype=_drawn_in(op, x))._array.astype(np.float64)
    with np.errstate(all="ignore"):
        y = of_uniform(u)
    return _into(op, x, constant(np.asarray(y).astype(x.dtype)))


def exponential_(input: Tensor, lambd: float = 1, *, generator: Generator | None = None) -> Tensor:
    """Filled with exponential random numbers of rate lambd > 0; returns the tensor. DTypeError for
    integers, ValueError.

    >>> import tilegrad as tg
    >>> tg.zeros(3).exponential_().min().item() >= 0
    True
    """
    if not lambd > 0:
        raise TgValueError(f"exponential_: expects lambd > 0, got {lambd}")
    return _filled("exponential_", input, generator, lambda u: -np.log1p(-u) / lambd)


def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Filled with how many trials of probability p, in (0, 1), it takes to succeed; returns the
    tensor. DTypeError for integers, ValueError.

    >>> import tilegrad as tg
    >>> tg.zeros(3).geometric_(0.5).min().item() >= 1
    True
    """
    if not 0 < p < 1:
        raise TgValueError(f"geometric_: expects p in (0, 1), got {p}")
    return _filled(
        "geometric_", input, generator, lambda u: np.floor(np.log1p(-u) / math.log1p(-p)) + 1
    )


def log_normal_(
    input: Tensor, mean: float = 1, std: float = 2, *, generator: Generator | None = None
) -> Tensor:
    """Filled with e to the power of normal random numbers; returns the tensor. DTypeError for
    integers, ValueError for std <= 0.

    >>> import tilegrad as tg
    >>> tg.zeros(3).log_normal_().min().item() >= 0
    True
    """
    if not std > 0:
        raise TgValueError(f"log_normal_: expects std > 0, got {std}")
    z = randn(input.shape, generator=generator, dtype=_drawn_in("log_normal_", input))
    return _into("log_normal_", input, convert(exp(add(mul(z, std), mean)), input.dtype))


def cauchy_(
    input: Tensor, median: float = 0, sigma: float = 1, *, generator: Generator | None = None
) -> Tensor:
    """Filled with Cauchy random numbers around median, of half width sigma > 0; returns the tensor.
    DTypeError for integers, ValueError.

    >>> import tilegrad as tg
    >>> tg.zeros(3).cauchy_().shape
    (3,)
    """
    if not sigma > 0:
        raise TgValueError(f"cauchy_: expects sigma > 0, got {sigma}")
    return _filled(
        "cauchy_", input, generator, lambda u: median + sigma * np.tan(math.pi * (u - 0.5))
    )


METHODS: dict[str, Any] = {
    f.__name__: f for f in (multinomial, cauchy_, exponential_, geometric_, log_normal_)
}

__all__ = ["multinomial", "poisson"]
