"""Element-wise functions made of the kernels of ``unary.py`` and ``binary.py``, and comparisons of
whole tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from .. import dtypes
from ..errors import DTypeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .binary import (
    add,
    eq,
    gt,
    hypot,
    le,
    logaddexp,
    logical_and,
    logical_or,
    maximum,
    minimum,
    mul,
    pow,
    sub,
    true_divide,
    where,
)
from .complexes import sgn_complex
from .elementwise import METHODS as _ATTACHED
from .elementwise import add_inplace, real_operand
from .rules import as_operand, constant, convert, elementwise, promote, record, scalar
from .shape import clone
from .unary import (
    abs,
    acosh,
    asinh,
    atanh,
    exp2,
    isfinite,
    isinf,
    isnan,
    log,
    sign,
    signbit,
    sin,
    trunc,
)


# --- one variable ---------------------------------------------------------------------------------
def frac(input: Any) -> Tensor:
    """x - trunc(x), with the sign of x. input: floating. Raises DTypeError for integers.

    >>> import tilegrad as tg
    >>> tg.frac(tg.tensor([2.5, -1.25]))
    tensor([ 0.5 , -0.25])
    """
    x = as_operand(input, "frac")
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"frac: expects a floating tensor, got {x.dtype}")
    return sub(x, trunc(x))


def sgn(input: Any) -> Tensor:
    """-1, 0 or 1, element by element, and 0 for NaN; bool stays as it is. Of complex numbers
    z / |z|, and 0 at 0.

    >>> import tilegrad as tg
    >>> tg.sgn(tg.tensor([-3.0, 0.0]))
    tensor([-1.,  0.])
    """
    x = as_operand(input, "sgn")
    if x.dtype == dtypes.bool_:
        return clone(x)
    if x.dtype.kind == "c":
        return sgn_complex(x)
    return where(isnan(x), 0.0, sign(x)) if dtypes.is_floating(x.dtype) else sign(x)


def positive(input: Any) -> Tensor:
    """The tensor itself. Raises DTypeError for bool.

    >>> import tilegrad as tg
    >>> tg.positive(tg.tensor([-1.0]))
    tensor([-1.])
    """
    x = as_operand(input, "positive")
    if x.dtype == dtypes.bool_:
        raise DTypeError("positive: expects numbers, got bool")
    return x


def deg2rad(input: Any) -> Tensor:
    """Degrees as radians: x * pi / 180.

    >>> import tilegrad as tg
    >>> tg.deg2rad(tg.tensor([180.0]))
    tensor([3.1416])
    """
    return mul(real_operand("deg2rad", input, True), math.pi / 180.0)


def rad2deg(input: Any) -> Tensor:
    """Radians as degrees: x * 180 / pi.

    >>> import tilegrad as tg
    >>> tg.rad2deg(tg.tensor([0.0]))
    tensor([0.])
    """
    return mul(real_operand("rad2deg", input, True), 180.0 / math.pi)


def sinc(input: Any) -> Tensor:
    """sin(pi x) / (pi x), and 1 at x = 0, where the gradient is 0.

    >>> import tilegrad as tg
    >>> tg.sinc(tg.tensor([0.0, 0.5]))
    tensor([1.    , 0.6366])
    """
    x = real_operand("sinc", input, True)
    zero = eq(x, 0)
    z = mul(where(zero, 1.0, x), math.pi)
    return where(zero, 1.0, true_divide(sin(z), z))


_LOGIT = elementwise(
    "logit",
    lambda t, x, y: t / where(logical_and(x >= 0, x <= 1), x * (1.0 - x), math.nan),
    saves=(0,),
)


def logit(input: Any, eps: float | None = None) -> Tensor:
    """ln(x / (1 - x)), the inverse of sigmoid; NaN outside [0, 1].

    eps: limits x to [eps, 1 - eps] first, where the gradient outside is 0. Without it the gradient
    is inf at 0 and 1 and NaN outside.

    >>> import tilegrad as tg
    >>> tg.logit(tg.tensor([0.5, 0.75]))
    tensor([0.    , 1.0986])
    """
    x = real_operand("logit", input, True)
    if eps is not None:
        x = where(x < eps, eps, where(x > 1.0 - eps, 1.0 - eps, x))
    fixed = x.detach()
    return record(_LOGIT, log(true_divide(fixed, sub(1.0, fixed)))._array, (x,))


def nan_to_num(
    input: Any, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN replaced by nan, +inf by posinf, -inf by neginf; no gradient passes there.

    posinf, neginf: the largest and smallest finite number of the dtype unless given. Integers are
    copied.

    >>> import tilegrad as tg
    >>> tg.nan_to_num(tg.tensor([float("nan"), 2.0]))
    tensor([0., 2.])
    """
    x = as_operand(input, "nan_to_num")
    if not dtypes.is_floating(x.dtype):
        return clone(x)
    limit = ml_dtypes.finfo(x.dtype)
    high = float(limit.max) if posinf is None else posinf
    low = float(limit.min) if neginf is None else neginf
    y = where(isnan(x), scalar(nan or 0.0, x.dtype), x)
    y = where(eq(x, math.inf), scalar(high, x.dtype), y)
    return where(eq(x, -math.inf), scalar(low, x.dtype), y)


