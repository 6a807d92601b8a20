"""Activation layers: what they show, what they refuse, what they draw."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.errors import DTypeError, ShapeError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.nn import functional as F

PLAIN = (nn.Tanhshrink(), nn.Softsign(), nn.LogSigmoid(), nn.Gaussian(), nn.Softmax2d())
SHOWN = {
    "ReLU6(inplace=True)": nn.ReLU6(True),
    "SELU()": nn.SELU(),
    "Mish()": nn.Mish(),
    "CELU(alpha=1.0)": nn.CELU(),
    "Hardtanh(min_val=-1.0, max_val=1.0)": nn.Hardtanh(),
    "Threshold(threshold=0.1, value=20, inplace=True)": nn.Threshold(0.1, 20, True),
    "RReLU(lower=0.125, upper=0.3333333333333333)": nn.RReLU(),
    "PReLU(num_parameters=3)": nn.PReLU(3),
    "Hardshrink(0.5)": nn.Hardshrink(),
    "Softshrink(0.25)": nn.Softshrink(0.25),
    "GLU(dim=-1)": nn.GLU(),
    "Softmin(dim=1)": nn.Softmin(1),
    "Sparsemax(dim=-1)": nn.Sparsemax(),
    "Maxout(pool_size=2, dim=1)": nn.Maxout(2),
    "Hardswish()": nn.Hardswish(),
    **{f"{type(m).__name__}()": m for m in PLAIN},
}


@pytest.mark.parametrize("text", SHOWN)
def test_repr_and_call(text):
    m = SHOWN[text]
    assert repr(m) == text
    x = tg.tensor(np.random.default_rng(0).standard_normal((2, 3, 4, 6)), dtype=tg.float32)
    if isinstance(m, nn.Maxout):
        x = x[:, :2]
    halved = {nn.GLU: (2, 3, 4, 3), nn.Maxout: (2, 1, 4, 6)}
    y = m.eval()(x.clone())
    assert y.shape == halved.get(type(m), x.shape) and y.dtype == tg.float32


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.CELU(0.0), TgValueError, "CELU: alpha must not be 0"),
        (lambda: F.celu(tg.zeros(2), 0.0), TgValueError, "celu: alpha must not be 0"),
        (lambda: nn.Hardtanh(1.0, 1.0), TgValueError, "expects min_val < max_val, got 1.0 and 1.0"),
        (lambda: F.hardtanh(tg.zeros(2), 2, 1), TgValueError, "min_val <= max_val, got 2 and 1"),
        (lambda: nn.RReLU(0.5, 0.25), TgValueError, "RReLU: expects lower <= upper"),
        (lambda: F.rrelu(tg.zeros(2), 1, 0), TgValueError, "rrelu: expects lower <= upper"),
        (lambda: nn.PReLU(0), TgValueError, "PReLU: expects at least one slope, got 0"),
        (lambda: nn.Maxout(0), TgValueError, "Maxout: pool_size must be at least 1"),
        (lambda: nn.PReLU(2)(tg.zeros(1, 3)), ShapeError, r"weight expects 1 or 3 values .*\(2,\)"),
        (lambda: nn.GLU()(tg.zeros(2, 3)), ShapeError, r"even size along dim -1, got shape \(2, 3"),
        (lambda: nn.Softmax2d()(tg.zeros(2, 3)), ShapeError, r"or \(C, H, W\), got shape \(2, 3\)"),
        (lambda: nn.Maxout(2)(tg.zeros(2, 3)), ShapeError, "that pool_size 2 divides"),
        (lambda: F.sparsemax(tg.zeros(2, 0)), ShapeError, "elements along dim -1"),
        (lambda: F.softshrink(tg.zeros(2), -1.0), TgValueError, "lambd must be at least 0, got -1"),
        (lambda: F.gumbel_softmax(tg.zeros(2), 0.0), TgValueError, "tau must be positive"),
        (lambda: F.mish(tg.arange(3)), DTypeError, "mish: input must be floating, got int64"),
        (
            lambda: F.threshold(tg.zeros(2), "a", 1),
            DTypeError,
            "must be a number, got 'a'",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_rrelu_draws_slopes_in_its_interval():
    tg.manual_seed(0)
    x = -tg.ones(20000)
    y = -F.rrelu(x, 0.25, 0.75, training=True).numpy()
    assert 0.25 <= y.min() < 0.251 and 0.749 < y.max() < 0.75 and abs(y.mean() - 0.5) < 0.01
    assert (F.rrelu(x, 0.25, 0.75).numpy() == -0.5).all()


def test_gumbel_softmax_draws_with_the_probabilities_of_softmax():
    tg.manual_seed(0)
    logits = tg.tensor([0.0, 1.0, 2.0]).expand(20000, 3)
    share = F.gumbel_softmax(logits, hard=True).numpy().mean(0)
    np.testing.assert_allclose(share, F.softmax(logits[0], 0).numpy(), atol=0.015)
    x = tg.tensor([[0.3, -0.2]], requires_grad=True)
    F.gumbel_softmax(x, hard=True)[0, 0].backward()
    assert x.grad[0, 0].item() == pytest.approx(-x.grad[0, 1].item()) != 0


def test_sparsemax_is_the_projection():
    rng = np.random.default_rng(1)
    for _ in range(20):
        z = rng.standard_normal(7) * rng.choice([0.1, 1.0, 30.0])
        y = F.sparsemax(tg.tensor(z)).numpy()
        ordered = np.sort(z)[::-1]  # Held, Wolfe and Crowder, 1974
        tau = (np.cumsum(ordered) - 1) / np.arange(1, 8)
        k = np.nonzero(ordered > tau)[0].max()
        np.testing.assert_allclose(y, np.maximum(z - tau[k], 0), atol=1e-13)
    assert F.sparsemax(tg.full((3,), 5.0)).tolist() == pytest.approx([1 / 3] * 3)


def test_selu_keeps_mean_and_variance():
    x = tg.tensor(np.random.default_rng(0).standard_normal(400000))
    y = F.selu(x).numpy()
    assert abs(y.mean()) < 0.01 and abs(y.var() - 1) < 0.01
