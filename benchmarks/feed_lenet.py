"""Does one worker keep LeNet-5 fed? Images per second of the training step, of loaders, of both.

    PYTHONPATH=python python benchmarks/feed_lenet.py [--threads 2] [--rounds 5]

The step is captured, batch 64, 28 x 28, on random images; the loaders crop with a margin of 2, flip
and normalise. Everything takes turns in one process. Printed are medians over the rounds of the
rate by the median batch, and how long the step waits for its batch.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import tilegrad as tg
from tilegrad.data import DataLoader, ImageDataset
from tilegrad.data import transforms as T
from tilegrad.demo.lenet import lenet5

BATCH, BATCHES, WARM = 64, 150, 10


def timed(batches: Iterable[Any], step: Callable[..., Any] | None) -> tuple[float, float]:
    """Images per second, and microseconds of waiting per batch."""
    whole, waits, it = [], [], iter(batches)
    for _ in range(BATCHES):
        begin = time.perf_counter()
        x, y = next(it)
        waits.append(time.perf_counter() - begin)
        if step is not None:
            step(x, y)
        whole.append(time.perf_counter() - begin)
    return BATCH / statistics.median(whole[WARM:]), 1e6 * statistics.median(waits[WARM:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=tg.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    tg.set_num_threads(options.threads)
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    augment = T.Compose([T.RandomCrop(28, 2), T.RandomHorizontalFlip(), T.Normalize(0.13, 0.31)])
    images = tg.from_numpy(rng.integers(0, 256, (60_000, 1, 28, 28), dtype=np.uint8))
    dataset = ImageDataset(images, tg.from_numpy(rng.integers(0, 10, 60_000)), transform=augment)
    model = lenet5()
    optimizer = tg.optim.Adam(model.parameters())

    @tg.capture
    def step(x: tg.Tensor, y: tg.Tensor) -> tg.Tensor:
        optimizer.zero_grad()
        loss = tg.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    ready = next(iter(DataLoader(dataset, BATCH)))
    found = defaultdict(list)
    for _ in range(options.rounds):
        found["step alone"].append(timed(itertools.repeat(ready), step))
        for name, n, workers in (
            ("no worker", 0, "processes"), ("one process", 1, "processes"),
            ("one thread", 1, "threads"),
        ):  # fmt: skip
            for doing, both in (("alone", None), ("and step", step)):
                loader = DataLoader(dataset, BATCH, True, num_workers=n, workers=workers)
                found[f"{name} {doing}"].append(timed(loader, both))
    for row, pairs in found.items():
        rate, wait = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{row:22}{rate:10,.0f} images/s{wait:8.0f} us of waiting")


if __name__ == "__main__":
    main()
