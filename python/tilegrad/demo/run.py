"""The demonstration: LeNet-5 learns handwritten digits, then each of its kernels is held against
the NumPy reference."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import data, kernels, nn, ops, optim
from ..bench.report import processor
from ..errors import PackageError
from ..generator import Generator
from ..train.checkpoint import save_checkpoint
from ..train.progress import Progress
from ..train.trainer import Trainer, accuracy
from . import table
from .figure import draw
from .lenet import Shift, lenet5


@dataclass
class Recipe:
    """How a variant is trained; chosen on 10,000 images held out of the MNIST training set."""

    lr: float
    batch_size: int
    weight_decay: float = 0.0
    momentum: float = 0.9
    shift: int = 0
    warmup: float = 0.2


RECIPES = {
    "modern": Recipe(lr=0.05, batch_size=64, weight_decay=1e-4, shift=1),
    "1998": Recipe(lr=0.1, batch_size=64, weight_decay=1e-4, shift=1),
}


def one_cycle(recipe: Recipe, steps: int) -> Any:
    """The factor of the learning rate: linear warm-up, then linear to zero (Smith, 2018)."""
    top = max(recipe.warmup * steps, 1.0)

    def factor(step: int) -> float:
        up, down = (step + 1) / top, (steps - step) / max(steps - top, 1.0)
        return max(min(up, down, 1.0), 0.0)

    return factor


@dataclass
class Run:
    """A training run of the demonstration: everything that a checkpoint must hold."""

    model: nn.Sequential
    optimizer: optim.SGD
    scheduler: optim.lr_scheduler.LambdaLR
    loader: data.DataLoader
    transform: Shift | None
    epochs: int
    seed: int
    variant: str

    @classmethod
    def prepare(
        cls, train: Any, variant: str, epochs: int, seed: int, batch_size: int | None = None
    ) -> Run:
        """Weights, order of the images and shifts all follow from the seed."""
        recipe = RECIPES[variant]
        ops.manual_seed(seed)
        model = lenet5(variant)
        size = batch_size or recipe.batch_size
        stream = Generator().manual_seed(seed)
        loader = data.DataLoader(train, size, shuffle=True, generator=stream)
        optimizer = optim.SGD(
            model.parameters(), lr=recipe.lr,
            momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True,
        )  # fmt: skip
        steps = epochs * len(loader)
        scheduler = optim.lr_scheduler.LambdaLR(optimizer, one_cycle(recipe, steps))
        transform = Shift(recipe.shift, stream) if recipe.shift else None
        return cls(model, optimizer, scheduler, loader, transform, epochs, seed, variant)

    def train(self, callback: Any = None, progress: bool = False) -> Trainer:
        """Runs to the end, or until the callback sets ``stop``; progress: whether to show it."""
        trainer = Trainer(
            self.model, nn.functional.cross_entropy, self.optimizer, self.scheduler,
            {"accuracy": accuracy}, progress=progress,
        )  # fmt: skip
        trainer.fit(self.loader, self.epochs, transform=self.transform, callback=callback)
        return trainer

    def save(self, folder: Path, progress: Progress) -> Path:
        """A checkpoint from which ``load_checkpoint`` restores model, optimizer and schedule."""
        info = {"variant": self.variant, "epochs": self.epochs, "batch": progress.batch}
        return save_checkpoint(
            folder, self.model, self.optimizer, self.scheduler, epoch=progress.epoch,
            seed=self.seed, info=info, generator=self.loader.generator,
        )  # fmt: skip


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C sets the event, so that the running batch is finished; a second one interrupts."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handler(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def load_digits(folder: str | None) -> tuple[Any, Any, str]:
    """Training set, test set and their name."""
    if folder is not None:
        return data.MNIST(folder), data.MNIST(folder, train=False), f"MNIST in {folder}"
    both = data.digits(enlarge=True), data.digits(train=False, enlarge=True)
    return *both, "scikit-learn's digits (give --data DIR for MNIST)"


def demo(
    folder: str | None = None,
    epochs: int | None = None,
    save: str = "demo_out",
    variant: str = "modern",
    seed: int = 0,
    batch_size: int | None = None,
) -> int:
    """The whole demonstration, printed; returns the exit code."""
    train, test, name = load_digits(folder)
    epochs = epochs or (5 if folder is not None else 20)
    host = kernels.host
    where = f"{host.isa()}, {host.num_threads()} threads" if hasattr(host, "isa") else "NumPy"
    print(
        f"LeNet-5 ({variant}) on {name}: {len(train):,} images to learn from, {len(test):,} to test"
    )
    print(f"{processor()}; kernels: {where}; seed {seed}")
    run = Run.prepare(train, variant, epochs, seed, batch_size)
    out = Path(save)
    out.mkdir(parents=True, exist_ok=True)
    with interruptible() as asked:

        def callback(p: Progress) -> None:
            p.stop = asked.is_set()

        trainer = run.train(callback, progress=True)
    progress = trainer.state
    saved = str(run.save(out, progress))
    if progress.stop:
        print(f"interrupted in epoch {min(progress.epoch + 1, epochs)}; checkpoint: {saved}")
        return 130
    inputs, targets = test.tensors
    outputs = trainer.predict(inputs, batch_size=500)
    percent = 100 * accuracy(outputs, targets)
    logits, labels = outputs.numpy(), targets.numpy()
    print(
        f"test accuracy {percent:.2f} % after {epochs} epochs, {progress.seconds:.1f} s, "
        f"{progress.rate:,.0f} images/s"
    )
    print(f"checkpoint: {saved}")
    try:
        picture = out / "lenet5.png"
        weights = run.model.c1.weight.numpy(force=True)
        title = f"LeNet-5 ({variant}): {percent:.2f} % on {len(test):,} test images"
        images = inputs.numpy()[:, 0]
        figure = draw(progress.losses, logits, labels, images, weights, title)
        figure.savefig(picture, dpi=120)
        print(f"picture: {picture}")
    except PackageError as e:
        print(f"no picture: {e}")
    x, y = next(iter(run.loader))
    right = table.show(table.record_step(run.model, run.optimizer, x, y), len(x))
    return 0 if right else 1


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of all parameters: equal if and only if the weights are, bit for bit."""
    digest = hashlib.sha256()
    for key, t in model.state_dict().items():
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(t.numpy()).tobytes())
    return digest.hexdigest()
