"""The formula sheet of one variable: name, formula, derivative (see ``elementwise``)."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes, kernels
from ..errors import ValueError as TgValueError
from ..kernels import contract
from ..tensor import Tensor
from .binary import logical_and, logical_or, maximum, minimum, where
from .elementwise import METHODS, add_inplace, real_operand, unary, unary_bool
from .rules import constant, elementwise, promote, record, result_type


def _positive(t: Tensor, x: Tensor) -> Tensor:
    return t * (x > 0)


def _modulus(x: Tensor) -> Tensor:
    from .complexes import abs_complex

    return abs_complex(x)


_R = math.sqrt(0.5)
_C = 2.0 / math.sqrt(math.pi)
_LN2, _LN10 = math.log(2.0), math.log(10.0)
_PDF = 1.0 / math.sqrt(2.0 * math.pi)

neg = unary("neg", "-x", lambda t, x, y: -t, (), aliases=("negative",))
abs = unary(
    "abs",
    "|x|",
    lambda t, x, y: t * sign(x),
    aliases=("absolute",),
    of_complex=_modulus,
)
sign = unary("sign", "-1, 0 or 1", None, ())
square = unary("square", "x * x", lambda t, x, y: t * x * 2.0)
reciprocal = unary("reciprocal", "1 / x", lambda t, x, y: -t * y * y, (-1,))
sqrt = unary("sqrt", "the square root of x", lambda t, x, y: t / (y * 2.0), (-1,))
rsqrt = unary("rsqrt", "1 / sqrt(x)", lambda t, x, y: t * y * y * y * -0.5, (-1,))
exp = unary("exp", "e**x", lambda t, x, y: t * y, (-1,))
exp2 = unary("exp2", "2**x", lambda t, x, y: t * y * _LN2, (-1,))
expm1 = unary("expm1", "e**x - 1", lambda t, x, y: t * (y + 1.0), (-1,))
log = unary("log", "ln x", lambda t, x, y: t / x)
log2 = unary("log2", "the logarithm of x to base 2", lambda t, x, y: t / (x * _LN2))
log10 = unary("log10", "the logarithm of x to base 10", lambda t, x, y: t / (x * _LN10))
log1p = unary("log1p", "ln(1 + x)", lambda t, x, y: t / (x + 1.0))
sin = unary("sin", "sin x (radians)", lambda t, x, y: t * cos(x))
cos = unary("cos", "cos x (radians)", lambda t, x, y: -t * sin(x))
tan = unary("tan", "tan x (radians)", lambda t, x, y: t * (y * y + 1.0), (-1,))
asin = unary("asin", "arcsin x", lambda t, x, y: t * rsqrt(1.0 - x * x), aliases=("arcsin",))
acos = unary("acos", "arccos x", lambda t, x, y: -t * rsqrt(1.0 - x * x), aliases=("arccos",))
atan = unary("atan", "arctan x", lambda t, x, y: t / (x * x + 1.0), aliases=("arctan",))
sinh = unary("sinh", "(e**x - e**-x) / 2", lambda t, x, y: t * cosh(x))
cosh = unary("cosh", "(e**x + e**-x) / 2", lambda t, x, y: t * sinh(x))
tanh = unary("tanh", "(e**x - e**-x) / (e**x + e**-x)", lambda t, x, y: t * (1.0 - y * y), (-1,))
asinh = unary("asinh", "ln(x + sqrt(x**2 + 1))", lambda t, x, y: t * rsqrt(x * x + 1.0))
acosh = unary(
    "acosh",
    "ln(x + sqrt(x**2 - 1))",
    lambda t, x, y: t * rsqrt(x * x - 1.0),
    example="tg.acosh(tg.tensor([1.0]))\n    tensor([0.])",
)
atanh = unary("atanh", "ln((1 + x) / (1 - x)) / 2", lambda t, x, y: t / (1.0 - x * x))
erf = unary("erf", "the error function of x", lambda t, x, y: t * exp(-(x * x)) * _C)
erfc = unary("erfc", "1 - erf(x), without cancellation", lambda t, x, y: t * exp(-(x * x)) * -_C)
floor = unary("floor", "the largest integer <= x", None, ())
ceil = unary("ceil", "the smallest integer >= x", None, ())
trunc = unary("trunc", "x without its fraction", None, (), aliases=("fix",))
round = unary("round", "the nearest integer, ties to even", None, ())
sigmoid = unary("sigmoid", "1 / (1 + e**-x)", lambda t, x, y: t * y * (1.0 - y), (-1,))
relu = unary(
    "relu",
    "max(x, 0)",
    lambda t, x, y: _positive(t, y),
    (-1,),
    source="Nair and Hinton, 2010",
    example="tg.relu(tg.tensor([-1.0, 2.0]))\n    tensor([0., 2.])",
)
leaky_relu = unary(
    "leaky_relu",
    "x where x > 0, else negative_slope * x",
    lambda t, x, y, a: where(x > 0, t, t * a),
    extra=["negative_slope=0.01"],
    source="Maas et al., 2013",
)
elu = unary(
    "elu",
    "x where x > 0, else alpha * (e**x - 1)",
    lambda t, x, y, a: where(x > 0, t, t * exp(minimum(x, 0.0)) * a),
    extra=["alpha=1.0"],
    source="Clevert et al., 2015",
)
softplus = unary(
    "softplus",
    "ln(1 + e**(beta x)) / beta, and x itself where beta x > threshold",
    lambda t, x, y, b, h: where(x * b > h, t, t * sigmoid(x * b)),
    extra=["beta=1.0", "threshold=20.0"],
    source="Dugas et al., 2001",
)
gelu = unary(
    "gelu",
    "x * Phi(x), Phi the normal distribution function",
    lambda t, x, y: t * (erf(x * _R) * 0.5 + 0.5 + x * exp(x * x * -0.5) * _PDF),
    source="Hendrycks and Gimpel, 2016",
)
silu = unary(
    "silu",
    "x * sigmoid(x)",
    lambda t, x, y: t * sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))),
    source="Elfwing et al., 2017",
)
negative, absolute, fix = neg, abs, trunc
arcsin, arccos, arctan = asin, acos, atan

isnan = unary_bool("isnan", "Whether x is NaN")
isinf = unary_bool("isinf", "Whether x is +inf or -inf")
isfinite = unary_bool("isfinite", "Whether x is neither NaN nor infinite")
logical_not = unary_bool("logical_not", "Whether x is zero (false)")
signbit = unary_bool("signbit", "Whether x has its sign bit set")


def _clamp_derivative(t: Tensor, x: Tensor, y: Any, low: float, high: float) -> Tensor:
    return t * logical_and(x >= low, x <= high)


_CLAMP = elementwise("clamp", _clamp_derivative, saves=(0,))
_BETWEEN = elementwise(
    "clamp_between",
    lambda t, x, low, high, y: t * logical_and(x >= low, x <= high),
    lambda t, x, low, high, y: t * logical_and(x < low, low <= high),
    lambda t, x, low, high, y: t * logical_or(x > high, low > high),
    saves=(0, 1, 2),
)


def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max], element by element; NaN stays NaN.

    input: any shape and real dtype; min, max: numbers or tensors (broadcast), one may be None.
    The derivative is 1 inside the closed interval; outside it passes to the limit. Where min > max
    the result is max. Raises ValueError when both are None.

    >>> import tilegrad as tg
    >>> tg.clamp(tg.tensor([-2.0, 0.5, 3.0]), 0.0, 1.0)
    tensor([0. , 0.5, 1. ])
    """
    if min is None and max is None:
        raise TgValueError("clamp: min or max must be given")
    numbers = (int, float, type(None))
    if isinstance(min, numbers) and isinstance(max, numbers):
        x = real_operand("clamp", input, False)
        if dtypes.is_floating(x.dtype) or not any(isinstance(v, float) for v in (min, max)):
            limits = (-math.inf if min is None else min, math.inf if max is None else max)
            exact = all(math.isinf(v) or -(2**53) < v < 2**53 for v in limits)
            if exact:
                a = kernels.of(x._array).unary(_CLAMP_OP, x._array, *map(float, limits))
                return record(_CLAMP, a, (x,), tuple(map(float, limits)))
    if not dtypes.is_floating(result_type(*(v for v in (input, min, max) if v is not None))):
        y = input if min is None else maximum(input, min)
        return y if max is None else minimum(y, max)
    x, low, high = promote(
        "clamp", input, -math.inf if min is None else min, math.inf if max is None else max
    )
    y = minimum(maximum(x.detach(), low.detach()), high.detach())
    return record(_BETWEEN, y._array, (x, low, high))


