"""Layers made of other ops, containers by name and parametrised weights."""

import copy

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.errors import DTypeError, ShapeError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.nn import functional as F
from tilegrad.testing import assert_close

Z = tg.zeros
INDEX = tg.tensor([0, 1, 2])
UNPOOL = {"input": Z(1, 2, 2), "indices": Z(1, 2, 2).long(), "kernel_size": 2}


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: nn.Dropout2d(-0.1), TgValueError, r"Dropout2d: p must lie in \[0, 1\], got -0.1"),
        (lambda: nn.AlphaDropout(2), TgValueError, r"AlphaDropout: p must lie in \[0, 1\]"),
        (lambda: F.alpha_dropout(Z(2), 2, True), TgValueError, r"alpha_dropout: p must lie in"),
        (lambda: F.feature_alpha_dropout(Z(2)), ShapeError, r"\(N, C, ...\), got shape \(2,\)"),
        (lambda: nn.DropConnect(2, 2, p=3), TgValueError, "DropConnect: p must lie in"),
        (lambda: nn.InstanceNorm2d(3)(Z(2, 3)), ShapeError, "InstanceNorm2d expects input of rank"),
        (lambda: nn.InstanceNorm1d(3)(Z(2, 4, 5)), ShapeError, "expects 3 channels, got shape"),
        (lambda: F.instance_norm(Z(2, 3, 1)), TgValueError, "over one value per channel"),
        (lambda: F.instance_norm(Z(2, 3)), ShapeError, r"input expects \(N, C, ...\)"),
        (lambda: F.instance_norm(Z(2, 3, 4), use_input_stats=False), TgValueError, "needs running"),
        (lambda: nn.RMSNorm(4)(Z(2, 3)), ShapeError, r"shape \(2, 3\) does not end in \(4,\)"),
        (lambda: nn.LocalResponseNorm(0), TgValueError, "size must be at least 1, got 0"),
        (lambda: F.local_response_norm(Z(2, 3), 1), ShapeError, "at least 3 dimensions"),
        (lambda: nn.Bilinear(0, 1, 1), TgValueError, "in1_features must be at least 1"),
        (lambda: F.bilinear(Z(2), Z(3), Z(4, 2, 2)), ShapeError, r"weight \(4, 2, 2\) do not fit"),
        (lambda: F.bilinear(Z(2), Z(3), Z(4, 2, 3), Z(3)), ShapeError, r"bias expects shape \(4,"),
        (lambda: nn.PixelShuffle(0), TgValueError, "upscale_factor must be at least 1"),
        (
            lambda: F.pixel_shuffle(Z(3, 2, 2), 2),
            ShapeError,
            r"C \* 4, H, W\) for upscale_factor 2",
        ),
        (lambda: F.pixel_unshuffle(Z(1, 3, 2), 2), ShapeError, "divisible by downscale_factor 2"),
        (lambda: F.channel_shuffle(Z(1, 3, 2), 2), ShapeError, "C divisible by groups 2"),
        (lambda: nn.Upsample()(Z(1, 1, 2)), TgValueError, "give either size or scale_factor"),
        (lambda: F.interpolate(Z(1, 1, 2), (2, 3)), ShapeError, "size expects 1 values"),
        (lambda: F.interpolate(Z(1, 2), 2), ShapeError, "1 to 3 spatial axes"),
        (lambda: F.interpolate(Z(1, 1, 2), 2, mode="cubic"), TgValueError, "mode must be one of"),
        (lambda: F.interpolate(Z(1, 1, 2), 2, mode="bilinear"), ShapeError, "does not fit input"),
        (
            lambda: F.interpolate(Z(1, 1, 2), 2, align_corners=True),
            TgValueError,
            "align_corners is",
        ),
        (lambda: F.interpolate(Z(1, 1, 2), 2, antialias=True), TgValueError, "antialias is not"),
        (lambda: F.interpolate(Z(1, 1, 2), 0), ShapeError, r"cannot have the size \(0,\)"),
        (lambda: F.interpolate(Z(1, 1, 2), None, -1.0), TgValueError, "scale_factor must be posit"),
        (
            lambda: F.interpolate(Z(1, 1, 2), 2, None, "nearest", None, True),
            TgValueError,
            "needs sc",
        ),
        (lambda: F.affine_grid(Z(1, 2, 3), (1, 1, 2)), ShapeError, r"theta of shape \(1, 2, 3\)"),
        (lambda: F.grid_sample(Z(1, 1, 2, 2), Z(1, 2, 2, 3)), ShapeError, "grid of shape"),
        (lambda: F.grid_sample(Z(1, 1, 2, 2), Z(1, 2, 2, 2), "bicubic"), TgValueError, "mode must"),
        (
            lambda: F.grid_sample(Z(1, 1, 2, 2), Z(1, 2, 2, 2), "nearest", "x"),
            TgValueError,
            "padding",
        ),
        (lambda: F.grid_sample(Z(1, 1, 0, 2), Z(1, 2, 2, 2)), ShapeError, "no elements to sample"),
        (lambda: F.unfold(Z(1, 2, 2), 3), ShapeError, r"do not fit into the padded size \(2, 2\)"),
        (lambda: F.unfold(Z(1, 2, 2), 1, stride=0), TgValueError, "stride must be positive"),
        (lambda: F.unfold(Z(2, 2), 1), ShapeError, "input expects 4 dimensions"),
        (lambda: F.fold(Z(4, 5), (3, 3), 2), ShapeError, r"\(N, C \* 4, 4\) for output_size"),
        (lambda: F.pad(Z(1, 2), (3, 0), "circular"), ShapeError, r"circular padding \(3, 0\)"),
        (lambda: F.pad(Z(1, 2), (1, 0), "mirror"), TgValueError, "reflect, replicate or circular"),
        (
            lambda: nn.ReflectionPad1d((1, 2, 3)),
            TgValueError,
            "padding expects an int or 2 of them",
        ),
        (lambda: nn.ZeroPad2d(1)(Z(2, 2)), ShapeError, "ZeroPad2d expects 2 spatial axes"),
        (lambda: F.lp_pool1d(Z(1, 4), 0, 2), TgValueError, "norm_type must not be 0"),
        (lambda: F.max_unpool2d(Z(1, 2, 2), Z(1, 2, 3).long(), 2), ShapeError, "indices expects"),
        (lambda: F.max_unpool2d(**UNPOOL, output_size=(9, 4)), ShapeError, "too far from"),
        (
            lambda: F.max_unpool2d(Z(1, 2, 2), Z(1, 2, 2).long() + 16, 2),
            TgValueError,
            "an index is",
        ),
        (lambda: nn.FractionalMaxPool2d(2), TgValueError, "either output_size or output_ratio"),
        (lambda: nn.FractionalMaxPool3d(2, output_ratio=2), TgValueError, "between 0 and 1, got 2"),
        (lambda: F.fractional_max_pool2d(Z(1, 4, 4), 2), TgValueError, "either output_size"),
        (lambda: F.fractional_max_pool2d(Z(1, 4, 4), 2, 4), ShapeError, "does not fit"),
        (lambda: nn.EmbeddingBag(3, 2, mode="min"), TgValueError, "mode must be 'sum', 'mean'"),
        (lambda: nn.EmbeddingBag(3, 2, padding_idx=3), TgValueError, "padding_idx 3 is outside"),
        (lambda: nn.EmbeddingBag(3, 2)(INDEX), ShapeError, r"\(N,\) with offsets, got \(3,\)"),
        (lambda: nn.EmbeddingBag(3, 2)(INDEX, [1]), TgValueError, "offsets must rise from 0"),
        (lambda: nn.EmbeddingBag(3, 2)(INDEX, [0], Z(3)), TgValueError, "is for mode 'sum'"),
        (
            lambda: nn.EmbeddingBag(3, 2, sparse=True)(INDEX, [0]),
            TgValueError,
            "sparse is not supp",
        ),
        (lambda: nn.Embedding(3, 2, sparse=True), TgValueError, "Embedding: sparse is not supp"),
        (
            lambda: F.embedding(INDEX, Z(3, 2), None, -1.0),
            TgValueError,
            "max_norm must be at least",
        ),
        (
            lambda: nn.Embedding(3, 2, _weight=Z(2, 2)),
            ShapeError,
            r"_weight expects shape \(3, 2\)",
        ),
        (lambda: F.rms_norm(Z(2).long(), (2,)), DTypeError, "rms_norm: input must be floating"),
        (lambda: nn.utils.weight_norm(nn.ReLU()), TgValueError, "ReLU has no parameter 'weight'"),
        (lambda: nn.utils.remove_weight_norm(nn.Linear(1, 1)), TgValueError, "has no weight_norm"),
        (
            lambda: nn.utils.spectral_norm(nn.Linear(1, 1), n_power_iterations=0),
            TgValueError,
            "least",
        ),
        (
            lambda: nn.utils.vector_to_parameters(Z(3), [Z(2)]),
            ShapeError,
            r"shape \(2,\), got \(3,",
        ),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()


