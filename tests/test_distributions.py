"""Distributions against SciPy, against integrals, against their own draws, and against PyTorch."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

import tilegrad as tg
from tilegrad import distributions as D

rng = np.random.default_rng(7)


def t(*x):
    return tg.tensor(x, dtype=tg.float64)


LINES = {
    "normal": (D.Normal(t(0.3, -2), t(0.5, 3)), stats.norm([0.3, -2], [0.5, 3])),
    "laplace": (D.Laplace(t(0.3, -2), t(0.5, 3)), stats.laplace([0.3, -2], [0.5, 3])),
    "uniform": (D.Uniform(t(-1, 2), t(1.5, 3)), stats.uniform([-1, 2], [2.5, 1])),
    "exponential": (D.Exponential(t(0.5, 4)), stats.expon(scale=[2, 0.25])),
}
BERNOULLI = D.Bernoulli(t(0.0, 0.3, 1.0))
COUNTS = D.Categorical(t(1.0, 0.0, 3.0, 4.0))


@pytest.mark.parametrize("name", LINES)
def test_densities(name):
    mine, scipys = LINES[name]
    p = np.array([[0.02, 0.9], [0.5, 0.5], [0.7, 0.2]])
    x = mine.icdf(tg.from_numpy(p))
    np.testing.assert_allclose(x, scipys.ppf(p))
    np.testing.assert_allclose(mine.cdf(x), p)
    np.testing.assert_allclose(mine.log_prob(x), scipys.logpdf(x.numpy()))
    np.testing.assert_allclose(mine.entropy(), scipys.entropy())
    np.testing.assert_allclose(mine.perplexity(), np.exp(scipys.entropy()))
    np.testing.assert_allclose(mine.mean, scipys.mean())
    np.testing.assert_allclose(mine.variance, scipys.var())
    np.testing.assert_allclose(mine.stddev, scipys.std())
    top = mine.log_prob(mine.mode).numpy() if name != "uniform" else mine.mode.isnan().numpy()
    assert (top >= mine.log_prob(x).numpy()).all() if name != "uniform" else top.all()


@pytest.mark.parametrize("name", LINES)
def test_draws(name):
    """The draws of one seed pass the test of Kolmogorov and Smirnov, and are finite in float32."""
    mine, _ = LINES[name]
    x = mine.sample((2000,))
    assert x.shape == (2000, 2) and not x.requires_grad
    for column in mine.cdf(x).numpy().T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    single = type(mine)(**{k: v.float() for k, v in mine._given.items()})
    draws = single.sample((100_000,))
    assert draws.dtype == tg.float32 and draws.isfinite().all()


@pytest.mark.parametrize("name", LINES)
def test_draws_pass_gradients(name):
    """d E[f(x)] / d parameter by the draws is that of the moments, for f = x + x**2 / 2."""
    mine, _ = LINES[name]
    leaves = {k: v.clone().requires_grad_() for k, v in mine._given.items()}
    d = type(mine)(**leaves)
    x = d.rsample((40_000,))
    assert mine.has_rsample and x.requires_grad
    drawn = tg.autograd.grad((x + x * x / 2).mean(0).sum(), list(leaves.values()))
    exact = (d.mean + (d.variance + d.mean.square()) / 2).sum()
    for got, want in zip(drawn, tg.autograd.grad(exact, list(leaves.values())), strict=True):
        np.testing.assert_allclose(got, want, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("name", LINES)
def test_gradients_of_log_prob_and_entropy(name):
    from tilegrad.testing import gradcheck

    mine, _ = LINES[name]
    kind, names = type(mine), list(mine._given)
    x = mine.sample((3,))
    inputs = [x, *mine._given.values()]
    inputs = [v.clone().requires_grad_() for v in inputs]
    gradcheck(lambda x, *ps: kind(**dict(zip(names, ps, strict=True))).log_prob(x), inputs)
    gradcheck(lambda *ps: kind(**dict(zip(names, ps, strict=True))).entropy(), inputs[1:])


def test_bernoulli():
    np.testing.assert_allclose(BERNOULLI.mean, [0, 0.3, 1])
    np.testing.assert_allclose(BERNOULLI.variance, [0, 0.21, 0])
    np.testing.assert_allclose(BERNOULLI.mode, [0, 0, 1])
    assert D.Bernoulli(0.5).mode.isnan()
    np.testing.assert_allclose(
        BERNOULLI.entropy(), stats.bernoulli([0, 0.3, 1]).entropy(), atol=1e-13
    )
    got = BERNOULLI.log_prob(t(0, 1, 1)).exp()
    np.testing.assert_allclose(got, [1, 0.3, 1])
    assert BERNOULLI.log_prob(t(1, 1, 0))[0] < -30
    draws = BERNOULLI.sample((20_000,))
    np.testing.assert_allclose(draws.mean(0), [0, 0.3, 1], atol=0.01)
    assert BERNOULLI.enumerate_support().tolist() == [[0.0] * 3, [1.0] * 3]
    assert BERNOULLI.enumerate_support(expand=False).shape == (2, 1)
    far = D.Bernoulli(logits=tg.tensor([-200.0, 200.0]))
    assert far.log_prob(tg.tensor([1.0, 0.0])).tolist() == [-200, -200]
    np.testing.assert_allclose(far.logits, [-200, 200])


def test_categorical():
    p = np.array([0.125, 0, 0.375, 0.5])
    np.testing.assert_allclose(COUNTS.probs, p)
    np.testing.assert_allclose(COUNTS.entropy(), stats.entropy(p), atol=1e-12)
    assert COUNTS.mode.item() == 3 and COUNTS.mean.isnan() and COUNTS.variance.isnan()
    assert COUNTS.param_shape == (4,) and COUNTS.batch_shape == ()
    x = COUNTS.sample((20_000,))
    assert x.dtype == tg.int64
    np.testing.assert_allclose(np.bincount(x.numpy(), minlength=4) / 20_000, p, atol=0.02)
    assert not (x == 1).any()
    np.testing.assert_allclose(COUNTS.log_prob(COUNTS.enumerate_support()).exp(), p, atol=1e-12)
    two = D.Categorical(logits=tg.randn(5, 1, 3))
    assert two.sample().shape == (5, 1) and two.sample((2, 3)).shape == (2, 3, 5, 1)
    assert two.sample((0,)).shape == (0, 5, 1)
    assert two.log_prob(tg.zeros(4, dtype=tg.int64)).shape == (5, 4)
    assert two.enumerate_support().shape == (3, 5, 1)
    assert two.enumerate_support(expand=False).shape == (3, 1, 1)
    np.testing.assert_allclose(two.probs.sum(-1), np.ones((5, 1)), rtol=1e-6)
    impossible = D.Categorical(logits=t(0.0, -math.inf))
    assert (
        impossible.entropy().item() == 0 and impossible.log_prob(tg.tensor(1)).item() == -math.inf
    )


@pytest.mark.parametrize("given", ["probs", "logits"])
@pytest.mark.parametrize("kind", [D.Bernoulli, D.Categorical])
def test_discrete_gradients(kind, given):
    from tilegrad.testing import gradcheck

    x = tg.from_numpy(rng.uniform(0.1, 0.9, (4, 3))).requires_grad_()
    value = (
        (tg.arange(12) % 2 == 0).reshape(4, 3) if kind is D.Bernoulli else tg.tensor([0, 1, 2, 2])
    )
    gradcheck(lambda x: kind(**{given: x}).log_prob(value.double()), [x])
    gradcheck(lambda x: kind(**{given: x}).entropy(), [x])


def test_probs_first_asked_for_without_recording_still_pass_gradients():
    logits = tg.zeros(3, requires_grad=True)
    d = D.Categorical(logits=logits)
    with tg.no_grad():
        d.sample()
    d.probs[0].backward()
    assert logits.grad is not None


def test_multivariate_normal():
    a = rng.normal(size=(3, 3))
    cov, loc, x = a @ a.T + np.eye(3), rng.normal(size=3), rng.normal(size=(5, 3))
    scipys = stats.multivariate_normal(loc, cov)
    forms = {
        "covariance_matrix": cov,
        "precision_matrix": np.linalg.inv(cov),
        "scale_tril": np.linalg.cholesky(cov),
    }
    for name, m in forms.items():
        d = D.MultivariateNormal(tg.from_numpy(loc), **{name: tg.from_numpy(m)})
        np.testing.assert_allclose(d.log_prob(tg.from_numpy(x)), scipys.logpdf(x))
        np.testing.assert_allclose(d.entropy(), scipys.entropy())
        np.testing.assert_allclose(d.covariance_matrix, cov)
        np.testing.assert_allclose(d.precision_matrix, np.linalg.inv(cov))
        np.testing.assert_allclose(d.variance, np.diag(cov))
        np.testing.assert_allclose(d.scale_tril, np.linalg.cholesky(cov), atol=1e-12)
    draws = d.sample((20_000,))
    np.testing.assert_allclose(np.cov(draws.numpy().T), cov, rtol=0.1, atol=0.15)
    np.testing.assert_allclose(draws.mean(0), d.mean, atol=0.1)
    wide = D.MultivariateNormal(tg.zeros(4, 1, 2), tg.eye(2).expand(5, 2, 2))
    assert wide.batch_shape == (4, 5) and wide.rsample((7,)).shape == (7, 4, 5, 2)
    assert wide.expand((3, 4, 5)).log_prob(tg.zeros(2)).shape == (3, 4, 5)


def test_independent():
    base = D.Normal(tg.zeros(2, 3, 4), tg.ones(4))
    d = D.Independent(base, 2)
    assert d.batch_shape == (2,) and d.event_shape == (3, 4) and d.has_rsample
    x = d.rsample((5,))
    assert x.shape == (5, 2, 3, 4) and d.sample().shape == (2, 3, 4)
    np.testing.assert_allclose(d.log_prob(x), base.log_prob(x).sum((-1, -2)), rtol=1e-6)
    np.testing.assert_allclose(d.entropy(), base.entropy().sum((-1, -2)), rtol=1e-6)
    assert d.expand((6, 2)).log_prob(x[0]).shape == (6, 2)
    assert d.mean.shape == d.mode.shape == d.variance.shape == (2, 3, 4)
    same = D.Independent(COUNTS, 0)
    assert same.has_enumerate_support and same.enumerate_support().shape == (4,)
    with pytest.raises(NotImplementedError, match="enumerate_support"):
        d.enumerate_support()
    with pytest.raises(tg.errors.ShapeError, match="0 to 3 axes"):
        D.Independent(base, 4)
    assert repr(d).startswith("Independent(Normal(loc: (2, 3, 4)")


# --- divergences ----------------------------------------------------------------------------------
PAIRS = {
    "normal": (D.Normal(t(0.3), t(0.5)), D.Normal(t(-1.0), t(2.0)), -9, 9),
    "laplace": (D.Laplace(t(0.3), t(0.5)), D.Laplace(t(-1.0), t(2.0)), -9, 9),
    "exponential": (D.Exponential(t(3.0)), D.Exponential(t(0.5)), 0, 20),
    "uniform": (D.Uniform(t(0.0), t(0.5)), D.Uniform(t(-1.0), t(2.0)), 0, 0.5),
    "uniform_normal": (D.Uniform(t(0.0), t(0.5)), D.Normal(t(-1.0), t(2.0)), 0, 0.5),
}


@pytest.mark.parametrize("name", PAIRS)
def test_divergence_is_the_integral(name):
    p, q, low, high = PAIRS[name]

    def f(x):
        a, b = p.log_prob(t(x)).item(), q.log_prob(t(x)).item()
        return math.exp(a) * (a - b) if a > -math.inf else 0.0

    middle = [p.mean.item()]
    integral = integrate.quad(f, low, high, points=middle, limit=200)[0]
    assert D.kl_divergence(p, q).item() == pytest.approx(integral, rel=1e-6)
    assert D.kl_divergence(p, p).item() == pytest.approx(0, abs=1e-12) or name == "uniform_normal"


def test_discrete_divergences():
    p, q = np.array([0.2, 0.0, 0.8]), np.array([0.5, 0.25, 0.25])
    mine = D.kl_divergence(D.Categorical(t(*p)), D.Categorical(t(*q)))
    assert mine.item() == pytest.approx(stats.entropy(p, q))
    assert D.kl_divergence(D.Categorical(t(*q)), D.Categorical(t(*p))).item() == math.inf
    a, b = D.Bernoulli(t(0.2, 0.0, 1.0, 0.5)), D.Bernoulli(t(0.6, 0.3, 0.9, 1.0))
    want = [stats.entropy([x, 1 - x], [y, 1 - y]) for x, y in zip(a.probs, b.probs, strict=True)]
    np.testing.assert_allclose(D.kl_divergence(a, b), want)


def test_other_divergences():
    m, loc = tg.eye(2, dtype=tg.float64) * 2, t(1.0, -1.0)
    p, q = D.MultivariateNormal(loc, m), D.MultivariateNormal(t(0.0, 0.0), scale_tril=m)
    parts = D.kl_divergence(D.Normal(loc, math.sqrt(2)), D.Normal(t(0.0, 0.0), 2.0))
    assert D.kl_divergence(p, q).item() == pytest.approx(parts.sum().item())
    one, other = D.Independent(LINES["normal"][0], 1), D.Independent(D.Normal(t(0, 0), 1.0), 1)
    whole = D.kl_divergence(one.base_dist, other.base_dist).sum().item()
    assert D.kl_divergence(one, other).item() == pytest.approx(whole)
    outside = D.kl_divergence(D.Uniform(0.0, 2.0), D.Uniform(0.0, 1.0))
    assert outside.item() == math.inf
    with pytest.raises(NotImplementedError, match="Normal and Bernoulli"):
        D.kl_divergence(LINES["normal"][0], BERNOULLI)
    with pytest.raises(NotImplementedError, match="numbers of axes"):
        D.kl_divergence(one, D.Independent(one.base_dist, 0))
    with pytest.raises(tg.errors.ShapeError, match="elements"):
        D.kl_divergence(p, D.MultivariateNormal(tg.zeros(3), tg.eye(3)))


def test_registered_divergence(monkeypatch):
    monkeypatch.setattr("tilegrad.distributions.kl._FORMULAS", {})

    class Mine(D.Normal):
        pass

    @D.register_kl(D.Normal, D.Distribution)
    def formula(p, q):
        return p.loc * 7

    assert D.kl_divergence(Mine(1.0, 1.0), BERNOULLI).item() == 7
    with pytest.raises(TypeError, match="classes of distributions"):
        D.register_kl(int, D.Normal)


# --- mistakes -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: D.Normal(0.0, 0.0), "scale > 0"),
        (lambda: D.Normal(math.nan, 1.0), "expects numbers, not so everywhere in loc"),
        (lambda: D.Uniform(1.0, 1.0), "low < high"),
        (lambda: D.Exponential(t(1.0, -1.0)), "rate > 0"),
        (lambda: D.Bernoulli(1.5), "0 <= probs <= 1"),
        (lambda: D.Bernoulli(), "either probs or logits"),
        (lambda: D.Bernoulli(t(0.5), t(0.5)), "either probs or logits"),
        (lambda: D.Bernoulli(tg.tensor([1])), "floating"),
        (lambda: D.Categorical(t(-1.0, 2.0)), "weights >= 0"),
        (lambda: D.Categorical(t(0.0, 0.0)), "finite sum > 0"),
        (lambda: D.Categorical(logits=t(math.nan)), "numbers"),
        (lambda: D.Categorical(0.5), "at least 1 axis"),
        (lambda: D.MultivariateNormal(tg.zeros(2), -tg.eye(2)), "positive definite"),
        (lambda: D.MultivariateNormal(tg.zeros(2), scale_tril=tg.ones(2, 2)), "lower triangular"),
        (lambda: D.MultivariateNormal(tg.zeros(2)), "expects one of"),
        (lambda: D.MultivariateNormal(tg.zeros(3), tg.eye(2)), r"got \(3,\) and \(2, 2\)"),
        (lambda: D.Normal(0.0, 1.0).log_prob(tg.tensor(math.nan)), "numbers"),
        (lambda: D.Normal(tg.zeros(2), 1.0).log_prob(tg.zeros(3)), "does not fit batch"),
        (lambda: D.Uniform(0.0, 1.0).cdf(tg.tensor(2.0)), "from low to high"),
        (lambda: D.Exponential(1.0).log_prob(tg.tensor(-1.0)), "numbers >= 0"),
        (lambda: BERNOULLI.log_prob(t(0.5, 0, 0)), "zeros and ones"),
        (lambda: COUNTS.log_prob(tg.tensor(4)), "from 0 below 4"),
        (lambda: COUNTS.log_prob(t(1.5)), "whole numbers"),
        (lambda: D.Normal(0.0, 1.0).log_prob(0.5), "expects a tensor, got float"),
        (lambda: COUNTS.rsample(), "Categorical has no rsample"),
        (lambda: D.Distribution().mean, "Distribution has no mean"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        make()


def test_unchecked():
    assert D.Normal(0.0, -1.0, validate_args=False).loc.item() == 0
    outside = D.Uniform(0.0, 1.0, validate_args=False).log_prob(tg.tensor([-1.0, 0.5, 1.0]))
    assert outside.tolist() == [-math.inf, 0, -math.inf]


def test_shapes_and_dtypes():
    d = D.Normal(tg.zeros(3, 1, dtype=tg.float64), 2.0)
    assert d.scale.dtype == tg.float64 and d.sample((2,)).dtype == tg.float64
    assert d.expand((4, 3, 1)).sample().shape == (4, 3, 1)
    assert D.Normal(0, 1).sample().shape == () and D.Normal(0, 1).loc.dtype == tg.float32
    assert d.batch_shape == (3, 1) and d.event_shape == ()
    assert repr(D.Normal(0.0, 1.0)) == "Normal(loc: 0.0, scale: 1.0)"
    assert repr(COUNTS) == "Categorical(probs: (4,))"


# --- PyTorch --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*LINES, "bernoulli", "categorical"])
def test_as_pytorch(name):
    torch = pytest.importorskip("torch")
    mine = {**LINES, "bernoulli": (BERNOULLI,), "categorical": (COUNTS,)}[name][0]
    given = {k: torch.from_numpy(v.numpy().copy()) for k, v in mine._given.items()}
    theirs = getattr(torch.distributions, type(mine).__name__)(**given)
    x = mine.sample((6,))
    mine_x, their_x = x, torch.from_numpy(x.numpy().copy())
    for what in ("log_prob", "cdf"):
        if what == "cdf" and name in ("bernoulli", "categorical"):
            continue
        got, want = getattr(mine, what)(mine_x), getattr(theirs, what)(their_x)
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(mine.entropy(), theirs.entropy().numpy(), atol=1e-12)
    for what in ("mean", "variance", "stddev", "mode"):
        np.testing.assert_allclose(getattr(mine, what), getattr(theirs, what).numpy(), atol=1e-12)
    assert mine.has_rsample == theirs.has_rsample
    assert mine.has_enumerate_support == theirs.has_enumerate_support
    if mine.has_enumerate_support:
        want = theirs.enumerate_support().numpy()
        np.testing.assert_array_equal(mine.enumerate_support(), want)
