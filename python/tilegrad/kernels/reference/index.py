"""Indexing: values may be negative, out of range raises IndexError; sums add in index order."""

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import (
    compute_dtype,
    quiet,
    require_index,
    rounded,
    widen,
)


def _added_at(target, at, values, dtype):
    """target (zeros or a copy, in the compute dtype) with values added one by one, rounded."""
    np.add.at(target, at, widen(values))
    return rounded(target, dtype)


def _along(index, axis):
    """The full index tuple of gather: index on its axis, every other axis its own position."""
    at = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    at[axis] = index
    return tuple(at)


def _check_gather(op, shape, index, axis):
    fits = index.ndim == len(shape) and all(
        n <= size for a, (n, size) in enumerate(zip(index.shape, shape, strict=True)) if a != axis
    )
    if not fits:
        raise errors.ShapeError(
            f"{op}: expected index no larger than {shape} off axis {axis}, got {index.shape}"
        )
    require_index(op, index, shape[axis])


def gather(x, index, axis):
    """y[..., i, ...] = x[..., index[..., i, ...], ...] along axis; shape of index."""
    _check_gather("gather", x.shape, index, axis)
    return np.asarray(x[_along(index, axis)])


@quiet
def scatter_add(shape, index, src, axis):
    """zeros(shape) with src (shape of index) added at index along axis: the adjoint of gather."""
    _check_gather("scatter_add", shape, index, axis)
    if src.shape != index.shape:
        raise errors.ShapeError(
            f"scatter_add: expected src and index of one shape, got {src.shape} and {index.shape}"
        )
    zeros = np.zeros(shape, compute_dtype(src.dtype))
    return _added_at(zeros, _along(index, axis), src, src.dtype)


def take(x, index, axis):
    """y = x.shape[:axis] + index.shape + x.shape[axis + 1:], slices of x by index."""
    require_index("take", index, x.shape[axis])
    return np.take(x, index, axis=axis)


@quiet
def take_grad(g, index, axis, size):
    """Adjoint of take: slices of g added at index along an axis of length size."""
    require_index("take_grad", index, size)
    if g.shape[axis : axis + index.ndim] != index.shape:
        raise errors.ShapeError(
            f"take_grad: expected g to have index's shape {index.shape} at axis {axis}, got"
            f" {g.shape}"
        )
    shape = (*g.shape[:axis], size, *g.shape[axis + index.ndim :])
    zeros = np.zeros(shape, compute_dtype(g.dtype))
    return _added_at(zeros, (slice(None),) * axis + (index,), g, g.dtype)


@quiet
def put(x, index, src, accumulate):
    """In place on row-major x: x.flat[index] = src (the last of equal indices stays), or +=.

    src broadcasts to index's shape.
    """
    if not x.flags.c_contiguous:
        raise errors.ValueError("put: expected x to be row major")
    require_index("put", index, x.size)
    flat = x.reshape(-1)
    if accumulate:
        flat[...] = _added_at(widen(flat).copy(), index, np.broadcast_to(src, index.shape), x.dtype)
    else:
        flat[index] = src


def nonzero(x):
    """(ndim, count) int64 positions of the true elements, row major."""
    truth = widen(x) != 0
    if x.ndim == 0:
        return np.zeros((0, int(truth)), np.int64)
    return np.stack(np.nonzero(truth)).astype(np.int64)


def concatenate(arrays, axis):
    """The arrays one after the other along an existing axis."""
    return np.concatenate(arrays, axis=axis)


def _sources(size, before, after, mode):
    """For every position of a padded axis, the position of x it repeats."""
    at = np.arange(-before, size + after)
    if mode == "replicate":
        return np.clip(at, 0, size - 1)
    return (size - 1) - np.abs((size - 1) - np.abs(at))


def _check_pad(op, shape, widths, mode):
    """shape is x's, before padding."""
    if mode not in ("constant", "reflect", "replicate"):
        raise errors.ValueError(f"{op}: mode must be constant, reflect or replicate, got {mode!r}")
    if len(widths) != len(shape):
        raise errors.ShapeError(f"{op}: expected {len(shape)} pairs of widths, got {widths}")
    for size, sides in zip(shape, widths, strict=True):
        most = {"constant": None, "reflect": size - 1, "replicate": None if size else 0}[mode]
        if min(sides) < 0 or size < 0 or (most is not None and max(sides) > max(most, 0)):
            raise errors.ShapeError(f"{op}: {mode} padding {sides} does not fit {size} elements")


def pad(x, widths, mode, value):
    """x widened by (before, after) per axis: by value, by reflection or by its edge elements."""
    _check_pad("pad", x.shape, widths, mode)
    if mode == "constant":
        return np.pad(x, widths, constant_values=value) if x.ndim else x.copy()
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = np.take(x, _sources(x.shape[axis], before, after, mode), axis=axis)
    return x.copy()


@quiet
def pad_grad(g, widths, mode):
    """Adjoint of pad: each element of g added where pad read it."""
    shape = [n - before - after for n, (before, after) in zip(g.shape, widths, strict=True)]
    _check_pad("pad_grad", shape, widths, mode)
    if mode == "constant":
        inner = tuple(slice(b, b + n) for n, (b, _) in zip(shape, widths, strict=True))
        return g[(*inner, ...)].copy()
    gx = widen(g)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            gx = take_grad(gx, _sources(shape[axis], before, after, mode), axis, shape[axis])
    return rounded(gx, g.dtype)


def roll(x, shifts, axes):
    """y[(i + shift) mod n] = x[i] along each of the axes."""
    if len(shifts) != len(axes):
        raise errors.ValueError(f"roll: expected as many shifts as axes, got {shifts} and {axes}")
    return np.roll(x, shifts, axis=axes) if axes else x.copy()
