"""What a Trainer takes as data, as a loader of batches."""

from __future__ import annotations

from collections.abc import Iterable
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
    if (
        isinstance(data, (tuple, list)) and data
        and all(isinstance(t, (Tensor, np.ndarray)) for t in data)
    ):  # fmt: skip
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
    """The inputs of a batch, and last its target."""
    if isinstance(batch, (tuple, list)):
        return tuple(batch)
    if isinstance(batch, Tensor):
        return (batch,)
    raise TypeError(
        f"Trainer: a batch must be a tensor or a tuple (inputs, target), got {type(batch).__name__}"
    )
