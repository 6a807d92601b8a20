"""Batch, layer and group normalisation: y = (x - mean) / sqrt(var + eps) * weight + bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError, GradientError, ShapeError
from ..errors import ValueError as TgValueError
from ..grad_mode import mode, no_grad
from ..tensor import Tensor
from .moments import norm
from .reduce import mean as mean_
from .rules import as_operand, convert, explicit, record, sum_to
from .shape import reshape
from .unary import relu

_new = Tensor._new


def _standard(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """xhat and 1 / sqrt(var + eps), recorded."""
    centred = x - mean_(x, axes, True)
    rstd = (mean_(centred * centred, axes, True) + eps).rsqrt()
    return centred * rstd, rstd


def _input_grad(
    h: Tensor, xhat: Tensor, rstd: Tensor, axes: tuple[int, ...], need: Any
) -> Tensor | None:
    """Ioffe and Szegedy 2015, section 3: rstd (h - mean(h) - xhat mean(h xhat))."""
    if not need[0]:
        return None
    return rstd * (h - mean_(h, axes, True) - xhat * mean_(h * xhat, axes, True))


def _affine_grads(g: Tensor, xhat: Tensor, need: Any, shape: tuple[int, ...]) -> list:
    """The gradients of weight and bias, which broadcast as ``shape``."""
    n = math.prod(shape)
    gw = reshape(sum_to(g * xhat, shape), (n,)) if need[1] else None
    gb = reshape(sum_to(g, shape), (n,)) if need[2] else None
    return [gw, gb]


def _per_channel(ndim: int, channels: int) -> tuple[int, ...]:
    return (channels,) + (1,) * (ndim - 2)


def _fused(name: str, extra: Callable) -> Callable:
    """The fused kernel ``name`` of layer or group norm; where it gives no gradient of the bias (no
    weight), a sum does."""

    def fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> list:
        x = saved[0]
        gx, gw, gb = getattr(kernels.of(x), name)(g._array, x, saved[1], *extra(params))
        if need[2] and gb is None:
            shape = nodes[2].shape
            lead = shape if name == "layer_norm_grad" else _per_channel(x.ndim, shape[0])
            gb = sum_to(g, lead)._array.reshape(shape)
        return [_new(a) if wanted else None for a, wanted in zip((gx, gw, gb), need, strict=True)]

    return fused


# --- batch norm -----------------------------------------------------------------------------------
def _batch_norm_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> list:
    x, w = inputs[0], inputs[1]
    axes, _, _, eps, rectified = params
    if rectified:
        g = g * (out > 0)
    xhat, rstd = _standard(x, axes, eps)
    shape = _per_channel(x.ndim, x.shape[1])
    h = g if w is None else g * reshape(w, shape)
    residual = [g if wanted else None for wanted in need[3:]]
    gx = _input_grad(h, xhat, rstd, axes, need)
    return [gx, *_affine_grads(g, xhat, need, shape), *residual]


def _fixed_vjp(g: Tensor, need: Any, inputs: Any, out: Any, eps: Any, nodes: Any) -> list:
    x, w, _, mean, var = inputs
    if need[3] or need[4]:
        raise GradientError("batch_norm: the running estimates have no derivative; detach() them")
    shape = _per_channel(x.ndim, x.shape[1])
    rstd = reshape((var + eps).rsqrt(), shape)
    h = g * rstd if w is None else g * (rstd * reshape(w, shape))
    xhat = (x - reshape(mean, shape)) * rstd
    return [h if need[0] else None, *_affine_grads(g, xhat, need, shape), None, None]


def _batch_norm_fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> list:
    x, w, y = saved[0], saved[1], saved[-1]
    own = y is not None and bool(need[3] or (need[2] and w is None))
    gx, gw, gb, gz = kernels.of(x).batch_norm_grad(g._array, x, w, *params[1:4], y, own)
    if need[2] and gb is None:
        counts = g if gz is None else _new(gz)
        gb = sum_to(counts, _per_channel(x.ndim, x.shape[1]))._array.reshape(-1)
    grads = zip((gx, gw, gb, gz), need, strict=False)
    return [_new(a) if wanted else None for a, wanted in grads]


BATCH_NORM = explicit("batch_norm", _batch_norm_vjp, saves=(0, 1), fused=_batch_norm_fused)
BATCH_NORM_RELU = explicit(
    "batch_norm_relu", _batch_norm_vjp, saves=(0, 1, -1), fused=_batch_norm_fused
)
BATCH_NORM_FIXED = explicit("batch_norm_fixed", _fixed_vjp, saves=(0, 1, 3, 4))


def _checked(op: str, name: str, t: Tensor | None, x: Tensor, shape: tuple) -> Tensor | None:
    if t is None:
        return None
    if t.shape != shape:
        raise ShapeError(f"{op}: {name} expects shape {shape}, got {t.shape} for input {x.shape}")
    return convert(t, x.dtype)


def _floating(op: str, x: Tensor, rank: int) -> None:
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"{op}: input must be floating, got {x.dtype}")
    if x.ndim < rank:
        raise ShapeError(f"{op}: input expects at least {rank} dimensions, got shape {x.shape}")


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias per channel (axis 1).

    input: (N, C, ...), floating; the others (C,) or None. training: mean and var are those of the
    batch (biased), and the estimates running_mean and running_var, where given, move towards them
    in place by momentum (the variance unbiased); otherwise they serve as mean and var. Raises
    ValueError for training with one value per channel or inference without estimates, ShapeError,
    DTypeError. Source: Ioffe and Szegedy, 2015.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[1.0], [3.0]])
    >>> tg.nn.functional.batch_norm(x, None, None, training=True, eps=0.0)
    tensor([[-1.],
            [ 1.]])
    """
    norm = (running_mean, running_var, weight, bias, training, momentum, eps)
    return _batch_norm("batch_norm", input, norm)


