"""The functions behind the layers, with PyTorch's names and arguments."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from .. import ops
from ..errors import ShapeError, renamed
from ..errors import ValueError as TgValueError
from ..ops import conv1d as conv1d
from ..ops import conv2d as conv2d
from ..ops import conv3d as conv3d
from ..ops import conv_transpose1d as conv_transpose1d
from ..ops import conv_transpose2d as conv_transpose2d
from ..ops import conv_transpose3d as conv_transpose3d
from ..ops import linear as linear
from ..ops import log_softmax as log_softmax
from ..ops import sigmoid as sigmoid
from ..ops import softmax as softmax
from ..ops import softplus as softplus
from ..ops import tanh as tanh
from ..ops.attention import scaled_dot_product_attention as scaled_dot_product_attention
from ..ops.classification import cross_entropy as cross_entropy
from ..ops.classification import nll_loss as nll_loss
from ..ops.classification import reduction_of
from ..ops.index import embedding as embedding
from ..ops.index import one_hot as one_hot
from ..ops.join import pad as pad
from ..ops.normalization import batch_norm as batch_norm
from ..ops.normalization import group_norm as group_norm
from ..ops.normalization import layer_norm as layer_norm
from ..ops.normalization import normalize as normalize
from ..ops.pool import adaptive_avg_pool1d as adaptive_avg_pool1d
from ..ops.pool import adaptive_avg_pool2d as adaptive_avg_pool2d
from ..ops.pool import adaptive_avg_pool3d as adaptive_avg_pool3d
from ..ops.pool import adaptive_max_pool1d as adaptive_max_pool1d
from ..ops.pool import adaptive_max_pool2d as adaptive_max_pool2d
from ..ops.pool import adaptive_max_pool3d as adaptive_max_pool3d
from ..ops.pool import avg_pool1d as avg_pool1d
from ..ops.pool import avg_pool2d as avg_pool2d
from ..ops.pool import avg_pool3d as avg_pool3d
from ..ops.pool import max_pool1d as max_pool1d
from ..ops.pool import max_pool2d as max_pool2d
from ..ops.pool import max_pool3d as max_pool3d
from ..ops.random import dropout as dropout
from ..ops.random import dropout1d as dropout1d
from ..ops.random import dropout2d as dropout2d
from ..ops.random import dropout3d as dropout3d
from ..tensor import Tensor


def _into(input: Any, y: Tensor, inplace: bool) -> Tensor:
    return input.copy_(y) if inplace else y


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0).

    >>> import tilegrad as tg
    >>> relu(tg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _into(input, ops.relu(input), inplace)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x).

    >>> import tilegrad as tg
    >>> silu(tg.tensor([0.0]))
    tensor([0.])
    """
    return _into(input, ops.silu(input), inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where positive, else negative_slope * x.

    >>> import tilegrad as tg
    >>> leaky_relu(tg.tensor([-1.0, 2.0]), 0.5)
    tensor([-0.5,  2. ])
    """
    return _into(input, ops.leaky_relu(input, negative_slope), inplace)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where positive, else alpha * (e**x - 1).

    >>> import tilegrad as tg
    >>> elu(tg.tensor([0.0, 2.0]))
    tensor([0., 2.])
    """
    return _into(input, ops.elu(input, alpha), inplace)


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x * Phi(x), Phi the normal distribution function; approximate "tanh" uses the formula of
    Hendrycks and Gimpel, 2016, section 2.

    >>> import tilegrad as tg
    >>> gelu(tg.tensor([0.0]))
    tensor([0.])
    """
    if approximate == "none":
        return ops.gelu(input)
    if approximate != "tanh":
        raise TgValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    inner = (input + input * input * input * 0.044715) * math.sqrt(2.0 / math.pi)
    return input * 0.5 * (ops.tanh(inner) + 1.0)


# --- losses ---------------------------------------------------------------------------------------
def _pointwise(
    op: str, error: Callable, input: Tensor, target: Tensor, legacy: tuple[Any, Any],
    reduction: str, weight: Tensor | None,
) -> Tensor:  # fmt: skip
    """error(input - target), weighted and reduced as asked for."""
    reduction = reduction_of(op, *legacy, reduction)
    if input.shape != target.shape:
        warnings.warn(
            f"{op}: input has shape {input.shape}, target {target.shape}; they are broadcast, "
            "which is rarely meant",
            stacklevel=3,
        )
    try:
        y = error(ops.sub(input, target))
    except ShapeError as e:
        raise renamed(e, op, other="target") from None
    if weight is not None:
        if weight.shape != input.shape:
            raise ShapeError(f"{op}: weight expects shape {input.shape}, got {weight.shape}")
        y = y * weight
    if reduction == "none":
        return y
    if reduction == "sum":
        return y.sum()
    return y.mean() if weight is None else y.sum() / weight.sum()


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """(input - target)**2, averaged, summed or (reduction "none") as it is. Warns where the shapes
    differ.

    weight: one factor per element of input; the mean is divided by their sum. size_average and
    reduce are former names of reduction. Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> mse_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0]))
    tensor(2.)
    """
    legacy = (size_average, reduce)
    return _pointwise("mse_loss", ops.square, input, target, legacy, reduction, weight)


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """|input - target|, averaged, summed or (reduction "none") as it is. weight, size_average,
    reduce and errors as for mse_loss.

    >>> import tilegrad as tg
    >>> l1_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0]))
    tensor(1.)
    """
    legacy = (size_average, reduce)
    return _pointwise("l1_loss", ops.abs, input, target, legacy, reduction, weight)


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_norm", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "cross_entropy", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "elu", "embedding", "gelu", "group_norm", "l1_loss", "layer_norm", "leaky_relu", "linear",
    "log_softmax", "max_pool1d", "max_pool2d", "max_pool3d", "mse_loss", "nll_loss",
    "normalize", "one_hot", "pad", "relu", "sigmoid", "silu", "softmax", "softplus", "tanh",
]  # fmt: skip
