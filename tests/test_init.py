"""Initial values: distributions by Kolmogorov-Smirnov and moments, and what holds exactly."""

import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.errors import ShapeError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.nn import init


def seeded(n=5):
    return tg.Generator().manual_seed(n)


def agrees(sample, law):
    """Not refused by Kolmogorov and Smirnov at one in a thousand; the seed is fixed."""
    stats = pytest.importorskip("scipy.stats")
    x = np.asarray(sample.detach().numpy(), np.float64).ravel()
    return stats.kstest(x, law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 0.02, -2.0, 2.0),
        (1.0, 2.0, 0.5, 1.5),
        (0.0, 1.0, 3.0, 9.0),
        (0.0, 1.0, 6.0, 1000.0),
        (5.0, 0.5, -math.inf, 2.0),
        (-1.0, 2.0, 1.0, 1.25),
        (0.0, 1.0, -math.inf, math.inf),
    ],
)
@pytest.mark.parametrize("dtype", [tg.float32, tg.float64], ids=str)
def test_trunc_normal(mean, std, a, b, dtype):
    stats = pytest.importorskip("scipy.stats")
    x = init.trunc_normal_(tg.empty(40, 500, dtype=dtype), mean, std, a, b, generator=seeded())
    law = stats.truncnorm((a - mean) / std, (b - mean) / std, mean, std)
    assert (x >= a).all() and (x <= b).all() and x.dtype == dtype
    assert agrees(x, law)
    v = x.double().numpy()
    assert abs(v.mean() - law.mean()) < 5 * law.std() / math.sqrt(v.size)
    assert v.var() == pytest.approx(law.var(), rel=0.1)


def test_trunc_normal_keeps_to_its_bounds_in_half_precision():
    x = tg.empty(3000, dtype=tg.bfloat16)
    for a, b in ((-0.3, 0.3), (2.1, 2.5)):
        init.trunc_normal_(x, a=a, b=b)
        low, high = (tg.tensor(v, dtype=tg.bfloat16).item() for v in (a, b))
        assert (x >= low).all() and (x <= high).all()
        assert x.min().item() < x.max().item()
    assert init.trunc_normal_(tg.empty(3), a=0.5, b=0.5).tolist() == [0.5] * 3
    assert init.trunc_normal_(tg.empty(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("fill", "law"),
    [
        (lambda w, g: init.lecun_uniform_(w, g), ("uniform", math.sqrt(3 / 60))),
        (lambda w, g: init.lecun_normal_(w, g), ("norm", 1 / math.sqrt(60))),
        (lambda w, g: init.xavier_uniform_(w, 2.0, g), ("uniform", 2 * math.sqrt(6 / 360))),
        (lambda w, g: init.xavier_normal_(w, 2.0, g), ("norm", 2 * math.sqrt(2 / 360))),
        (lambda w, g: init.kaiming_uniform_(w, 1.0, generator=g),
         ("uniform", math.sqrt(3 / 60))),
        (lambda w, g: init.kaiming_normal_(w, 0, "fan_out", "relu", g),
         ("norm", math.sqrt(2 / 300))),
    ],
    ids=["lecun_uniform", "lecun_normal", "xavier_uniform", "xavier_normal", "kaiming_uniform",
         "kaiming_normal"],
)  # fmt: skip
def test_distributions(fill, law):
    """Weights of 15 inputs and 75 outputs with kernels of 4: fans of 60 and 300."""
    stats = pytest.importorskip("scipy.stats")
    w = fill(tg.empty(75, 15, 2, 2), seeded())
    kind, scale = law
    expected = stats.uniform(-scale, 2 * scale) if kind == "uniform" else stats.norm(0, scale)
    assert agrees(w, expected)
    assert w.std().item() == pytest.approx(expected.std(), rel=0.05)


@pytest.mark.parametrize("dtype", [tg.float32, tg.float64], ids=str)
@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (1, 4), (6, 2, 3, 2), (16, 2, 3)])
def test_orthogonal(shape, dtype):
    w = nn.Parameter(tg.empty(*shape, dtype=dtype))
    assert init.orthogonal_(w, gain=1.5, generator=seeded()) is w
    m = w.detach().double().numpy().reshape(shape[0], -1)
    gram = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    small = 1e-6 if dtype == tg.float32 else 1e-14
    assert np.abs(gram - 2.25 * np.eye(len(gram))).max() < small * 2.25
    again = init.orthogonal_(tg.empty(*shape, dtype=dtype), gain=1.5, generator=seeded())
    assert (w == again).all()