SHOWN = {
    "Dropout1d(p=0.25, inplace=False)": nn.Dropout1d(0.25),
    "DropConnect(in_features=2, out_features=3, bias=True, p=0.5)": nn.DropConnect(2, 3),
    "RMSNorm((4,), eps=None, elementwise_affine=True)": nn.RMSNorm(4),
    "LocalResponseNorm(2, alpha=0.0001, beta=0.75, k=1.0)": nn.LocalResponseNorm(2),
    "Bilinear(in1_features=1, in2_features=2, out_features=3, bias=False)":
        nn.Bilinear(1, 2, 3, False),
    "Upsample(scale_factor=2.0, mode='nearest')": nn.Upsample(scale_factor=2),
    "PixelUnshuffle(downscale_factor=3)": nn.PixelUnshuffle(3),
    "Unfold(kernel_size=3, dilation=1, padding=0, stride=1)": nn.Unfold(3),
    "ConstantPad1d(padding=(1, 1), value=2.0)": nn.ConstantPad1d(1, 2.0),
    "ReflectionPad2d((1, 1, 2, 0))": nn.ReflectionPad2d((1, 1, 2, 0)),
    "LPPool2d(norm_type=2, kernel_size=3, stride=None, ceil_mode=False)": nn.LPPool2d(2, 3),
    "MaxUnpool1d(kernel_size=(3,), stride=(2,), padding=(0,))": nn.MaxUnpool1d(3, 2),
    ("InstanceNorm1d(3, eps=1e-05, momentum=0.1, affine=False, bias=False, "
     "track_running_stats=False)"):
        nn.InstanceNorm1d(3),
    "EmbeddingBag(5, 2, mode='mean')": nn.EmbeddingBag(5, 2),
    "MedianPool2d(kernel_size=3, stride=3, padding=0)": nn.MedianPool2d(3),
}  # fmt: skip


