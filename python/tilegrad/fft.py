"""``tilegrad.fft``: discrete Fourier transforms, with the names and arguments of ``torch.fft``.

NumPy computes them: float32 and complex64 in single precision, float64 and complex128 in double,
integers and bool in the default floating dtype; half types raise DTypeError. Every transform is
linear, and its transpose is a transform again, so derivatives of any order pass in both modes.

In all of them ``n`` (or one entry of ``s`` per axis of ``dim``) is the length of the transform: the
input is trimmed to it or filled up with zeros; -1 in s keeps the length. ``norm`` says which
direction is divided by the length: "backward" (None, the default), "forward", or "ortho", where
both are divided by its square root.

Source: Cooley and Tukey, 1965; NumPy's are those of pocketfft (Reinecke).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from . import dtypes
from .device import check_device
from .errors import DTypeError, ShapeError
from .errors import ValueError as TgValueError
from .ops.complexes import conj, real
from .ops.join import roll
from .ops.rules import axes_of, axis_of, convert, linear, promote, record, sizes_of, zeros
from .tensor import Tensor

__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "hfft2", "hfftn", "ifft", "ifft2",
    "ifftn", "ifftshift", "ihfft", "ihfft2", "ihfftn", "irfft", "irfft2", "irfftn", "rfft",
    "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip

_OTHER = {"backward": "forward", "forward": "backward", "ortho": "ortho"}
_LAST_TWO = (-2, -1)


# --- the linear maps ------------------------------------------------------------------------------
# Cotangents as in ops/complexes.py: <g, y> = Re(sum(g y)), without a conjugate. The matrix of a DFT
# is symmetric, so that its transpose is itself.
DFT = linear("fft", lambda g, params, shape: _dft(g, *params))
RFFT = linear("rfft", lambda g, params, shape: _rfft_transposed(g, shape, *params))
IRFFT = linear("irfft", lambda g, params, shape: _irfft_transposed(g, *params))
RESIZE = linear("fft_resize", lambda g, params, shape: _resized(g, shape))


def _dft(x: Tensor, axes: tuple[int, ...], norm: str, inverse: bool) -> Tensor:
    function = np.fft.ifftn if inverse else np.fft.fftn
    a = x._array
    y = function(a, axes=axes, norm=norm) if a.size and axes else a.copy()  # type: ignore[arg-type]
    return record(DFT, y, (x,), (axes, norm, inverse))


def _rfft(x: Tensor, axis: int, norm: str) -> Tensor:
    y = np.fft.rfft(x._array, axis=axis, norm=norm)  # type: ignore[arg-type]
    return record(RFFT, y, (x,), (axis, norm))


def _irfft(x: Tensor, n: int, axis: int, norm: str) -> Tensor:
    y = np.fft.irfft(x._array, n, axis, norm)  # type: ignore[arg-type]
    return record(IRFFT, y, (x,), (n, axis, norm))


def _rfft_transposed(g: Tensor, shape: tuple[int, ...], axis: int, norm: str) -> Tensor:
    """The frequencies that rfft leaves out have no cotangent."""
    return real(_dft(_resized(g, shape), (axis,), norm, False))


def _irfft_transposed(g: Tensor, n: int, axis: int, norm: str) -> Tensor:
    """All frequencies but 0 and n / 2 stand for two, themselves and their conjugates."""
    y = conj(_rfft(g, axis, _OTHER[norm]))
    twice = np.full(y.shape[axis], 2.0, g.dtype)
    twice[0] = 1
    if n % 2 == 0:
        twice[-1] = 1
    return y * Tensor._new(twice.reshape((-1,) + (1,) * (g.ndim - 1 - axis)))


def _resized(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x with its axes trimmed or filled up with zeros at their ends."""
    if x.shape == shape:
        return x
    y = zeros(shape, x.dtype)._array
    both = tuple([slice(min(m, n)) for m, n in zip(x.shape, shape, strict=True)])
    y[both] = x._array[both]
    return record(RESIZE, y, (x,))


