"""Optimizers with the step of plain descent or of the sign of the gradient: ASGD, Rprop, Lion."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..errors import ValueError as TgValueError
from .optimizer import Optimizer, downhill, mix, zeros_for


class ASGD(Optimizer):
    """p = (1 - lambd eta) p - eta g with eta = lr / (1 + lambd lr t)**alpha; the state "ax" is the
    average of the parameters from step t0 on (Polyak and Juditsky, 1992; Xu, 2011).

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.ASGD([x], lr=0.25, lambd=0.0, t0=0)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (x * x).sum().backward()
    ...     optimizer.step()
    >>> x.tolist(), optimizer.state[x]["ax"].tolist()
    ([0.25], [0.25])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "weight_decay")

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        lr, lambd = group["lr"], group["lambd"]
        if not state:
            state.update(step=0, eta=lr, mu=1.0, ax=zeros_for(p))
        state["step"] += 1
        p.mul_(1.0 - lambd * state["eta"]).sub_(g * state["eta"])
        if state["mu"] == 1.0:
            state["ax"].copy_(p)
        else:
            mix(state["ax"], p, state["mu"])
        state["eta"] = lr / (1.0 + lambd * lr * state["step"]) ** group["alpha"]
        state["mu"] = 1.0 / max(1.0, state["step"] - group["t0"])


class Rprop(Optimizer):
    """p -= step * sign(g), where the step of an element grows by etas[1] while its gradient keeps
    its sign, and shrinks by etas[0], without a move, when that turns (Riedmiller and Braun, 1993).

    step_sizes: the smallest and the largest step. For gradients over the whole set of data.

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0], requires_grad=True)
    >>> optimizer = tg.optim.Rprop([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.tolist()
    [0.75]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0),
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}
        )

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr")
        shrink, grow = group["etas"]
        if not 0.0 < shrink < 1.0 < grow:
            raise TgValueError(
                f"Rprop: etas must hold 0 < etas[0] < 1 < etas[1], got {group['etas']}"
            )

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        if not state:
            state.update(step=0, prev=zeros_for(p), step_size=zeros_for(p).fill_(group["lr"]))
        state["step"] += 1
        agree = g * state["prev"]
        turned = agree < 0.0
        shrink, grow = group["etas"]
        factor = ops.where(turned, shrink, ops.where(agree > 0.0, grow, ops.ones_like(g)))
        state["step_size"].mul_(factor).clamp_(*group["step_sizes"])
        g = ops.where(turned, 0.0, g)
        p.sub_(g.sign() * state["step_size"])
        state["prev"].copy_(g)


class Lion(Optimizer):
    """p = (1 - lr weight_decay) p - lr sign(beta1 m + (1 - beta1) g); m = beta2 m + (1 - beta2) g.

    Source: Chen et al., 2023. Every element moves by lr, so lr is about a tenth of Adam's, and the
    weight decay ten times its.

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = tg.optim.Lion([x], lr=0.25)
    >>> (x * x).sum().backward()
    >>> optimizer.step()
    >>> x.tolist()
    [0.75, -1.75]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize,
                "decoupled_weight_decay": True,
            },
        )  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        self._at_least_zero(group, "lr", "weight_decay")
        self._betas_below_one(group)

    def _step(self, p: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        g = downhill(p, group)
        if not state:
            state.update(exp_avg=zeros_for(p))
        beta1, beta2 = group["betas"]
        ahead = state["exp_avg"] * beta1
        p.sub_(ahead.add_(g * (1.0 - beta1)).sign_().mul_(group["lr"]))
        mix(state["exp_avg"], g, 1.0 - beta2)
