"""Augmentation of audio: arrays or tensors (..., time) of floating samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import DTypeError, ShapeError
from ...errors import ValueError as TgValueError
from ...generator import Generator
from ...tensor import Tensor, from_numpy
from .base import interval, numpy_generator


class AudioTransform:
    """Base of transforms of x (..., time), a tensor or an array; what comes back is of the same
    kind and dtype. Subclasses define ``apply``. Raises DTypeError, ShapeError."""

    def __call__(self, x: Any, generator: Generator | None = None) -> Any:
        name = type(self).__name__
        a = x._array if isinstance(x, Tensor) else np.asarray(x)
        if a.dtype.kind != "f":
            raise DTypeError(f"{name}: expects floating samples, got {a.dtype}")
        if a.ndim < 1 or a.shape[-1] < 2:
            raise ShapeError(f"{name}: expects (..., time) with two samples, got shape {a.shape}")
        y = self.apply(a, numpy_generator(generator)).astype(a.dtype, copy=False)
        return from_numpy(y) if isinstance(x, Tensor) else y

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The samples a transformed; a itself must not change."""
        raise NotImplementedError(f"{type(self).__name__} does not define apply()")


def resample(a: np.ndarray, n: int) -> np.ndarray:
    """a (..., time) as n samples of the same sound, by its Fourier series: nothing above the lower
    of both limits is left, and the ends are taken as joined."""
    spectrum, old = np.fft.rfft(a), a.shape[-1]
    kept = np.zeros((*a.shape[:-1], n // 2 + 1), complex)
    m = min(old, n)
    kept[..., : (m + 1) // 2] = spectrum[..., : (m + 1) // 2]
    if m % 2 == 0:  # the limit itself counts twice in the longer series
        factor = 1.0 if n == old else (2.0 if n < old else 0.5)
        kept[..., m // 2] = spectrum[..., m // 2].real * factor
    out: np.ndarray = np.fft.irfft(kept, n) * (n / old)
    return out


def stretch(a: np.ndarray, factor: float, window: int = 1024) -> np.ndarray:
    """a (..., time) played factor times as fast at the same pitch, by a phase vocoder with frames
    of window samples. Source: J. Flanagan and R. Golden, "Phase vocoder", 1966."""
    n = a.shape[-1]
    window = max(16, min(window, 1 << (n.bit_length() - 1)))
    hop = window // 4
    shape = np.hanning(window + 1)[:-1]
    pads = [(0, 0)] * (a.ndim - 1) + [(window // 2, window // 2 + hop)]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(a, pads), window, -1)[..., ::hop, :]
    spectra = np.fft.rfft(frames * shape)
    times = np.arange(0, spectra.shape[-2] - 1, factor)
    before = times.astype(int)
    share = (times - before)[:, None]
    first, second = spectra[..., before, :], spectra[..., before + 1, :]
    size = (1 - share) * np.abs(first) + share * np.abs(second)
    # Each bin's phase goes on by what it went on between its two frames.
    expected = 2 * np.pi * hop * np.arange(spectra.shape[-1]) / window
    step = np.angle(second) - np.angle(first) - expected
    step -= 2 * np.pi * np.round(step / (2 * np.pi))
    step += expected
    phase = np.cumsum(step, -2) - step + np.angle(spectra[..., :1, :])
    pieces = np.fft.irfft(size * np.exp(1j * phase), window) * shape
    length = (len(times) - 1) * hop + window
    out, weight = np.zeros((*a.shape[:-1], length)), np.full(length, 1e-8)
    for i in range(len(times)):
        out[..., i * hop : i * hop + window] += pieces[..., i, :]
        weight[i * hop : i * hop + window] += shape**2
    out /= weight
    wanted = max(2, round(n / factor))
    out = out[..., window // 2 : window // 2 + wanted]
    missing = wanted - out.shape[-1]
    return np.pad(out, [(0, 0)] * (a.ndim - 1) + [(0, missing)]) if missing > 0 else out


class Speed(AudioTransform):
    """Plays x faster or slower, and higher or lower with it: by a factor from the interval factor
    (or up to that far from 1). The result has round(time / factor) samples.

    >>> import tilegrad as tg
    >>> Speed((2.0, 2.0))(tg.zeros(2, 1000)).shape
    (2, 500)
    """

    def __init__(self, factor: Any = 0.1) -> None:
        self.factor = interval("Speed", "factor", factor, 1.0)
        if self.factor[0] <= 0:
            raise TgValueError(f"Speed: factor must be above 0, got {factor}")

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return resample(a, max(2, round(a.shape[-1] / rng.uniform(*self.factor))))


class PitchShift(AudioTransform):
    """Plays x higher or lower at the same length, by a number of semitones from an interval (or up
    to that many).

    >>> import tilegrad as tg
    >>> PitchShift(4.0)(tg.zeros(2, 3000)).shape
    (2, 3000)
    """

    def __init__(self, semitones: Any = 2.0) -> None:
        self.semitones = interval("PitchShift", "semitones", semitones)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        up = 2.0 ** (rng.uniform(*self.semitones) / 12)
        return resample(stretch(a, 1 / up), a.shape[-1])


class AddNoise(AudioTransform):
    """x plus normal noise, at a ratio of the signal's power to that of the noise drawn from the
    interval snr, in decibels; silence stays silent.

    >>> import tilegrad as tg
    >>> x = tg.ones(100000)
    >>> noise = AddNoise((20.0, 20.0))(x) - x
    >>> round(float(noise.var()), 3)
    0.01
    """

    def __init__(self, snr: Any = (10.0, 30.0)) -> None:
        self.snr = interval("AddNoise", "snr", snr)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        decibels = rng.uniform(*self.snr, (*a.shape[:-1], 1))
        power = np.square(a, dtype=np.float64).mean(-1, keepdims=True)
        return a + rng.standard_normal(a.shape) * np.sqrt(power * 10 ** (-decibels / 10))
