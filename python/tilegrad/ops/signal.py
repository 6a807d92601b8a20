"""Windows of signals, and the short-time Fourier transform made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor
from .complexes import view_as_real
from .create import _from_host, _require_memory
from .join import pad
from .layout import _fold, unfold
from .rules import as_operand, promote, sizes_of
from .shape import reshape, transpose
from .slicing import narrow


# --- windows --------------------------------------------------------------------------------------
@constants
def _window(
    op: str, window_length: int, periodic: bool, formula: Callable, dtype: Any, device: Any,
    requires_grad: bool,
) -> Tensor:  # fmt: skip
    """formula of the positions 0 ... 1, in float64, rounded once."""
    (n,) = sizes_of((window_length,), op)
    if n < 0:
        raise TgValueError(f"{op}: window_length must not be negative, got {n}")
    _require_memory(op, n)
    d = dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype)
    if not dtypes.is_floating(d):
        raise DTypeError(f"{op}: expects a floating dtype, got {d}")
    at = np.arange(n) / (n if periodic else n - 1) if n > 1 else np.full(n, 0.5)
    y = formula(at) if n > 1 else np.ones(n)
    return _from_host(np.asarray(y), d, device, requires_grad)


def hann_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.5 - 0.5 cos(2 pi x) at window_length positions x from 0 to 1.

    periodic: without the last of window_length + 1 positions, so that windows join; else symmetric.
    dtype: floating. Raises ValueError, DTypeError. Source: Blackman and Tukey, 1958.

    >>> import tilegrad as tg
    >>> tg.hann_window(4)
    tensor([0. , 0.5, 1. , 0.5])
    """
    return _window("hann_window", window_length, periodic,
                   lambda x: 0.5 - 0.5 * np.cos(2 * np.pi * x), dtype, device,
                   requires_grad)  # fmt: skip


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, *,
    dtype: Any = None, device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """alpha - beta cos(2 pi x); other arguments and errors as for hann_window.

    >>> import tilegrad as tg
    >>> tg.hamming_window(2)
    tensor([0.08, 1.  ])
    """
    return _window("hamming_window", window_length, periodic,
                   lambda x: alpha - beta * np.cos(2 * np.pi * x), dtype, device,
                   requires_grad)  # fmt: skip


def blackman_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """0.42 - 0.5 cos(2 pi x) + 0.08 cos(4 pi x); arguments and errors as for hann_window.

    >>> import tilegrad as tg
    >>> tg.blackman_window(4)[1:]
    tensor([0.34, 1.  , 0.34])
    """
    return _window(
        "blackman_window", window_length, periodic,
        lambda x: 0.42 - 0.5 * np.cos(2 * np.pi * x) + 0.08 * np.cos(4 * np.pi * x),
        dtype, device, requires_grad,
    )  # fmt: skip


def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, device: Any = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """1 - |2 x - 1|, a triangle; arguments and errors as for hann_window.

    >>> import tilegrad as tg
    >>> tg.bartlett_window(4)
    tensor([0. , 0.5, 1. , 0.5])
    """
    return _window("bartlett_window", window_length, periodic,
                   lambda x: 1 - np.abs(2 * x - 1), dtype, device, requires_grad)  # fmt: skip


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None,
    device: Any = None, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """I0(beta sqrt(1 - (2 x - 1)**2)) / I0(beta), I0 the modified Bessel function; beta sets the
    width. Other arguments and errors as for hann_window. Source: Kaiser and Schafer, 1980.

    >>> import tilegrad as tg
    >>> tg.kaiser_window(3, periodic=False, beta=0.0)
    tensor([1., 1., 1.])
    """
    return _window(
        "kaiser_window", window_length, periodic,
        lambda x: np.i0(beta * np.sqrt(np.maximum(1 - (2 * x - 1) ** 2, 0))) / np.i0(beta),
        dtype, device, requires_grad,
    )  # fmt: skip


# --- short-time transforms ------------------------------------------------------------------------
def _sizes(
    op: str, n_fft: int, hop_length: int | None, win_length: int | None, window: Any, x: Tensor
) -> tuple[int, Tensor]:
    """The hop, and the window in the middle of n_fft elements."""
    hop = n_fft // 4 if hop_length is None else hop_length
    length = n_fft if win_length is None else win_length
    if n_fft < 1 or hop < 1 or not 0 < length <= n_fft:
        raise TgValueError(
            f"{op}: expects n_fft and hop_length of at least 1 and win_length up to n_fft, got "
            f"n_fft {n_fft}, hop_length {hop}, win_length {length}"
        )
    real = dtypes.real_of(x.dtype)
    w = Tensor._new(np.ones(length, real)) if window is None else as_operand(window, op)
    if w.shape != (length,):
        raise ShapeError(f"{op}: expects a window of shape {(length,)}, got {w.shape}")
    left = (n_fft - length) // 2
    return hop, w if length == n_fft else pad(w, (left, n_fft - length - left))