@pytest.mark.parametrize("text", SHOWN)
def test_repr(text):
    assert repr(SHOWN[text]) == text


def test_alpha_dropout_keeps_mean_and_variance():
    tg.manual_seed(1)
    x = tg.randn(100, 4000)
    for layer in (nn.AlphaDropout(0.3), nn.FeatureAlphaDropout(0.3)):
        y = layer(x).numpy()
        assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.03
        np.testing.assert_array_equal(layer.eval()(x).numpy(), x.numpy())
    whole = nn.FeatureAlphaDropout(0.5)(tg.ones(4, 50, 6)).numpy()
    assert (whole == whole[:, :, :1]).all() and len(np.unique(whole)) == 2


def test_drop_connect_drops_weights_not_inputs():
    tg.manual_seed(0)
    m = nn.DropConnect(1, 4000, bias=False, p=0.25)
    with tg.no_grad():
        m.weight.fill_(3.0)
    y = m(tg.ones(2, 1)).numpy(force=True)
    assert (y[0] == y[1]).all() and set(np.unique(y).tolist()) == {0.0, 4.0}
    assert abs((y[0] == 0).mean() - 0.25) < 0.03
    assert (m.eval()(tg.ones(1, 1)).numpy(force=True) == 3.0).all()


def test_instance_norm_follows_estimates():
    m = nn.InstanceNorm1d(3, track_running_stats=True, dtype=tg.float64)
    x = np.random.default_rng(0).standard_normal((4, 3, 6)) + 2
    m(tg.tensor(x))
    assert_close(m.running_mean, 0.1 * x.mean((0, 2)), reduction_length=24)
    assert_close(m.running_var, 0.9 + 0.1 * x.var(2, ddof=1).mean(0), reduction_length=24)
    mean, var = m.running_mean.numpy()[:, None], m.running_var.numpy()[:, None]
    assert_close(m.eval()(tg.tensor(x)), (x - mean) / np.sqrt(var + 1e-5), reduction_length=24)
    assert m(tg.tensor(x[0])).shape == (3, 6)


def test_median_pool_is_the_median():
    x = np.random.default_rng(0).permutation(2 * 3 * 7 * 7).reshape(2, 3, 7, 7).astype(float)
    view = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    np.testing.assert_array_equal(F.median_pool2d(tg.tensor(x), 3, 1), np.median(view, (4, 5)))


def test_fractional_pooling_draws_windows():
    tg.manual_seed(0)
    x = tg.arange(400).reshape(1, 1, 20, 20).double()
    y, at = F.fractional_max_pool2d(x, 2, 11, return_indices=True)
    assert y.shape == (1, 1, 11, 11) and y[0, 0, -1, -1].item() == 399
    np.testing.assert_array_equal(y.numpy(), at.numpy())
    assert (F.fractional_max_pool2d(x, 2, 11).numpy() != y.numpy()).any()


def test_embedding_from_pretrained():
    w = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    m = nn.Embedding.from_pretrained(w)
    assert m(tg.tensor([1])).tolist() == [[3, 4]] and not m.weight.requires_grad
    assert nn.Embedding.from_pretrained(w, freeze=False).weight.requires_grad


