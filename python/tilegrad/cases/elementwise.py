"""Rows of the element-wise functions: each with its domain, then the shapes and layouts."""

from typing import Any

from . import Arg, Case

_DOMAIN = {
    "abs": (0.2, 2.0), "sign": (0.2, 2.0), "reciprocal": (0.5, 2.0), "sqrt": (0.3, 3.0),
    "rsqrt": (0.3, 3.0), "log": (0.2, 4.0), "log2": (0.2, 4.0), "log10": (0.2, 4.0),
    "log1p": (-0.6, 3.0), "tan": (-1.2, 1.2), "asin": (-0.8, 0.8), "acos": (-0.8, 0.8),
    "acosh": (1.3, 4.0), "atanh": (-0.8, 0.8), "floor": (0.1, 0.9), "ceil": (0.1, 0.9),
    "trunc": (0.1, 0.9), "round": (0.1, 0.4), "relu": (0.1, 2.0), "leaky_relu": (0.1, 2.0),
    "elu": (0.1, 2.0),
}  # fmt: skip
_UNARY = (
    "neg abs sign square reciprocal sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan "
    "asin acos atan sinh cosh tanh asinh acosh atanh erf erfc floor ceil trunc round sigmoid relu "
    "leaky_relu elu softplus gelu silu"
).split()
_EXACT = {"neg", "abs", "sign", "square", "floor", "ceil", "trunc", "round", "relu"}
_PARAMS = {"softplus": {"beta": 1.5, "threshold": 4.0}, "elu": {"alpha": 0.7}}
_KINKED = {"relu", "leaky_relu", "elu", "abs", "sign"}


def _unary(name: str) -> list[Case]:
    low, high = _DOMAIN.get(name, (-2.0, 2.0))
    params, exact = _PARAMS.get(name, {}), name in _EXACT

    def row(reason: str, *args: Arg) -> Case:
        return Case(reason, name, args, params, exact=exact)

    rows = [
        row("vector_tail", Arg((37,), low, high)),
        row("non_contiguous", Arg((5, 7), low, high, layout="strided")),
        row("empty", Arg((0, 3), low, high)),
        row("zero_dim", Arg((), low, high)),
    ]
    if name in _KINKED:
        rows.append(row("negative_side", Arg((19,), -2.0, -0.1)))
    if name in ("relu", "exp", "tanh", "gelu"):
        rows.append(
            Case("large", name, (Arg((1024, 1024)),), params, bench=True, second=False,
                 differentiable=False, flops=2.0**20, bytes=2.0**23)
        )  # fmt: skip
    return rows


def _binary(
    name: str, a: tuple[float, float], b: tuple[float, float], exact: bool = False, **options: Any
) -> list[Case]:
    def row(reason: str, x: Arg, y: Arg) -> Case:
        return Case(reason, name, (x, y), exact=exact, **options)

    return [
        row("same_shape", Arg((4, 9), *a), Arg((4, 9), *b)),
        row("broadcast_row", Arg((4, 9), *a), Arg((9,), *b)),
        row("broadcast_both", Arg((4, 1, 3), *a), Arg((5, 1), *b)),
        row("broadcast_scalar", Arg((17,), *a), Arg((), *b)),
        row(
            "mixed_layouts",
            Arg((6, 5), *a, layout="transposed"),
            Arg((6, 5), *b, layout="reversed"),
        ),
        row("empty", Arg((0, 3), *a), Arg((1, 3), *b)),
    ]


_ANY, _POSITIVE, _NEGATIVE = (-2.0, 2.0), (0.5, 2.5), (-2.5, -0.5)
_COMPARE = "eq ne lt le gt ge logical_and logical_or logical_xor".split()

CASES = [c for name in _UNARY for c in _unary(name)]
for _name, _exact in (("add", True), ("sub", True), ("mul", True)):
    CASES += _binary(_name, _ANY, _ANY, _exact)
