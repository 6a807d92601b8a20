"""Element-wise functions: a formula sheet. Each row is a name, the formula, and the derivative as a
linear map of t (a cotangent or a tangent), written with tilegrad's own operators.

Public functions, docstrings, Tensor methods and in-place methods are made from the rows.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError
from ..kernels import contract
from ..tensor import Tensor
from .rules import constant, convert, elementwise, promote, record, result_type

__all__: list[str] = []
METHODS: dict[str, Callable] = {}
INPLACE: dict[str, Callable] = {}

_FUSED = {name: i for i, name in enumerate(contract.UNARY_GRAD)}
_INTEGER_TOO = {"neg", "abs", "sign", "square", "floor", "ceil", "trunc", "round", "relu", "clamp"}


def _publish(fn: Callable, name: str, doc: str, parameters: Sequence[str]) -> None:
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    params = []
    for p in parameters:
        label, _, default = p.partition("=")
        value = eval(default) if default else inspect.Parameter.empty
        params.append(
            inspect.Parameter(label, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=value)
        )
    fn.__signature__ = inspect.Signature(params)  # type: ignore[attr-defined]
    __all__.append(name)
    METHODS[name] = fn


def _alias(fn: Callable, aliases: Sequence[str]) -> None:
    for alias in aliases:
        METHODS[alias] = fn
        __all__.append(alias)


def _example(call: str) -> str:
    return f"    >>> import tilegrad as tg\n    >>> {call}\n"


def _positive(t: Tensor, x: Tensor) -> Tensor:
    return t * (x > 0)


def unary(
    name: str,
    formula: str,
    derivative: Callable | None,
    saves: Sequence[int] = (0,),
    *,
    extra: Sequence[str] = (),
    source: str = "",
    example: str = "",
    aliases: Sequence[str] = (),
) -> Callable:
    """One row: y = f(x). derivative(t, x, y, *extra); saves (0,) is x, (-1,) is y."""
    op = contract.UNARY.index(name)
    fused = None
    if name in _FUSED:
        grad_op = _FUSED[name]
        which = saves[0]

        def fused(g: Tensor, inputs: Any, out: Any, params: Any) -> Tensor:
            v = out if which < 0 else inputs[0]
            k = kernels.of(g._array)
            return Tensor._new(k.unary_grad(grad_op, g._array, v._array, *(params or ())))

    rule = elementwise(name, derivative, saves=saves, fused=fused)
    floating = name not in _INTEGER_TOO

    if extra:
        names = [p.partition("=")[0] for p in extra]
        defaults = [eval(p.partition("=")[2]) for p in extra]

        def fn(input: Any, *args: Any, **kwargs: Any) -> Tensor:
            values = list(args) + [
                kwargs.pop(n, d) for n, d in list(zip(names, defaults, strict=True))[len(args) :]
            ]
            if kwargs or len(values) > len(names):
                raise TypeError(f"{name}() takes input, {', '.join(names)}")
            x = _operand(name, input, floating)
            params = tuple(float(v) for v in values)
            return record(rule, kernels.of(x._array).unary(op, x._array, *params), (x,), params)
    else:

        def fn(input: Any) -> Tensor:
            x = _operand(name, input, floating)
            return record(rule, kernels.of(x._array).unary(op, x._array), (x,))

    notes = "" if floating else " Integers are taken too."
    doc = (
        f"{formula}, element by element.\n\n"
        f"    input: any shape, floating (integers and bool are converted to the default floating\n"
        f"    dtype).{notes} The output has the shape and memory order of the input.\n"
        f"    Raises DTypeError for complex input.{' Source: ' + source + '.' if source else ''}\n\n"
        + _example(example or f"tg.{name}(tg.tensor([0.5])).shape\n    (1,)")
    )
    _publish(fn, name, doc, ["input", *extra])
    _alias(fn, aliases)
    if not extra:
        INPLACE[name + "_"] = fn
    return fn


def _operand(op: str, x: Any, floating: bool) -> Tensor:
    if isinstance(x, Tensor):
        d = x._array.dtype
        if d in dtypes.FLOATING or (not floating and d in dtypes.INTEGER):
            return x
    (x,) = promote(op, x, floating=floating or result_type(x) == dtypes.bool_)
    if x.dtype.kind == "c":
        raise DTypeError(f"{op}: expects a real tensor, got {x.dtype}")
    return x


_R = math.sqrt(0.5)
_C = 2.0 / math.sqrt(math.pi)
_LN2, _LN10 = math.log(2.0), math.log(10.0)
_PDF = 1.0 / math.sqrt(2.0 * math.pi)

neg = unary("neg", "-x", lambda t, x, y: -t, (), aliases=("negative",))
abs = unary("abs", "|x|", lambda t, x, y: t * sign(x), aliases=("absolute",))
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


def _clamp_derivative(t: Tensor, x: Tensor, y: Any, low: float, high: float) -> Tensor:
    return t * logical_and(x >= low, x <= high)


_CLAMP = elementwise("clamp", _clamp_derivative, saves=(0,))


def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """x limited to [min, max], element by element; NaN stays NaN.

    input: any shape and real dtype; min, max: numbers or tensors (broadcast), one may be None.
    The derivative is 1 inside the closed interval, else 0. Raises ValueError when both are None.

    >>> import tilegrad as tg
    >>> tg.clamp(tg.tensor([-2.0, 0.5, 3.0]), 0.0, 1.0)
    tensor([0. , 0.5, 1. ])
    """
    from ..errors import ValueError as TgValueError

    if min is None and max is None:
        raise TgValueError("clamp: min or max must be given")
    numbers = (int, float, type(None))
    if isinstance(min, numbers) and isinstance(max, numbers):
        x = _operand("clamp", input, False)
        if dtypes.is_floating(x.dtype) or not any(isinstance(v, float) for v in (min, max)):
            limits = (-math.inf if min is None else min, math.inf if max is None else max)
            exact = all(math.isinf(v) or -(2**53) < v < 2**53 for v in limits)
            if exact:
                a = kernels.of(x._array).unary(_CLAMP_OP, x._array, *map(float, limits))
                return record(_CLAMP, a, (x,), tuple(map(float, limits)))
    y = input if min is None else maximum(input, min)
    return y if max is None else minimum(y, max)


_CLAMP_OP = contract.UNARY.index("clamp")
clip = clamp
METHODS.update(clamp=clamp, clip=clamp)
__all__ += ["clamp", "clip"]


negative, absolute, fix = neg, abs, trunc
arcsin, arccos, arctan = asin, acos, atan


def _unary_bool(name: str, formula: str) -> Callable:
    op = contract.UNARY_BOOL.index(name)

    def fn(input: Any) -> Tensor:
        (x,) = promote(name, input)
        return constant(kernels.of(x._array).unary_bool(op, x._array))

    doc = (
        f"{formula}, element by element, as a bool tensor of the same shape.\n\n"
        "    input: any shape and real dtype. No gradient passes.\n\n"
        + _example(f"tg.{name}(tg.tensor([1.0])).dtype\n    dtype('bool')")
    )
    _publish(fn, name, doc, ["input"])
    return fn


isnan = _unary_bool("isnan", "Whether x is NaN")
isinf = _unary_bool("isinf", "Whether x is +inf or -inf")
isfinite = _unary_bool("isfinite", "Whether x is neither NaN nor infinite")
logical_not = _unary_bool("logical_not", "Whether x is zero (false)")
signbit = _unary_bool("signbit", "Whether x has its sign bit set")


def binary(
    name: str,
    formula: str,
    d0: Callable | None,
    d1: Callable | None,
    saves: Sequence[int] = (0, 1),
    *,
    floating: bool = False,
    dunder: str = "",
    aliases: Sequence[str] = (),
    example: str = "",
) -> Callable:
    """One row: y = f(a, b) with broadcasting. d0(t, a, b, y) and d1 are the partial derivatives."""
    op = contract.BINARY.index(name)
    rule = elementwise(name, d0, d1, saves=saves)

    def fn(input: Any, other: Any) -> Tensor:
        if (
            isinstance(input, Tensor)
            and isinstance(other, Tensor)
            and (d := input._array.dtype) is other._array.dtype
            and (not floating or d.kind == "f")
        ):
            a, b = input, other
        else:
            a, b = promote(name, input, other, floating=floating)
        x = a._array
        return record(rule, kernels.of(x).binary(op, x, b._array), (a, b))

    doc = (
        f"{formula}, element by element, with broadcasting and type promotion.\n\n"
        "    input, other: tensors, arrays or numbers of broadcastable shapes. The output has the\n"
        "    broadcast shape and the promoted dtype"
        + (" (floating)" if floating else "")
        + ". Raises ShapeError when the shapes do not broadcast.\n\n"
        + _example(example or f"tg.{name}(tg.tensor([3.0, 4.0]), 2.0).shape\n    (2,)")
    )
    _publish(fn, name, doc, ["input", "other"])
    _alias(fn, aliases)
    INPLACE[name + "_"] = fn
    if dunder:
        METHODS[f"__{dunder}__"] = fn
        METHODS[f"__r{dunder}__"] = lambda self, other: fn(other, self)
        INPLACE[f"__i{dunder}__"] = fn
    return fn


def _half_at_ties(better: Callable) -> tuple[Callable, Callable]:
    def d0(t: Tensor, a: Tensor, b: Tensor, y: Any) -> Tensor:
        return t * where(eq(a, b), 0.5, convert(better(a, b), t.dtype))

    def d1(t: Tensor, a: Tensor, b: Tensor, y: Any) -> Tensor:
        return t * where(eq(a, b), 0.5, convert(better(b, a), t.dtype))

    return d0, d1


_add = binary("add", "a + b", lambda t, a, b, y: t, lambda t, a, b, y: t, ())
_sub = binary("sub", "a - b", lambda t, a, b, y: t, lambda t, a, b, y: -t, ())
mul = binary(
    "mul",
    "a * b",
    lambda t, a, b, y: t * b,
    lambda t, a, b, y: t * a,
    dunder="mul",
    aliases=("multiply",),
    example="tg.mul(tg.tensor([3.0, 4.0]), 2.0)\n    tensor([6., 8.])",
)
_div = binary(
    "div",
    "a / b",
    lambda t, a, b, y: t / b,
    lambda t, a, b, y: -t * y / b,
    (1, -1),
    floating=True,
    dunder="truediv",
    aliases=("true_divide",),
)
floor_divide = binary("floor_divide", "floor(a / b)", None, None, (), dunder="floordiv")
remainder = binary(
    "remainder",
    "a - b * floor(a / b), with the sign of b",
    lambda t, a, b, y: t,
    lambda t, a, b, y: -t * floor(a / b),
    dunder="mod",
)
fmod = binary(
    "fmod",
    "a - b * trunc(a / b), with the sign of a",
    lambda t, a, b, y: t,
    lambda t, a, b, y: -t * trunc(a / b),
)
_pow = binary(
    "pow",
    "a**b",
    lambda t, a, b, y: t * where(eq(b, 0), 0.0, b * _pow(a, b - 1)),
    lambda t, a, b, y: t * where(eq(a, 0), 0.0, y * log(where(eq(a, 0), 1.0, a))),
    (0, 1, -1),
)
_LARGER, _SMALLER = _half_at_ties(lambda a, b: a > b), _half_at_ties(lambda a, b: a < b)
maximum = binary("maximum", "the larger of a and b (NaN wins)", *_LARGER)
minimum = binary("minimum", "the smaller of a and b (NaN wins)", *_SMALLER)
atan2 = binary(
    "atan2",
    "the angle of the point (b, a)",
    lambda t, a, b, y: t * b / (a * a + b * b),
    lambda t, a, b, y: -t * a / (a * a + b * b),
    floating=True,
    aliases=("arctan2",),
)
logaddexp = binary(
    "logaddexp",
    "ln(e**a + e**b), without overflow",
    lambda t, a, b, y: t * sigmoid(a - b),
    lambda t, a, b, y: t * sigmoid(b - a),
    floating=True,
)
copysign = binary(
    "copysign",
    "|a| with the sign of b",
    lambda t, a, b, y: t * sign(a) * copysign(1.0, b),
    None,
    floating=True,
)


def _bitwise(name: str, symbol: str, dunder: str, aliases: Sequence[str] = ()) -> Callable:
    example = f"tg.{name}(tg.tensor([6]), 1).dtype\n    dtype('int64')"
    return binary(name, symbol, None, None, (), dunder=dunder, aliases=aliases, example=example)


bitwise_and = _bitwise("bitwise_and", "a & b", "and")
bitwise_or = _bitwise("bitwise_or", "a | b", "or")
bitwise_xor = _bitwise("bitwise_xor", "a ^ b", "xor")
left_shift = _bitwise("left_shift", "a << b", "lshift", ("bitwise_left_shift",))
right_shift = _bitwise("right_shift", "a >> b", "rshift", ("bitwise_right_shift",))
bitwise_left_shift, bitwise_right_shift = left_shift, right_shift


def add(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """a + alpha * b, element by element, with broadcasting and type promotion.

    input, other: tensors, arrays or numbers of broadcastable shapes; alpha: a number. Raises
    ShapeError when the shapes do not broadcast.

    >>> import tilegrad as tg
    >>> tg.add(tg.tensor([1.0, 2.0]), 10)
    tensor([11., 12.])
    """
    return _add(input, other if alpha == 1 else mul(other, alpha))


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """a - alpha * b, element by element, with broadcasting and type promotion.

    input, other: tensors, arrays or numbers of broadcastable shapes; alpha: a number. Raises
    ShapeError when the shapes do not broadcast.

    >>> import tilegrad as tg
    >>> tg.sub(tg.tensor([1.0, 2.0]), 10)
    tensor([-9., -8.])
    """
    return _sub(input, other if alpha == 1 else mul(other, alpha))


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """a / b, element by element, with broadcasting; integers divide to floating numbers.

    rounding_mode: None, "floor" or "trunc". Raises ShapeError when the shapes do not broadcast.

    >>> import tilegrad as tg
    >>> tg.div(tg.tensor([7, 8]), 2)
    tensor([3.5, 4. ])
    """
    from ..errors import ValueError as TgValueError

    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise TgValueError(f"div: rounding_mode is None, 'floor' or 'trunc', got {rounding_mode!r}")
    if dtypes.is_floating(result_type(input, other)):
        return trunc(_div(input, other))
    return floor_divide(input - fmod(input, other), other)


def pow(input: Any, exponent: Any) -> Tensor:
    """a**b, element by element, with broadcasting and type promotion.

    input, exponent: tensors, arrays or numbers. Raises ValueError for negative powers of integers.

    >>> import tilegrad as tg
    >>> tg.pow(tg.tensor([1.0, 3.0]), 2)
    tensor([1., 9.])
    """
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)):
        if exponent == 2:
            return square(input)
        if exponent == 0.5 and dtypes.is_floating(input.dtype):
            return sqrt(input)
    return _pow(input, exponent)


for _name, _fn, _dunder in (("add", add, "add"), ("sub", sub, "sub"), ("pow", pow, "pow")):
    _core = {"add": _add, "sub": _sub, "pow": pow}[_name]
    METHODS[_name] = _fn
    METHODS[f"__{_dunder}__"] = _core
    METHODS[f"__r{_dunder}__"] = lambda self, other, _core=_core: _core(other, self)
    INPLACE[_name + "_"] = _fn
    INPLACE[f"__i{_dunder}__"] = _core
METHODS["div"] = INPLACE["div_"] = div
subtract, divide, multiply, true_divide, arctan2 = sub, div, mul, _div, atan2
METHODS.update(subtract=sub, divide=div, __neg__=neg, __abs__=abs)
METHODS["__pos__"] = lambda self: self
__all__ += ["divide", "subtract"]


def compare(name: str, formula: str, dunder: str = "", aliases: Sequence[str] = ()) -> Callable:
    """One row: a bool result through which no gradient passes."""
    op = contract.COMPARE.index(name)

    def fn(input: Any, other: Any) -> Tensor:
        a, b = promote(name, input, other)
        return constant(kernels.of(a._array).compare(op, a._array, b._array))

    doc = (
        f"Whether {formula}, element by element, with broadcasting, as a bool tensor.\n\n"
        "    input, other: tensors, arrays or numbers. No gradient passes. Raises ShapeError when\n"
        "    the shapes do not broadcast.\n\n"
        + _example(f"tg.{name}(tg.tensor([1, 2]), 2).dtype\n    dtype('bool')")
    )
    _publish(fn, name, doc, ["input", "other"])
    _alias(fn, aliases)
    if dunder:
        METHODS[f"__{dunder}__"] = fn
    return fn


eq = compare("eq", "a == b", "eq")
ne = compare("ne", "a != b", "ne", ("not_equal",))
lt = compare("lt", "a < b", "lt", ("less",))
le = compare("le", "a <= b", "le", ("less_equal",))
gt = compare("gt", "a > b", "gt", ("greater",))
ge = compare("ge", "a >= b", "ge", ("greater_equal",))
logical_and = compare("logical_and", "a and b are non-zero")
logical_or = compare("logical_or", "a or b is non-zero")
logical_xor = compare("logical_xor", "exactly one of a and b is non-zero")
not_equal, less, less_equal = ne, lt, le
greater, greater_equal = gt, ge


def bitwise_not(input: Any) -> Tensor:
    """~x, element by element: the complement of integers, the negation of bools.

    >>> import tilegrad as tg
    >>> tg.bitwise_not(tg.tensor([True, False]))
    tensor([False,  True])
    """
    (x,) = promote("bitwise_not", input)
    op = contract.UNARY.index("bitwise_not")
    return constant(kernels.of(x._array).unary(op, x._array))


METHODS["bitwise_not"] = METHODS["__invert__"] = bitwise_not

_WHERE = elementwise(
    "where",
    None,
    lambda t, c, a, b, y: where(c, t, 0.0),
    lambda t, c, a, b, y: where(c, 0.0, t),
    saves=(0,),
)


def where(condition: Any, input: Any, other: Any) -> Tensor:
    """input where condition holds, else other; all three broadcast.

    condition: bool tensor; input, other: tensors, arrays or numbers, promoted to one dtype. Raises
    DTypeError when condition is not bool, ShapeError when shapes do not broadcast.

    >>> import tilegrad as tg
    >>> tg.where(tg.tensor([True, False]), tg.tensor([1.0, 2.0]), 0.0)
    tensor([1., 0.])
    """
    (c,) = promote("where", condition)
    if c.dtype != dtypes.bool_:
        raise DTypeError(f"where: condition must be bool, got {c.dtype}")
    a, b = promote("where", input, other)
    return record(_WHERE, kernels.of(c._array).where(c._array, a._array, b._array), (c, a, b))


METHODS["where"] = lambda self, condition, other: where(condition, self, other)


def lerp(input: Any, end: Any, weight: Any) -> Tensor:
    """input + weight * (end - input), element by element.

    >>> import tilegrad as tg
    >>> tg.lerp(tg.tensor([0.0, 1.0]), tg.tensor([10.0, 3.0]), 0.5)
    tensor([5., 2.])
    """
    return add(input, mul(weight, sub(end, input)))


def hypot(input: Any, other: Any) -> Tensor:
    """sqrt(a**2 + b**2), element by element.

    >>> import tilegrad as tg
    >>> tg.hypot(tg.tensor([3.0]), tg.tensor([4.0]))
    tensor([5.])
    """
    a, b = promote("hypot", input, other, floating=True)
    return sqrt(a * a + b * b)


METHODS.update(lerp=lerp, hypot=hypot)
__all__ += ["bitwise_not", "hypot", "lerp", "where"]


def _inplace(name: str, fn: Callable) -> Callable:
    base = name.rstrip("_")

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self._writable(name, args):
            return self._rebind(convert(fn(self, *args, **kwargs), self.dtype))
        value = fn(self.detach() if self._node is not None else self, *args, **kwargs)
        if not _fits(value.dtype, self.dtype):
            raise DTypeError(f"{name}: the result has dtype {value.dtype}, which the tensor of "
                             f"{self.dtype} cannot hold")  # fmt: skip
        array = convert(value, self.dtype)._array
        kernels.of(self._array).copy_into(self._array, array)
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As ``{base}``, written into this tensor; returns it."
    return method


def _fits(source: Any, target: Any) -> bool:
    return dtypes.category(source) <= dtypes.category(target)


INPLACE.update(clamp_=clamp, clip_=clamp, lerp_=lerp)
METHODS.update({name: _inplace(name, fn) for name, fn in INPLACE.items()})
