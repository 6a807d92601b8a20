"""What the functions of this package share: checks, errors, results of several parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError, LinAlgError, ShapeError
from ..ops import rules
from ..ops.shape import broadcast_shapes, expand, matrix_transpose, reshape
from ..ops.slicing import narrow
from ..recording import constants
from ..tensor import Tensor

PRECISE = (dtypes.float32, dtypes.float64)


def precise(op: str, *xs: Any) -> list[Tensor]:
    """The operands as tensors of one dtype, float32 or float64."""
    out = rules.promote(op, *xs)
    if out[0].dtype not in PRECISE:
        raise DTypeError(f"{op}: expects float32 or float64, got {out[0].dtype}")
    return out


def matrix(op: str, x: Any, square: bool = False) -> Tensor:
    """x as a checked tensor of matrices (..., m, n)."""
    (a,) = precise(op, x)
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        what = "square matrices (..., n, n)" if square else "matrices (..., m, n)"
        raise ShapeError(f"{op}: expects {what}, got shape {a.shape}")
    return a


def computed(op: str, function: Callable, *arrays: Any, **options: Any) -> Any:
    """function of NumPy on the arrays, with errors that name the op."""
    try:
        return function(*arrays, **options)
    except np.linalg.LinAlgError as e:
        raise LinAlgError(f"{op}: {str(e)[:1].lower()}{str(e)[1:]}") from None


def mt(x: Tensor) -> Tensor:
    """The matrices transposed."""
    return matrix_transpose(x)


def batched(op: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors of matrices with their leading axes broadcast to each other."""
    lead = a.shape[:-2]
    if lead == b.shape[:-2]:
        return a, b
    try:
        lead = broadcast_shapes(lead, b.shape[:-2])
    except ShapeError:
        raise ShapeError(
            f"{op}: the leading axes of {a.shape} and {b.shape} do not broadcast"
        ) from None
    return expand(a, (*lead, *a.shape[-2:])), expand(b, (*lead, *b.shape[-2:]))


@constants
def eye_like(x: Tensor, n: int) -> Tensor:
    """The n x n identity in the dtype of x."""
    return Tensor._new(np.eye(n, dtype=x.dtype))


# An op has one result on the tape: several are recorded as one, flat behind the batch axes.
def pack(parts: Any, lead: int) -> np.ndarray:
    """The arrays, each flattened behind its first ``lead`` axes, as one."""
    flat = [p.reshape(*p.shape[:lead], math.prod(p.shape[lead:])) for p in parts]
    return np.concatenate(flat, -1)


def unpack(x: Tensor, shapes: Any) -> list[Tensor]:
    """The parts of a packed tensor, in the given shapes behind the batch axes."""
    out, start = [], 0
    for shape in shapes:
        n = math.prod(shape)
        out.append(reshape(narrow(x, -1, start, n), (*x.shape[:-1], *shape)))
        start += n
    return out
