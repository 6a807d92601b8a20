"""Numbers, nested sequences, arrays and tensors as NumPy arrays that a tensor can hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import dtypes
from .errors import DTypeError, ShapeError
from .errors import ValueError as TgValueError
from .recording import captures, constants, read

PRINTING: dict[str, Any] = {"precision": 4, "threshold": 1000}
"""How tensors print: arguments of ``numpy.array2string``."""


def host_array(data: Any, dtype: Any = None) -> np.ndarray:
    """data as a native, aligned array of a tensor's dtype; may share memory with data.

    Python floats become the default floating dtype, Python integers int64. Raises ValueError for
    Python numbers that the dtype cannot hold.
    """
    data = getattr(data, "_array", data)
    return _typed(data, dtype) if hasattr(data, "dtype") else _numbers(data, dtype)


def _typed(data: Any, dtype: Any) -> np.ndarray:
    return _converted(data, dtype, True)


@constants
def _numbers(data: Any, dtype: Any) -> np.ndarray:
    return _converted(_unwrap(data), dtype, False)


def _converted(data: Any, dtype: Any, typed: bool) -> np.ndarray:
    try:
        a = np.asarray(data)
    except ValueError as e:
        raise ShapeError(f"tensor: nested sequences have different lengths ({e})") from e
    if not typed:
        kind = _kind(data)
        if (a.dtype.kind == "O" and kind == "int") or (a.dtype == dtypes.uint64 and dtype is None):
            raise TgValueError("tensor: an integer is out of range for int64")
        if a.dtype.kind == "f" and dtype is None and not _has_float(data):
            raise TgValueError("tensor: an integer is out of range for int64")
        if a.dtype.kind in "OSUMm":
            raise DTypeError(f"tensor: data must be numbers, got {kind}")
    if dtype is None:
        if typed or a.dtype.kind in "biu":
            dtype = dtypes.int64 if not typed and a.dtype.kind in "iu" else dtypes.dtype(a.dtype)
        else:
            dtype = dtypes.complex64 if a.dtype.kind == "c" else dtypes.get_default_dtype()
    else:
        dtype = dtypes.dtype(dtype)
    if not typed and a.size and dtype.kind in "iu" and a.dtype.kind in "iuf":
        for value in (a.min().item(), a.max().item()):
            limits = np.iinfo(dtype)
            if not math.isfinite(value) or not limits.min <= int(value) <= limits.max:
                raise TgValueError(f"tensor: {value} is out of range for {dtype}")
    if a.dtype.kind == "c" != dtype.kind:
        raise DTypeError(f"tensor: a tensor of {dtype} does not hold complex numbers")
    with np.errstate(all="ignore"):
        a = np.asarray(a, dtype=dtype)
    return a if a.flags.aligned else a.copy()


def _kind(data: Any) -> str:
    """The type of the first element of nested sequences."""
    while isinstance(data, (list, tuple)) and data:
        data = data[0]
    return type(data).__name__


def _has_float(data: Any) -> bool:
    """Whether NumPy had a floating element in nested sequences (or nothing at all)."""
    if isinstance(data, (list, tuple)):
        return not data or any(_has_float(x) for x in data)
    return not isinstance(data, int)


def _unwrap(data: Any) -> Any:
    """Nested sequences with their tensors replaced by arrays, so that NumPy can stack them."""
    if isinstance(data, (list, tuple)):
        return [_unwrap(x) for x in data]
    if captures and hasattr(data, "_array"):
        read("a list of tensors")
    return getattr(data, "_array", data)


def printed(a: Any, notes: list[str]) -> str:
    """How a tensor of array a is shown; notes: what is said behind the elements."""
    shown = a if a.dtype != dtypes.bfloat16 else a.astype("f4")
    body = np.array2string(shown, separator=", ", prefix="tensor(", **PRINTING)
    if a.size == 0 and a.ndim != 1:
        notes = [f"shape={a.shape}", *notes]
    return "".join(["tensor(", body, *[f", {n}" for n in notes], ")"])
