"""Inputs and measures of the tests that need no tolerance, or a slope for their answer."""

import numpy as np

rng = np.random.default_rng(7)


def small(*shape):
    """Small integers in float64: every sum of products below is exact."""
    return rng.integers(-4, 5, shape).astype(np.float64)


def dot(a, b):
    return float(np.sum(a * b))


def slope(f, x, g, step=1e-6):
    """Central difference of <g, f(x)> along a random direction: (direction, difference)."""
    d = rng.standard_normal(x.shape)
    return d, dot(g, (f(x + step * d) - f(x - step * d)) / (2 * step))


def weights(model):
    return {k: v.numpy().copy() for k, v in model.state_dict().items()}


def assert_same(a, b):
    assert list(a) == list(b)
    for k in a:
        np.testing.assert_array_equal(a[k], b[k], err_msg=k)
