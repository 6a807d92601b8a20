"""Losses that ask for a margin between right and wrong, made of other ops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import IndexError as TgIndexError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from . import unary
from .activation import floating, logsigmoid
from .binary import minimum, where
from .classification import reduction_of
from .create import arange
from .distance import pairwise_distance
from .index import extreme, gather, index_select
from .loss import reduced, same_shape
from .reduce import any as any_
from .reduce import cumprod
from .reduce import sum as sum_
from .rules import as_operand, convert, number
from .shape import unsqueeze


def _above(x: Any) -> Any:
    """max(x, 0), whose derivative at 0 is 1, as in PyTorch's losses."""
    return unary.clamp(x, min=0.0)


# --- two classes ----------------------------------------------------------------------------------
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """ln(1 + e**(-target * input)), without overflow.

    input: floating; target: 1 or -1, of the same shape. reduction: "mean", "sum" or "none";
    size_average and reduce are its former names. Raises ShapeError, ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.soft_margin_loss(tg.tensor([0.0]), tg.tensor([1.0]))
    tensor(0.6931)
    """
    op = "soft_margin_loss"
    x, t = same_shape(op, input, target)
    y = -logsigmoid(x * t)  # type: ignore[operator]
    return reduced(op, y, reduction_of(op, size_average, reduce, reduction))


