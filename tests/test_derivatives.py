"""Derivatives where no difference quotient serves: at kinks, ties, zeros and the origin, and of
third order."""

import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import autograd
from tilegrad.errors import GradientError
from tilegrad.nn import functional as F
from tilegrad.testing import gradcheck


def leaf(values):
    return tg.tensor(values, dtype=tg.float64, requires_grad=True)


ZERO = [0.0, -0.0]
AT = {
    "relu": (tg.relu, [ZERO], [[0, 0]]),
    "leaky_relu": (lambda x: tg.leaky_relu(x, 0.1), [ZERO], [[0.1, 0.1]]),
    "elu": (lambda x: tg.elu(x, 0.7), [ZERO], [[0.7, 0.7]]),
    "abs": (tg.abs, [ZERO], [[0, 0]]),
    "sign": (tg.sign, [[0.0, 2.0]], [[0, 0]]),
    "softplus": (lambda x: tg.softplus(x, 2.0, 3.0), [[1.5]], [[1 / (1 + math.exp(-3))]]),
    "hardtanh": (F.hardtanh, [[-1.5, -1.0, 0.0, 1.0, 1.5]], [[0, 0, 1, 0, 0]]),
    "atan2": (tg.atan2, [ZERO, ZERO], [[0, 0], [0, 0]]),
    "xlogy": (
        lambda a: tg.xlogy(a, tg.tensor([0.0, -1.0, 3.0, 0.5], dtype=tg.float64)),
        [[0.0, 0.0, 2.0, 0.0]],
        [[0, 0, math.log(3.0), math.log(0.5)]],
    ),
    "binary_cross_entropy": (
        lambda x, t: F.binary_cross_entropy(x, t, reduction="none"),
        [[0.0, 1.0, 0.0, 1.0, 0.5], [1.0, 0.0, 0.0, 1.0, 0.5]],
        [[-1e12, 1e12, 0, 0, 0], [100, -100, 100, -100, 0]],
    ),
    "clamp_tensors": (
        tg.clamp,
        [[-2.0, -1.0, 0.0, 1.0, 2.0, 0.0, 5.0], [-1.0] * 5 + [3.0, 3.0], [1.0] * 5 + [2.0, 2.0]],
        [[0, 1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1]],
    ),
    "clamp_equal_limits": (
        tg.clamp,
        [[0.0, 1.0, 2.0], [1.0] * 3, [1.0] * 3],
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
    ),
    "logcumsumexp": (
        lambda x: tg.logcumsumexp(x, 0),
        [[-math.inf, -math.inf, -1e3, -math.inf, -1e3]],
        [[0, 0, 1 + 1 + 0.5, 0, 0.5]],
    ),
    "clamp": (lambda x: tg.clamp(x, -1, 2), [[-1.5, -1.0, 0.0, 2.0, 2.5]], [[0, 1, 1, 1, 0]]),
    "maximum": (tg.maximum, [[1.0, 3.0, 2.0], [1.0, 2.0, 3.0]], [[0.5, 1, 0], [0.5, 0, 1]]),
    "minimum": (tg.minimum, [[1.0, 3.0, 2.0], [1.0, 2.0, 3.0]], [[0.5, 0, 1], [0.5, 1, 0]]),
    "pow": (tg.pow, [[0.0, 0.0, 2.0], [0.0, 2.0, 0.0]], [[0, 0, 0], [0, 0, math.log(2)]]),
    "copysign": (tg.copysign, [[2.0, -2.0, 0.0], [-0.0, 1.0, 1.0]], [[-1, -1, 0], [0, 0, 0]]),
    "norm": (tg.norm, [[0.0, 0.0]], [[0, 0]]),
    "amax": (tg.amax, [[1.0, 3.0, 3.0]], [[0, 0.5, 0.5]]),
    "amin": (tg.amin, [[1.0, 3.0, 1.0]], [[0.5, 0, 0.5]]),
    "max": (lambda x: tg.max(x, 0).values, [[1.0, 3.0, 3.0]], [[0, 1, 0]]),
    "prod of one zero": (tg.prod, [[2.0, 0.0, 5.0]], [[0, 10, 0]]),
    "prod of two zeros": (tg.prod, [[0.0, 0.0, 5.0]], [[0, 0, 0]]),
    "prod of nothing": (lambda x: x.prod(1), [np.zeros((2, 0))], [np.zeros((2, 0))]),
    "cumprod": (lambda x: tg.cumprod(x, 0), [[2.0, 0.0, 5.0]], [[1, 12, 0]]),
    "cumprod of nothing": (lambda x: tg.cumprod(x, 0), [[]], [[]]),
}
"""A function, its inputs, and the gradients of the sum of its result."""


