"""The state of a random stream: a seed, and how far the stream is used up."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .errors import DTypeError
from .errors import ValueError as TgValueError
from .recording import captures, current, refuse
from .tensor import Tensor, check_device, from_numpy, host_array

_MASK = 2**64 - 1


class Generator:
    """A stream of random numbers: a 64-bit seed and how far the stream is used up.

    >>> import tilegrad as tg
    >>> g = tg.Generator().manual_seed(3)
    >>> bool((tg.rand(2, generator=g) == tg.rand(2, generator=g.manual_seed(3))).all())
    True
    """

    def __init__(self, device: Any = None) -> None:
        check_device(device)
        self._lock = threading.Lock()
        self._key = self._offset = 0
        self.seed()

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of a seed (any int, taken modulo 2**64) from its beginning."""
        if not hasattr(seed, "__int__"):
            raise DTypeError(f"manual_seed: seed must be an int, got {type(seed).__name__}")
        if captures:
            refuse("seeding would happen once, not in every replay; seed before the call")
        with self._lock:
            self._key, self._offset = int(seed) & _MASK, 0
        return self

    def seed(self) -> int:
        """Starts a stream that nobody can foresee; returns its seed."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._key

    def initial_seed(self) -> int:
        """The seed of the stream."""
        return self._key

    def get_state(self) -> Tensor:
        """Seed and position as 16 uint8."""
        if captures:
            refuse("the state of a random stream is read by Python")
        with self._lock:
            return from_numpy(np.array([self._key, self._offset], "<u8").view(np.uint8))

    def set_state(self, new_state: Tensor) -> Generator:
        """Goes on from what get_state returned. Raises ValueError for anything else."""
        a = np.ascontiguousarray(host_array(new_state))
        if a.dtype != np.uint8 or a.shape != (16,):
            raise TgValueError(f"set_state: expects 16 uint8, got {a.dtype} of shape {a.shape}")
        with self._lock:
            self._key, self._offset = (int(n) for n in a.view("<u8"))
        return self

    def take(self, words: int) -> tuple[int, int]:
        """Key and offset of the next blocks that hold this many 32-bit words."""
        with self._lock:
            offset = self._offset
            if captures and (c := current()) is not None:
                c.drawn(self, self._key, offset)
            self._offset = (offset + -(-words // 4)) & _MASK
            return self._key, offset


_local = threading.local()


class _Default(Generator):
    """The default generator, in whose place a thread may put another one for a while."""

    def take(self, words: int) -> tuple[int, int]:
        other: Generator | None = getattr(_local, "instead", None)
        return super().take(words) if other is None else other.take(words)


default_generator: Generator = _Default()


def as_generator(generator: Any) -> Generator | None:
    """A Generator, or the one of a seed; None stays None. Raises TypeError for anything else."""
    if isinstance(generator, (int, np.integer)):
        return Generator().manual_seed(int(generator))
    if generator is None or isinstance(generator, Generator):
        return generator
    raise TypeError(f"expected a Generator, a seed or None, got {type(generator).__name__}")


"""What random functions draw from unless a generator is given."""


@contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """In this thread, what would be drawn from the default generator comes from another one.

    >>> import tilegrad as tg
    >>> with drawing_from(tg.Generator().manual_seed(3)):
    ...     x = tg.rand(2)
    >>> bool((x == tg.rand(2, generator=tg.Generator().manual_seed(3))).all())
    True
    """
    before = getattr(_local, "instead", None)
    _local.instead = generator
    try:
        yield
    finally:
        _local.instead = before
