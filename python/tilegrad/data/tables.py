"""Tables: rows of numbers and words, from CSV files and from what scikit-learn bundles."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError, PackageError
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor, from_numpy
from .dataset import TensorDataset


class Table(TensorDataset):
    """Rows of features x (N, F) float32, and of targets y: (N,) int64, indices of classes, or
    float32. feature_names names the columns of x; classes is empty where y is a number.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor | None,
        feature_names: Sequence[str],
        classes: Sequence[str] = (),
    ) -> None:
        super().__init__(*([x] if y is None else [x, y]))
        self.x, self.y = x, y
        self.feature_names, self.classes = list(feature_names), list(classes)


_MISSING = ("", "NA", "N/A", "null")


def _numbers(column: list[str]) -> np.ndarray | None:
    try:
        values = [math.nan if v in _MISSING else float(v) for v in column]
        return np.array(values, np.float64)
    except ValueError:
        return None


def read_csv(
    path: str | os.PathLike[str],
    target: str | None = None,
    columns: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    delimiter: str = ",",
    labels: bool = False,
) -> Table:
    """The table of a CSV file whose first line names its columns.

    target: the column of y; words become classes in sorted order, numbers float32, or, with labels,
    classes as well. columns: those of x, all others unless given; drop: without these. A column of
    words becomes one column of 0 and 1 for each word, named ``column=word``; empty cells, NA, N/A
    and null among numbers become NaN. Raises FileNotFoundError, ValueError for names that are no
    columns, DataError for lines of other lengths, labels without a value, or another format.

    >>> with open("pets.csv", "w") as f:
    ...     _ = f.write("age,kind,weight\\n3,cat,4.5\\n5,dog,20\\n1,cat,2\\n")
    >>> pets = read_csv("pets.csv", target="kind")
    >>> pets.feature_names, pets.x.tolist(), pets.classes, pets.y.tolist()
    (['age', 'weight'], [[3.0, 4.5], [5.0, 20.0], [1.0, 2.0]], ['cat', 'dog'], [0, 1, 0])
    """
    name = os.fspath(path)
    try:
        with open(name, newline="", encoding="utf-8-sig") as f:
            lines = csv.reader(f, delimiter=delimiter, strict=True)
            names = [n.strip() for n in next(lines, [])]
            if not names or len(set(names)) != len(names):
                raise DataError(f"read_csv: {name!r}: the first line must name the columns, apart")
            rows = []
            for row in lines:
                if row and len(row) != len(names):
                    raise DataError(
                        f"read_csv: {name!r}, line {lines.line_num}: {len(row)} fields, expected "
                        f"{len(names)}"
                    )
                rows += [row] if row else []
    except FileNotFoundError:
        raise TgFileNotFoundError(f"read_csv: there is no file {name!r}") from None
    except (csv.Error, UnicodeDecodeError, IsADirectoryError) as e:
        raise DataError(f"read_csv: {name!r} is no table: {e}") from None
    chosen = [n for n in names if n != target] if columns is None else list(columns)
    for wanted in [*chosen, *drop, *([] if target is None else [target])]:
        if wanted not in names:
            raise TgValueError(f"read_csv: {name!r} has no column {wanted!r}, only {names}")
    column = {n: [row[i].strip() for row in rows] for i, n in enumerate(names)}
    parts: list[np.ndarray] = []
    features: list[str] = []
    for n in chosen:
        if n in drop:
            continue
        numbers = _numbers(column[n])
        if numbers is not None:
            parts.append(numbers)
            features.append(n)
        else:
            words = sorted(set(column[n]))
            parts += [np.array([v == w for v in column[n]], np.float64) for w in words]
            features += [f"{n}={w}" for w in words]
    x = np.stack(parts, 1) if parts else np.empty((len(rows), 0))
    y, classes = (None, []) if target is None else _target(name, target, column[target], labels)
    return Table(from_numpy(x.astype(np.float32)), y, features, classes)


def _target(file: str, name: str, column: list[str], labels: bool) -> tuple[Tensor, list[str]]:
    """A column as numbers, or as classes."""
    numbers = _numbers(column)
    if numbers is not None and not labels:
        return from_numpy(numbers.astype(np.float32)), []
    missing = [not v for v in column] if numbers is None else np.isnan(numbers).tolist()
    if labels and any(missing):
        raise DataError(
            f"read_csv: {file!r}: {sum(missing)} rows have no {name!r}, the first of them row "
            f"{missing.index(True) + 1} below the names"
        )
    classes = sorted(set(column), key=None if numbers is None else float)
    index = {c: i for i, c in enumerate(classes)}
    return from_numpy(np.array([index[v] for v in column], np.int64)), classes


TOYS = ("breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine")


def toy(name: str) -> Table:
    """A table that comes with scikit-learn: "iris", "wine", "breast_cancer" and "digits" have
    classes, "diabetes" and "linnerud" numbers as targets.

    Raises ValueError for other names, PackageError where scikit-learn is missing.
    """
    if name not in TOYS:
        raise TgValueError(f"toy: expects one of {', '.join(TOYS)}, got {name!r}")
    try:
        from sklearn import datasets  # type: ignore[import-untyped]
    except ImportError as e:
        raise PackageError(
            f"toy: {name} comes with scikit-learn: pip install scikit-learn ({e})"
        ) from None
    bunch: Any = getattr(datasets, f"load_{name}")()
    y = np.asarray(bunch.target)
    with_classes = name not in ("diabetes", "linnerud")
    return Table(
        from_numpy(np.asarray(bunch.data, np.float32)),
        from_numpy(y.astype(np.int64 if with_classes else np.float32)),
        list(bunch.feature_names),
        [str(c) for c in bunch.target_names] if with_classes else [],
    )
