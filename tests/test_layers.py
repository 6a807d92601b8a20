"""Layers, losses and initial values against formulas written out in NumPy."""

import importlib
import math

import numpy as np
import pytest
from scipy import signal, special

import tilegrad as tg
from tilegrad import kernels, nn
from tilegrad.errors import GradientError, ShapeError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.nn import functional as F
from tilegrad.testing import assert_close


@pytest.fixture(autouse=True)
def seeded():
    tg.manual_seed(7)


def randn(*shape):
    return tg.tensor(np.random.default_rng(3).standard_normal(shape), dtype=tg.float64)


# --- initial values -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: nn.Linear(400, 300), 400),
        (lambda: nn.Conv2d(16, 64, (3, 5)), 16 * 15),
        (lambda: nn.Conv1d(64, 64, 3, groups=4), 16 * 3),
        (lambda: nn.ConvTranspose2d(32, 16, 5), 16 * 25),
    ],
    ids=["linear", "conv2d", "grouped", "transposed"],
)
def test_default_values_are_uniform_within_the_root_of_fan_in(layer, fan_in):
    m = layer()
    bound = 1 / math.sqrt(fan_in)
    for p in (m.weight, m.bias):
        a = p.numpy(force=True)
        assert np.abs(a).max() <= bound
        assert np.abs(a).max() > 0.9 * bound * (1 - 4 / a.size)
    w = m.weight.numpy(force=True)
    assert abs(w.std() / (bound / math.sqrt(3)) - 1) < 0.05 and abs(w.mean()) < 0.05 * bound
    before = w.copy()
    m.reset_parameters()
    assert (m.weight.numpy(force=True) != before).any()


def test_init_functions():
    w = tg.zeros(300, 200, 2)  # fan_in 400, fan_out 600
    gain = nn.init.calculate_gain
    assert gain("relu") == math.sqrt(2) and gain("tanh") == 5 / 3 and gain("conv2d") == 1
    assert gain("leaky_relu", 2.0) == math.sqrt(2 / 5)
    for fn, std, bound in (
        (lambda: nn.init.xavier_uniform_(w, 2.0), None, 2 * math.sqrt(6 / 1000)),
        (lambda: nn.init.xavier_normal_(w, 2.0), 2 * math.sqrt(2 / 1000), None),
        (lambda: nn.init.kaiming_uniform_(w, nonlinearity="relu"), None, math.sqrt(6 / 400)),
        (lambda: nn.init.kaiming_uniform_(w, 1.0, "fan_out"), None, math.sqrt(3 / 600)),
        (lambda: nn.init.kaiming_normal_(w, mode="fan_out"), math.sqrt(2 / 600), None),
        (lambda: nn.init.uniform_(w, -3.0, 3.0), None, 3.0),
        (lambda: nn.init.normal_(w, 0.0, 2.0), 2.0, None),
    ):
        assert fn() is w
        a = w.numpy()
        if bound is not None:
            assert 0.99 * bound < np.abs(a).max() <= bound
            std = bound / math.sqrt(3)
        assert abs(a.std() / std - 1) < 0.02 and abs(a.mean()) < 0.02 * std
    assert nn.init.normal_(w, 5.0, 0.1).mean().item() == pytest.approx(5.0, abs=0.01)
    assert nn.init.ones_(tg.zeros(2)).tolist() == [1, 1]
    assert nn.init.constant_(nn.Parameter(tg.zeros(2)), 3).tolist() == [3, 3]
    with pytest.raises(ShapeError, match=r"at least 2 dimensions, got shape \(3,\)"):
        nn.init.xavier_uniform_(tg.zeros(3))
    with pytest.raises(TgValueError, match="unknown nonlinearity 'sine'"):
        nn.init.calculate_gain("sine")
    with pytest.raises(TgValueError, match="'fan_in' or 'fan_out', got 'both'"):
        nn.init.kaiming_normal_(w, mode="both")


