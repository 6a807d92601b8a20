"""Softmax, its logarithm, and cross-entropy on class indices."""

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import quiet, rounded, total, widen, widen_all


def _shift(x, axes):
    """The maximum over axes (kept), 0 where it is infinite or there is nothing."""
    top = x.max(axis=axes, keepdims=True, initial=-np.inf)
    return np.where(np.isinf(top), 0, top).astype(x.dtype)


def _softmax(x, axis):
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    return e / total(e, axis, keepdims=True)


def _log_softmax(x, axis):
    shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(total(np.exp(shifted), axis, keepdims=True))


@quiet
def softmax(x, axis):
    """y = exp(x - m) / sum(exp(x - m)), m the maximum along axis."""
    return rounded(_softmax(widen(x), axis), x.dtype)


@quiet
def log_softmax(x, axis):
    """y = x - m - log(sum(exp(x - m)))."""
    return rounded(_log_softmax(widen(x), axis), x.dtype)


@quiet
def softmax_grad(g, y, axis):
    """gx = y (g - sum(g y)), y the softmax."""
    dtype, (g, y) = g.dtype, widen_all(g, y)
    return rounded(y * (g - total(g * y, axis, keepdims=True)), dtype)


@quiet
def log_softmax_grad(g, y, axis):
    """gx = g - exp(y) sum(g), y the log-softmax."""
    dtype, (g, y) = g.dtype, widen_all(g, y)
    return rounded(g - np.exp(y) * total(g, axis, keepdims=True), dtype)


@quiet
def logsumexp(x, axes, keepdims):
    """log(sum(exp(x))) over axes, shifted by the maximum; -inf over nothing."""
    wide = widen(x)
    m = _shift(wide, axes)
    y = m + np.log(total(np.exp(wide - m), axes, keepdims=True))
    return rounded(y if keepdims else np.squeeze(y, axis=axes), x.dtype)


def _classes(x, target, ignore_index):
    """Which rows count, and their class with ignored rows sent to class 0."""
    if x.ndim != 2 or target.shape != x.shape[:1]:
        raise errors.ShapeError(
            f"cross_entropy: expected x (N, C) and target (N,), got {x.shape} and {target.shape}"
        )
    counts = target != ignore_index
    bad = counts & ((target < 0) | (target >= x.shape[1]))
    if bad.any():
        raise errors.IndexError(
            f"cross_entropy: target {target[bad][0]} is outside [0, {x.shape[1]}) and is not"
            f" ignore_index ({ignore_index})"
        )
    return counts, np.where(counts, target, 0)


@quiet
def cross_entropy(x, target, weight, ignore_index, smoothing, reduction="none"):
    """loss (N,) and lse (N,) = logsumexp of each row of x (N, C); ignored rows have loss 0.

    loss = -(1 - s) w[t] logp[t] - s / C sum(w logp), as torch.nn.functional.cross_entropy. The sum
    over the rows is divided by total: that of w[t] where they count (mean), or 1 (sum).
    """
    if reduction not in ("none", "mean", "sum"):
        raise errors.ValueError(
            f"cross_entropy: reduction must be 'none', 'mean' or 'sum', got {reduction!r}"
        )
    counts, t = _classes(x, target, ignore_index)
    rows, classes = np.arange(x.shape[0]), x.shape[1]
    wide = widen(x)
    w = np.ones(classes, wide.dtype) if weight is None else widen(weight)
    loss = np.zeros(x.shape[0], wide.dtype)
    if counts.any():
        logp = _log_softmax(wide, 1)
        loss = -(1 - smoothing) * w[t] * logp[rows, t]
        if smoothing:
            loss = loss - smoothing / classes * total(w * logp, 1)
    loss, by = np.where(counts, loss, 0), None
    if reduction != "none":
        by = np.asarray(w[t[counts]].sum(dtype=np.float64) if reduction == "mean" else 1.0)
        loss = loss.sum() / by
    return rounded(loss, x.dtype), logsumexp(x, (1,), False), by


@quiet
def cross_entropy_grad(g, x, lse, target, weight, ignore_index, smoothing, total_weight=None):
    """gx (N, C) = g (sum(q) p - q), p the softmax, q = w ((1 - s) onehot(t) + s / C)."""
    counts, t = _classes(x, target, ignore_index)
    classes = x.shape[1]
    dtype, (g, x, lse, weight) = x.dtype, widen_all(g, x, lse, weight)
    w = np.ones(classes, x.dtype) if weight is None else weight
    onehot = (t[:, None] == np.arange(classes)).astype(x.dtype)
    q = w * ((1 - smoothing) * onehot + smoothing / max(classes, 1))
    g = g[:, None] if total_weight is None else g / total_weight
    gx = g * (total(q, 1, keepdims=True) * np.exp(x - lse[:, None]) - q)
    return rounded(np.where(counts[:, None], gx, 0), dtype)
