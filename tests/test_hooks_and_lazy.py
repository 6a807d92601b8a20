"""Hooks of modules and optimizers, lazy layers, buffers, fused normalisation, copies of computed
weights. Expected values are those of PyTorch 2.13.0 where they are numbers."""

import copy
import pickle

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors
from tilegrad.testing import assert_close

nn = tg.nn


def linear():
    m = nn.Linear(2, 2)
    m.weight.data, m.bias.data = tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([0.0, 1.0])
    return m


# --- backward hooks -------------------------------------------------------------------------------
def test_backward_hooks_see_and_replace_gradients():
    m, seen = linear(), []
    handle = m.register_full_backward_hook(
        lambda module, gi, go: seen.append((gi[0].tolist(), go[0].tolist()))
    )
    m.register_full_backward_pre_hook(lambda module, go: go[0] * 2)
    x = tg.ones(1, 2, requires_grad=True)
    m(x).sum().backward()
    assert seen == [([[8.0, 12.0]], [[2.0, 2.0]])]
    assert m.weight.grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    handle.remove()
    m.register_full_backward_hook(lambda module, gi, go: (gi[0] * 10,))
    x.grad = None
    m(x).sum().backward()
    assert x.grad.tolist() == [[80.0, 120.0]]
    assert len(seen) == 1


def test_backward_hooks_without_a_gradient_of_the_input():
    m, seen = linear(), []
    m.register_full_backward_hook(lambda module, gi, go: seen.append((gi, go[0].tolist())))
    m(tg.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0, 1.0]])]
    m.register_full_backward_pre_hook(lambda module, go: (None, None))
    with pytest.raises(errors.GradientError, match="returned 2 gradients, grad_output has 1"):
        m(tg.ones(1, 2)).sum().backward()


def test_backward_hooks_need_tensors():
    class Strange(nn.Module):
        def forward(self, x):
            return {"y": x}

    m = Strange()
    m.register_full_backward_hook(lambda *args: None)
    with pytest.raises(errors.GradientError, match="forward must return a tensor or a tuple"):
        m(tg.ones(1))


# --- optimizer hooks ------------------------------------------------------------------------------
def test_hooks_around_step():
    p, calls = nn.Parameter(tg.ones(2)), []
    optimizer = tg.optim.Adam([p], lr=0.5)
    first = optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("before"))
    optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append(("after", args)))
    p.grad = tg.ones(2)
    assert optimizer.step(lambda: 3.0) == 3.0
    first.remove()
    optimizer.step()
    assert calls[0] == "before"
    assert [c[0] for c in calls[1:]] == ["after", "after"]
    assert calls[2] == ("after", ())
    copied = copy.deepcopy(optimizer)
    copied.step()
    assert len(calls) == 3
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 5)
    with pytest.raises(TypeError, match=r"Adam.step: a hook returns None or \(args, kwargs\)"):
        optimizer.step()


def test_a_hook_replaces_the_arguments_of_step():
    p = nn.Parameter(tg.ones(2))
    optimizer = tg.optim.SGD([p], lr=0.5)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((lambda: 7.0,), {}))
    assert optimizer.step() == 7.0


# --- lazy layers ----------------------------------------------------------------------------------
LAZY = [
    ("Linear", (4,), (5, 3)),
    *[(f"Conv{n}d", (4, 2), (1, 3, *[5] * n)) for n in (1, 2, 3)],
    *[(f"ConvTranspose{n}d", (4, 2), (1, 3, *[5] * n)) for n in (1, 2, 3)],
    ("BatchNorm1d", (), (5, 3)),
    *[(f"BatchNorm{n}d", (), (2, 3, *[5] * n)) for n in (2, 3)],
    *[(f"InstanceNorm{n}d", (1e-5, 0.1, True), (2, 3, *[5] * n)) for n in (1, 2, 3)],
]


@pytest.mark.parametrize(("name", "args", "shape"), LAZY)
def test_a_lazy_layer_becomes_its_layer(name, args, shape):
    layer = getattr(nn, f"Lazy{name}")(*args).double().eval()
    parameters = list(layer.parameters())
    assert all(isinstance(p, nn.UninitializedParameter) for p in parameters)
    tg.manual_seed(3)
    y = layer(tg.ones(*shape, dtype=tg.float64))
    assert type(layer) is getattr(nn, name)
    assert not layer.training
    assert [id(p) for p in layer.parameters()] == [id(p) for p in parameters]
    tg.manual_seed(3)
    plain = getattr(nn, name)(3, *args).double().eval()
    assert repr(layer) == repr(plain)
    assert_close(y, plain(tg.ones(*shape, dtype=tg.float64)).detach().numpy())
    assert [p.dtype for p in parameters] == [tg.float64] * len(parameters)
    assert all(type(p) is nn.Parameter and p.requires_grad for p in parameters)


