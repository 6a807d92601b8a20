"""Reference convolution and pooling against SciPy, loops over single windows, and adjoints."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
import scipy.signal
from exact import dot, rng, small  # noqa: F401  the seeded fixture looks for rng

from tilegrad.kernels import reference as ref

BF16 = np.dtype(ml_dtypes.bfloat16)

# --- convolution ----------------------------------------------------------------------------------

CONV = [
    # in_spatial, channels per group, outputs per group, kernel, stride, padding, dilation, groups
    ((9,), 2, 3, (3,), (2,), ((1, 1),), (1,), 1),
    ((8,), 1, 2, (4,), (1,), ((3, 0),), (2,), 2),
    ((6, 7), 2, 2, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((6, 7), 1, 1, (3, 2), (2, 3), ((0, 2), (1, 0)), (2, 1), 3),
    ((3, 2), 1, 1, (1, 1), (1, 1), ((2, 2), (3, 3)), (1, 1), 1),
    ((4, 5, 4), 2, 1, (2, 3, 1), (1, 2, 2), ((1, 0), (1, 1), (0, 0)), (1, 1, 1), 2),
]


def conv_by_scipy(x, w, stride, padding, dilation, groups):
    """Spread the kernel by its dilation, correlate every channel pair, sum, then stride."""
    spread = np.zeros(
        (*w.shape[:2], *(d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:], strict=True)))
    )
    spread[(..., *(slice(None, None, d) for d in dilation))] = w
    x = np.pad(x, ((0, 0), (0, 0), *padding))
    per_group, outputs = w.shape[1], w.shape[0] // groups
    step = tuple(slice(None, None, s) for s in stride)
    rows = []
    for sample in x:
        row = []
        for o in range(w.shape[0]):
            first = o // outputs * per_group
            row.append(
                sum(
                    scipy.signal.correlate(sample[first + c], spread[o, c], "valid", "direct")
                    for c in range(per_group)
                )[step]
            )
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("case", CONV, ids=str)
def test_conv(case):
    in_spatial, per_group, outputs, kernel, *geometry, groups = case
    x, w = small(2, per_group * groups, *in_spatial), small(outputs * groups, per_group, *kernel)
    bias = small(outputs * groups)
    y = ref.conv(x, w, None, *geometry, groups)
    assert (y == conv_by_scipy(x, w, *geometry, groups)).all()
    ones = (1,) * len(kernel)
    assert (ref.conv(x, w, bias, *geometry, groups) == y + bias.reshape(-1, *ones)).all()
    g = small(*y.shape)
    gx = ref.conv_grad_input(g, w, in_spatial, *geometry, groups)
    gw = ref.conv_grad_weight(g, x, kernel, *geometry, groups)
    assert gx.shape == x.shape and gw.shape == w.shape
    assert dot(gx, x) == dot(gw, w) == dot(g, y)
    d, e = small(*x.shape), small(*w.shape)
    assert dot(gx, d) == dot(g, ref.conv(d, w, None, *geometry, groups))
    assert dot(gw, e) == dot(g, ref.conv(x, e, None, *geometry, groups))


def test_conv_grad_input_is_transposed_convolution():
    g, w = small(1, 1, 3), small(1, 1, 2)
    (a, b, c), (p, q) = g.ravel(), w.ravel()
    args = (2,), ((0, 0),), (1,), 1
    expected = [a * p, a * q, b * p, b * q, c * p, c * q]
    assert ref.conv_grad_input(g, w, (6,), *args).ravel().tolist() == expected
    assert ref.conv_grad_input(g, w, (7,), *args).ravel().tolist() == [*expected, 0]
    with pytest.raises(ValueError, match="conv_grad_input"):
        ref.conv_grad_input(g, w, (8,), *args)


def test_conv_nothing_and_errors():
    w = np.ones((4, 3, 2))
    args = (1,), ((0, 0),), (1,), 1
    assert ref.conv(np.ones((0, 3, 5)), w, None, *args).shape == (0, 4, 4)
    assert ref.conv_grad_weight(np.ones((0, 4, 4)), np.ones((0, 3, 5)), (2,), *args).sum() == 0
    for x in (np.ones((1, 2, 5)), np.ones((1, 3, 1))):
        with pytest.raises(ValueError, match="conv"):
            ref.conv(x, w, None, *args)


# --- pooling --------------------------------------------------------------------------------------


def pool_by_loops(x, kernel, stride, padding, dilation, ceil_mode, reduce):
    """Every window's positions by hand: reduce(real positions of one plane, count in padding)."""
    spatial, out = x.shape[2:], []
    for size, k, s, (before, after), d in zip(
        spatial, kernel, stride, padding, dilation, strict=True
    ):
        room = (size + before + after - d * (k - 1) - 1) / s
        n = (math.ceil(room) if ceil_mode else math.floor(room)) + 1
        out.append(n - 1 if ceil_mode and (n - 1) * s >= size + before else n)
    result = np.empty((*x.shape[:2], *out), object)
    for position in np.ndindex(*out):
        axes = []
        for p, k, s, (before, _), d in zip(
            position, kernel, stride, padding, dilation, strict=True
        ):
            axes.append([p * s + t * d - before for t in range(k)])
        taps = list(itertools.product(*axes))
        real = [t for t in taps if all(0 <= i < n for i, n in zip(t, spatial, strict=True))]
        padded = sum(
            all(-b <= i < n + a for i, n, (b, a) in zip(t, spatial, padding, strict=True))
            for t in taps
        )
        for n, c in np.ndindex(*x.shape[:2]):
            result[(n, c, *position)] = reduce(x[n, c], real, padded)
    return result


