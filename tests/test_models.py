"""The summary table, and published architectures by their published counts."""

import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import models, nn
from tilegrad.errors import ShapeError
from tilegrad.errors import ValueError as TgValueError


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def of(s, column, *layers):
    """One column of the rows of the named layers."""
    return {r.path: getattr(r, column) for r in s.rows if r.path in layers}


# --- summary --------------------------------------------------------------------------------------
def test_summary_counts_every_kind_of_layer():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, groups=2), nn.BatchNorm2d(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 2, stride=2, bias=False), nn.Flatten(), nn.Linear(300, 7),
    ).train()  # fmt: skip
    s = nn.summary(net, (6, 2, 5, 5))
    assert [r.layer for r in s.rows] == [type(m).__name__ for m in net]
    assert [r.shape for r in s.rows][:4] == [(6, 4, 5, 5)] * 3 + [(6, 3, 10, 10)]
    assert [r.parameters for r in s.rows] == [40, 8, 0, 48, 0, 2107]
    assert [r.multiply_adds for r in s.rows] == [4 * 25 * 9, 0, 0, 4 * 25 * 12, 0, 2100]
    assert [r.connections for r in s.rows] == [1000, 0, 0, 1200, 0, 2107]
    assert (s.units, s.input_units, s.parameters, s.trainable) == (100 + 300 + 7, 50, 2203, 2203)
    assert net.training and net[1].training and net[1].num_batches_tracked.item() == 0
    assert not any(m._forward_hooks for m in net)
    assert "2,203" in str(s).splitlines()[-1] and len(set(map(len, str(s).splitlines()))) <= 3


def test_summary_of_shared_and_frozen_parameters():
    layer = nn.Linear(3, 3, dtype=tg.float64)
    net = nn.Sequential(layer, nn.Linear(3, 3, dtype=tg.float64), layer)
    net[1].requires_grad_(False)
    s = nn.summary(net, (1, 3))
    assert [r.parameters for r in s.rows] == [12, 12, 0] and s.multiply_adds == 27
    assert s.parameters == 24 and s.trainable == 12


def test_summary_of_several_inputs():
    s = nn.summary(nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)])
    assert s.multiply_adds == 60 and s.connections == 65 and s.input_units == 7


def test_summary_leaves_no_hooks_behind_an_error():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 4))
    with pytest.raises(ShapeError):
        nn.summary(net, (1, 3))
    assert not any(m._forward_hooks for m in net) and net.training
    with pytest.raises(ShapeError, match="shapes with a batch axis, got 3"):
        nn.summary(net, 3)


# --- architectures --------------------------------------------------------------------------------
def test_mlp():
    assert parameters(models.mlp(784, 256, 10)) == 203530
    with pytest.raises(TgValueError, match=r"mlp: expects at least two sizes, got \(3,\)"):
        models.mlp(3)


def test_zip_code_net():
    """LeCun et al., 1989: 1256 units, 64660 connections, 9760 independent parameters."""
    s = nn.summary(models.ZipCodeNet(), (3, 1, 16, 16))
    assert (s.input_units + s.units, s.connections, s.parameters) == (1256, 64660, 9760)
    layers = ("h1", "h2", "h3", "output")
    assert list(of(s, "connections", *layers).values()) == [19968, 38592, 5790, 310]
    assert list(of(s, "parameters", *layers).values()) == [1068, 2592, 5790, 310]
    with pytest.raises(ShapeError, match=r"expects images \(N, 1, 16, 16\)"):
        models.ZipCodeNet()(tg.zeros(1, 1, 28, 28))


def test_lenet5():
    """LeCun et al., 1998, section II.B: each layer's trainable parameters and connections."""
    s = nn.summary(models.LeNet5(), (2, 1, 32, 32))
    layers = ("c1", "s2", "c3", "s4", "c5", "f6", "output")
    assert list(of(s, "parameters", *layers).values()) == [156, 12, 1516, 32, 48120, 10164, 0]
    connections = [122304, 5880, 151600, 2000, 48120, 10164, 840]
    assert list(of(s, "connections", *layers).values()) == connections
    assert (s.parameters, s.connections) == (60000, 340908)


