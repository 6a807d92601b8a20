"""Highway, Residual, Inception and RadialBasis against their formulas in NumPy."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.errors import ShapeError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.testing import gradcheck


@pytest.fixture(autouse=True)
def seed():
    tg.manual_seed(0)


def a(t):
    return t.numpy(force=True)


def check_gradients(m, *shape):
    """Of the input and of every parameter."""
    names = [n for n, _ in m.named_parameters()]

    def call(x, *values):
        return tg.func.functional_call(m, dict(zip(names, values, strict=True)), (x,))

    x = tg.randn(*shape, dtype=tg.float64)
    gradcheck(call, [x, *(p.detach() for p in m.parameters())])


def check_state(make):
    """A state loads into another module of its kind, which then gives the same."""
    one, other = make(), make()
    state = one.state_dict()
    other.load_state_dict(state)
    assert all(np.array_equal(a(v), a(other.state_dict()[k])) for k, v in state.items())
    return list(state)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_highway():
    m = nn.Highway(3, dtype=tg.float64)
    np.testing.assert_array_equal(a(m.gate.bias), [-2.0] * 3)
    x = tg.randn(2, 5, 3, dtype=tg.float64)
    n, h, g = a(x), m.layer[0], m.gate
    t = sigmoid(n @ a(g.weight).T + a(g.bias))
    want = t * np.maximum(n @ a(h.weight).T + a(h.bias), 0) + (1 - t) * n
    np.testing.assert_allclose(a(m(x)), want, rtol=1e-12)
    check_gradients(nn.Highway(3, nn.Tanh(), -1.0, dtype=tg.float64), 4, 3)
    names = check_state(lambda: nn.Highway(3))
    assert names == ["layer.0.weight", "layer.0.bias", "gate.weight", "gate.bias"]
    with pytest.raises(ShapeError, match=r"Highway: the layers give \(2, 1\), which does not fit"):
        nn.Highway(3, nn.Linear(3, 1))(tg.zeros(2, 3))


def test_highway_begins_by_passing_its_input_on():
    m = nn.Sequential(*(nn.Highway(4, gate_bias=-30.0) for _ in range(20)))
    x = tg.randn(3, 4)
    np.testing.assert_allclose(a(m(x)), a(x), rtol=1e-5)


def test_residual():
    w, s = nn.Linear(3, 4, dtype=tg.float64), nn.Linear(3, 4, False, dtype=tg.float64)
    x = tg.randn(2, 3, dtype=tg.float64)
    y = a(nn.Residual(w, nn.ReLU(), shortcut=s)(x))
    want = np.maximum(a(x) @ a(w.weight).T + a(w.bias), 0) + a(x) @ a(s.weight).T
    np.testing.assert_allclose(y, want, rtol=1e-12)
    np.testing.assert_array_equal(a(nn.Residual(nn.Tanh())(x)), np.tanh(a(x)) + a(x))
    check_gradients(nn.Residual(w, nn.Tanh(), shortcut=s), 2, 3)
    names = check_state(lambda: nn.Residual(nn.Linear(3, 4), shortcut=nn.Linear(3, 4, False)))
    assert names == ["branch.0.weight", "branch.0.bias", "shortcut.weight"]
    # (2, 1) would broadcast to (2, 3).
    with pytest.raises(ShapeError, match=r"Residual: the layers give \(2, 1\)"):
        nn.Residual(nn.Linear(3, 1, dtype=tg.float64))(x)
    with pytest.raises(TgValueError, match="Residual: expects the modules"):
        nn.Residual()


def windows(n, k):
    """Every k x k window of zero-padded images, (N, C, H, W, k, k)."""
    p = k // 2
    n = np.pad(n, ((0, 0), (0, 0), (p, p), (p, p)))
    return np.lib.stride_tricks.sliding_window_view(n, (k, k), (2, 3))


def test_inception():
    m = nn.Inception(3, 2, 4, 5, 1, 3, 2).double()
    x = tg.randn(2, 3, 6, 5, dtype=tg.float64)

    def conv(n, layer):
        w = a(layer[0].weight)
        y = np.einsum("nchwij,ocij->nohw", windows(n, w.shape[-1]), w)
        return np.maximum(y + a(layer[0].bias)[:, None, None], 0)

    n = a(x)
    shift = n - n.min() + 1  # so that the zeros around the image never win
    pooled = windows(shift, 3).max((-2, -1)) + n.min() - 1
    want = [conv(n, m.branch1), conv(conv(n, m.branch2[0]), m.branch2[1]),
            conv(conv(n, m.branch3[0]), m.branch3[1]), conv(pooled, m.branch4[1])]  # fmt: skip
    np.testing.assert_allclose(a(m(x)), np.concatenate(want, 1), rtol=1e-10, atol=1e-12)
    check_gradients(nn.Inception(2, 1, 1, 2, 1, 1, 1).double(), 1, 2, 3, 4)
    assert "branch2.1.0.weight" in check_state(lambda: nn.Inception(2, 1, 1, 2, 1, 1, 1))


def test_radial_basis():
    m = nn.RadialBasis(3, 4, dtype=tg.float64)
    x = tg.randn(2, 5, 3, dtype=tg.float64)
    d = ((a(x)[..., None, :] - a(m.centers)) ** 2).sum(-1)
    np.testing.assert_allclose(a(m(x)), d, rtol=1e-12)
    g = nn.RadialBasis(3, 4, True, dtype=tg.float64)
    g.centers.data, g.scale.data = m.centers.detach(), tg.tensor([0.5, 1.0, 2.0, -1.0]).double()
    np.testing.assert_allclose(a(g(x)), np.exp(-d * a(g.scale) ** 2), rtol=1e-12)
    for layer in (m, g):
        check_gradients(layer, 2, 3)
    assert check_state(lambda: nn.RadialBasis(3, 4, True)) == ["centers", "scale"]
    assert nn.summary(nn.RadialBasis(3, 4), (2, 3)).multiply_adds == 12
    with pytest.raises(ShapeError, match=r"RadialBasis: input expects \(..., 3\)"):
        m(x[..., :2])


def test_radial_basis_with_given_centers():
    m = nn.RadialBasis(2, 3, centers=tg.zeros(3, 2))
    assert not list(m.parameters()) and list(m.state_dict()) == ["centers"]
    with pytest.raises(ShapeError, match=r"centers expects \(3, 2\), got \(2, 3\)"):
        nn.RadialBasis(2, 3, centers=tg.zeros(2, 3))


# --- batch norm and what follows it ---------------------------------------------------------------
def _norm_and_inputs(dtype, layout, training):
    rng = np.random.default_rng(0)
    norm = nn.BatchNorm2d(5, dtype=dtype).train(training)
    with tg.no_grad():
        norm.weight.copy_(tg.tensor(rng.standard_normal(5)))
        norm.bias.copy_(tg.tensor(rng.standard_normal(5)))
    x, z, g = (tg.tensor(rng.standard_normal((4, 5, 6, 7)), dtype=dtype) for _ in range(3))
    x, z = (t.contiguous(memory_format=layout).requires_grad_() for t in (x, z))
    return norm, x, z, g


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("layout", [tg.contiguous_format, tg.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [tg.float32, tg.float64], ids=str)
@pytest.mark.parametrize("added", [False, True], ids=["relu", "add_relu"])
def test_the_fused_norm_has_the_bits_of_its_parts(added, dtype, layout, training):
    results = []
    for fused in (True, False):
        norm, x, z, g = _norm_and_inputs(dtype, layout, training)
        if fused:
            y = norm(x, z if added else None, True)
        else:
            y = tg.relu(norm(x) + z if added else norm(x))
        leaves = [x, norm.weight, norm.bias, *([z] if added else [])]
        with tg.no_grad():
            alone = norm(x, z if added else None, True)
        grads = tg.autograd.grad(y, leaves, g)
        results.append([y, alone, *grads, norm.running_mean, norm.running_var])
    assert (results[0][0] == 0).any() and (results[0][0] > 0).any()
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


class _Unfused(nn.BatchNorm2d):
    def forward(self, input):
        return super().forward(input)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, _Unfused])
def test_sequential_fuses_norm_and_relu_unless_someone_looks(norm):
    """A hook of either module sees what it would without the fused kernel."""
    x = tg.tensor(np.random.default_rng(1).standard_normal((3, 4, 5, 5)), requires_grad=True)
    net = nn.Sequential(nn.Conv2d(4, 4, 3), norm(4), nn.ReLU()).to(tg.float64)
    y = net(x)
    rule = "batch_norm_relu" if norm is nn.BatchNorm2d else "relu"
    assert y._node.name == rule
    (expected,) = tg.autograd.grad(y.sum(), [x])
    for i in (1, 2):
        seen = []
        handle = net[i].register_forward_hook(lambda m, a, out, seen=seen: seen.append(out))
        again = net(x)
        handle.remove()
        assert again._node.name == "relu" and (again == y).all() and len(seen) == 1
        assert bool((seen[0] < 0).any()) == (i == 1)
        backward = net[i].register_full_backward_hook(lambda m, gi, go, seen=seen: seen.append(go))
        (actual,) = tg.autograd.grad(net(x).sum(), [x])
        backward.remove()
        assert (actual == expected).all() and len(seen) == 2
    assert net(x)._node.name == rule


def test_residual_blocks_call_the_hooks_of_their_norms():
    tg.manual_seed(0)
    net = tg.models.resnet18(num_classes=3)
    x = tg.randn(2, 3, 33, 33)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    y = net(x)
    net.load_state_dict(state)
    seen = []
    for name, m in net.named_modules():
        if isinstance(m, (nn.BatchNorm2d, nn.ReLU)):
            m.register_forward_hook(lambda m, a, out, name=name: seen.append(name))
    assert (net(x) == y).all()
    assert len(seen) == 21 and {"bn1", "relu", "layer4.1.bn2", "layer2.0.downsample.1"} <= {*seen}


def test_the_residual_of_a_fused_norm_must_fit():
    x = tg.zeros(2, 3, 4)
    with pytest.raises(ShapeError, match=r"batch_norm_relu: residual expects shape \(2, 3, 4\)"):
        nn.functional.batch_norm_relu(x, None, None, training=True, residual=tg.zeros(2, 3, 1))