def isposinf(input: Any) -> Tensor:
    """Whether x is +inf, element by element.

    >>> import tilegrad as tg
    >>> tg.isposinf(tg.tensor([float("inf"), 1.0]))
    tensor([ True, False])
    """
    (x,) = promote("isposinf", input)
    return logical_and(isinf(x), gt(x, 0))


def isneginf(input: Any) -> Tensor:
    """Whether x is -inf, element by element.

    >>> import tilegrad as tg
    >>> tg.isneginf(tg.tensor([float("-inf"), 1.0]))
    tensor([ True, False])
    """
    (x,) = promote("isneginf", input)
    return logical_and(isinf(x), signbit(x))


def isreal(input: Any) -> Tensor:
    """Whether x is a real number, element by element: true for every real dtype.

    >>> import tilegrad as tg
    >>> tg.isreal(tg.tensor([1.0]))
    tensor([ True])
    """
    x = as_operand(input, "isreal")
    return constant(np.asarray(np.isreal(x._array)))


# --- two variables and more -----------------------------------------------------------------------
def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 * tensor2, element by element; all broadcast.

    >>> import tilegrad as tg
    >>> tg.addcmul(tg.ones(2), tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]), value=2)
    tensor([ 7., 17.])
    """
    product = mul(tensor1, tensor2)
    return add(input, product if value == 1 else mul(product, value))


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Tensor:
    """input + value * tensor1 / tensor2, element by element; all broadcast.

    Raises DTypeError where both tensor1 and tensor2 are integers.

    >>> import tilegrad as tg
    >>> tg.addcdiv(tg.ones(2), tg.tensor([1.0, 2.0]), tg.tensor([2.0, 4.0]))
    tensor([1.5, 1.5])
    """
    a, b = as_operand(tensor1, "addcdiv"), as_operand(tensor2, "addcdiv")
    if not (dtypes.is_floating(a.dtype) or dtypes.is_floating(b.dtype)):
        raise DTypeError(f"addcdiv: expects a floating tensor1 or tensor2, got {a.dtype}")
    ratio = true_divide(a, b)
    return add(input, ratio if value == 1 else mul(ratio, value))


def _xlogy_first(t: Tensor, a: Tensor, b: Tensor, y: Any) -> Tensor:
    skip = logical_and(eq(a, 0), le(b, 0))
    return where(skip, 0.0, mul(t, log(where(skip, 1.0, b))))


_XLOGY = elementwise(
    "xlogy", _xlogy_first, lambda t, a, b, y: true_divide(mul(t, a), b), saves=(0, 1)
)


def xlogy(input: Any, other: Any) -> Tensor:
    """a * ln(b), and 0 where a is 0 and b is no NaN.

    >>> import tilegrad as tg
    >>> tg.xlogy(tg.tensor([0.0, 2.0]), tg.tensor([0.0, 1.0]))
    tensor([0., 0.])
    """
    a, b = promote("xlogy", input, other, floating=True)
    p, q = a.detach(), b.detach()
    skip = logical_and(eq(p, 0), eq(isnan(q), False))
    y = where(skip, 0.0, mul(p, log(where(skip, 1.0, q))))
    return record(_XLOGY, y._array, (a, b))


_HEAVISIDE = elementwise("heaviside", None, lambda t, x, v, y: where(eq(x, 0), t, 0.0), saves=(0,))


def heaviside(input: Any, values: Any) -> Tensor:
    """0 below zero, 1 above, and values (broadcast) at zero; the gradient in input is 0.

    Raises DTypeError when the dtypes differ.

    >>> import tilegrad as tg
    >>> tg.heaviside(tg.tensor([-1.0, 0.0, 2.0]), tg.tensor(0.5))
    tensor([0. , 0.5, 1. ])
    """
    x, v = as_operand(input, "heaviside"), as_operand(values, "heaviside")
    if x.dtype != v.dtype:
        raise DTypeError(f"heaviside: expects one dtype, got {x.dtype} and {v.dtype}")
    y = where(eq(x, 0), v.detach(), convert(gt(x, 0), x.dtype))
    return record(_HEAVISIDE, y._array, (x, v))


def logaddexp2(input: Any, other: Any) -> Tensor:
    """log2(2**a + 2**b), without overflow.

    >>> import tilegrad as tg
    >>> tg.logaddexp2(tg.tensor([1.0]), tg.tensor([1.0]))
    tensor([2.])
    """
    a, b = promote("logaddexp2", input, other, floating=True)
    ln2 = math.log(2.0)
    return mul(logaddexp(mul(a, ln2), mul(b, ln2)), 1.0 / ln2)


def _ignoring_nan(name: str, word: str, better: Callable) -> Callable:
    def fn(input: Any, other: Any) -> Tensor:
        a, b = promote(name, input, other)
        if not dtypes.is_floating(a.dtype):
            return better(a, b)
        return where(isnan(a), b, where(isnan(b), a, better(a, b)))

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = (
        f"The {word} of a and b, element by element; a number wins over NaN.\n\n"
        f"    >>> import tilegrad as tg\n"
        f'    >>> tg.{name}(tg.tensor([float("nan")]), tg.tensor([2.0]))\n    tensor([2.])\n'
    )
    return fn


fmax = _ignoring_nan("fmax", "larger", maximum)
fmin = _ignoring_nan("fmin", "smaller", minimum)


def float_power(input: Any, exponent: Any) -> Tensor:
    """a**b in float64, element by element, whatever the dtypes of input and exponent.

    >>> import tilegrad as tg
    >>> tg.float_power(tg.tensor([2]), 0.5).dtype
    dtype('float64')
    """
    a, b = (convert(as_operand(x, "float_power"), dtypes.float64) for x in (input, exponent))
    return pow(a, b)


def ldexp(input: Any, other: Any) -> Tensor:
    """a * 2**b, element by element, in a floating dtype.

    >>> import tilegrad as tg
    >>> tg.ldexp(tg.tensor([1.5]), tg.tensor([3]))
    tensor([12.])
    """
    return mul(input, exp2(as_operand(other, "ldexp")))


def _whole(name: str, words: str, function: Callable, example: str) -> Callable:
    def fn(input: Any, other: Any) -> Tensor:
        a, b = promote(name, input, other)
        if a.dtype.kind not in "iu":
            raise DTypeError(f"{name}: expects integers, got {a.dtype}")
        return constant(np.asarray(function(a._array, b._array)))

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = (
        f"The {words} of integers, element by element. Raises DTypeError for other dtypes.\n\n"
        f"    >>> import tilegrad as tg\n    >>> tg.{name}(tg.tensor([4]), tg.tensor([6]))\n"
        f"    {example}\n"
    )
    return fn


gcd = _whole("gcd", "greatest common divisor", np.gcd, "tensor([2])")
lcm = _whole("lcm", "least common multiple", np.lcm, "tensor([12])")


def _frexp_slope(t: Tensor, x: Tensor, y: Tensor) -> Tensor:
    # y / x is the power of two taken off: exact, and 1 at zero.
    p, q = x.detach(), y.detach()
    zero = eq(p, 0)
    return mul(t, where(zero, 1.0, true_divide(q, where(zero, 1.0, p))))


_FREXP = elementwise("frexp", _frexp_slope, saves=(0, -1))


class Frexp(NamedTuple):
    """What frexp returns."""

    mantissa: Tensor
    exponent: Tensor


def frexp(input: Any) -> Frexp:
    """The mantissa, in +-[0.5, 1), and the exponent (int32) with input = mantissa * 2**exponent;
    zero, infinities and NaN are their own mantissa.

    input: floating. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.frexp(tg.tensor([6.0]))
    Frexp(mantissa=tensor([0.75]), exponent=tensor([3], dtype=int32))
    """
    x = as_operand(input, "frexp")
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"frexp: expects a floating tensor, got {x.dtype}")
    a = x._array.astype(np.float32) if x.dtype.itemsize == 2 else x._array
    m, n = np.frexp(a)
    y = record(_FREXP, np.asarray(m).astype(x.dtype), (x,))
    return Frexp(y, constant(np.asarray(n, np.int32)))


def nextafter(input: Any, other: Any) -> Tensor:
    """The number of the dtype that follows input in the direction of other, element by element.

    No gradient passes. Raises DTypeError for integers.

    >>> import tilegrad as tg
    >>> tg.nextafter(tg.tensor([1.0]), tg.tensor([2.0])) > 1.0
    tensor([ True])
    """
    a, b = promote("nextafter", input, other)
    if not dtypes.is_floating(a.dtype):
        raise DTypeError(f"nextafter: expects floating tensors, got {a.dtype}")
    return constant(np.asarray(np.nextafter(a._array, b._array)))


# --- whole tensors --------------------------------------------------------------------------------
def isclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """Whether |a - b| <= atol + rtol * |b|, element by element; equal infinities are close.

    rtol, atol: not negative. equal_nan: NaN is close to NaN. Raises DTypeError when the dtypes
    differ, ValueError for negative tolerances.

    >>> import tilegrad as tg
    >>> tg.isclose(tg.tensor([1.0, 2.0]), tg.tensor([1.000001, 2.1]))
    tensor([ True, False])
    """
    a, b = as_operand(input, "isclose"), as_operand(other, "isclose")
    if a.dtype != b.dtype:
        raise DTypeError(f"isclose: expects one dtype, got {a.dtype} and {b.dtype}")
    if rtol < 0 or atol < 0:
        raise TgValueError(f"isclose: expects rtol and atol >= 0, got {rtol} and {atol}")
    a, b = a.detach(), b.detach()
    same = eq(a, b)
    if not dtypes.is_floating(a.dtype):
        a, b = convert(a, dtypes.float64), convert(b, dtypes.float64)
    elif equal_nan:
        same = logical_or(same, logical_and(isnan(a), isnan(b)))
    error = abs(sub(a, b))
    near = le(error, add(mul(abs(b), float(rtol)), float(atol)))
    return logical_or(same, logical_and(near, isfinite(error)))


def allclose(
    input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether all elements are close: as isclose, as one Python bool.

    >>> import tilegrad as tg
    >>> tg.allclose(tg.tensor([1.0]), tg.tensor([1.0 + 1e-7]))
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements (NaN equals nothing).

    >>> import tilegrad as tg
    >>> tg.equal(tg.tensor([1, 2]), tg.tensor([1, 2]))
    True
    """
    a, b = as_operand(input, "equal"), as_operand(other, "equal")
    return a.shape == b.shape and bool(eq(a, b)._array.all())


