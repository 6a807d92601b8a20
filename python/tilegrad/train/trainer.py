"""Trainer: the training loop."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..capturing.signature import flatten, rebuilt
from ..data import DataLoader
from ..errors import ShapeError, StateError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..nn.module import Module
from ..optim import LBFGS
from ..optim.lr_scheduler import ReduceLROnPlateau
from ..tensor import Tensor
from . import resume as _resume
from .feed import again_and_again, fields_of, length_of, loader_of, pairs_of, split
from .progress import Progress, display
from .steps import Steps, each


def accuracy(out: Any, target: Any) -> float:
    """The fraction of targets (N, ...), class indices, at which the output (N, C, ...) is largest.

    Raises ShapeError for other shapes, and for outputs of one class.

    >>> import tilegrad as tg
    >>> accuracy(tg.tensor([[0.1, 0.9], [0.8, 0.2]]), tg.tensor([1, 1]))
    0.5
    """
    if out.ndim < 2 or out.shape[1] < 2 or target.shape != (out.shape[0], *out.shape[2:]):
        raise ShapeError(
            "accuracy: expects outputs (N, C, ...) of C > 1 classes and targets (N, ...), got "
            f"shapes {out.shape} and {target.shape}; logits (N, 1) need a metric of your own that "
            "compares them with 0"
        )
    right = np.count_nonzero(out.numpy(force=True).argmax(1) == target.numpy(force=True))
    return float(right) / max(target.numel(), 1)


class RateTest(NamedTuple):
    """What ``find_lr`` found: learning rates, the smoothed losses at them, and the rate where the
    loss falls fastest per factor of the rate."""

    rates: list[float]
    losses: list[float]
    suggestion: float


class Trainer:
    """Trains, evaluates and applies a model.

    loss(output, target) gives the mean over a batch; metrics: by name, functions (output, target)
    that give a number, averaged over the samples. scheduler: stepped after every optimizer step, or
    after every epoch with schedule="epoch"; a ReduceLROnPlateau always once per epoch, with the
    monitored number. accumulate: how many batches make one optimizer step, on the mean of their
    gradients. clip: the largest norm of all gradients together.

    precision: "bfloat16" or "float16" computes on copies of the weights and inputs in that dtype;
    the weights, the loss and the optimizer stay in float32. float16 scales the loss, and skips a
    step whose gradients are not finite.

    capture: steps are recorded once and replayed (``tilegrad.capture``), with the same bits; what
    cannot be is run as it is, with a warning. loggers: called with the Progress after every epoch.
    progress: whether to show it; None where the output is a terminal.

    >>> import tilegrad as tg
    >>> _ = tg.manual_seed(0)
    >>> x = tg.randn(64, 2)
    >>> y = (x[:, 0] > 0).long()
    >>> model = tg.nn.Linear(2, 2)
    >>> optimizer = tg.optim.Adam(model.parameters(), lr=0.1)
    >>> loss, metrics = tg.nn.functional.cross_entropy, {"accuracy": tg.train.accuracy}
    >>> trainer = tg.train.Trainer(model, loss, optimizer, metrics=metrics)
    >>> history = trainer.fit((x, y), epochs=10)
    >>> len(history), trainer.evaluate((x, y))["accuracy"] > 0.9
    (10, True)
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[[Any, Any], Any],
        optimizer: Any,
        scheduler: Any = None,
        metrics: dict[str, Callable[[Any, Any], Any]] | None = None,
        accumulate: int = 1,
        precision: str | None = None,
        clip: float | None = None,
        capture: bool = True,
        loggers: Iterable[Callable[[Progress], None]] = (),
        progress: bool | None = None,
        *,
        schedule: str = "step",
    ) -> None:
        if schedule not in ("step", "epoch"):
            raise TgValueError(f"Trainer: schedule must be 'step' or 'epoch', got {schedule!r}")
        if "loss" in (metrics or {}):
            raise TgValueError("Trainer: a metric must not be named 'loss'")
        if isinstance(optimizer, LBFGS):
            raise TgValueError(
                "Trainer: LBFGS evaluates the loss several times per step; call step(closure) in a "
                "loop of your own"
            )
        self.model, self.loss, self.optimizer, self.scheduler = model, loss, optimizer, scheduler
        self.metrics, self.loggers, self.progress = dict(metrics or {}), list(loggers), progress
        self.steps = Steps(model, loss, optimizer, accumulate, precision, clip, capture)
        plateau = isinstance(scheduler, ReduceLROnPlateau)
        self.schedule = "plateau" if plateau else schedule
        self.state = Progress(0, 0)

    def fit(
        self,
        data: Any,
        epochs: int,
        *,
        validation: Any = None,
        batch_size: int = 32,
        patience: int | None = None,
        monitor: str = "loss",
        mode: str | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
        resume: bool = True,
        transform: Callable[[Any], Any] | None = None,
        callback: Callable[[Progress], None] | None = None,
    ) -> list[dict[str, float]]:
        """Trains for this many epochs; returns one dict per epoch: loss and metrics, those of the
        validation data as validation_..., lr, and the seconds since the run began.

        data: a Dataset or a tuple of tensors (inputs..., target), read in shuffled batches of
        batch_size; a DataLoader or any iterable of such tuples, as it is. validation: as data, or
        the fraction of data to leave out for it, the same samples in every run; a transform of the
        dataset itself then applies to that part too. transform: applied to the first input of every
        training batch, of no other. callback: called with the Progress after every
        batch; ``progress.stop = True`` ends the run after this optimizer step, and at the end of an
        epoch after its validation and loggers.

        patience: ends the run after so many epochs without a better value of monitor ("loss" or a
        metric, of the validation data if there are any), and puts the best weights back, as it does
        wherever the run ends. mode:
        whether "min" or "max" is better; "min" for the loss and "max" for metrics if not given.

        checkpoint: a folder, where the whole state of the run is saved after every epoch, after
        every checkpoint_every optimizer steps, and when it is stopped. With resume, a run whose
        folder has a checkpoint goes on from there, and ends with the same bits as one never
        interrupted, whatever random numbers it draws from the default generator, the loader's,
        ``random`` and ``numpy.random``; one that has finished does nothing but restore its end.

        Raises ValueError for arguments that do not fit, and what ``load_checkpoint`` raises.
        """
        if validation is not None and monitor not in self.metrics:
            monitor = monitor.removeprefix("validation_")
        self._check_fit(epochs, patience, monitor, mode, checkpoint, checkpoint_every)
        if isinstance(validation, Real):
            data, validation = split(data, float(validation))
        loader = loader_of(data, batch_size, shuffle=True)
        judged = None if validation is None else loader_of(validation, batch_size)
        key = f"validation_{monitor}" if judged is not None else monitor
        sign = -1.0 if (mode or ("min" if monitor == "loss" else "max")) == "max" else 1.0
        p = self.state = Progress(epochs, length_of(loader))
        folder = None if checkpoint is None else Path(checkpoint)
        begin: list[Any] = []
        best: dict[str, Any] = {}
        if folder is not None and resume:
            begin, best = _resume.load(folder, self, p, loader)

        def save() -> None:
            if folder is not None:
                _resume.save(folder, self, p, loader, begin, best)

        self.steps.zero_grad()
        clock = time.perf_counter() - p.seconds
        with display(self.progress) as show:
            while p.epoch < epochs and not p.stop and not self._waited(key, sign, patience):
                if p.batch == 0 and folder is not None:
                    begin = _resume.streams(loader)
                self.model.train()
                saved = p.steps
                for stepped in self._epoch(loader, begin, transform):
                    p.seconds = time.perf_counter() - clock
                    if callback is not None:
                        callback(p)
                    show(p)
                    if stepped and p.stop and p.batch != p.batches:
                        break
                    if stepped and checkpoint_every and p.steps - saved >= checkpoint_every:
                        saved = p.steps
                        save()
                else:
                    show.end(p)
                    self._end_epoch(judged, key)
                    p.history[-1]["seconds"] = p.seconds = time.perf_counter() - clock
                    if patience is not None and self._best(key, sign) == len(p.history) - 1:
                        best = {k: v.clone() for k, v in self._state().items()}
                    for log in self.loggers:  # before saving: one that is killed here logs it again
                        log(p)
                save()
        if patience is not None and best:
            self.model.load_state_dict(best)
        return p.history

    def _check_fit(
        self, epochs: int, patience: Any, monitor: str, mode: Any, checkpoint: Any, every: Any
    ) -> None:
        if not isinstance(epochs, (int, np.integer)) or epochs < 0:
            raise TgValueError(
                f"Trainer.fit: epochs must be an integer and not be negative, got {epochs}"
            )
        if patience is not None and patience < 1:
            raise TgValueError(f"Trainer.fit: patience must be at least 1, got {patience}")
        if monitor not in ("loss", *self.metrics):
            raise TgValueError(
                f"Trainer.fit: monitor must be 'loss' or one of the metrics {[*self.metrics]}, "
                "with 'validation_' in front only where there is validation, got "
                f"{monitor!r}"
            )
        if mode not in (None, "min", "max"):
            raise TgValueError(f"Trainer.fit: mode must be 'min' or 'max', got {mode!r}")
        if every is not None and (checkpoint is None or every < 1):
            raise TgValueError(
                "Trainer.fit: checkpoint_every must be at least 1 and needs a checkpoint folder, "
                f"got {every}"
            )

    def _epoch(self, loader: Any, begin: list[Any], transform: Any) -> Iterator[bool]:
        """Trains on the batches of an epoch that are left; after each, whether gradients are all
        used up."""
        p, size = self.state, self.steps.accumulate
        batches = iter(loader)
        if p.batch and not _resume.knows_its_place(loader):
            # In the order drawn when the epoch began; what the batches hold does not matter.
            now = _resume.streams(loader)
            _resume.set_streams(loader, begin)
            if sum(1 for _ in itertools.islice(batches, p.batch)) < p.batch:
                raise StateError(
                    f"Trainer.fit: the checkpoint stands at batch {p.batch} of an epoch, the data "
                    "have fewer"
                )
            _resume.set_streams(loader, now)
        while window := list(itertools.islice(batches, size)):
            for place, batch in enumerate(pairs_of(window)):
                if transform is not None:
                    batch = (transform(batch[0]), *batch[1:])
                yield self._train(batch, place, len(window))

    def _train(self, batch: tuple[Any, ...], place: int, of: int) -> bool:
        p = self.state
        value, out, taken = self.steps.train(batch, place, of)
        p.add(self._numbers(value, out, batch), len(batch[0]))
        if taken:
            p.steps += 1
            if self.scheduler is not None and self.schedule == "step":
                self.scheduler.step()
        p.skipped += taken is False
        return taken is not None

    def _numbers(self, value: Any, out: Any, batch: tuple[Any, ...]) -> dict[str, float]:
        """Loss and metrics of a batch."""
        metrics = {name: float(fn(out, batch[-1])) for name, fn in self.metrics.items()}
        return {"loss": value.item(), **metrics}

    def _end_epoch(self, judged: Any, key: str) -> None:
        p = self.state
        if not p.seen:
            raise TgValueError(
                f"Trainer.fit: there are no batches in epoch {p.epoch + 1}; data must have some, "
                "every time it is iterated"
            )
        row = p.means
        if judged is not None:
            row.update({f"validation_{k}": v for k, v in self.evaluate(judged).items()})
        row["lr"] = self.optimizer.param_groups[0]["lr"]
        if self.schedule == "plateau":
            self.scheduler.step(row[key])
        elif self.schedule == "epoch" and self.scheduler is not None:
            self.scheduler.step()
        p.history.append(row)
        p.epoch, p.batch, p.seen, p.sums = p.epoch + 1, 0, 0, {}

    def _state(self) -> dict[str, Any]:
        return self.model.state_dict()  # type: ignore[return-value]

    def _best(self, key: str, sign: float) -> int:
        """The first epoch with the best value; one that is not a number is the worst."""
        values = [sign * row.get(key, math.nan) for row in self.state.history]
        return min(range(len(values)), key=lambda i: (math.isnan(values[i]), values[i]), default=-1)

    def _waited(self, key: str, sign: float, patience: int | None) -> bool:
        """Whether the best epoch lies patience epochs back."""
        past = len(self.state.history) - 1
        return patience is not None and past - self._best(key, sign) >= patience

    @no_grad()
    def evaluate(self, data: Any, batch_size: int = 256) -> dict[str, float]:
        """The loss and the metrics, each the mean over all samples, in evaluation mode.

        data: as for fit, in its order. Raises ValueError where there are no batches.
        """
        p, training = Progress(0, 0), self.model.training
        self.model.eval()
        try:
            for batch in pairs_of(loader_of(data, batch_size)):
                value, out = self.steps.judge(*batch)
                p.add(self._numbers(value, out, batch), len(batch[0]))
        finally:
            self.model.train(training)
        if not p.seen:
            raise TgValueError("Trainer.evaluate: there are no batches")
        return p.means

    @no_grad()
    def predict(self, data: Any, batch_size: int = 256) -> Any:
        """The outputs for all samples, in evaluation mode, joined along the first axis.

        data: as for fit, in its order, or the inputs alone as one tensor; of a batch of more than
        one field the last is the target and is not used. Raises ValueError without batches.
        """
        training, outs, tree = self.model.training, [], None
        self.model.eval()
        try:
            for batch in map(fields_of, loader_of(data, batch_size)):
                leaves: list[Any] = []
                tree = flatten(self.steps.forward(*(batch[:-1] or batch)), leaves)
                outs.append(leaves)
        finally:
            self.model.train(training)
        if not outs:
            raise TgValueError("Trainer.predict: there are no batches")
        return rebuilt(tree, iter([ops.cat(parts) for parts in zip(*outs, strict=True)]))

    def find_lr(
        self,
        data: Any,
        low: float = 1e-6,
        high: float = 10.0,
        steps: int = 100,
        batch_size: int = 32,
    ) -> RateTest:
        """Trains for some steps while the learning rate grows from low to high by a constant
        factor, until the loss is four times the least; then puts model, optimizer and random
        streams back.

        data: as for fit. Raises ValueError where they run out. Source: Smith (2017), "Cyclical
        learning rates for training neural networks", section 3.3.
        """
        if not 0 < low < high or steps < 2:
            raise TgValueError(
                f"Trainer.find_lr: expects 0 < low < high and steps > 1, got {low}, {high}, {steps}"
            )
        loader = loader_of(data, batch_size, shuffle=True)
        streams, training = _resume.streams(loader), self.model.training
        weights = {k: v.clone() for k, v in self._state().items()}
        state = self.optimizer.state_dict()
        state = {**state, "state": each(Tensor.clone, state["state"])}
        # A DataLoader is copied, as it counts its passes and its batches depend on the count.
        trial = copy(loader) if isinstance(loader, DataLoader) else loader
        knows = trial is loader and _resume.knows_its_place(loader)
        place = loader.state_dict() if knows else None
        scale = copy(self.steps.scale)
        rates: list[float] = []
        losses: list[float] = []
        mean = 0.0
        self.model.train()
        self.steps.zero_grad()
        batches = again_and_again(trial)
        try:
            for i, batch in enumerate(pairs_of(itertools.islice(batches, steps))):
                rate = low * (high / low) ** (i / (steps - 1))
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                value, _, _ = self.steps.train(batch, 0, 1)
                mean = 0.9 * mean + 0.1 * value.item()
                smooth = mean / (1.0 - 0.9 ** (i + 1))
                if not math.isfinite(smooth) or smooth > 4.0 * min(losses, default=math.inf):
                    break
                rates.append(rate)
                losses.append(smooth)
        finally:
            self.steps.zero_grad()
            self.model.load_state_dict(weights)
            self.model.train(training)
            self.optimizer.load_state_dict(state)
            self.steps.scale = scale
            if place is not None:
                loader.load_state_dict(place)
            _resume.set_streams(loader, streams)
        if len(rates) < 2:
            raise TgValueError(f"Trainer.find_lr: the loss is not finite at a rate of {low}")
        slope = np.gradient(losses, np.log(rates))
        return RateTest(rates, losses, rates[int(np.argmin(slope))])