# --- layers ---------------------------------------------------------------------------------------
def correlate(x, w, b, groups=1):
    """(N, C, *in) with (O, C / groups, *k), by SciPy, one channel pair at a time."""
    n, o = len(x), len(w)
    per = w.shape[1]
    rows = []
    for i in range(n):
        maps = []
        for j in range(o):
            first = j // (o // groups) * per
            maps.append(
                sum(signal.correlate(x[i, first + c], w[j, c], "valid") for c in range(per)) + b[j]
            )
        rows.append(maps)
    return np.array(rows)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_conv_layers(ndim):
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[ndim - 1]
    space = (7, 6, 5)[:ndim]
    x = randn(2, 4, *space)
    m = layer(4, 6, 3, groups=2, dtype=tg.float64)
    w, b = m.weight.numpy(force=True), m.bias.numpy(force=True)
    full = correlate(x.numpy(), w, b, 2)
    assert m(x).shape == full.shape
    assert_close(m(x), full, reduction_length=200)
    strided = layer(4, 6, 3, stride=2, groups=2, bias=False, dtype=tg.float64)
    strided.weight = m.weight
    every_second = (..., *[slice(None, None, 2)] * ndim)
    want = (full - b.reshape(-1, *[1] * ndim))[every_second]
    assert_close(strided(x), want, reduction_length=200)
    for mode, numpy_mode in (
        ("zeros", "constant"),
        ("reflect", "reflect"),
        ("replicate", "edge"),
        ("circular", "wrap"),
    ):
        for padding in (1, "same"):
            padded = layer(4, 6, 3, padding=padding, groups=2, padding_mode=mode, dtype=tg.float64)
            padded.load_state_dict(m.state_dict())
            xp = np.pad(x.numpy(), [(0, 0), (0, 0)] + [(1, 1)] * ndim, mode=numpy_mode)
            assert_close(padded(x), correlate(xp, w, b, 2), reduction_length=200)


def test_conv_same_padding_of_even_kernels_is_longer_behind():
    m = nn.Conv1d(1, 1, 4, padding="same", padding_mode="replicate", dtype=tg.float64)
    x = randn(1, 1, 6)
    xp = np.pad(x.numpy(), [(0, 0), (0, 0), (1, 2)], mode="edge")
    want = correlate(xp, m.weight.numpy(force=True), m.bias.numpy(force=True))
    assert_close(m(x), want, reduction_length=8)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_transposed_convolution_is_the_adjoint(ndim):
    name = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[ndim - 1]
    conv = (F.conv1d, F.conv2d, F.conv3d)[ndim - 1]
    m = name(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, dtype=tg.float64)
    assert m.weight.shape == (4, 3, *[3] * ndim)
    x = randn(2, 4, *(4, 3, 2)[:ndim])
    y = m(x)
    assert y.shape == (2, 6, *[2 * n for n in x.shape[2:]])
    v = randn(*y.shape)
    back = conv(v, m.weight, None, 2, 1, 1, 2)
    shift = (v.numpy() * m.bias.numpy(force=True).reshape(-1, *[1] * ndim)).sum()
    left = (y.numpy(force=True) * v.numpy()).sum() - shift
    assert left == pytest.approx((x.numpy() * back.numpy(force=True)).sum(), rel=1e-10)
    assert m(x, output_size=[2 * n - 1 for n in x.shape[2:]]).shape[2:] == tuple(
        2 * n - 1 for n in x.shape[2:]
    )
    with pytest.raises(ShapeError, match=r"this axis can be 7 to 8"):
        m(x, output_size=[9] * ndim)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "in_channels 3 and out_channels 4 .* groups 2"),
        (lambda: nn.Conv2d(2, 4, (3, 3, 3)), r"kernel_size expects an int or 2 of them, got \(3,"),
        (lambda: nn.Conv2d(2, 4, 3, padding="big"), "padding must be ints or one of"),
        (lambda: nn.Conv2d(2, 4, 3, 2, "same"), r"'same' needs stride 1, got \(2, 2\)"),
        (lambda: nn.Conv2d(2, 4, 3, padding_mode="mirror"), "padding_mode must be one of"),
        (lambda: nn.GroupNorm(3, 4), "num_channels 4 must be divisible by num_groups 3"),
        (lambda: nn.Dropout(1.5), r"p must lie in \[0, 1\], got 1.5"),
        (lambda: nn.Embedding(3, 2, 3), "padding_idx 3 is outside of 3 rows"),
        (lambda: nn.MSELoss(reduction="all"), r"MSELoss: reduction must be .*, got 'all'"),
    ],
)
def test_layers_refuse_bad_settings(make, text):
    with pytest.raises(TgValueError, match=text):
        make()


def test_sizes_that_overflow_raise_before_memory_is_touched():
    if kernels.host.__name__.endswith("reference"):
        pytest.skip("NumPy's own error")
    with pytest.raises(MemoryError, match=r"^Conv2d: a parameter of shape .* overflows"):
        nn.Conv2d(2**32, 2**32, 3)


