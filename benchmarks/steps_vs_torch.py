"""Whole training steps (forward, loss, backward, SGD with momentum), eager, against PyTorch.

    PYTHONPATH=python python benchmarks/steps_vs_torch.py [part of a name ...] [--threads 1 2]
        [--rounds 7] [--json FILE]

The same program runs with either library, in float32, on the same numbers. PyTorch's convolutional
nets run in its default memory format and, where that is named, in channels_last; the ratio takes
the faster. Peak memory is that of three steps in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from turns import Row, main

ROWS = [
    Row("mlp 784-256-10 batch 4", ["mlp", 4]),
    Row("mlp 784-256-10 batch 64", ["mlp", 64]),
    Row("lenet-5 batch 64", ["lenet5", 64]),
    Row("resnet-20 32x32 batch 128", ["resnet20", 128]),
    Row("resnet-18 224x224 batch 8", ["resnet18", 8]),
]


def _mlp(nn: Any) -> Any:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def _lenet5(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def _block(lib: Any, inputs: int, outputs: int, stride: int) -> Any:
    nn = lib.nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.shortcut = nn.Identity()
            if stride != 1 or inputs != outputs:
                conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            y = nn.functional.relu(self.bn1(self.conv1(x)))
            return nn.functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    return Block()


def _resnet(lib: Any, stem: list[Any], widths: tuple[int, ...], blocks: int, classes: int) -> Any:
    nn, layers, inputs = lib.nn, stem, widths[0]
    for stage, outputs in enumerate(widths):
        for i in range(blocks):
            layers.append(_block(lib, inputs, outputs, 2 if stage and i == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def network(lib: Any, name: str) -> tuple[Any, tuple[int, ...], int]:
    """The model, the shape of one input, the number of classes."""
    nn = lib.nn
    if name == "mlp":
        return _mlp(nn), (784,), 10
    if name == "lenet5":
        return _lenet5(nn), (1, 28, 28), 10
    if name == "resnet20":
        stem = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        return _resnet(lib, stem, (16, 32, 64), 3, 10), (3, 32, 32), 10
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    stem.append(nn.MaxPool2d(3, 2, 1))
    return _resnet(lib, stem, (64, 128, 256, 512), 2, 1000), (3, 224, 224), 1000


def make(peer: str, spec: list[Any]) -> Callable[[], Any]:
    """One training step."""
    lib = import_module(peer.split()[0])
    name, batch = spec
    model, shape, classes = network(lib, name)
    rng = np.random.default_rng(0)
    x = lib.from_numpy(rng.standard_normal((batch, *shape)).astype(np.float32))
    y = lib.from_numpy(rng.integers(0, classes, batch))
    if peer.endswith("channels_last") and len(shape) == 3:
        model = model.to(memory_format=lib.channels_last)
        x = x.contiguous(memory_format=lib.channels_last)
    optimizer = lib.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        lib.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main(__doc__ or "", ROWS, make, ("torch", "torch channels_last"), memory=True)
