"""Helpers for the gradients of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...errors import GradientError
from ...grad_mode import no_grad
from ...tensor import Tensor, tensor
from . import rnn as rnn


@no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scales the gradients, in place, so that the norm over all of them is at most max_norm;
    returns the norm before. Parameters without a gradient are passed over.

    Raises GradientError for a norm that is not finite, if error_if_nonfinite.

    >>> import tilegrad as tg
    >>> x = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> x.grad = tg.tensor([3.0, 4.0])
    >>> tg.nn.utils.clip_grad_norm_([x], 1.0)
    tensor(5.)
    """
    listed = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    grads: list[Any] = [p.grad for p in listed if p.grad is not None]
    if not grads:
        return tensor(0.0)
    if math.isinf(norm_type):
        total = float(np.max([float(g.abs().max()) if g.numel() else 0.0 for g in grads]))
    else:
        total = sum(float((g.abs() ** norm_type).sum()) for g in grads) ** (1.0 / norm_type)
    if error_if_nonfinite and not math.isfinite(total):
        raise GradientError(f"clip_grad_norm_: the norm of the gradients is {total}")
    factor = min(1.0, float(max_norm) / (total + 1e-6))
    if factor != 1.0:  # also where it is NaN
        for g in grads:
            g.mul_(factor)
    return tensor(total, dtype=grads[0].dtype)
