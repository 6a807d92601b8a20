"""Fused gradients against their composites wherever a graph can bend, derivatives of derivatives in
real use, and the memory of long runs."""

import gc
import math
import resource

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import cases, func, tape
from tilegrad.testing import assert_close

F = tg.nn.functional


# --- fused against composite ----------------------------------------------------------------------
def rules_of(case):
    """The rules with a fused gradient that a case records."""
    names = set()

    def watch(out, inputs, params):
        if out._node.rule.fused is not None:
            names.add(out._node.rule.name)

    xs = inputs(case)
    tape.watchers.append(watch)
    try:
        case.function()(*xs)
    finally:
        tape.watchers.remove(watch)
    return names


def inputs(case):
    out = []
    for arg, a in zip(case.inputs, case.arrays(tg.float64), strict=True):
        t = tg.from_numpy(a)
        out.append(t.requires_grad_() if arg.grad and t.is_floating_point() else t)
    return out


def representatives():
    """For every rule with a fused gradient three rows that record it, and an empty one."""
    found = {}
    for case in cases.all_cases():
        if case.differentiable and not case.bench:
            for name in rules_of(case):
                found.setdefault(name, []).append(case)
    chosen = []
    for name, rows in sorted(found.items()):
        own = [c for c in rows if c.op == name] or rows
        picked = own[:3] + [c for c in own[3:] if any(0 in a.shape for a in c.inputs)][:1]
        chosen += [pytest.param(c, id=f"{name}-{c}") for c in picked]
    return chosen


def mapped(f, change):
    return lambda *xs: f(*[change(x) if x.requires_grad else x for x in xs])


def in_place(x):
    y = x * 1.0
    y += x
    y *= 0.5
    return y


def strided_view(x):
    """x as a view into a larger computed tensor."""
    if x.ndim == 0:
        return tg.stack([x, x])[1]
    big = tg.cat([x, x, x], 0)
    return tg.flip(big, 0).flip(0)[x.shape[0] : 2 * x.shape[0]]


def stretched(x):
    """x from a tensor with an axis more, reduced and broadcast again: the gradient must fold."""
    return (x + tg.zeros((2, *x.shape), dtype=x.dtype)).mean(0)


def fan_out(n):
    def use(f):
        def g(*xs):
            y = f(*xs)
            return sum((y * (i + 1.0) for i in range(n)), f(*xs) * 0.5)

        return g

    return use


def rebound(f):
    """The output changes in place after it was saved: its rule must see the saved value."""

    def g(*xs):
        y = f(*xs)
        y = y * 1.0 if y.is_leaf else y
        y *= 2.0
        y += 1.0
        return y

    return g


BENDS = {
    "views": lambda f: mapped(f, strided_view),
    "broadcasting": lambda f: mapped(f, stretched),
    "diamond": lambda f: mapped(f, lambda x: (x * 0.25 + x * 0.5) + x * 0.25),
    "in_place_input": lambda f: mapped(f, in_place),
    "in_place_output": rebound,
    "mixed_dtypes": lambda f: mapped(f, lambda x: x.to(tg.float32).to(tg.float64)),
    **{f"fan_out_{n}": fan_out(n) for n in range(1, 10)},
}


def first(y):
    return y[0] if isinstance(y, (tuple, list)) else y


def gradients(case, bend, create_graph, twice=False):
    xs = inputs(case)
    y = bend(lambda *a: first(case.function()(*a)))(*xs)
    u = tg.from_numpy(np.asarray(np.random.default_rng(3).standard_normal(y.shape)))
    y.backward(u, retain_graph=twice or None, create_graph=create_graph)
    if twice:
        y.backward(u, create_graph=create_graph)
    return [x.grad.numpy(force=True) for x in xs if x.grad is not None]


REPRESENTATIVES = representatives()


@pytest.mark.parametrize("bend", BENDS)
@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_fused_equals_composite(case, bend):
    fused = gradients(case, BENDS[bend], False)
    composite = gradients(case, BENDS[bend], True)
    assert len(fused) == len(composite) > 0
    for a, b in zip(fused, composite, strict=True):
        assert_close(a, b, reduction_length=64 * case.reduction)


@pytest.mark.parametrize("case", REPRESENTATIVES)
def test_repeated_backward_adds(case):
    for create_graph in (False, True):
        once = gradients(case, lambda f: f, create_graph)
        twice = gradients(case, lambda f: f, create_graph, twice=True)
        for a, b in zip(once, twice, strict=True):
            np.testing.assert_array_equal(2 * a, b)


def test_every_fused_gradient_is_represented():
    from tilegrad.ops.rules import RULES

    fused = {name for name, rule in RULES.items() if rule.fused is not None}
    assert fused == {p.id.split("-")[0] for p in REPRESENTATIVES}


