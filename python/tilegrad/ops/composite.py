"""Layers' functions made of other ops: normalisations, dropouts, bags of rows, a bilinear form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..tensor import Tensor
from .activation import floating, into
from .binary import where
from .index import embedding, index_tensor
from .join import pad
from .matmul import linear, matmul
from .normalization import _checked, _follow, batch_norm
from .pool import avg_pool2d
from .random import dropout, rand
from .reduce import amax
from .reduce import mean as mean_
from .reduce import sum as sum_
from .rules import as_operand, constant, convert, number
from .shape import movedim, reshape, unsqueeze
from .unary import rsqrt, square

_EPS = {dtypes.float16: 2.0**-10, dtypes.bfloat16: 2.0**-7, dtypes.float32: 2.0**-23,
        dtypes.float64: 2.0**-52}  # fmt: skip


# --- normalisation --------------------------------------------------------------------------------
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias per sample and channel of (N, C, ...).

    input: floating; the other tensors (C,) or None. use_input_stats: mean and var are those of each
    sample, and running_mean and running_var, where given, move towards their means by momentum;
    otherwise they serve as mean and var. Raises ValueError for one value per channel or a lack of
    estimates, ShapeError, DTypeError. Source: Ulyanov, Vedaldi and Lempitsky, 2016.

    >>> import tilegrad as tg
    >>> tg.nn.functional.instance_norm(tg.tensor([[[1.0, 3.0]]]), eps=0.0)
    tensor([[[-1.,  1.]]])
    """
    op = "instance_norm"
    x = floating(op, input)
    if x.ndim < 3:
        raise ShapeError(f"{op}: input expects (N, C, ...), got shape {x.shape}")
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise TgValueError(f"{op}: use_input_stats=False needs running_mean and running_var")
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    n, c, *rest = x.shape
    count = math.prod(rest)
    if count == 1:
        raise TgValueError(f"{op}: expects over one value per channel, got shape {x.shape}")
    w, b = (_checked(op, s, t, x, (c,)) for s, t in (("weight", weight), ("bias", bias)))
    flat = reshape(x, (1, n * c, *rest))
    mean = var = None
    if running_mean is not None or running_var is not None:
        mean, var = x.new_zeros(n * c), x.new_zeros(n * c)
    y: Any = batch_norm(flat, mean, var, training=True, momentum=1.0, eps=eps)
    y = reshape(y, x.shape)
    with no_grad():
        for estimate, value in ((running_mean, mean), (running_var, var)):
            if estimate is not None:
                per_sample: Any = reshape(value, (n, c))  # type: ignore[arg-type]
                _follow(estimate, mean_(per_sample, 0), momentum)
    shape = (c,) + (1,) * len(rest)
    y = y if w is None else y * reshape(w, shape)
    return y if b is None else y + reshape(b, shape)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / sqrt(mean(x**2) + eps) * weight, the mean over the last axes of each sample.

    input: (..., *normalized_shape), floating; weight: normalized_shape or None. eps: the machine
    epsilon of the dtype unless given. Raises ShapeError, DTypeError. Source: Zhang and Sennrich,
    2019.

    >>> import tilegrad as tg
    >>> tg.nn.functional.rms_norm(tg.tensor([3.0, -3.0]), (2,))
    tensor([ 1., -1.])
    """
    op = "rms_norm"
    x, shape = floating(op, input), tuple(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(f"{op}: input of shape {x.shape} does not end in {shape}")
    w = _checked(op, "weight", weight, x, shape)
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    m: Any = mean_(square(x), axes, True)
    y: Any = x * rsqrt(m + (_EPS[x.dtype] if eps is None else eps))
    return y if w is None else y * w


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * m)**beta, m the mean of x**2 over size neighbouring channels.

    input: (N, C, ...), floating, zeros counting beyond the first and last channel. Raises
    ShapeError, ValueError, DTypeError. Source: Krizhevsky et al., 2012.

    >>> import tilegrad as tg
    >>> tg.nn.functional.local_response_norm(tg.ones(1, 1, 1), 1, alpha=1.0, beta=1.0)
    tensor([[[0.5]]])
    """
    op = "local_response_norm"
    x = floating(op, input)
    if x.ndim < 3:
        raise ShapeError(f"{op}: expects (N, C, ...) of at least 3 dimensions, got {x.shape}")
    if size < 1:
        raise TgValueError(f"{op}: size must be at least 1, got {size}")
    if x._array.size == 0:
        return x
    squares: Any = reshape(square(x), (x.shape[0], 1, x.shape[1], -1))
    squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    m: Any = reshape(avg_pool2d(squares, (size, 1), 1), x.shape)
    return x / (m * number(alpha, op, "alpha") + number(k, op, "k")) ** number(beta, op, "beta")


