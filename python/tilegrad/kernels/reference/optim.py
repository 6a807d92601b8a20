"""Optimizer steps, in place on lists of arrays.

Half types compute in float32 and every array that is kept is rounded once. What all steps share:
the gradient is negated with maximize; weight decay is added to it, or with decoupled shrinks the
parameter by lr * weight_decay first; l1_decay moves the parameter by lr * l1_decay towards zero,
at most to it, at the end.
"""

import math

import numpy as np

from tilegrad import errors
from tilegrad.kernels.reference._common import quiet, require_float, widen


def steps(op, params, grads, states, lr, weight_decay, decoupled, maximize, l1_decay):
    """Yields (p, g, state..., store) for each parameter, widened; store(p, state...) keeps them.

    An absent list of states gives None.
    """
    lists = [params, grads, *states]
    if any(s is not None and len(s) != len(params) for s in lists):
        raise errors.ValueError(f"{op}: the lists differ in length")
    rows = [*zip(*[[None] * len(params) if s is None else s for s in lists], strict=True)]
    for row in rows:
        for i, a in enumerate(row):
            if a is None:
                continue
            require_float(op, a.dtype)
            if a.dtype != rows[0][0].dtype:
                raise errors.DTypeError(f"{op}: {a.dtype} beside {rows[0][0].dtype}")
            if a.shape != row[0].shape:
                raise errors.ShapeError(f"{op}: shape {a.shape} beside {row[0].shape}")
            if i != 1 and not a.flags.writeable:
                raise errors.ValueError(f"{op}: an array is read-only")
    for param, grad, *state in rows:
        p, g = widen(param), widen(grad)
        if maximize:
            g = -g
        if weight_decay and decoupled:
            p = p * (1 - lr * weight_decay)
        elif weight_decay:
            g = g + weight_decay * widen(param)

        def store(p, *values, param=param, state=state):
            if l1_decay:
                p = np.copysign(np.maximum(np.abs(p) - lr * l1_decay, 0), p)
            param[...] = p
            for kept, value in zip([s for s in state if s is not None], values, strict=True):
                kept[...] = value

        yield p, g, *[None if s is None else widen(s) for s in state], store


def correction(op, beta, step):
    if step < 1:
        raise errors.ValueError(f"{op}: expected step >= 1, got {step}")
    return 1 - beta**step


@quiet
def sgd_step(
    params, grads, momentum_buffers, lr, momentum, dampening, nesterov, first, weight_decay,
    decoupled, maximize, l1_decay,
):  # fmt: skip
    """b = momentum b + (1 - dampening) g; p -= lr b.

    The first step sets b = g; Nesterov steps along g + momentum b; without buffers b is g.
    """
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, b, store in steps("sgd_step", params, grads, [momentum_buffers], *tail):
        if b is None:
            store(p - lr * g)
            continue
        b = g if first else momentum * b + (1 - dampening) * g
        store(p - lr * (g + momentum * b if nesterov else b), b)


@quiet
def adam_step(
    params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, lr, beta1, beta2, eps, step,
    weight_decay, decoupled, maximize, l1_decay,
):  # fmt: skip
    """Kingma & Ba 2015: m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2.

    With bias corrections c = 1 - beta^step, p -= lr / c1 m / (sqrt(v) / sqrt(c2) + eps); AMSGrad
    takes the largest v so far.
    """
    c1, c2 = (correction("adam_step", beta, step) for beta in (beta1, beta2))
    states = [exp_avgs, exp_avg_sqs, max_exp_avg_sqs]
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, m, v, top, store in steps("adam_step", params, grads, states, *tail):
        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g * g
        most = v if top is None else np.maximum(top, v)
        p = p - lr / c1 * m / (np.sqrt(most) * (1 / math.sqrt(c2)) + eps)
        store(p, m, v, *([] if top is None else [most]))


@quiet
def rmsprop_step(
    params, grads, square_avgs, grad_avgs, momentum_buffers, lr, alpha, eps, momentum,
    weight_decay, decoupled, maximize, l1_decay,
):  # fmt: skip
    """s = alpha s + (1 - alpha) g^2; d = g / (sqrt(s) + eps); p -= lr d.

    With grad_avgs their squares leave s (Graves 2013); with buffers b = momentum b + d replaces d.
    """
    states = [square_avgs, grad_avgs, momentum_buffers]
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, s, a, b, store in steps("rmsprop_step", params, grads, states, *tail):
        s = alpha * s + (1 - alpha) * g * g
        a = None if a is None else a + (1 - alpha) * (g - a)
        d = g / (np.sqrt(s if a is None else s - a * a) + eps)
        b = None if b is None else momentum * b + d
        store(p - lr * (d if b is None else b), s, *[x for x in (a, b) if x is not None])


@quiet
def adagrad_step(
    params, grads, sums, lr, lr_decay, eps, step, weight_decay, decoupled, maximize, l1_decay
):
    """Duchi et al. 2011: s += g^2; p -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps)."""
    correction("adagrad_step", 0.0, step)
    rate = lr / (1 + (step - 1) * lr_decay)
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, s, store in steps("adagrad_step", params, grads, [sums], *tail):
        s = s + g * g
        store(p - rate * g / (np.sqrt(s) + eps), s)


@quiet
def adadelta_step(
    params, grads, square_avgs, acc_deltas, lr, rho, eps, weight_decay, decoupled, maximize,
    l1_decay,
):  # fmt: skip
    """Zeiler 2012: s = rho s + (1 - rho) g^2; d = sqrt(a + eps) / sqrt(s + eps) g; p -= lr d.

    Then a = rho a + (1 - rho) d^2.
    """
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, s, a, store in steps(
        "adadelta_step", params, grads, [square_avgs, acc_deltas], *tail
    ):
        s = rho * s + (1 - rho) * g * g
        d = np.sqrt(a + eps) / np.sqrt(s + eps) * g
        store(p - lr * d, s, rho * a + (1 - rho) * d * d)


