"""Rows of the activations that are made of other ops."""

from typing import Any

from . import Arg, Case

_SMOOTH = "selu mish logsigmoid softsign tanhshrink gaussian celu softmin glu".split()
_BELOW, _ABOVE = (-2.0, -0.1), (0.1, 2.0)
_PIECES: dict[str, tuple] = {
    "relu6": ((-2.0, -0.1), (0.1, 5.9), (6.1, 9.0)),
    "hardtanh": ((-3.0, -1.1), (-0.9, 0.9), (1.1, 3.0)),
    "hardsigmoid": ((-5.0, -3.1), (-2.9, 2.9), (3.1, 5.0)),
    "hardswish": ((-5.0, -3.1), (-2.9, 2.9), (3.1, 5.0)),
    "hardshrink": ((-2.0, -0.6), (-0.4, 0.4), (0.6, 2.0)),
    "softshrink": ((-2.0, -0.6), (-0.4, 0.4), (0.6, 2.0)),
    "threshold": (_BELOW, _ABOVE),
    "rrelu": (_BELOW, _ABOVE),
    "selu": (_BELOW, _ABOVE),
    "celu": (_BELOW, _ABOVE),
}
_PARAMS: dict[str, dict[str, Any]] = {
    "threshold": {"threshold": 0.0, "value": 3.0},
    "celu": {"alpha": 0.7},
    "softmin": {"dim": 1},
}


def _functional(name: str) -> Any:
    import tilegrad as tg

    return getattr(tg.nn.functional, name)


def _drawn(name: str) -> Any:
    def call(*args: Any, **params: Any) -> Any:
        import tilegrad as tg

        tg.manual_seed(11)
        return _functional(name)(*args, **params)

    return call


def _written(name: str) -> Any:
    """The in-place function on a copy, so that the leaf stays as it was."""

    def call(x: Any, *args: Any) -> Any:
        return _functional(name)(x * 1.0, *args)

    return call


CASES = [
    Case(f"piece_{i}", name, (Arg((19,), low, high),), _PARAMS.get(name, {}))
    for name, pieces in _PIECES.items()
    for i, (low, high) in enumerate(pieces)
]
CASES += [
    Case(reason, name, (arg,), _PARAMS.get(name, {}), reduction=8)
    for name in _SMOOTH
    if name not in ("selu", "celu")
    for reason, arg in (
        ("rows", Arg((5, 8), 0.05, 3.0)),
        ("negative_side", Arg((3, 6), -3.0, -0.05)),
        ("strided", Arg((4, 6), 0.05, 2.0, layout="strided")),
        ("empty", Arg((0, 4))),
    )
]
CASES += [
    Case("per_channel", "prelu", (Arg((3, 4, 2), *_BELOW), Arg((4,), 0.1, 0.5))),
    Case("one_slope", "prelu", (Arg((3, 4), *_BELOW), Arg((1,), 0.1, 0.5))),
    Case("positive_side", "prelu", (Arg((3, 4), *_ABOVE), Arg((4,), 0.1, 0.5))),
    Case("vector", "prelu", (Arg((5,), *_BELOW), Arg((1,), 0.1, 0.5))),
    Case("drawn", "rrelu", (Arg((4, 5), *_BELOW),), {"training": True}, call=_drawn("rrelu")),
    Case("middle_axis", "glu", (Arg((2, 6, 3)),), {"dim": 1}),
    Case("pairs", "maxout", (Arg((3, 6, 2), kind="distinct"),), {"pool_size": 2}, exact=True),
    Case("last_axis", "maxout", (Arg((3, 6), kind="distinct"),), {"pool_size": 3, "dim": -1},
         exact=True),
    Case("some_inside", "sparsemax", (Arg((4, 6), -1.5, 1.5),), reduction=6, half=False),
    Case("first_axis", "sparsemax", (Arg((5, 2), -0.2, 0.2),), {"dim": 0}, reduction=5,
         half=False),
    Case("relaxed", "gumbel_softmax", (Arg((4, 5)),), {"tau": 2.0}, reduction=8,
         call=_drawn("gumbel_softmax")),
    Case("hard", "gumbel_softmax", (Arg((4, 5)),), {"hard": True, "dim": 0}, reduction=8,
         differentiable=False, call=_drawn("gumbel_softmax")),
    *[
        Case("on_a_copy", name, (Arg((9,), 0.1, 0.9),), call=_written(name))
        for name in ("relu_", "elu_", "leaky_relu_", "hardtanh_", "rrelu_")
    ],
    Case("on_a_copy", "threshold_", (Arg((9,), 0.1, 0.9),),
         call=lambda x: _written("threshold_")(x, 0.5, 2.0)),
]  # fmt: skip
