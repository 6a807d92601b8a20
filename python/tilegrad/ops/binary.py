"""The formula sheet of two variables: name, formula, derivatives (see ``elementwise``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError
from ..errors import ValueError as TgValueError
from ..kernels import contract
from ..tape import new_tensor
from ..tensor import Tensor
from .elementwise import METHODS, add_inplace, binary, compare, reflected
from .rules import (
    RULES,
    cast,
    convert,
    elementwise,
    promote,
    real_numbers,
    record,
    result_type,
    sum_to,
)


def _half_at_ties(better: Callable) -> tuple[Callable, Callable]:
    def d0(t: Tensor, a: Tensor, b: Tensor, y: Any) -> Tensor:
        return t * where(eq(a, b), 0.5, convert(better(a, b), t.dtype))

    def d1(t: Tensor, a: Tensor, b: Tensor, y: Any) -> Tensor:
        return t * where(eq(a, b), 0.5, convert(better(b, a), t.dtype))

    return d0, d1


_MUL = contract.BINARY.index("mul")


def _add_fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> tuple:
    shape, t, u = g._array.shape, None, None
    if need[0]:
        t = g if shape == nodes[0].shape else sum_to(g, nodes[0].shape)
    if need[1]:
        u = g if shape == nodes[1].shape else sum_to(g, nodes[1].shape)
    return t, u


def _mul_fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> tuple:
    a, t, u = g._array, None, None
    k, shape = kernels.of(a), a.shape
    if need[0]:
        t = new_tensor(k.binary(_MUL, a, saved[1]))
        if shape != nodes[0].shape:
            t = sum_to(t, nodes[0].shape)
    if need[1]:
        u = new_tensor(k.binary(_MUL, a, saved[0]))
        if shape != nodes[1].shape:
            u = sum_to(u, nodes[1].shape)
    return t, u


_add = binary("add", "a + b", lambda t, a, b, y: t, lambda t, a, b, y: t, (), fused=_add_fused)
_sub = binary("sub", "a - b", lambda t, a, b, y: t, lambda t, a, b, y: -t, ())
mul = binary(
    "mul",
    "a * b",
    lambda t, a, b, y: t * b,
    lambda t, a, b, y: t * a,
    dunder="mul",
    aliases=("multiply",),
    fused=_mul_fused,
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
floor_divide = binary("floor_divide", "unary.floor(a / b)", None, None, (), dunder="floordiv")
remainder = binary(
    "remainder",
    "a - b * unary.floor(a / b), with the sign of b",
    lambda t, a, b, y: t,
    lambda t, a, b, y: -t * unary.floor(a / b),
    dunder="mod",
)
fmod = binary(
    "fmod",
    "a - b * unary.trunc(a / b), with the sign of a",
    lambda t, a, b, y: t,
    lambda t, a, b, y: -t * unary.trunc(a / b),
)


def _flat(a: Tensor, b: Tensor) -> Tensor:
    """Where a**b stays 0 (or 1) as b changes."""
    return logical_and(eq(a, 0), ge(cast(b, dtypes.real_of(b.dtype)), 0))


def _square_radius(a: Tensor, b: Tensor) -> Tensor:
    """a**2 + b**2, and 1 at the origin, where the derivative of the angle is taken as zero."""
    r = a * a + b * b
    return where(eq(r, 0), 1.0, r)


_pow = binary(
    "pow",
    "a**b",
    # 0**0: the exponent of the derivative would be -1.
    lambda t, a, b, y: t * b * _pow(a, where(logical_and(eq(a, 0), eq(b, 0)), 1.0, b) - 1),
    lambda t, a, b, y: t * where(_flat(a, b), 0.0, y * unary.log(where(_flat(a, b), 1.0, a))),
    (0, 1, -1),
)
_LARGER, _SMALLER = _half_at_ties(lambda a, b: a > b), _half_at_ties(lambda a, b: a < b)
maximum = binary("maximum", "the larger of a and b (NaN wins)", *_LARGER)
minimum = binary("minimum", "the smaller of a and b (NaN wins)", *_SMALLER)
atan2 = binary(
    "atan2",
    "the angle of the point (b, a)",
    lambda t, a, b, y: t * b / _square_radius(a, b),
    lambda t, a, b, y: -t * a / _square_radius(a, b),
    floating=True,
    aliases=("arctan2",),
)
logaddexp = binary(
    "logaddexp",
    "ln(e**a + e**b), without overflow",
    lambda t, a, b, y: t * unary.sigmoid(a - b),
    lambda t, a, b, y: t * unary.sigmoid(b - a),
    floating=True,
)
copysign = binary(
    "copysign",
    "|a| with the sign of b",
    lambda t, a, b, y: t * unary.sign(a) * copysign(1.0, b),
    None,
    floating=True,
)


def _bitwise(name: str, symbol: str, dunder: str, aliases: Sequence[str] = ()) -> Callable:
    example = f"tg.{name}(tg.tensor([6]), 1).dtype\n    dtype('int64')"
    return binary(
        name, symbol, None, None, dunder=dunder, aliases=aliases, example=example, integer=True
    )


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
    return _scaled(_add, "add", input, other, alpha)


def sub(input: Any, other: Any, *, alpha: Any = 1) -> Tensor:
    """a - alpha * b, element by element, with broadcasting and type promotion.

    input, other: tensors, arrays or numbers of broadcastable shapes; alpha: a number. Raises
    ShapeError when the shapes do not broadcast.

    >>> import tilegrad as tg
    >>> tg.sub(tg.tensor([1.0, 2.0]), 10)
    tensor([-9., -8.])
    """
    return _scaled(_sub, "sub", input, other, alpha)


def _scaled(fn: Callable, op: str, input: Any, other: Any, alpha: Any) -> Tensor:
    if alpha != 1:
        input, other = promote(op, input, other)
        other = mul(other, alpha)
    return fn(input, other)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """a / b, element by element, with broadcasting; integers divide to floating numbers.

    rounding_mode: None, "floor" or "trunc". Raises ShapeError when the shapes do not broadcast.

    >>> import tilegrad as tg
    >>> tg.div(tg.tensor([7, 8]), 2)
    tensor([3.5, 4. ])
    """
    if rounding_mode is None:
        return _div(input, other)
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise TgValueError(f"div: rounding_mode is None, 'floor' or 'trunc', got {rounding_mode!r}")
    if dtypes.is_floating(result_type(input, other)):
        a, b = promote("div", input, other)
        y = unary.trunc(_div(a.detach(), b.detach()))
        return record(RULES["floor_divide"], y._array, (a, b))  # zero, also where b is
    return floor_divide(input - fmod(input, other), other)


def pow(input: Any, exponent: Any) -> Tensor:
    """a**b, element by element, with broadcasting and type promotion.

    input, exponent: tensors, arrays or numbers. Raises ValueError for negative powers of integers.

    >>> import tilegrad as tg
    >>> tg.pow(tg.tensor([1.0, 3.0]), 2)
    tensor([1., 9.])
    """
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)):
        if exponent == 2 and (isinstance(exponent, int) or dtypes.is_floating(input.dtype)):
            return unary.square(input)
        if exponent == 0.5 and dtypes.is_floating(input.dtype):
            return unary.sqrt(input)
        if exponent < 0 and isinstance(exponent, int) and input.dtype in dtypes.INTEGER:
            raise TgValueError(
                f"pow: {input.dtype} has no negative powers, got exponent {exponent}"
            )
        if input.dtype == dtypes.bool_ == result_type(input, exponent):
            return logical_or(input, unary.logical_not(exponent))
    return _pow(input, exponent)


for _name, _fn, _dunder in (("add", add, "add"), ("sub", sub, "sub"), ("pow", pow, "pow")):
    _core = {"add": _add, "sub": _sub, "pow": pow}[_name]
    METHODS[_name] = _fn
    METHODS[f"__{_dunder}__"] = _core
    METHODS[f"__r{_dunder}__"] = reflected(_core)
    _op = None if _name == "pow" else contract.BINARY.index(_name)
    add_inplace(_name + "_", _fn, _op)
    add_inplace(f"__i{_dunder}__", _core, _op)
METHODS["div"] = div
add_inplace("div_", div, contract.BINARY.index("div"))
subtract, divide, multiply, true_divide, arctan2 = sub, div, mul, _div, atan2
METHODS.update(subtract=sub, divide=div)


def _pos(input: Tensor) -> Tensor:
    return input


METHODS["__pos__"] = _pos

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
for _name, _fn in {
    "eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge, "not_equal": ne, "less": lt,
    "less_equal": le, "greater": gt, "greater_equal": ge,
}.items():  # fmt: skip
    add_inplace(_name + "_", _fn)


_WHERE = elementwise(
    "where",
    None,
    lambda t, c, a, b, y: where(c, t, 0.0),
    lambda t, c, a, b, y: where(c, 0.0, t),
    saves=(0,),
)


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """input where condition holds, else other; all three broadcast. where(condition) alone is
    nonzero(condition, as_tuple=True): the positions where it holds.

    condition: bool tensor; input, other: tensors, arrays or numbers, promoted to one dtype. Raises
    DTypeError when condition is not bool, ShapeError when shapes do not broadcast.

    >>> import tilegrad as tg
    >>> tg.where(tg.tensor([True, False]), tg.tensor([1.0, 2.0]), 0.0)
    tensor([1., 0.])
    """
    (c,) = promote("where", condition)
    if input is None and other is None:
        from .index import nonzero

        return nonzero(c, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where() takes (condition) or (condition, input, other)")
    if c.dtype != dtypes.bool_:
        raise DTypeError(f"where: condition must be bool, got {c.dtype}")
    a, b = promote("where", input, other)
    return record(_WHERE, kernels.of(a._array).where(c._array, a._array, b._array), (c, a, b))


def _where_method(self: Tensor, condition: Any, other: Any) -> Tensor:
    """This tensor where condition holds, else other."""
    return where(condition, self, other)


METHODS["where"] = _where_method


def lerp(input: Any, end: Any, weight: Any) -> Tensor:
    """input + weight * (end - input), element by element.

    >>> import tilegrad as tg
    >>> tg.lerp(tg.tensor([0.0, 1.0]), tg.tensor([10.0, 3.0]), 0.5)
    tensor([5., 2.])
    """
    return add(input, mul(weight, sub(end, input)))


_HYPOT = elementwise(
    "hypot", lambda t, a, b, y: t * a / y, lambda t, a, b, y: t * b / y, saves=(0, 1, -1)
)


def hypot(input: Any, other: Any) -> Tensor:
    """sqrt(a**2 + b**2), element by element, without overflow.

    >>> import tilegrad as tg
    >>> tg.hypot(tg.tensor([3.0]), tg.tensor([4.0]))
    tensor([5.])
    """
    a, b = (real_numbers("hypot", x) for x in promote("hypot", input, other, floating=True))
    size, rest = (unary.abs(x.detach()) for x in (a, b))
    size, rest = maximum(size, rest), minimum(size, rest)
    ratio = where(eq(size, rest), 1.0, rest / size)  # not inf / inf, nor 0 / 0
    far = logical_or(unary.isinf(a), unary.isinf(b))
    y = where(far, math.inf, size * unary.sqrt(ratio * ratio + 1.0))
    return record(_HYPOT, y._array, (a, b))


METHODS.update(lerp=lerp, hypot=hypot)
add_inplace("lerp_", lerp)

from . import unary  # noqa: E402  the two sheets use each other

__all__ = [
    "add", "arctan2", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "copysign", "div", "divide", "eq", "floor_divide",
    "fmod", "ge", "greater", "greater_equal", "gt", "hypot", "le", "left_shift", "lerp",
    "less", "less_equal", "logaddexp", "logical_and", "logical_or", "logical_xor", "lt",
    "maximum", "minimum", "mul", "multiply", "ne", "not_equal", "pow", "remainder",
    "right_shift", "sub", "subtract", "true_divide", "where",
]  # fmt: skip
