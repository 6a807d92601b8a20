"""Workers of a DataLoader: processes or threads that load batches ahead of time.

Batch k of a pass is always the task of worker k % n, so batches come in order. A process writes its
batch into shared memory without a name (memfd), which nobody has to remove after a crash, and sends
a short message; the parent copies the batch out and gives the memory back with the next task. A
worker whose parent is gone reads the end of its connection and leaves.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import random
import select
import signal
import threading
import time
import traceback
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes, kernels
from ..errors import WorkerError
from ..generator import Generator, drawing_from
from .sampler import BatchSampler

_local = threading.local()
_ends: weakref.WeakSet[Connection] = weakref.WeakSet()
"""This process's ends of the connections to its workers; a forked child closes its copies."""


@dataclass
class WorkerInfo:
    """What a worker knows of itself: id from 0 to num_workers - 1, its dataset, and the seed of the
    batch it is loading."""

    id: int
    num_workers: int
    dataset: Any
    seed: int = 0


def get_worker_info() -> WorkerInfo | None:
    """The WorkerInfo of the worker that calls; None outside workers.

    >>> get_worker_info() is None
    True
    """
    return getattr(_local, "info", None)


class End(Enum):
    """What comes behind the last batch of a stream."""

    END = 0


END = End.END


class Task(NamedTuple):
    """Batch ``number`` of the pass ``key``, at the positions index of the dataset."""

    key: bytes
    number: int
    index: Any

    @property
    def seed(self) -> int:
        """What the batch's random numbers follow from."""
        digest = blake2b(self.key + self.number.to_bytes(8, "little"), digest_size=8).digest()
        return int.from_bytes(digest, "little")


@dataclass
class Fetcher:
    """Loads the batches of a map-style dataset, or one after the other those of a stream."""

    dataset: Any
    collate: Callable[[Any], Any] | None  # None: samples are handed on as they are
    take: Callable[[np.ndarray], Any] | None
    batch_size: int | None
    drop_last: bool
    stream: bool
    key: bytes = b""
    samples: Any = None

    def __call__(self, task: Task) -> Any:
        """The batch of a task; END behind the end of a stream."""
        if task.key != self.key:
            self.key = task.key
            if self.stream:
                sized = self.batch_size is not None
                self.samples = iter(
                    BatchSampler(self.dataset, self.batch_size or 1, self.drop_last)
                    if sized
                    else self.dataset
                )
        if self.stream:
            samples = next(self.samples, END)
            if samples is END:
                return END
        elif self.take is not None:
            batch = self.take(np.asarray(task.index, np.int64))
            if batch is not None:
                return batch
            samples = [self.dataset[i] for i in task.index]
        elif isinstance(task.index, list):
            samples = [self.dataset[i] for i in task.index]
        else:
            samples = self.dataset[task.index]
        return samples if self.collate is None else self.collate(samples)

    def draw(self, task: Task) -> Any:
        """The batch, with the default generator standing where the task says."""
        with drawing_from(Generator().manual_seed(task.seed)):
            return self(task)

    def batches(self, tasks: Iterator[Task]) -> Iterator[Any]:
        """The batches of all tasks, without workers."""
        for task in tasks:
            batch = self.draw(task)
            if batch is END:
                return
            yield batch
            del batch


class Failure(NamedTuple):
    """What a task gives whose dataset raised."""

    error: BaseException


class Work:
    """What a worker does, in whichever thread or process."""

    def __init__(self, fetcher: Fetcher, info: WorkerInfo, init: Callable[[int], None] | None):
        self.fetcher, self.info, self.init = fetcher, info, init

    def __call__(self, task: Task) -> Any:
        """A batch, END or a Failure."""
        try:
            self.info.seed = task.seed
            if get_worker_info() is None:
                _local.info = self.info
                if self.init is not None:
                    self.init(self.info.id)
            return self.fetcher.draw(task)
        except BaseException as e:
            return Failure(e)


