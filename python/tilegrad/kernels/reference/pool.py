"""Pooling over x (N, C, *in) with 1 to 3 spatial dims; padding is one (before, after) per axis.

Fixed windows loop over the kernel's taps, adaptive ones (whose windows differ) over the outputs.
"""

import itertools
import math

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import (
    compute_dtype,
    is_float,
    quiet,
    require_index,
    rounded,
    widen,
)
from tilegrad.kernels.reference._windows import Windows, flatten_plane


def _first_maximum(values):
    """Position of the first maximum along the last axis; a NaN counts as the maximum."""
    return np.argmax(values, axis=-1)


def _narrow(indices, x):
    """indices into the planes of x, in the narrowest of three types that counts them."""
    positions = math.prod(x.shape[2:])
    wide = np.int32 if positions < 1 << 31 else np.int64
    return indices.astype(np.uint16 if positions <= 1 << 16 else wide)


def _check_indices(op, indices, spatial):
    if indices.dtype not in (np.uint16, np.int32, np.int64):
        raise errors.DTypeError(
            f"{op}: indices must be uint16, int32 or int64, got {indices.dtype}"
        )
    places = np.where(indices < 0, np.iinfo(np.int64).max, indices.astype(np.int64))
    require_index(op, places, math.prod(spatial))


@quiet
def max_pool(x, kernel, stride, padding, dilation, ceil_mode):
    """y (N, C, *out) and its indices into the flat input plane; first maximum wins, NaN over all.

    Padding is never chosen; a window that holds nothing else raises ValueError.
    """
    at = Windows("max_pool", x.shape[2:], kernel, stride, padding, dilation, ceil_mode)
    if not at.count(counts_padding=False).all():
        raise errors.ShapeError(
            f"max_pool: a window of kernel {kernel} holds nothing but padding {padding}, x of"
            f" shape {x.shape}"
        )
    lowest = -np.inf if is_float(x.dtype) else False if x.dtype == bool else np.iinfo(x.dtype).min
    padded = at.pad(widen(x), lowest)
    y = np.full((*x.shape[:2], *at.out), lowest, padded.dtype)
    indices = np.full(y.shape, -1, np.int64)
    for offset, window in at.taps():
        inside, flat = np.ones(at.out, bool), np.zeros(at.out, np.int64)
        for position, size in zip(at.positions(offset), at.spatial, strict=True):
            inside &= (position >= 0) & (position < size)
            flat = flat * size + position
        value = padded[(..., *window)]
        wins = (indices < 0) | (value > y) | ((value != value) & (y == y))
        y = np.where(inside & wins, value, y)
        indices = np.where(inside & wins, flat, indices)
    return rounded(y, x.dtype), _narrow(indices, x)


@quiet
def max_pool_grad(g, indices, in_spatial):
    """gx (N, C, *in_spatial): g (N, C, *out) added at indices of each plane, in output order."""
    _check_indices("max_pool_grad", indices, in_spatial)
    n, c = g.shape[:2]
    gx = np.zeros((n, c, math.prod(in_spatial)), compute_dtype(g.dtype))
    sample, channel = np.ogrid[:n, :c]
    at = (sample[..., None], channel[..., None], flatten_plane(indices))
    np.add.at(gx, at, flatten_plane(widen(g)))
    return rounded(gx.reshape(n, c, *in_spatial), g.dtype)


def max_pool_gather(x, indices):
    """y[n, c, o] = x[n, c].flat[indices[n, c, o]], shape of indices."""
    _check_indices("max_pool_gather", indices, x.shape[2:])
    y = np.take_along_axis(flatten_plane(x), flatten_plane(indices), axis=2)
    return y.reshape(indices.shape)


