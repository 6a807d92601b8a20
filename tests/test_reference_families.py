"""Reference normalisation, softmax, indexing, random numbers and optimizers, stated otherwise."""

import math

import ml_dtypes
import numpy as np
import pytest
import scipy.special
import scipy.stats
from exact import dot, rng, slope, small

from tilegrad.kernels import reference as ref
from tilegrad.kernels.reference.random import philox

BF16 = np.dtype(ml_dtypes.bfloat16)


# --- normalisation --------------------------------------------------------------------------------


def standardised(x):
    """zscore by the statistics module's formula, one row."""
    return (x - np.mean(x)) / np.std(x)


def check_norm_grads(forward, backward, x, weight, bias):
    """gx, gweight and gbias of backward(g) against central differences of forward(x, w, b)."""
    g = rng.standard_normal(x.shape)
    gx, gweight, gbias = backward(g)
    for found, f, at in (
        (gx, lambda v: forward(v, weight, bias), x),
        (gweight, lambda v: forward(x, v, bias), weight),
        (gbias, lambda v: forward(x, weight, v), bias),
    ):
        d, expected = slope(f, at, g)
        assert found.shape == at.shape
        assert dot(found, d) == pytest.approx(expected, rel=1e-7, abs=1e-8)


def test_batch_norm():
    x = rng.standard_normal((4, 3, 5, 2)) * 3 + 1
    weight, bias = rng.standard_normal(3), rng.standard_normal(3)

    def training(x, weight, bias, eps=1e-3):
        mean, var = ref.moments(x, (0, 2, 3))
        return ref.batch_norm(x, weight, bias, mean, var, eps)

    y = training(x, None, None, 0.0)
    for c in range(3):
        np.testing.assert_allclose(y[:, c], standardised(x[:, c]))
    np.testing.assert_allclose(
        training(x, weight, bias)[:, 1], training(x, None, None)[:, 1] * weight[1] + bias[1]
    )
    mean, var = (m.reshape(3) for m in ref.moments(x, (0, 2, 3)))
    check_norm_grads(
        training, lambda g: ref.batch_norm_grad(g, x, weight, mean, var, 1e-3)[:3], x, weight, bias
    )
    assert ref.batch_norm_grad(x, x, None, mean, var, 1e-3)[1:] == (None, None, None)
    z = rng.standard_normal(x.shape)
    y = ref.batch_norm(x, weight, bias, mean, var, 1e-3, z, True)
    np.testing.assert_array_equal(y, np.maximum(training(x, weight, bias) + z, 0))
    masked = ref.batch_norm_grad(x, x, weight, mean, var, 1e-3, y, True)
    np.testing.assert_array_equal(masked[3], x * (y > 0))
    np.testing.assert_array_equal(
        masked[0], ref.batch_norm_grad(masked[3], x, weight, mean, var, 1e-3)[0]
    )
    assert ref.batch_norm(
        np.float32([[1, 2]]), None, None, np.float32([0, 1]), np.ones(2, "f"), 0.0
    ).tolist() == [[1, 1]]


def test_layer_norm():
    x = rng.standard_normal((4, 3, 5)) * 2 - 1
    weight, bias = rng.standard_normal((3, 5)), rng.standard_normal((3, 5))
    y, mean, rstd = ref.layer_norm(x, None, None, 2, 0.0)
    for i in range(4):
        np.testing.assert_allclose(y[i], standardised(x[i]))
    np.testing.assert_allclose(mean, x.mean((1, 2)))
    np.testing.assert_allclose(rstd, 1 / x.std((1, 2)))
    _, mean, rstd = ref.layer_norm(x, weight, bias, 2, 1e-3)
    check_norm_grads(
        lambda *a: ref.layer_norm(*a, 2, 1e-3)[0],
        lambda g: ref.layer_norm_grad(g, x, weight, mean, rstd, 2),
        x,
        weight,
        bias,
    )


def test_group_norm():
    x = rng.standard_normal((3, 6, 4)) + 2
    weight, bias = rng.standard_normal(6), rng.standard_normal(6)
    y, mean, rstd = ref.group_norm(x, None, None, 2, 0.0)
    assert mean.shape == rstd.shape == (3, 2)
    np.testing.assert_allclose(y[1, 3:], standardised(x[1, 3:]))
    _, mean, rstd = ref.group_norm(x, weight, bias, 2, 1e-3)
    check_norm_grads(
        lambda *a: ref.group_norm(*a, 2, 1e-3)[0],
        lambda g: ref.group_norm_grad(g, x, weight, mean, rstd, 2),
        x,
        weight,
        bias,
    )
    with pytest.raises(ValueError, match="group_norm"):
        ref.group_norm(x, None, None, 4, 0.0)