def test_table_convolution_is_a_masked_one():
    tg.manual_seed(0)
    table = [[0, 2], [1], [0, 1, 2]]
    m = models.TableConv2d(3, table, 3, 2, 1).double()
    dense = np.zeros((3, 3, 3, 3))
    for k, (i, j) in enumerate((i, j) for i, maps in enumerate(table) for j in maps):
        dense[i, j] = m.weight.numpy(force=True)[k]
    x = tg.randn(2, 3, 6, 5).double()
    want = nn.functional.conv2d(x, tg.tensor(dense), m.bias, 2, 1)
    np.testing.assert_allclose(m(x).numpy(force=True), want.numpy(force=True), rtol=1e-12)
    m(x).sum().backward()
    assert m.weight.grad.shape == (6, 3, 3) and float(m.weight.grad.abs().min()) > 0
    assert list(m.state_dict()) == ["weight", "bias"]
    for bad in ([[0, 0]], [[3]], [[]]):
        with pytest.raises(TgValueError, match="TableConv2d: table names"):
            models.TableConv2d(3, bad, 3)


@pytest.mark.parametrize("net", [models.ZipCodeNet, models.LeNet5])
def test_the_old_networks_learn(net):
    tg.manual_seed(0)
    m = net()
    x = tg.randn(8, 1, *(16, 16) if net is models.ZipCodeNet else (32, 32))
    y = tg.randint(0, 10, (8,))
    # The outputs of LeNet-5 are distances: the smallest wins.
    sign = -1.0 if net is models.LeNet5 else 1.0
    step = tg.optim.SGD(m.parameters(), lr=0.001)
    losses = []
    for _ in range(8):
        step.zero_grad()
        loss = nn.functional.cross_entropy(m(x) * sign, y)
        loss.backward()
        step.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and all(math.isfinite(v) for v in losses)


def test_alexnet():
    """Krizhevsky et al., 2012, figure 2: 60 million parameters, units per layer. The 253,440 that
    the figure gives for the first layer are not 96 maps of 55x55."""
    s = nn.summary(models.AlexNet(), (1, 3, 224, 224))
    units = [r.units for r in s.rows if r.connections]
    assert units == [96 * 55 * 55, 186624, 64896, 64896, 43264, 4096, 4096, 1000]
    assert s.input_units == 150528 and s.parameters == 60965224
    assert s.multiply_adds == 724406816


def test_googlenet():
    """Szegedy et al., 2014, table 1: multiply-adds per module, in millions. Its 54M of 5a do
    not follow from its own sizes (51.1M), and 73.6 is rounded down."""
    s = nn.summary(models.GoogLeNet(), (1, 3, 224, 224))
    table = {"3a": 128, "3b": 304, "4a": 73, "4b": 88, "4c": 100, "4d": 119, "4e": 170, "5b": 71}
    for name, millions in table.items():
        rows = [r for r in s.rows if r.path.startswith(f"stages.{name}.")]
        assert abs(sum(r.multiply_adds for r in rows) / 1e6 - millions) < 0.65, name
    assert s.multiply_adds == 1582671872  # "a budget of 1.5 billion multiply-adds"
    assert s.parameters == 6998552
    whole = models.GoogLeNet(aux_logits=True)
    assert parameters(whole) == 13378280
    logits, late, early = models.GoogLeNet(7, True).train()(tg.zeros(1, 3, 64, 64))
    assert logits.shape == late.shape == early.shape == (1, 7)


@pytest.mark.parametrize(
    ("name", "count"), [("resnet18", 11689512), ("resnet34", 21797672), ("resnet50", 25557032)]
)
def test_resnet(name, count):
    """Counts and names of torchvision."""
    net = getattr(models, name)()
    assert parameters(net) == count
    names = [*net.state_dict()]
    assert names[:2] == ["conv1.weight", "bn1.weight"] and "layer4.1.bn2.running_var" in names
    assert "layer2.0.downsample.0.weight" in names and names[-1] == "fc.bias"
    assert ("layer1.0.downsample.0.weight" in names) == (name == "resnet50")
    s = nn.summary(net, (1, 3, 64, 64))
    assert s.rows[-1].shape == (1, 1000) and s.parameters == count


def test_resnet_multiply_adds():
    s = nn.summary(models.resnet18(), (1, 3, 224, 224))
    assert s.multiply_adds == 1814073344


