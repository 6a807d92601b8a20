"""SGD, Adam and AdamW, each one fused kernel per parameter."""

from __future__ import annotations

from typing import Any

from ..errors import ValueError as TgValueError
from ..ops.rules import number
from ..tensor import Tensor
from .optimizer import Optimizer, update, zeros_for


class SGD(Optimizer):
    """Gradient descent: g += weight_decay * p; b = momentum * b + (1 - dampening) * g (b = g at
    first); p -= lr * b, or along g + momentum * b with nesterov; maximize climbs.

    Sources: Polyak, 1964 (momentum); Sutskever et al., 2013 (the form of Nesterov's).

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.tolist()
    [0.5]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "dampening": dampening,
                "weight_decay": weight_decay, "nesterov": nesterov, "maximize": maximize,
            },
        )  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "momentum", "weight_decay")
        number(group["dampening"], "SGD", "dampening")
        if group["nesterov"] and (group["momentum"] == 0.0 or group["dampening"] != 0.0):
            raise TgValueError("SGD: nesterov needs a momentum and zero dampening")

    def _step(self, p: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        momentum = group["momentum"]
        buffer, first = None, True
        if momentum != 0.0:
            kept = state.get("momentum_buffer")
            first = kept is None
            kept = zeros_for(p) if kept is None else kept
            buffer = kept._array
        update(
            p, "sgd_step", buffer, group["lr"], momentum, group["dampening"],
            group["weight_decay"], group["nesterov"], group["maximize"], first,
        )  # fmt: skip
        if momentum != 0.0:
            state["momentum_buffer"] = kept


class Adam(Optimizer):
    """m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g**2; p -= lr m' / (sqrt(v') + eps) with
    m', v' corrected for their start at zero; weight_decay is added to the gradient; amsgrad uses
    the largest v so far; maximize climbs.

    Sources: Kingma and Ba, 2015; Reddi et al., 2018 (amsgrad).

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adam([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 4)
    0.75
    """

    _decoupled = False

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "amsgrad": amsgrad, "maximize": maximize,
            },
        )  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "eps", "weight_decay")
        self._betas_below_one(group)

    def _step(self, p: Tensor, group: dict[str, Any], state: dict[str, Any]) -> None:
        if not state:
            state.update(step=0, exp_avg=zeros_for(p), exp_avg_sq=zeros_for(p))
        largest = None
        if group["amsgrad"]:
            if "max_exp_avg_sq" not in state:
                state["max_exp_avg_sq"] = zeros_for(p)
            largest = state["max_exp_avg_sq"]._array
        beta1, beta2 = group["betas"]
        update(
            p, "adam_step", state["exp_avg"]._array, state["exp_avg_sq"]._array, largest,
            group["lr"], beta1, beta2, group["eps"], group["weight_decay"], self._decoupled,
            group["maximize"], state["step"] + 1,
        )  # fmt: skip
        state["step"] += 1


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, by lr * weight_decay, instead of being
    added to the gradient (Loshchilov and Hutter, 2019)."""

    _decoupled = True

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