@pytest.mark.parametrize("create_graph", [False, True], ids=["fused", "composite"])
@pytest.mark.parametrize("name", AT)
def test_at(name, create_graph):
    function, inputs, expected = AT[name]
    xs = [leaf(x) for x in inputs]
    grads = autograd.grad(function(*xs).sum(), xs, create_graph=create_graph)
    for g, e in zip(grads, expected, strict=True):
        np.testing.assert_allclose(g.numpy(force=True), e, rtol=1e-13)


@pytest.mark.parametrize("name", AT)
def test_second_order_is_finite_at(name):
    function, inputs, _ = AT[name]
    xs = [leaf(x) for x in inputs]
    grads = autograd.grad(function(*xs).sum(), xs, create_graph=True)
    total = sum(g.sum() for g in grads)
    if total.requires_grad:
        for g in autograd.grad(total, xs, allow_unused=True):
            assert g is None or tg.isfinite(g).all().item()


def test_second_order_of_norm_at_the_origin_is_zero():
    x = leaf([0.0, 0.0])
    (g,) = autograd.grad(x.norm(), x, create_graph=True)
    (h,) = autograd.grad(g.sum(), x)
    assert h.tolist() == [0, 0]


def test_mixed_second_order_of_pow_at_exponent_zero():
    a, b = leaf([2.0, 4.0]), leaf([0.0, 0.0])
    (g,) = autograd.grad((a**b).sum(), a, create_graph=True)
    (h,) = autograd.grad(g.sum(), b)
    assert g.tolist() == [0, 0] and h.tolist() == [0.5, 0.25]


def test_elu_is_finite_to_second_order_where_exp_overflows():
    x = leaf([1000.0])
    (g,) = autograd.grad(tg.elu(x).sum(), x, create_graph=True)
    (h,) = autograd.grad(g.sum(), x)
    assert g.tolist() == [1] and h.tolist() == [0]


THIRD = {
    "max_pool": lambda x: F.max_pool2d(x, 3, 2),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    "adaptive_avg_pool": lambda x: F.adaptive_avg_pool2d(x, 3),
    "pad": lambda x: F.pad(x, (1, 2), "reflect"),
    "slice": lambda x: x[..., 1:2] * x,
    "setitem": lambda x: overwritten(x, (..., slice(1, 3), 0)),
    "index_put": lambda x: overwritten(x, (..., [1, 3], 0)),
    "tanh": lambda x: x.tanh(),
}


def overwritten(x, index):
    y = x * x
    y[index] = x[0, :, :2, 1]
    return y * y


