"""A batch normalisation taken into the layer before it, for evaluation."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ... import ops
from ...errors import ValueError as TgValueError
from ...grad_mode import no_grad
from ...tensor import Tensor
from ..module import Module
from ..parameter import Parameter


def _scaled(
    weight: Tensor, bias: Any, mean: Any, var: Any, eps: float, scale: Any, shift: Any, axis: int
) -> tuple[Parameter, Parameter]:
    b: Any = ops.zeros_like(mean) if bias is None else bias
    factor: Any = ops.rsqrt(var + eps) if scale is None else ops.rsqrt(var + eps) * scale
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    shifted = (b - mean) * factor if shift is None else (b - mean) * factor + shift
    scaled: Any = weight * ops.reshape(factor, shape)  # type: ignore[operator]
    return (
        Parameter(scaled.detach().to(weight.dtype), weight.requires_grad),
        Parameter(shifted.detach().to(weight.dtype), bias is None or bias.requires_grad),
    )


@no_grad()
def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """Weight and bias of the convolution that does what one with conv_w and conv_b and a batch
    normalisation behind it do.

    bn_rm, bn_rv: its running mean and variance; bn_eps, bn_w, bn_b: its eps, weight and bias.
    transpose: whether the convolution is transposed (one group), outputs along axis 1 of conv_w.

    >>> import tilegrad as tg
    >>> w, b = tg.nn.utils.fuse_conv_bn_weights(
    ...     tg.ones(1, 1, 1), None, tg.tensor([1.0]), tg.tensor([4.0]), 0.0, None, None
    ... )
    >>> w.item(), b.item()
    (0.5, -0.5)
    """
    return _scaled(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 1 if transpose else 0)


@no_grad()
def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor, bn_b: Tensor,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """As fuse_conv_bn_weights, of a linear layer with linear_w and linear_b; bn_rm, bn_rv, bn_eps,
    bn_w and bn_b as there.

    >>> import tilegrad as tg
    >>> one = tg.ones(1)
    >>> w, b = tg.nn.utils.fuse_linear_bn_weights(tg.ones(1, 1), None, one, one, 0.0, one, one)
    >>> w.item(), b.item()
    (1.0, 0.0)
    """
    return _scaled(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _fused(op: str, layer: Module, bn: Any, fuse: Any, *options: bool) -> Any:
    if layer.training or bn.training:
        raise TgValueError(f"{op}: expects both layers in evaluation mode; call eval() first")
    if bn.running_mean is None:
        raise TgValueError(f"{op}: {type(bn).__name__} keeps no running estimates")
    fused: Any = deepcopy(layer)
    fused.weight, fused.bias = fuse(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
        *options,
    )  # fmt: skip
    return fused


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of the convolution conv that does what conv and the batch normalisation bn behind it
    do in evaluation mode.

    transpose: whether conv is transposed. Raises ValueError in training mode. Source: Ioffe and
    Szegedy, 2015, section 3.1 (inference is one linear map).

    >>> import tilegrad as tg
    >>> conv, bn = tg.nn.Conv2d(1, 2, 3).eval(), tg.nn.BatchNorm2d(2).eval()
    >>> tg.nn.utils.fuse_conv_bn_eval(conv, bn)(tg.zeros(1, 1, 4, 4)).shape
    (1, 2, 2, 2)
    """
    return _fused("fuse_conv_bn_eval", conv, bn, fuse_conv_bn_weights, transpose)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """As fuse_conv_bn_eval, of a linear layer: a copy of linear that does what linear and bn do.

    Raises ValueError in training mode, or where bn has neither one feature nor those of linear.

    >>> import tilegrad as tg
    >>> linear, bn = tg.nn.Linear(3, 2).eval(), tg.nn.BatchNorm1d(2).eval()
    >>> tg.nn.utils.fuse_linear_bn_eval(linear, bn)(tg.zeros(4, 3)).shape
    (4, 2)
    """
    if bn.num_features not in (1, linear.out_features):
        raise TgValueError(
            f"fuse_linear_bn_eval: {bn.num_features} features do not fit {linear.out_features}"
        )
    return _fused("fuse_linear_bn_eval", linear, bn, fuse_linear_bn_weights)
