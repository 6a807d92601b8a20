"""Connectionist temporal classification: the probability of a labelling under all alignments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .activation import floating
from .binary import logaddexp, where
from .index import gather
from .join import pad, stack
from .loss import reduced
from .moments import logsumexp
from .rules import as_operand, constant, convert
from .shape import broadcast_to, unsqueeze

_NEVER = -1e30  # ln 0, finite so that no derivative meets infinity minus infinity


def _lengths(op: str, name: str, value: Any, batch: int, most: int) -> np.ndarray:
    t = as_operand(np.asarray(value) if isinstance(value, (tuple, list)) else value, op)
    a = np.atleast_1d(t.detach().numpy())
    if a.dtype.kind not in "iu" and a.size:
        raise DTypeError(f"{op}: {name} must hold integers, got {a.dtype}")
    if a.shape != (batch,):
        raise ShapeError(f"{op}: {name} expects {batch} lengths, got shape {t.shape}")
    if a.size and (a.min() < 0 or a.max() > most):
        raise TgValueError(f"{op}: {name} must lie in [0, {most}], got {a.tolist()}")
    return a.astype(np.int64)


def _labels(op: str, targets: Any, batch: int, target_lengths: Any, classes: int) -> tuple:
    """(N, S) labels, and their lengths, from padded or concatenated targets."""
    t = as_operand(targets, op).detach().numpy()
    if t.dtype.kind not in "iu" and t.size:
        raise DTypeError(f"{op}: targets must hold class indices, got {t.dtype}")
    if t.ndim == 2:
        if t.shape[0] != batch:
            raise ShapeError(f"{op}: targets of shape {t.shape} for {batch} samples")
        lengths = _lengths(op, "target_lengths", target_lengths, batch, t.shape[1])
        rows = t
    elif t.ndim == 1:
        lengths = _lengths(op, "target_lengths", target_lengths, batch, t.size)
        if lengths.sum() != t.size:
            raise ShapeError(f"{op}: target_lengths sum to {lengths.sum()}, targets has {t.size}")
        rows = np.zeros((batch, max(lengths, default=0)), np.int64)
        rows[np.arange(rows.shape[1]) < lengths[:, None]] = t
    else:
        raise ShapeError(f"{op}: targets expects (N, S) or (sum of lengths,), got {t.shape}")
    used = np.arange(rows.shape[1]) < lengths[:, None]
    labels = np.where(used, rows, 0).astype(np.int64)
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise TgValueError(f"{op}: a target is outside [0, {classes})")
    return labels, lengths


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-ln of the probability of targets, summed over every alignment with blanks and repetitions.

    log_probs: (T, N, C) or (T, C), log-probabilities (of log_softmax), floating. targets: labels
    other than blank, (N, S), or concatenated. input_lengths, target_lengths: (N,) integers, how
    much of each sample counts. reduction: "mean" (each loss over its target length, then the
    mean), "sum" or "none". zero_infinity: 0 instead of infinity where no alignment fits. The
    gradient is that of this formula. Raises ShapeError, ValueError, DTypeError. Source: Graves et
    al., 2006.

    >>> import tilegrad as tg
    >>> x = tg.zeros(2, 1, 2).log_softmax(2)
    >>> tg.nn.functional.ctc_loss(x, tg.tensor([[1]]), [2], [1])
    tensor(0.2877)
    """
    op = "ctc_loss"
    x = floating(op, log_probs)
    if x.ndim not in (2, 3) or x.shape[0] == 0:
        raise ShapeError(f"{op}: log_probs expects (T, N, C) or (T, C), got shape {x.shape}")
    dtype, single = x.dtype, x.ndim == 2
    if single:
        x = unsqueeze(x, 1)
        targets = unsqueeze(as_operand(targets, op), 0)
    if dtype not in (dtypes.float32, dtypes.float64):
        x = convert(x, dtypes.float32)
    steps, batch, classes = x.shape
    if not 0 <= blank < classes:
        raise TgValueError(f"{op}: blank {blank} is outside [0, {classes})")
    labels, many = _labels(op, targets, batch, target_lengths, classes)
    spans = _lengths(op, "input_lengths", input_lengths, batch, steps)
    loss: Any = convert(_forward(x, labels, many, spans, blank), dtype)
    loss = where(constant(spans == 0), convert(constant(many * 1e30), dtype), loss)
    # An impossible labelling has ln 0, which no sum of finite logarithms comes near.
    loss = where(loss > 1e29, 0.0 if zero_infinity else math.inf, loss)
    if reduction == "mean":
        loss = loss / convert(constant(np.maximum(many, 1)), loss.dtype)
    return reduced(op, loss[0] if single and reduction == "none" else loss, reduction)


def _forward(x: Tensor, labels: np.ndarray, many: np.ndarray, spans: np.ndarray, blank: int) -> Any:
    """-ln p per sample: alpha runs over the labels with blanks between, before and behind."""
    batch, longest = labels.shape
    states = 2 * longest + 1
    text = np.full((batch, states), blank, np.int64)
    text[:, 1::2] = labels
    skip = np.full((batch, states), _NEVER)  # from two states before: over a blank, to a new label
    skip[:, 3::2] = np.where(text[:, 3::2] != text[:, 1:-2:2], 0.0, _NEVER)
    begin = np.full((batch, states), _NEVER)
    begin[:, 0] = 0.0
    begin[:, 1:2] = np.where(many[:, None] > 0, 0.0, _NEVER)
    at = broadcast_to(unsqueeze(constant(text), 0), (x.shape[0], batch, states))
    p: Any = gather(x, 2, at)
    first, over = (convert(constant(a), x.dtype) for a in (begin, skip))
    alpha: Any = p[0] + first
    for t in range(1, x.shape[0]):
        one = pad(alpha, (1, 0), value=_NEVER)[:, :-1]  # type: ignore[index]
        two = pad(alpha, (2, 0), value=_NEVER)[:, :-2] + over  # type: ignore[index]
        new = logsumexp(stack([alpha, one, two]), 0) + p[t]  # type: ignore[operator]
        alive = spans > t
        alpha = new if alive.all() else where(constant(alive[:, None]), new, alpha)
    last = gather(alpha, 1, constant(2 * many[:, None]))
    if not longest:
        return -last[:, 0]  # type: ignore[index]
    before = gather(alpha, 1, constant(np.maximum(2 * many[:, None] - 1, 0)))
    before = where(constant(many[:, None] > 0), before, _NEVER)
    return -logaddexp(last, before)[:, 0]  # type: ignore[index]


FUNCTIONAL = ("ctc_loss",)
"""What ``tilegrad.nn.functional`` publishes from here."""
