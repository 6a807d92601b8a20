"""Random tensors: the generator's streams, the distributions, dropout, in-place filling."""

import pickle

import numpy as np
import pytest
import scipy.stats

import tilegrad as tg
from tilegrad import errors
from tilegrad.ops.random import dropout, dropout2d


def test_a_seed_names_the_stream():
    def draw():
        return [
            tg.rand(5), tg.randn(3), tg.randint(10, (4,)), tg.randperm(6),
            tg.rand(2, dtype=tg.float64), dropout(tg.ones(9)),
            tg.bernoulli(tg.full((3,), 0.5)), tg.zeros(3).normal_(),
        ]  # fmt: skip

    tg.manual_seed(42)
    first = draw()
    second = draw()
    tg.manual_seed(42)
    for a, b in zip(first, draw(), strict=True):
        assert a.tolist() == b.tolist()
    assert any(a.tolist() != c.tolist() for a, c in zip(first, second, strict=True))


def test_successive_draws_are_one_stream():
    tg.manual_seed(1)
    a, b = tg.rand(8), tg.rand(4)
    tg.manual_seed(1)
    assert tg.rand(12).tolist() == a.tolist() + b.tolist()


def test_state():
    state = tg.get_rng_state()
    assert state.dtype == tg.uint8 and state.shape == (16,)
    a = tg.randn(5)
    tg.set_rng_state(state)
    assert tg.randn(5).tolist() == a.tolist()
    tg.set_rng_state(pickle.loads(pickle.dumps(state)))
    assert tg.randn(5).tolist() == a.tolist()
    with pytest.raises(errors.ValueError, match="16 uint8"):
        tg.set_rng_state(tg.zeros(16))


def test_generators_are_apart():
    g = tg.Generator().manual_seed(-1)
    assert g.initial_seed() == 2**64 - 1
    before = tg.get_rng_state()
    a = tg.rand(3, generator=g)
    assert tg.get_rng_state().tolist() == before.tolist()
    assert a.tolist() == tg.rand(3, generator=tg.Generator().manual_seed(-1)).tolist()
    assert tg.seed() == tg.initial_seed() != tg.seed()


def test_distributions():
    tg.manual_seed(3)
    n = 50_000
    assert scipy.stats.kstest(tg.rand(n).numpy(), "uniform").pvalue > 1e-3
    assert scipy.stats.kstest(tg.randn(n).numpy(), "norm").pvalue > 1e-3
    z = tg.normal(3.0, 2.0, (n,)).numpy()
    assert scipy.stats.kstest(z, "norm", (3, 2)).pvalue > 1e-3
    u = tg.zeros(n).uniform_(-1, 3).numpy()
    assert scipy.stats.kstest(u, "uniform", (-1, 4)).pvalue > 1e-3
    counts = np.bincount(tg.randint(-2, 5, (n,)).numpy() + 2, minlength=7)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    odds = tg.bernoulli(tg.tensor([0.0, 0.3, 1.0]).expand(n, 3)).numpy().mean(0)
    assert odds[0] == 0 and odds[2] == 1 and abs(odds[1] - 0.3) < 0.01
    first = [tuple(tg.randperm(3).tolist()) for _ in range(1200)]
    assert scipy.stats.chisquare([first.count(p) for p in set(first)]).pvalue > 1e-3
    assert len(set(first)) == 6


def test_dtypes_and_shapes():
    assert tg.rand(2, 3).dtype == tg.float32 and tg.rand((2, 3)).shape == (2, 3)
    assert tg.rand().shape == () and tg.randn(0).shape == (0,)
    assert tg.randn(3, dtype=tg.bfloat16).dtype == tg.bfloat16
    assert tg.rand(3, requires_grad=True).requires_grad
    assert tg.rand_like(tg.zeros(2, dtype=tg.float64)).dtype == tg.float64
    assert tg.randint(5, (2,), dtype=tg.uint8).dtype == tg.uint8
    assert tg.randint(low=3, high=4, size=(2,)).tolist() == [3, 3]
    assert tg.randint_like(tg.zeros(2), 1).tolist() == [0, 0]
    assert tg.normal(tg.zeros(2, 1), tg.ones(3)).shape == (2, 3)
    assert float(tg.rand(10_000, dtype=tg.float16).max()) < 1


def test_dropout():
    x = tg.ones(1000, requires_grad=True)
    y = dropout(x, 0.2)
    assert set(y.tolist()) == {0.0, 1.25}
    y.sum().backward()
    assert x.grad.tolist() == y.tolist()
    assert dropout(x, 0.5, training=False) is x and dropout(x, 0.0) is x
    assert not dropout(x, 1.0).numpy(force=True).any()
    z = tg.ones(64)
    assert dropout(z, 0.5, inplace=True) is z and set(z.tolist()) == {0.0, 2.0}
    planes = dropout2d(tg.ones(4, 50, 2, 2), 0.5).numpy().reshape(200, 4)
    assert (planes == planes[:, :1]).all() and 50 < (planes[:, 0] == 0).sum() < 150


def test_in_place():
    x = tg.zeros(4)
    for filled in (x.uniform_(), x.normal_(), x.random_(3), x.bernoulli_()):
        assert filled is x
    leaf = tg.zeros(2, requires_grad=True)
    with pytest.raises(errors.GradientError, match="leaf"):
        leaf.normal_()
    with tg.no_grad():
        leaf.normal_()


ERRORS = [
    (errors.DTypeError, "rand: expects a floating", lambda: tg.rand(2, dtype=tg.int64)),
    (errors.ShapeError, "randn: negative", lambda: tg.randn(-1)),
    (errors.MemoryError, "rand", lambda: tg.rand(2**40, 2**20)),
    (errors.ValueError, "randint", lambda: tg.randint(0, (2,))),
    (TypeError, "low=0, high, size", lambda: tg.randint(3)),
    (errors.ValueError, "randperm", lambda: tg.randperm(-1)),
    (errors.ValueError, "bernoulli", lambda: tg.bernoulli(tg.tensor([1.5]))),
    (errors.ValueError, "bernoulli", lambda: tg.bernoulli(tg.tensor([float("nan")]))),
    (errors.ValueError, r"dropout: p must lie in \[0, 1\], got 2", lambda: dropout(tg.ones(1), 2)),
    (errors.DTypeError, "dropout", lambda: dropout(tg.ones(1, dtype=tg.int64))),
    (errors.ShapeError, "dropout2d", lambda: dropout2d(tg.ones(2, 2))),
    (errors.ValueError, "uniform_", lambda: tg.zeros(1).uniform_(2, 1)),
    (errors.ValueError, "normal_", lambda: tg.zeros(1).normal_(0, -1)),
    (errors.DeviceError, "cuda", lambda: tg.rand(1, device="cuda")),
]


@pytest.mark.parametrize("error, message, call", ERRORS)
def test_errors(error, message, call):
    with pytest.raises(error, match=message):
        call()