def windows(x, k, s):
    ndim = x.ndim - 2
    v = np.lib.stride_tricks.sliding_window_view(x, (k,) * ndim, axis=tuple(range(2, x.ndim)))
    return v[(slice(None), slice(None), *[slice(None, None, s)] * ndim)]


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_pooling_layers(ndim):
    x = randn(2, 3, *(8, 7, 6)[:ndim])
    inner = tuple(range(-ndim, 0))
    pick = [
        (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
        (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
        (nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d),
    ][ndim - 1]
    assert_close(pick[0](3, 2)(x), windows(x.numpy(), 3, 2).max(inner))
    assert_close(pick[0](2)(x), windows(x.numpy(), 2, 2).max(inner))
    assert_close(pick[1](2)(x), windows(x.numpy(), 2, 2).mean(inner))
    y, where = pick[0](2, return_indices=True)(x)
    flat = x.numpy().reshape(2, 3, -1)
    got = np.take_along_axis(flat, where.numpy().reshape(2, 3, -1), 2)
    np.testing.assert_array_equal(got.reshape(y.shape), y.numpy())
    assert_close(pick[2](1)(x), x.numpy().mean(inner, keepdims=True))
    assert_close(pick[3](1)(x), x.numpy().max(inner, keepdims=True))
    if ndim > 1:
        assert_close(pick[1](2, divisor_override=1)(x), windows(x.numpy(), 2, 2).sum(inner))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_batch_norm(ndim):
    m = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[ndim - 1](3, dtype=tg.float64)
    with tg.no_grad():
        m.weight.copy_(tg.tensor([1.0, 2.0, -1.0]))
        m.bias.copy_(tg.tensor([0.5, 0.0, 1.0]))
    column = (1, 3, *[1] * ndim)
    w, b = (p.numpy(force=True).reshape(column) for p in (m.weight, m.bias))
    x = randn(4, 3, *(5, 4, 3)[:ndim])
    axes = (0, *range(2, x.ndim))
    mean, var = x.numpy().mean(axes), x.numpy().var(axes)

    def normal(mean, var):
        s = np.sqrt(var.reshape(column) + 1e-5)
        return (x.numpy() - mean.reshape(column)) / s * w + b

    assert_close(m(x), normal(mean, var), reduction_length=60)
    n = x.numel() // 3
    running_mean, running_var = 0.1 * mean, 0.9 + 0.1 * var * n / (n - 1)
    assert_close(m.running_mean, running_mean, reduction_length=60)
    assert_close(m.running_var, running_var, reduction_length=60)
    assert m.num_batches_tracked.item() == 1
    m.eval()
    assert_close(m(x), normal(running_mean, running_var), reduction_length=60)
    assert m.num_batches_tracked.item() == 1
    m.reset_running_stats()
    assert m.running_var.tolist() == [1, 1, 1] and m.num_batches_tracked.item() == 0
    with pytest.raises(ShapeError, match="expects input of rank"):
        m(tg.zeros(3))


def test_batch_norm_cumulative_and_untracked():
    m = nn.BatchNorm1d(2, momentum=None, affine=False, dtype=tg.float64)
    xs = [randn(5, 2) + i for i in range(3)]
    for x in xs:
        m(x)
    assert_close(m.running_mean, np.mean([x.numpy().mean(0) for x in xs], 0))
    assert_close(m.running_var, np.mean([x.numpy().var(0, ddof=1) for x in xs], 0))
    m = nn.BatchNorm1d(2, track_running_stats=False, dtype=tg.float64).eval()
    x = xs[0].numpy()
    assert_close(m(xs[0]), (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), reduction_length=8)
    assert list(m.state_dict()) == ["weight", "bias"]


def test_layer_and_group_norm():
    x = randn(2, 6, 4)
    a = x.numpy()
    m = nn.LayerNorm((6, 4), dtype=tg.float64)
    want = (a - a.mean((1, 2), keepdims=True)) / np.sqrt(a.var((1, 2), keepdims=True) + 1e-5)
    assert_close(m(x), want, reduction_length=24)
    with tg.no_grad():
        m.weight.fill_(2.0)
        m.bias.fill_(1.0)
    assert_close(m(x), want * 2 + 1, reduction_length=24)
    assert nn.LayerNorm(4, bias=False).bias is None
    g = nn.GroupNorm(3, 6, dtype=tg.float64)
    with tg.no_grad():
        g.weight.copy_(tg.arange(6))
    parts = a.reshape(2, 3, 8)
    want = (parts - parts.mean(2, keepdims=True)) / np.sqrt(parts.var(2, keepdims=True) + 1e-5)
    assert_close(g(x), want.reshape(2, 6, 4) * np.arange(6.0)[:, None], reduction_length=24)


def test_linear_and_embedding():
    m = nn.Linear(3, 2, dtype=tg.float64)
    x = randn(4, 5, 3)
    want = np.einsum("abk,nk->abn", x.numpy(), m.weight.numpy(force=True)) + m.bias.numpy(
        force=True
    )
    assert_close(m(x), want, reduction_length=3)
    assert nn.Linear(3, 2, bias=False)(tg.zeros(1, 3)).tolist() == [[0, 0]]
    e = nn.Embedding(5, 3, padding_idx=1)
    assert e.weight[1].tolist() == [0, 0, 0] and float(abs(e.weight[0]).sum()) > 0
    at = tg.tensor([[0, 1], [0, 4]])
    np.testing.assert_array_equal(e(at).numpy(force=True), e.weight.numpy(force=True)[at.numpy()])
    e(at).sum().backward()
    np.testing.assert_array_equal(e.weight.grad.numpy()[:, 0], [2, 0, 0, 0, 1])
    with pytest.raises(IndexError, match="in Embedding"):
        e(tg.tensor([5]))


def test_dropout():
    m = nn.Dropout(0.25)
    x = tg.ones(100, 200)
    y = m(x).numpy()
    assert set(np.unique(y).tolist()) == {0.0, np.float32(1 / 0.75).item()}
    assert abs((y == 0).mean() - 0.25) < 0.01
    m.eval()
    np.testing.assert_array_equal(m(x).numpy(), x.numpy())


def test_flatten_unflatten_identity():
    x = tg.zeros(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60) and nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    assert nn.Unflatten(1, (3, -1))(tg.zeros(2, 12)).shape == (2, 3, 4)
    assert nn.Identity(5, unused=1)(x) is x


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.Tanh(), np.tanh),
        (nn.Sigmoid(), special.expit),
        (nn.LeakyReLU(0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
        (nn.ELU(0.7), lambda x: np.where(x > 0, x, 0.7 * np.expm1(x))),
        (nn.GELU(), lambda x: x * special.ndtr(x)),
        (nn.GELU("tanh"),
         lambda x: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
        (nn.SiLU(), lambda x: x * special.expit(x)),
        (nn.Softplus(2.0, 3.0), lambda x: np.where(2 * x > 3, x, np.log1p(np.exp(2 * x)) / 2)),
        (nn.Softmax(1), lambda x: special.softmax(x, 1)),
        (nn.LogSoftmax(0), lambda x: special.log_softmax(x, 0)),
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_activations(layer, formula):
    x = randn(5, 6)
    assert_close(layer(x), formula(x.numpy()), reduction_length=16)


def test_inplace_activations_write_into_their_input():
    for layer in (nn.ReLU(True), nn.LeakyReLU(0.5, True), nn.ELU(inplace=True), nn.SiLU(True)):
        x = tg.tensor([-1.0, 2.0])
        layer.inplace = False
        want = layer(x).tolist()
        layer.inplace = True
        assert x.tolist() == [-1, 2] and layer(x) is x and x.tolist() == want
    x = tg.tensor([-1.0, 2.0], requires_grad=True)
    (nn.ReLU(True)(x * 1.0) * 3.0).sum().backward()
    assert x.grad.tolist() == [0, 3]


# --- losses ---------------------------------------------------------------------------------------
def test_regression_losses():
    x, y = randn(3, 4), randn(3, 4) * 2.0
    d = x.numpy() - y.numpy()
    assert_close(nn.MSELoss()(x, y), np.array((d**2).mean()), reduction_length=12)
    assert_close(nn.MSELoss(reduction="sum")(x, y), np.array((d**2).sum()), reduction_length=12)
    assert_close(nn.L1Loss(reduction="none")(x, y), np.abs(d))
    assert_close(nn.L1Loss()(x, y), np.array(np.abs(d).mean()), reduction_length=12)
    with pytest.warns(UserWarning, match=r"input has shape \(3, 4\), target \(4,\)"):
        F.mse_loss(x, y[0])
    with pytest.raises(TgValueError, match=r"l1_loss: reduction must be .*, got 'average'"):
        F.l1_loss(x, y, reduction="average")
    with pytest.raises(TgValueError, match="l1_loss: size_average is a bool or None, got 'sum'"):
        F.l1_loss(x, y, "sum")
    assert nn.MSELoss(False).reduction == "sum" and nn.L1Loss(reduce=False).reduction == "none"


def test_classification_losses():
    x = randn(6, 4)
    target = tg.tensor([0, 3, 1, -100, 2, 2])
    weight = np.array([1.0, 2.0, 0.5, 3.0])
    logp = special.log_softmax(x.numpy(), 1)
    keep = target.numpy() != -100
    t = np.where(keep, target.numpy(), 0)
    each = np.where(keep, -weight[t] * logp[np.arange(6), t], 0)
    total = (weight[t] * keep).sum()
    w = tg.tensor(weight)
    assert_close(
        nn.CrossEntropyLoss(w)(x, target), np.array(each.sum() / total), reduction_length=8
    )
    assert_close(nn.CrossEntropyLoss(w, reduction="none")(x, target), each, reduction_length=8)
    assert_close(
        nn.NLLLoss(w, reduction="sum")(tg.tensor(logp), target), np.array(each.sum()),
        reduction_length=8,
    )  # fmt: skip
    plain = nn.CrossEntropyLoss(ignore_index=2)(x, tg.tensor([0, 3, 1, 2, 2, 2]))
    assert_close(plain, np.array(-logp[[0, 1, 2], [0, 3, 1]].mean()), reduction_length=8)
    smooth = nn.CrossEntropyLoss(label_smoothing=0.2)(x, tg.tensor([0, 3, 1, 1, 2, 2]))
    q = np.eye(4)[[0, 3, 1, 1, 2, 2]] * 0.8 + 0.05
    assert_close(smooth, np.array(-(q * logp).sum(1).mean()), reduction_length=8)
    with pytest.raises(IndexError, match="in CrossEntropyLoss"):
        nn.CrossEntropyLoss()(x, tg.tensor([0, 1, 2, 3, 4, 0]))
    assert "weight" in nn.CrossEntropyLoss(w).state_dict()


# --- gradients of a model -------------------------------------------------------------------------
def test_clip_grad_norm():
    a, b = tg.zeros(2, requires_grad=True), tg.zeros(1, requires_grad=True)
    unused = tg.zeros(3, requires_grad=True)
    a.grad, b.grad = tg.tensor([3.0, 4.0]), tg.tensor([12.0])
    assert nn.utils.clip_grad_norm_([a, b, unused], 26.0).item() == 13.0
    assert a.grad.tolist() == [3, 4]
    assert nn.utils.clip_grad_norm_([a, b], 6.5).item() == 13.0
    assert_close(a.grad, np.array([1.5, 2.0], np.float32))
    assert_close(b.grad, np.array([6.0], np.float32))
    assert nn.utils.clip_grad_norm_([a, b], 1.0, math.inf).item() == pytest.approx(6.0)
    b.grad = tg.tensor([math.nan])
    assert math.isnan(nn.utils.clip_grad_norm_(b, 1.0, math.inf).item())
    with pytest.raises(GradientError, match="the norm of the gradients is nan"):
        nn.utils.clip_grad_norm_([b], 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0
    a.grad, b.grad = tg.tensor([-3.0, 4.0]), tg.tensor([12.0])
    total = nn.utils.get_total_norm(p.grad for p in (a, b))
    assert total.item() == 13.0 and nn.utils.get_total_norm(a.grad, 1.0).item() == 7.0
    assert nn.utils.get_total_norm([a.grad, b.grad], -math.inf).item() == 3.0
    nn.utils.clip_grads_with_norm_((p for p in (a, b)), 6.5, total)
    assert_close(a.grad, np.array([-1.5, 2.0], np.float32))
    nn.utils.clip_grad_value_((p for p in (a, b, unused)), 1.75)
    assert a.grad.tolist() == pytest.approx([-1.5, 1.75]) and b.grad.tolist() == [1.75]
    with pytest.raises(TgValueError, match="clip_value must not be negative, got -1"):
        nn.utils.clip_grad_value_(a, -1)
    with pytest.raises(TgValueError, match="norm_type must not be 0"):
        nn.utils.clip_grad_norm_(a, 1.0, 0)


def test_the_norm_of_half_precision_does_not_overflow():
    """300**2 is no float16, but the norm is."""
    x = tg.tensor([300.0, 400.0], dtype=tg.float16)
    assert nn.utils.get_total_norm(x).item() == 500.0


def test_functional_publishes_what_the_families_offer():
    from tilegrad import ops

    later = [importlib.import_module(f"tilegrad.ops.{name}") for name in sorted(ops.LATER)]
    for family in later:
        assert family.FUNCTIONAL and not hasattr(family, "__all__") | hasattr(family, "METHODS")
    for family in (*ops.FAMILIES, *later):
        for name in getattr(family, "FUNCTIONAL", ()):
            assert getattr(F, name) is getattr(family, name), name