@pytest.mark.parametrize("name", THIRD)
def test_third_order(name):
    """A gradient is a function of its point and its cotangent; checked as any other, twice."""
    rng = np.random.default_rng(3)
    x = leaf(np.append(rng.permutation(49), 49).reshape(1, 2, 5, 5) / 25.0)
    u = leaf(rng.standard_normal(THIRD[name](x).shape))

    def slope(x, u):
        return autograd.grad(THIRD[name](x), x, u, create_graph=True)

    gradcheck(slope, [x, u], second_order=True)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_places_of_maxima_are_the_callers_own(order):
    """int64, whatever the rules keep: a change in place leaves the derivatives alone."""
    x = leaf(np.arange(16.0).reshape(1, 1, 4, 4))
    y, places = F.max_pool2d(x, 2, return_indices=True)
    assert places.dtype == tg.int64 and places.tolist() == [[[[5, 7], [13, 15]]]]
    by = x
    for _ in range(order - 1):
        u = tg.ones_like(y).requires_grad_()
        (y,) = autograd.grad(y, by, u, create_graph=True)
        by = u
    (expected,) = autograd.grad(y, by, tg.ones_like(y), retain_graph=True)
    places.zero_()
    (actual,) = autograd.grad(y, by, tg.ones_like(y))
    assert (actual == expected).all() and actual.sum() == 4


@pytest.mark.parametrize("included, first", [(True, [9.0, 1.0, 2.0]), (False, [9.0, 9.0, 2.0])])
def test_extremes_that_are_scattered(included, first):
    x, source = leaf(first), leaf([3.0, 2.0, 6.0, 4.0])
    at = tg.tensor([0, 0, 1, 1])
    y = tg.scatter_reduce(x, 0, at, source, "amax", include_self=included)
    gx, gs = autograd.grad(y.sum(), [x, source], create_graph=True)
    assert y.tolist() == ([9, 6, 2] if included else [3, 6, 2])
    assert gx.tolist() == ([1, 0, 1] if included else [0, 0, 1])
    assert gs.tolist() == ([0, 0, 1, 0] if included else [1, 0, 1, 0])


@pytest.mark.parametrize("reduce, expected", [("amax", [0, 1]), ("amin", [1, 0])])
def test_extremes_of_numbers_without_axes(reduce, expected):
    x, source = leaf(1.0), leaf(3.0)
    y = tg.scatter_reduce(x, 0, tg.tensor(0), source, reduce)
    grads = autograd.grad(y, [x, source])
    assert [g.item() for g in grads] == expected and all(g.shape == () for g in grads)


@pytest.mark.parametrize("dtype", [tg.float16, tg.bfloat16], ids=str)
def test_windows_of_half_precision_are_summed_in_float32(dtype):
    x = tg.zeros(127, dtype=dtype, requires_grad=True)
    y = x.unfold(0, 64, 1)  # element 63 is in every one of the 64 windows
    u = tg.ones_like(y)
    u[63, 0] = 2048.0
    (g,) = autograd.grad(y, x, u)
    assert g[63].item() == tg.tensor(2048.0 + 63).to(dtype).item() > 2048.0


def test_mixed_derivative_of_xlogy_at_zero():
    a, b = leaf([0.0]), leaf([0.0])
    (g,) = autograd.grad(tg.xlogy(a, b), a, create_graph=True)
    assert autograd.grad(g, b)[0].tolist() == [0.0]


def test_target_changed_in_place():
    x, target = leaf([[1.0, 2.0, 3.0]]), tg.tensor([0])
    loss = F.cross_entropy(x, target)
    target.fill_(2)
    with pytest.raises(GradientError, match="changed in place"):
        loss.backward()


def test_pow_of_zero_to_negative():
    a, b = leaf([0.0]), leaf([-1.0])
    ga, gb = autograd.grad((a**b).sum(), [a, b])
    assert ga.tolist() == gb.tolist() == [-math.inf]


@pytest.mark.parametrize("which", ["running_mean", "running_var"])
def test_running_estimates_have_no_derivative(which):
    x = leaf(np.arange(6.0).reshape(3, 2))
    estimates = {"running_mean": tg.zeros(2), "running_var": tg.ones(2)}
    estimates = {k: v.double() for k, v in estimates.items()}
    estimates[which].requires_grad_()
    y = F.batch_norm(x, **estimates)
    with pytest.raises(GradientError, match="running estimates have no derivative"):
        y.sum().backward()
