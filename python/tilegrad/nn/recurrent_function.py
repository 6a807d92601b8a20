"""A recurrent layer over a whole sequence as one differentiable operation.

The kernel walks through time, and the gradients of the weights are one product over all steps.
Derivatives of the backward pass come from the same formulas written step by step with ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import kernels, ops, tape
from ..forward import alias, finish
from ..function import Context, Function
from ..grad_mode import enable_grad, mode
from ..kernels import contract
from ..tensor import Tensor
from . import functional as F

GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}


def _sum(a: Any, b: Any) -> Any:
    k = kernels.of(a)
    return k.binary(contract.BINARY.index("add"), a, b)


def _product(g: Any, x: Any) -> Any:
    """The sum over steps and samples of g x^T: (T, N, G), (T, N, K) -> (G, K)."""
    k, rows = kernels.of(g), g.shape[0] * g.shape[1]
    g, x = (a if a.flags.c_contiguous else k.copy(a, "C") for a in (g, x))
    return k.matmul(g.reshape(rows, g.shape[2]).T, x.reshape(rows, x.shape[2]))


def step_by_step(
    kind: str, reverse: bool, lengths: Tensor | None, x: Tensor, h: Tensor, c: Tensor | None,
    w: Tensor, u: Tensor, b: Tensor | None, v: Tensor | None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The layer written with ops: x (T, N, I), h and c (N, H), w, b of the input, u, v of h."""
    n = u.shape[1]
    times = range(x.shape[0])[::-1] if reverse else range(x.shape[0])
    states: list[Tensor] = [h] * x.shape[0]
    for t in times:
        a, s = F.linear(x[t], w, b), F.linear(h, u, v)
        if kind == "gru":
            r, z = (a[:, : 2 * n] + s[:, : 2 * n]).sigmoid().split(n, 1)
            new = (a[:, 2 * n :] + r * s[:, 2 * n :]).tanh()
            state, cell = (1.0 - z) * new + z * h, c
        elif c is not None:
            i, f, g, o = (a + s).split(n, 1)
            cell = f.sigmoid() * c + i.sigmoid() * g.tanh()
            state = o.sigmoid() * cell.tanh()
        else:
            state, cell = ((a + s).tanh() if kind == "tanh" else (a + s).relu()), c
        if lengths is not None:
            live = (lengths > t).unsqueeze(1)
            state = ops.where(live, state, h)
            if c is not None:
                cell = ops.where(live, cell, c)  # type: ignore[arg-type]
        h, c = state, cell
        states[t] = h
    y = ops.stack(states)
    return (y, c) if c is not None else (y,)


class Recurrent(Function):
    """apply(kind, reverse, lengths, x, h0, c0, w, u, b, v): the states (T, N, H) and, for the LSTM,
    the last cell state; arguments as for step_by_step."""

    @staticmethod
    def forward(
        ctx: Context, kind: str, reverse: bool, lengths: Tensor | None, x: Tensor, h0: Tensor,
        c0: Tensor | None, w: Tensor, u: Tensor, b: Tensor | None, v: Tensor | None,
    ) -> Any:  # fmt: skip
        k = kernels.of(x._array)
        op = contract.RECURRENT.index(kind)
        bias, own = (None if t is None else t._array for t in (b, v))
        if kind != "gru" and bias is not None and own is not None:
            bias = _sum(bias, own)  # the two meet in one sum
        first = None if c0 is None else c0._array
        valid = None if lengths is None else lengths._array
        own = own if kind == "gru" else None
        h, c, saved = k.recurrent(
            op, x._array, w._array, bias, h0._array, first, u._array, own, valid, reverse
        )
        state: Any = ctx
        state.call = (kind, op, reverse, valid, c, saved)
        y = tape.new_tensor(h)
        ctx.save_for_backward(x, h0, c0, w, u, b, v, y)
        if c is None:
            return y
        return y, tape.new_tensor(k.copy(c[0 if reverse else -1]))

    @staticmethod
    def backward(ctx: Context, gh: Tensor, gc: Tensor | None = None) -> Any:
        kind, op, reverse, valid, c, saved = ctx.call  # type: ignore[attr-defined]
        x, h0, c0, w, u, b, v, y = ctx.saved_tensors
        if mode.enabled:
            lengths = None if valid is None else tape.new_tensor(valid)
            return (
                None,
                None,
                None,
                *_recorded(kind, reverse, lengths, (x, h0, c0, w, u, b, v), (gh, gc)),
            )
        k = kernels.of(gh._array)
        first, last = None if c0 is None else c0._array, None if gc is None else gc._array
        gates, hidden, gh0, gc0 = k.recurrent_grad(
            op, gh._array, last, y._array, c, saved, h0._array, first, u._array, valid, reverse
        )
        hidden = gates if hidden is None else hidden
        h, start = y._array, h0._array[None]
        before = k.concatenate([h[1:], start] if reverse else [start, h[:-1]], 0)
        needs = ctx.needs_input_grad[3:]
        gx = k.matmul(gates, w._array) if needs[0] else None
        gw = _product(gates, x._array) if needs[3] else None
        gu = _product(hidden, before) if needs[4] else None
        gb = k.reduce(0, gates, (0, 1), False) if needs[5] else None
        gv = None
        if needs[6]:
            gv = k.reduce(0, hidden, (0, 1), False) if kind == "gru" or gb is None else k.copy(gb)
        results = (gx, gh0, gc0, gw, gu, gb, gv)
        return None, None, None, *[None if a is None else tape.new_tensor(a) for a in results]


def _recorded(
    kind: str, reverse: bool, lengths: Tensor | None, inputs: Sequence[Tensor | None],
    cotangents: Sequence[Tensor | None],
) -> list[Tensor | None]:  # fmt: skip
    """The gradients as something that can be differentiated again."""
    with enable_grad():
        xs = [None if t is None else alias(t) for t in inputs]
        ys = step_by_step(kind, reverse, lengths, *xs)  # type: ignore[arg-type]
    pairs: Any = [(y._node, g) for y, g in zip(ys, cotangents, strict=False) if g is not None]
    targets: Any = [t._node for t in xs if t is not None]
    found = tape.run([n for n, _ in pairs], [g for _, g in pairs], targets, True, True)
    for t in xs:
        if t is not None:
            finish(t)
    return [None if t is None else found.get(t._node) for t in xs]  # type: ignore[arg-type]