@quiet
def adamax_step(
    params, grads, exp_avgs, exp_infs, lr, beta1, beta2, eps, step, weight_decay, decoupled,
    maximize, l1_decay,
):  # fmt: skip
    """Kingma & Ba 2015: u = max(beta2 u, |g| + eps); p -= lr / (1 - beta1^step) m / u."""
    rate = lr / correction("adamax_step", beta1, step)
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, m, u, store in steps("adamax_step", params, grads, [exp_avgs, exp_infs], *tail):
        m = m + (1 - beta1) * (g - m)
        u = np.maximum(beta2 * u, np.abs(g) + eps)
        store(p - rate * m / u, m, u)


@quiet
def nadam_step(
    params, grads, exp_avgs, exp_avg_sqs, lr, beta1, beta2, eps, mu, mu_next, mu_product, step,
    weight_decay, decoupled, maximize, l1_decay,
):  # fmt: skip
    """Dozat 2016: p -= lr (mu' m / (1 - P mu') + (1 - mu) g / (1 - P)) / n.

    P = mu_product with the mu of this step, mu' = mu_next, n = sqrt(v / (1 - beta2^step)) + eps.
    """
    c2 = correction("nadam_step", beta2, step)
    now, ahead = lr * (1 - mu) / (1 - mu_product), lr * mu_next / (1 - mu_product * mu_next)
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, m, v, store in steps("nadam_step", params, grads, [exp_avgs, exp_avg_sqs], *tail):
        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g * g
        store(p - (now * g + ahead * m) / (np.sqrt(v * (1 / c2)) + eps), m, v)


@quiet
def radam_step(
    params, grads, exp_avgs, exp_avg_sqs, lr, beta1, beta2, eps, step, weight_decay, decoupled,
    maximize, l1_decay,
):  # fmt: skip
    """Liu et al. 2020: p -= lr m / c1, and times r sqrt(c2) / (sqrt(v) + eps) once rho > 5."""
    c1, c2 = (correction("radam_step", beta, step) for beta in (beta1, beta2))
    longest = 2 / (1 - beta2) - 1
    rho = longest - 2 * step * beta2**step / c2
    rate = lr / c1
    if rho > 5:
        r = (rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho)
        rate *= math.sqrt(r * c2)
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, m, v, store in steps("radam_step", params, grads, [exp_avgs, exp_avg_sqs], *tail):
        m = m + (1 - beta1) * (g - m)
        v = beta2 * v + (1 - beta2) * g * g
        store(p - (rate * m / (np.sqrt(v) + eps) if rho > 5 else rate * m), m, v)


@quiet
def asgd_step(params, grads, axs, lr, lambd, eta, mu, weight_decay, decoupled, maximize, l1_decay):
    """p = (1 - lambd eta) p - eta g; ax += mu (p - ax) (Polyak & Juditsky 1992)."""
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, ax, store in steps("asgd_step", params, grads, [axs], *tail):
        p = p * (1 - lambd * eta) - eta * g
        store(p, p if mu == 1 else ax + mu * (p - ax))


@quiet
def rprop_step(
    params, grads, prevs, step_sizes, lr, shrink, grow, low, high, weight_decay, decoupled,
    maximize, l1_decay,
):  # fmt: skip
    """Riedmiller & Braun 1993: p -= s sign(g), s grown or shrunk by the sign of g * prev.

    Where the sign turned the parameter stays and prev becomes 0.
    """
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, prev, s, store in steps("rprop_step", params, grads, [prevs, step_sizes], *tail):
        agree = g * prev
        factor = np.where(agree < 0, shrink, np.where(agree > 0, grow, 1)).astype(p.dtype)
        s = np.clip(s * factor, low, high)
        g = np.where(agree < 0, p.dtype.type(0), g)
        store(p - np.sign(g) * s, g, s)


@quiet
def lion_step(
    params, grads, exp_avgs, lr, beta1, beta2, weight_decay, decoupled, maximize, l1_decay
):
    """Chen et al. 2023: p -= lr sign(beta1 m + (1 - beta1) g); m += (1 - beta2) (g - m)."""
    tail = lr, weight_decay, decoupled, maximize, l1_decay
    for p, g, m, store in steps("lion_step", params, grads, [exp_avgs], *tail):
        store(p - lr * np.sign(m * beta1 + (1 - beta1) * g), m + (1 - beta2) * (g - m))


@quiet
def total_norm(arrays, power):
    """The norm of all elements as one vector, power 2 or inf."""
    if power not in (2, math.inf):
        raise errors.ValueError(f"total_norm: power must be 2 or inf, got {power}")
    whole = [np.abs(a.astype(np.float64)).reshape(-1) for a in arrays]
    flat = np.concatenate([*whole, np.zeros(1)])
    return np.asarray(np.sqrt((flat * flat).sum()) if power == 2 else flat.max())


@quiet
def scale_all(arrays, total, limit):
    """x *= min(1, limit / (total + 1e-6)) for every array; a NaN stays one."""
    if total.shape != () or total.dtype not in (np.float32, np.float64):
        raise errors.DTypeError("scale_all: total must be a 0-d array of float32 or float64")
    factor = float(np.minimum(1.0, limit / (float(total) + 1e-6)))
    for a in arrays:
        require_float("scale_all", a.dtype)
        a[...] = widen(a) * factor
