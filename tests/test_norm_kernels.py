"""The normalisation entries against the reference: layouts, dtypes, missing weights, empty inputs,
threads."""

import ml_dtypes
import numpy as np
import pytest

from tilegrad.kernels import reference
from tilegrad.testing import assert_close

cpu = pytest.importorskip("tilegrad._cpu")
DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
SHAPES = {
    "matrix": (9, 37),
    "images": (5, 6, 7, 3),
    "wide_planes": (2, 4, 70, 70),
    "sequence": (3, 6, 11),
    "volume": (2, 4, 3, 3, 5),
    "one": (1, 2, 1, 1),
    "empty_batch": (0, 4, 3, 3),
    "many_rows": (300, 4),
}
LAYOUTS = ["C", "channels_last", "strided"]


def lay_out(a, layout):
    if layout == "channels_last" and a.ndim > 2:
        return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1)
    return np.repeat(a, 2, axis=-1)[..., ::2] if layout == "strided" else a


def check(actual, expected, length, slack=4.0):
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert (a is None) == (e is None)
        if a is not None:
            assert_close(a, e, reduction_length=int(slack * max(length, 1)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("given", ["both", "neither"])
def test_batch_norm(shape, dtype, layout, given, isa):
    rng = np.random.default_rng(0)
    x = lay_out((rng.standard_normal(shape) * 2 + 1).astype(dtype), layout)
    g = lay_out(rng.standard_normal(shape).astype(dtype), layout)
    c = shape[1]
    w, b = (rng.standard_normal((2, c)) + 1).astype(dtype) if given == "both" else (None, None)
    mean, var = rng.standard_normal(c).astype(dtype), rng.uniform(0.5, 2, c).astype(dtype)
    y = cpu.batch_norm(x, w, b, mean, var, 1e-5)
    check([y], [reference.batch_norm(x, w, b, mean, var, 1e-5)], 1)
    if layout == "channels_last" and x.ndim > 2 and x.size > 2:
        assert y.strides == x.strides
    z = rng.standard_normal(shape).astype(dtype)
    for residual, relu in ((None, True), (z, False), (lay_out(z, layout), True)):
        fused = (x, w, b, mean, var, 1e-5, residual, relu)
        y = cpu.batch_norm(*fused)
        check([y], [reference.batch_norm(*fused)], 1)
    args = (g, x, w, mean, var, 1e-5)
    check(cpu.batch_norm_grad(*args), reference.batch_norm_grad(*args), x.size // c)
    args = (*args, y, True)
    check(cpu.batch_norm_grad(*args), reference.batch_norm_grad(*args), x.size // c)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("given", ["both", "weight", "neither"])
def test_layer_norm(shape, dtype, layout, given, isa):
    rng = np.random.default_rng(1)
    x = lay_out((rng.standard_normal(shape) * 2 + 1).astype(dtype), layout)
    g = lay_out(rng.standard_normal(shape).astype(dtype), layout)
    for ndim in {1, x.ndim - 1}:
        inner = shape[x.ndim - ndim :]
        w = None if given == "neither" else (rng.standard_normal(inner) + 1).astype(dtype)
        b = rng.standard_normal(inner).astype(dtype) if given == "both" else None
        y, mean, rstd = reference.layer_norm(x, w, b, ndim, 1e-5)
        check(cpu.layer_norm(x, w, b, ndim, 1e-5), (y, mean, rstd), x[0].size if len(x) else 1)
        args = (g, x, w, mean, rstd, ndim)
        check(cpu.layer_norm_grad(*args), reference.layer_norm_grad(*args), x.size)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("shape", [s for s in SHAPES.values() if s[1] % 2 == 0], ids=str)
@pytest.mark.parametrize("given", ["both", "neither"])
def test_group_norm(shape, dtype, layout, given, isa):
    rng = np.random.default_rng(2)
    x = lay_out((rng.standard_normal(shape) * 2 + 1).astype(dtype), layout)
    g = lay_out(rng.standard_normal(shape).astype(dtype), layout)
    c = shape[1]
    w, b = (rng.standard_normal((2, c)) + 1).astype(dtype) if given == "both" else (None, None)
    y, mean, rstd = reference.group_norm(x, w, b, 2, 1e-5)
    check(cpu.group_norm(x, w, b, 2, 1e-5), (y, mean, rstd), x.size)
    args = (g, x, w, mean, rstd, 2)
    check(cpu.group_norm_grad(*args), reference.group_norm_grad(*args), x.size)


def test_large_mean_keeps_the_variance(isa):
    x = (1e4 + np.random.default_rng(3).standard_normal((4, 5000))).astype(np.float32)
    _, mean, rstd = cpu.layer_norm(x, None, None, 1, 0.0)
    np.testing.assert_allclose(mean, x.astype("f8").mean(1), rtol=1e-7)
    np.testing.assert_allclose(rstd, 1 / x.astype("f8").std(1), rtol=1e-5)


def test_threads_give_the_same_bits():
    rng = np.random.default_rng(4)
    x, g = rng.standard_normal((2, 64, 8, 30, 30)).astype(np.float32)
    w = np.ones(8, np.float32)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    results = []
    before = cpu.num_threads()
    for n in (1, 2, 3):
        cpu.set_num_threads(n)
        results.append(
            [
                *cpu.batch_norm_grad(g, x, w, mean, var, 1e-5),
                *cpu.layer_norm(x, None, None, 2, 1e-5),
                *cpu.group_norm_grad(g, x, w, np.zeros((64, 2), "f4"), np.ones((64, 2), "f4"), 2),
            ]
        )
    cpu.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_errors():
    x, c = np.zeros((2, 4, 3), np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match=r"batch_norm: weight expects 4 elements, .* \(3,\)"):
        cpu.batch_norm(x, c[:3], None, c, c, 1e-5)
    with pytest.raises(ValueError, match=r"batch_norm: x expects at least 2 dimensions"):
        cpu.batch_norm(c, None, None, c, c, 1e-5)
    with pytest.raises(ValueError, match=r"g has shape \(1, 4, 3\), but x has \(2, 4, 3\)"):
        cpu.batch_norm_grad(x[:1], x, None, c, c, 1e-5)
    with pytest.raises(ValueError, match=r"residual has shape \(2, 4, 1\), but x has \(2, 4, 3\)"):
        cpu.batch_norm(x, None, None, c, c, 1e-5, x[..., :1])
    with pytest.raises(TypeError, match="batch_norm_grad: y has dtype float64, but x has"):
        cpu.batch_norm_grad(x, x, None, c, c, 1e-5, x.astype("d"))
    with pytest.raises(ValueError, match=r"layer_norm: normalises the last 4 axes"):
        cpu.layer_norm(x, None, None, 4, 1e-5)
    with pytest.raises(ValueError, match=r"4 channels do not divide into 3 groups"):
        cpu.group_norm(x, None, None, 3, 1e-5)
    with pytest.raises(TypeError, match="layer_norm: x must be floating, got int64"):
        cpu.layer_norm(np.zeros((2, 2), np.int64), None, None, 1, 1e-5)


@pytest.mark.parametrize("layout", ["C", "channels_last"])
@pytest.mark.parametrize("shape", [(90, 11, 70, 70), (700, 130, 7, 7)])
def test_batch_norm_larger_than_the_caches(isa, shape, layout):
    """Stored past the caches, with the same bits as the same rows of a small batch."""
    rng = np.random.default_rng(5)
    x = lay_out(rng.standard_normal(shape, dtype=np.float32), layout)
    mean, var, w, b = rng.random((4, shape[1]), dtype=np.float32)
    y = cpu.batch_norm(x, w, b, mean, var, 1e-5)
    for part in (slice(0, 3), slice(40, 45), slice(-2, None)):
        assert (y[part] == cpu.batch_norm(x[part], w, b, mean, var, 1e-5)).all()
    mean, var = (a.reshape(-1) for a in cpu.moments(x, (0, 2, 3)))
    g = lay_out(rng.standard_normal(shape, dtype=np.float32), layout)
    actual = cpu.batch_norm_grad(g, x, w, mean, var, 1e-5)
    expected = reference.batch_norm_grad(g, x, w, mean, var, 1e-5)
    check(actual, expected, x.size // shape[1])
    y = cpu.batch_norm(x, w, b, mean, var, 1e-5, g, True)
    *masked, gz = cpu.batch_norm_grad(g, x, w, mean, var, 1e-5, y, True)
    assert (gz == g * (y > 0)).all() and gz.strides == x.strides
    for a, e in zip(masked, cpu.batch_norm_grad(gz, x, w, mean, var, 1e-5), strict=False):
        assert (a == e).all()
