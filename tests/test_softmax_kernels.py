"""The softmax family against the reference: axes, layouts, dtypes, extreme and empty inputs."""

import ml_dtypes
import numpy as np
import pytest

from tilegrad.kernels import reference
from tilegrad.testing import assert_close

cpu = pytest.importorskip("tilegrad._cpu")
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
SHAPES = [(5, 10), (3, 17, 4), (2, 3, 4, 33), (7,), (1, 1), (0, 5), (2, 9000)]


def values(shape, dtype, seed=0, scale=4.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


@pytest.mark.parametrize("layout", ["C", "F", "reversed"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_softmax(shape, dtype, layout, isa):
    x, g = values(shape, dtype), values(shape, dtype, 1)
    if layout == "F":
        x, g = x.T.copy().T, g.T.copy().T
    if layout == "reversed":
        x = x[::-1]
    for axis in range(x.ndim):
        n = shape[axis]
        for name in ("softmax", "log_softmax"):
            y = getattr(cpu, name)(x, axis)
            e = getattr(reference, name)(x, axis)
            assert_close(y, e, reduction_length=n, what=name)
            if layout == "F" and x.size > 1:
                assert y.strides == x.strides
            gx = getattr(cpu, name + "_grad")(g, e, axis)
            assert_close(gx, getattr(reference, name + "_grad")(g, e, axis), reduction_length=4 * n)
        for axes in ((axis,), tuple(range(axis + 1)), ()):
            for keep in (False, True):
                y = cpu.logsumexp(x, axes, keep)
                assert_close(y, reference.logsumexp(x, axes, keep), reduction_length=n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=str)
def test_extremes(dtype, isa):
    inf, nan = np.inf, np.nan
    rows = np.array(
        [[inf, 0, 1], [-inf, 0, 1], [-inf, -inf, -inf], [nan, 0, 1], [0, 1, nan], [1e4, -1e4, 0]],
        dtype,
    )
    for name in ("softmax", "log_softmax"):
        assert_close(getattr(cpu, name)(rows, 1), getattr(reference, name)(rows, 1), what=name)
    y = cpu.logsumexp(rows, (1,), False)
    assert_close(y, reference.logsumexp(rows, (1,), False))
    assert y[0] == inf and y[2] == -inf and np.isnan(y[3]) and np.isnan(y[4])


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(6, 10), (5, 33), (0, 4), (300, 7)], ids=str)
def test_cross_entropy(shape, weighted, smoothing, dtype, isa):
    x = values(shape, dtype)
    t = np.random.default_rng(2).integers(0, shape[1], shape[0])
    t[::3] = -100
    w = np.random.default_rng(3).uniform(0.5, 2, shape[1]).astype(dtype) if weighted else None
    n = shape[1]
    loss, lse, _ = cpu.cross_entropy(x, t, w, -100, smoothing)
    e_loss, e_lse, _ = reference.cross_entropy(x, t, w, -100, smoothing)
    assert_close(loss, e_loss, reduction_length=4 * n)
    assert_close(lse, e_lse, reduction_length=n)
    g = values(shape[:1], dtype, 4, 1.0)
    args = (g, x, e_lse, t, w, -100, smoothing)
    assert_close(
        cpu.cross_entropy_grad(*args), reference.cross_entropy_grad(*args), reduction_length=4 * n
    )
    for reduction in ("mean", "sum"):
        ours = cpu.cross_entropy(x, t, w, -100, smoothing, reduction)
        expected = reference.cross_entropy(x, t, w, -100, smoothing, reduction)
        assert ours[0].shape == ours[2].shape == () and ours[2].dtype == np.float64
        for a, b in zip(ours, expected, strict=True):
            assert_close(a, b, reduction_length=4 * n * max(shape[0], 1), what=reduction)
        args = (g.sum(keepdims=True)[:1].reshape(()), x, e_lse, t, w, -100, smoothing, expected[2])
        assert_close(
            cpu.cross_entropy_grad(*args), reference.cross_entropy_grad(*args),
            reduction_length=4 * n, what=reduction,
        )  # fmt: skip


def test_errors():
    x = np.zeros((4, 10), np.float32)
    t = np.array([0, 1, 2, 10])
    with pytest.raises(IndexError, match=r"target 10 at position 3 is outside \[0, 10\)"):
        cpu.cross_entropy(x, t, None, -100, 0.0)
    with pytest.raises(TypeError, match="target must be int64, got int32"):
        cpu.cross_entropy(x, t.astype(np.int32), None, -100, 0.0)
    with pytest.raises(ValueError, match=r"target expects shape \(4,\)"):
        cpu.cross_entropy(x, t[:3], None, -100, 0.0)
    with pytest.raises(ValueError, match="reduction must be 'none', 'mean' or 'sum', got 'max'"):
        cpu.cross_entropy(x, t, None, -100, 0.0, "max")
    with pytest.raises(ValueError, match=r"x expects shape \(N, C\), got \(4,\)"):
        cpu.cross_entropy(x[:, 0], t, None, -100, 0.0)
    with pytest.raises(IndexError, match="softmax: axis 2 is out of range"):
        cpu.softmax(x, 2)
    with pytest.raises(TypeError, match="softmax: x must be floating, got int64"):
        cpu.softmax(t, 0)


@pytest.mark.parametrize("classes", [10, 1000])
def test_results_larger_than_the_caches(classes):
    """Stored past the caches, with the same bits as the same rows alone."""
    x = values((5_300_000 // classes, classes), np.float32)
    target = np.random.default_rng(1).integers(0, classes, len(x))
    loss, lse, _ = cpu.cross_entropy(x, target, None, -100, 0.1)
    whole = [cpu.softmax(x, 1), cpu.log_softmax(x, 1)]
    whole.append(cpu.softmax_grad(x, whole[0], 1))
    whole.append(cpu.cross_entropy_grad(loss, x, lse, target, None, -100, 0.1))
    for part in (slice(0, 7), slice(1000, 1005), slice(-3, None)):
        some = [cpu.softmax(x[part], 1), cpu.log_softmax(x[part], 1)]
        some.append(cpu.softmax_grad(x[part], some[0], 1))
        some.append(
            cpu.cross_entropy_grad(loss[part], x[part], lse[part], target[part], None, -100, 0.1)
        )
        for a, b in zip(whole, some, strict=True):
            assert (a[part] == b).all()
