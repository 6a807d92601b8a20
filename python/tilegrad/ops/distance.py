"""Distances and similarities of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor
from .activation import floating
from .index import index_select
from .moments import norm
from .reduce import sum as sum_
from .rules import constant, number
from .unary import clamp


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """<x1, x2> / (max(|x1|, eps) * max(|x2|, eps)) along dim.

    x1, x2: floating, broadcast against each other. Raises IndexError, ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.cosine_similarity(tg.tensor([3.0, 4.0]), tg.tensor([4.0, 3.0]), 0)
    tensor(0.96)
    """
    op = "cosine_similarity"
    a, b, least = floating(op, x1), floating(op, x2), number(eps, op, "eps")
    along, across = clamp(norm(a, 2, dim, True), least), clamp(norm(b, 2, dim, True), least)
    return sum_((a / along) * (b / across), dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last axis.

    x1, x2: floating, broadcast against each other. keepdim: the axis stays, of size one. Raises
    ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.pairwise_distance(tg.tensor([3.0, 4.0]), tg.zeros(2), eps=0.0)
    tensor(5.)
    """
    op = "pairwise_distance"
    d = floating(op, x1) - floating(op, x2) + number(eps, op, "eps")
    return norm(d, p, -1, keepdim)


@constants
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of every two rows i < j of input (N, M): N (N - 1) / 2 of them.

    Raises ValueError for a negative p, ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.pdist(tg.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    tensor([5.    , 1.    , 4.2426])
    """
    x = floating("pdist", input)
    if x.ndim != 2:
        raise ShapeError(f"pdist: expects rows (N, M), got shape {x.shape}")
    if not p >= 0:
        raise TgValueError(f"pdist: p must not be negative, got {p}")
    first, second = (constant(i) for i in np.triu_indices(x.shape[0], 1))
    d: Any = index_select(x, 0, first) - index_select(x, 0, second)  # type: ignore[operator]
    return norm(d, p, 1)


FUNCTIONAL = ("cosine_similarity", "pairwise_distance", "pdist")
"""What ``tilegrad.nn.functional`` publishes from here."""
