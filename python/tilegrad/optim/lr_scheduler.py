"""Learning rates that follow a schedule.

Each scheduler multiplies what it finds in the optimizer's groups, so several can be combined.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import StateError
from ..errors import ValueError as TgValueError
from .optimizer import Optimizer


class LRScheduler:
    """Base: ``step()``, once per epoch (or batch), sets the rate of every group.

    last_epoch: -1 to begin; else the count at which to go on, for groups that hold an "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: expects an Optimizer, got {type(optimizer).__name__}"
            )
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise StateError(
                    f"{type(self).__name__}: last_epoch {last_epoch} needs 'initial_lr' in group "
                    f"{i}"
                )
        self.optimizer = optimizer
        self.base_lrs = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self.step()

    def get_lr(self) -> list[float]:
        """The rates of the groups at ``last_epoch``, from those now in the groups."""
        return [
            self._next(g["lr"], base)
            for g, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ]

    def _next(self, lr: float, base: float) -> float:
        raise NotImplementedError

    def step(self) -> None:
        """Moves on by one and sets the rates."""
        self.last_epoch += 1
        for group, lr in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = lr
        self._last_lr = [g["lr"] for g in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """The rates set by the last step."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and functions."""
        return {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "lr_lambdas")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state; StateError when it is that of another kind of scheduler."""
        if set(state_dict) != set(self.state_dict()):
            raise StateError(
                f"{type(self).__name__}.load_state_dict: expects {sorted(self.state_dict())}, got "
                f"{sorted(state_dict)}"
            )
        self.__dict__.update(state_dict)


class StepLR(LRScheduler):
    """Times gamma every step_size steps.

    >>> import tilegrad as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = tg.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> rates
    [1.0, 1.0, 0.5, 0.5]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if step_size < 1:
            raise TgValueError(f"StepLR: step_size must be at least 1, got {step_size}")
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, lr: float, base: float) -> float:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return lr * self.gamma if due else lr


class MultiStepLR(LRScheduler):
    """Times gamma at each of the milestones."""

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Sequence[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = sorted(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, lr: float, base: float) -> float:
        return lr * self.gamma ** Counter(self.milestones)[self.last_epoch]


class ExponentialLR(LRScheduler):
    """Times gamma every step."""

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next(self, lr: float, base: float) -> float:
        return lr * self.gamma if self.last_epoch > 0 else lr


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(step), one function or one per group."""

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        n = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * n if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != n:
            raise TgValueError(f"LambdaLR: expects {n} functions, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [
            base * f(self.last_epoch)
            for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class CosineAnnealingLR(LRScheduler):
    """eta_min + (lr - eta_min) (1 + cos(pi t / T_max)) / 2 (Loshchilov and Hutter, 2017)."""

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        if T_max < 1:
            raise TgValueError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}")
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def _next(self, lr: float, base: float) -> float:
        if self.last_epoch == 0:
            return lr
        # The ratio to the step before; from a trough, where that is 0/0, up from the curve itself.
        now = 1.0 + math.cos(math.pi * self.last_epoch / self.T_max)
        if (self.last_epoch - 1) % (2 * self.T_max) == self.T_max:
            return lr + (base - self.eta_min) * now / 2.0
        before = 1.0 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max)
        return self.eta_min + (lr - self.eta_min) * now / before


__all__ = [
    "CosineAnnealingLR", "ExponentialLR", "LRScheduler", "LambdaLR", "MultiStepLR", "StepLR",
]  # fmt: skip