def stft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Any = None, center: bool = True, pad_mode: str = "reflect", normalized: bool = False,
    onesided: bool | None = None, return_complex: bool | None = None,
) -> Tensor:  # fmt: skip
    """The Fourier transforms of overlapping windows of a signal (L,) or (N, L): (frequencies,
    windows), behind N.

    n_fft: the length of a transform; hop_length: the step between two, n_fft // 4 unless given;
    window: factors (ones unless given), win_length of them, in the middle of n_fft. center: window
    t is about position t hop_length, for which the signal is padded on both sides, as pad_mode of
    ``nn.functional.pad`` says. normalized: divided by sqrt(n_fft). onesided: n_fft // 2 + 1
    frequencies, for real signals and windows the default. return_complex: False gives pairs
    (..., 2); must be given for real signals. Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.stft(tg.ones(16), 8, window=tg.hann_window(8), return_complex=True).shape
    (5, 9)
    """
    from ..fft import fft, rfft

    (x,) = promote("stft", input, floating=True)
    if x.ndim not in (1, 2):
        raise ShapeError(f"stft: expects a signal (L,) or (N, L), got shape {x.shape}")
    hop, w = _sizes("stft", n_fft, hop_length, win_length, window, x)
    is_complex = "c" in (x.dtype.kind, w.dtype.kind)
    if return_complex is None and not is_complex:
        raise TgValueError("stft: return_complex must be given for real signals")
    if onesided and is_complex:
        raise TgValueError("stft: onesided is for real signals and windows")
    if center:
        rows = reshape(x, (1, *x.shape)) if x.ndim == 1 else x
        x = reshape(pad(rows, (n_fft // 2, n_fft // 2), pad_mode), (*x.shape[:-1], -1))
    if n_fft > x.shape[-1]:
        raise ShapeError(f"stft: n_fft {n_fft} is more than the length {x.shape[-1]}")
    frames = unfold(x, -1, n_fft, hop) * w
    transform = fft if is_complex or onesided is False else rfft
    y = transpose(transform(frames, norm="ortho" if normalized else None), -1, -2)
    return view_as_real(y) if return_complex is False else y


def istft(
    input: Any, n_fft: int, hop_length: int | None = None, win_length: int | None = None,
    window: Any = None, center: bool = True, normalized: bool = False,
    onesided: bool | None = None, length: int | None = None, return_complex: bool = False,
) -> Tensor:  # fmt: skip
    """The signal (L,) or (N, L) whose stft comes closest to input (frequencies, windows), behind N.

    length: that of the signal, filled up with zeros. return_complex: the signal is complex, for
    which all frequencies are needed. Other arguments as for stft; onesided unless input has n_fft
    frequencies. Raises ValueError where the windows leave a gap, ShapeError, DTypeError.
    Source: Griffin and Lim, 1984.

    >>> import tilegrad as tg
    >>> w = tg.hann_window(4)
    >>> tg.istft(tg.stft(tg.ones(8), 4, window=w, return_complex=True), 4, window=w)
    tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    """
    from ..fft import ifft, irfft

    x = as_operand(input, "istft")
    if x.dtype.kind != "c" or x.ndim not in (2, 3):
        raise DTypeError(f"istft: expects complex (..., frequencies, windows), got {x.dtype} of "
                         f"shape {x.shape}")  # fmt: skip
    hop, w = _sizes("istft", n_fft, hop_length, win_length, window, x)
    half, count = n_fft // 2 + 1, x.shape[-1]
    one = x.shape[-2] != n_fft if onesided is None else onesided
    if x.shape[-2] != (half if one else n_fft) or not count:
        raise ShapeError(f"istft: expects {half if one else n_fft} frequencies and at least one "
                         f"window, got shape {x.shape}")  # fmt: skip
    if (return_complex and one) or (not return_complex and w.dtype.kind == "c"):
        raise TgValueError("istft: a complex signal needs return_complex and all frequencies")
    norm, frames = "ortho" if normalized else None, transpose(x, -1, -2)
    if return_complex:
        y = ifft(frames, norm=norm)
    else:
        y = irfft(narrow(frames, -1, 0, half), n_fft, norm=norm)
    total = n_fft + hop * (count - 1)
    y, squares = y * w, (w * w).expand(count, n_fft)
    y = _fold(y, (y.ndim - 2, n_fft, hop), (*y.shape[:-2], total))
    weight = _fold(squares, (0, n_fft, hop), (total,))
    start = n_fft // 2 if center else 0
    end = total - start if length is None else min(start + length, total)
    y, weight = narrow(y, -1, start, end - start), narrow(weight, 0, start, end - start)
    if end > start and np.abs(weight._array).min() <= 1e-11:
        raise TgValueError("istft: the windows leave a gap, where the signal is not determined")
    y = y / weight
    if length is None or end - start == length:
        return y
    return pad(y, (0, length - (end - start)))


METHODS: dict[str, Any] = {"stft": stft, "istft": istft}

__all__ = [
    "bartlett_window", "blackman_window", "hamming_window", "hann_window", "istft",
    "kaiser_window", "stft",
]  # fmt: skip
