"""The functions behind the layers, with PyTorch's names and arguments."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
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
from ..ops.activation import celu as celu
from ..ops.activation import elu_ as elu_
from ..ops.activation import gaussian as gaussian
from ..ops.activation import glu as glu
from ..ops.activation import gumbel_softmax as gumbel_softmax
from ..ops.activation import hardshrink as hardshrink
from ..ops.activation import hardsigmoid as hardsigmoid
from ..ops.activation import hardswish as hardswish
from ..ops.activation import hardtanh as hardtanh
from ..ops.activation import hardtanh_ as hardtanh_
from ..ops.activation import into as _into
from ..ops.activation import leaky_relu_ as leaky_relu_
from ..ops.activation import logsigmoid as logsigmoid
from ..ops.activation import maxout as maxout
from ..ops.activation import mish as mish
from ..ops.activation import prelu as prelu
from ..ops.activation import relu6 as relu6
from ..ops.activation import relu_ as relu_
from ..ops.activation import rrelu as rrelu
from ..ops.activation import rrelu_ as rrelu_
from ..ops.activation import selu as selu
from ..ops.activation import softmin as softmin
from ..ops.activation import softshrink as softshrink
from ..ops.activation import softsign as softsign
from ..ops.activation import sparsemax as sparsemax
from ..ops.activation import tanhshrink as tanhshrink
from ..ops.activation import threshold as threshold
from ..ops.activation import threshold_ as threshold_
from ..ops.attention import scaled_dot_product_attention as scaled_dot_product_attention
from ..ops.classification import cross_entropy as cross_entropy
from ..ops.classification import nll_loss as nll_loss
from ..ops.composite import alpha_dropout as alpha_dropout
from ..ops.composite import bilinear as bilinear
from ..ops.composite import drop_connect as drop_connect
from ..ops.composite import embedding_bag as embedding_bag
from ..ops.composite import feature_alpha_dropout as feature_alpha_dropout
from ..ops.composite import instance_norm as instance_norm
from ..ops.composite import local_response_norm as local_response_norm
from ..ops.composite import rms_norm as rms_norm
from ..ops.ctc import ctc_loss as ctc_loss
from ..ops.distance import cosine_similarity as cosine_similarity
from ..ops.distance import pairwise_distance as pairwise_distance
from ..ops.distance import pdist as pdist
from ..ops.index import embedding as embedding
from ..ops.index import one_hot as one_hot
from ..ops.join import pad as pad
from ..ops.loss import binary_cross_entropy as binary_cross_entropy
from ..ops.loss import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from ..ops.loss import gaussian_nll_loss as gaussian_nll_loss
from ..ops.loss import huber_loss as huber_loss
from ..ops.loss import kl_div as kl_div
from ..ops.loss import l0_loss as l0_loss
from ..ops.loss import l1_loss as l1_loss
from ..ops.loss import mse_loss as mse_loss
from ..ops.loss import poisson_nll_loss as poisson_nll_loss
from ..ops.loss import smooth_l1_loss as smooth_l1_loss
from ..ops.margin import cosine_embedding_loss as cosine_embedding_loss
from ..ops.margin import exponential_loss as exponential_loss
from ..ops.margin import hinge_embedding_loss as hinge_embedding_loss
from ..ops.margin import margin_ranking_loss as margin_ranking_loss
from ..ops.margin import multi_margin_loss as multi_margin_loss
from ..ops.margin import multilabel_margin_loss as multilabel_margin_loss
from ..ops.margin import multilabel_soft_margin_loss as multilabel_soft_margin_loss
from ..ops.margin import soft_margin_loss as soft_margin_loss
from ..ops.margin import triplet_margin_loss as triplet_margin_loss
from ..ops.margin import triplet_margin_with_distance_loss as triplet_margin_with_distance_loss
from ..ops.normalization import batch_norm as batch_norm
from ..ops.normalization import batch_norm_relu as batch_norm_relu
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
from ..ops.resample import affine_grid as affine_grid
from ..ops.resample import grid_sample as grid_sample
from ..ops.resample import interpolate as interpolate
from ..ops.resample import upsample as upsample
from ..ops.resample import upsample_bilinear as upsample_bilinear
from ..ops.resample import upsample_nearest as upsample_nearest
from ..ops.windows import channel_shuffle as channel_shuffle
from ..ops.windows import fold as fold
from ..ops.windows import fractional_max_pool2d as fractional_max_pool2d
from ..ops.windows import fractional_max_pool3d as fractional_max_pool3d
from ..ops.windows import lp_pool1d as lp_pool1d
from ..ops.windows import lp_pool2d as lp_pool2d
from ..ops.windows import lp_pool3d as lp_pool3d
from ..ops.windows import max_unpool1d as max_unpool1d
from ..ops.windows import max_unpool2d as max_unpool2d
from ..ops.windows import max_unpool3d as max_unpool3d
from ..ops.windows import median_pool2d as median_pool2d
from ..ops.windows import pixel_shuffle as pixel_shuffle
from ..ops.windows import pixel_unshuffle as pixel_unshuffle
from ..ops.windows import unfold as unfold
from ..tensor import Tensor


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


__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d",
    "adaptive_max_pool2d", "adaptive_max_pool3d", "affine_grid", "alpha_dropout", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "batch_norm", "batch_norm_relu", "bilinear", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "celu", "channel_shuffle", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "ctc_loss", "drop_connect", "dropout", "dropout1d",
    "dropout2d", "dropout3d", "elu", "elu_", "embedding", "embedding_bag", "exponential_loss",
    "feature_alpha_dropout", "fold", "fractional_max_pool2d", "fractional_max_pool3d", "gaussian",
    "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm", "gumbel_softmax", "hardshrink",
    "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "hinge_embedding_loss", "huber_loss",
    "instance_norm", "interpolate", "kl_div", "l0_loss", "l1_loss", "layer_norm", "leaky_relu",
    "leaky_relu_", "linear", "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d",
    "lp_pool2d", "lp_pool3d", "margin_ranking_loss", "max_pool1d", "max_pool2d", "max_pool3d",
    "max_unpool1d", "max_unpool2d", "max_unpool3d", "maxout", "median_pool2d", "mish", "mse_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss",
    "normalize", "one_hot", "pad", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "rms_norm", "rrelu", "rrelu_", "selu",
    "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "sparsemax", "tanh", "tanhshrink", "threshold", "threshold_",
    "triplet_margin_loss", "triplet_margin_with_distance_loss", "unfold", "upsample",
    "upsample_bilinear", "upsample_nearest",
]  # fmt: skip
