"""Reductions: floats accumulate in float64 and are rounded once."""

import numpy as np

from tilegrad import errors
from tilegrad.kernels.contract import ARG_REDUCE, CUMULATIVE, REDUCE
from tilegrad.kernels.reference._common import average, is_float, quiet, rounded, widen


def _accumulator(dtype):
    """The dtype sums and products are formed in, and the dtype of their result."""
    if is_float(dtype):
        return np.float64, dtype
    whole = np.uint64 if dtype == np.uint64 else np.int64
    return whole, whole


@quiet
def reduce(op, x, axes, keepdims):
    """REDUCE[op] over the axes; the empty tuple reduces over nothing, element by element.

    sum and prod give int64 (uint64 stays) for integers and bool; any and all give bool.
    """
    name = REDUCE[op]
    wide = widen(x)
    if name in ("sum", "prod"):
        inner, outer = _accumulator(x.dtype)
        function = np.sum if name == "sum" else np.prod
        return rounded(function(wide, axis=axes, keepdims=keepdims, dtype=inner), outer)
    if name in ("max", "min"):
        if x.size == 0 and any(x.shape[a] == 0 for a in axes):
            raise errors.ValueError(f"{name}: an extreme over nothing, x {x.shape}, axes {axes}")
        function = np.max if name == "max" else np.min
        return rounded(function(wide, axis=axes, keepdims=keepdims), x.dtype)
    function = np.any if name == "any" else np.all
    return rounded(function(wide != 0, axis=axes, keepdims=keepdims), bool)


def arg_reduce(op, x, axis, keepdims):
    """int64 index of the first extreme along axis; the first NaN counts as the extreme."""
    name = ARG_REDUCE[op]
    if x.shape[axis] == 0:
        raise errors.ValueError(f"{name}: axis {axis} of x, of shape {x.shape}, is empty")
    function = np.argmax if name == "argmax" else np.argmin
    return rounded(function(widen(x), axis=axis, keepdims=keepdims), np.int64)


@quiet
def moments(x, axes):
    """mean = sum(x) / n and var = sum((x - mean)**2) / n over axes, kept as size 1."""
    exact = x.astype(np.float64)
    mean = average(exact, axes)
    var = average((exact - mean) ** 2, axes)
    return rounded(mean, x.dtype), rounded(var, x.dtype)


@quiet
def cumulative(op, x, axis):
    """y[i] = x[0] + ... + x[i] (or the product) along axis; integers and bool give int64."""
    inner, outer = _accumulator(x.dtype)
    function = np.cumsum if CUMULATIVE[op] == "cumsum" else np.cumprod
    return rounded(function(widen(x), axis=axis, dtype=inner), outer)
