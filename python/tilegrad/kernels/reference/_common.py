"""What every family needs: the dtype a kernel computes in, and the one rounding at its end."""

import ml_dtypes
import numpy as np

from tilegrad import errors

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
HALVES = (np.dtype(np.float16), BFLOAT16)

quiet = np.errstate(all="ignore")
"""Decorator: inf and NaN are results like any other, not warnings."""


def is_float(dtype):
    return dtype.kind == "f" or dtype == BFLOAT16


def compute_dtype(dtype):
    """The dtype arithmetic happens in: float32 for the half types, else the dtype itself."""
    return np.dtype(np.float32) if dtype in HALVES else dtype


def widen(x):
    """x in its compute dtype."""
    return x.astype(compute_dtype(x.dtype), copy=False)


def widen_all(*arrays):
    """widen for several operands, None passing through."""
    return [None if a is None else widen(a) for a in arrays]


def rounded(y, dtype):
    """y as an array (never a NumPy scalar) of the given dtype."""
    return np.asarray(y).astype(dtype, copy=False)


def laid_out_as(x, y):
    """y, of x's shape, in x's dtype and memory order."""
    out = np.empty_like(x)
    out[...] = y
    return out


def total(x, axes, keepdims=False):
    """Sum of a float array over axes, accumulated in float64, in x's dtype."""
    return np.asarray(x.sum(axis=axes, keepdims=keepdims, dtype=np.float64)).astype(x.dtype)


def average(x, axes):
    """Mean over axes, which are kept as size 1; NaN over nothing, as 0 / 0."""
    sums = x.sum(axis=axes, keepdims=True, dtype=np.float64)
    count = np.prod([x.shape[a] for a in axes], dtype=np.float64)
    return np.asarray(sums / count).astype(x.dtype)


def require_float(op, dtype):
    if not is_float(dtype):
        raise errors.DTypeError(f"{op}: expected a floating dtype, got {dtype}")


def require_broadcast(op, *arrays):
    """Raise ShapeError unless the shapes broadcast."""
    shapes = [a.shape for a in arrays]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise errors.ShapeError(f"{op}: shapes {shapes} do not broadcast") from None


def require_index(op, index, size):
    """Raise IndexError unless every value of index lies in [-size, size)."""
    bad = (index < -size) | (index >= size)
    if bad.any():
        value = index[bad].flat[0]
        raise errors.IndexError(f"{op}: index {value} is out of range for size {size}")