def exponential_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """e**(-target * input): the loss that boosting descends. Arguments as for soft_margin_loss.
    Source: Freund and Schapire, 1997.

    >>> import tilegrad as tg
    >>> tg.nn.functional.exponential_loss(tg.tensor([0.0]), tg.tensor([-1.0]))
    tensor(1.)
    """
    x, t = same_shape("exponential_loss", input, target)
    return reduced("exponential_loss", unary.exp(-(x * t)), reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, max(0, margin - input) where it is -1: input holds distances.

    input: floating; target: broadcasts against it. reduction: "mean", "sum" or "none"; size_average
    and reduce are its former names. Raises ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> x, t = tg.tensor([0.5, 0.25]), tg.tensor([1, -1])
    >>> tg.nn.functional.hinge_embedding_loss(x, t, reduction="none")
    tensor([0.5 , 0.75])
    """
    op = "hinge_embedding_loss"
    x, t = floating(op, input), as_operand(target, op)
    far: Any = where(t != 1, _above(number(margin, op, "margin") - x), 0.0)
    y = far + where(t != -1, x, 0.0)
    return reduced(op, y, reduction_of(op, size_average, reduce, reduction))


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, margin - target * (input1 - input2)): target 1 wants input1 the larger, -1 input2.

    input1, input2, target: broadcast against each other.
    Other arguments as for hinge_embedding_loss. Raises ShapeError for different numbers of axes,
    ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> one = tg.tensor([1.0])
    >>> tg.nn.functional.margin_ranking_loss(one * 0.25, one * 0.5, one)
    tensor(0.25)
    """
    op = "margin_ranking_loss"
    a, b, t = floating(op, input1), floating(op, input2), as_operand(target, op)
    if not a.ndim == b.ndim == t.ndim:
        raise ShapeError(f"{op}: the ranks of {a.shape}, {b.shape} and {t.shape} differ")
    y = _above(-t * (a - b) + number(margin, op, "margin"))  # type: ignore[operator]
    return reduced(op, y, reduction_of(op, size_average, reduce, reduction))


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(input1, input2) where target is 1, max(0, cos(input1, input2) - margin) where -1.

    input1, input2: (N, D) with target (N,), or (D,) with target ().
    Other arguments as for hinge_embedding_loss. Raises ShapeError, ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> x, y = tg.tensor([[3.0, 4.0]]), tg.tensor([[4.0, 3.0]])
    >>> tg.nn.functional.cosine_embedding_loss(x, y, tg.tensor([-1]))
    tensor(0.96)
    """
    op = "cosine_embedding_loss"
    a, b, t = floating(op, input1), floating(op, input2), as_operand(target, op)
    if t.ndim > 1 or a.ndim != t.ndim + 1 or b.ndim != a.ndim:
        raise ShapeError(
            f"{op}: expects inputs (N, D) and target (N,), or (D,) and (), got {a.shape}, "
            f"{b.shape} and {t.shape}"
        )
    squares = (sum_(a * a, -1) + 1e-12) * (sum_(b * b, -1) + 1e-12)  # type: ignore[operator]
    cos: Any = sum_(a * b, -1) / unary.sqrt(squares)  # type: ignore[operator]
    far: Any = where(t == -1, _above(cos - number(margin, op, "margin")), 0.0)
    y = where(t == 1, 1.0 - cos, 0.0) + far
    return reduced(op, y, reduction_of(op, size_average, reduce, reduction))


# --- several classes ------------------------------------------------------------------------------
def _rows(op: str, input: Any, target: Any, rank: int) -> tuple[Any, Any]:
    """input as (N, C), target as int64 with a first axis of N."""
    x, t = floating(op, input), as_operand(target, op)
    if t.dtype.kind not in "iu":
        raise DTypeError(f"{op}: target must hold class indices (int64), got {t.dtype}")
    if x.ndim not in (1, 2) or t.shape != x.shape[: x.ndim - 1 + rank]:
        raise ShapeError(f"{op}: target of shape {t.shape} does not fit input of shape {x.shape}")
    t = convert(t, dtypes.int64)
    if t._array.size and (extreme("max", t) >= x.shape[-1] or (not rank and extreme("min", t) < 0)):
        raise TgIndexError(f"{op}: a class is outside [0, {x.shape[-1]})")
    return (unsqueeze(x, 0), unsqueeze(t, 0)) if x.ndim == 1 else (x, t)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over wrong classes i of max(0, margin - x[target] + x[i])**p, over the number of
    classes.

    input: (N, C) or (C,), floating; target: class indices (N,) or (). p: 1 or 2. weight: (C,), a
    factor per target class. Other arguments as for hinge_embedding_loss. Raises ShapeError,
    ValueError, IndexError, DTypeError. Source: Crammer and Singer, 2001.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[0.1, 0.2, 0.4, 0.8]])
    >>> tg.nn.functional.multi_margin_loss(x, tg.tensor([3]))
    tensor(0.325)
    """
    op = "multi_margin_loss"
    if p not in (1, 2):
        raise TgValueError(f"{op}: p must be 1 or 2, got {p}")
    single = as_operand(input, op).ndim == 1
    x, t = _rows(op, input, target, 0)
    z = number(margin, op, "margin") - gather(x, 1, unsqueeze(t, 1)) + x  # type: ignore[operator]
    z = unary.relu(where(arange(x.shape[1]) == unsqueeze(t, 1), 0.0, z))
    if p == 2:
        z = z * z
    if weight is not None:
        w = convert(as_operand(weight, op), x.dtype)
        if w.shape != x.shape[1:]:
            raise ShapeError(f"{op}: weight expects shape {x.shape[1:]}, got {w.shape}")
        z = z * unsqueeze(index_select(w, 0, t), 1)
    y: Any = sum_(z, 1) / x.shape[1]  # type: ignore[operator]
    reduction = reduction_of(op, size_average, reduce, reduction)
    return reduced(op, y[0] if single else y, reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over right classes j and wrong classes i of max(0, 1 - (x[j] - x[i])), over the
    number of classes.

    input: (N, C) or (C,), floating; target: of the same shape, the right classes first, then -1.
    Other arguments as for hinge_embedding_loss. Raises ShapeError, ValueError, IndexError,
    DTypeError.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[0.1, 0.2, 0.4, 0.8]])
    >>> tg.nn.functional.multilabel_margin_loss(x, tg.tensor([[3, 0, -1, 1]]))
    tensor(0.85)
    """
    op = "multilabel_margin_loss"
    single = as_operand(input, op).ndim == 1
    x, t = _rows(op, input, target, 1)
    named = cumprod(convert(t >= 0, dtypes.int64), 1) > 0  # type: ignore[operator]
    at = where(named, t, 0)
    hit = (unsqueeze(at, 2) == arange(x.shape[1])) & unsqueeze(named, 2)  # type: ignore[operator]
    right: Any = any_(hit, 1)
    z = 1.0 - unsqueeze(gather(x, 1, at), 2) + unsqueeze(x, 1)  # type: ignore[operator]
    counts = unsqueeze(named, 2) & ~unsqueeze(right, 1)  # type: ignore[operator]
    y: Any = sum_(unary.relu(where(counts, z, 0.0)), (1, 2)) / x.shape[1]  # type: ignore[operator]
    reduction = reduction_of(op, size_average, reduce, reduction)
    return reduced(op, y[0] if single else y, reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of -(t ln sigmoid(x) + (1 - t) ln sigmoid(-x)).

    input: (..., C), floating; target: 0 or 1, of the same shape; weight: (C,), a factor per class.
    Other arguments as for hinge_embedding_loss. Raises ShapeError, ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> x, t = tg.tensor([[0.0, 0.0]]), tg.tensor([[1.0, 0.0]])
    >>> tg.nn.functional.multilabel_soft_margin_loss(x, t)
    tensor(0.6931)
    """
    op = "multilabel_soft_margin_loss"
    x, t = same_shape(op, input, target)
    y: Any = -(t * logsigmoid(x) + (1.0 - t) * logsigmoid(-x))
    if weight is not None:
        y = y * as_operand(weight, op)
    reduction = reduction_of(op, size_average, reduce, reduction)
    return reduced(op, y.mean(-1), reduction)


