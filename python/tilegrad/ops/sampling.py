"""Draws from distributions that tensors describe. No gradient passes."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..generator import Generator
from ..tensor import Tensor
from .random import _draw
from .rules import as_operand, constant


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


METHODS: dict[str, Any] = {"multinomial": multinomial}

__all__ = ["multinomial", "poisson"]