# --- dropout --------------------------------------------------------------------------------------
_SATURATION = 1.7580993408473766  # -selu(-infinity)


def _alpha_dropped(op: str, x: Any, p: Any, training: bool, inplace: bool, shape: tuple) -> Tensor:
    odds = number(p, op, "p")
    if not 0 <= odds <= 1:
        raise TgValueError(f"{op}: p must lie in [0, 1], got {p}")
    if not training or odds == 0:
        return x
    if odds == 1:
        return into(x, x * 0.0, inplace)
    keep: Any = rand(*shape) >= odds  # type: ignore[operator]
    scale = 1.0 / math.sqrt((_SATURATION**2 * odds + 1.0) * (1.0 - odds))
    shift = scale * _SATURATION * odds
    y = where(keep, x * scale + shift, shift - scale * _SATURATION)
    return into(x, y, inplace)


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Each element with probability p at the value that selu saturates to, all then scaled and
    shifted so that mean 0 and variance 1 stay; input itself unless training.

    Raises ValueError when p is outside [0, 1], DTypeError. Source: Klambauer et al., 2017.

    >>> import tilegrad as tg
    >>> tg.nn.functional.alpha_dropout(tg.ones(3))
    tensor([1., 1., 1.])
    """
    x = floating("alpha_dropout", input)
    return _alpha_dropped("alpha_dropout", x, p, training, inplace, x.shape)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """As alpha_dropout, for whole channels of (N, C, ...).

    >>> import tilegrad as tg
    >>> tg.nn.functional.feature_alpha_dropout(tg.ones(1, 3))
    tensor([[1., 1., 1.]])
    """
    op = "feature_alpha_dropout"
    x = floating(op, input)
    if x.ndim < 2:
        raise ShapeError(f"{op}: expects (N, C, ...), got shape {x.shape}")
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return _alpha_dropped(op, x, p, training, inplace, shape)


def drop_connect(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, p: float = 0.5,
    training: bool = True,
) -> Tensor:  # fmt: skip
    """linear with each weight zero with probability p, else divided by 1 - p; plainly linear unless
    training.

    input, weight and bias as linear takes them. Raises ValueError when p is outside [0, 1]. Source:
    Wan et al., 2013.

    >>> import tilegrad as tg
    >>> tg.nn.functional.drop_connect(tg.ones(1, 2), tg.ones(1, 2), training=False)
    tensor([[2.]])
    """
    return linear(as_operand(input, "drop_connect"), dropout(weight, p, training), bias)


# --- forms and tables -----------------------------------------------------------------------------
def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input1 weight[k] input2 + bias[k] for each output k, over the last axes.

    input1: (..., in1), input2: (..., in2) with the same leading axes; weight: (out, in1, in2);
    bias: (out,) or None. Raises ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.bilinear(tg.ones(2), tg.ones(3), tg.ones(4, 2, 3))
    tensor([6., 6., 6., 6.])
    """
    op = "bilinear"
    a, b, w = floating(op, input1), floating(op, input2), floating(op, weight)
    if w.ndim != 3 or a.ndim < 1 or a.shape[:-1] != b.shape[:-1] or (
        (a.shape[-1], b.shape[-1]) != w.shape[1:]
    ):  # fmt: skip
        raise ShapeError(
            f"{op}: input1 {a.shape}, input2 {b.shape} and weight {w.shape} do not fit; expected "
            "(..., in1), (..., in2) and (out, in1, in2)"
        )
    out, first, second = w.shape
    rows = reshape(a, (-1, first))
    maps = reshape(matmul(rows, reshape(movedim(w, 0, 1), (first, -1))), (-1, out, second))
    y: Any = sum_(maps * reshape(b, (-1, 1, second)), -1)  # type: ignore[operator]
    y = reshape(y, (*a.shape[:-1], out))
    if bias is None:
        return y
    if as_operand(bias, op).shape != (out,):
        raise ShapeError(f"{op}: bias expects shape ({out},), got {as_operand(bias, op).shape}")
    return y + bias


