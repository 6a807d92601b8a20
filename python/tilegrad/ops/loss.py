"""Losses of regression and of probabilities, made of other ops."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..errors import ShapeError, renamed
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..recording import checking
from ..tensor import Tensor
from . import unary
from .activation import floating, logsigmoid
from .binary import where
from .classification import reduction_of
from .reduce import all as all_
from .reduce import any as any_
from .rules import as_operand, elementwise, number, real_numbers, record
from .shape import unsqueeze

_LOW = -100.0  # a logarithm below this counts as this in binary_cross_entropy


def reduced(op: str, y: Any, reduction: str) -> Tensor:
    """The losses y averaged, summed or (reduction "none") as they are."""
    if reduction == "mean":
        return y.mean()
    if reduction == "sum":
        return y.sum()
    if reduction == "none":
        return y
    raise TgValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _difference(op: str, input: Any, target: Any) -> Any:
    x, t = (real_numbers(op, as_operand(x, op)) for x in (input, target))
    if x.shape != t.shape:
        warnings.warn(
            f"{op}: input has shape {x.shape}, target {t.shape}; they are broadcast, which is "
            "rarely meant",
            stacklevel=3,
        )
    try:
        return x - t  # type: ignore[operator]
    except ShapeError as e:
        raise renamed(e, op, other="target") from None


def same_shape(op: str, input: Any, target: Any) -> tuple[Any, Any]:
    """The two as tensors; ShapeError unless their shapes agree."""
    x, t = floating(op, input), as_operand(target, op)
    if x.shape != t.shape:
        raise ShapeError(f"{op}: target expects the shape of input {x.shape}, got {t.shape}")
    return x, t


def _like(op: str, weight: Any, y: Tensor) -> Any:
    w: Any = as_operand(weight, op)
    if w.shape != y.shape:
        raise ShapeError(f"{op}: weight expects the shape of the losses {y.shape}, got {w.shape}")
    return w


def _weighted_mean(op: str, y: Any, weight: Any, reduction: str) -> Tensor:
    """reduced, each loss with its weight; the mean divides by the sum of the weights."""
    if weight is None:
        return reduced(op, y, reduction)
    w = _like(op, weight, y)
    y = y * w
    return y.sum() / w.sum() if reduction == "mean" else reduced(op, y, reduction)


# --- regression -----------------------------------------------------------------------------------
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)**2 (Gauss, 1809).

    input, target: any shape; where the shapes differ they broadcast, with a warning. reduction:
    "mean", "sum" or "none"; size_average and reduce are its former names. weight: a factor per
    element, by whose sum the mean then divides. Raises ValueError, ShapeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.mse_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0]))
    tensor(2.)
    """
    op = "mse_loss"
    reduction = reduction_of(op, size_average, reduce, reduction)
    y = unary.square(_difference(op, input, target))
    return _weighted_mean(op, y, weight, reduction)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target| (Boscovich, 1757). Arguments and errors as for mse_loss.

    >>> import tilegrad as tg
    >>> tg.nn.functional.l1_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0]))
    tensor(1.)
    """
    op = "l1_loss"
    reduction = reduction_of(op, size_average, reduce, reduction)
    y = unary.abs(_difference(op, input, target))
    return _weighted_mean(op, y, weight, reduction)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d**2 / (2 beta) where |d| < beta, else |d| - beta / 2, with d = input - target.

    beta: at least 0, where 0 is l1_loss. Other arguments and errors as for mse_loss. Source:
    Girshick, Fast R-CNN, 2015.

    >>> import tilegrad as tg
    >>> tg.nn.functional.smooth_l1_loss(tg.tensor([0.0, 0.0]), tg.tensor([1.0, 3.0]))
    tensor(1.5)
    """
    op = "smooth_l1_loss"
    reduction = reduction_of(op, size_average, reduce, reduction)
    b = number(beta, op, "beta")
    if not b >= 0:
        raise TgValueError(f"{op}: beta must be at least 0, got {beta}")
    d = _difference(op, input, target)
    z: Any = unary.abs(d)
    y = z if b == 0 else where(z < b, d * d * (0.5 / b), z - 0.5 * b)
    return reduced(op, y, reduction)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """d**2 / 2 where |d| < delta, else delta * (|d| - delta / 2), with d = input - target.

    delta: positive. weight: a factor per element; the mean divides by their number. Other arguments
    and errors: as for mse_loss. Source: Huber, 1964.

    >>> import tilegrad as tg
    >>> tg.nn.functional.huber_loss(tg.tensor([0.0, 0.0]), tg.tensor([1.0, 3.0]), delta=2.0)
    tensor(2.25)
    """
    op = "huber_loss"
    k = number(delta, op, "delta")
    if not k > 0:
        raise TgValueError(f"{op}: delta must be positive, got {delta}")
    d = _difference(op, input, target)
    z: Any = unary.abs(d)
    y: Any = where(z < k, d * d * 0.5, (z - 0.5 * k) * k)
    return reduced(op, y if weight is None else y * _like(op, weight, y), reduction)