_INPLACE = (
    addcdiv, addcmul, deg2rad, float_power, frac, gcd, heaviside, lcm, ldexp, logit, nan_to_num,
    nextafter, rad2deg, sgn, sinc, xlogy,
)  # fmt: skip
METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        *_INPLACE, allclose, equal, fmax, fmin, frexp, isclose, isneginf, isposinf, isreal,
        logaddexp2, positive,
    )
}  # fmt: skip
for _fn in _INPLACE:
    add_inplace(_fn.__name__ + "_", _fn)
for _alias, _name in (
    ("absolute", "abs"), ("arccos", "acos"), ("arccosh", "acosh"), ("arcsin", "asin"),
    ("arcsinh", "asinh"), ("arctan", "atan"), ("arctan2", "atan2"), ("arctanh", "atanh"),
    ("divide", "div"), ("fix", "trunc"), ("multiply", "mul"), ("negative", "neg"),
    ("subtract", "sub"), ("true_divide", "div"),
):  # fmt: skip
    METHODS[_alias + "_"] = _ATTACHED[_name + "_"]
METHODS.update(arccosh=acosh, arcsinh=asinh, arctanh=atanh)
add_inplace("hypot_", hypot)
arccosh, arcsinh, arctanh = acosh, asinh, atanh

__all__ = [
    "addcdiv", "addcmul", "allclose", "arccosh", "arcsinh", "arctanh", "deg2rad", "equal",
    "float_power", "fmax", "fmin", "frac", "frexp", "gcd", "heaviside", "isclose", "isneginf",
    "isposinf", "isreal", "lcm", "ldexp", "logaddexp2", "logit", "nan_to_num", "nextafter",
    "positive",
    "rad2deg", "sgn", "sinc", "xlogy",
]  # fmt: skip
