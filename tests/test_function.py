"""Ops of one's own, and recomputation instead of storing."""

import gc
import weakref

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors, func, tape
from tilegrad.testing import gradcheck
from tilegrad.utils.checkpoint import checkpoint


class Product(tg.autograd.Function):
    """x * y by hand."""

    @staticmethod
    def forward(ctx, x, y, scale):
        ctx.save_for_backward(x, y)
        ctx.scale = scale
        return x * y * scale

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * y * ctx.scale, g * x * ctx.scale, None


class SineCosine(tg.autograd.Function):
    """Both at once; each is the other's derivative, so the saved outputs serve."""

    @staticmethod
    def forward(x):
        return x.sin(), x.cos()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*output)

    @staticmethod
    def backward(ctx, gs, gc):
        s, c = ctx.saved_tensors
        return gs * c - gc * s


def double(*values):
    return tg.tensor(values, dtype=tg.float64, requires_grad=True)


def test_orders_and_modes():
    x, y = double(0.3, 0.8), double(1.5, -0.4)
    gradcheck(lambda x, y: Product.apply(x, y, 3.0), [x, y], second_order=True)
    gradcheck(lambda x: SineCosine.apply(x), [x], second_order=True)
    gradcheck(lambda x: SineCosine.apply(x)[1] * x, [x], second_order=True)
    third = func.grad(func.grad(func.grad(lambda x: SineCosine.apply(x)[0].sum())))
    push = lambda f: lambda x: func.jvp(f, (x,), (tg.ones_like(x),))[1]  # noqa: E731
    one = tg.tensor(0.3, dtype=tg.float64)
    for f in (third, push(push(push(lambda x: SineCosine.apply(x)[0]))),
              func.grad(push(func.grad(lambda x: SineCosine.apply(x)[0])))):  # fmt: skip
        assert abs(f(one).item() + np.cos(0.3)) < 1e-14
    assert str(SineCosine.apply(x)[1].grad_fn) == "<SineCosine>"