def _average_windows(op, spatial, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    """The windows and what each is divided by: the divisor, or a count (1 for an empty window)."""
    at = Windows(op, spatial, kernel, stride, padding, (1,) * len(kernel), ceil_mode)
    return at, divisor if divisor else np.maximum(at.count(count_include_pad), 1)


@quiet
def avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    """y (N, C, *out) = window sum / divisor; 0 divides by the window's count, as PyTorch does.

    The count includes padding if asked, never the overhang of ceil_mode; a sum of nothing is 0.
    """
    at, share = _average_windows(
        "avg_pool", x.shape[2:], kernel, stride, padding, ceil_mode, count_include_pad, divisor
    )
    padded = at.pad(widen(x))
    sums = np.zeros((*x.shape[:2], *at.out), padded.dtype)
    for _, window in at.taps():
        sums += padded[(..., *window)]
    return rounded(sums / np.asarray(share, sums.dtype), x.dtype)


@quiet
def avg_pool_grad(g, in_spatial, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    """gx (N, C, *in_spatial): every tap adds g / divisor where it read x."""
    at, share = _average_windows(
        "avg_pool_grad", in_spatial, kernel, stride, padding, ceil_mode, count_include_pad, divisor
    )
    if g.shape[2:] != at.out:
        raise errors.ShapeError(f"avg_pool_grad: expected g (N, C, *{at.out}), got {g.shape}")
    padded = at.zeros_padded(*g.shape[:2], compute_dtype(g.dtype))
    part = widen(g) / np.asarray(share, padded.dtype)
    for _, window in at.taps():
        padded[(..., *window)] += part
    return rounded(at.crop(padded).copy(), g.dtype)


def _adaptive_windows(op, in_spatial, out_spatial):
    """(output position, slices of the input): floor(i in / out) up to ceil((i + 1) in / out)."""
    if len(in_spatial) != len(out_spatial) or any(
        o < 0 or (o and not i) for i, o in zip(in_spatial, out_spatial, strict=True)
    ):
        raise errors.ShapeError(f"{op}: cannot pool an input of {in_spatial} into {out_spatial}")
    for position in itertools.product(*map(range, out_spatial)):
        yield (
            position,
            tuple(
                slice(i * size // out, -(-(i + 1) * size // out))
                for i, size, out in zip(position, in_spatial, out_spatial, strict=True)
            ),
        )


@quiet
def adaptive_avg_pool(x, out_spatial):
    """y (N, C, *out_spatial): the mean of each adaptive window."""
    wide = widen(x)
    y = np.zeros((*x.shape[:2], *out_spatial), wide.dtype)
    for position, window in _adaptive_windows("adaptive_avg_pool", x.shape[2:], out_spatial):
        y[(..., *position)] = flatten_plane(wide[(..., *window)]).mean(axis=-1)
    return rounded(y, x.dtype)


@quiet
def adaptive_avg_pool_grad(g, in_spatial):
    """gx (N, C, *in_spatial): g / count added over each adaptive window."""
    wide = widen(g)
    gx = np.zeros((*g.shape[:2], *in_spatial), wide.dtype)
    for position, window in _adaptive_windows("adaptive_avg_pool_grad", in_spatial, g.shape[2:]):
        cells = gx[(..., *window)]
        share = wide[(..., *position)] / math.prod(cells.shape[2:])
        cells += share.reshape(*share.shape, *[1] * len(in_spatial))
    return rounded(gx, g.dtype)


def adaptive_max_pool(x, out_spatial):
    """y (N, C, *out_spatial) and flat indices: the first maximum of each adaptive window."""
    spatial = x.shape[2:]
    plane = np.arange(math.prod(spatial)).reshape(spatial)
    indices = np.zeros((*x.shape[:2], *out_spatial), np.int64)
    for position, window in _adaptive_windows("adaptive_max_pool", spatial, out_spatial):
        best = _first_maximum(flatten_plane(widen(x[(..., *window)])))
        indices[(..., *position)] = plane[window].reshape(-1)[best]
    return max_pool_gather(x, indices), _narrow(indices, x)
