"""Where a training run stands, and what it shows while it runs: a live bar with rich, plain lines
without."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any, TextIO


@dataclass
class Progress:
    """Where a training run stands; handed to the callback after every batch, to loggers after every
    epoch.

    epoch counts from 0; batch is the number of batches done in it, of batches (0 where the loader
    does not know); seen and sums are the samples of this epoch and their summed loss and metrics;
    steps counts optimizer steps, skipped those left out for gradients that were not finite; history
    holds one dict per finished epoch. Setting stop ends the run after this optimizer step.
    """

    epochs: int
    batches: int
    epoch: int = 0
    batch: int = 0
    seen: int = 0
    steps: int = 0
    skipped: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    total_seen: int = 0
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    stop: bool = False

    @property
    def means(self) -> dict[str, float]:
        """Loss and metrics over the training samples seen in this epoch."""
        return {name: total / max(self.seen, 1) for name, total in self.sums.items()}

    @property
    def rate(self) -> float:
        """Samples per second since the run began."""
        return self.total_seen / self.seconds if self.seconds else 0.0

    @property
    def remaining(self) -> float:
        """Seconds left, at the rate so far; infinity where that is not known."""
        done = self.epoch * self.batches + self.batch if self.batches else 0
        left = self.epochs * self.batches - done
        return self.seconds * left / done if done else float("inf")

    def add(self, numbers: dict[str, float], samples: int) -> None:
        """Counts a batch with these means."""
        for name, value in numbers.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * samples
        self.losses.append(numbers["loss"])
        self.batch += 1
        self.seen += samples
        self.total_seen += samples


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "--:--"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def describe(p: Progress) -> str:
    """Loss, metrics, speed and time left in one line."""
    numbers = "  ".join(f"{name} {value:.4f}" for name, value in p.means.items())
    return f"{numbers}  {p.rate:,.0f} samples/s  {_duration(p.remaining)} left"


class Silent:
    """Shows nothing."""

    every = 0.05
    """Seconds between two displays within an epoch."""

    def __enter__(self) -> Any:
        self.last = 0.0
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def __call__(self, p: Progress) -> None:
        """To be called after every batch."""
        last, now = p.batch == p.batches or p.stop, time.monotonic()
        if last or now - self.last >= self.every:
            self.last = now
            self.show(p, last)

    def end(self, p: Progress) -> None:
        """To be called at the end of an epoch, whose length may not have been known."""
        if p.batch != p.batches:
            self.show(p, True)

    def show(self, p: Progress, last: bool) -> None:
        """Shows p, at the end of an epoch if last."""


class Plain(Silent):
    """One line that is rewritten on a terminal; one line per epoch elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()

    def __exit__(self, *exc: object) -> None:
        self.stream.flush()

    def show(self, p: Progress, last: bool) -> None:
        if not last and not self.live:
            return
        done = f"  {100 * p.batch // p.batches:3d} %" if p.batches else f"  batch {p.batch}"
        line = f"epoch {p.epoch + 1}/{p.epochs}{done}  {describe(p)}"
        end = "\n" if last else "\r"
        print(line + (" " * 4 if self.live else ""), end=end, file=self.stream, flush=True)


class Rich(Silent):
    """A live progress bar of the epoch, below a line for each one before."""

    def __init__(self, rich_progress: Any) -> None:
        self.bar = rich_progress.Progress(
            rich_progress.TextColumn("epoch {task.fields[epoch]}"),
            rich_progress.BarColumn(bar_width=24),
            rich_progress.TextColumn("{task.description}"),
        )
        self.task: Any = None
        self.epoch, self.line = -1, ""

    def __enter__(self) -> Any:
        self.bar.start()
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def show(self, p: Progress, last: bool) -> None:
        if p.epoch != self.epoch:
            self.epoch = p.epoch
            if self.task is not None:
                self.bar.console.print(self.line, markup=False, highlight=False, soft_wrap=True)
                self.bar.remove_task(self.task)
            label = f"{p.epoch + 1}/{p.epochs}"
            self.task = self.bar.add_task("", total=p.batches or None, epoch=label)
        text = describe(p)
        self.line = f"epoch {p.epoch + 1}/{p.epochs}  {text}"
        self.bar.update(self.task, completed=p.batch, description=text)


def display(wanted: bool | None = True) -> Any:
    """The best display there is: rich on a terminal where it is installed, else plain text; nothing
    if wanted is False, or None without a terminal."""
    terminal = sys.stdout.isatty()
    if wanted is False or (wanted is None and not terminal):
        return Silent()
    if terminal:
        try:
            import rich.progress

            return Rich(rich.progress)
        except ImportError:
            pass
    return Plain()
