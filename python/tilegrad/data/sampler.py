"""Samplers: which samples a DataLoader reads, and in which order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from .. import ops
from ..errors import ValueError as TgValueError
from ..generator import Generator, as_generator
from ..tensor import as_tensor


class Sampler:
    """Base of samplers; subclasses define ``__iter__``, which yields positions, and ``__len__``."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define __iter__()")


class SequentialSampler(Sampler):
    """The positions of data_source in order.

    >>> list(SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """The positions of data_source in an order drawn anew for every pass.

    replacement: every position is drawn from all. num_samples: how many positions a pass has, all
    of data_source unless given; without replacement one order follows the other. generator: a
    Generator, a seed, or None for the default one.

    Raises ValueError unless num_samples is positive.

    >>> sorted(RandomSampler("abc"))
    [0, 1, 2]
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        if num_samples is not None and num_samples <= 0:
            raise TgValueError(f"RandomSampler: num_samples must be positive, got {num_samples}")
        self.data_source, self.replacement = data_source, bool(replacement)
        self.generator, self._count = as_generator(generator), num_samples

    @property
    def num_samples(self) -> int:
        """How many positions a pass has."""
        return len(self.data_source) if self._count is None else self._count

    def __iter__(self) -> Iterator[int]:
        n, left, generator = len(self.data_source), self.num_samples, self.generator
        if self.replacement or left > n:
            # Several draws: what the program draws in between must not change the later ones.
            seed = ops.randint(2**62, (), generator=generator).item()
            generator = Generator().manual_seed(seed)
        while left > 0 and n > 0:
            if self.replacement:
                some = ops.randint(n, (min(left, 1024),), generator=generator).tolist()
            else:
                some = ops.randperm(n, generator=generator).tolist()[:left]
            yield from some
            left -= len(some)

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """The given indices in an order drawn anew for every pass.

    >>> sorted(SubsetRandomSampler([4, 2]))
    [2, 4]
    """

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices, self.generator = indices, as_generator(generator)

    def __iter__(self) -> Iterator[int]:
        order = ops.randperm(len(self.indices), generator=self.generator).tolist()
        return (self.indices[i] for i in order)

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """num_samples positions of the weights, each drawn with a chance in proportion to its weight.

    replacement: whether a position may be drawn again. Raises ValueError unless num_samples is
    positive and weights have one axis.

    >>> list(WeightedRandomSampler([0.0, 1.0], 3))
    [1, 1, 1]
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Any = None
    ) -> None:
        self.weights = as_tensor(weights, dtype="float64")
        if num_samples <= 0 or self.weights.ndim != 1:
            raise TgValueError(
                "WeightedRandomSampler: expects weights of one axis and a positive num_samples, "
                f"got shape {self.weights.shape} and {num_samples}"
            )
        self.num_samples, self.replacement = num_samples, bool(replacement)
        self.generator = as_generator(generator)

    def __iter__(self) -> Iterator[int]:
        drawn = ops.multinomial(
            self.weights, self.num_samples, self.replacement, generator=self.generator
        )
        return iter(drawn.tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of batch_size positions of another sampler; drop_last leaves out a last, shorter one.

    Raises ValueError unless batch_size is positive.

    >>> list(BatchSampler(range(5), 2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if batch_size <= 0:
            raise TgValueError(f"BatchSampler: batch_size must be positive, got {batch_size}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, bool(drop_last)

    def __iter__(self) -> Iterator[list[int]]:
        positions = iter(self.sampler)
        while batch := list(itertools.islice(positions, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        n: int = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
