"""What transforms share: their random numbers, the forms of images they take, and Compose.

Random numbers come from the default generator, or from the one given with the call. Under a
DataLoader the default generator follows from the seed, the pass and the number of the batch, so
that batches are the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from ...errors import ValueError as TgValueError
from ...generator import Generator, default_generator
from ...tensor import Tensor, from_numpy


def numpy_generator(generator: Generator | None = None) -> np.random.Generator:
    """A NumPy generator seeded by the next number of a generator, the default one unless given.

    >>> import tilegrad as tg
    >>> _ = tg.manual_seed(0)
    >>> a = numpy_generator().random()
    >>> _ = tg.manual_seed(0)
    >>> a == numpy_generator().random()
    True
    """
    return np.random.default_rng((generator or default_generator).take(4))


class Transform:
    """Base of image transforms: x is one image (C, H, W) or a batch (N, C, H, W), a tensor or an
    array, uint8 in [0, 255] or floating in [0, 1]; what comes back is of the same kind.

    Every image of a batch gets random numbers of its own. Subclasses define ``apply`` on arrays
    (N, C, H, W). Raises ShapeError and DTypeError for other x.
    """

    batched = True
    """Whether a whole batch can be given at once."""

    def __call__(self, x: Any, generator: Generator | None = None) -> Any:
        name = type(self).__name__
        a = x._array if isinstance(x, Tensor) else np.asarray(x)
        if a.ndim not in (3, 4):
            raise ShapeError(f"{name}: expects (C, H, W) or (N, C, H, W), got shape {a.shape}")
        if a.dtype != np.uint8 and a.dtype.kind != "f":
            raise DTypeError(f"{name}: expects uint8 or floating images, got {a.dtype}")
        y = self.apply(a if a.ndim == 4 else a[None], numpy_generator(generator))
        y = y if a.ndim == 4 else y[0]
        return from_numpy(y) if isinstance(x, Tensor) else y

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The images a (N, C, H, W) transformed; a itself must not change."""
        raise NotImplementedError(f"{type(self).__name__} does not define apply()")


class Compose(Transform):
    """One transform after the other; whole batches at once if all of them take batches.

    They may be any functions of one argument; those of this package share one stream of random
    numbers.

    >>> import tilegrad as tg
    >>> flip = Compose([lambda x: x.flip(-1), lambda x: x * 2])
    >>> flip(tg.tensor([1.0, 2.0]))
    tensor([4., 2.])
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = list(transforms)
        self.batched = all(getattr(t, "batched", False) for t in self.transforms)
        self.own = all(
            isinstance(t, Transform) and getattr(t, "own", True) for t in self.transforms
        )
        """Whether there are transforms of this package only."""

    def __call__(self, x: Any, generator: Generator | None = None) -> Any:
        if self.own:
            return super().__call__(x, generator)
        for t in self.transforms:
            x = t(x, generator) if isinstance(t, Transform) else t(x)
        return x

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for t in self.transforms:
            a = t.apply(a, rng)  # type: ignore[attr-defined]
        return a


class RandomApply(Transform):
    """Applies a transform that keeps the shape to each image with the chance p."""

    def __init__(self, transform: Transform, p: float = 0.5) -> None:
        self.transform, self.p = transform, probability("RandomApply", p)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = np.flatnonzero(rng.random(len(a)) < self.p)
        out = a.copy()
        if chosen.size:
            out[chosen] = self.transform.apply(a[chosen], rng)
        return out


# --- arguments and values -------------------------------------------------------------------------
def probability(op: str, p: float) -> float:
    """p, if it is one."""
    if not 0.0 <= p <= 1.0:
        raise TgValueError(f"{op}: p must lie between 0 and 1, got {p}")
    return float(p)


def pair(op: str, name: str, value: Any) -> tuple[int, int]:
    """A size (height, width) given as an int or as two, at least 1 each."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or min(both) < 1:
        raise TgValueError(f"{op}: {name} expects one or two positive ints, got {value}")
    return int(both[0]), int(both[1])


def interval(op: str, name: str, value: Any, center: float = 0.0) -> tuple[float, float]:
    """An interval given as two numbers, or as one: that far around center."""
    if isinstance(value, (int, float)):
        if value < 0:
            raise TgValueError(f"{op}: {name} must not be negative, got {value}")
        return center - value, center + value
    low, high = (float(v) for v in value)
    if not low <= high:
        raise TgValueError(f"{op}: {name} expects low <= high, got {value}")
    return low, high


def top(a: np.ndarray) -> float:
    """The largest value of an image of this dtype."""
    return 255.0 if a.dtype == np.uint8 else 1.0


def real(a: np.ndarray) -> np.ndarray:
    """a in a floating dtype, uint8 as float32 of the same values."""
    return a.astype(np.float32) if a.dtype == np.uint8 else a


def like(y: np.ndarray, a: np.ndarray) -> np.ndarray:
    """y in the dtype of a; floating y rounded and kept in [0, 255] for uint8."""
    if a.dtype != np.uint8 or y.dtype == np.uint8:
        return y.astype(a.dtype, copy=False)
    np.rint(y, out=y)
    return np.clip(y, 0.0, 255.0, out=y).astype(np.uint8)


def per_channel(op: str, name: str, value: Any, channels: int) -> np.ndarray:
    """One number, or one for each channel, as (C or 1, 1, 1) float32."""
    v = np.asarray(value, np.float32).reshape(-1, 1, 1)
    if len(v) not in (1, channels):
        raise ShapeError(f"{op}: {name} has {len(v)} values for {channels} channels")
    return v


def in_pieces(a: np.ndarray, n_bytes: int = 1 << 20) -> Iterator[slice]:
    """Slices of the first axis whose images stay in the cache."""
    step = max(1, n_bytes // max(a[:1].nbytes, 1))
    return (slice(i, i + step) for i in range(0, len(a), step))
