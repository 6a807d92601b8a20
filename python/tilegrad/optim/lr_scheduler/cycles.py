"""Schedules that compute the rate from the step alone: cycles and restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...errors import ValueError as TgValueError
from ...recording import repeated
from ..optimizer import Optimizer
from .base import LRScheduler


class CosineAnnealingWarmRestarts(LRScheduler):
    """eta_min + (lr - eta_min) (1 + cos(pi T_cur / T_i)) / 2, where T_cur counts the steps since
    the last restart and T_i, the steps from one to the next, begins as T_0 and grows by T_mult.

    ``step(epoch)`` goes to any point, a fraction of an epoch too. Source: Loshchilov and Hutter,
    2017 (SGDR).

    >>> import tilegrad as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = tg.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += [round(rate, 6) for rate in scheduler.get_last_lr()]
    ...     scheduler.step()
    >>> rates
    [1.0, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if not isinstance(value, int) or value < 1:
                raise TgValueError(
                    f"CosineAnnealingWarmRestarts: {name} must be an int of at least 1, got {value}"
                )
        self.T_0 = T_0
        self.T_i = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def _next(self, lr: float, base: float) -> float:
        turn = math.cos(math.pi * self.T_cur / self.T_i)
        return self.eta_min + (base - self.eta_min) * (1.0 + turn) / 2.0

    @repeated
    def step(self, epoch: float | None = None) -> None:
        """Moves on by one, or to an epoch, and sets the rates."""
        if epoch is None and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise TgValueError(
                f"CosineAnnealingWarmRestarts: epoch must not be negative, got {epoch}"
            )
        elif epoch < self.T_0 or self.T_mult == 1:
            self.T_i, self.T_cur = self.T_0, epoch % self.T_0
        else:
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            begun = self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i, self.T_cur = self.T_0 * self.T_mult**n, epoch - begun
        self.last_epoch = math.floor(epoch) - 1
        super().step()


class _WithMomentum(LRScheduler):
    """Moves the momentum, or the first beta, against the rate."""

    def _set_up_momentum(self, wanted: bool, base: Any, largest: Any, begin: bool) -> None:
        self.cycle_momentum = wanted
        if not wanted:
            return
        defaults = self.optimizer.defaults
        if "momentum" not in defaults and "betas" not in defaults:
            raise TgValueError(
                f"{type(self).__name__}: cycle_momentum needs an optimizer with momentum or betas, "
                f"got {type(self.optimizer).__name__}"
            )
        self.use_beta1 = "betas" in defaults
        self.base_momentums = self._per_group("base_momentum", base)
        self.max_momentums = self._per_group("max_momentum", largest)
        for group, low, high in zip(
            self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
        ):
            if begin:
                self._set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low

    def _set_momentum(self, group: dict[str, Any], value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_WithMomentum):
    """Up from base_lr to max_lr in step_size_up steps, down again in step_size_down, and so on;
    the momentum goes the other way (Smith, 2017).

    mode: "triangular"; "triangular2", whose height halves every cycle; "exp_range", whose height
    shrinks by gamma every step; or scale_fn, a function of the number of the cycle (scale_mode
    "cycle") or of the step ("iterations"). base_lr, max_lr and momenta: one or one per group.

    >>> import tilegrad as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> scheduler = tg.optim.lr_scheduler.CyclicLR(optimizer, 0.0, 1.0, step_size_up=2)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> rates
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    _unsaved = ("optimizer", "_scale_fn")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if scale_fn is None and mode not in ("triangular", "triangular2", "exp_range"):
            raise TgValueError(
                f"CyclicLR: mode is 'triangular', 'triangular2' or 'exp_range', got {mode!r}"
            )
        base_lrs = self._per_group("base_lr", base_lr)
        self.max_lrs = self._per_group("max_lr", max_lr)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self._scale_fn = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self._set_up_momentum(cycle_momentum, base_momentum, max_momentum, last_epoch == -1)
        for group, lr in zip(optimizer.param_groups, base_lrs, strict=True):
            if last_epoch == -1:
                group["lr"] = lr
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """The height of cycle x (or at step x) as a fraction of the full one."""
        if self._scale_fn is not None:
            return self._scale_fn(x)
        if self.mode == "triangular":
            return 1.0
        return 1.0 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x

    def get_lr(self) -> list[float]:
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        rising = x <= self.step_ratio
        share = x / self.step_ratio if rising else (x - 1.0) / (self.step_ratio - 1.0)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            for group, low, high in zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            ):
                self._set_momentum(group, high - (high - low) * share * scale)
        return [
            low + (high - low) * share * scale
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]


class OneCycleLR(_WithMomentum):
    """Up from max_lr / div_factor to max_lr within the share pct_start of total_steps, then down to
    that first rate / final_div_factor; the momentum goes the other way (Smith and Topin, 2018).

    total_steps, or epochs and steps_per_epoch, say how long. anneal_strategy: "cos" or "linear".
    three_phase: down to the first rate as fast as up, then to the last. max_lr and momenta: one or
    one per group. A step too many raises ValueError.

    >>> import tilegrad as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> scheduler = tg.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> scheduler.step()
    >>> scheduler.step()
    >>> scheduler.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise TgValueError("OneCycleLR: needs total_steps, or epochs and steps_per_epoch")
            total_steps = epochs * steps_per_epoch
        if not isinstance(total_steps, int) or total_steps < 1:
            raise TgValueError(f"OneCycleLR: expects a positive number of steps, got {total_steps}")
        if not 0.0 <= pct_start <= 1.0:
            raise TgValueError(f"OneCycleLR: pct_start lies in [0, 1], got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise TgValueError(
                f"OneCycleLR: anneal_strategy is 'cos' or 'linear', got {anneal_strategy!r}"
            )
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        top = float(pct_start * total_steps) - 1
        self._phases = [(top, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
        if three_phase:
            low = float(2 * pct_start * total_steps) - 2
            self._phases += [
                (low, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (total_steps - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        else:
            last = (total_steps - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")
            self._phases.append(last)
        for group, highest in zip(
            optimizer.param_groups, self._per_group("max_lr", max_lr), strict=True
        ):
            if last_epoch == -1:
                group["initial_lr"] = highest / div_factor
                group["max_lr"] = highest
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self._set_up_momentum(cycle_momentum, base_momentum, max_momentum, last_epoch == -1)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))

    def get_lr(self) -> list[float]:
        t = self.last_epoch
        if t > self.total_steps:
            raise TgValueError(f"OneCycleLR: step {t} of a cycle of {self.total_steps} steps")
        ends = [phase[0] for phase in self._phases]
        i = next((i for i, end in enumerate(ends) if t <= end), len(ends) - 1)
        begin, (end, lr0, lr1, momentum0, momentum1) = [0.0, *ends][i], self._phases[i]
        share = (t - begin) / (end - begin) if end != begin else 1.0
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[lr0], group[lr1], share))
            if self.cycle_momentum:
                now = self._between(group[momentum0], group[momentum1], share)
                self._set_momentum(group, now)
        return rates
