"""Softmax, its logarithm, and the losses of classification."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError, GradientError, ShapeError
from ..errors import IndexError as TgIndexError
from ..errors import ValueError as TgValueError
from ..recording import checking
from ..tensor import Tensor
from .binary import where
from .index import gather, index_select
from .reduce import any as any_
from .reduce import sum as sum_
from .rules import as_operand, axis_of, convert, either, explicit, record
from .shape import movedim, reshape, unsqueeze

_new = Tensor._new


def _softmax_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axis: Any, nodes: Any) -> tuple:
    return (out * (g - sum_(g * out, axis, True)),)


def _softmax_fused(g: Tensor, need: Any, saved: Any, axis: Any, nodes: Any) -> tuple:
    return (_new(kernels.of(g._array).softmax_grad(g._array, saved[-1], axis)),)


def _log_softmax_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axis: Any, nodes: Any) -> tuple:
    return (g - out.exp() * sum_(g, axis, True),)


def _log_softmax_fused(g: Tensor, need: Any, saved: Any, axis: Any, nodes: Any) -> tuple:
    return (_new(kernels.of(g._array).log_softmax_grad(g._array, saved[-1], axis)),)


SOFTMAX = explicit("softmax", _softmax_vjp, saves=(-1,), fused=_softmax_fused)
LOG_SOFTMAX = explicit("log_softmax", _log_softmax_vjp, saves=(-1,), fused=_log_softmax_fused)


def _along(op: str, rule: Any, input: Any, dim: Any, dtype: Any) -> Tensor:
    x = as_operand(input, op)
    if dtype is not None:
        x = convert(x, dtypes.dtype(dtype))
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"{op}: expects a floating tensor, got {x.dtype}; pass dtype=")
    axis = axis_of(dim, x.ndim, op)
    flat = x if x.ndim else reshape(x, 1)
    y = record(rule, getattr(kernels.of(x._array), op)(flat._array, axis), (flat,), axis)
    return y if x.ndim else reshape(y, ())


def softmax(
    input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None
) -> Tensor:
    """e**x / sum(e**x) along dim, shifted by the maximum so that nothing overflows.

    input: floating, any shape. dtype: converts first. axis is another name for dim, of which one
    must be given. Raises IndexError for a dim out of range, DTypeError for integers.

    >>> import tilegrad as tg
    >>> tg.softmax(tg.tensor([0.0, 0.0]), 0)
    tensor([0.5, 0.5])
    """
    return _along("softmax", SOFTMAX, input, either("softmax", dim, axis), dtype)


def log_softmax(
    input: Any, dim: int | None = None, dtype: Any = None, *, axis: int | None = None
) -> Tensor:
    """x - ln(sum(e**x)) along dim, without overflow. Arguments and errors as for softmax.

    >>> import tilegrad as tg
    >>> tg.log_softmax(tg.tensor([0.0, 0.0]), 0)
    tensor([-0.6931, -0.6931])
    """
    return _along("log_softmax", LOG_SOFTMAX, input, either("log_softmax", dim, axis), dtype)


# --- cross-entropy --------------------------------------------------------------------------------
def _targets(op: str, x: Tensor, target: Any, ignore_index: int) -> tuple[Tensor, Tensor]:
    """x as (N, C) and class indices as (N,), from (C,), (N, C) or (N, C, ...)."""
    t = as_operand(target, op)
    if t.dtype.kind not in "iu":
        raise DTypeError(f"{op}: target must hold class indices (int64), got {t.dtype}")
    if x.ndim == 0 or t.shape != (x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()):
        raise ShapeError(
            f"{op}: target of shape {t.shape} does not fit input of shape {x.shape}; expected "
            "(N, ...) for input (N, C, ...)"
        )
    if x.ndim == 1:
        x = unsqueeze(x, 0)
    elif x.ndim > 2:
        x = reshape(movedim(x, 1, -1), (-1, x.shape[1]))
    t = convert(t, dtypes.int64)
    return x, t if t._array.ndim == 1 else reshape(t, -1)


def _onehot_part(x: Tensor, t: Tensor, ignore: int) -> tuple[Tensor, Tensor]:
    """Which rows count (N, 1), as bools, and the one-hot targets (N, C), as numbers."""
    counts = unsqueeze(t != ignore, 1)
    classes = Tensor._new(kernels.of(t._array).copy(_arange(x.shape[1])))
    return counts, convert(unsqueeze(t, 1) == classes, x.dtype)


def _arange(n: int) -> Any:
    from .create import arange

    return arange(n)._array


def _cross_entropy_vjp(
    g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any
) -> tuple:
    x, target, weight = inputs
    ignore, smoothing, _, total = params
    counts, onehot = _onehot_part(x, target, ignore)
    q = onehot * (1.0 - smoothing) + smoothing / max(x.shape[1], 1)
    if weight is not None:
        q = q * weight
    if total is None:
        g = unsqueeze(g, 1)
    else:
        g = g / convert(_new(total), g.dtype)
    g = g * counts
    return g * (sum_(q, 1, True) * softmax(x, 1) - q), None, None


def _cross_entropy_fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> tuple:
    x, target, weight, _ = saved
    ignore, smoothing, lse, total = params
    gx = kernels.of(x).cross_entropy_grad(
        g._array, x, lse, target, weight, ignore, smoothing, total
    )
    return _new(gx), None, None


CROSS_ENTROPY = explicit(
    "cross_entropy", _cross_entropy_vjp, saves=(0, 1, 2), fused=_cross_entropy_fused
)


def _weights(op: str, weight: Any, x: Tensor, classes: int) -> Tensor | None:
    if weight is None:
        return None
    w = convert(as_operand(weight, op), x.dtype)
    if w._node is not None:
        raise GradientError(f"{op}: weight has no derivative here; detach() it")
    if w.shape != (classes,):
        raise ShapeError(f"{op}: weight expects shape ({classes},), got {w.shape}")
    return w


def reduction_of(op: str, size_average: Any, reduce: Any, reduction: str) -> str:
    """The reduction of a loss, which size_average and reduce, its former names, override."""
    if size_average is None and reduce is None and reduction in ("mean", "sum", "none"):
        return reduction
    for name, value in (("size_average", size_average), ("reduce", reduce)):
        if not isinstance(value, (bool, type(None))):
            raise TgValueError(f"{op}: {name} is a bool or None, got {value!r}; name reduction=")
    if size_average is not None or reduce is not None:
        average = size_average is None or bool(size_average)
        reduction = ("mean" if average else "sum") if reduce is None or reduce else "none"
    if reduction not in ("mean", "sum", "none"):
        raise TgValueError(f"{op}: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    return reduction


def _reduced(
    loss: Tensor, t: Tensor, w: Tensor | None, ignore: int, reduction: str, shape: tuple
) -> Tensor:
    """The losses of all rows as asked for; the mean is weighted, over the rows that count."""
    if reduction == "none":
        return reshape(loss, shape)
    total = sum_(loss)
    if reduction == "sum":
        return total
    counts = convert(t != ignore, loss.dtype)
    if w is not None:
        safe = where(t == ignore, 0, t)
        counts = counts * index_select(w, 0, safe) if w.shape[0] else counts
    return total / sum_(counts)


def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The negative log-probability of the target class under softmax(input).

    input: logits (C,), (N, C) or (N, C, ...), floating. target: class indices (N, ...) as integers,
    or probabilities of the shape of input. weight: (C,), one factor per class. Targets equal to
    ignore_index do not count. label_smoothing s mixes the target with the uniform distribution (1 -
    s : s). reduction: "mean" (weighted, over targets that count), "sum" or "none" (the shape of the
    indices); size_average and reduce are its former names. Raises IndexError for a class outside
    [0, C), ShapeError, DTypeError, ValueError. Source: Szegedy et al., 2015 (smoothing).

    >>> import tilegrad as tg
    >>> loss = tg.nn.functional.cross_entropy(tg.zeros(2, 4), tg.tensor([0, 3]))
    >>> round(loss.item(), 4)
    1.3863
    """
    op = "cross_entropy"
    x = as_operand(input, op)
    reduction = reduction_of(op, size_average, reduce, reduction)
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"{op}: input must be floating, got {x.dtype}")
    if not 0.0 <= label_smoothing <= 1.0:
        raise TgValueError(f"{op}: label_smoothing must lie in [0, 1], got {label_smoothing}")
    t = as_operand(target, op)
    if dtypes.is_floating(t.dtype):
        return _soft_cross_entropy(x, t, weight, reduction, label_smoothing)
    shape = t.shape
    x, t = _targets(op, x, t, ignore_index)
    w = _weights(op, weight, x, x.shape[1])
    smoothing, k = float(label_smoothing), kernels.of(x._array)
    wa = None if w is None else w._array
    ignore = int(ignore_index)
    loss, lse, total = k.cross_entropy(x._array, t._array, wa, ignore, smoothing, reduction)
    out = record(CROSS_ENTROPY, loss, (x, t, w), (ignore, smoothing, lse, total))
    return out if total is not None or len(shape) == 1 else reshape(out, shape)


