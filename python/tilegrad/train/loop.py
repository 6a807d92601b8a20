"""A training loop for classifiers, small enough to read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..grad_mode import no_grad
from ..nn.module import Module


@dataclass
class Progress:
    """Where a training run stands; handed to the callback after every batch and every epoch.

    epoch counts from 0; batch is the number of batches done in it; loss and accuracy are those of
    the training samples seen in this epoch; history holds one dict per finished epoch.
    """

    epochs: int
    batches: int
    epoch: int = 0
    batch: int = 0
    seen: int = 0
    loss: float = 0.0
    accuracy: float = 0.0
    seconds: float = 0.0
    total_seen: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    stop: bool = False

    @property
    def rate(self) -> float:
        """Samples per second since the run began."""
        return self.total_seen / self.seconds if self.seconds else 0.0

    @property
    def remaining(self) -> float:
        """Seconds left, at the rate so far."""
        done = (self.epoch * self.batches + self.batch) / max(self.epochs * self.batches, 1)
        return self.seconds * (1.0 - done) / done if done else float("inf")


def fit(
    model: Module,
    loader: Any,
    loss_fn: Callable[[Any, Any], Any],
    optimizer: Any,
    epochs: int,
    *,
    scheduler: Any = None,
    transform: Callable[[Any], Any] | None = None,
    validate: Any = None,
    callback: Callable[[Progress], None] | None = None,
) -> Progress:
    """Trains model on the batches (x, y) of loader; y holds class indices.

    scheduler: stepped after every batch. transform: applied to every x. validate: a loader whose
    loss and accuracy are recorded after every epoch. callback: called with the Progress after every
    batch; it ends the run after this batch by setting ``progress.stop``. Returns the Progress.
    """
    p = Progress(epochs, len(loader))
    begin = time.perf_counter()
    for p.epoch in range(epochs):
        model.train()
        p.batch = p.seen = correct = 0
        total = 0.0
        for x, y in loader:
            if transform is not None:
                x = transform(x)
            out = model(x)
            loss = loss_fn(out, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            value, n = loss.item(), len(y)
            total += value * n
            correct += _correct(out, y)
            p.losses.append(value)
            p.batch += 1
            p.seen += n
            p.total_seen += n
            p.loss, p.accuracy = total / p.seen, correct / p.seen
            p.seconds = time.perf_counter() - begin
            if callback is not None:
                callback(p)
            if p.stop:
                return p
        record = {"loss": p.loss, "accuracy": p.accuracy, "seconds": p.seconds}
        if validate is not None:
            record["validation_loss"], record["validation_accuracy"] = evaluate(
                model, validate, loss_fn
            )
        p.history.append(record)
    p.epoch, p.batch = epochs, 0
    return p


def _correct(out: Any, y: Any) -> int:
    return int(np.count_nonzero(out.numpy(force=True).argmax(1) == y.numpy()))


@no_grad()
def predict(model: Module, loader: Any) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of the model in evaluation mode over all batches, and the labels."""
    training = model.training
    model.eval()
    try:
        pairs = [(model(x).numpy(), y.numpy()) for x, y in loader]
    finally:
        model.train(training)
    return np.concatenate([o for o, _ in pairs]), np.concatenate([y for _, y in pairs])


@no_grad()
def evaluate(model: Module, loader: Any, loss_fn: Callable[[Any, Any], Any]) -> tuple[float, float]:
    """The mean loss and the accuracy of the model, in evaluation mode, over all batches."""
    training = model.training
    model.eval()
    total, correct, n = 0.0, 0, 0
    try:
        for x, y in loader:
            out = model(x)
            total += loss_fn(out, y).item() * len(y)
            correct += _correct(out, y)
            n += len(y)
    finally:
        model.train(training)
    return total / max(n, 1), correct / max(n, 1)
