"""Two-layer LSTMs and transformer encoder layers against PyTorch, in float32.

    PYTHONPATH=python python benchmarks/recurrent_vs_torch.py [part of a name ...] [--threads 1 2]
        [--rounds 7] [--json FILE]

A step is forward and backward in training mode, with the gradients of the input and of every
parameter.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from turns import Row, main

LSTM = (
    (35, 20, 200, 200), (50, 32, 128, 256), (20, 1, 32, 32), (100, 64, 64, 64), (30, 16, 512, 512),
)  # fmt: skip
ENCODER = (
    (128, 32, 32, 0.0), (128, 128, 8, 0.1), (256, 64, 16, 0.0), (256, 64, 16, 0.1),
    (512, 32, 8, 0.0), (512, 128, 8, 0.1),
)  # fmt: skip
ROWS = [Row("lstm T={} N={} I={} H={}".format(*s), ["lstm", *s]) for s in LSTM]
ROWS += [Row("encoder d={} T={} N={} p={}".format(*s), ["encoder", *s]) for s in ENCODER]


def make(peer: str, spec: list[Any]) -> Callable[[], Any]:
    """One step."""
    lib, kind = import_module(peer), spec[0]
    lib.manual_seed(0)
    if kind == "lstm":
        t, n, inputs, hidden = spec[1:]
        shape, layer = (t, n, inputs), lib.nn.LSTM(inputs, hidden, 2)
    else:
        inputs, t, n, p = spec[1:]
        shape = (t, n, inputs)
        layer = lib.nn.TransformerEncoderLayer(inputs, 4, 4 * inputs, p)
    a = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x = lib.from_numpy(a).requires_grad_()

    def step() -> None:
        layer.zero_grad()
        x.grad = None
        y = layer(x)
        (y[0] if isinstance(y, tuple) else y).sum().backward()

    return step


if __name__ == "__main__":
    main(__doc__ or "", ROWS, make, ("torch",))
