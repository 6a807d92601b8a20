"""Element-wise kernels: NumPy's own functions, in the compute dtype."""

import math

import numpy as np

from tilegrad import errors
from tilegrad.kernels.contract import BINARY, COMPARE, UNARY, UNARY_BOOL, UNARY_GRAD
from tilegrad.kernels.reference._common import (
    BFLOAT16,
    is_float,
    laid_out_as,
    quiet,
    require_broadcast,
    require_float,
    rounded,
    widen,
)

# NumPy has no error function; the C library's, element by element in float64.
_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def erf(x):
    return _erf(x.astype(np.float64)).astype(x.dtype)


def erfc(x):
    return _erfc(x.astype(np.float64)).astype(x.dtype)


def normal_distribution(x):
    """Phi(x) = erfc(-x / sqrt(2)) / 2, without cancellation for negative x."""
    return (0.5 * _erfc(-x.astype(np.float64) / math.sqrt(2))).astype(x.dtype)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _to_whole(function):
    """A rounding function, which leaves integers as they are."""
    return lambda x, p0, p1: function(x) if is_float(x.dtype) else x


def _clamp(x, low, high):
    if not is_float(x.dtype):
        # The bounds are real numbers: as integers inside x's range they select the same values.
        info = np.iinfo(x.dtype)
        low = info.min if low <= info.min else min(math.ceil(low), info.max)
        high = info.max if high >= info.max else max(math.floor(high), info.min)
    return np.minimum(np.maximum(x, low), high)


_UNARY = {
    "neg": lambda x, p0, p1: np.negative(x),
    "abs": lambda x, p0, p1: np.abs(x),
    "sign": lambda x, p0, p1: np.sign(x),
    "square": lambda x, p0, p1: x * x,
    "reciprocal": lambda x, p0, p1: 1 / x,
    "sqrt": lambda x, p0, p1: np.sqrt(x),
    "rsqrt": lambda x, p0, p1: 1 / np.sqrt(x),
    "exp": lambda x, p0, p1: np.exp(x),
    "exp2": lambda x, p0, p1: np.exp2(x),
    "expm1": lambda x, p0, p1: np.expm1(x),
    "log": lambda x, p0, p1: np.log(x),
    "log2": lambda x, p0, p1: np.log2(x),
    "log10": lambda x, p0, p1: np.log10(x),
    "log1p": lambda x, p0, p1: np.log1p(x),
    "sin": lambda x, p0, p1: np.sin(x),
    "cos": lambda x, p0, p1: np.cos(x),
    "tan": lambda x, p0, p1: np.tan(x),
    "asin": lambda x, p0, p1: np.arcsin(x),
    "acos": lambda x, p0, p1: np.arccos(x),
    "atan": lambda x, p0, p1: np.arctan(x),
    "sinh": lambda x, p0, p1: np.sinh(x),
    "cosh": lambda x, p0, p1: np.cosh(x),
    "tanh": lambda x, p0, p1: np.tanh(x),
    "asinh": lambda x, p0, p1: np.arcsinh(x),
    "acosh": lambda x, p0, p1: np.arccosh(x),
    "atanh": lambda x, p0, p1: np.arctanh(x),
    "erf": lambda x, p0, p1: erf(x),
    "erfc": lambda x, p0, p1: erfc(x),
    "floor": _to_whole(np.floor),
    "ceil": _to_whole(np.ceil),
    "trunc": _to_whole(np.trunc),
    "round": _to_whole(np.rint),
    "sigmoid": lambda x, p0, p1: sigmoid(x),
    "relu": lambda x, p0, p1: np.where(x <= 0, 0, x),
    "leaky_relu": lambda x, p0, p1: np.where(x > 0, x, p0 * x),
    "elu": lambda x, p0, p1: np.where(x > 0, x, p0 * np.expm1(x)),
    "softplus": lambda x, p0, p1: np.where(p0 * x > p1, x, np.log1p(np.exp(p0 * x)) / p0),
    "gelu": lambda x, p0, p1: x * normal_distribution(x),
    "silu": lambda x, p0, p1: x / (1 + np.exp(-x)),
    "clamp": lambda x, p0, p1: _clamp(x, p0, p1),
    "bitwise_not": lambda x, p0, p1: np.invert(x),
}
_UNARY_OF_INTEGERS = "neg abs sign square floor ceil trunc round relu clamp bitwise_not".split()


@quiet
def unary(op, x, p0=0.0, p1=0.0):
    """y = UNARY[op](x; p0, p1), element by element; shape, dtype and layout of x."""
    name = UNARY[op]
    if x.dtype.kind == "b":
        allowed = name == "bitwise_not"
    elif is_float(x.dtype):
        allowed = name != "bitwise_not"
    else:
        allowed = name in _UNARY_OF_INTEGERS
    if not allowed:
        raise errors.DTypeError(f"{name}: not defined for x of dtype {x.dtype}")
    return laid_out_as(x, _UNARY[name](widen(x), p0, p1))


_UNARY_BOOL = {
    "isnan": lambda x: x != x,
    "isinf": lambda x: np.isinf(x),
    "isfinite": lambda x: np.isfinite(x),
    "logical_not": lambda x: x == 0,
    "signbit": lambda x: np.signbit(x) if is_float(x.dtype) else x < 0,
}


@quiet
def unary_bool(op, x):
    """y = UNARY_BOOL[op](x), bool, shape of x."""
    return rounded(_UNARY_BOOL[UNARY_BOOL[op]](widen(x)), bool)


def _silu_slope(x):
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


