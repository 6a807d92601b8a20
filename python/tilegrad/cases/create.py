"""Rows of the new tensors."""

from typing import Any

from . import Arg, Case


def _row(name: str, op: str, *inputs: Arg, **params: Any) -> Case:
    return Case(name, op, inputs, params, exact=True, differentiable=False, half=False)


def _sized(name: str, op: str, *size: int) -> Case:
    def call() -> Any:
        import tilegrad

        return getattr(tilegrad, op)(*size)

    return Case(name, op, (), exact=True, differentiable=False, half=False, call=call)


_S = Arg((2, 3))
CASES = [
    *[_sized("matrix", op, 2, 3) for op in ("zeros", "ones", "empty")],
    *[_sized("nothing", op, 2, 0) for op in ("zeros", "ones", "empty")],
    *[_row("as_matrix", op, _S) for op in ("zeros_like", "ones_like", "empty_like")],
    *[_row("bools", op, _S, dtype="bool") for op in ("zeros_like", "ones_like")],
    _row("number", "full", size=(2, 3), fill_value=2.5),
    _row("integers", "full", size=(), fill_value=-7),
    _row("as_matrix", "full_like", _S, fill_value=3),
    _row("step", "arange", start=1, end=8, step=3),
    _row("backwards", "arange", start=1.0, end=0.0, step=-0.25),
    _row("nothing", "arange", start=0),
    _row("both_ends", "linspace", start=-1, end=1, steps=5),
    _row("binary", "logspace", start=-1, end=3, steps=5, base=2.0),
    _row("single", "linspace", start=2, end=3, steps=1),
    _row("wide", "eye", n=2, m=3),
]