# --- softmax --------------------------------------------------------------------------------------


def test_softmax_family():
    x = rng.standard_normal((3, 4, 5)) * 10
    g = rng.standard_normal(x.shape)
    for axis in range(3):
        y, logy = ref.softmax(x, axis), ref.log_softmax(x, axis)
        np.testing.assert_allclose(y, scipy.special.softmax(x, axis), rtol=1e-13)
        np.testing.assert_allclose(logy, scipy.special.log_softmax(x, axis), atol=1e-13)
        d, expected = slope(lambda v, a=axis: ref.softmax(v, a), x, g)
        assert dot(ref.softmax_grad(g, y, axis), d) == pytest.approx(expected, rel=1e-6)
        d, expected = slope(lambda v, a=axis: ref.log_softmax(v, a), x, g)
        assert dot(ref.log_softmax_grad(g, logy, axis), d) == pytest.approx(expected, rel=1e-6)
    for axes in ((0,), (0, 2), (0, 1, 2), ()):
        y = ref.logsumexp(x, axes, False)
        np.testing.assert_allclose(y, scipy.special.logsumexp(x, axes) if axes else x, rtol=1e-13)
    assert ref.logsumexp(np.float32([-np.inf, -np.inf]), (0,), True).tolist() == [-np.inf]
    assert ref.logsumexp(np.float32([1, np.inf]), (0,), False).tolist() == np.inf
    assert ref.logsumexp(np.zeros((2, 0)), (1,), False).tolist() == [-np.inf] * 2


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(smoothing, weighted):
    x, target = rng.standard_normal((4, 3)), np.array([2, -100, 0, 1])
    weight = np.array([0.5, 2.0, 1.5]) if weighted else None
    loss, lse, total = ref.cross_entropy(x, target, weight, -100, smoothing)
    assert total is None
    w = weight if weighted else np.ones(3)
    logp = np.log(scipy.special.softmax(x, 1))
    for i, t in enumerate(target):
        # The smoothed target mixes the one-hot distribution with the uniform one.
        q = [(1 - smoothing) * (c == t) + smoothing / 3 for c in range(3)]
        expected = 0 if t == -100 else -sum(w[c] * q[c] * logp[i, c] for c in range(3))
        assert loss[i] == pytest.approx(expected)
    np.testing.assert_allclose(lse, scipy.special.logsumexp(x, 1))
    g = rng.standard_normal(4)
    gx = ref.cross_entropy_grad(g, x, lse, target, weight, -100, smoothing)
    d, expected = slope(lambda v: ref.cross_entropy(v, target, weight, -100, smoothing)[0], x, g)
    assert dot(gx, d) == pytest.approx(expected, rel=1e-7)
    for reduction, by in (("mean", w[[2, 0, 1]].sum()), ("sum", 1.0)):
        one, _, total = ref.cross_entropy(x, target, weight, -100, smoothing, reduction)
        assert total == by and one == pytest.approx(loss.sum() / by)
        args = x, lse, target, weight, -100, smoothing
        gx = ref.cross_entropy_grad(np.array(3.0), *args, total)
        np.testing.assert_allclose(gx, ref.cross_entropy_grad(np.full(4, 3.0 / by), *args))
    for bad in (3, -1):
        with pytest.raises(IndexError, match="target"):
            ref.cross_entropy(x, np.array([0, bad, 0, 0]), weight, -100, smoothing)


# --- indexing -------------------------------------------------------------------------------------


def test_gather_and_scatter_add():
    x = small(3, 4)
    index = np.array([[0, -1, 2], [1, 1, 1]])
    y = ref.gather(x, index, 1)
    assert y.tolist() == [[x[i, index[i, j]] for j in range(3)] for i in range(2)]
    src = small(2, 3)
    back = ref.scatter_add(x.shape, index, src, 1)
    assert back[1].tolist() == [0, src[1].sum(), 0, 0] and dot(back, x) == dot(src, y)
    for index in ([[4]], [[-5]]):
        with pytest.raises(IndexError, match="gather"):
            ref.gather(x, np.array(index), 1)
    with pytest.raises(ValueError, match="gather"):
        ref.gather(x, np.zeros((4, 1), int), 1)


