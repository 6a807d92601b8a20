"""Optimizers that scale the step of each element by the history of its gradient, with PyTorch's
arguments, defaults and state."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from .fused import Fused


class Adagrad(Fused):
    """s += g**2; p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps), s starting at
    initial_accumulator_value (Duchi et al., 2011).

    >>> import tilegrad as tg
    >>> x = tg.tensor([4.0, 1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adagrad([x], lr=0.5)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.tolist()
    [3.5, 0.5]
    """

    _kernel = "adagrad_step"
    _names = ("sum",)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value, "maximize": maximize,
            },
        )  # fmt: skip

    def _fill(self, group: dict[str, Any], name: str) -> float:
        return group["initial_accumulator_value"]

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        step = counts + 1
        return group["lr"], group["lr_decay"], group["eps"], step, {"step": step}


class Adadelta(Fused):
    """s = rho s + (1 - rho) g**2; d = sqrt(a + eps) / sqrt(s + eps) g; p -= lr d;
    a = rho a + (1 - rho) d**2 (Zeiler, 2012).

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adadelta([x], eps=0.1)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 4)
    0.1056
    """

    _kernel = "adadelta_step"
    _names = ("square_avg", "acc_delta")

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize},
        )

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        return group["lr"], group["rho"], group["eps"], {"step": counts + 1}


class RMSprop(Fused):
    """s = alpha s + (1 - alpha) g**2; p -= lr g / (sqrt(s) + eps). centered takes the squared
    average gradient off s; with momentum, b = momentum b + g / (...) and p -= lr b.

    Sources: Hinton, 2012 (lecture 6e); Graves, 2013 (centered).

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.RMSprop([x], lr=0.05)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 4)
    0.5
    """

    _kernel = "rmsprop_step"

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
                "weight_decay": weight_decay, "maximize": maximize,
            },
        )  # fmt: skip

    def _arrays(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        return (
            "square_avg",
            "grad_avg" if group["centered"] else None,
            "momentum_buffer" if group["momentum"] > 0.0 else None,
        )

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        new = {"step": counts + 1}
        return group["lr"], group["alpha"], group["eps"], group["momentum"], new


class Adamax(Fused):
    """m += (1 - beta1) (g - m); u = max(beta2 u, |g| + eps); p -= lr / (1 - beta1**t) m / u
    (Kingma and Ba, 2015: Adam by the infinity norm).

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.Adamax([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 4)
    0.75
    """

    _kernel = "adamax_step"
    _names = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )  # fmt: skip

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        return (group["lr"], *group["betas"], group["eps"], counts + 1, {"step": counts + 1})


class NAdam(Fused):
    """Adam with Nesterov's momentum: with mu_t = beta1 (1 - 0.96**(t momentum_decay) / 2) the step
    goes along mu_{t+1} m / (1 - mu_1...mu_{t+1}) + (1 - mu_t) g / (1 - mu_1...mu_t).

    Source: Dozat, 2016. decoupled_weight_decay: as in AdamW.

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.NAdam([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 4)
    0.7359
    """

    _kernel = "nadam_step"
    _names = ("exp_avg", "exp_avg_sq")
    _counts = itemgetter("step", "mu_product")

    def __init__(
        self,
        params: Any,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "momentum_decay": momentum_decay, "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )  # fmt: skip

    def _initial(self, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": 0, "mu_product": 1.0}

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        t, product = counts[0] + 1, counts[1]
        mu, mu_next = (
            group["betas"][0] * (1.0 - 0.5 * 0.96 ** (k * group["momentum_decay"]))
            for k in (t, t + 1)
        )
        product *= mu
        new = {"step": t, "mu_product": product}
        return group["lr"], *group["betas"], group["eps"], mu, mu_next, product, t, new


class RAdam(Fused):
    """Adam whose step is rectified by the length rho_t of the average behind v: while rho_t <= 5
    the step is lr m', afterwards it is Adam's times a factor that grows to 1.

    Source: Liu et al., 2020. decoupled_weight_decay: as in AdamW.

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.RAdam([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> round(x.item(), 4)
    0.5
    """

    _kernel = "radam_step"
    _names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                "maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay,
            },
        )  # fmt: skip

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        return (group["lr"], *group["betas"], group["eps"], counts + 1, {"step": counts + 1})
