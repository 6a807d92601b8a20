"""The parts of a training step, each captured: forward and backward, scaling back, the update."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import dtypes
from ..capturing import capture
from ..capturing.signature import flatten, rebuilt
from ..errors import GradientError
from ..errors import ValueError as TgValueError
from ..func import functional_call
from ..grad_mode import no_grad
from ..nn.module import Module
from ..nn.utils import clip_grad_norm_, get_total_norm
from ..tensor import Tensor, tensor

PRECISIONS = {None: None, "bfloat16": dtypes.bfloat16, "float16": dtypes.float16}


def each(fn: Callable[[Any], Any], x: Any) -> Any:
    """x, nested tuples, lists and dicts, with fn of each tensor in it."""
    leaves: list[Any] = []
    tree = flatten(x, leaves)
    return rebuilt(tree, iter([fn(v) if isinstance(v, Tensor) else v for v in leaves]))


class Scale:
    """The factor of the loss that keeps float16 gradients from vanishing: halved after a step with
    gradients that are not finite, which is skipped, and doubled after ``patience`` good ones
    (Micikevicius et al., 2018)."""

    patience = 2000

    def __init__(self) -> None:
        self.value, self.good = 2.0**16, 0

    def update(self, finite: bool) -> None:
        """Takes note of a step."""
        self.good = self.good + 1 if finite else 0
        if not finite:
            self.value /= 2
        elif self.good == self.patience:
            self.value, self.good = min(self.value * 2, 2.0**40), 0
        if self.value < 1.0:
            raise GradientError("Trainer: the gradients are not finite even without loss scaling")


class Steps:
    """What a Trainer runs per batch; each part is recorded once and replayed."""

    def __init__(
        self, model: Module, loss: Callable, optimizer: Any, accumulate: int,
        precision: str | None, clip: float | None, captured: bool,
    ) -> None:  # fmt: skip
        if precision not in PRECISIONS:
            raise TgValueError(
                f"Trainer: precision must be None, 'bfloat16' or 'float16', got {precision!r}"
            )
        if accumulate < 1 or accumulate != int(accumulate):
            raise TgValueError(f"Trainer: accumulate must be a positive int, got {accumulate}")
        if clip is not None and not clip > 0:
            raise TgValueError(f"Trainer: clip must be positive, got {clip}")
        half: Any = PRECISIONS[precision]
        self.accumulate, self.zero_grad = accumulate, optimizer.zero_grad
        self.scale = Scale() if precision == "float16" else None
        params = [p for g in optimizer.param_groups for p in g["params"]]

        def narrow(t: Any) -> Any:
            return t.to(half) if t.dtype == dtypes.float32 else t

        def wide(t: Any) -> Any:
            return t.float() if t.dtype == half else t

        # The weights stay float32: gradients pass through the casts and arrive in float32.
        def forward(*inputs: Any) -> Any:
            if half is None:
                return model(*inputs)
            once = {id(p): narrow(p) for p in model.parameters()}  # tied weights stay tied
            named = model.named_parameters(remove_duplicate=False)
            weights = {name: once[id(p)] for name, p in named}
            return each(wide, functional_call(model, weights, each(narrow, inputs)))

        def backward(factor: Any, *batch: Any) -> Any:
            out = forward(*batch[:-1])
            value = loss(out, batch[-1])
            (value if factor is None else value * factor).backward()
            return value.detach(), each(Tensor.detach, out)

        @no_grad()
        def unscale(factor: Any) -> Any:
            grads = [p.grad for p in params if p.grad is not None]
            for g in grads:
                g.mul_(factor)
            return get_total_norm(grads)

        def apply() -> None:
            if clip is not None:
                clip_grad_norm_(params, clip)
            optimizer.step()
            optimizer.zero_grad()

        def whole(*batch: Any) -> Any:
            result = backward(None, *batch)
            apply()
            return result

        def judge(*batch: Any) -> Any:
            out = forward(*batch[:-1])
            return loss(out, batch[-1]), out

        def wrapped(fn: Callable) -> Callable:
            return capture(fn, fallback=True) if captured else fn

        self._whole, self._backward, self._apply = wrapped(whole), wrapped(backward), wrapped(apply)
        self._unscale = wrapped(unscale)
        self.judge, self.forward = wrapped(judge), wrapped(forward)

    def train(self, batch: tuple[Any, ...], place: int, of: int) -> tuple[Any, Any, bool | None]:
        """Loss and outputs of a batch, the place-th of ``of`` whose gradients make one optimizer
        step; whether that step was taken, None before the last of them."""
        if of == 1 and self.scale is None:
            return *self._whole(*batch), True
        factor = (self.scale.value if self.scale else 1.0) / of
        value, out = self._backward(None if factor == 1.0 else tensor(factor), *batch)
        if place + 1 < of:
            return value, out, None
        if self.scale is not None:
            norm = self._unscale(tensor(1.0 / self.scale.value))
            finite = math.isfinite(norm.item())
            self.scale.update(finite)
            if not finite:
                self.zero_grad()
                return value, out, False
        self._apply()
        return value, out, True