def batch_norm_relu(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    residual: Tensor | None = None,
) -> Tensor:
    """relu(batch_norm(input, ...) + residual), in the passes over memory of batch_norm alone.

    residual: like input, in shape and dtype, or None; the rest as for batch_norm. float32 and
    float64 have the bits of the separate functions; half precision is rounded once, at the end.
    Raises what batch_norm does.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[1.0], [3.0]])
    >>> tg.nn.functional.batch_norm_relu(x, None, None, training=True, eps=0.0)
    tensor([[0.],
            [1.]])
    """
    norm = (running_mean, running_var, weight, bias, training, momentum, eps)
    return _batch_norm("batch_norm_relu", input, norm, residual, True)


def _batch_norm(
    op: str, input: Tensor, norm: tuple, residual: Tensor | None = None, rectify: bool = False
) -> Tensor:
    running_mean, running_var, weight, bias, training, momentum, eps = norm
    input = as_operand(input, op)
    _floating(op, input, 2)
    channels = input.shape[1]
    w = _checked(op, "weight", weight, input, (channels,))
    b = _checked(op, "bias", bias, input, (channels,))
    mean = _checked(op, "running_mean", running_mean, input, (channels,))
    var = _checked(op, "running_var", running_var, input, (channels,))
    z = _checked(op, "residual", residual, input, input.shape)
    x, k = input._array, kernels.of(input._array)
    wa, ba, za = (None if t is None else t._array for t in (w, b, z))
    if not training:
        if mean is None or var is None:
            raise TgValueError(f"{op}: inference needs running_mean and running_var")
        operands = (input, w, b, mean, var)
        nodes = [t for t in (*operands, z) if t is not None and t._node is not None]
        if not (rectify and mode.enabled and nodes):
            y = k.batch_norm(x, wa, ba, mean._array, var._array, float(eps), za, rectify)
            return record(BATCH_NORM_FIXED, y, operands, float(eps))
        plain: Any = _batch_norm("batch_norm", input, norm)  # its derivative is that of the parts
        return relu(plain if z is None else plain + z)
    axes = (0, *range(2, input.ndim))
    count = math.prod(input.shape[i] for i in axes)
    if count == 1:
        raise TgValueError(f"{op}: training needs over one value per channel, got {input.shape}")
    m, v = k.moments(x, axes)
    m, v = m.reshape(channels), v.reshape(channels)
    y = k.batch_norm(x, wa, ba, m, v, float(eps), za, rectify)
    if count > 1:
        with no_grad():
            if running_mean is not None:
                _follow(running_mean, _new(m), momentum)
            if running_var is not None:
                _follow(running_var, _new(v) * (count / (count - 1)), momentum)
    saved = (axes, m, v, float(eps), rectify)
    if rectify:
        return record(BATCH_NORM_RELU, y, (input, w, b, z), saved)
    return record(BATCH_NORM, y, (input, w, b), saved)


def _follow(estimate: Tensor, value: Tensor, momentum: float) -> None:
    value = convert(value, estimate.dtype)
    estimate.copy_(estimate * (1.0 - momentum) + value * momentum)


