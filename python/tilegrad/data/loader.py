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
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, SequentialSampler


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


def get_worker_info() -> None:
    """None: every sample is loaded in this process."""


class DataLoader:
    """Iterates over a dataset in batches, in this process.

    dataset: has ``__getitem__`` and ``__len__``, or is an IterableDataset; batch_size None gives
    single samples. shuffle draws a new order for every pass from generator (a Generator, a seed, or
    None for the default generator). sampler yields positions, batch_sampler lists of positions.
    collate_fn makes a batch of a list of samples. drop_last leaves out an incomplete last batch.
    num_workers and all about workers and pinned memory (pin_memory, timeout, worker_init_fn,
    multiprocessing_context, prefetch_factor, persistent_workers, pin_memory_device, in_order) have
    no effect. Raises ValueError for arguments that exclude each other.

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
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        stream = isinstance(dataset, IterableDataset)
        if num_workers < 0:
            raise TgValueError(f"DataLoader: num_workers must not be negative, got {num_workers}")
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
        if stream and (shuffle or sampler is not None or batch_sampler is not None):
            raise TgValueError(
                "DataLoader: an IterableDataset excludes shuffle, sampler and batch_sampler"
            )
        if batch_size is not None:
            per_axis("DataLoader", "batch_size", batch_size, 1, 1)
        if isinstance(generator, (int, np.integer)):
            generator = Generator().manual_seed(int(generator))
        if sampler is None and not stream:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        if batch_sampler is not None:
            batch_size = None
        elif batch_size is not None and not stream:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.pin_memory = pin_memory
        self.drop_last = drop_last
        self.generator = generator

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        collate = self.collate_fn or default_collate
        if self.batch_sampler is not None:
            take = None if self.collate_fn else getattr(self.dataset, "take", None)
            for index in self.batch_sampler:
                batch = take(np.asarray(index, np.int64)) if take is not None else None
                yield collate([self.dataset[i] for i in index]) if batch is None else batch
        elif self.batch_size is not None:
            batches = BatchSampler(self.dataset, self.batch_size, self.drop_last)
            yield from (collate(samples) for samples in batches)
        else:
            samples = self.dataset if self.sampler is None else map(self._sample, self.sampler)
            yield from samples if self.collate_fn is None else map(self.collate_fn, samples)

    def _sample(self, i: int) -> Any:
        return self.dataset[int(i)]
