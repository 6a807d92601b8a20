"""Matrix products, in the compute dtype: NumPy's own, so that the benchmarks compare fairly.

There is one way to multiply here: impl changes nothing.
"""

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import quiet, require_float, rounded, widen


@quiet
def matmul(a, b, impl=""):
    """y[..., i, j] = sum over p of a[..., i, p] b[..., p, j]; leading axes broadcast."""
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise errors.ShapeError(
            f"matmul: expected a (..., m, k) and b (..., k, n), got a {a.shape} and b {b.shape}"
        )
    if a.dtype.kind == "b":
        raise errors.DTypeError("matmul: not defined for bool")
    return rounded(np.matmul(widen(a), widen(b)), a.dtype)


@quiet
def linear(x, w, bias):
    """y = x w^T + bias: x (..., k), w (n, k), bias (n,) or None -> (..., n)."""
    require_float("linear", x.dtype)
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[1]:
        raise errors.ShapeError(
            f"linear: expected x (..., k), w (n, k), got {x.shape} and {w.shape}"
        )
    if bias is not None and bias.shape != w.shape[:1]:
        raise errors.ShapeError(f"linear: expected bias {w.shape[:1]}, got {bias.shape}")
    y = np.matmul(widen(x), widen(w).T)
    return rounded(y if bias is None else y + widen(bias), x.dtype)