# --- containers -----------------------------------------------------------------------------------
def test_module_dict():
    m = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.ReLU()})
    m["c"] = nn.Tanh()
    m.update([("a", nn.Linear(2, 4))])
    assert list(m) == ["a", "b", "c"] == list(m.keys()) and len(m) == 3 and "b" in m
    assert [p.shape for p in m.parameters()] == [(4, 2), (4,)]
    assert isinstance(m.pop("b"), nn.ReLU) and list(m.state_dict()) == ["a.weight", "a.bias"]
    del m["a"]
    assert repr(m) == "ModuleDict(\n  (c): Tanh()\n)"
    assert [k for k, _ in m.items()] == ["c"] and len(m.values()) == 1
    m.clear()
    assert len(m) == 0
    for bad in ({"a": 3}, {"a.b": nn.ReLU()}, {"training": nn.ReLU()}):
        with pytest.raises((TypeError, AttributeError)):
            nn.ModuleDict(bad)
    with pytest.raises(TypeError, match="a mapping or pairs"):
        nn.ModuleDict(["abc"])


def test_parameter_list_and_dict():
    p = nn.ParameterList([tg.ones(2), nn.Parameter(tg.zeros(3))])
    p.append(tg.ones(1))
    p += [tg.ones(4)]
    p[0] = tg.zeros(5)
    assert [q.shape for q in p] == [(5,), (3,), (1,), (4,)] and len(p[1:3]) == 2
    assert list(p.state_dict()) == ["0", "1", "2", "3"] and p[-1].requires_grad
    with pytest.raises(IndexError, match="index 4 is out of range for 4 parameters"):
        p[4]
    with pytest.raises(TypeError, match="expects an iterable"):
        p.extend(tg.ones(2))
    d = nn.ParameterDict({"x": tg.ones(2)})
    d["y"] = tg.zeros(3)
    assert d.get("z") is None and d.setdefault("z", tg.ones(1)) is d["z"]
    assert [n for n, _ in d.named_parameters()] == ["x", "y", "z"]
    net = nn.Sequential(d, p)
    assert len(list(net.parameters())) == 7 and len(list(copy.deepcopy(d).parameters())) == 3


# --- nn.utils -------------------------------------------------------------------------------------
def test_vector_of_parameters_round_trip():
    m = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    v = nn.utils.parameters_to_vector(m.parameters())
    nn.utils.vector_to_parameters(v * 2.0, m.parameters())
    assert_close(nn.utils.parameters_to_vector(m.parameters()), v.numpy(force=True) * 2)


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.parametrize("layer", [lambda: nn.Linear(5, 4), lambda: nn.Conv2d(2, 3, 2),
                                   lambda: nn.ConvTranspose2d(2, 3, 2)])  # fmt: skip
def test_parametrised_weights_learn(norm, layer):
    tg.manual_seed(0)
    m = norm(layer())
    x = tg.randn(3, 5) if isinstance(m, nn.Linear) else tg.randn(3, 2, 4, 4)
    target = tg.randn(*m(x).shape)
    step = tg.optim.SGD(m.parameters(), lr=0.05)
    losses = []
    for _ in range(12):
        step.zero_grad()
        loss = F.mse_loss(m(x), target)
        loss.backward()
        step.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    undo = getattr(nn.utils, "remove_" + norm.__name__)
    want = m.eval()(x).numpy(force=True)
    undo(m)
    assert_close(m(x), want, reduction_length=64)
    assert sorted(m.state_dict()) == ["bias", "weight"] and m.weight.requires_grad


def test_spectral_norm_is_one():
    m = nn.utils.spectral_norm(nn.Linear(6, 4, dtype=tg.float64), n_power_iterations=50)
    m(tg.zeros(1, 6).double())
    assert np.linalg.norm(m.weight.numpy(force=True), 2) == pytest.approx(1.0, rel=1e-4)
    u = m.weight_u
    m.eval()(tg.zeros(1, 6).double())
    assert m.weight_u is u


def test_clip_grad_value():
    x = tg.zeros(3, requires_grad=True)
    x.grad = tg.tensor([-3.0, 0.5, 9.0])
    nn.utils.clip_grad_value_(x, 1.0)
    assert x.grad.tolist() == [-1, 0.5, 1]


def test_skip_init_draws_nothing():
    before = tg.get_rng_state()
    m = nn.utils.skip_init(nn.Conv2d, 2, 3, kernel_size=5, bias=False)
    assert type(m) is nn.Conv2d and m.weight.shape == (3, 2, 5, 5) and m.bias is None
    assert (tg.get_rng_state().numpy() == before.numpy()).all()
    with pytest.raises(TypeError, match="skip_init: expects a subclass of Module"):
        nn.utils.skip_init(int)
