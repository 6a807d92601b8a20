"""Recurrent layers, step by step as in the papers."""

import numpy as np

from tilegrad import errors
from tilegrad.kernels.contract import RECURRENT
from tilegrad.kernels.reference._common import quiet, rounded, widen


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _order(steps, reverse):
    """(time, the time before or None) in the order of computation."""
    times = list(range(steps))[::-1] if reverse else list(range(steps))
    return list(zip(times, [None, *times[:-1]], strict=True)) if times else []


def _checked(op, name, sequence, h0, c0, w):
    """(kind, hidden units) of operands that fit together."""
    if not 0 <= op < len(RECURRENT):
        raise errors.ValueError(f"{name}: unknown op {op}")
    kind, n = RECURRENT[op], w.shape[-1]
    gates = {"lstm": 4, "gru": 3}.get(kind, 1)
    if w.ndim != 2 or w.shape[0] != gates * n:
        raise errors.ShapeError(f"{name}: w expects shape ({gates} H, H), got {w.shape}")
    if sequence.ndim != 3 or h0.shape != (sequence.shape[1], n):
        raise errors.ShapeError(f"{name}: {sequence.shape} and h0 {h0.shape} for w {w.shape}")
    if (c0 is None) == (kind == "lstm"):
        raise errors.ValueError(f"{name}: c0 is for the LSTM, and for it alone")
    return kind, n


@quiet
def recurrent(op, x, w_in, b_in, h0, c0, w, bias, lengths, reverse):
    """States of all steps; a sample whose sequence is over keeps its state."""
    kind, n = _checked(op, "recurrent", x, h0, c0, w)
    if bias is not None and kind != "gru":
        raise errors.ValueError("recurrent: bias is for the GRU; add it to gates elsewhere")
    if w_in.shape != (len(w), x.shape[2]):
        raise errors.ShapeError(f"recurrent: x {x.shape} for w_in {w_in.shape} and w {w.shape}")
    dtype = x.dtype
    gates = widen(x) @ widen(w_in).T + (0 if b_in is None else widen(b_in))
    h0, w = widen(h0), widen(w)
    c0 = None if c0 is None else widen(c0)
    steps, batch = gates.shape[:2]
    h = np.zeros((steps, batch, n), gates.dtype)
    c = np.zeros_like(h) if kind == "lstm" else None
    saved = np.zeros((steps, batch, 4 * n), h.dtype) if kind in ("lstm", "gru") else None
    for t, u in _order(steps, reverse):
        before = h0 if u is None else h[u]
        live = np.ones(batch, bool) if lengths is None else t < lengths
        hidden = before @ w.T + (0 if bias is None else widen(bias))
        own = gates[t]
        if kind == "gru":
            r, z = np.split(_sigmoid(own[:, : 2 * n] + hidden[:, : 2 * n]), 2, 1)
            new = np.tanh(own[:, 2 * n :] + r * hidden[:, 2 * n :])
            state = (1 - z) * new + z * before
            saved[t, live] = np.concatenate([r, z, new, hidden[:, 2 * n :]], 1)[live]
        elif kind == "lstm":
            c_before = c0 if u is None else c[u]
            i, f, g, o = np.split(own + hidden, 4, 1)
            i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
            c[t] = np.where(live[:, None], f * c_before + i * g, c_before)
            state = o * np.tanh(c[t])
            saved[t, live] = np.concatenate([i, f, g, o], 1)[live]
        else:
            state = np.tanh(own + hidden) if kind == "tanh" else np.maximum(own + hidden, 0)
        h[t] = np.where(live[:, None], state, before)
    return rounded(h, dtype), *[None if a is None else rounded(a, dtype) for a in (c, saved)]


@quiet
def recurrent_grad(op, gh, gc, h, c, saved, h0, c0, w, lengths, reverse):
    """Backpropagation through time: gradients of the sums of every step and of the first state."""
    kind, _ = _checked(op, "recurrent_grad", h, h0, c0, w)
    dtype = h.dtype
    gh, h, h0, w = widen(gh), widen(h), widen(h0), widen(w)
    steps, batch = h.shape[:2]
    ggates = np.zeros((steps, batch, len(w)), h.dtype)
    ghidden = np.zeros_like(ggates) if kind == "gru" else None
    dh = np.zeros_like(h0)
    dc = None
    if kind == "lstm":
        c, c0, saved = widen(c), widen(c0), widen(saved)
        dc = np.zeros_like(h0) if gc is None else widen(gc).copy()
    elif kind == "gru":
        saved = widen(saved)
    for t, u in reversed(_order(steps, reverse)):
        before = h0 if u is None else h[u]
        live = (np.ones(batch, bool) if lengths is None else t < lengths)[:, None]
        dh = dh + gh[t]
        if kind == "gru":
            r, z, new, sums = np.split(saved[t], 4, 1)
            dnew = dh * (1 - z) * (1 - new * new)
            dr, dz = dnew * sums * r * (1 - r), dh * (before - new) * z * (1 - z)
            ggates[t] = np.where(live, np.concatenate([dr, dz, dnew], 1), 0)
            ghidden[t] = np.where(live, np.concatenate([dr, dz, dnew * r], 1), 0)
            past, back = dh * z, ghidden[t]
        elif kind == "lstm":
            c_before = c0 if u is None else c[u]
            i, f, g, o = np.split(saved[t], 4, 1)
            top = np.tanh(c[t])
            d = dc + dh * o * (1 - top * top)
            parts = [d * g * i * (1 - i), d * c_before * f * (1 - f), d * i * (1 - g * g),
                     dh * top * o * (1 - o)]  # fmt: skip
            ggates[t] = np.where(live, np.concatenate(parts, 1), 0)
            dc = np.where(live, d * f, dc)
            past, back = np.zeros_like(dh), ggates[t]
        else:
            slope = 1 - h[t] * h[t] if kind == "tanh" else h[t] > 0
            ggates[t] = np.where(live, dh * slope, 0)
            past, back = np.zeros_like(dh), ggates[t]
        dh = np.where(live, past, dh) + back @ w
    results = (ggates, ghidden, dh, dc)
    return tuple(None if a is None else rounded(a, dtype) for a in results)