# --- layer norm -----------------------------------------------------------------------------------
def _layer_norm_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> list:
    x, w = inputs[0], inputs[1]
    _, _, ndim, eps = params
    axes = tuple(range(x.ndim - ndim, x.ndim))
    xhat, rstd = _standard(x, axes, eps)
    h = g if w is None else g * w
    inner = x.shape[-ndim:]
    grads = _affine_grads(g, xhat, need, inner)
    return [
        _input_grad(h, xhat, rstd, axes, need),
        *[None if t is None else reshape(t, inner) for t in grads],
    ]


LAYER_NORM = explicit(
    "layer_norm", _layer_norm_vjp, saves=(0, 1), fused=_fused("layer_norm_grad", lambda p: p[:3])
)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, statistics over the last axes of each sample.

    input: (..., *normalized_shape), floating; weight, bias: normalized_shape or None. Raises
    ShapeError, DTypeError. Source: Ba, Kiros and Hinton, 2016.

    >>> import tilegrad as tg
    >>> tg.nn.functional.layer_norm(tg.tensor([1.0, 3.0]), (2,), eps=0.0)
    tensor([-1.,  1.])
    """
    op = "layer_norm"
    input = as_operand(input, op)
    _floating(op, input, 1)
    shape = tuple(normalized_shape)
    ndim = len(shape)
    if ndim == 0 or input.shape[-ndim:] != shape:
        raise ShapeError(f"{op}: input of shape {input.shape} does not end in {shape}")
    w = _checked(op, "weight", weight, input, shape)
    b = _checked(op, "bias", bias, input, shape)
    wa, ba = (None if t is None else t._array for t in (w, b))
    y, m, r = kernels.of(input._array).layer_norm(input._array, wa, ba, ndim, float(eps))
    return record(LAYER_NORM, y, (input, w, b), (m, r, ndim, float(eps)))


# --- group norm -----------------------------------------------------------------------------------
def _group_norm_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> list:
    x, w = inputs[0], inputs[1]
    _, _, groups, eps = params
    grouped = (x.shape[0], groups, math.prod(x.shape[1:]) // groups)
    xhat, rstd = _standard(reshape(x, grouped), (2,), eps)
    shape = _per_channel(x.ndim, x.shape[1])
    h = g if w is None else g * reshape(w, shape)
    gx = _input_grad(reshape(h, grouped), xhat, rstd, (2,), need)
    gx = None if gx is None else reshape(gx, x.shape)
    return [gx, *_affine_grads(g, reshape(xhat, x.shape), need, shape)]


GROUP_NORM = explicit(
    "group_norm", _group_norm_vjp, saves=(0, 1), fused=_fused("group_norm_grad", lambda p: p[:3])
)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias, statistics over groups of channels per sample.

    input: (N, C, ...), floating, C divisible by num_groups; weight, bias: (C,) or None. Raises
    ShapeError, DTypeError. Source: Wu and He, 2018.

    >>> import tilegrad as tg
    >>> tg.nn.functional.group_norm(tg.tensor([[1.0, 3.0]]), 1, eps=0.0)
    tensor([[-1.,  1.]])
    """
    op = "group_norm"
    input = as_operand(input, op)
    _floating(op, input, 2)
    channels = input.shape[1]
    if num_groups < 1 or channels % num_groups:
        raise ShapeError(f"{op}: {channels} channels do not divide into {num_groups} groups")
    w = _checked(op, "weight", weight, input, (channels,))
    b = _checked(op, "bias", bias, input, (channels,))
    wa, ba = (None if t is None else t._array for t in (w, b))
    y, m, r = kernels.of(input._array).group_norm(input._array, wa, ba, num_groups, float(eps))
    return record(GROUP_NORM, y, (input, w, b), (m, r, num_groups, float(eps)))


def normalize(input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12) -> Tensor:
    """x / max(norm(x, p, dim), eps): vectors along dim of length one.

    >>> import tilegrad as tg
    >>> tg.nn.functional.normalize(tg.tensor([[3.0, 4.0]]))
    tensor([[0.6, 0.8]])
    """
    input = as_operand(input, "normalize")
    return input / norm(input, p, dim, True).clamp(min=eps)


FUNCTIONAL = ("batch_norm", "batch_norm_relu", "group_norm", "layer_norm", "normalize")
"""Published in ``nn.functional`` only, as in PyTorch."""