# --- arguments ------------------------------------------------------------------------------------
def _operand(op: str, input: Any, real_only: bool = False) -> Tensor:
    """The tensor, complex unless real_only."""
    (x,) = promote(op, input, floating=True)
    if real_only and x.dtype.kind == "c":
        raise DTypeError(f"{op}: expects a real tensor, got {x.dtype}")
    d = dtypes.complex_of(x.dtype)
    if d.kind != "c":
        raise DTypeError(f"{op}: expects float32, float64 or complex numbers, got {x.dtype}")
    return x if real_only else convert(x, d)


def _norm(op: str, norm: str | None) -> str:
    if norm is None:
        return "backward"
    if norm not in _OTHER:
        raise TgValueError(f"{op}: norm is one of {list(_OTHER)}, got {norm!r}")
    return norm


def _length(op: str, n: Any) -> int:
    try:
        length = index(n)
    except TypeError:
        raise DTypeError(f"{op}: lengths must be ints, got {n!r}") from None
    if length < 1:
        raise TgValueError(f"{op}: the length of a transform must be at least 1, got {length}")
    return length


def _with_length(x: Tensor, axis: int, n: int) -> Tensor:
    return _resized(x, (*x.shape[:axis], n, *x.shape[axis + 1 :]))


def _axis(op: str, x: Tensor, dim: Any) -> int:
    if not x.ndim:
        raise ShapeError(f"{op}: expects at least 1 dimension, got shape ()")
    return axis_of(dim, x.ndim, op)


def _axes(op: str, x: Tensor, s: Any, dim: Any) -> tuple[tuple[int, ...], list[int | None]]:
    """The axes in the order given, and the length asked for along each."""
    sizes = None if s is None else sizes_of((tuple(s) if isinstance(s, Sequence) else (s,),), op)
    if dim is not None:
        dims = list(dim) if isinstance(dim, Sequence) else [dim]
        axes_of(dims, x.ndim, op)  # none twice
        axes = tuple(_axis(op, x, d) for d in dims)
    else:
        axes = tuple(range(x.ndim - len(sizes) if sizes is not None else 0, x.ndim))
    if sizes is not None and (len(sizes) != len(axes) or len(sizes) > x.ndim):
        raise ShapeError(
            f"{op}: s has {len(sizes)} entries for {len(axes)} axes of shape {x.shape}"
        )
    lengths: Any = sizes or [-1] * len(axes)
    return axes, [None if n == -1 else _length(op, n) for n in lengths]


def _all_resized(op: str, x: Tensor, axes: Sequence[int], lengths: Sequence[int | None]) -> Tensor:
    shape = list(x.shape)
    for axis, n in zip(axes, lengths, strict=True):
        shape[axis] = _length(op, shape[axis] if n is None else n)
    return _resized(x, tuple(shape))


def _some(op: str, axes: tuple[int, ...]) -> None:
    if not axes:
        raise ShapeError(f"{op}: must transform at least one axis")


def _one(op: str, input: Any, n: Any, dim: Any, norm: Any, inverse: bool) -> Tensor:
    x, norm = _operand(op, input), _norm(op, norm)
    axis = _axis(op, x, dim)
    x = _with_length(x, axis, _length(op, x.shape[axis] if n is None else n))
    return _dft(x, (axis,), norm, inverse)


def _many(op: str, input: Any, s: Any, dim: Any, norm: Any, inverse: bool) -> Tensor:
    x, norm = _operand(op, input), _norm(op, norm)
    axes, lengths = _axes(op, x, s, dim)
    return _dft(_all_resized(op, x, axes, lengths), axes, norm, inverse)


