"""Captured training steps against our eager mode, PyTorch's, and torch.compile.

    PYTHONPATH=python python benchmarks/capture_vs_torch.py [part of a name ...] [--threads 1 2]
        [--rounds 7] [--json FILE]

A step is zero_grad, forward, loss, backward and SGD, in float32, on four batches in turn; PyTorch's
optimizer is the fused one. The network of 1989 is the same function in both: PyTorch makes the
incomplete connections by a mask. "torch compile" compiles forward, loss and their gradients with
torch.compile and leaves the optimizer as it is; compiling takes minutes the first time, later runs
find the result in PyTorch's cache. What raises is left out, with its message in FILE. Rows already
in FILE stay, so that it can be filled in parts. The table at the end takes every side at its better
number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import cycle
from typing import Any

import numpy as np
from steps_vs_torch import network
from turns import Row, main

EAGER, TORCH, CHANNELS_LAST, COMPILED = (
    "tilegrad eager", "torch", "torch channels_last", "torch compile",
)  # fmt: skip
PEERS = (EAGER, TORCH, COMPILED)
IMAGES = (EAGER, TORCH, CHANNELS_LAST, COMPILED)
OPS = 1000
ROWS = [
    Row("1989 net batch 1", ["1989", 1], peers=PEERS),
    Row("mlp 784-256-10 batch 4", ["mlp", 4], peers=PEERS),
    Row("mlp 784-256-10 batch 64", ["mlp", 64], peers=PEERS),
    Row("lenet-5 batch 64", ["lenet5", 64], peers=IMAGES),
    Row("lstm 32-64 50 steps batch 16", ["lstm", 16], peers=PEERS),
    Row("logistic regression batch 8", ["logistic", 8], peers=PEERS),
    Row("1 op in place", ["in place", 1], peers=(EAGER, TORCH)),
    Row(f"{OPS} ops in place", ["in place", OPS], peers=(EAGER, TORCH)),
    Row("1 op in a chain", ["chain", 1], peers=(EAGER, TORCH)),
    Row(f"{OPS} ops in a chain", ["chain", OPS], peers=(EAGER, TORCH)),
    Row("resnet-20 32x32 batch 128", ["resnet20", 128], peers=(EAGER,)),
    Row("resnet-18 224x224 inference batch 1", ["resnet18", 1, "infer"], peers=IMAGES),
    *(
        Row(f"{title} inference batch {n}", [name, n, "infer"], peers=IMAGES)
        for title, name in (("lenet-5", "lenet5"), ("resnet-20 32x32", "resnet20"))
        for n in (1, 32)
    ),
]
# Row, against whom, at least how many times as fast.
RATIOS = [
    ("1989 net batch 1", TORCH, 25.0),
    ("mlp 784-256-10 batch 4", TORCH, 8.0),
    ("mlp 784-256-10 batch 64", TORCH, 4.0),
    ("lenet-5 batch 64", TORCH, 6.0),
    ("lstm 32-64 50 steps batch 16", TORCH, 2.0),
    ("logistic regression batch 8", TORCH, 30.0),
    ("resnet-20 32x32 batch 128", EAGER, 1.1),
    ("resnet-18 224x224 inference batch 1", TORCH, 2.0),
]


def _zip_code_net(torch: Any) -> Any:
    """tilegrad.models.ZipCodeNet for PyTorch."""
    nn, pad = torch.nn, torch.nn.functional.pad

    def squash(x: Any) -> Any:
        return 1.7159 * torch.tanh(x * (2.0 / 3.0))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w1 = nn.Parameter(torch.rand(12, 1, 5, 5) * 0.18 - 0.09)
            self.b1 = nn.Parameter(torch.zeros(12, 8, 8))
            self.w2 = nn.Parameter(torch.rand(12, 12, 5, 5) * 0.024 - 0.012)
            self.b2 = nn.Parameter(torch.zeros(12, 4, 4))
            self.h3, self.output = nn.Linear(192, 30), nn.Linear(30, 10)
            seen = np.array([[(j - i) % 12 < 8 for j in range(12)] for i in range(12)])
            self.register_buffer("mask", torch.tensor(seen).float()[:, :, None, None])

        def forward(self, x: Any) -> Any:
            conv, edge = nn.functional.conv2d, (2, 2, 2, 2)
            x = squash(conv(pad(x, edge, value=-1.0), self.w1, stride=2) + self.b1)
            x = squash(conv(pad(x, edge, value=-1.0), self.w2 * self.mask, stride=2) + self.b2)
            return squash(self.output(squash(self.h3(x.flatten(1)))))

    return Net()


def _model(lib: Any, name: str) -> tuple[Any, tuple[int, ...], int]:
    """The model, the shape of one input, the number of outputs."""
    nn = lib.nn
    if name == "1989":
        ours = lib.__name__ == "tilegrad"
        return lib.models.ZipCodeNet() if ours else _zip_code_net(lib), (1, 16, 16), 10
    if name == "logistic":
        return nn.Linear(4, 3), (4,), 3
    if name == "lstm":

        class Last(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.lstm, self.output = nn.LSTM(32, 64, batch_first=True), nn.Linear(64, 10)

            def forward(self, x: Any) -> Any:
                return self.output(self.lstm(x)[0][:, -1])

        return Last(), (50, 32), 10
    return network(lib, name)


def _ops(lib: Any, name: str, n: int, captured: bool) -> Callable[[], Any]:
    """n operations on one element."""
    x = lib.zeros(1)

    def in_place(x: Any) -> None:
        for _ in range(n):
            x.add_(1.0)

    def chain(x: Any) -> Any:
        for _ in range(n):
            x = -x
        return x

    f = in_place if name == "in place" else chain
    f = lib.capture(f) if captured else f
    return lambda: f(x)


def make(peer: str, spec: list[Any]) -> Callable[[], Any]:
    """One training step, inference, or a number of operations."""
    lib = import_module(peer.split()[0])
    captured, ours = peer == "tilegrad", lib.__name__ == "tilegrad"
    if peer == COMPILED:  # its probe of the vector instructions fails where the machine is busy
        import_module("torch._inductor.config").cpp.vec_isa_ok = True
    name, batch, *infers = spec
    if name in ("in place", "chain"):
        return _ops(lib, name, batch, captured)
    model, shape, outputs = _model(lib, name)
    rng = np.random.default_rng(0)
    images = [rng.standard_normal((batch, *shape)).astype(np.float32) for _ in range(4)]
    xs = [lib.from_numpy(x) for x in images]
    loss = lib.nn.functional.cross_entropy
    if name == "1989":
        loss = lib.nn.functional.mse_loss
        signs = [rng.choice([-1.0, 1.0], (batch, outputs)).astype(np.float32) for _ in range(4)]
        ys = [lib.from_numpy(y) for y in signs]
    else:
        ys = [lib.from_numpy(rng.integers(0, outputs, batch)) for _ in range(4)]
    if peer == CHANNELS_LAST:
        model = model.to(memory_format=lib.channels_last)
        xs = [x.contiguous(memory_format=lib.channels_last) for x in xs]
    batches = cycle(zip(xs, ys, strict=True))

    if infers:
        model.eval()
        call = lib.capture(model) if captured else lib.compile(model) if peer == COMPILED else model

        def infer() -> Any:
            with lib.no_grad() if ours else lib.inference_mode():
                return call(next(batches)[0])

        return infer

    fused: dict[str, Any] = {} if ours else {"fused": True}
    momentum = 0.0 if name in ("1989", "logistic") else 0.9
    optimizer = lib.optim.SGD(model.parameters(), lr=0.001, momentum=momentum, **fused)

    def objective(x: Any, y: Any) -> Any:
        return loss(model(x), y)

    if peer == COMPILED:
        objective = lib.compile(objective)

    def step(x: Any, y: Any) -> None:
        optimizer.zero_grad()
        objective(x, y).backward()
        optimizer.step()

    run = lib.capture(step) if captured else step
    return lambda: run(*next(batches))


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was measured beside the target, every side at its better number of threads."""
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        for peer, s in row["seconds"].items():
            key = row["row"], peer
            best[key] = min(s["median"], best.get(key, s["median"]))
    lines: list[dict[str, Any]] = []
    for name, against, target in RATIOS:
        if (name, "tilegrad") in best:
            ratios = {
                peer: seconds / best[n, "tilegrad"]
                for (n, peer), seconds in best.items() if n == name and peer != "tilegrad"
            }  # fmt: skip
            sides = [r for peer, r in ratios.items() if peer.startswith(against)]
            reached = min(sides, default=0.0) >= target
            us = best[name, "tilegrad"] * 1e6
            lines.append({"row": name, "us": us, "times as fast as": ratios,
                          "target": f"{target} x {against}", "reached": reached})  # fmt: skip
    if ("1989 net batch 1", "tilegrad") in best:
        us = best["1989 net batch 1", "tilegrad"] * 1e6
        lines.append({"row": "1989 net", "us": us, "target": "50 us", "reached": us <= 50})
    for kind in ("in place", "in a chain"):
        one, many = f"1 op {kind}", f"{OPS} ops {kind}"
        ns = {
            peer: (best[many, peer] - best[one, peer]) / (OPS - 1) * 1e9
            for n, peer in best if n == many
        }  # fmt: skip
        if ns:
            lines.append({"row": f"one op {kind}", "ns": ns, "target": "100 ns",
                          "reached": ns["tilegrad"] <= 100})  # fmt: skip
    return lines


if __name__ == "__main__":
    main(__doc__ or "", ROWS, make, IMAGES, summary=summary)
