"""Averages of weights over the steps of a training: equal shares (SWA) or exponential ones (EMA).

Source: Izmailov et al., 2018 (SWA); Polyak and Juditsky, 1992.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any

from .. import ops
from ..errors import StateError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..nn.module import Module
from ..nn.norm import _BatchNorm
from ..tensor import Tensor
from .lr_scheduler import LRScheduler
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]  # fmt: skip


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """The function (average, value, count) -> decay * average + (1 - decay) * value.

    >>> import tilegrad as tg
    >>> tg.optim.swa_utils.get_ema_avg_fn(0.75)(tg.tensor(0.0), tg.tensor(4.0), 1)
    tensor(1.)
    """
    if not 0.0 <= decay <= 1.0:
        raise TgValueError(f"get_ema_avg_fn: decay lies in [0, 1], got {decay}")

    @no_grad()
    def ema(average: Any, value: Any, count: Any) -> Tensor:
        return decay * average + (1.0 - decay) * value

    return ema


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """The function (average, value, count) -> average + (value - average) / (count + 1).

    >>> import tilegrad as tg
    >>> tg.optim.swa_utils.get_swa_avg_fn()(tg.tensor(0.0), tg.tensor(4.0), 1)
    tensor(2.)
    """

    @no_grad()
    def swa(average: Any, value: Any, count: Any) -> Tensor:
        return average + (value - average) / (int(count) + 1)

    return swa


def _in_place(fn: Callable[[Tensor, Tensor, Any], Tensor]) -> Callable[..., None]:
    @no_grad()
    def each(averages: Sequence[Any], values: Sequence[Any], count: Any) -> None:
        for average, value in zip(averages, values, strict=True):
            average.copy_(fn(average, value, count))

    return each


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable[..., None]:
    """As get_ema_avg_fn, for lists of tensors, of which the first is changed in place.

    >>> import tilegrad as tg
    >>> x = tg.zeros(1)
    >>> tg.optim.swa_utils.get_ema_multi_avg_fn(0.75)([x], [tg.tensor([4.0])], 1)
    >>> x.tolist()
    [1.0]
    """
    return _in_place(get_ema_avg_fn(decay))


def get_swa_multi_avg_fn() -> Callable[..., None]:
    """As get_swa_avg_fn, for lists of tensors, of which the first is changed in place.

    >>> import tilegrad as tg
    >>> x = tg.zeros(1)
    >>> tg.optim.swa_utils.get_swa_multi_avg_fn()([x], [tg.tensor([4.0])], 1)
    >>> x.tolist()
    [2.0]
    """
    return _in_place(get_swa_avg_fn())


class AveragedModel(Module):
    """A copy of a model whose weights are averages of those at each ``update_parameters(model)``.

    avg_fn(average, value, count): one new average; multi_avg_fn(averages, values, count): all, in
    place; equal shares unless given. use_buffers: buffers are averaged too, else copied. The first
    update copies. The count of updates is the buffer "n_averaged".

    >>> import tilegrad as tg
    >>> from tilegrad import nn
    >>> model = nn.Linear(1, 1)
    >>> average = tg.optim.swa_utils.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(model.weight, value)
    ...     average.update_parameters(model)
    >>> average.module.weight.tolist()
    [[3.0]]
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Callable[..., None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise TgValueError("AveragedModel: give avg_fn or multi_avg_fn, not both")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", ops.zeros((), dtype="int64"))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model with averaged weights."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Takes the weights of model into the averages; StateError when shapes differ."""
        mine: list[Any] = list(self.module.parameters())
        theirs: list[Any] = list(model.parameters())
        kept: list[tuple[Any, Any]] = list(zip(self.module.buffers(), model.buffers(), strict=True))
        if [p.shape for p in mine] != [p.shape for p in theirs]:
            raise StateError("AveragedModel.update_parameters: the shapes of the parameters differ")
        if self.use_buffers:
            mine += [b for b, _ in kept]
            theirs += [b for _, b in kept]
            kept = []
        if self.n_averaged.item() == 0:
            kept += zip(mine, theirs, strict=True)
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(
                [p.detach() for p in mine], [p.detach() for p in theirs], self.n_averaged
            )
        else:
            _in_place(self.avg_fn or get_swa_avg_fn())(mine, theirs, self.n_averaged)
        for a, b in kept:
            a.copy_(b)
        self.n_averaged.fill_(self.n_averaged.item() + 1)


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Estimates the running statistics of batch normalisation anew, as plain averages over a pass
    through loader, whose batches are inputs or sequences that begin with the input.

    >>> import tilegrad as tg
    >>> model = tg.nn.Sequential(tg.nn.BatchNorm1d(1))
    >>> tg.optim.swa_utils.update_bn([tg.full((4, 1), 1.0), tg.full((4, 1), 2.0)], model)
    >>> model[0].running_mean.tolist()
    [1.5]
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    training, momenta = model.training, [m.momentum for m in norms]
    model.train()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        for batch in loader:
            x = batch[0] if isinstance(batch, (list, tuple)) else batch
            model(x if device is None else x.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """From the rate at hand to swa_lr within anneal_epochs steps, and stays there.

    swa_lr: one or one per group. anneal_strategy: "cos" or "linear".

    >>> import tilegrad as tg
    >>> optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
    >>> scheduler = tg.optim.swa_utils.SWALR(optimizer, 0.5, 2, "linear")
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> rates
    [1.0, 0.75, 0.5, 0.5]
    """

    _carries_on = True

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if anneal_strategy not in ("cos", "linear"):
            raise TgValueError(
                f"SWALR: anneal_strategy is 'cos' or 'linear', got {anneal_strategy!r}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise TgValueError(f"SWALR: anneal_epochs must be an int >= 0, got {anneal_epochs}")
        for group, lr in zip(
            optimizer.param_groups, self._per_group("swa_lr", swa_lr), strict=True
        ):
            group["swa_lr"] = lr
        self.anneal_epochs = anneal_epochs
        self.anneal_strategy = anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, t: int) -> float:
        """How far the rate has come after t steps."""
        x = max(0.0, min(1.0, t / max(1, self.anneal_epochs)))
        return x if self.anneal_strategy == "linear" else (1.0 - math.cos(math.pi * x)) / 2.0

    def get_lr(self) -> list[float]:
        t = self.last_epoch if self.anneal_epochs else max(1, self.last_epoch)
        before, now = self._share(t - 1), self._share(t)
        rates = []
        for group in self.optimizer.param_groups:
            goal = group["swa_lr"]
            start = goal if before == 1.0 else (group["lr"] - before * goal) / (1.0 - before)
            rates.append(goal * now + start * (1.0 - now))
        return rates
