"""DataLoader: a dataset in batches."""

from __future__ import annotations

import itertools
import multiprocessing
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np

from .. import ops
from ..errors import StateError
from ..errors import ValueError as TgValueError
from ..generator import Generator, as_generator, default_generator
from ..ops.conv import per_axis
from ..tensor import Tensor, tensor
from .dataset import IterableDataset, taker
from .sampler import BatchSampler, RandomSampler, SequentialSampler
from .workers import END, Fetcher, ProcessWorker, Task, Team, ThreadWorker, Work, WorkerInfo


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


@dataclass
class _Pass:
    """One pass over a loader: its number, the states of the generators when it began, and how many
    batches it has given."""

    epoch: int = -1
    start: Any = ()
    batch: int = 0
    over: bool = True


class DataLoader:
    """Iterates over a dataset in batches, loaded in this process or ahead of time by workers.

    dataset: has ``__getitem__`` and ``__len__``, or is an IterableDataset; batch_size None gives
    single samples. shuffle draws a new order for every pass from generator (a Generator, a seed, or
    None for the default generator). sampler yields positions, batch_sampler lists of positions.
    collate_fn makes a batch of a list of samples. drop_last leaves out an incomplete last batch.

    num_workers: how many workers load batches, prefetch_factor (2) of them ahead each; workers:
    "processes" or "threads"; 0 loads in this process. Batches come in order, and are the same for
    any number and kind of workers: while a batch is loaded, what is drawn from the default
    generator (``tg.rand``, the transforms) follows from the seed, the pass and the number of the
    batch alone, and leaves the program's own stream untouched. In a process ``random`` and
    ``numpy.random`` are seeded in the same way. Of an IterableDataset every worker reads a copy,
    which may ask ``get_worker_info`` for its share. Kernels use one thread in a worker process.
    worker_init_fn(id) runs first in each. persistent_workers keeps them from pass to pass. timeout:
    seconds to wait for a batch, 0 for ever. multiprocessing_context: "fork", "spawn",
    "forkserver" or a context. What a worker raises is raised here, with the worker's traceback.
    pin_memory, pin_memory_device and in_order have no effect.

    ``state_dict`` says where a pass stands; after ``load_state_dict`` the next pass goes on there.

    Raises ValueError for arguments that exclude each other; WorkerError when a worker dies or a
    batch takes longer than timeout.

    A TensorDataset is read by one indexed copy per batch and tensor.

    >>> import tilegrad as tg
    >>> data = tg.data.TensorDataset(tg.arange(5))
    >>> [x.tolist() for (x,) in tg.data.DataLoader(data, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    >>> [x.tolist() for (x,) in tg.data.DataLoader(data, batch_size=2, num_workers=1)]
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
        workers: str = "processes",
    ) -> None:
        stream = isinstance(dataset, IterableDataset)
        if num_workers < 0:
            raise TgValueError(f"DataLoader: num_workers must not be negative, got {num_workers}")
        for name, given in (
            ("timeout", timeout),
            ("prefetch_factor", prefetch_factor is not None),
            ("persistent_workers", persistent_workers),
            ("multiprocessing_context", multiprocessing_context is not None),
        ):
            if given and num_workers == 0:
                raise TgValueError(f"DataLoader: {name} needs num_workers above 0")
        if timeout < 0:
            raise TgValueError(f"DataLoader: timeout must not be negative, got {timeout}")
        if prefetch_factor is not None and prefetch_factor < 1:
            raise TgValueError(
                f"DataLoader: prefetch_factor must be at least 1, got {prefetch_factor}"
            )
        if workers not in ("processes", "threads"):
            raise TgValueError(
                f"DataLoader: workers expects 'processes' or 'threads', got {workers!r}"
            )
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
        generator = as_generator(generator)
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
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.generator = generator
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.workers = workers
        self._stream, self._batched = stream, batch_sampler is not None or batch_size is not None
        self._pass = _Pass()
        self._resume: _Pass | None = None
        self._team: Team | None = None

    def __len__(self) -> int:
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        n = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        now, tasks = self._begin()
        fetcher = Fetcher(
            self.dataset,
            self.collate_fn or (default_collate if self._batched else None),
            None if self.collate_fn or not self._batched else taker(self.dataset),
            self.batch_size,
            self.drop_last,
            self._stream,
        )
        batches: Iterator[Any]
        if self.num_workers:
            batches = self._staff(fetcher).batches(tasks, self.timeout or None)
        else:
            batches = fetcher.batches(tasks)
        for _ in range(now.batch if self._stream else 0):  # a stream is read again up to there
            self._there(next(batches, END) is not END, now)
        return self._counted(now, batches)

    @staticmethod
    def _counted(now: _Pass, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            now.batch += 1
            yield batch
            del batch  # not held while the next one is loaded
        now.over = True

    def _staff(self, fetcher: Fetcher) -> Team:
        """The workers, new ones unless they persist."""
        if self._team is not None and self._team.close.alive:
            return self._team
        context: Any = self.multiprocessing_context
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        ahead = self.prefetch_factor or 2

        def worker(i: int) -> Any:
            info = WorkerInfo(i, self.num_workers, self.dataset)
            work = Work(replace(fetcher), info, self.worker_init_fn)
            threads = self.workers == "threads"
            return ThreadWorker(work) if threads else ProcessWorker(work, context, ahead)

        team = Team(worker, self.num_workers, ahead)
        if self.persistent_workers:
            self._team = team
        return team

    # --- passes -----------------------------------------------------------------------------------
    def _sources(self) -> list[Generator]:
        """The generators an order may be drawn from: the default one, and the loader's own."""
        inner = getattr(self.batch_sampler, "sampler", None)
        for owner in (inner, self.batch_sampler, self.sampler, self):
            g = getattr(owner, "generator", None)
            if isinstance(g, Generator) and g is not default_generator:
                return [default_generator, g]
        return [default_generator]

    def _begin(self) -> tuple[_Pass, Iterator[Task]]:
        """The pass that begins now, or goes on where load_state_dict said, and its tasks."""
        sources, resume = self._sources(), self._resume
        states = [g.get_state() for g in sources]
        now = _Pass(self._pass.epoch + 1, states, over=False) if resume is None else replace(resume)
        for g, state in zip(sources, now.start, strict=True):
            g.set_state(state)
        indices: Iterator[Any] = itertools.repeat(None)
        if not self._stream:
            which: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
            as_index: Any = int if self.batch_sampler is None else list
            indices = map(as_index, which)
        # The order is drawn here, not when the first batch is asked for.
        begin = 0 if self._stream else now.batch
        first = list(itertools.islice(indices, begin + 1))
        self._there(len(first) >= begin, now)
        if resume is not None:
            for g, state in zip(sources, states, strict=True):
                g.set_state(state)
        self._pass, self._resume = now, None
        seed = now.start[-1].numpy().tobytes() + now.epoch.to_bytes(8, "little")
        key = blake2b(seed).digest()
        rest = enumerate(itertools.chain(first[begin:], indices), begin)
        return now, (Task(key, number, index) for number, index in rest)

    @staticmethod
    def _there(found: bool, now: _Pass) -> None:
        if not found:
            raise StateError(
                f"DataLoader: the saved pass stands at batch {now.batch}, this one is shorter"
            )

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: epoch (passes begun before), batch (how many of the pass under
        way were given, not counting those loaded ahead), start (the states of the generators when
        that pass began, one after the other; None between passes) and generator (the state now of
        the loader's own one; that of the default generator is the program's to save).

        >>> import tilegrad as tg
        >>> loader = tg.data.DataLoader(range(6), 2, shuffle=True, generator=1)
        >>> batches = iter(loader)
        >>> _, state = next(batches), loader.state_dict()
        >>> rest = [b.tolist() for b in batches]
        >>> other = tg.data.DataLoader(range(6), 2, shuffle=True, generator=5)
        >>> other.load_state_dict(state)
        >>> [b.tolist() for b in other] == rest
        True
        """
        at, (_, *own) = self._resume or self._pass, self._sources()
        return {
            "epoch": at.epoch + at.over,
            "batch": 0 if at.over else at.batch,
            "start": None if at.over else ops.cat(list(at.start)),
            "generator": own[0].get_state() if own else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next pass goes on where the state_dict of a loader with the same arguments says.

        Raises StateError for anything else, before changing anything.
        """
        try:
            epoch, batch = operator.index(state["epoch"]), operator.index(state["batch"])
            start = [] if state["start"] is None else list(state["start"].reshape(-1, 16))
            generator = state["generator"]
            for s in (*start, *([] if generator is None else [generator])):
                Generator().set_state(s)
            if min(epoch, batch) < 0 or epoch >= 2**62 or (batch and not start):
                raise TgValueError(f"epoch {epoch}, batch {batch}")
            _, *own = self._sources()
            if (generator is None) == bool(own) or len(start) not in (0, 1 + len(own)):
                raise TgValueError("one has a generator of its own, the other does not")
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise StateError(f"DataLoader: not the state of such a loader: {e!r}") from None
        if generator is not None:
            own[0].set_state(generator)
        self._pass = _Pass(epoch - 1)
        self._resume = _Pass(epoch, start, batch, over=False) if start else None