def _soft_cross_entropy(
    x: Tensor, t: Tensor, weight: Any, reduction: str, smoothing: float
) -> Tensor:
    op = "cross_entropy"
    if t.shape != x.shape or x.ndim == 0:
        raise ShapeError(f"{op}: probabilities of shape {t.shape} for input of shape {x.shape}")
    axis = 0 if x.ndim == 1 else 1
    classes = x.shape[axis]
    if smoothing:
        t = t * (1.0 - smoothing) + smoothing / max(classes, 1)
    w = _weights(op, weight, x, classes)
    q = t if w is None else t * reshape(w, (-1,) + (1,) * (x.ndim - 1 - axis))
    loss = -sum_(q * log_softmax(x, axis), axis)
    if reduction == "none":
        return loss
    total = sum_(loss)
    return total if reduction == "sum" else total / math.prod(loss.shape)


def nll_loss(
    input: Tensor,
    target: Any,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-input[target]: the negative log-likelihood, where input holds log-probabilities.

    input: (C,), (N, C) or (N, C, ...); the other arguments and errors as for cross_entropy.

    >>> import tilegrad as tg
    >>> tg.nn.functional.nll_loss(tg.tensor([[-1.0, -2.0]]), tg.tensor([1]))
    tensor(2.)
    """
    op = "nll_loss"
    x = as_operand(input, op)
    reduction = reduction_of(op, size_average, reduce, reduction)
    shape = as_operand(target, op).shape
    x, t = _targets(op, x, target, ignore_index)
    ignored = t == ignore_index
    bad = ~ignored & ((t < 0) | (t >= x.shape[1]))
    if checking() and any_(bad).item():
        first = int(bad.tolist().index(True))
        raise TgIndexError(
            f"{op}: target {t[first].item()} at position {first} is outside [0, {x.shape[1]}) and "
            f"is not ignore_index ({ignore_index})"
        )
    w = _weights(op, weight, x, x.shape[1])
    if x._array.size == 0:
        return _reduced(sum_(x, 1), t, w, ignore_index, reduction, shape)
    safe = where(ignored, 0, t)
    loss = -reshape(gather(x, 1, unsqueeze(safe, 1)), -1)
    if w is not None:
        loss = loss * index_select(w, 0, safe)
    return _reduced(where(ignored, 0.0, loss), t, w, ignore_index, reduction, shape)


METHODS: dict[str, Any] = {"softmax": softmax, "log_softmax": log_softmax}

FUNCTIONAL = ("cross_entropy", "nll_loss")
"""Published in ``nn.functional`` only, as in PyTorch."""

__all__ = ["log_softmax", "softmax"]