def _half(op: str, input: Any, n: Any, dim: Any, norm: Any) -> tuple[Tensor, int, str]:
    """What rfft transforms, along which axis."""
    x, norm = _operand(op, input, True), _norm(op, norm)
    axis = _axis(op, x, dim)
    return _with_length(x, axis, _length(op, x.shape[axis] if n is None else n)), axis, norm


def _whole(op: str, x: Tensor, n: Any, dim: Any) -> tuple[Tensor, int, int]:
    """What irfft transforms to which length, along which axis."""
    axis = _axis(op, x, dim)
    n = _length(op, 2 * (x.shape[axis] - 1) if n is None else n)
    return _with_length(x, axis, n // 2 + 1), n, axis


# --- one axis -------------------------------------------------------------------------------------
def fft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """y[k] = sum over j of x[j] e**(-2 pi i j k / n), along dim.

    input: real or complex. n: the length of the transform. norm: the scale. Complex result. Raises
    DTypeError for half types, ValueError for n < 1 or an unknown norm, IndexError for a dim out of
    range, ShapeError for a tensor without dimensions.

    >>> import tilegrad as tg
    >>> tg.fft.fft(tg.tensor([1.0, 2.0, 3.0, 4.0]))
    tensor([10.+0.j, -2.+2.j, -2.+0.j, -2.-2.j], dtype=complex64)
    """
    return _one("fft", input, n, dim, norm, False)


def ifft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of fft: y[j] = sum over k of x[k] e**(2 pi i j k / n) / n. Arguments and errors
    as for fft.

    >>> import tilegrad as tg
    >>> tg.fft.ifft(tg.tensor([1.0, 1.0]))
    tensor([1.+0.j, 0.+0.j], dtype=complex64)
    """
    return _one("ifft", input, n, dim, norm, True)


def rfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The first n // 2 + 1 frequencies of fft of a real input: the others are their conjugates.

    Arguments and errors as for fft; DTypeError for complex input.

    >>> import tilegrad as tg
    >>> tg.fft.rfft(tg.tensor([1.0, 2.0, 3.0, 4.0]))
    tensor([10.+0.j, -2.+2.j, -2.+0.j], dtype=complex64)
    """
    return _rfft(*_half("rfft", input, n, dim, norm))


def irfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of rfft: a real signal of length n, 2 (m - 1) of m frequencies unless given. The
    imaginary parts of frequency 0 (and n / 2) do not count. Arguments and errors as for fft.

    >>> import tilegrad as tg
    >>> tg.fft.irfft(tg.fft.rfft(tg.tensor([1.0, 2.0, 3.0])), n=3)
    tensor([1., 2., 3.])
    """
    return _irfft(*_whole("irfft", _operand("irfft", input), n, dim), _norm("irfft", norm))


def hfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The real fft of a signal x[-j] = conj(x[j]) that is given by its first half; n: the length of
    the result, 2 (m - 1) unless given. Arguments and errors as for fft.

    >>> import tilegrad as tg
    >>> tg.fft.hfft(tg.tensor([1.0, 2.0, 3.0]))
    tensor([ 8., -2.,  0., -2.])
    """
    x = conj(_operand("hfft", input))
    return _irfft(*_whole("hfft", x, n, dim), _OTHER[_norm("hfft", norm)])


def ihfft(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """The inverse of hfft: the first n // 2 + 1 elements of ifft of a real input. Arguments and
    errors as for rfft.

    >>> import tilegrad as tg
    >>> tg.fft.ihfft(tg.tensor([8.0, -2.0, 0.0, -2.0])).real
    tensor([1., 2., 3.])
    """
    x, axis, norm = _half("ihfft", input, n, dim, norm)
    return conj(_rfft(x, axis, _OTHER[norm]))


# --- several axes ---------------------------------------------------------------------------------
def fftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """fft along every axis of dim, which is all of them, or the last len(s), unless given.

    s: the length of the transform along each axis, -1 for that of the input. norm and errors as for
    fft; ShapeError when s and dim differ in length, ValueError for an axis named twice.

    >>> import tilegrad as tg
    >>> tg.fft.fftn(tg.ones(2, 2)).real
    tensor([[4., 0.],
            [0., 0.]])
    """
    return _many("fftn", input, s, dim, norm, False)


def ifftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of fftn, with its arguments and errors.

    >>> import tilegrad as tg
    >>> tg.fft.ifftn(tg.ones(2, 2)).real
    tensor([[1., 0.],
            [0., 0.]])
    """
    return _many("ifftn", input, s, dim, norm, True)


def rfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """rfft along the last axis of dim, then fft along the others. Arguments and errors as for fftn;
    DTypeError for complex input.

    >>> import tilegrad as tg
    >>> tg.fft.rfftn(tg.ones(4, 6)).shape
    (4, 4)
    """
    x, norm = _operand("rfftn", input, True), _norm("rfftn", norm)
    axes, lengths = _axes("rfftn", x, s, dim)
    _some("rfftn", axes)
    y = _rfft(_all_resized("rfftn", x, axes, lengths), axes[-1], norm)
    return _dft(y, axes[:-1], norm, False) if len(axes) > 1 else y


def irfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of rfftn: ifft along all axes of dim but the last, then irfft along that, whose
    length is 2 (m - 1) unless s says otherwise. Arguments and errors as for fftn.

    >>> import tilegrad as tg
    >>> tg.fft.irfftn(tg.fft.rfftn(tg.ones(4, 5)), s=(4, 5)).shape
    (4, 5)
    """
    return _to_real("irfftn", _operand("irfftn", input), s, dim, _norm("irfftn", norm), True)


def hfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """fft along all axes of dim but the last, then hfft along that, whose length is 2 (m - 1)
    unless s says otherwise. Arguments and errors as for fftn.

    >>> import tilegrad as tg
    >>> tg.fft.hfftn(tg.ones(4, 4)).shape
    (4, 6)
    """
    return _to_real("hfftn", _operand("hfftn", input), s, dim, _norm("hfftn", norm), False)


def _to_real(op: str, x: Tensor, s: Any, dim: Any, norm: str, inverse: bool) -> Tensor:
    axes, lengths = _axes(op, x, s, dim)
    _some(op, axes)
    x = _all_resized(op, x, axes[:-1], lengths[:-1])
    x, n, last = _whole(op, x, lengths[-1], axes[-1])
    if len(axes) > 1:
        x = _dft(x, axes[:-1], norm, inverse)
    return _irfft(x, n, last, norm) if inverse else _irfft(conj(x), n, last, _OTHER[norm])


def ihfftn(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Tensor:
    """The inverse of hfftn: ihfft along the last axis of dim, then ifft along the others. Arguments
    and errors as for rfftn.

    >>> import tilegrad as tg
    >>> tg.fft.ihfftn(tg.ones(4, 6)).shape
    (4, 4)
    """
    x, norm = _operand("ihfftn", input, True), _norm("ihfftn", norm)
    axes, lengths = _axes("ihfftn", x, s, dim)
    _some("ihfftn", axes)
    y = conj(_rfft(_all_resized("ihfftn", x, axes, lengths), axes[-1], _OTHER[norm]))
    return _dft(y, axes[:-1], norm, True) if len(axes) > 1 else y


def fft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Tensor:
    """fftn along the last two axes, unless dim says otherwise.

    >>> import tilegrad as tg
    >>> tg.fft.fft2(tg.ones(3, 2, 2)).shape
    (3, 2, 2)
    """
    return _many("fft2", input, s, dim, norm, False)


def ifft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Tensor:
    """ifftn along the last two axes, unless dim says otherwise.

    >>> import tilegrad as tg
    >>> tg.fft.ifft2(tg.ones(3, 2, 2)).shape
    (3, 2, 2)
    """
    return _many("ifft2", input, s, dim, norm, True)


def rfft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Tensor:
    """rfftn along the last two axes, unless dim says otherwise.

    >>> import tilegrad as tg
    >>> tg.fft.rfft2(tg.ones(3, 4, 4)).shape
    (3, 4, 3)
    """
    return rfftn(input, s, dim, norm)


def irfft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Tensor:
    """irfftn along the last two axes, unless dim says otherwise.

    >>> import tilegrad as tg
    >>> tg.fft.irfft2(tg.ones(3, 4, 3)).shape
    (3, 4, 4)
    """
    return irfftn(input, s, dim, norm)


def hfft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Tensor:
    """hfftn along the last two axes, unless dim says otherwise.

    >>> import tilegrad as tg
    >>> tg.fft.hfft2(tg.ones(3, 4, 3)).shape
    (3, 4, 4)
    """
    return hfftn(input, s, dim, norm)


def ihfft2(input: Any, s: Any = None, dim: Any = _LAST_TWO, norm: str | None = None) -> Tensor:
    """ihfftn along the last two axes, unless dim says otherwise.

    >>> import tilegrad as tg
    >>> tg.fft.ihfft2(tg.ones(3, 4, 4)).shape
    (3, 4, 3)
    """
    return ihfftn(input, s, dim, norm)


# --- frequencies ----------------------------------------------------------------------------------
def _frequencies(
    op: str, whole: np.ndarray, n: int, d: float, dtype: Any, device: Any, requires_grad: bool
) -> Tensor:
    check_device(device)
    kind = dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype)
    if not dtypes.is_floating(kind):
        raise DTypeError(f"{op}: expects a floating dtype, got {kind}")
    with np.errstate(all="ignore"):
        step = float(np.float64(1.0) / (n * d))
    return (Tensor._new(whole.astype(kind)) * step).requires_grad_(requires_grad)


def fftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The frequencies of fft of n samples at distance d: (0, 1, ..., -2, -1) / (n d).

    dtype: floating. Raises ValueError for negative n, DTypeError.

    >>> import tilegrad as tg
    >>> tg.fft.fftfreq(4)
    tensor([ 0.  ,  0.25, -0.5 , -0.25])
    """
    if n < 0:
        raise TgValueError(f"fftfreq: n must not be negative, got {n}")
    whole = np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)])
    return _frequencies("fftfreq", whole, n, d, dtype, device, requires_grad)


def rfftfreq(
    n: int, d: float = 1.0, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """The frequencies of rfft of n samples at distance d: (0, 1, ..., n // 2) / (n d).

    dtype: floating. Raises ValueError for negative n, DTypeError.

    >>> import tilegrad as tg
    >>> tg.fft.rfftfreq(4)
    tensor([0.  , 0.25, 0.5 ])
    """
    if n < 0:
        raise TgValueError(f"rfftfreq: n must not be negative, got {n}")
    return _frequencies("rfftfreq", np.arange(n // 2 + 1), n, d, dtype, device, requires_grad)


def fftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The tensor turned so that frequency 0 stands in the middle of the axes dim (None: all).

    >>> import tilegrad as tg
    >>> tg.fft.fftshift(tg.fft.fftfreq(4))
    tensor([-0.5 , -0.25,  0.  ,  0.25])
    """
    axes = axes_of(dim, input.ndim, "fftshift")
    return roll(input, tuple(input.shape[i] // 2 for i in axes), axes)


def ifftshift(input: Tensor, dim: Any = None) -> Tensor:
    """The inverse of fftshift.

    >>> import tilegrad as tg
    >>> tg.fft.ifftshift(tg.fft.fftshift(tg.fft.fftfreq(5)))
    tensor([ 0. ,  0.2,  0.4, -0.4, -0.2])
    """
    axes = axes_of(dim, input.ndim, "ifftshift")
    return roll(input, tuple(-(input.shape[i] // 2) for i in axes), axes)