_CLAMP_OP = contract.UNARY.index("clamp")
clip = clamp


def clamp_min(input: Any, min: Any) -> Tensor:
    """x limited from below by min, a number or a tensor: clamp(x, min).

    >>> import tilegrad as tg
    >>> tg.clamp_min(tg.tensor([-2.0, 0.5]), 0.0)
    tensor([0. , 0.5])
    """
    return clamp(input, min)


def clamp_max(input: Any, max: Any) -> Tensor:
    """x limited from above by max, a number or a tensor: clamp(x, None, max).

    >>> import tilegrad as tg
    >>> tg.clamp_max(tg.tensor([-2.0, 0.5]), 0.0)
    tensor([-2.,  0.])
    """
    return clamp(input, None, max)


METHODS.update(clamp=clamp, clip=clamp, clamp_min=clamp_min, clamp_max=clamp_max)
for _fn in (clamp, clamp_min, clamp_max):
    add_inplace(f"{_fn.__name__}_", _fn)
add_inplace("clip_", clamp)


def bitwise_not(input: Any) -> Tensor:
    """~x, element by element: the complement of integers, the negation of bools.

    >>> import tilegrad as tg
    >>> tg.bitwise_not(tg.tensor([True, False]))
    tensor([False,  True])
    """
    (x,) = promote("bitwise_not", input)
    op = contract.UNARY.index("bitwise_not")
    return constant(kernels.of(x._array).unary(op, x._array))


METHODS.update(bitwise_not=bitwise_not, __invert__=bitwise_not, __neg__=neg, __abs__=abs)

__all__ = [
    "abs",
    "absolute",
    "acos",
    "acosh",
    "arccos",
    "arcsin",
    "arctan",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "bitwise_not",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clip",
    "cos",
    "cosh",
    "elu",
    "erf",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "fix",
    "floor",
    "gelu",
    "isfinite",
    "isinf",
    "isnan",
    "leaky_relu",
    "log",
    "log1p",
    "log2",
    "log10",
    "logical_not",
    "neg",
    "negative",
    "reciprocal",
    "relu",
    "round",
    "rsqrt",
    "sigmoid",
    "sign",
    "signbit",
    "silu",
    "sin",
    "sinh",
    "softplus",
    "sqrt",
    "square",
    "tan",
    "tanh",
    "trunc",
]  # fmt: skip
