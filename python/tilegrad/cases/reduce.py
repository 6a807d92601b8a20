"""Rows of the reductions."""

import math
from typing import Any

from . import Arg, Case

_S = (3, 4, 5)


def _rows(op: str, exact: bool, kind: str = "float", low: float = -2.0, high: float = 2.0,
          **options: Any) -> list[Case]:  # fmt: skip
    def row(name: str, arg: Arg, **params: Any) -> Case:
        return Case(name, op, (arg,), params, exact=exact, reduction=math.prod(arg.shape) or 1,
                    **options)  # fmt: skip

    def arg(shape: tuple, layout: str = "C") -> Arg:
        return Arg(shape, low, high, kind, layout)

    return [
        row("everything", arg(_S)),
        row("last_axis", arg(_S), dim=-1),
        row("first_axis_keepdim", arg(_S, "strided"), dim=0, keepdim=True),
        row("outer_axes", arg(_S, "transposed"), dim=(0, 2)),
        row("zero_dim", arg(())),
        row("reversed", arg((4, 37), "reversed"), dim=1),
    ]  # fmt: skip


CASES = (
    _rows("sum", True)
    + _rows("mean", False)
    + _rows("prod", True, low=0.5, high=1.5)
    + _rows("amax", True, "distinct")
    + _rows("amin", True, "distinct")
    + _rows("any", True, differentiable=False)
    + _rows("all", True, differentiable=False)
    + _rows("norm", False, low=0.5, high=2.0)
    + _rows("logsumexp", False)
)
CASES += [c for c in _rows("var", False) + _rows("std", False) if c.name != "zero_dim"]
CASES += [
    Case("empty", "sum", (Arg((0, 3)),), {"dim": 0}, exact=True),
    Case("empty", "prod", (Arg((2, 0)),), {"dim": 1}, exact=True),
    Case("axis_of_a_number", "sum", (Arg(()),), {"dim": -1, "keepdim": True}, exact=True),
    Case("nothing_reduced", "sum", (Arg((2, 3)),), {"dim": ()}, exact=True),
    Case("zeros", "prod", (Arg((2, 3)),), {"dim": 1},
         call=lambda x, dim: (x * 0).prod(dim) + x.sum()),
    Case("long_rows", "sum", (Arg((3, 1111)),), {"dim": 1}, exact=True, reduction=1111),
    Case("long_columns", "sum", (Arg((1111, 3)),), {"dim": 0}, exact=True, reduction=1111),
    Case("channels_last", "sum", (Arg((2, 3, 4, 5), layout="channels_last"),), {"dim": (0, 2, 3)},
         exact=True, reduction=40),
    Case("biased", "var", (Arg((4, 5)),), {"dim": 1, "correction": 0}, reduction=5),
    Case("along_axis", "var_mean", (Arg((4, 5)),), {"dim": 0}, reduction=5),
    Case("along_axis", "std_mean", (Arg((4, 5)),), {"dim": 0}, reduction=5),
    Case("p1", "norm", (Arg((4, 5), 0.2, 2.0),), {"p": 1, "dim": 1}, reduction=5),
    Case("p3", "norm", (Arg((4, 5), 0.2, 2.0),), {"p": 3, "dim": 1}, reduction=5, half=False),
    Case("inf", "norm", (Arg((4, 5), 0.2, 2.0, "distinct"),), {"p": math.inf, "dim": 1}),
    Case("origin", "norm", (Arg((3,)),), second=False, call=lambda x: (x * 0).norm() + x.sum()),
    Case("flat", "argmax", (Arg((4, 5), kind="distinct"),), exact=True, differentiable=False),
    Case("axis", "argmax", (Arg((4, 5), kind="distinct"),), {"dim": 0}, exact=True,
         differentiable=False),
    Case("axis", "argmin", (Arg((4, 5), kind="distinct"),), {"dim": 1, "keepdim": True},
         exact=True, differentiable=False),
    Case("axis", "count_nonzero", (Arg((4, 5)),), {"dim": 1}, exact=True, differentiable=False),
    Case("pair", "max", (Arg((4, 5), kind="distinct"),), {"dim": 1}, exact=True),
    Case("pair_keepdim", "min", (Arg((4, 5), kind="distinct"),), {"dim": 0, "keepdim": True},
         exact=True),
    Case("everything", "max", (Arg((4, 5), kind="distinct"),), exact=True),
    Case("everything", "min", (Arg((4, 5), kind="distinct"),), exact=True),
    Case("elementwise", "max", (Arg((4,), 0, 1), Arg((4,), 2, 3)), exact=True),
    Case("ties", "amax", (Arg((3, 4)),), {"dim": 1}, second=False,
         call=lambda x, dim: (x * 0).amax(dim) + x.sum()),
    Case("middle_axis", "cumsum", (Arg(_S),), {"dim": 1}, exact=True, reduction=4),
    Case("last_axis", "cumsum", (Arg((2, 37), layout="strided"),), {"dim": -1}, exact=True,
         reduction=37),
    Case("zero_dim", "cumsum", (Arg(()),), {"dim": 0}, exact=True),
    Case("middle_axis", "cumprod", (Arg(_S, 0.5, 1.5),), {"dim": 1}, exact=True, reduction=4),
    Case("single", "cumprod", (Arg((3, 1)),), {"dim": 1}, exact=True),
    Case("empty", "cumprod", (Arg((0, 3)),), {"dim": 0}, exact=True),
    Case("large", "sum", (Arg((1024, 1024)),), bench=True, differentiable=False, flops=2.0**20,
         bytes=2.0**22, reduction=2**20),
    Case("large_rows", "sum", (Arg((1024, 1024)),), {"dim": 1}, bench=True, differentiable=False,
         flops=2.0**20, bytes=2.0**22, reduction=1024),
    Case("large_columns", "sum", (Arg((1024, 1024)),), {"dim": 0}, bench=True,
         differentiable=False, flops=2.0**20, bytes=2.0**22, reduction=1024),
    Case("integers", "sum", (Arg((3, 40), 0, 9, "index"),), {"dim": 1}, exact=True,
         differentiable=False, half=False),
    Case("bool", "sum", (Arg((3, 40), kind="bool"),), {"dim": 1}, exact=True,
         differentiable=False, half=False),
    Case("integers", "prod", (Arg((3, 5), 1, 4, "index"),), {"dim": 1}, exact=True,
         differentiable=False, half=False),
]  # fmt: skip