# --- multiply-adds of recurrent layers and attention ----------------------------------------------
@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_summary_of_recurrent_layers(kind, gates):
    """Per step every row of W_ih and W_hh: 7 steps of hidden size 5 from 3 inputs."""
    s = nn.summary(kind(3, 5, batch_first=True), (2, 7, 3))
    assert s.multiply_adds == 7 * gates * 5 * (3 + 5) and s.connections == s.multiply_adds + 35
    net = kind(3, 5, 2, bias=False, batch_first=True, bidirectional=True)
    s = nn.summary(net, (2, 7, 3))
    # Both directions; the second layer reads the two states of the first.
    assert s.multiply_adds == s.connections == 7 * gates * 5 * 2 * ((3 + 5) + (10 + 5))


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_summary_of_cells(kind, gates):
    assert nn.summary(kind(3, 5), (2, 3)).multiply_adds == gates * 5 * (3 + 5)
    assert nn.summary(kind(3, 5), (1, 3)).units == 5


def test_summary_of_attention():
    """4 queries, 6 keys, width 8: projections 4 8 8 + 2 6 8 8, scores and values 2 4 6 8, out_proj
    4 8 8."""
    m = nn.MultiheadAttention(8, 2, batch_first=True)
    s = nn.summary(m, [(3, 4, 8), (3, 6, 8), (3, 6, 8)])
    assert [r.multiply_adds for r in s.rows] == [256, 256 + 768 + 384]
    m = nn.MultiheadAttention(8, 2, batch_first=True, kdim=5, vdim=3, add_bias_kv=True)
    s = nn.summary(m, [(3, 4, 8), (3, 6, 5), (3, 6, 3)])
    assert s.multiply_adds == 256 + (256 + 6 * 5 * 8 + 6 * 3 * 8 + 2 * 4 * 7 * 8)
    # 5 positions: attention as above, and the two layers of the feed-forward part.
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    assert nn.summary(layer, (2, 5, 8)).multiply_adds == 4 * 320 + 2 * 200 + 2 * 5 * 8 * 16


def test_summary_of_attention_called_by_name():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x, memory):
            return self.attention(x, key=memory, value=memory, need_weights=False)[0]

    assert nn.summary(Cross(), [(1, 4, 8), (1, 6, 8)]).multiply_adds == 256 + 256 + 768 + 384


# --- small images, text, autoencoders -------------------------------------------------------------
@pytest.mark.parametrize(
    "net, count",
    [
        (models.resnet20, 269722),  # He et al., 2015: 0.27 million
        (models.SmallInception, 1649402),  # Zhang et al., 2016
        (models.HighwayNet, 213562),
        (lambda: models.CharLSTM(96), 288864),
        (lambda: models.CharTransformer(96), 437856),
        (models.Autoencoder, 785284),
        (models.VariationalAutoencoder, 815824),
    ],
)
def test_counts_of_the_docstrings(net, count):
    assert sum(p.numel() for p in net().parameters() if p.requires_grad) == count


def test_a_shortcut_without_parameters():
    """Where the branch gives 0, a block that widens passes on every second pixel and zeros."""
    net = models.CifarResNet(1).eval()
    block = net.stages[1]
    nn.init.zeros_(block.bn2.weight)
    x = tg.rand(2, 16, 6, 6)
    y = block(x).numpy(force=True)
    assert y.shape == (2, 32, 3, 3)
    np.testing.assert_array_equal(y[:, 8:24], x.numpy()[:, :, ::2, ::2])
    assert not y[:, :8].any() and not y[:, 24:].any()


def test_a_highway_of_images():
    """A gate that is shut passes the images on, one that is open the layer."""
    x = tg.randn(2, 4, 5, 5)
    layer = nn.Conv2d(4, 4, 3, padding=1)
    for bias, want in ((-100.0, x), (100.0, layer(x))):
        m = nn.Highway(4, layer, bias, gate=nn.Conv2d(4, 4, 1))
        np.testing.assert_allclose(m(x).numpy(force=True), want.numpy(force=True), rtol=1e-6)


