"""Rows of the random functions, whose stream starts anew for each call."""

from typing import Any

from ..ops import random
from . import Arg, Case

_SEED = 20241


def _seeded(fn: Any, *args: Any) -> Any:
    """fn(*x, *args, **params) on a stream of its own; the default generator is left as it was."""

    def call(*x: Any, **params: Any) -> Any:
        state = random.get_rng_state()
        random.manual_seed(_SEED)
        try:
            return fn(*x, *args, **params)
        finally:
            random.set_rng_state(state)

    return call


def _drawn(op: str, *args: Any) -> Case:
    fn = getattr(random, op)
    return Case("shape", op, (), call=_seeded(fn, *args), differentiable=False, half=False)


def _row(name: str, op: str, arg: Arg, *args: Any, **options: Any) -> Case:
    return Case(name, op, (arg,), call=_seeded(getattr(random, op), *args), **options)


CASES = [
    _row("half", "dropout", Arg((5, 7)), 0.5, exact=True),
    _row("third", "dropout", Arg((70, 3)), 0.3),
    _row("channels_last", "dropout", Arg((2, 3, 4, 5), layout="channels_last"), 0.5, exact=True),
    _row("everything", "dropout", Arg((5, 7)), 1.0, exact=True),
    _row("channels", "dropout1d", Arg((2, 9, 5)), 0.5, exact=True),
    _row("channels", "dropout2d", Arg((2, 9, 2, 3)), 0.5, exact=True),
    _row("channels", "dropout3d", Arg((2, 9, 2, 1, 3)), 0.5, exact=True),
    _row("odds", "bernoulli", Arg((40,), 0.0, 1.0), differentiable=False),
    *[_drawn(op, 5, 3) for op in ("rand", "randn")],
    _drawn("randint", -3, 9, (5, 3)),
    _drawn("randperm", 11),
    _drawn("normal", 2.0, 0.5, (5, 3)),
    _row("low_and_high", "randint_like", Arg((9,)), -3, 9, differentiable=False),
    _row("like", "rand_like", Arg((9,)), differentiable=False),
    Case("like", "randn_like", (Arg((9,)),), call=_seeded(random.randn_like), differentiable=False),
]
