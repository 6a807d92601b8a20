"""Optimizer steps, in place on row-major arrays of one shape and dtype.

Half types compute in float32 and every array that is kept is rounded once.
"""

import math

import numpy as np

from tilegrad.kernels.reference._common import quiet, widen


@quiet
def sgd_step(
    param,
    grad,
    momentum_buffer,
    lr,
    momentum,
    dampening,
    weight_decay,
    nesterov,
    maximize,
    first,
):
    """torch.optim.SGD: g = +-grad + weight_decay p; b = momentum b + (1 - dampening) g; p -= lr b.

    The first step sets b = g; Nesterov steps along g + momentum b; without momentum b is None.
    """
    p, g = widen(param), widen(grad)
    if maximize:
        g = -g
    if weight_decay:
        g = g + weight_decay * p
    if momentum_buffer is not None:
        b = g if first else momentum * widen(momentum_buffer) + (1 - dampening) * g
        momentum_buffer[...] = b
        g = g + momentum * b if nesterov else b
    param[...] = p - lr * g


@quiet
def adam_step(
    param,
    grad,
    exp_avg,
    exp_avg_sq,
    max_exp_avg_sq,
    lr,
    beta1,
    beta2,
    eps,
    weight_decay,
    decoupled,
    maximize,
    step,
):
    """torch.optim.Adam (Kingma & Ba 2015), AdamW if decoupled (Loshchilov & Hutter 2019).

    m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2; with bias corrections c = 1 - beta^step
    p -= lr / c1 m / (sqrt(v) / sqrt(c2) + eps); AMSGrad takes the largest v so far.
    """
    p, g, m, v = widen(param), widen(grad), widen(exp_avg), widen(exp_avg_sq)
    if maximize:
        g = -g
    if weight_decay and decoupled:
        p = p * (1 - lr * weight_decay)
    elif weight_decay:
        g = g + weight_decay * p
    m = m + (1 - beta1) * (g - m)
    v = beta2 * v + (1 - beta2) * g * g
    exp_avg[...], exp_avg_sq[...] = m, v
    if max_exp_avg_sq is not None:
        v = np.maximum(widen(max_exp_avg_sq), v)
        max_exp_avg_sq[...] = v
    correction1, correction2 = 1 - beta1**step, 1 - beta2**step
    denominator = np.sqrt(v) / math.sqrt(correction2) + eps
    param[...] = p - lr / correction1 * (m / denominator)
