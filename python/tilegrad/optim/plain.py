"""Optimizers with the step of plain descent or of the sign of the gradient: ASGD, Rprop, Lion."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from ..errors import ValueError as TgValueError
from .fused import Fused


class ASGD(Fused):
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

    _kernel = "asgd_step"
    _names = ("ax",)
    _counts = itemgetter("step", "eta", "mu")

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

    def _initial(self, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": 0, "eta": group["lr"], "mu": 1.0}

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        t, eta, mu = counts[0] + 1, counts[1], counts[2]
        lr, lambd = group["lr"], group["lambd"]
        new = {
            "step": t,
            "eta": lr / (1.0 + lambd * lr * t) ** group["alpha"],
            "mu": 1.0 / max(1.0, t - group["t0"]),
        }
        return lr, lambd, eta, mu, new


class Rprop(Fused):
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

    _kernel = "rprop_step"
    _names = ("prev", "step_size")

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
        shrink, grow = group["etas"]
        if not 0.0 < shrink < 1.0 < grow:
            raise TgValueError(
                f"Rprop: etas must hold 0 < etas[0] < 1 < etas[1], got {group['etas']}"
            )

    def _fill(self, group: dict[str, Any], name: str) -> float:
        return group["lr"] if name == "step_size" else 0.0

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        return group["lr"], *group["etas"], *group["step_sizes"], {"step": counts + 1}


class Lion(Fused):
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

    _kernel = "lion_step"
    _names = ("exp_avg",)
    _counts = len  # nothing is counted: whether the state has begun

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

    def _initial(self, group: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        return group["lr"], *group["betas"], None