def embedding_bag(
    input: Any,
    weight: Tensor,
    offsets: Any = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of the rows of weight (V, D) in each bag: (bags, D).

    input: (bags, size) integers, or (N,) with offsets, where each bag begins (and, with
    include_last_offset, where the last one ends). mode: "sum", "mean" or "max"; an empty bag gives
    zeros. per_sample_weights: a factor per element of input, for "sum". padding_idx: a row that
    does not count. max_norm, norm_type, scale_grad_by_freq and sparse as for embedding. Raises
    IndexError, ShapeError, ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> w = tg.tensor([[1.0], [2.0], [4.0]])
    >>> tg.nn.functional.embedding_bag(tg.tensor([0, 1, 2]), w, tg.tensor([0, 1]), mode="sum")
    tensor([[1.],
            [6.]])
    """
    op = "embedding_bag"
    at = index_tensor(input, op)
    if mode not in ("sum", "mean", "max"):
        raise TgValueError(f"{op}: mode must be 'sum', 'mean' or 'max', got {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise TgValueError(f"{op}: per_sample_weights is for mode 'sum', got {mode!r}")
    if per_sample_weights is not None and per_sample_weights.shape != at.shape:
        raise ShapeError(
            f"{op}: per_sample_weights expects shape {at.shape}, got {per_sample_weights.shape}"
        )
    if at.ndim == 2 and offsets is not None:
        raise TgValueError(f"{op}: offsets is for input of one axis, got shape {at.shape}")
    if at.ndim not in (1, 2) or (at.ndim == 1 and offsets is None):
        raise ShapeError(f"{op}: expects (bags, size), or (N,) with offsets, got {at.shape}")
    total = at._array.size
    inside: Any
    if at.ndim == 2:
        places, inside = np.arange(total).reshape(at.shape), np.ones(at.shape, bool)
    else:
        places, inside = _bags(op, index_tensor(offsets, op)._array, total, include_last_offset)
    flat = reshape(at, -1)
    rows: Any = embedding(
        flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
    )
    if per_sample_weights is not None:
        rows = rows * unsqueeze(reshape(per_sample_weights, -1), 1)
    if not total:
        return sum_(rows, 0, True) * rows.new_zeros(len(places), 1)
    if padding_idx is not None:
        inside = np.asarray(inside & (flat._array[places] != padding_idx % weight.shape[0]))
    grouped = embedding(constant(places), rows)
    mask = constant(np.expand_dims(inside, -1))
    if mode == "max":
        best: Any = amax(where(mask, grouped, -math.inf), 1) if places.shape[1] else None
        filled = constant(inside.any(1)[:, None])
        return rows.new_zeros(len(places), rows.shape[1]) if best is None else where(
            filled, best, 0.0
        )  # fmt: skip
    y: Any = sum_(where(mask, grouped, 0.0), 1)
    if mode == "sum":
        return y
    return y / convert(constant(np.maximum(inside.sum(1, keepdims=True), 1)), y.dtype)


def _bags(op: str, begin: np.ndarray, total: int, last: bool) -> tuple[np.ndarray, np.ndarray]:
    """The positions of each bag's elements, padded to the largest bag, and which are real."""
    if begin.ndim != 1 or (last and not len(begin)):
        raise ShapeError(f"{op}: offsets expects shape (bags,), got {begin.shape}")
    ends = begin if last else np.append(begin, total)
    if len(ends) > 1 and (ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] > total):
        raise TgValueError(f"{op}: offsets must rise from 0 to at most {total}")
    sizes = np.diff(ends)
    steps = np.arange(max(sizes, default=0))
    inside = steps < sizes[:, None]
    return np.where(inside, ends[:-1, None] + steps, 0), inside


FUNCTIONAL = (
    "alpha_dropout", "bilinear", "drop_connect", "embedding_bag", "feature_alpha_dropout",
    "instance_norm", "local_response_norm", "rms_norm",
)  # fmt: skip
"""What ``tilegrad.nn.functional`` publishes from here."""
