"""The kernels of the contract that take complex arrays: NumPy's functions, and sums and products
made of the real ones. What is not here raises DTypeError, by name.

A kernel knows no gradient; why the derivatives of real numbers hold for these too is said in
``tilegrad.ops.complexes``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import kernels
from ..errors import DTypeError
from .contract import BINARY, COMPARE, CUMULATIVE, REDUCE, UNARY, UNARY_BOOL, UNARY_GRAD
from .reference import (
    concatenate,
    copy,
    copy_into,
    full,
    gather,
    nonzero,
    pad,
    pad_grad,
    put,
    roll,
    scatter_add,
    take,
    take_grad,
    where,
)
from .reference._common import laid_out_as, quiet, require_broadcast

__all__ = [
    "concatenate", "copy", "copy_into", "full", "gather", "nonzero", "pad", "pad_grad", "put",
    "roll", "scatter_add", "take", "take_grad", "where",
]  # fmt: skip


def refuse(name: str, dtype: Any = "complex") -> DTypeError:
    """The error of what is not defined, or not served, for complex numbers."""
    return DTypeError(f"{name}: expects a real tensor, got {dtype}")


def __getattr__(name: str) -> Any:
    if name not in kernels.contract.NAMES:
        raise AttributeError(name)

    def kernel(*args: Any) -> Any:
        raise refuse(name, next((a.dtype for a in args if hasattr(a, "dtype")), "complex"))

    return kernel


def _chosen(table: Mapping[str, Callable], names: Any, op: int, x: np.ndarray) -> Callable:
    if names[op] not in table:
        raise refuse(names[op], x.dtype)
    return table[names[op]]


# --- element by element ---------------------------------------------------------------------------
_UNARY: dict[str, Callable] = {
    "neg": np.negative,
    "square": np.square,
    "reciprocal": np.reciprocal,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "exp": np.exp,
    "exp2": lambda x: np.exp(x * np.log(x.real.dtype.type(2))),
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "atanh": np.arctanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}


@quiet
def unary(op: int, x: np.ndarray, p0: float = 0.0, p1: float = 0.0) -> np.ndarray:
    """y = UNARY[op](x), the principal branch."""
    return laid_out_as(x, _chosen(_UNARY, UNARY, op, x)(x))


def unary_bool(op: int, x: np.ndarray) -> np.ndarray:
    """y = UNARY_BOOL[op](x) but signbit."""
    table = {f: getattr(np, f) for f in ("isnan", "isinf", "isfinite", "logical_not")}
    return np.asarray(_chosen(table, UNARY_BOOL, op, x)(x))


@quiet
def unary_grad(op: int, g: np.ndarray, v: np.ndarray, p0: float = 0.0, p1: float = 0.0) -> Any:
    """gx = g * f'(x) for sigmoid and tanh; v is the output."""
    slopes = {"sigmoid": lambda v: v * (1 - v), "tanh": lambda v: 1 - v * v}
    return np.asarray(g * _chosen(slopes, UNARY_GRAD, op, g)(v))


_BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
           "pow": np.power}  # fmt: skip


@quiet
def binary(op: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y = BINARY[op](a, b), broadcasting."""
    function = _chosen(_BINARY, BINARY, op, a)
    require_broadcast(BINARY[op], a, b)
    return np.asarray(function(a, b))


_COMPARE = {"eq": np.equal, "ne": np.not_equal, "logical_and": np.logical_and,
            "logical_or": np.logical_or, "logical_xor": np.logical_xor}  # fmt: skip


def compare(op: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y = COMPARE[op](a, b): complex numbers have no order."""
    function = _chosen(_COMPARE, COMPARE, op, a)
    require_broadcast(COMPARE[op], a, b)
    return np.asarray(function(a, b))


def cast(x: np.ndarray, dtype: Any) -> np.ndarray:
    """Between complex dtypes, from real ones, and to real ones: the real part."""
    if dtype.kind == "c":
        return x.astype(dtype)
    if dtype.kind == "b":
        return x != 0
    return kernels.host.cast(x.real, dtype) if x.real.dtype != dtype else copy(x.real)


# --- sums and products ----------------------------------------------------------------------------
def _of_parts(re: np.ndarray, im: np.ndarray, dtype: Any) -> np.ndarray:
    y = np.empty(re.shape, dtype)
    y.real, y.imag = re, im
    return y


@quiet
def reduce(op: int, x: np.ndarray, axes: tuple[int, ...], keepdims: bool) -> np.ndarray:
    """REDUCE[op] but max and min; the sums of the parts are those of real numbers."""
    name = REDUCE[op]
    if name == "sum":
        parts = [kernels.host.reduce(op, p, axes, keepdims) for p in (x.real, x.imag)]
        return _of_parts(parts[0], parts[1], x.dtype)
    table: dict[str, Callable] = {"prod": np.prod, "any": np.any, "all": np.all}
    return np.asarray(_chosen(table, REDUCE, op, x)(x, axis=axes, keepdims=keepdims))


def cumulative(op: int, x: np.ndarray, axis: int) -> np.ndarray:
    """CUMULATIVE[op]."""
    return np.asarray(getattr(np, CUMULATIVE[op])(x, axis=axis))


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Four real products, so that the bits depend on no thread."""
    product: Callable = kernels.host.matmul
    p, q, r, s = a.real, a.imag, b.real, b.imag
    return _of_parts(product(p, r) - product(q, s), product(p, s) + product(q, r), a.dtype)


def linear(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """x @ w.T + bias, by matmul."""
    y = matmul(x[None] if x.ndim == 1 else x, w.T)
    y = y[0] if x.ndim == 1 else y
    return y if bias is None else np.asarray(y + bias)
