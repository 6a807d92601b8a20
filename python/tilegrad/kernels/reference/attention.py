"""Scaled dot-product attention, with all its scores."""

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import quiet, rounded, widen


def _probabilities(op, q, k, mask, scale, causal):
    if q.ndim != 4 or k.ndim != 4 or k.shape[:2] != q.shape[:2] or k.shape[3] != q.shape[3]:
        raise errors.ShapeError(f"{op}: k of shape {k.shape} does not fit q of shape {q.shape}")
    scores = scale * (q @ k.swapaxes(2, 3))
    if mask is not None:
        if mask.shape != scores.shape:
            raise errors.ShapeError(f"{op}: mask of shape {mask.shape} for q of shape {q.shape}")
        scores = scores + widen(mask)
    if causal:
        scores = np.where(np.tri(*scores.shape[2:], dtype=bool), scores, -np.inf)
    top = scores.max(3, keepdims=True, initial=-np.inf)
    p = np.exp(scores - np.where(np.isneginf(top), 0, top))
    total = p.sum(3, keepdims=True)
    return p / np.where(total == 0, 1, total)


@quiet
def attention(q, k, v, mask, scale, causal):
    """y = p v with p the softmax of the scores over the keys."""
    p = _probabilities("attention", widen(q), widen(k), mask, scale, causal)
    if v.shape[:3] != k.shape[:3]:
        raise errors.ShapeError(f"attention: v of shape {v.shape} for k of shape {k.shape}")
    return rounded(p @ widen(v), q.dtype)


@quiet
def attention_grad(g, q, k, v, mask, scale, causal):
    """gv = p^T g; with d = p (g v^T - sum(p g v^T)): gq = scale d k, gk = scale d^T q."""
    dtype = q.dtype
    g, q, k, v = widen(g), widen(q), widen(k), widen(v)
    p = _probabilities("attention_grad", q, k, mask, scale, causal)
    gp = g @ v.swapaxes(2, 3)
    d = p * (gp - (p * gp).sum(3, keepdims=True))
    results = scale * (d @ k), scale * (d.swapaxes(2, 3) @ q), p.swapaxes(2, 3) @ g
    return tuple(rounded(a, dtype) for a in results)
