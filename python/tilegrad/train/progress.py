"""What a training run shows while it runs: a live bar with rich, plain lines without."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from .loop import Progress


def _duration(seconds: float) -> str:
    if seconds == float("inf"):
        return "--:--"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def describe(p: Progress) -> str:
    """Loss, accuracy, speed and time left in one line."""
    return (
        f"loss {p.loss:.4f}  accuracy {100 * p.accuracy:5.2f} %  {p.rate:,.0f} images/s  "
        f"{_duration(p.remaining)} left"
    )


class Plain:
    """One line that is rewritten on a terminal; one line per epoch elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stream.flush()

    def __call__(self, p: Progress) -> None:
        """The callback of ``fit``."""
        last = p.batch == p.batches or p.stop
        if not last and not self.live:
            return
        line = f"epoch {p.epoch + 1}/{p.epochs}  {100 * p.batch // p.batches:3d} %  {describe(p)}"
        end = "\n" if last else "\r"
        print(line + (" " * 4 if self.live else ""), end=end, file=self.stream, flush=True)


class Rich:
    """A live progress bar per epoch."""

    def __init__(self, rich_progress: Any) -> None:
        self.bar = rich_progress.Progress(
            rich_progress.TextColumn("epoch {task.fields[epoch]}"),
            rich_progress.BarColumn(bar_width=24),
            rich_progress.TextColumn("{task.description}"),
        )
        self.task: Any = None
        self.epoch = -1

    def __enter__(self) -> Rich:
        self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def __call__(self, p: Progress) -> None:
        """The callback of ``fit``."""
        if p.epoch != self.epoch:
            self.epoch = p.epoch
            label = f"{p.epoch + 1}/{p.epochs}"
            self.task = self.bar.add_task("", total=p.batches, epoch=label)
        self.bar.update(self.task, completed=p.batch, description=describe(p))


def display() -> Any:
    """The best display there is: rich on a terminal where it is installed, else plain text."""
    if sys.stdout.isatty():
        try:
            import rich.progress

            return Rich(rich.progress)
        except ImportError:
            pass
    return Plain()