@pytest.mark.parametrize("kind", [models.CharLSTM, models.CharTransformer])
def test_characters_see_only_what_came_before(kind):
    tg.manual_seed(3)
    m = kind(7, width=16, layers=2, context=9).eval()
    x = tg.randint(0, 7, (2, 9))
    z = x.clone()
    z[:, 5] = (z[:, 5] + 1) % 7
    away = (m(x) - m(z)).abs().sum(-1).numpy(force=True)
    assert not away[:, :5].any() and away[:, 5:].all()


@pytest.mark.parametrize("kind", [models.CharLSTM, models.CharTransformer])
def test_samples(kind):
    tg.manual_seed(3)
    m = kind(7, width=16, layers=1, context=6)
    begin = tg.tensor([1, 2])
    a, b, c = (m.sample(begin, 12, generator=tg.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert a.tolist()[:2] == [1, 2] and a.shape == (14,) and set(a.tolist()) <= set(range(7))
    assert a.tolist() == b.tolist() != c.tolist() and m.training
    # At a low temperature the most probable character is always next.
    cold = m.eval().sample(begin, 9, temperature=1e-4).tolist()
    for i in range(2, 11):
        seen = tg.tensor([cold[max(0, i - 6) : i]])
        assert m(seen)[0, -1].argmax().item() == cold[i]
    with pytest.raises(ShapeError, match=r"begin expects \(T,\) with T at least 1"):
        m.sample(begin[:0], 3)


def test_a_denoising_autoencoder_sees_a_part():
    m = models.Autoencoder(400, 30, noise=0.25)
    seen = []
    m.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0].numpy()))
    x = 1.0 + tg.rand(50, 1, 20, 20)
    m(x), m(x), m.eval()(x)
    flat = x.numpy().reshape(50, 400)
    for a in seen[:2]:
        np.testing.assert_array_equal(a[a != 0], flat[a != 0])
        assert abs((a == 0).mean() - 0.25) < 0.02  # 6 deviations of 20,000 draws
    assert (seen[0] != seen[1]).any()
    np.testing.assert_array_equal(seen[2], flat)
    with pytest.raises(TgValueError, match="noise must lie in"):
        models.Autoencoder(noise=1.0)


def test_sparsity():
    code = tg.tensor([[0.2, 0.5], [0.4, 0.1]], dtype=tg.float64)
    q = np.array([0.3, 0.3])
    want = (0.1 * np.log(0.1 / q) + 0.9 * np.log(0.9 / (1 - q))).sum()
    assert models.sparsity(code, 0.1).item() == pytest.approx(want, rel=1e-12)
    coins = [tg.distributions.Bernoulli(tg.tensor(p, dtype=tg.float64)) for p in (0.1, 0.3)]
    divergence = tg.distributions.kl_divergence(*coins).item()
    assert models.sparsity(code, 0.1).item() == pytest.approx(2 * divergence, rel=1e-9)


def test_the_negative_bound():
    """The divergence of the code from a standard normal, and the log likelihood of coins."""
    tg.manual_seed(0)
    out = (tg.randn(3, 6), tg.randn(3, 2), tg.randn(3, 2))
    x = tg.bernoulli(tg.full((3, 1, 2, 3), 0.5))
    normal = tg.distributions.Normal
    code = normal(out[1], tg.exp(0.5 * out[2]))
    far = tg.distributions.kl_divergence(code, normal(tg.zeros(3, 2), tg.ones(3, 2))).sum()
    coins = tg.distributions.Bernoulli(logits=out[0]).log_prob(x.reshape(3, 6)).sum()
    want = (far - coins).item() / 3
    assert models.negative_bound(out, x).item() == pytest.approx(want, rel=1e-5)


def test_a_variational_autoencoder_draws():
    """Around the mean with the deviation it states."""
    tg.manual_seed(0)
    m = models.VariationalAutoencoder(4, 5, 2)
    m.decoder = nn.Identity()
    draws, mean, log_variance = m(tg.rand(1, 4).expand(20000, 4))
    a = draws.numpy(force=True)
    deviation = np.exp(0.5 * log_variance.numpy(force=True)[0])
    np.testing.assert_allclose(a.mean(0), mean.numpy(force=True)[0], atol=0.04)
    np.testing.assert_allclose(a.std(0), deviation, rtol=0.03)