def test_a_lazy_layer_of_a_short_input():
    with pytest.raises(errors.ShapeError, match="LazyConv2d: input has shape"):
        nn.LazyConv2d(4, 3)(tg.zeros(5))


# --- buffers --------------------------------------------------------------------------------------
def test_buffers_by_assignment():
    m = nn.Module()
    m.mean = nn.Buffer([1.0, 2.0])
    m.seen = nn.Buffer(tg.zeros(1), persistent=False)
    assert list(m.state_dict()) == ["mean"]
    assert [n for n, _ in m.named_buffers()] == ["mean", "seen"]
    m.mean = tg.zeros(2)
    assert m.state_dict()["mean"].tolist() == [0.0, 0.0]


# --- embedding ------------------------------------------------------------------------------------
def test_rows_are_shortened_and_weighed_by_their_count():
    table = tg.tensor([[1.0, 2.0], [3.0, 4.0], [0.1, 0.2]])
    layer = nn.Embedding(3, 2, max_norm=1.0, scale_grad_by_freq=True, _weight=table)
    y = layer(tg.tensor([0, 0, 2]))
    (y * y).sum().backward()
    short = np.array([1.0, 2.0]) / np.sqrt(5.0)
    assert_close(layer.weight, np.array([short, [3.0, 4.0], [0.1, 0.2]], np.float32), rtol=1e-6)
    expected = np.array([2.0 * short, [0.0, 0.0], [0.2, 0.4]], np.float32)
    assert_close(layer.weight.grad, expected, rtol=1e-6)


# --- computed weights -----------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_modules_with_computed_weights_are_copied(kind, copied):
    m, x = getattr(nn.utils, kind)(nn.Linear(3, 2)).eval(), tg.randn(4, 3)
    c = copied(m)
    assert c.weight.tolist() == m.weight.tolist()
    expected = m(x).tolist()
    for p in c.parameters():
        p.data.mul_(2.0)
    assert c(x).tolist() != expected
    assert m(x).tolist() == expected
    getattr(nn.utils, f"remove_{kind}")(c)
    assert sorted(c.state_dict()) == ["bias", "weight"]


def normalised(bn, n):
    bn.running_mean.copy_(tg.linspace(0.1, 0.3, n))
    bn.running_var.copy_(tg.linspace(1.0, 3.0, n))
    bn.weight.data.copy_(tg.linspace(0.5, 2.0, n))
    bn.bias.data.copy_(tg.linspace(-1.0, 1.0, n))
    return bn.eval()


@pytest.mark.parametrize("bias", [False, True])
def test_fused_normalisation(bias):
    utils, x = nn.utils, tg.randn(2, 2, 5, 5)
    for conv in (nn.Conv2d(2, 3, 3, bias=bias), nn.ConvTranspose2d(2, 3, 3, bias=bias)):
        conv.eval()
        bn = normalised(nn.BatchNorm2d(3), 3)
        fused = utils.fuse_conv_bn_eval(conv, bn, isinstance(conv, nn.ConvTranspose2d))
        assert_close(fused(x), bn(conv(x)).detach().numpy(), atol=1e-5)
    linear, bn = nn.Linear(4, 3, bias=bias).eval(), normalised(nn.BatchNorm1d(3), 3)
    z = tg.randn(5, 4)
    fused = utils.fuse_linear_bn_eval(linear, bn)
    assert_close(fused(z), bn(linear(z)).detach().numpy(), atol=1e-5)
    with pytest.raises(errors.ValueError, match="evaluation mode"):
        utils.fuse_linear_bn_eval(linear.train(), bn)
    with pytest.raises(errors.ValueError, match="features do not fit"):
        utils.fuse_linear_bn_eval(nn.Linear(4, 2), bn)


# --- the rest -------------------------------------------------------------------------------------
def test_the_nuclear_norm():
    a = tg.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=tg.float64, requires_grad=True)
    n = tg.norm(a, "nuc")
    n.backward()
    u, s, v = np.linalg.svd(a.detach().numpy())
    assert_close(n, np.array(s.sum()))
    assert_close(a.grad, u @ v)


def test_a_function_may_return_gradients_of_another_dtype():
    class Double(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g.double() * 2

    x = tg.ones(2, requires_grad=True)
    Double.apply(x * 1).sum().backward()
    assert (x.grad.dtype, x.grad.tolist()) == (tg.float32, [2.0, 2.0])