# --- in use ---------------------------------------------------------------------------------------
def test_gradient_penalty():
    """WGAN-GP (Gulrajani et al., 2017): the gradient of the penalty, against differences."""
    tg.manual_seed(0)
    critic = tg.nn.Sequential(
        tg.nn.Conv2d(1, 3, 3, stride=2), tg.nn.LeakyReLU(0.2), tg.nn.Flatten(), tg.nn.Tanh(),
        tg.nn.Linear(27, 1),
    ).to(tg.float64)  # fmt: skip
    real, fake = tg.randn(4, 1, 7, 7, dtype=tg.float64), tg.randn(4, 1, 7, 7, dtype=tg.float64)
    mix = tg.rand(4, 1, 1, 1, dtype=tg.float64)

    def penalty():
        x = (real * mix + fake * (1 - mix)).requires_grad_()
        (g,) = tg.autograd.grad(critic(x).sum(), x, create_graph=True)
        return 10.0 * (g.reshape(4, -1).norm(2, 1) - 1.0).square().mean()

    penalty().backward()
    assert critic[4].bias.grad is None  # it moves no slope
    for p in list(critic.parameters())[:-1]:
        a = p.numpy(force=True).reshape(-1)
        for i in range(0, a.size, max(a.size // 4, 1)):
            before = a[i]
            a[i] = before + 1e-6
            up = penalty().item()
            a[i] = before - 1e-6
            down = penalty().item()
            a[i] = before
            numeric = (up - down) / 2e-6
            assert abs(p.grad.numpy().reshape(-1)[i] - numeric) < 1e-6 * max(1.0, abs(numeric))


def test_hessian_vector_products_three_ways():
    x, t = tg.randn(6, 3, dtype=tg.float64), tg.tensor([0, 2, 1, 1, 0, 2])
    w, v = tg.randn(3, 3, dtype=tg.float64), tg.randn(3, 3, dtype=tg.float64)

    def loss(w):
        return F.cross_entropy(tg.tanh(x @ w), t)

    _, (forward,) = func.hvp(loss, (w,), (v,))
    reverse = func.grad(lambda w: (func.grad(loss)(w) * v).sum())(w)
    full = (func.hessian(loss)(w).reshape(9, 9) @ v.reshape(9)).reshape(3, 3)
    numeric = (func.grad(loss)(w + v * 1e-5) - func.grad(loss)(w - v * 1e-5)) / 2e-5
    for other, tolerance in ((reverse, 1e-14), (full, 1e-14), (numeric, 1e-9)):
        assert float((forward - other).abs().max()) < tolerance


def test_diagonal_second_order_of_the_1989_network():
    """Becker and LeCun, 1988: second derivatives flow back through squared weights, off-diagonal
    terms dropped. Each layer's rule is exact for its own diagonal, so a network with one hidden
    unit per output and a linear output layer must reproduce the true diagonal."""
    tg.manual_seed(1)
    x = tg.randn(5, 4, dtype=tg.float64)
    t = tg.randn(5, 3, dtype=tg.float64)
    w1 = tg.randn(3, 4, dtype=tg.float64).requires_grad_()
    w2 = tg.rand(3, dtype=tg.float64).requires_grad_()

    def loss(w1, w2):
        return 0.5 * (w2 * (x @ w1.t()).tanh() - t).square().sum()

    def diagonal(w1, w2):
        a = x @ w1.t()
        z = a.tanh()
        f1 = 1 - z * z
        f2 = -2 * z * f1
        error = w2 * z - t
        h_out = tg.ones_like(error)  # of the squared error
        h_w2 = (h_out * z * z).sum(0)
        h_hidden = h_out * w2 * w2 * f1 * f1 + error * w2 * f2
        return h_hidden.t() @ (x * x), h_w2

    d1, d2 = diagonal(w1, w2)
    exact1 = func.hessian(loss, 0)(w1, w2).numpy(force=True).reshape(12, 12)
    exact2 = func.hessian(loss, 1)(w1, w2).numpy(force=True)
    np.testing.assert_allclose(d1.numpy(force=True).reshape(12), np.diag(exact1), rtol=1e-12)
    np.testing.assert_allclose(d2.numpy(force=True), np.diag(exact2), rtol=1e-12)


def test_orders_up_to_six():
    f = lambda x: (x * x * 0.5).exp()  # noqa: E731  the derivatives are He-like polynomials times f
    x = tg.tensor(0.7, dtype=tg.float64)
    polynomial = np.polynomial.Polynomial([1.0])
    for _ in range(6):
        f = func.grad(f)
        polynomial = polynomial.deriv() + np.polynomial.Polynomial([0.0, 1.0]) * polynomial
        expected = polynomial(0.7) * math.exp(0.245)
        assert abs(f(x).item() / expected - 1) < 1e-13


# --- memory ---------------------------------------------------------------------------------------
@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * resource.getpagesize()


def test_ten_thousand_recorded_backwards_do_not_grow(without_collector):
    x = tg.tensor([0.3, 0.8], dtype=tg.float64, requires_grad=True)

    def step():
        (g,) = tg.autograd.grad((x.exp() * x).sum(), x, create_graph=True)
        (g * g).sum().backward()
        x.grad = None

    for _ in range(500):
        step()
    objects, grown = len(gc.get_objects()), []
    for _ in range(4):  # a leak grows every time, the allocator's own pages once in a while
        before = resident()
        for _ in range(2500):
            step()
        grown.append(resident() - before)
    assert min(grown) < 2**18
    assert len(gc.get_objects()) - objects < 100


def test_training_frees_by_reference_counting(without_collector):
    net = tg.nn.Sequential(
        tg.nn.Linear(4, 8), tg.nn.BatchNorm1d(8), tg.nn.ReLU(), tg.nn.Linear(8, 2)
    )
    optimizer = tg.optim.Adam(net.parameters())
    x, t = tg.randn(16, 4), tg.arange(16) % 2

    def step():
        optimizer.zero_grad()
        F.cross_entropy(net(x), t).backward()
        optimizer.step()

    step()
    objects, bytes_ = len(gc.get_objects()), tg.memory_stats()["in_use"]
    for _ in range(50):
        step()
    assert len(gc.get_objects()) - objects < 20
    assert tg.memory_stats()["in_use"] == bytes_