def test_take():
    x = small(2, 3, 4)
    for axis, index in ((0, [[1, -1], [0, 0]]), (1, [2]), (2, 3)):
        index = np.array(index)
        y = ref.take(x, index, axis)
        assert (
            y
            == np.moveaxis(
                np.moveaxis(x, axis, 0)[index], range(index.ndim), range(axis, axis + index.ndim)
            )
        ).all()
        g = small(*y.shape)
        assert dot(ref.take_grad(g, index, axis, x.shape[axis]), x) == dot(g, y)
    with pytest.raises(IndexError, match="take"):
        ref.take(x, np.array([3]), 1)


def test_put_and_nonzero():
    x = np.zeros((2, 3))
    ref.put(x, np.array([4, -1, 4]), np.array([1.0, 2.0, 3.0]), False)
    assert x.tolist() == [[0, 0, 0], [0, 3, 2]]
    ref.put(x, np.array([4, -1, 4]), np.array(10.0), True)
    assert x.tolist() == [[0, 0, 0], [0, 23, 12]]
    with pytest.raises(IndexError, match="put"):
        ref.put(x, np.array([0, 6]), np.array(5.0), False)
    assert x[0, 0] == 0
    assert ref.nonzero(x).tolist() == [[1, 1], [1, 2]]
    assert ref.nonzero(np.array(3)).shape == (0, 1) and ref.nonzero(np.array(0)).shape == (0, 0)
    half = np.ones(1, BF16)
    ref.put(half, np.zeros(4, int), np.full(4, 2**-9, BF16), True)
    assert half.astype(float) == 1 + 2**-7


def test_pad():
    x = np.array([[1.0, 2.0, 3.0]])
    widths = ((0, 0), (2, 1))
    assert ref.pad(x, widths, "constant", 9.0).tolist() == [[9, 9, 1, 2, 3, 9]]
    assert ref.pad(x, widths, "reflect", 0).tolist() == [[3, 2, 1, 2, 3, 2]]
    assert ref.pad(x, widths, "replicate", 0).tolist() == [[1, 1, 1, 2, 3, 3]]
    with pytest.raises(ValueError, match="reflect"):
        ref.pad(x, ((0, 0), (3, 0)), "reflect", 0)
    x, widths = small(2, 4, 3), ((0, 0), (3, 2), (1, 2))
    for mode in ("constant", "reflect", "replicate"):
        y = ref.pad(x, widths, mode, 0.0)
        g = small(*y.shape)
        assert dot(ref.pad_grad(g, widths, mode), x) == dot(g, y)


def test_concatenate_and_roll():
    x = np.arange(6).reshape(2, 3)
    assert ref.concatenate([x, x[:, :1]], 1).tolist() == [[0, 1, 2, 0], [3, 4, 5, 3]]
    assert ref.roll(x, (1, -1), (0, 1)).tolist() == [[4, 5, 3], [1, 2, 0]]