# --- threads --------------------------------------------------------------------------------------
class ThreadWorker:
    """A thread of this process. Each has its own, so that a stream is read in order."""

    def __init__(self, work: Work) -> None:
        self.name = f"worker {work.info.id} (a thread)"
        self.work = work
        self.executor = ThreadPoolExecutor(1, f"DataLoader-{work.info.id}")
        self.futures: deque[Future[Any]] = deque()

    def send(self, task: Task) -> None:
        self.futures.append(self.executor.submit(self.work, task))

    def receive(self, timeout: float | None) -> Any:
        future = self.futures.popleft()
        try:
            return future.result(timeout)
        except TimeoutError:
            raise WorkerError(f"DataLoader: {self.name} gave no batch in {timeout} s") from None

    def drain(self) -> None:
        for future in self.futures:
            if not future.cancel():
                future.result()
        self.futures.clear()

    def hang_up(self) -> None:
        self.executor.shutdown(wait=False, cancel_futures=True)

    def leave(self, until: float) -> None:
        pass


# --- processes ------------------------------------------------------------------------------------
def _padded(n: int) -> int:
    return -(-n // 64) * 64


class _Slots:
    """The worker's side of the shared memory: slot -> mapping, made anew when too small."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.maps: dict[int, np.ndarray] = {}

    def send(self, slot: int, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(value, 5, buffer_callback=buffers.append)
        raw = [memoryview(head), *(b.raw() for b in buffers)]
        parts = [np.frombuffer(b, np.uint8) for b in raw]
        sizes = [p.size for p in parts]
        total, fd = sum(map(_padded, sizes)), None
        if slot not in self.maps or self.maps[slot].size < total:
            fd = os.memfd_create("tilegrad-batch", os.MFD_CLOEXEC)
            size = -(-(total + total // 4) // mmap.PAGESIZE) * mmap.PAGESIZE
            os.truncate(fd, size)
            self.maps[slot] = np.frombuffer(mmap.mmap(fd, size), np.uint8)
        at = 0
        for part in parts:
            self.maps[slot][at : at + part.size] = part
            at += _padded(part.size)
        self.conn.send((slot, sizes, fd is not None))
        if fd is not None:
            send_handle(self.conn, fd, os.getppid())
            os.close(fd)


def _sendable(error: BaseException, where: str) -> BaseException:
    """The exception, with the traceback as a note; another one where it cannot be pickled."""
    lines = traceback.format_exception(error)
    text = f"{where}, whose traceback was:\n{''.join(lines).rstrip()}"
    try:
        copy = pickle.loads(pickle.dumps(error))
        if type(copy) is not type(error):
            raise TypeError
        error = copy
    except Exception:
        error = WorkerError(f"DataLoader: {type(error).__name__} in a worker: {error}")
    error.add_note(text)
    return error


def _serve(conn: Connection, work: Work, dtype: Any) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if os.sched_getscheduler(0) == os.SCHED_OTHER:
        # Else a worker that wakes up takes the core of the thread that sent it a task.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    for end in list(_ends):
        end.close()
    if hasattr(kernels.host, "set_num_threads"):  # the reference kernels have no threads
        kernels.host.set_num_threads(1)
    dtypes.set_default_dtype(dtype)
    where = f"DataLoader: raised in worker {work.info.id} (process {os.getpid()})"
    slots = _Slots(conn)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            slot, task = conn.recv()
            random.seed(task.seed)
            np.random.seed(task.seed % 2**32)
            value = work(task)
            if isinstance(value, Failure):
                value = Failure(_sendable(value.error, where))
            try:
                slots.send(slot, value)
            except (OSError, KeyboardInterrupt):
                raise
            except Exception as e:  # a batch that cannot be pickled
                slots.send(slot, Failure(_sendable(e, where)))
            del value


class ProcessWorker:
    """The parent's side of a worker process."""

    def __init__(self, work: Work, context: Any, ahead: int) -> None:
        self.conn, theirs = context.Pipe()
        _ends.add(self.conn)
        self.free = list(range(ahead))
        self.maps: dict[int, np.ndarray] = {}
        args = (theirs, work, dtypes.get_default_dtype())
        self.process = context.Process(target=_serve, args=args, daemon=True)
        with warnings.catch_warnings():
            # Python warns of forks beside threads; those of the kernels are guarded.
            warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
            # The child inherits the mask, until it ignores the signal.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self.process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        self.poll = select.poll()
        for file in (self.conn, self.process.sentinel):
            self.poll.register(file, select.POLLIN)
        self.ahead, self.name = ahead, f"worker {work.info.id} (process {self.process.pid})"

    def send(self, task: Task) -> None:
        with contextlib.suppress(OSError):  # a dead worker is reported by receive
            self.conn.send((self.free.pop(), task))

    def receive(self, timeout: float | None) -> Any:
        if not self.poll.poll(None if timeout is None else 1000 * timeout):
            raise WorkerError(f"DataLoader: {self.name} gave no batch in {timeout} s")
        try:
            slot, sizes, new = self.conn.recv()
            if new:
                fd = recv_handle(self.conn)
                self.maps[slot] = np.frombuffer(mmap.mmap(fd, 0), np.uint8)
                os.close(fd)
        except (EOFError, OSError, RuntimeError):  # no message, or half of one
            self.process.join(1)
            code = self.process.exitcode
            how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit {code}"
            raise WorkerError(f"DataLoader: {self.name} died: {how}") from None
        at, parts = 0, []
        for size in sizes:
            parts.append(self.maps[slot][at : at + size])
            at += _padded(size)
        copies = [kernels.host.copy(p, "C") for p in parts[1:]]
        value = pickle.loads(parts[0].data, buffers=copies)
        self.free.append(slot)
        return value

    def drain(self) -> None:
        while len(self.free) < self.ahead:
            self.receive(None)

    def hang_up(self) -> None:
        self.conn.close()

    def leave(self, until: float) -> None:
        for end in (lambda: None, self.process.terminate, self.process.kill):
            end()
            self.process.join(max(until - time.monotonic(), 0.1))
            if self.process.exitcode is not None:
                self.process.close()
                return


# --- teams ----------------------------------------------------------------------------------------
def _dismiss(workers: list[Any], owner: int) -> None:
    if os.getpid() != owner:
        return  # a forked child does not end its siblings
    for w in workers:
        w.hang_up()
    until = time.monotonic() + 2.0
    for w in workers:
        w.leave(until)
    workers.clear()


class Team:
    """The workers of one DataLoader. ``close`` ends them, and so does the end of the program or of
    the last reference."""

    def __init__(self, make: Callable[[int], Any], num_workers: int, ahead: int) -> None:
        self.workers: list[Any] = []
        self.ahead, self.passes = ahead, 0
        self.close = weakref.finalize(self, _dismiss, self.workers, os.getpid())
        for i in range(num_workers):
            self.workers.append(make(i))

    def batches(self, tasks: Iterator[Task], timeout: float | None) -> Iterator[Any]:
        """The batches of the tasks, in order; those ahead are under way when this returns."""
        self.passes += 1
        waiting: deque[Any] = deque()
        try:
            for w in self.workers:
                w.drain()
            for _ in range(self.ahead):
                for w in self.workers:
                    self._give(w, tasks, waiting)
        except BaseException:
            self.close()
            raise
        return self._received(tasks, waiting, timeout, self.passes)

    @staticmethod
    def _give(worker: Any, tasks: Iterator[Task], waiting: deque[Any]) -> None:
        task = next(tasks, None)
        if task is not None:
            worker.send(task)
            waiting.append(worker)

    def _received(
        self, tasks: Iterator[Task], waiting: deque[Any], timeout: float | None, mine: int
    ) -> Iterator[Any]:
        try:
            while waiting:
                if self.passes != mine:
                    raise WorkerError(
                        "DataLoader: the workers are persistent and serve a later pass by now"
                    )
                worker = waiting.popleft()
                value = worker.receive(timeout)
                if isinstance(value, Failure):
                    raise value.error
                if value is not END:
                    self._give(worker, tasks, waiting)
                    yield value
                    del value
        except GeneratorExit:
            raise
        except BaseException:
            if self.passes == mine:
                self.close()
            raise