def test_orthogonal_is_drawn_uniformly():
    """An element of a uniform rotation in 3 dimensions is uniform in [-1, 1] (Archimedes)."""
    stats = pytest.importorskip("scipy.stats")
    g = seeded()
    draws = [init.orthogonal_(tg.empty(3, 3), generator=g).numpy() for _ in range(2000)]
    for at in ((0, 0), (1, 2), (2, 1)):
        x = np.array([d[at] for d in draws], np.float64)
        assert stats.kstest(x, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    turns = np.mean([np.linalg.det(d) > 0 for d in draws])
    assert abs(turns - 0.5) < 5 * 0.5 / math.sqrt(2000)


def test_eye_and_dirac_hand_on_what_comes():
    assert init.eye_(tg.full((3, 2), 7.0)).tolist() == [[1, 0], [0, 1], [0, 0]]
    layer = nn.Linear(4, 4, bias=False)
    init.eye_(layer.weight)
    x = tg.randn(2, 4)
    assert (layer(x) == x).all()
    for kind, n, groups in ((nn.Conv1d, 1, 1), (nn.Conv2d, 2, 1), (nn.Conv2d, 2, 3),
                            (nn.Conv3d, 3, 2)):  # fmt: skip
        conv = kind(6, 6, 3, padding=1, groups=groups, bias=False)
        assert init.dirac_(conv.weight, groups) is conv.weight
        x = tg.randn(2, 6, *(5,) * n)
        assert (conv(x) == x).all()
    wide = nn.Conv2d(2, 4, 1, bias=False)
    init.dirac_(wide.weight)
    x = tg.randn(1, 2, 3, 3)
    assert (wide(x)[:, :2] == x).all() and (wide(x)[:, 2:] == 0).all()


def test_sparse():
    w = init.sparse_(tg.empty(41, 300), 0.25, std=0.5, generator=seeded())
    zeros = (w == 0).numpy()
    assert (zeros.sum(0) == math.ceil(41 / 4)).all()
    # every row loses about its share, so the places are drawn column by column
    share = 11 / 41
    assert np.abs(zeros.mean(1) - share).max() < 5 * math.sqrt(share * (1 - share) / 300)
    assert w[w != 0].std().item() == pytest.approx(0.5, rel=0.05)
    assert (init.sparse_(tg.empty(3, 2), 1.0) == 0).all()
    assert (init.sparse_(tg.empty(3, 2), 0.0) != 0).all()


@pytest.mark.parametrize("name", ["relu", "elu", "gelu", "silu"])
def test_gains_keep_the_second_moment(name):
    """By Gauss and Hermite's quadrature of f(z)**2, in halves, for the kink at zero."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    z = np.concatenate([6 * (nodes - 1), 6 * (nodes + 1)])
    density = np.concatenate([weights, weights]) * 6 * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    y = getattr(nn.functional, name)(tg.tensor(z)).numpy()
    assert init.calculate_gain(name) == pytest.approx(1 / math.sqrt(y**2 @ density), rel=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: init.trunc_normal_(x, std=0.0), TgValueError, "std > 0 and a <= b, got mean 0"),
        (lambda x: init.trunc_normal_(x, a=1.0, b=0.0), TgValueError, "a 1.0, b 0.0"),
        (lambda x: init.trunc_normal_(x, math.nan), TgValueError, "a finite mean"),
        (lambda x: init.eye_(x[0]), ShapeError, r"eye_: expects 2 dimensions, got shape \(3,\)"),
        (lambda x: init.dirac_(x), ShapeError, "dirac_: expects 3, 4 or 5 dimensions"),
        (lambda x: init.dirac_(tg.ones(4, 2, 3), 3), ShapeError, "4 outputs do not divide into 3"),
        (lambda x: init.orthogonal_(x[0]), ShapeError, "orthogonal_: expects at least 2"),
        (lambda x: init.sparse_(x[0], 0.5), ShapeError, "sparse_: expects 2 dimensions"),
        (lambda x: init.sparse_(x, 1.5), TgValueError, r"sparsity lies in \[0, 1\], got 1.5"),
        (lambda x: init.lecun_normal_(x[0]), ShapeError, "fans need at least 2 dimensions"),
    ],
)
def test_refusals(call, error, text):
    x = tg.ones(2, 3)
    with pytest.raises(error, match=text):
        call(x)
    assert (x == 1).all()
