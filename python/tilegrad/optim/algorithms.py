"""SGD, Adam and AdamW."""

from __future__ import annotations

from typing import Any

from ..errors import ValueError as TgValueError
from ..ops.rules import number
from .fused import Fused


class SGD(Fused):
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

    _kernel = "sgd_step"

    @staticmethod
    def _counts(state: dict[str, Any]) -> bool:
        return "momentum_buffer" in state

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
        number(group["dampening"], "SGD", "dampening")
        if group["nesterov"] and (group["momentum"] == 0.0 or group["dampening"] != 0.0):
            raise TgValueError("SGD: nesterov needs a momentum and zero dampening")

    def _arrays(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("momentum_buffer" if group["momentum"] != 0.0 else None,)

    def _initial(self, group: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        lr, momentum, dampening = group["lr"], group["momentum"], group["dampening"]
        return lr, momentum, dampening, group["nesterov"], not counts, None


class Adam(Fused):
    """m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g**2; p -= lr m' / (sqrt(v') + eps) with
    m', v' corrected for their start at zero; weight_decay is added to the gradient, or
    with decoupled_weight_decay shrinks the parameter as in AdamW; amsgrad uses the largest v so
    far; maximize climbs.

    Sources: Kingma and Ba, 2015; Reddi et al., 2018 (amsgrad).

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adam([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 4)
    0.75
    """

    _kernel = "adam_step"

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
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "amsgrad": amsgrad, "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )  # fmt: skip

    def _arrays(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq" if group["amsgrad"] else None)

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        return (group["lr"], *group["betas"], group["eps"], counts + 1, {"step": counts + 1})


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameter itself, by lr * weight_decay, instead of being
    added to the gradient (Loshchilov and Hutter, 2019)."""

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
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize,
                         decoupled_weight_decay=True)  # fmt: skip
