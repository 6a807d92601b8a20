"""DataLoader: a dataset in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from .. import ops
from ..errors import ValueError as TgValueError
from ..generator import Generator
from ..ops.conv import per_axis
from ..tensor import Tensor, tensor


def default_collate(batch: Any) -> Any:
    """A list of samples as one batch: tensors, arrays and numbers are stacked; tuples, lists and
    dicts are taken apart and collated by field; anything else stays a list.

    >>> default_collate([(1.0, "a"), (2.0, "b")])
    [tensor([1., 2.]), ['a', 'b']]
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return ops.stack(batch)
    if isinstance(first, (np.ndarray, np.generic)):
        return tensor(np.stack(batch))
    if isinstance(first, (bool, int, float)):
        return tensor(batch)
    if isinstance(first, Mapping):
        return {k: default_collate([sample[k] for sample in batch]) for k in first}
    if isinstance(first, (tuple, list)):
        if any(len(sample) != len(first) for sample in batch):
            raise TgValueError("default_collate: the samples have different numbers of fields")
        fields = [default_collate(list(field)) for field in zip(*batch, strict=True)]
        return type(first)(*fields) if hasattr(first, "_fields") else fields
    return batch


class DataLoader:
    """Iterates over a dataset in batches, in this process.

    dataset: has ``__getitem__`` and ``__len__``; batch_size None gives single samples. shuffle
    draws a new order for every pass from generator (a Generator, a seed, or None for the default
    generator). sampler yields positions, batch_sampler lists of positions. collate_fn makes a batch
    of a list of samples. drop_last leaves out an incomplete last batch. num_workers must be 0;
    pin_memory has no effect.

    A TensorDataset is read by one indexed copy per batch and tensor.

    >>> import tilegrad as tg
    >>> data = tg.data.TensorDataset(tg.arange(5))
    >>> [x.tolist() for (x,) in tg.data.DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        *,
        generator: Any = None,
    ) -> None:
        if num_workers != 0:
            raise TgValueError(f"DataLoader: num_workers must be 0, got {num_workers}")
        if batch_size is not None and batch_size < 1:
            raise TgValueError(f"DataLoader: batch_size must be at least 1, got {batch_size}")
        if sampler is not None and shuffle:
            raise TgValueError("DataLoader: sampler and shuffle exclude each other")
        if batch_sampler is not None and (
            batch_size != 1 or shuffle or sampler is not None or drop_last
        ):
            raise TgValueError(
                "DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last"
            )
        if batch_size is None and drop_last:
            raise TgValueError("DataLoader: drop_last needs a batch_size")
        if batch_size is not None:
            per_axis("DataLoader", "batch_size", batch_size, 1, 1)
        self.dataset = dataset
        self.batch_size = None if batch_sampler is not None else batch_size
        self.shuffle = bool(shuffle)
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.collate_fn = collate_fn
        self.drop_last = drop_last
        if isinstance(generator, (int, np.integer)):
            generator = Generator().manual_seed(int(generator))
        self.generator = generator

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def _order(self) -> np.ndarray:
        """The positions of one pass."""
        if self.sampler is not None:
            return np.fromiter(self.sampler, np.int64)
        n = len(self.dataset)
        if self.shuffle:
            return ops.randperm(n, generator=self.generator).numpy()
        return np.arange(n, dtype=np.int64)

    def _batches(self) -> Iterator[np.ndarray]:
        if self.batch_sampler is not None:
            yield from (np.asarray(b, np.int64) for b in self.batch_sampler)
            return
        order, size = self._order(), self.batch_size or 1
        end = order.size - order.size % size if self.drop_last else order.size
        for i in range(0, end, size):
            yield order[i : i + size]

    def __iter__(self) -> Iterator[Any]:
        collate = self.collate_fn or default_collate
        single = self.batch_size is None and self.batch_sampler is None
        take = None if self.collate_fn or single else getattr(self.dataset, "take", None)
        for index in self._batches():
            if single:
                sample = self.dataset[int(index[0])]
                yield sample if self.collate_fn is None else self.collate_fn(sample)
                continue
            batch = take(index) if take is not None else None
            yield collate([self.dataset[i] for i in index.tolist()]) if batch is None else batch
