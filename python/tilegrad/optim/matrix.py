"""Optimizers that know rows and columns: Adafactor and Muon, composed of tensor operations."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..ops.rules import number
from .optimizer import Optimizer


class Adafactor(Optimizer):
    """Adam's scale from the means of g**2 over rows and over columns alone, without momentum: with
    r, c their averages by the share t**beta2_decay, v = r c / mean(r) (an average of g**2 itself
    where g has less than two axes) and u = g / sqrt(v), p -= a u / max(1, rms(u) / d), where
    a = max(eps[1], rms(p)) min(lr, 1 / sqrt(t)).

    eps: eps[0]**2 is the least v (None: the resolution of the dtype). weight_decay: as in AdamW.

    Source: Shazeer and Stern, 2018; arguments and defaults as in PyTorch.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[3.0, 4.0], [3.0, 4.0]], requires_grad=True)
    >>> optimizer = tg.optim.Adafactor([x], lr=0.5)
    >>> x.sum().backward()
    >>> optimizer.step()
    >>> [round(v, 4) for v in x[0].tolist()]
    [1.2322, 2.2322]
    """

    _unbounded = ("eps",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
                "weight_decay": weight_decay, "maximize": maximize,
            },
        )  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        if not number(group["beta2_decay"], "Adafactor", "beta2_decay") <= 0.0:
            raise TgValueError(
                f"Adafactor: beta2_decay must be at most 0, got {group['beta2_decay']}"
            )
        least, floor = group["eps"]
        if least is not None:
            number(least, "Adafactor", "eps[0]", 0.0)
        number(floor, "Adafactor", "eps[1]", 0.0)

    def _own(self, number: Any, name: str, value: Any, p: Any) -> Any:
        shape = [*p.shape]
        if name in ("row_var", "col_var"):
            shape[-1 if name == "row_var" else -2] = 1
            return self._copied(number, name, value, p, tuple(shape))
        return super()._own(number, name, value, p)

    def _step(self, p: Any, g: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        least, floor = group["eps"]
        least = dtypes.finfo(p.dtype).eps if least is None else least
        t = state.get("step", 0) + 1
        share = t ** group["beta2_decay"]
        rate = max(floor, _rms(p)) * min(group["lr"], 1.0 / math.sqrt(t))
        if group["weight_decay"]:
            p.mul_(1.0 - group["lr"] * group["weight_decay"])
        state["step"] = t
        if g.ndim > 1:
            rows = _moved(state, "row_var", g.square().mean(-1, keepdim=True), share)
            columns = _moved(state, "col_var", g.square().mean(-2, keepdim=True), share)
            v = (rows @ columns).div_(rows.mean(-2, keepdim=True).clamp_(min=least))
        else:
            v = _moved(state, "variance", g.square(), share).clone()
        u = v.clamp_(min=least * least).rsqrt_().mul_(g)
        p.sub_(u.mul_(rate / max(1.0, _rms(u) / group["d"])))


def _rms(x: Any) -> float:
    return math.sqrt(float(x.square().mean())) if x.numel() else 0.0


def _moved(state: dict[str, Any], name: str, value: Any, share: float) -> Any:
    """An average that begins at zero, moved by its share of the way to value."""
    average = state.get(name)
    if average is None:
        average = state[name] = value.mul(share)
    else:
        average.add_((value - average).mul_(share))
    return average


class Muon(Optimizer):
    """Descent along the orthogonal matrix nearest to the momentum: b += (1 - momentum) (g - b);
    p = (1 - lr weight_decay) p - r Q, Q found by ns_steps steps of Newton and Schulz' iteration
    X = a X + (b X X^T + c (X X^T)^2) X from b (from g moved towards b, with nesterov) scaled to
    norm 1. For matrices only; give vectors to another optimizer.

    ns_coefficients: (a, b, c). eps: the least norm. adjust_lr_fn: r is lr sqrt(max(1, rows /
    columns)) ("original", or None), or 0.2 lr sqrt(max(rows, columns)) ("match_rms_adamw").

    Source: Jordan et al., 2024; Liu et al., 2025; arguments and defaults as in PyTorch, which
    iterates in bfloat16, here in the dtype of the parameter, at least float32.

    >>> import tilegrad as tg
    >>> x = tg.zeros(2, 2, requires_grad=True)
    >>> optimizer = tg.optim.Muon([x], lr=1.0)
    >>> x.grad = tg.tensor([[0.0, 3.0], [-3.0, 0.0]])
    >>> optimizer.step()
    >>> (x @ x.T / x.square().sum() * 20).round().tolist()
    [[10.0, 0.0], [0.0, 10.0]]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
                "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn, "maximize": False,
            },
        )  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        if len(group["ns_coefficients"]) != 3:
            raise TgValueError(
                f"Muon: ns_coefficients expects three numbers, got {group['ns_coefficients']}"
            )
        if not 0 <= number(group["ns_steps"], "Muon", "ns_steps") < 100:
            raise TgValueError(f"Muon: ns_steps lies in [0, 100), got {group['ns_steps']}")
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise TgValueError(
                "Muon: adjust_lr_fn is 'original' or 'match_rms_adamw', got "
                f"{group['adjust_lr_fn']!r}"
            )
        for p in group["params"]:
            if p.ndim != 2:
                raise ShapeError(f"Muon: expects matrices, got a parameter of shape {p.shape}")

    def _step(self, p: Any, g: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        b = _moved(state, "momentum_buffer", g, 1.0 - momentum)
        q = _orthogonal(
            g + momentum * (b - g) if group["nesterov"] else b,
            group["ns_coefficients"], group["ns_steps"], group["eps"],
        )  # fmt: skip
        rows, columns = p.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            rate = 0.2 * lr * math.sqrt(max(rows, columns))
        else:
            rate = lr * math.sqrt(max(1.0, rows / columns))
        p.mul_(1.0 - lr * group["weight_decay"]).sub_(q.mul_(rate).to(p.dtype))


def _orthogonal(x: Any, coefficients: tuple[float, float, float], steps: int, eps: float) -> Any:
    """Newton and Schulz' iteration on the smaller of the two Gram matrices."""
    a, b, c = coefficients
    tall = x.shape[0] > x.shape[1]
    x = x.float() if x.itemsize < 4 else x
    x = x.T if tall else x
    x = x / max(math.sqrt(float(x.square().sum())), eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.T if tall else x).clone(memory_format="contiguous")
