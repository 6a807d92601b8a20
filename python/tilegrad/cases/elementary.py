"""Rows of the element-wise compositions and the special functions."""

from typing import Any

from . import Arg, Case

_POSITIVE = (0.5, 2.5)


def _unary(name: str, low: float = -2.0, high: float = 2.0, **options: Any) -> list[Case]:
    return [
        Case("strided", name, (Arg((5, 7), low, high, layout="strided"),), **options),
        Case("empty", name, (Arg((0, 3), low, high),), **options),
        Case("zero_dim", name, (Arg((), low, high),), **options),
    ]


def _binary(name: str, a: tuple[float, float] = _POSITIVE, b: tuple[float, float] = _POSITIVE,
            **options: Any) -> list[Case]:  # fmt: skip
    return [
        Case("broadcast", name, (Arg((4, 1, 3), *a), Arg((5, 1), *b)), **options),
        Case("layouts", name,
             (Arg((4, 3), *a, layout="transposed"), Arg((4, 3), *b, layout="reversed")), **options),
    ]  # fmt: skip


_ROW, _COLUMN, _S = Arg((5,)), Arg((3, 1)), Arg((3, 5))
_NAMES = (("frac", 0.1, 0.9), ("sgn", 0.1, 2.0), ("positive", -2.0, 2.0), ("deg2rad", -2.0, 2.0),
          ("rad2deg", -2.0, 2.0), ("sinc", 0.1, 2.0), ("logit", 0.1, 0.9),
          ("nan_to_num", -2.0, 2.0), ("arccosh", 1.3, 3.0), ("erfinv", -0.9, 0.9))  # fmt: skip
CASES = [c for name, low, high in _NAMES for c in _unary(name, low, high)]
CASES += [c for name in ("lgamma", "digamma") for c in _unary(name, 0.4, 4.0)]
CASES += [
    Case("negative", "lgamma", (Arg((9,), -1.8, -1.2),)),
    Case("negative", "digamma", (Arg((9,), -1.8, -1.2),)),
    Case("trigamma", "polygamma", (Arg((9,), 0.4, 4.0),), call=lambda x: x.polygamma(1)),
    Case("negative", "polygamma", (Arg((9,), -0.8, -0.2),), call=lambda x: x.polygamma(2),
         half=False),
    Case("three", "mvlgamma", (Arg((9,), 1.5, 4.0),), {"p": 3}),
    Case("limited", "logit", (Arg((9,), 0.1, 0.9),), {"eps": 0.05}),
    Case("at_zero", "sinc", (Arg((3,)),), second=False, call=lambda x: (x * 0).sinc() + x),
    *_binary("xlogy", (-2.0, 2.0)), *_binary("logaddexp2"), *_binary("fmax", b=(3.0, 4.0)),
    *_binary("fmin", b=(3.0, 4.0)), *_binary("float_power"), *_binary("ldexp"),
    *_binary("heaviside"),
    Case("at_zero", "heaviside", (Arg((4,)), Arg((4,))), call=lambda x, v: (x * 0).heaviside(v)),
    Case("at_zero", "xlogy", (Arg((4,)), Arg((4,), *_POSITIVE)), second=False,
         call=lambda x, y: (x * 0).xlogy(y) + x),
    Case("scaled", "addcmul", (_S, _ROW, _COLUMN), {"value": 3}, exact=True),
    Case("plain", "addcdiv", (_S, _ROW, Arg((3, 1), *_POSITIVE))),
    Case("scaled", "addcdiv", (_S, _ROW, Arg((3, 1), *_POSITIVE)), {"value": -2}),
    Case("broadcast", "isclose", (_S, _ROW), differentiable=False),
    *[
        Case("finite", op, (_S,), differentiable=False)
        for op in ("isposinf", "isneginf", "isreal")
    ],
    *[
        Case("integers", op, (Arg((4, 5), 1, 30, "index"), Arg((5,), 1, 30, "index")), exact=True,
             differentiable=False, half=False)
        for op in ("gcd", "lcm")
    ],
    *_unary("frexp", 0.3, 0.45), Case("negative", "frexp", (Arg((7,), -7.9, -4.1),)),
    Case("towards", "nextafter", (_S, _ROW), differentiable=False),
    Case("rows", "renorm", (Arg((3, 5), 0.5, 2.0),), {"p": 2, "dim": 0, "maxnorm": 2.5},
         reduction=8),
    Case("order_three", "renorm", (Arg((2, 5, 3), 0.5, 2.0),), {"p": 3, "dim": -1, "maxnorm": 1.0},
         reduction=16),
    Case("edges", "histogram", (Arg((40,)),), {"bins": [-2.0, 0.0, 0.5, 2.0]}, differentiable=False,
         half=False),
    Case("weights", "histogram", (Arg((40,)), Arg((40,), 0.5, 2.0)), differentiable=False,
         half=False, call=lambda x, w: x.histogram(4, range=(-2.0, 2.0), weight=w, density=True)),
    Case("same", "allclose", (_S,), differentiable=False,
         call=lambda x: x * 0 + float(x.detach().allclose(x.detach()))),
    Case("same", "equal", (_S,), differentiable=False,
         call=lambda x: x * 0 + float(x.detach().equal(x.detach()))),
]  # fmt: skip