def l0_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", tolerance: float = 0.0
) -> Tensor:
    """1 where |input - target| exceeds tolerance, else 0: a count of misses, whose gradient is 0
    as that of a step. Other arguments as for mse_loss.

    >>> import tilegrad as tg
    >>> tg.nn.functional.l0_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0]), "sum")
    tensor(1.)
    """
    z: Any = unary.abs(_difference("l0_loss", input, target))
    y = unary.sign(unary.relu(z - number(tolerance, "l0_loss", "tolerance")))
    return reduced("l0_loss", y, reduction)


# --- probabilities --------------------------------------------------------------------------------
def _safe_log(x: Any) -> Any:
    positive = x > math.exp(_LOW)
    return where(positive, unary.log(where(positive, x, 1.0)), _LOW)


def _bce(t: Any, x: Any, target: Any, y: Any) -> Any:
    return t * ((x - target) / ((1.0 - x) * x).clamp(min=1e-12))


BCE = elementwise(
    "binary_cross_entropy",
    _bce,
    lambda t, x, target, y: t * (_safe_log(1.0 - x) - _safe_log(x)),
    saves=(0, 1),
)


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-(t ln x + (1 - t) ln(1 - x)) for probabilities x; a logarithm is at least -100.

    input: floating, in [0, 1]; target: probabilities of the same shape; weight: a factor, which
    broadcasts. reduction: "mean", "sum" or "none"; size_average and reduce are its former names.
    Raises ValueError for input outside [0, 1], ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.binary_cross_entropy(tg.tensor([0.5]), tg.tensor([1.0]))
    tensor(0.6931)
    """
    op = "binary_cross_entropy"
    reduction = reduction_of(op, size_average, reduce, reduction)
    x, t = same_shape(op, input, target)
    if t.dtype != x.dtype:
        t = t.to(x.dtype)
    if checking() and not all_((x >= 0.0) & (x <= 1.0)).item():
        raise TgValueError(f"{op}: input must lie in [0, 1]; use binary_cross_entropy_with_logits")
    with no_grad():
        a, b = x.detach(), t.detach()
        y = b * unary.log(a).clamp(min=_LOW) + (1.0 - b) * unary.log1p(-a).clamp(min=_LOW)
    loss: Any = record(BCE, (-y)._array, (x, t))
    return reduced(op, loss if weight is None else loss * as_operand(weight, op), reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """binary_cross_entropy of sigmoid(input), without overflow.

    input: logits; pos_weight: a factor of the part of the positive class, which broadcasts. Other
    arguments and errors as for binary_cross_entropy.

    >>> import tilegrad as tg
    >>> tg.nn.functional.binary_cross_entropy_with_logits(tg.tensor([0.0]), tg.tensor([1.0]))
    tensor(0.6931)
    """
    op = "binary_cross_entropy_with_logits"
    reduction = reduction_of(op, size_average, reduce, reduction)
    x, t = same_shape(op, input, target)
    log: Any = logsigmoid(x)
    if pos_weight is not None:
        p: Any = as_operand(pos_weight, op)
        log = ((p - 1.0) * t + 1.0) * log
    y = (1.0 - t) * x - log
    return reduced(op, y if weight is None else y * as_operand(weight, op), reduction)


def _x_log_x(x: Any) -> Any:
    zero = x == 0
    return where(zero, 0.0, x * unary.log(where(zero, 1.0, x)))


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target * (ln target - input): the terms of the divergence of Kullback and Leibler, 1951.

    input: log-probabilities; target: probabilities, or with log_target their logarithms; the two
    broadcast. reduction: "batchmean" (the sum over the size of the first axis: the divergence),
    "mean" (over all elements), "sum" or "none"; size_average and reduce are its former names.
    Raises ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> x, t = tg.tensor([[0.5, 0.5]]).log(), tg.tensor([[1.0, 0.0]])
    >>> tg.nn.functional.kl_div(x, t, reduction="batchmean")
    tensor(0.6931)
    """
    op = "kl_div"
    x, t = floating(op, input), floating(op, target)
    y = unary.exp(t) * (t - x) if log_target else _x_log_x(t) - t * x
    if reduction == "batchmean" and size_average is None and reduce is None:
        total = y.sum()
        return total / x.shape[0] if x.ndim else total
    return reduced(op, y, reduction_of(op, size_average, reduce, reduction))


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """e**x - t x for counts t and the logarithm x of their rate; x - t ln(x + eps) for the rate
    itself, where log_input is false.

    input: floating; target: broadcasts. full: adds Stirling's t ln t - t + ln(2 pi t) / 2 where t >
    1. reduction: "mean", "sum" or "none"; size_average and reduce are its former names. Raises
    ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.poisson_nll_loss(tg.tensor([0.0]), tg.tensor([3.0]))
    tensor(1.)
    """
    op = "poisson_nll_loss"
    reduction = reduction_of(op, size_average, reduce, reduction)
    x, t = floating(op, input), as_operand(target, op)
    y = unary.exp(x) - t * x if log_input else x - t * unary.log(x + number(eps, op, "eps"))
    if full:
        safe: Any = where(t > 1, t, 1.0)  # type: ignore[operator]
        stirling = safe * unary.log(safe) - safe + unary.log(safe * (2 * math.pi)) * 0.5
        y = y + where(t > 1, stirling, 0.0)  # type: ignore[operator]
    return reduced(op, y, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(ln v + (input - target)**2 / v) / 2 with v = max(var, eps).

    input: the means; target: broadcasts; var: a number, the shape of input, or one without or with
    1 as the last axis. full: adds ln(2 pi) / 2. The gradient of var passes as if eps were not
    there. Raises ValueError for a negative var and eps not positive, ShapeError, DTypeError.
    reduction: "mean", "sum" or "none". Source: Nix and Weigend, 1994.

    >>> import tilegrad as tg
    >>> tg.nn.functional.gaussian_nll_loss(tg.tensor([1.0]), tg.tensor([3.0]), tg.tensor([1.0]))
    tensor(2.)
    """
    op = "gaussian_nll_loss"
    x, least = floating(op, input), number(eps, op, "eps")
    if not least > 0:
        raise TgValueError(f"{op}: eps must be positive, got {eps}")
    if isinstance(var, (int, float)):
        v: Any = x.new_ones(x.shape) * float(var)
    else:
        v = as_operand(var, op)
        if v.shape != x.shape and v.shape == x.shape[:-1]:
            v = unsqueeze(v, -1)
        elif v.shape != x.shape and (v.shape[:-1] != x.shape[:-1] or v.shape[-1:] != (1,)):
            raise ShapeError(f"{op}: var of shape {v.shape} does not fit input of shape {x.shape}")
    if checking() and any_(v < 0).item():
        raise TgValueError(f"{op}: var has negative entries")
    v = v + (v.detach().clamp(min=least) - v.detach())
    d = x - as_operand(target, op)
    y = (unary.log(v) + d * d / v) * 0.5
    return reduced(op, y + 0.5 * math.log(2 * math.pi) if full else y, reduction)


FUNCTIONAL = (
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "gaussian_nll_loss", "huber_loss",
    "kl_div", "l0_loss", "l1_loss", "mse_loss", "poisson_nll_loss", "smooth_l1_loss",
)  # fmt: skip
"""What ``tilegrad.nn.functional`` publishes from here."""