CASES += _binary("div", _ANY, _POSITIVE)
CASES += _binary("true_divide", _ANY, _POSITIVE)
CASES += _binary("pow", _POSITIVE, _ANY)
CASES += _binary("atan2", _POSITIVE, _POSITIVE)
CASES += _binary("logaddexp", _ANY, _ANY)
CASES += _binary("copysign", _POSITIVE, _POSITIVE, True)
CASES += _binary("maximum", (0.0, 1.0), (1.5, 2.5), True)
CASES += _binary("minimum", (0.0, 1.0), (1.5, 2.5), True)
CASES += [
    Case("either_wins", name, (Arg((4, 9)), Arg((9,))), exact=False)
    for name in ("maximum", "minimum")
]
CASES += [
    Case(name, "copysign", (Arg((3, 5), *a), Arg((5,), *b)), exact=True)
    for name, a, b in (
        ("positive_to_negative", _POSITIVE, _NEGATIVE),
        ("negative_to_positive", _NEGATIVE, _POSITIVE),
    )
]
CASES += _binary("remainder", (2.6, 2.9), (0.9, 1.1), False)
CASES += _binary("fmod", (-2.9, -2.6), (0.9, 1.1), False)
CASES += _binary("floor_divide", (2.6, 2.9), (0.9, 1.1), True)
CASES += [c for n in _COMPARE for c in _binary(n, _ANY, _ANY, True, differentiable=False)]
CASES += [
    Case("large", n, (Arg((1024, 1024)), Arg((1024, 1024))), bench=True, differentiable=False,
         flops=2.0**20, bytes=3 * 2.0**22)
    for n in ("add", "mul")
]  # fmt: skip
CASES += [
    Case("large_bias", "add", (Arg((1024, 1024)), Arg((1024,))), bench=True, differentiable=False,
         flops=2.0**20, bytes=2.0**23),
    Case("negative_slope_below_zero", "leaky_relu", (Arg((19,), -2.0, -0.1),),
         {"negative_slope": -0.5}),
    Case("over_threshold", "softplus", (Arg((19,), 2.8, 3.9),), _PARAMS["softplus"]),
    Case("both_limits", "clamp", (Arg((31,), -0.4, 0.4),), {"min": -1, "max": 1}, exact=True),
    Case("low_limit", "clamp", (Arg((31,), -2.0, -1.5),), {"min": -1.0}, exact=True),
    Case("number", "clamp_min", (Arg((31,), -0.4, 0.4),), {"min": 0.1}, exact=True),
    Case("number", "clamp_max", (Arg((31,), -0.4, 0.4),), {"max": 0.1}, exact=True),
    Case("tensors", "clamp", (Arg((6,), -0.4, 0.4), Arg((6,), -2.0, -1.0), Arg((), 1.0, 2.0)),
         exact=True),
    Case("select", "where", (Arg((4, 9), kind="bool"), Arg((4, 9)), Arg((4, 9))), exact=True),
    Case("broadcast_three_ways", "where",
         (Arg((4, 1), kind="bool"), Arg((9,)), Arg((2, 1, 1), layout="strided")), exact=True),
    Case("between", "lerp", (Arg((8,)), Arg((8,)), Arg((8,)))),
    Case("legs", "hypot", (Arg((8,), *_POSITIVE), Arg((8,), *_POSITIVE))),
    Case("isnan", "isnan", (Arg((9,)),), exact=True, differentiable=False),
    Case("isinf", "isinf", (Arg((9,)),), exact=True, differentiable=False),
    Case("isfinite", "isfinite", (Arg((9,)),), exact=True, differentiable=False),
    Case("logical_not", "logical_not", (Arg((9,)),), exact=True, differentiable=False),
    Case("signbit", "signbit", (Arg((9,)),), exact=True, differentiable=False),
]  # fmt: skip
_INT = (0, 7)
CASES += [
    Case("integers", n, (Arg((4, 5), *_INT, kind="index"), Arg((5,), *_INT, kind="index")),
         exact=True, differentiable=False, half=False)
    for n in ("bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift", "add", "mul",
              "maximum")
]  # fmt: skip
CASES += [
    Case("complement", "bitwise_not", (Arg((4, 5), *_INT, kind="index"),), exact=True,
         differentiable=False, half=False)
]  # fmt: skip
