"""Logs of a run, for ``Trainer(loggers=...)``: called with the Progress after every epoch.

The files are written anew from the history, whole or not at all: a run that was killed and resumed
leaves no line twice.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import Any

from ..errors import PackageError
from ..serialization import write_whole
from .progress import Progress


def _rows(p: Progress) -> list[dict[str, Any]]:
    return [{"epoch": i, **row} for i, row in enumerate(p.history, 1)]


def _write(path: str | os.PathLike[str], text: str) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(path), text.encode())


class CSVLogger:
    """Keeps a CSV file with one line per epoch, under a line with the names.

    >>> import tilegrad as tg
    >>> from pathlib import Path
    >>> log = CSVLogger("log.csv")
    >>> log(tg.train.Progress(2, 1, history=[{"loss": 0.5, "lr": 0.1}]))
    >>> print(Path("log.csv").read_text(), end="")
    epoch,loss,lr
    1,0.5,0.1
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def __call__(self, p: Progress) -> None:
        rows, text = _rows(p), io.StringIO()
        names = {name: None for row in rows for name in row}
        writer = csv.DictWriter(text, [*names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _write(self.path, text.getvalue())


class JSONLogger:
    """Keeps a file with one JSON object per line and epoch; what is not finite is null.

    >>> import tilegrad as tg
    >>> from pathlib import Path
    >>> log = JSONLogger("log.jsonl")
    >>> log(tg.train.Progress(2, 1, history=[{"loss": 0.5}, {"loss": float("nan")}]))
    >>> print(Path("log.jsonl").read_text(), end="")
    {"epoch": 1, "loss": 0.5}
    {"epoch": 2, "loss": null}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path

    def __call__(self, p: Progress) -> None:
        lines = [
            json.dumps({k: v if math.isfinite(v) else None for k, v in row.items()}) + "\n"
            for row in _rows(p)
        ]
        _write(self.path, "".join(lines))


class TensorBoardLogger:
    """Writes TensorBoard events to a folder: the numbers of training as name/training, those of
    validation as name/validation, with the epoch as step. Needs tensorboardX, else PackageError."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as e:
            raise PackageError(
                f"TensorBoardLogger: tensorboardX is needed: pip install tensorboardX ({e})"
            ) from None
        self.folder, self._new, self._writer = folder, SummaryWriter, None

    def __call__(self, p: Progress) -> None:
        if self._writer is None or p.epoch == 1:
            self.close()
            # Events of a run that was killed later than its last checkpoint are void.
            # The name of the file has no fractions of seconds.
            suffix = f".{os.getpid()}.{p.epoch}"
            self._writer = self._new(
                os.fspath(self.folder), purge_step=p.epoch, filename_suffix=suffix
            )
        writer: Any = self._writer
        row = p.history[-1]
        for name, value in row.items():
            kind, _, rest = name.partition("_")
            if kind == "validation":
                tag = f"{rest}/validation"
            else:
                tag = f"{name}/training" if f"validation_{name}" in row else name
            writer.add_scalar(tag, value, p.epoch)
        writer.flush()

    def close(self) -> None:
        """Closes the file of events."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
