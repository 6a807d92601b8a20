"""Scaled dot-product attention, with all its scores."""

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import quiet, rounded, widen
from tilegrad.kernels.reference.random import dropout


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
def attention(q, k, v, mask, scale, causal, p=0.0, key=0, offset=0):
    """y = dropout(w) v with w the softmax of the scores over the keys."""
    w = _probabilities("attention", widen(q), widen(k), mask, scale, causal)
    if v.shape[:3] != k.shape[:3]:
        raise errors.ShapeError(f"attention: v of shape {v.shape} for k of shape {k.shape}")
    return rounded(dropout(w, p, key, offset) @ widen(v), q.dtype)


@quiet
def attention_grad(g, q, k, v, mask, scale, causal, p=0.0, key=0, offset=0):
    """gv = dropout(w)^T g; with gw = dropout(g v^T) and d = w (gw - sum(w gw)): gq = scale d k,
    gk = scale d^T q."""
    dtype = q.dtype
    g, q, k, v = widen(g), widen(q), widen(k), widen(v)
    w = _probabilities("attention_grad", q, k, mask, scale, causal)
    gw = dropout(g @ v.swapaxes(2, 3), p, key, offset)
    d = w * (gw - (w * gw).sum(3, keepdims=True))
    gv = dropout(w, p, key, offset).swapaxes(2, 3) @ g
    results = scale * (d @ k), scale * (d.swapaxes(2, 3) @ q), gv
    return tuple(rounded(a, dtype) for a in results)