POOL = [
    ((7,), (3,), (2,), ((1, 1),), (1,), False),
    ((8,), (3,), (3,), ((0, 1),), (2,), True),
    ((5, 6), (2, 3), (2, 2), ((0, 0), (1, 1)), (1, 1), True),
    ((6, 6), (3, 3), (1, 2), ((1, 1), (1, 0)), (1, 2), False),
    ((3, 4, 5), (2, 2, 2), (2, 2, 3), ((1, 0), (0, 1), (1, 1)), (1, 1, 1), True),
]


@pytest.mark.parametrize("case", POOL, ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.int8, BF16], ids=str)
def test_max_pool(case, dtype):
    in_spatial, *geometry = case
    x = small(2, 3, *in_spatial).astype(dtype)
    y, indices = ref.max_pool(x, *geometry)

    def first_maximum(plane, real, padded):
        best = max(real, key=lambda t: plane[t])
        return np.ravel_multi_index(best, in_spatial)

    assert (indices == pool_by_loops(x, *geometry, first_maximum)).all()
    flat = x.reshape(2, 3, -1)
    expected = np.take_along_axis(flat, indices.reshape(2, 3, -1), 2).reshape(y.shape)
    assert (
        y.dtype == x.dtype
        and (y == expected).all()
        and (ref.max_pool_gather(x, indices) == y).all()
    )
    g, d = small(*y.shape), small(*x.shape)
    gx = ref.max_pool_grad(g, indices, in_spatial)
    assert dot(gx, d) == dot(g, ref.max_pool_gather(d, indices))


def test_max_pool_special_values():
    args = (2,), (2,), ((0, 0),), (1,), False
    x = np.array([[[-np.inf, -np.inf, 1.0, np.nan, np.nan, np.nan]]])
    y, indices = ref.max_pool(x, *args)
    np.testing.assert_array_equal(y, [[[-np.inf, np.nan, np.nan]]])
    assert indices.tolist() == [[[0, 3, 4]]]
    with pytest.raises(ValueError, match="nothing but padding"):
        ref.max_pool(x, (1,), (1,), ((1, 0),), (1,), False)
    with pytest.raises(IndexError, match="max_pool_gather"):
        ref.max_pool_gather(x, np.array([[[6]]]))


@pytest.mark.parametrize("case", POOL, ids=str)
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("divisor", [0, 3])
def test_avg_pool(case, include, divisor):
    in_spatial, kernel, stride, padding, _dilation, ceil_mode = case
    x = small(2, 3, *in_spatial)

    def mean(plane, real, padded):
        return sum(plane[t] for t in real) / (divisor or (padded if include else len(real)))

    args = kernel, stride, padding, ceil_mode, include, divisor
    expected = pool_by_loops(x, kernel, stride, padding, (1,) * len(kernel), ceil_mode, mean)
    y = ref.avg_pool(x, *args)
    np.testing.assert_allclose(y, expected.astype(float), rtol=1e-14)
    g = small(*y.shape)
    gx = ref.avg_pool_grad(g, in_spatial, *args)
    assert dot(gx, x) == pytest.approx(dot(g, y), rel=1e-13)


@pytest.mark.parametrize("sizes", [((7,), (3,)), ((4, 5), (3, 7)), ((3, 4, 5), (1, 2, 5))], ids=str)
def test_adaptive_pool(sizes):
    in_spatial, out_spatial = sizes
    x = small(2, 3, *in_spatial)
    y, (best, indices) = (
        ref.adaptive_avg_pool(x, out_spatial),
        ref.adaptive_max_pool(x, out_spatial),
    )
    for position in np.ndindex(*out_spatial):
        window = tuple(
            slice(math.floor(i * n / o), math.ceil((i + 1) * n / o))
            for i, n, o in zip(position, in_spatial, out_spatial, strict=True)
        )
        axes = tuple(range(2, x.ndim))
        np.testing.assert_allclose(y[(..., *position)], x[(..., *window)].mean(axis=axes))
        np.testing.assert_array_equal(best[(..., *position)], x[(..., *window)].max(axis=axes))
    assert (ref.max_pool_gather(x, indices) == best).all()
    g = small(*y.shape)
    assert dot(ref.adaptive_avg_pool_grad(g, in_spatial), x) == pytest.approx(dot(g, y), rel=1e-13)
