"""Element types and their promotion: one table, PyTorch's rules.

A dtype is a ``numpy.dtype``. The default floating dtype is float32; Python and NumPy scalars are
weak (they adapt to a tensor's dtype), tensors without dimensions are weak within their category.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np

from .errors import DTypeError
from .recording import epoch

bool_ = np.dtype(np.bool_)
uint8, uint16 = np.dtype(np.uint8), np.dtype(np.uint16)
uint32, uint64 = np.dtype(np.uint32), np.dtype(np.uint64)
int8, int16 = np.dtype(np.int8), np.dtype(np.int16)
int32, int64 = np.dtype(np.int32), np.dtype(np.int64)
float16, bfloat16 = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)
float32, float64 = np.dtype(np.float32), np.dtype(np.float64)
complex64, complex128 = np.dtype(np.complex64), np.dtype(np.complex128)

FLOATING = (float16, bfloat16, float32, float64)
INTEGER = (uint8, int8, uint16, int16, uint32, int32, uint64, int64)
COMPLEX = (complex64, complex128)
ALL = (bool_, *INTEGER, *FLOATING, *COMPLEX)

_CATEGORY = {bool_: 0, **dict.fromkeys(INTEGER, 1), **dict.fromkeys(FLOATING, 2)}
_CATEGORY.update(dict.fromkeys(COMPLEX, 3))
_BY_TYPE: dict[Any, np.dtype] = {bool: bool_, int: int64, complex: complex64}
_REAL_OF: dict[np.dtype, np.dtype] = {complex64: float32, complex128: float64}
_COMPLEX_OF = {real: wide for wide, real in _REAL_OF.items()}
_default = float32


def dtype(x: Any) -> np.dtype:
    """Any spelling of a dtype as a ``numpy.dtype``.

    ``float`` means the default floating dtype, ``int`` int64, ``bool`` bool. DTypeError for a
    type tensors do not hold.

    >>> dtype("float16")
    dtype('float16')
    """
    if x is float:
        return _default
    try:
        if x is None:  # float64 to NumPy
            raise TypeError
        d = np.dtype(_BY_TYPE.get(x, x)).newbyteorder("=")
    except TypeError as e:
        raise DTypeError(f"dtype: {x!r} is not an element type") from e
    if d not in _CATEGORY:
        raise DTypeError(f"dtype: tensors do not hold {d}")
    return d


def get_default_dtype() -> np.dtype:
    """The dtype of new floating tensors made from Python numbers.

    >>> get_default_dtype()
    dtype('float32')
    """
    return _default


def set_default_dtype(d: Any) -> None:
    """Sets the dtype of new floating tensors; it must be floating."""
    global _default
    d = dtype(d)
    if d not in FLOATING:
        raise DTypeError(f"set_default_dtype: expects a floating dtype, got {d}")
    _default = d
    epoch[0] += 1


@dataclass(frozen=True)
class FloatInfo:
    """What finfo returns: the limits of a floating dtype as Python floats."""

    dtype: str
    bits: int
    eps: float
    max: float
    min: float
    tiny: float
    smallest_normal: float
    resolution: float


@dataclass(frozen=True)
class IntInfo:
    """What iinfo returns: the limits of an integer dtype."""

    dtype: str
    bits: int
    max: int
    min: int


def finfo(type: Any = None) -> FloatInfo:
    """The limits of the floating dtype type, the default one unless given. Raises DTypeError.

    >>> finfo(float16).max
    65504.0
    """
    d = _default if type is None else dtype(type)
    if d not in FLOATING:
        raise DTypeError(f"finfo: expects a floating dtype, got {d}")
    f = ml_dtypes.finfo(d)
    tiny = float(f.smallest_normal)
    return FloatInfo(
        str(d), int(f.bits), float(f.eps), float(f.max), float(f.min), tiny, tiny,
        float(f.resolution),
    )  # fmt: skip


def iinfo(type: Any) -> IntInfo:
    """The limits of the integer dtype type. Raises DTypeError for other dtypes.

    >>> iinfo(int8).min
    -128
    """
    d = dtype(type)
    if d not in INTEGER:
        raise DTypeError(f"iinfo: expects an integer dtype, got {d}")
    i = np.iinfo(d)
    return IntInfo(str(d), i.bits, int(i.max), int(i.min))


def category(d: np.dtype) -> int:
    """0 bool, 1 integer, 2 floating, 3 complex."""
    return _CATEGORY[d]


def is_floating(d: np.dtype) -> bool:
    """Whether d is floating."""
    return _CATEGORY.get(d) == 2


def is_differentiable(d: np.dtype) -> bool:
    """Whether d, floating or complex, can carry a gradient."""
    return _CATEGORY.get(d, 0) > 1


def real_of(d: np.dtype) -> np.dtype:
    """The dtype of the parts of a complex dtype; a real dtype is its own."""
    return _REAL_OF.get(d, d)


def complex_of(d: np.dtype) -> np.dtype:
    """The complex dtype whose parts are float32 or float64; d itself where it is complex."""
    return _COMPLEX_OF.get(d, d)


@cache
def promote_types(a: np.dtype, b: np.dtype) -> np.dtype:
    """The smallest dtype of the higher category that both convert to.

    Raises DTypeError for uint64 with a signed integer, which no integer dtype holds.

    >>> promote_types(float16, bfloat16)
    dtype('float32')
    """
    if a == b:
        return a
    ca, cb = _CATEGORY[a], _CATEGORY[b]
    if ca < cb:
        a, b, ca, cb = b, a, cb, ca
    if ca > cb:
        if ca == 3 and cb == 2 and (a == complex128 or b == float64):
            return complex128
        return a
    if ca == 2:
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if a.itemsize > b.itemsize else b
    if ca == 3:
        return complex128
    if a.kind == b.kind:
        return a if a.itemsize > b.itemsize else b
    signed, unsigned = (a, b) if a.kind == "i" else (b, a)
    if signed.itemsize > unsigned.itemsize:
        return signed
    if unsigned == uint64:
        raise DTypeError(f"promote_types: no integer dtype holds both {a} and {b}")
    return np.dtype(f"int{16 * unsigned.itemsize}")


def scalar_dtype(x: Any) -> np.dtype:
    """The weak dtype of a Python or NumPy scalar."""
    if isinstance(x, (bool, np.bool_)):
        return bool_
    if isinstance(x, (int, np.integer)):
        return int64
    if isinstance(x, (float, np.floating)) or (isinstance(x, np.generic) and x.dtype in FLOATING):
        return _default
    if isinstance(x, (complex, np.complexfloating)):
        return complex128 if _default == float64 else complex64
    raise DTypeError(f"must be a tensor, array or number, got {type(x).__name__}")


def _combine(higher: np.dtype | None, lower: np.dtype | None) -> np.dtype | None:
    if higher is None or lower is None:
        return lower if higher is None else higher
    return promote_types(higher, lower) if category(lower) > category(higher) else higher


def combine(
    dimensioned: np.dtype | None, zero_dim: np.dtype | None, scalar: np.dtype | None
) -> np.dtype | None:
    """The result dtype of operands whose promoted dtypes per strength are given (None: no such)."""
    return _combine(_combine(dimensioned, zero_dim), scalar)
