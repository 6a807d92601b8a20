"""Schedules made of schedules, and the one that watches a measure."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ...errors import StateError
from ...errors import ValueError as TgValueError
from ...recording import repeated
from ..optimizer import Optimizer
from .base import LRScheduler


class _Several(LRScheduler):
    """Holds schedules of one optimizer, and their states in its own."""

    _unsaved = ("optimizer", "_schedulers")

    def _hold(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        op = type(self).__name__
        if not schedulers:
            raise TgValueError(f"{op}: expects at least one scheduler")
        self._attach(optimizer or schedulers[0].optimizer)
        for i, s in enumerate(schedulers):
            if isinstance(s, ReduceLROnPlateau) or not isinstance(s, LRScheduler):
                raise TgValueError(
                    f"{op}: scheduler {i} must be stepped without a measure, got {type(s).__name__}"
                )
            if s.optimizer is not self.optimizer:
                raise TgValueError(f"{op}: scheduler {i} belongs to another optimizer")
        self._schedulers = list(schedulers)

    def _keep(self) -> None:
        self._last_lr = [g["lr"] for g in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Its own state, and under "_schedulers" those of the schedulers."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over a state; StateError when it does not fit."""
        states = state_dict.get("_schedulers", ())
        if len(states) != len(self._schedulers):
            raise StateError(
                f"{type(self).__name__}.load_state_dict: {len(self._schedulers)} schedulers, but "
                f"{len(states)} states"
            )
        schedulers = self._schedulers
        super().load_state_dict(state_dict)
        self._schedulers = schedulers
        for s, state in zip(schedulers, states, strict=True):
            s.load_state_dict(state)


class ChainedScheduler(_Several):
    """Steps several schedules one after the other: their factors multiply.

    >>> import tilegrad as tg
    >>> lr_scheduler = tg.optim.lr_scheduler
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> both = lr_scheduler.ChainedScheduler(
    ...     [lr_scheduler.ExponentialLR(optimizer, 0.5), lr_scheduler.StepLR(optimizer, 2, 0.1)])
    >>> both.step()
    >>> both.step()
    >>> both.get_last_lr()
    [0.025]
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._hold(schedulers, optimizer)
        self._keep()

    def _begin(self, last_epoch: int = -1) -> None:
        for s in self._schedulers:
            s._begin(last_epoch)
        self._keep()

    def _restart(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._begin()

    @repeated
    def step(self) -> None:
        """Moves all on by one."""
        for s in self._schedulers:
            s.step()
        self._keep()


class SequentialLR(_Several):
    """The first schedule until the first milestone, there the second begins, and so on.

    milestones: one fewer than schedulers, ascending counts of steps.

    >>> import tilegrad as tg
    >>> lr_scheduler = tg.optim.lr_scheduler
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> warm = lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=9)
    >>> down = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> scheduler = lr_scheduler.SequentialLR(optimizer, [warm, down], milestones=[2])
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> rates
    [0.5, 0.5, 1.0, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._hold(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise TgValueError(
                f"SequentialLR: {len(schedulers)} schedulers need {len(schedulers) - 1} "
                f"milestones, got {len(milestones)}"
            )
        self._milestones = list(milestones)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._begin(last_epoch)

    def _begin(self, last_epoch: int = -1) -> None:
        self.last_epoch = last_epoch + 1
        self._schedulers[bisect_right(self._milestones, 0)]._begin()
        self._keep()

    _restart = ChainedScheduler._restart

    @repeated
    def step(self) -> None:
        """Moves on by one."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            self._schedulers[i]._restart()
        else:
            self._schedulers[i].step()
        self._keep()


class ReduceLROnPlateau(LRScheduler):
    """Times factor when the measure given to ``step(metrics)`` has not improved for more than
    patience steps; then waits for cooldown steps.

    mode: "min" or "max" is better. An improvement is one by threshold, as a share of the best value
    (threshold_mode "rel") or absolute ("abs"). min_lr: the smallest rate, one or one per group.
    Changes of less than eps are left out.

    >>> import tilegrad as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = tg.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     scheduler.step(loss)
    >>> scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self._attach(optimizer)
        if not factor < 1.0:
            raise TgValueError(f"ReduceLROnPlateau: factor must be below 1, got {factor}")
        if mode not in ("min", "max"):
            raise TgValueError(f"ReduceLROnPlateau: mode is 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise TgValueError(
                f"ReduceLROnPlateau: threshold_mode is 'rel' or 'abs', got {threshold_mode!r}"
            )
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = self._per_group("min_lr", min_lr)
        self.eps = eps
        self.last_epoch = 0
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self._last_lr = [g["lr"] for g in optimizer.param_groups]

    @property
    def in_cooldown(self) -> bool:
        """Whether bad steps are not yet counted."""
        return self.cooldown_counter > 0

    def _is_better(self, a: float) -> bool:
        sign = -1.0 if self.mode == "min" else 1.0
        if self.threshold_mode == "rel":
            bound = self.best * (1.0 + sign * self.threshold)
        else:
            bound = self.best + sign * self.threshold
        return a < bound if self.mode == "min" else a > bound

    @repeated
    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Moves on by one; metrics: the measure, a number or a tensor of one element."""
        current = float(metrics)
        self.last_epoch += 1
        if self._is_better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lr = max(group["lr"] * self.factor, lowest)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = [g["lr"] for g in self.optimizer.param_groups]