def test_a_jvp_of_its_own_is_used():
    calls = []

    class Double(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

        @staticmethod
        def jvp(ctx, t):
            calls.append(t)
            return t * 2

    x = tg.ones(3)
    assert func.jvp(Double.apply, (x,), (x,))[1].tolist() == [2, 2, 2] and len(calls) == 1


def test_context():
    seen = {}

    class Split(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            seen["needs"] = ctx.needs_input_grad
            seen["recording"] = tg.is_grad_enabled()
            sign = tg.sign(x)
            ctx.mark_non_differentiable(sign)
            ctx.set_materialize_grads(False)
            return x * 1.0, sign, x * 2.0, "text"

        @staticmethod
        def backward(ctx, *gs):
            seen["gradients"] = gs
            return gs[0], None

    x = double(1.0, -2.0)
    a, sign, b, text = Split.apply(x, tg.ones(2))
    assert seen["needs"] == (True, False) and not seen["recording"]
    assert a.requires_grad and b.requires_grad and not sign.requires_grad and text == "text"
    a.sum().backward()
    assert seen["gradients"][1:] == (None, None) and x.grad.tolist() == [1, 1]
    with tg.no_grad():
        assert not Split.apply(x, x)[0].requires_grad


def test_an_input_may_be_returned():
    class Same(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 5

    x = double(1.0)
    y = Same.apply(x)
    assert y is not x and x.is_leaf
    y.backward()
    assert x.grad.item() == 5


def make(backward, save=False):
    class Bad(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            if save:
                ctx.save_for_backward(x)
            return x * 2

    Bad.backward = staticmethod(backward)
    return Bad


def test_mistakes_are_named():
    x = double(1.0, 2.0)
    for backward, words in (
        (lambda ctx, g: (g, g), "Bad.backward: returned 2 gradients for 1 arguments of forward"),
        (lambda ctx, g: g.sum(), r"gradient 0 must be a tensor of shape \(2,\), got .* shape \(\)"),
        (lambda ctx, g: 3.0, "gradient 0 must be a tensor of shape .* got float"),
    ):
        with pytest.raises(errors.GradientError, match=words):
            make(backward).apply(x).sum().backward()
    kept = []
    y = make(lambda ctx, g: (kept.append(ctx), g)[1], save=True).apply(x)
    z = x.detach()
    z += 1
    with pytest.raises(errors.GradientError, match=r"input 0 of Bad .* changed in place"):
        y.sum().backward()
    y = make(lambda ctx, g: (kept.append(ctx), g)[1], save=True).apply(x)
    y.sum().backward()
    with pytest.raises(errors.GradientError, match="only to be read inside backward"):
        kept[0].saved_tensors  # noqa: B018
    with pytest.raises(errors.GradientError, match="saved values are freed"):
        y.sum().backward()
    with pytest.raises(NotImplementedError, match="forward"):
        tg.autograd.Function.apply(x)


def test_no_cycles():
    def step():
        x = double(0.5)
        y = SineCosine.apply(Product.apply(x, x, 2.0))[0]
        (g,) = tg.autograd.grad(y, x, create_graph=True)
        g.backward()

    gc.collect()
    gc.disable()
    try:
        step()
        before = len(gc.get_objects())
        for _ in range(30):
            step()
        assert len(gc.get_objects()) - before < 30
    finally:
        gc.enable()


# --- checkpoint -----------------------------------------------------------------------------------
def network(seed=0):
    tg.manual_seed(seed)
    return tg.nn.Sequential(
        tg.nn.Linear(6, 16), tg.nn.Tanh(), tg.nn.Dropout(0.3), tg.nn.Linear(16, 16), tg.nn.ReLU(),
        tg.nn.BatchNorm1d(16), tg.nn.Linear(16, 1),
    )  # fmt: skip


def gradients(wrap):
    net = network()
    x = tg.randn(8, 6).requires_grad_()
    loss = wrap(net, x).square().mean()
    loss.backward()
    return [loss.item(), x.grad.tolist(), *[p.grad.tolist() for p in net.parameters()]]


def test_checkpoint_gives_the_same_bits():
    plain = gradients(lambda net, x: net(x))
    assert gradients(lambda net, x: checkpoint(net, x, use_reentrant=False)) == plain

    def halves(net, x):
        return checkpoint(net[3:], checkpoint(net[:3], x))

    assert gradients(halves) == plain
    assert gradients(lambda net, x: checkpoint(lambda x: halves(net, x), x)) == plain
    assert not tape.watchers


def test_checkpoint_keeps_nothing_and_frees_again():
    x = tg.randn(1000).requires_grad_()
    calls = []

    def f(x):
        calls.append(1)
        for _ in range(50):
            x = x.sin()
        return x

    tg.empty_cache()
    before = tg.memory_stats()["in_use"]
    y = f(x)
    stored = tg.memory_stats()["in_use"] - before
    del y
    y = checkpoint(f, x)
    kept = tg.memory_stats()["in_use"] - before
    assert stored >= 50 * 4000 and kept <= 3 * 4096, (stored, kept)
    y.sum().backward()
    assert len(calls) == 3
    with pytest.raises(errors.GradientError, match="saved values are freed"):
        y.sum().backward()
    y = checkpoint(f, x)
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert len(calls) == 5
    y = checkpoint(lambda x, keep=f: (setattr(keep, "kept", x.exp()), keep.kept.sin())[1], x)
    node = weakref.ref(y._node)
    del y, f.kept
    gc.collect()
    assert node() is None


def test_checkpoint_to_second_order():
    w = double(0.7)

    def f(x):
        return (x * w).exp() * x

    gradcheck(lambda x: checkpoint(f, x), [double(0.4, 0.9)], second_order=True)
    for wrap in (f, lambda x: checkpoint(f, x)):
        w.grad = None
        (g,) = tg.autograd.grad(wrap(x := double(0.4)), x, create_graph=True)
        g.backward()
        assert abs(w.grad.item() - (0.4 * np.exp(0.28) * (2 + 0.28))) < 1e-13


def test_checkpoint_refuses_what_it_cannot_repeat():
    flips = iter([True, False])
    x = double(1.0, 2.0)
    y = checkpoint(lambda x: x.sin().exp() if next(flips) else x.sin(), x)
    with pytest.raises(errors.GradientError, match=r"checkpoint: .*recorded 1 operations"):
        y.sum().backward()
    z = x * 1.0
    y = checkpoint(lambda z: (z + 1).exp(), z)
    with tg.no_grad():
        z += 1
    with pytest.raises(errors.GradientError, match=r"argument of .* was changed in place"):
        y.sum().backward()


def test_checkpoint_refuses_to_change_its_argument():
    h = double(0.3, 0.7) * 1.0
    with pytest.raises(errors.GradientError, match="changes an argument in place"):
        checkpoint(lambda u: (u.mul_(2.0), u.exp().sum())[1], h)


def test_checkpoint_inside_forward_mode():
    x = tg.tensor([0.3, 0.7], dtype=tg.float64)

    def slope(wrap):
        return func.grad(lambda x: func.jvp(lambda z: wrap(z).sum(), (x,), (tg.ones_like(x),))[1])(
            x
        )

    plain = slope(lambda u: u.exp().sin())
    np.testing.assert_array_equal(slope(lambda z: checkpoint(lambda u: u.exp().sin(), z)), plain)


def test_a_backward_outside_of_the_tape_gives_no_tangent():
    class Sine(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return tg.tensor(g.detach().numpy() * np.cos(x.detach().numpy()))

    x = tg.tensor([0.3], dtype=tg.float64)
    with pytest.raises(errors.GradientError, match="Sine: backward is not written with recorded"):
        func.jvp(Sine.apply, (x,), (x,))
