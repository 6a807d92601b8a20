"""Datasets: anything with a length and an index."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from .. import kernels, ops
from ..errors import IndexError as TgIndexError
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..generator import as_generator
from ..tensor import Tensor


class Dataset:
    """Base of datasets; subclasses define ``__getitem__`` and ``__len__``."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__()")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])

    def take(self, index: np.ndarray) -> list[Tensor] | None:
        """The samples at the positions index, stacked by field, if that needs no loop over samples;
        None where the DataLoader has to collect and collate them. A class that defines
        ``__getitem__`` anew without ``take`` is read sample by sample."""
        return None


def taker(dataset: Any) -> Callable[[np.ndarray], Any] | None:
    """The ``take`` of a Dataset, where it stands for the ``__getitem__`` in use."""
    for kind in type(dataset).__mro__ if isinstance(dataset, Dataset) else ():
        if "take" in vars(kind):
            return dataset.take  # type: ignore[no-any-return]
        if "__getitem__" in vars(kind):
            break
    return None


class IterableDataset(Dataset):
    """Base of datasets that are streams; subclasses define ``__iter__``."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__()")

    def __add__(self, other: Dataset) -> Any:
        return ChainDataset([self, other])


class ChainDataset(IterableDataset):
    """One stream after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self.datasets)

    def __len__(self) -> int:
        return sum(len(d) for d in self.datasets)


class ConcatDataset(Dataset):
    """The samples of several datasets, one after the other; also ``a + b``.

    Raises ValueError without any dataset.

    >>> import tilegrad as tg
    >>> both = tg.data.ConcatDataset([[1, 2], [3]])
    >>> len(both), both[2], both[-1]
    (3, 3, 3)
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))
        if not self.datasets:
            raise TgValueError("ConcatDataset: expects at least one dataset")

    def __getitem__(self, index: int) -> Any:
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise TgIndexError(f"ConcatDataset: index {index} for {len(self)} samples")
        k = bisect.bisect_right(self.cumulative_sizes, i)
        return self.datasets[k][i - self.cumulative_sizes[k - 1] if k else i]

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]


class TensorDataset(Dataset):
    """Sample i is (t[i] for each tensor t); all have the same first length.

    >>> import tilegrad as tg
    >>> data = tg.data.TensorDataset(tg.zeros(5, 2), tg.arange(5))
    >>> len(data), data[3][1]
    (5, tensor(3))
    """

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors:
            raise TgValueError("TensorDataset: expects at least one tensor")
        for t in tensors:
            if not isinstance(t, Tensor):
                raise TypeError(f"TensorDataset: expects tensors, got {type(t).__name__}")
            if t.ndim == 0 or t.shape[0] != tensors[0].shape[0]:
                raise ShapeError(
                    "TensorDataset: the tensors must have one first length, got shapes "
                    f"{[t.shape for t in tensors]}"
                )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def take(self, index: np.ndarray) -> list[Tensor] | None:
        new = Tensor._new
        return [new(kernels.of(t._array).take(t._array, index, 0)) for t in self.tensors]


class Subset(Dataset):
    """The samples of a dataset at the given positions."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices
        self._at = np.asarray(indices, np.int64)

    def __getitem__(self, index: Any) -> Any:
        return self.dataset[int(self._at[index])]

    def __len__(self) -> int:
        return self._at.size

    def take(self, index: np.ndarray) -> list[Tensor] | None:
        whole = taker(self.dataset)
        return None if whole is None else whole(self._at[index])


def random_split(dataset: Any, lengths: Sequence[float], generator: Any = None) -> list[Subset]:
    """Subsets of the given lengths (or fractions that add up to 1), drawn without repetition from
    generator (a Generator, a seed, or None for the default one).

    >>> import tilegrad as tg
    >>> [len(s) for s in tg.data.random_split(range(10), [0.8, 0.2])]
    [8, 2]
    """
    n = len(dataset)
    if all(0.0 <= f <= 1.0 for f in lengths) and math.isclose(sum(lengths), 1.0):
        counts = [math.floor(n * f) for f in lengths]
        for i in range(n - sum(counts)):  # what rounding left over goes round in turn
            counts[i % len(counts)] += 1
    else:
        counts = [int(c) for c in lengths]
        if sum(counts) != n or min(counts, default=0) < 0:
            raise TgValueError(f"random_split: lengths {list(lengths)} do not add up to {n}")
    order = ops.randperm(n, generator=as_generator(generator)).numpy()
    ends = list(itertools.accumulate(counts))
    return [Subset(dataset, order[e - c : e].tolist()) for c, e in zip(counts, ends, strict=True)]
