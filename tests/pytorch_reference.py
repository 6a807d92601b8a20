"""Calls that mean the same in tilegrad and in PyTorch, and what PyTorch makes of them.

``python tests/pytorch_reference.py``, where PyTorch is installed, renews pytorch_reference.json:
for each call the shape of the result, its product with fixed weights, and those of the gradients.
tests/test_pytorch_reference.py compares.
"""

import json
import math
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_suffix(".json")


def wave(shape, i):
    """Numbers in [-2, 2] without order or ties."""
    n = math.prod(shape)
    return (2 * np.sin(1.3 * np.arange(n) + 0.7 * i + 0.1)).reshape(shape)


def inputs_of(row):
    """The arrays of a row: shapes are floats, (high, shape) class indices, lists themselves."""
    out = {}
    for i, (name, spec) in enumerate(row[1].items()):
        if isinstance(spec, list):
            out[name] = np.array(spec)
        elif len(spec) == 2 and isinstance(spec[1], tuple):
            high, shape = spec
            out[name] = (np.arange(math.prod(shape)) * 7 + 3).reshape(shape) % high
        else:
            out[name] = wave(spec, i)
    return out


def evaluate(lib, from_numpy, row):
    """[shapes, <weights, results>, <weights, gradient> per floating input] of a row."""
    xs = {}
    for name, a in inputs_of(row).items():
        xs[name] = from_numpy(np.ascontiguousarray(a))
        if a.dtype == np.float64:
            xs[name].requires_grad_()

    def fill(module):
        module.double()
        for i, p in enumerate(module.parameters()):
            p.data = from_numpy(wave(tuple(p.shape), i + 5))
        return module

    names = {"F": lib.nn.functional, "nn": lib.nn, "lib": lib, "fill": fill, **xs}
    y = eval(row[0], names)
    ys = list(y) if isinstance(y, (tuple, list)) else [y]
    total, shapes = 0.0, []
    for t in ys:
        weights = np.cos(0.9 * np.arange(math.prod(t.shape)) + 0.3).reshape(tuple(t.shape))
        total = total + (t * from_numpy(np.asarray(weights))).sum()
        shapes.append([int(n) for n in t.shape])
    total.backward()
    slopes = []
    for x in xs.values():
        if x.requires_grad:
            g = np.zeros(tuple(x.shape)) if x.grad is None else np.asarray(x.grad.numpy())
            slopes.append(float((g.reshape(-1) * np.cos(0.5 * np.arange(g.size))).sum()))
    return [shapes, float(total.item()), slopes]


X = {"x": (3, 8)}
IMAGE = {"x": (2, 3, 4, 5)}
PAIR = {"x": (4, 5), "y": (4, 5)}
ROWS = [
    *[
        (f"F.{name}", X)
        for name in (
            "relu6(x * 4)", "celu(x, 0.7)", "selu(x)", "mish(x)", "hardtanh(x)", "logsigmoid(x)",
            "hardtanh(x, -0.3, 1.2)", "hardsigmoid(x * 3)", "hardswish(x * 3)", "hardshrink(x)",
            "softshrink(x, 0.3)", "tanhshrink(x)", "softsign(x)", "threshold(x, 0.1, 7.0)",
            "prelu(x, lib.linspace(0.1, 0.8, 8, dtype=lib.float64))", "rrelu(x)", "glu(x)",
            "glu(x, 1)", "softmin(x, 0)",
        )
    ],
    ("F.relu6(x)", {"x": [0.0, 6.0, 3.0]}),
    ("F.hardtanh(x)", {"x": [-1.0, 1.0, 0.5]}),
    ("F.celu(x)", {"x": [0.0, -0.0, -40.0]}),
    ("F.hardshrink(x)", {"x": [0.5, -0.5, 0.0]}),
    ("F.softshrink(x)", {"x": [0.5, -0.5, 0.0]}),
    ("F.threshold(x, 1.0, 2.0)", {"x": [1.0, 0.9]}),
    ("F.logsigmoid(x)", {"x": [0.0, -300.0, 300.0, -30.0]}),
    ("F.softsign(x)", {"x": [0.0, -2.0]}),
    ("nn.PReLU(3).double()(x)", IMAGE),
    ("nn.Softmax2d()(x)", IMAGE),
    ("nn.RReLU(0.1, 0.9).eval()(x)", X),
]  # fmt: skip


if __name__ == "__main__":
    import torch

    rows = {row[0] + json.dumps(row[1]): evaluate(torch, torch.from_numpy, row) for row in ROWS}
    table = {"source": f"PyTorch {torch.__version__.partition('+')[0]}", "rows": rows}
    lines = [f"{json.dumps(key)}: {json.dumps(row)}" for key, row in table["rows"].items()]
    head = f'{{"source": "{table["source"]}", "rows": {{\n'
    FILE.write_text(head + ",\n".join(lines) + "\n}}\n")
