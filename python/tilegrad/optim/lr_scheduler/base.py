"""The base of the schedules, and those that multiply the rates they find in the optimizer's groups,
so that several can be combined."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import StateError
from ...errors import ValueError as TgValueError
from ...recording import repeated
from ..optimizer import Optimizer


class LRScheduler:
    """Base: ``step()``, once per epoch (or batch), sets the rate of every group.

    last_epoch: -1 to begin; else the count at which to go on, for groups that hold an "initial_lr".
    """

    _beginning = False
    """Whether the step is the first, that of the constructor."""
    _carries_on = False
    """Whether the schedule begins from the rates it finds, not from the initial ones."""
    _unsaved: tuple[str, ...] = ("optimizer",)
    _notes = ("_step_count", "_is_initial", "_get_lr_called_within_step")
    """What PyTorch keeps in a state for its warnings."""

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise StateError(
                    f"{type(self).__name__}: last_epoch {last_epoch} needs 'initial_lr' in group "
                    f"{i}"
                )
        self.base_lrs = [g["initial_lr"] for g in optimizer.param_groups]
        self._begin(last_epoch)

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: expects an Optimizer, got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer

    def _begin(self, last_epoch: int = -1) -> None:
        """Goes to the first rate."""
        self.last_epoch = last_epoch
        self._beginning = True
        self.step()
        del self._beginning

    def _restart(self) -> None:
        """Begins in the middle of a training, when SequentialLR changes to this schedule."""
        if self._carries_on:
            self.last_epoch = -1
            self.step()
            return
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base
        self._begin()

    def _per_group(self, name: str, value: Any) -> list[Any]:
        """A setting given once or per group, per group."""
        n = len(self.optimizer.param_groups)
        if not isinstance(value, (list, tuple)):
            return [value] * n
        if len(value) != n:
            raise TgValueError(
                f"{type(self).__name__}: {name} needs {n} values, one per group, got {len(value)}"
            )
        return list(value)

    def get_lr(self) -> list[float]:
        """The rates of the groups at ``last_epoch``, from those now in the groups."""
        return [
            self._next(g["lr"], base)
            for g, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        ]

    def _next(self, lr: float, base: float) -> float:
        raise NotImplementedError

    @repeated
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
        return {k: v for k, v in self.__dict__.items() if k not in self._unsaved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state; StateError when it is that of another kind of scheduler."""
        state_dict = {k: v for k, v in state_dict.items() if k not in self._notes}
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
        return lr if self._beginning else lr * self.gamma


class ConstantLR(LRScheduler):
    """Times factor for the first total_iters steps.

    >>> import tilegrad as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = tg.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> rates
    [0.5, 0.5, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < factor <= 1.0:
            raise TgValueError(f"ConstantLR: factor lies in (0, 1], got {factor}")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _next(self, lr: float, base: float) -> float:
        if self.last_epoch == 0:
            return lr * self.factor
        return lr * (1.0 / self.factor) if self.last_epoch == self.total_iters else lr


class LinearLR(LRScheduler):
    """Times a factor that goes from start_factor to end_factor in total_iters equal steps."""

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if not 0.0 < start_factor <= 1.0:
            raise TgValueError(f"LinearLR: start_factor lies in (0, 1], got {start_factor}")
        if not 0.0 <= end_factor <= 1.0:
            raise TgValueError(f"LinearLR: end_factor lies in [0, 1], got {end_factor}")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _next(self, lr: float, base: float) -> float:
        if self.last_epoch == 0:
            return lr * self.start_factor
        if self._beginning or self.last_epoch > self.total_iters:
            return lr
        change = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * change
        return lr * (1.0 + change / before)


class PolynomialLR(LRScheduler):
    """The initial rate times (1 - t / total_iters)**power, then zero."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _next(self, lr: float, base: float) -> float:
        if self._beginning or self.last_epoch > self.total_iters:
            return lr
        now = 1.0 - self.last_epoch / self.total_iters
        before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return lr * (now / before) ** self.power


class LambdaLR(LRScheduler):
    """The initial rate times lr_lambda(step), one function or one per group."""

    _unsaved = ("optimizer", "lr_lambdas")

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        n = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * n if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != n:
            raise TgValueError(
                f"{type(self).__name__}: expects {n} functions, got {len(self.lr_lambdas)}"
            )
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        return [
            base * f(self.last_epoch)
            for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)
        ]


class MultiplicativeLR(LambdaLR):
    """Times lr_lambda(step) at every step, one function or one per group."""

    _carries_on = True

    def get_lr(self) -> list[float]:
        return [
            g["lr"] if self._beginning else g["lr"] * f(self.last_epoch)
            for g, f in zip(self.optimizer.param_groups, self.lr_lambdas, strict=True)
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
        if self._beginning:
            return lr
        # The ratio to the step before; from a trough, where that is 0/0, up from the curve itself.
        now = 1.0 + math.cos(math.pi * self.last_epoch / self.T_max)
        if (self.last_epoch - 1) % (2 * self.T_max) == self.T_max:
            return lr + (base - self.eta_min) * now / 2.0
        before = 1.0 + math.cos(math.pi * (self.last_epoch - 1) / self.T_max)
        return self.eta_min + (lr - self.eta_min) * now / before
