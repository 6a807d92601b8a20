"""What a Trainer takes as data, as a loader of batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from numbers import Number
from typing import Any

import numpy as np

from ..data import DataLoader, IterableDataset, TensorDataset, random_split
from ..errors import ValueError as TgValueError
from ..generator import Generator
from ..tensor import Tensor, as_tensor


def dataset_of(data: Any) -> Any:
    """The dataset that data is, or that its tensors make; None for batches."""
    if isinstance(data, (Tensor, np.ndarray)):
        data = (data,)
    if isinstance(data, tuple) and any(isinstance(t, (Tensor, np.ndarray)) for t in data):
        for i, t in enumerate(data):
            if not isinstance(t, (Tensor, np.ndarray)):
                raise TypeError(
                    f"Trainer: field {i} of data is a {type(t).__name__}, expected a tensor or "
                    "an array"
                )
        return TensorDataset(*map(as_tensor, data))
    if isinstance(data, IterableDataset):
        return data
    sized = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return data if sized and not isinstance(data, (tuple, list, DataLoader)) else None


def loader_of(data: Any, batch_size: int, shuffle: bool = False) -> Any:
    """Batches of a dataset or of tensors; a loader, or any iterable of batches, as it is."""
    dataset = dataset_of(data)
    if dataset is not None:
        shuffle = shuffle and not isinstance(dataset, IterableDataset)
        return DataLoader(dataset, batch_size, shuffle=shuffle)
    if not isinstance(data, Iterable):
        raise TypeError(
            "Trainer: data must be a Dataset, a DataLoader, tensors or an iterable of batches, got "
            f"{type(data).__name__}"
        )
    return data


def split(data: Any, fraction: float) -> list[Any]:
    """A training and a validation set, the same two in every run.

    Raises ValueError unless data is a dataset with a length and both parts have samples.
    """
    dataset = dataset_of(data)
    if dataset is None or isinstance(dataset, IterableDataset):
        raise TgValueError(
            "Trainer: a fraction for validation needs a Dataset or tensors; of a "
            f"{type(data).__name__}, pass the validation data"
        )
    if not 0 < fraction < 1:
        raise TgValueError(
            f"Trainer: validation must be data or a fraction between 0 and 1, got {fraction}"
        )
    n = len(dataset)
    count = round(n * fraction)
    if not 0 < count < n:
        raise TgValueError(f"Trainer: validation={fraction} of {n} samples leaves a part empty")
    return random_split(dataset, [n - count, count], Generator().manual_seed(0))


def length_of(loader: Any) -> int:
    """How many batches a loader has; 0 where it does not know."""
    try:
        return len(loader)
    except TypeError:
        return 0


def fields_of(batch: Any) -> tuple[Any, ...]:
    """The inputs of a batch, and last its target where it has one."""
    if isinstance(batch, (Tensor, np.ndarray)):
        batch = (batch,)
    if not isinstance(batch, (tuple, list)) or not batch:
        raise TypeError(
            "Trainer: a batch must be a tensor or a tuple (inputs, target), got "
            f"{type(batch).__name__}"
        )
    if isinstance(batch[-1], Number) or getattr(batch[-1], "ndim", 1) == 0:
        raise TgValueError(
            "Trainer: the last field of a batch is one number; of single samples "
            "pass DataLoader(data, batch_size)"
        )
    return tuple(as_tensor(f) if isinstance(f, np.ndarray) else f for f in batch)


def pairs_of(batches: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """The fields of batches, each of which must have a target."""
    for fields in map(fields_of, batches):
        if len(fields) < 2:
            raise TgValueError("Trainer: a batch needs inputs and a target, got one field")
        yield fields


def again_and_again(loader: Any) -> Iterator[Any]:
    """The batches of one pass after the other. Raises ValueError after an empty one."""
    for passes in itertools.count():
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise TgValueError(f"Trainer: the data gave no batches in pass {passes + 1}")
