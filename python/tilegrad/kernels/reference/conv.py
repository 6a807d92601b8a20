"""Convolution (cross-correlation) of 1 to 3 spatial dims: one matrix product per kernel tap.

x (N, C, *in), w (O, C/groups, *kernel), y (N, O, *out); padding is one (before, after) per axis.
y[n, o, p] = sum over c, t of w[o, c, t] x[n, c, p * stride + t * dilation - before]
There is one way to do it here: impl changes nothing.
"""

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import compute_dtype, quiet, rounded, widen
from tilegrad.kernels.reference._windows import Windows


def _check_channels(op, channels, out_channels, per_group, groups):
    if groups < 1 or out_channels % groups or channels != per_group * groups:
        raise errors.ShapeError(
            f"{op}: expected {per_group} * groups channels and a multiple of groups outputs, got"
            f" {channels} channels, {out_channels} outputs, groups {groups}"
        )


def _check_output(op, g, expected):
    if g.shape[2:] != expected:
        raise errors.ShapeError(f"{op}: expected g of spatial shape {expected}, got {g.shape}")


def _by_group(x, groups):
    """(N, C, *spatial) as (N, groups, C / groups, positions)."""
    n, c = x.shape[:2]
    return x.reshape(n, groups, c // groups, int(np.prod(x.shape[2:])))


def _tap_weight(w, offset, groups):
    """w at one tap as (groups, O / groups, C / groups)."""
    return w[(..., *offset)].reshape(groups, w.shape[0] // groups, w.shape[1])


@quiet
def conv(x, w, bias, stride, padding, dilation, groups, impl=""):
    """y (N, O, *out) = x correlated with w, + bias (O,) or None."""
    _check_channels("conv", x.shape[1], w.shape[0], w.shape[1], groups)
    at = Windows("conv", x.shape[2:], w.shape[2:], stride, padding, dilation)
    padded, kernel = at.pad(widen(x)), widen(w)
    n, o = x.shape[0], w.shape[0]
    y = np.zeros((n, groups, o // groups, int(np.prod(at.out))), padded.dtype)
    for offset, window in at.taps():
        y += _tap_weight(kernel, offset, groups) @ _by_group(padded[(..., *window)], groups)
    y = y.reshape(n, o, *at.out)
    if bias is not None:
        y += widen(bias).reshape(o, *[1] * len(at.out))
    return rounded(y, x.dtype)


@quiet
def conv_grad_input(g, w, in_spatial, stride, padding, dilation, groups, impl=""):
    """gx (N, C, *in_spatial): every tap adds w^T g where it read x. Also transposed convolution."""
    channels = w.shape[1] * groups
    _check_channels("conv_grad_input", channels, g.shape[1], w.shape[1], groups)
    at = Windows("conv_grad_input", in_spatial, w.shape[2:], stride, padding, dilation)
    _check_output("conv_grad_input", g, at.out)
    grad, kernel = _by_group(widen(g), groups), widen(w)
    n = g.shape[0]
    padded = at.zeros_padded(n, channels, compute_dtype(g.dtype))
    for offset, window in at.taps():
        part = _tap_weight(kernel, offset, groups).swapaxes(-1, -2) @ grad
        padded[(..., *window)] += part.reshape(n, channels, *at.out)
    return rounded(at.crop(padded).copy(), g.dtype)


@quiet
def conv_grad_weight(g, x, kernel, stride, padding, dilation, groups, impl=""):
    """gw (O, C/groups, *kernel): every tap is g x^T, summed over samples and positions."""
    n, o, c = g.shape[0], g.shape[1], x.shape[1]
    _check_channels("conv_grad_weight", c, o, c // max(groups, 1), groups)
    at = Windows("conv_grad_weight", x.shape[2:], kernel, stride, padding, dilation)
    _check_output("conv_grad_weight", g, at.out)
    if x.shape[0] != n:
        raise errors.ShapeError(f"conv_grad_weight: g {g.shape} and x {x.shape} differ in samples")
    padded, grad = at.pad(widen(x)), _by_group(widen(g), groups)
    gw = np.zeros((o, c // groups, *kernel), compute_dtype(g.dtype))
    for offset, window in at.taps():
        part = grad @ _by_group(padded[(..., *window)], groups).swapaxes(-1, -2)
        gw[(..., *offset)] = part.sum(axis=0).reshape(o, c // groups)
    return rounded(gw, g.dtype)