# --- random numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        (
            "00000000 00000000 00000000 00000000",
            "00000000 00000000",
            "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        ),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    """The known-answer vectors of Random123 for philox4x32 with 10 rounds."""
    counter, key, expected = (
        [int(word, 16) for word in row.split()] for row in (counter, key, expected)
    )
    assert philox(np.array([counter], np.uint32), key).tolist() == [expected]


def test_uniform_bits_by_hand():
    first = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    y = ref.random_uniform((2, 2), np.float32, 0, 0)
    assert y.dtype == np.float32 and y.ravel().tolist() == [(w >> 8) / 2**24 for w in first]
    assert ref.random_uniform((4,), BF16, 0, 0).astype(float).tolist() == [
        (w >> 24) / 256 for w in first
    ]
    assert ref.random_uniform((4,), np.float16, 0, 0).astype(float).tolist() == [
        (w >> 21) / 2048 for w in first
    ]
    pairs = [first[1] << 32 | first[0], first[3] << 32 | first[2]]
    assert ref.random_uniform((2,), np.float64, 0, 0).tolist() == [(u >> 11) / 2**53 for u in pairs]
    low, high = -(2**63), 2**63 - 1
    assert ref.random_int((2,), low, high, 0, 0).tolist() == [
        low + (u * (high - low) >> 64) for u in pairs
    ]
    assert ref.random_int((2,), -3, 9, 0, 0).tolist() == [-3 + (u * 12 >> 64) for u in pairs]


def test_streams_are_addressed_by_offset():
    whole = ref.random_uniform((40,), np.float32, 2**63 + 5, 2**32 - 3)
    part = ref.random_uniform((28,), np.float32, 2**63 + 5, 2**32)
    assert (whole[12:] == part).all()
    assert (
        ref.random_uniform((5,), np.float32, 1, 2**64 - 1)[4:]
        == ref.random_uniform((1,), np.float32, 1, 0)
    ).all()


def test_distributions():
    u = ref.random_uniform((100_000,), np.float32, 11, 0)
    assert scipy.stats.kstest(u, "uniform").pvalue > 1e-3 and u.min() >= 0 and u.max() < 1
    for dtype in (np.float32, np.float64):
        z = ref.random_normal((100_001,), dtype, 12, 0)
        assert z.dtype == dtype and scipy.stats.kstest(z, "norm").pvalue > 1e-3
    k = ref.random_int((100_000,), -5, 5, 13, 0)
    assert scipy.stats.chisquare(np.bincount(k + 5, minlength=10)).pvalue > 1e-3
    with pytest.raises(ValueError, match="random_int"):
        ref.random_int((1,), 3, 3, 0, 0)


def test_normal_by_hand():
    u = ref.random_uniform((4,), np.float64, 3, 9)
    r = [math.sqrt(-2 * math.log(1 - v)) for v in u[::2]]
    z = [
        f(2 * math.pi * v) * s
        for s, v in zip(r, u[1::2], strict=True)
        for f in (math.cos, math.sin)
    ]
    np.testing.assert_allclose(ref.random_normal((3,), np.float64, 3, 9), z[:3], rtol=1e-14)


def test_dropout():
    x = small(4, 5).T
    y = ref.dropout(x, 0.25, 6, 1)
    keep = ref.random_uniform((5, 4), np.float32, 6, 1) >= 0.25
    np.testing.assert_array_equal(y, np.where(keep, x / 0.75, 0))
    assert (ref.dropout(x, 0.0, 6, 1) == x).all()
    assert (ref.dropout(np.full(3, np.inf), 1.0, 6, 1) == 0).all()


# --- optimizers -----------------------------------------------------------------------------------


def test_sgd_by_hand():
    p, b, g = np.array([1.0]), np.array([99.0]), np.array([2.0])
    tail = (0.5, False, False, 0.0)
    ref.sgd_step([p], [g], [b], 0.5, 0.5, 0.25, False, True, *tail)
    assert (p[0], b[0]) == (1 - 0.5 * 2.5, 2.5)
    ref.sgd_step([p], [g], [b], 0.5, 0.5, 0.25, False, False, *tail)
    assert b[0] == 0.5 * 2.5 + 0.75 * (2 - 0.5 * 0.25) and p[0] == -0.25 - 0.5 * b[0]
    p = np.array([1.0])
    ref.sgd_step([p], [g], None, 0.5, 0, 0, False, True, 0, False, True, 0)
    assert p[0] == 2
    p, b = np.array([1.0]), np.array([4.0])
    ref.sgd_step([p], [g], [b], 0.5, 0.5, 0, True, False, 0, False, False, 0)
    assert b[0] == 4 and p[0] == 1 - 0.5 * (2 + 0.5 * 4)
    p = np.array([1.0, -3.0, 2.0])
    ref.sgd_step(
        [p], [np.array([0.0, 0.0, 4.0])], None, 0.5, 0, 0, False, True, 0.5, True, False, 1
    )
    assert p.tolist() == [0.25, -1.75, 0.0]


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_against_the_paper(decoupled, amsgrad):
    """Algorithm 1 of Kingma & Ba with its explicit bias-corrected moments, in Python floats."""
    lr, beta1, beta2, eps, decay = 0.1, 0.9, 0.99, 1e-8, 0.1
    p, m, v, top = 1.5, 0.0, 0.0, 0.0
    arrays = [np.array([value]) for value in (p, m, v)]
    most = np.zeros(1) if amsgrad else None
    for step, gradient in enumerate([2.0, -0.5, 0.1, 0.0], 1):
        lists = [[a] for a in (arrays[0], np.array([gradient]), *arrays[1:])]
        ref.adam_step(
            *lists, None if most is None else [most], lr, beta1, beta2, eps, step, decay,
            decoupled, False, 0.0,
        )  # fmt: skip
        if decoupled:
            p -= lr * decay * p
        else:
            gradient += decay * p
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
        top = max(top, v)
        corrected = (top if amsgrad else v) / (1 - beta2**step)
        p -= lr * m / (1 - beta1**step) / (math.sqrt(corrected) + eps)
        np.testing.assert_allclose([a[0] for a in arrays], [p, m, v], rtol=1e-13)
