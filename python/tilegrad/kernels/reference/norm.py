"""Normalisation: xhat = (x - mean) rstd, rstd = 1 / sqrt(var + eps), y = xhat weight + bias.

Gradient of each (Ioffe & Szegedy 2015, section 3): with h = g weight,
gx = rstd (h - mean(h) - xhat mean(h xhat)), means over what the statistics are over.
"""

import math

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import average, quiet, rounded, total, widen_all


def _per_channel(v, x):
    """v, one value per channel in any shape, as (1, C, 1, ...) to broadcast against x."""
    channels = x.shape[1]
    if v.size != channels:
        raise errors.ShapeError(f"norm: expected {channels} values, one per channel, got {v.shape}")
    return v.reshape((1, channels) + (1,) * (x.ndim - 2))


def _not_channels(x):
    return (0, *range(2, x.ndim))


def _same_shape(name, v, x):
    if v.shape != x.shape:
        raise errors.ShapeError(f"norm: {name} has shape {v.shape}, but x has {x.shape}")
    return v


def _passed(v, y):
    """v where y is positive or NaN, else 0."""
    return np.where(y <= 0, np.zeros((), v.dtype), v)


def _affine(xhat, weight, bias):
    y = xhat if weight is None else xhat * weight
    return y if bias is None else y + bias


def _statistics(x, axes, eps):
    """mean and rstd over axes (kept), from float64."""
    exact = x.astype(np.float64)
    mean = average(exact, axes)
    var = average((exact - mean) ** 2, axes)
    return mean.astype(x.dtype), (1 / np.sqrt(var + eps)).astype(x.dtype)


def _grad_input(h, xhat, rstd, axes):
    return rstd * (h - average(h, axes) - xhat * average(h * xhat, axes))


@quiet
def batch_norm(x, weight, bias, mean, var, eps, residual=None, relu=False):
    """y = (x - mean) / sqrt(var + eps) weight + bias, one of each per channel (axis 1).

    residual, of x's shape, is added; relu: negative values become 0.
    """
    dtype, (x, residual, *rest) = x.dtype, widen_all(x, residual, weight, bias, mean, var)
    weight, bias, mean, var = [None if v is None else _per_channel(v, x) for v in rest]
    y = _affine((x - mean) * (1 / np.sqrt(var + eps)), weight, bias)
    if residual is not None:
        y = y + _same_shape("residual", residual, x)
    return rounded(_passed(y, y) if relu else y, dtype)


@quiet
def batch_norm_grad(g, x, weight, mean, var, eps, y=None, residual=False):
    """gx, gweight = sum(g xhat), gbias = sum(g), where mean and var are x's own, and gresidual = g.

    g counts where y, the output of a relu, is positive. gweight and gbias (C,), None when weight is
    None; gresidual None unless asked for.
    """
    dtype, (g, x, y, *rest) = x.dtype, widen_all(g, x, y, weight, mean, var)
    weight, mean, var = [None if v is None else _per_channel(v, x) for v in rest]
    if y is not None:
        g = _passed(g, _same_shape("y", y, x))
    rstd = 1 / np.sqrt(var + eps)
    xhat = (x - mean) * rstd
    axes = _not_channels(x)
    gx = rounded(_grad_input(_affine(g, weight, None), xhat, rstd, axes), dtype)
    own = rounded(g, dtype) if residual else None
    if weight is None:
        return gx, None, None, own
    return gx, rounded(total(g * xhat, axes), dtype), rounded(total(g, axes), dtype), own


@quiet
def layer_norm(x, weight, bias, ndim, eps):
    """y, mean, rstd over the last ndim axes; weight, bias x.shape[-ndim:] or None."""
    dtype, (x, weight, bias) = x.dtype, widen_all(x, weight, bias)
    axes = tuple(range(x.ndim - ndim, x.ndim))
    mean, rstd = _statistics(x, axes, eps)
    y = _affine((x - mean) * rstd, weight, bias)
    leading = x.shape[: x.ndim - ndim]
    return (
        rounded(y, dtype),
        rounded(mean.reshape(leading), dtype),
        rounded(rstd.reshape(leading), dtype),
    )


@quiet
def layer_norm_grad(g, x, weight, mean, rstd, ndim):
    """gx, gweight = sum(g xhat), gbias = sum(g) over the leading axes (None without weight)."""
    dtype, (g, x, weight, mean, rstd) = x.dtype, widen_all(g, x, weight, mean, rstd)
    kept = mean.shape + (1,) * ndim
    mean, rstd = mean.reshape(kept), rstd.reshape(kept)
    xhat = (x - mean) * rstd
    axes, leading = tuple(range(x.ndim - ndim, x.ndim)), tuple(range(x.ndim - ndim))
    gx = rounded(_grad_input(_affine(g, weight, None), xhat, rstd, axes), dtype)
    if weight is None:
        return gx, None, None
    return gx, rounded(total(g * xhat, leading), dtype), rounded(total(g, leading), dtype)


def _grouped(x, groups):
    """x (N, C, ...) as (N, groups, C / groups * ...)."""
    if groups < 1 or x.shape[1] % groups:
        raise errors.ShapeError(f"group_norm: {x.shape[1]} channels do not make {groups} groups")
    return x.reshape(x.shape[0], groups, math.prod(x.shape[1:]) // groups)


@quiet
def group_norm(x, weight, bias, groups, eps):
    """y, mean, rstd over each group of channels of each sample; mean, rstd (N, groups)."""
    dtype, (x, weight, bias) = x.dtype, widen_all(x, weight, bias)
    grouped = _grouped(x, groups)
    mean, rstd = _statistics(grouped, (2,), eps)
    xhat = ((grouped - mean) * rstd).reshape(x.shape)
    weight, bias = [None if v is None else _per_channel(v, x) for v in (weight, bias)]
    y = _affine(xhat, weight, bias)
    return rounded(y, dtype), rounded(mean[..., 0], dtype), rounded(rstd[..., 0], dtype)


@quiet
def group_norm_grad(g, x, weight, mean, rstd, groups):
    """gx, gweight = sum(g xhat), gbias = sum(g) per channel (None without weight)."""
    dtype, (g, x, weight, mean, rstd) = x.dtype, widen_all(g, x, weight, mean, rstd)
    xhat = (_grouped(x, groups) - mean[..., None]) * rstd[..., None]
    h = g if weight is None else g * _per_channel(weight, x)
    gx = _grad_input(_grouped(h, groups), xhat, rstd[..., None], (2,))
    gx = rounded(gx.reshape(x.shape), dtype)
    if weight is None:
        return gx, None, None
    xhat, axes = xhat.reshape(x.shape), _not_channels(x)
    return gx, rounded(total(g * xhat, axes), dtype), rounded(total(g, axes), dtype)
