"""Rows of the recurrent layers, each as the function of its input, states and weights."""

from typing import Any

from . import Arg, Case

_GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


def _call(kind: str, reverse: bool, lengths: list[int] | None) -> Any:
    def layer(*inputs: Any) -> Any:
        import tilegrad as tg
        from tilegrad.nn.recurrent_function import Recurrent

        x, h, *rest = inputs
        c = rest.pop(0) if kind == "lstm" else None
        w, u, b, v = rest if len(rest) == 4 else (*rest, None, None)
        n = None if lengths is None else tg.tensor(lengths)
        return Recurrent.apply(kind, reverse, n, x, h, c, w, u, b, v)

    return layer


def _row(
    name: str, kind: str, shape: tuple[int, int, int, int], bias: bool = True,
    reverse: bool = False, lengths: list[int] | None = None, layout: str = "C", **options: Any,
) -> Case:  # fmt: skip
    steps, batch, columns, units = shape
    rows = _GATES[kind] * units
    # Away from the kink of relu: everything is positive.
    low = 0.1 if kind == "relu" else -0.8
    args = [Arg((steps, batch, columns), low, 0.8, layout=layout), Arg((batch, units), low, 0.8)]
    if kind == "lstm":
        args.append(Arg((batch, units), low, 0.8))
    args += [Arg((rows, columns), low, 0.8), Arg((rows, units), low, 0.8)]
    if bias:
        args += [Arg((rows,), low, 0.8)] * 2
    return Case(name, "recurrent", tuple(args), reduction=4 * steps * (columns + units),
                call=_call(kind, reverse, lengths), **options)  # fmt: skip


_SMALL = (4, 3, 5, 6)
CASES = [_row(kind, kind, _SMALL) for kind in _GATES]
CASES += [_row(f"{kind}_reverse", kind, _SMALL, reverse=True) for kind in _GATES]
CASES += [_row(f"{kind}_lengths", kind, _SMALL, lengths=[4, 2, 1]) for kind in _GATES]
CASES += [
    _row("lstm_reverse_lengths", "lstm", _SMALL, reverse=True, lengths=[4, 3, 2]),
    _row("gru_without_bias", "gru", (3, 2, 4, 17), bias=False),
    _row("lstm_without_bias", "lstm", (3, 2, 4, 17), bias=False),
    _row("one_step", "gru", (1, 2, 3, 4)),
    _row("non_contiguous", "lstm", _SMALL, layout="transposed"),
    _row("empty_batch", "lstm", (3, 0, 4, 5)),
    _row("large_lstm", "lstm", (32, 32, 128, 256), bench=True, differentiable=False,
         flops=2.0 * 32 * 32 * 1024 * 384, bytes=4.0 * 1024 * 384),
    _row("large_gru", "gru", (32, 32, 128, 256), bench=True, differentiable=False,
         flops=2.0 * 32 * 32 * 768 * 384, bytes=4.0 * 768 * 384),
]  # fmt: skip
