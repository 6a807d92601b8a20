"""Losses as modules."""

from __future__ import annotations

from typing import Any

from ..ops.classification import reduction_of
from ..ops.rules import number
from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Loss(Module):
    def __init__(
        self, size_average: Any = None, reduce: Any = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        self.reduction = reduction_of(type(self).__name__, size_average, reduce, reduction)


class MSELoss(_Loss):
    """The mean of (input - target)**2 (Gauss, 1809)."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """The mean of |input - target|."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class _Classes(_Loss):
    """A loss over classes with a weight each, in which one label counts as none."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index


class NLLLoss(_Classes):
    """-input[target], weighted and averaged; input holds log-probabilities (N, C, ...)."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction
        )


class CrossEntropyLoss(_Classes):
    """The negative log-probability of the target class; input holds logits (N, C, ...).

    target: class indices (N, ...) or probabilities of the input's shape.

    >>> import tilegrad as tg
    >>> loss = tg.nn.CrossEntropyLoss()
    >>> round(loss(tg.zeros(3, 10), tg.tensor([0, 4, 9])).item(), 4)
    2.3026
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        ignore_index: int = -100,
        reduce: Any = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
        self.label_smoothing = number(
            label_smoothing, "CrossEntropyLoss", "label_smoothing", 0.0, 1.0
        )

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip


# --- regression -----------------------------------------------------------------------------------
class SmoothL1Loss(_Loss):
    """d**2 / (2 beta) where |d| < beta, else |d| - beta / 2 (Girshick, 2015)."""

    def __init__(
        self,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """d**2 / 2 where |d| < delta, else delta * (|d| - delta / 2) (Huber, 1964)."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.huber_loss(input, target, self.reduction, self.delta)


class L0Loss(_Loss):
    """The share of elements that differ from target by more than tolerance."""

    def __init__(self, reduction: str = "mean", tolerance: float = 0.0) -> None:
        super().__init__(reduction=reduction)
        self.tolerance = tolerance

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l0_loss(input, target, self.reduction, self.tolerance)


# --- probabilities --------------------------------------------------------------------------------
class _Weighted(_Loss):
    """A loss with a factor per element or class."""

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class BCELoss(_Weighted):
    """-(t ln x + (1 - t) ln(1 - x)) of probabilities x; see functional.binary_cross_entropy."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(BCELoss):
    """BCELoss of sigmoid(x), without overflow; pos_weight: a factor of the positive class.

    >>> import tilegrad as tg
    >>> round(tg.nn.BCEWithLogitsLoss()(tg.zeros(3), tg.ones(3)).item(), 4)
    0.6931
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        pos_weight: Tensor | None = None,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(_Loss):
    """target * (ln target - input), input holding log-probabilities; see functional.kl_div."""

    def __init__(
        self,
        size_average: Any = None,
        reduce: Any = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        # functional.kl_div alone knows "batchmean".
        divergence = reduction == "batchmean" and size_average is None and reduce is None
        super().__init__(size_average, reduce, "sum" if divergence else reduction)
        self.reduction = reduction if divergence else self.reduction
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class PoissonNLLLoss(_Loss):
    """e**x - t x for counts t and the logarithm x of their rate."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: Any = None,
        eps: float = 1e-8,
        reduce: Any = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Tensor, target: Tensor) -> Tensor:
        return F.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(_Loss):
    """(ln var + (input - target)**2 / var) / 2 (Nix and Weigend, 1994)."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Tensor, target: Tensor, var: Tensor | float) -> Tensor:
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class CTCLoss(_Loss):
    """The negative log-probability of a labelling under all alignments (Graves et al., 2006).

    >>> import tilegrad as tg
    >>> x = tg.zeros(5, 2, 3).log_softmax(2)
    >>> loss = tg.nn.CTCLoss(reduction="none")(x, tg.tensor([[1, 2], [1, 1]]), (5, 5), (2, 2))
    >>> (loss[1] > loss[0]).item()
    True
    """

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: Tensor, targets: Tensor, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        return F.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction,
            self.zero_infinity,
        )  # fmt: skip