# --- three vectors --------------------------------------------------------------------------------
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), d as pairwise_distance.

    anchor, positive, negative: (N, D) or (D,), floating. margin: positive. swap: d(positive,
    negative) instead of d(anchor, negative) where it is smaller.
    Other arguments as for hinge_embedding_loss. Raises ValueError, ShapeError, DTypeError. Source:
    Balntas et al., 2016.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[1.0, 0.0], [0.0, 3.0], [0.0, 0.0]])
    >>> tg.nn.functional.triplet_margin_loss(x[0], x[2], x[1], eps=0.0)
    tensor(0.)
    """
    op = "triplet_margin_loss"

    def distance(a: Any, b: Any) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    reduction = reduction_of(op, size_average, reduce, reduction)
    return _triplet(op, (anchor, positive, negative), distance, margin, swap, reduction)


def _triplet(
    op: str, vectors: tuple, distance: Callable, margin: float, swap: bool, reduction: str
) -> Tensor:
    a, b, c = (floating(op, v) for v in vectors)
    if not a.ndim == b.ndim == c.ndim:
        raise ShapeError(f"{op}: the ranks of {a.shape}, {b.shape} and {c.shape} differ")
    m = number(margin, op, "margin")
    if not m > 0:
        raise TgValueError(f"{op}: margin must be positive, got {margin}")
    near, far = distance(a, b), distance(a, c)
    if swap:
        far = minimum(far, distance(b, c))
    return reduced(op, _above(near - far + m), reduction)  # type: ignore[operator]


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """As triplet_margin_loss, with any distance_function(a, b) of tensors.

    >>> import tilegrad as tg
    >>> a, b, c = tg.tensor([[1.0], [2.0], [5.0]])
    >>> far = lambda x, y: (x - y).abs().sum(-1)
    >>> loss = tg.nn.functional.triplet_margin_with_distance_loss
    >>> loss(a, b, c, distance_function=far, margin=4.0)
    tensor(1.)
    """
    op = "triplet_margin_with_distance_loss"
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(op, (anchor, positive, negative), distance, margin, swap, reduction)


FUNCTIONAL = (
    "cosine_embedding_loss", "exponential_loss", "hinge_embedding_loss", "margin_ranking_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
    "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
)  # fmt: skip
"""What ``tilegrad.nn.functional`` publishes from here."""