def _gelu_slope(x):
    """Phi(x) + x phi(x), Phi and phi the normal distribution and density."""
    return normal_distribution(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


# v is the output for relu, sigmoid and tanh, else the input.
_UNARY_GRAD = {
    "relu": lambda g, v, p0, p1: np.where(v <= 0, 0, g),
    "leaky_relu": lambda g, v, p0, p1: np.where(v > 0, g, g * p0),
    "elu": lambda g, v, p0, p1: np.where(v > 0, g, g * p0 * np.exp(v)),
    "softplus": lambda g, v, p0, p1: np.where(p0 * v > p1, g, g * sigmoid(p0 * v)),
    "gelu": lambda g, v, p0, p1: g * _gelu_slope(v),
    "silu": lambda g, v, p0, p1: g * _silu_slope(v),
    "sigmoid": lambda g, v, p0, p1: g * (1 - v) * v,
    "tanh": lambda g, v, p0, p1: g * (1 - v * v),
}


@quiet
def unary_grad(op, g, v, p0=0.0, p1=0.0):
    """gx = g * f'(x) of UNARY_GRAD[op], g and v broadcast; v is what the contract says is saved."""
    require_float(UNARY_GRAD[op], g.dtype)
    require_broadcast(UNARY_GRAD[op], g, v)
    return rounded(_UNARY_GRAD[UNARY_GRAD[op]](widen(g), widen(v), p0, p1), g.dtype)


def _integer_quotient(function, name):
    """function for integers guarded against a zero divisor, for floats as NumPy has it."""

    def guarded(a, b):
        if not is_float(b.dtype) and np.broadcast(a, b).size and (b == 0).any():
            raise errors.ZeroDivisionError(f"{name}: integer division by zero")
        return function(a, b)

    return guarded


def _pow(a, b):
    if not is_float(a.dtype) and (b < 0).any():
        raise ValueError(f"pow: negative power of {a.dtype}")
    return np.power(a, b)


_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floor_divide": _integer_quotient(np.floor_divide, "floor_divide"),
    "remainder": _integer_quotient(np.remainder, "remainder"),
    "fmod": _integer_quotient(np.fmod, "fmod"),
    "pow": _pow,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "atan2": np.arctan2,
    "logaddexp": np.logaddexp,
    "copysign": np.copysign,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
    "left_shift": np.left_shift,
    "right_shift": np.right_shift,
}
_BINARY_OF_FLOATS_ONLY = "div atan2 logaddexp copysign".split()
_BINARY_OF_INTEGERS_ONLY = "bitwise_and bitwise_or bitwise_xor left_shift right_shift".split()
_BINARY_OF_BOOLS = "add mul maximum minimum bitwise_and bitwise_or bitwise_xor".split()


def _require_binary_dtype(name, dtype):
    if dtype.kind == "b":
        allowed = name in _BINARY_OF_BOOLS
    elif is_float(dtype):
        allowed = name not in _BINARY_OF_INTEGERS_ONLY
    else:
        allowed = name not in _BINARY_OF_FLOATS_ONLY
    if not allowed:
        raise errors.DTypeError(f"{name}: not defined for operands of dtype {dtype}")


@quiet
def binary(op, a, b):
    """y = BINARY[op](a, b), broadcasting, dtype of the operands.

    Bools add as "or" and multiply as "and"; shifts by no less than the width give 0 (or -1).
    """
    name = BINARY[op]
    _require_binary_dtype(name, a.dtype)
    require_broadcast(name, a, b)
    return rounded(_BINARY[name](widen(a), widen(b)), a.dtype)


def binary_into(op, a, b, out):
    """In place: out[...] = BINARY[op](a, b), broadcast to out's shape."""
    out[...] = binary(op, a, b)


_COMPARE = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}


@quiet
def compare(op, a, b):
    """y = COMPARE[op](a, b), bool, broadcasting."""
    require_broadcast(COMPARE[op], a, b)
    return rounded(_COMPARE[COMPARE[op]](widen(a), widen(b)), bool)


def where(cond, a, b):
    """y = a where cond else b, the three broadcast."""
    require_broadcast("where", cond, a, b)
    return np.asarray(np.where(cond, a, b))


@quiet
def cast(x, dtype):
    """y = x in another dtype; floats outside an integer's range (and NaN) give its minimum."""
    dtype = np.dtype(dtype)
    y = np.empty_like(x, dtype=dtype)
    if dtype.kind == "b":
        y[...] = widen(x) != 0
    elif is_float(x.dtype) and not is_float(dtype):
        info = np.iinfo(dtype)
        whole = np.trunc(x.astype(np.float64))
        inside = (whole >= info.min) & (whole < 2.0 ** (info.bits - (dtype.kind == "i")))
        y[...] = info.min
        y[inside] = whole[inside].astype(dtype)
    else:
        # ml_dtypes reaches bfloat16 through float32; said here so that every kernel does the same.
        y[...] = x.astype(np.float32) if dtype == BFLOAT16 else x.astype(dtype)
    return y


def copy(x, order="K"):
    """y = x in fresh memory, row major for order 'C', in the order of x's axes for 'K'."""
    return np.array(x, order=order, copy=True)


def copy_into(dst, src):
    """In place: dst[...] = src, broadcast to dst's shape."""
    if src.ndim > dst.ndim:
        raise errors.ShapeError(f"copy_into: src {src.shape} does not broadcast to {dst.shape}")
    require_broadcast("copy_into", dst, src)
    dst[...] = src


def full(shape, dtype, value):
    """Row-major array of one value."""
    return np.full(shape, value, dtype=dtype)
