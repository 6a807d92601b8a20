"""Rows of the optimizers: the parameters after steps from a fresh state; the inputs, which stay as
they are, are the parameters and then their gradients."""

import math
from collections.abc import Callable
from typing import Any

from . import Arg, Case

_LENET = ((6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84),
          (10,))  # fmt: skip


def _steps(kind: str, count: int, options: dict[str, Any]) -> Callable:
    def call(*tensors: Any) -> Any:
        import tilegrad

        half = len(tensors) // 2
        params = [p.detach().clone() for p in tensors[:half]]
        for p, g in zip(params, tensors[half:], strict=True):
            p.grad = g
        optimizer = getattr(tilegrad.optim, kind)([{"params": params, **options}])
        for _ in range(count):
            optimizer.step()
        return params

    return call


def _clipped(*grads: Any, norm_type: float = 2.0) -> Any:
    import tilegrad

    params = [g.detach() for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = g.clone()
    norm = tilegrad.nn.utils.clip_grad_norm_(params, 1.5, norm_type)
    return [norm, *[p.grad for p in params]]


def _clip(name: str, *args: Arg, **options: Any) -> Case:
    count = math.prod(args[0].shape)
    return Case(name, "clip_grad_norm_", args, options, differentiable=False, reduction=count,
                bench=count > 1 << 20, bytes=20.0 * count, call=_clipped)  # fmt: skip


def _row(name: str, kind: str, layout: str = "C", grads: str = "C", **options: Any) -> Case:
    shapes: tuple[tuple[int, ...], ...] = ((3, 2, 4, 5), (7,), (), (0, 3), (33, 2))
    if layout == "channels_last":
        shapes = shapes[:1]
    elif layout != "C" or grads != "C":
        shapes = tuple(s for s in shapes if s)
    args = [Arg(s, grad=False, layout=x) for x in (layout, grads) for s in shapes]
    call = _steps(kind, 3, options)
    return Case(name, kind, tuple(args), differentiable=False, call=call)


def _timed(name: str, kind: str, shapes: tuple, passes: int, **options: Any) -> Case:
    """passes: over the memory of the parameters; two copy them, each state begins as zeros."""
    args = tuple(Arg(s, grad=False) for s in (*shapes, *shapes))
    moved = 4.0 * passes * sum(math.prod(s) for s in shapes)
    call = _steps(kind, 1, options)
    return Case(name, kind, args, differentiable=False, bench=True, bytes=moved, call=call)


CASES = [
    _row("plain", "SGD", lr=0.1),
    _row("momentum", "SGD", "C", "transposed", lr=0.1, momentum=0.9, dampening=0.2),
    _row("nesterov", "SGD", "strided", "reversed", momentum=0.9, nesterov=True, weight_decay=0.1),
    _row("l1_and_maximize", "SGD", lr=0.1, l1_decay=0.5, maximize=True),
    _row("channels_last", "SGD", "channels_last", lr=0.1, momentum=0.9),
    _row("plain", "Adam", lr=0.1),
    _row("amsgrad", "Adam", "reversed", "transposed", lr=0.1, amsgrad=True, weight_decay=0.1),
    _row("plain", "AdamW", "transposed", lr=0.1, weight_decay=0.1, l1_decay=0.1),
    _row("plain", "RMSprop", lr=0.1),
    _row("centered", "RMSprop", "C", "strided", lr=0.1, centered=True),
    _row("momentum", "RMSprop", lr=0.1, momentum=0.9),
    _row("centered_momentum", "RMSprop", lr=0.1, momentum=0.9, centered=True, maximize=True),
    _row("decay", "Adagrad", "strided", lr=0.1, lr_decay=0.1, initial_accumulator_value=0.5),
    _row("plain", "Adadelta", "C", "reversed", weight_decay=0.1),
    _row("plain", "Adamax", lr=0.1),
    _row("plain", "NAdam", lr=0.1),
    _row("decoupled", "NAdam", lr=0.1, weight_decay=0.1, decoupled_weight_decay=True),
    _row("unrectified", "RAdam", lr=0.1),
    _row("rectified", "RAdam", lr=0.1, betas=(0.9, 0.5)),
    _row("average", "ASGD", lr=0.1, t0=1),
    _row("plain", "Rprop", lr=0.1),
    _row("plain", "Lion", "transposed", "C", lr=0.1, weight_decay=0.1),
    _clip("euclidean", *[Arg(s, grad=False) for s in ((20, 3), (5,), (), (0, 3))]),
    _clip(
        "any_layout",
        Arg((4, 5, 6), grad=False, layout="transposed"),
        Arg((9, 7), grad=False, layout="strided"),
    ),
    _clip("largest", Arg((20, 3), grad=False), Arg((40_000,), grad=False), norm_type=float("inf")),
    _clip("one_large", Arg((1 << 21,), grad=False)),
    _timed("lenet", "SGD", _LENET, 8, momentum=0.9),
    _timed("lenet", "Adam", _LENET, 11),
    _timed("one_large", "SGD", ((1 << 21,),), 8, momentum=0.9),
    _timed("one_large", "Adam", ((1 << 21,),), 11),
]
