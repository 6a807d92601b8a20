"""Optimizers that scale the step of each element by the history of its gradient, with PyTorch's
arguments, defaults and state; composed of tensor operations."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ValueError as TgValueError
from .optimizer import Optimizer, downhill, kept, mix, mix_square, zeros_for


class Adagrad(Optimizer):
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

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(
            group, "lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"
        )

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        if not state:
            state.update(step=0, sum=zeros_for(p).fill_(group["initial_accumulator_value"]))
        state["step"] += 1
        rate = group["lr"] / (1.0 + (state["step"] - 1) * group["lr_decay"])
        state["sum"].add_(g * g)
        p.sub_((g / state["sum"].sqrt().add_(group["eps"])).mul_(rate))


class Adadelta(Optimizer):
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

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "eps", "weight_decay")
        if not 0.0 <= group["rho"] <= 1.0:
            raise TgValueError(f"Adadelta: rho lies in [0, 1], got {group['rho']}")

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        if not state:
            state.update(step=0, square_avg=zeros_for(p), acc_delta=zeros_for(p))
        state["step"] += 1
        rho, eps = group["rho"], group["eps"]
        mix_square(state["square_avg"], g, rho)
        delta = state["acc_delta"].add(eps).sqrt_()
        delta.div_(state["square_avg"].add(eps).sqrt_()).mul_(g)
        mix_square(state["acc_delta"], delta, rho)
        p.sub_(delta.mul_(group["lr"]))


class RMSprop(Optimizer):
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

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "eps", "momentum", "weight_decay", "alpha")

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        if not state:
            state.update(step=0, square_avg=zeros_for(p))
        state["step"] += 1
        alpha = group["alpha"]
        mix_square(state["square_avg"], g, alpha)
        square = state["square_avg"]
        if group["centered"]:
            mean = kept(state, "grad_avg", p)
            mix(mean, g, 1.0 - alpha)
            square = square - mean * mean
        step = g / square.sqrt().add_(group["eps"])
        if group["momentum"] > 0.0:
            step = kept(state, "momentum_buffer", p).mul_(group["momentum"]).add_(step)
        p.sub_(step * group["lr"])


class Adamax(Optimizer):
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

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "eps", "weight_decay")
        self._betas_below_one(group)

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        if not state:
            state.update(step=0, exp_avg=zeros_for(p), exp_inf=zeros_for(p))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        mix(state["exp_avg"], g, 1.0 - beta1)
        state["exp_inf"].mul_(beta2).maximum_(g.abs().add_(group["eps"]))
        rate = group["lr"] / (1.0 - beta1 ** state["step"])
        p.sub_((state["exp_avg"] / state["exp_inf"]).mul_(rate))


class NAdam(Optimizer):
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

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "eps", "weight_decay", "momentum_decay")
        self._betas_below_one(group)

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        if not state:
            state.update(step=0, mu_product=1.0, exp_avg=zeros_for(p), exp_avg_sq=zeros_for(p))
        state["step"] += 1
        t, lr, (beta1, beta2) = state["step"], group["lr"], group["betas"]
        mu, mu_next = (
            beta1 * (1.0 - 0.5 * 0.96 ** (k * group["momentum_decay"])) for k in (t, t + 1)
        )
        state["mu_product"] *= mu
        mix(state["exp_avg"], g, 1.0 - beta1)
        mix_square(state["exp_avg_sq"], g, beta2)
        norm = (state["exp_avg_sq"] / (1.0 - beta2**t)).sqrt_().add_(group["eps"])
        p.sub_((g / norm).mul_(lr * (1.0 - mu) / (1.0 - state["mu_product"])))
        ahead = lr * mu_next / (1.0 - state["mu_product"] * mu_next)
        p.sub_((state["exp_avg"] / norm).mul_(ahead))


class RAdam(Optimizer):
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

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "eps", "weight_decay")
        self._betas_below_one(group)

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        if not state:
            state.update(step=0, exp_avg=zeros_for(p), exp_avg_sq=zeros_for(p))
        state["step"] += 1
        t, (beta1, beta2) = state["step"], group["betas"]
        mix(state["exp_avg"], g, 1.0 - beta1)
        mix_square(state["exp_avg_sq"], g, beta2)
        step = state["exp_avg"] * (group["lr"] / (1.0 - beta1**t))
        longest, correction = 2.0 / (1.0 - beta2) - 1.0, 1.0 - beta2**t
        rho = longest - 2.0 * t * beta2**t / correction
        if rho > 5.0:
            grown = (rho - 4.0) * (rho - 2.0) * longest
            rectified = math.sqrt(grown / ((longest - 4.0) * (longest - 2.0) * rho) * correction)
            step.div_(state["exp_avg_sq"].sqrt().add_(group["eps"])).mul_(rectified)
        p.sub_(step)
