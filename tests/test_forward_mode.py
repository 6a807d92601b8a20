"""Forward mode against reverse mode, on every row of the case tables and nested every way."""

import gc
import math
import weakref

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import cases, errors, func, tape

CASES = [c for c in cases.all_cases() if c.differentiable and not c.bench]


def prepared(case):
    """f of the differentiable inputs alone, those inputs, directions, and one cotangent per output:
    <u, f> as a function of one element."""
    rng = np.random.default_rng(5)
    arrays = case.arrays(tg.float64, 0)
    inputs = [tg.from_numpy(a) for a in arrays]
    at = [i for i, (a, x) in enumerate(zip(case.inputs, inputs, strict=True))
          if a.grad and x.is_floating_point()]  # fmt: skip
    xs = tuple(inputs[i] for i in at)
    vs = tuple(tg.from_numpy(np.asarray(rng.standard_normal(x.shape))) for x in xs)
    call = case.function()

    def f(*values):
        full = list(inputs)
        for i, v in zip(at, values, strict=True):
            full[i] = v
        y = call(*full)
        ys = y if isinstance(y, (tuple, list)) else [y]
        return tuple(t for t in ys if t is not None and t.is_floating_point())

    us = [tg.from_numpy(np.asarray(rng.standard_normal(y.shape))) for y in f(*xs)]

    def scalar(*values):
        return sum(((u * y).sum() for u, y in zip(us, f(*values), strict=True)), tg.tensor(0.0))

    return f, scalar, xs, vs, us


def dot(a, b):
    return sum(float((s * t).sum()) for s, t in zip(a, b, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_equals_reverse(case):
    f, _, xs, vs, us = prepared(case)
    ys, pushed = func.jvp(f, xs, vs)
    again, pull = func.vjp(f, *xs)
    for y, t, z in zip(ys, pushed, again, strict=True):
        assert t.shape == y.shape and t.dtype == y.dtype
        assert not y.requires_grad and not t.requires_grad
        np.testing.assert_array_equal(y.numpy(), z.numpy())
    forward, reverse = dot(us, pushed), dot(pull(tuple(us)), vs)
    scale = dot([u.abs() for u in us], [t.abs() for t in pushed]) + 1e-3
    assert abs(forward - reverse) <= 1e-11 * max(case.reduction, 1) * scale
    assert not tape.watchers


@pytest.mark.parametrize("case", [c for c in CASES if c.second], ids=str)
def test_forward_over_reverse(case):
    _, scalar, xs, vs, _ = prepared(case)
    everything = tuple(range(len(xs)))
    slope = func.grad(scalar, everything)
    _, forward = func.jvp(slope, xs, vs)

    def along(*values):
        return sum(((g * v).sum() for g, v in zip(slope(*values), vs, strict=True)), tg.tensor(0.0))

    reverse = func.grad(along, everything)(*xs)
    for a, b in zip(forward, reverse, strict=True):
        scale = float(b.abs().max()) if b.numel() else 0.0
        error = float((a - b).abs().max()) if b.numel() else 0.0
        assert error <= 1e-9 * max(case.reduction, 1) * (scale + 1.0)


def push(f):
    return lambda x: func.jvp(f, (x,), (tg.ones_like(x),))[1]


@pytest.mark.parametrize("modes", [f"{i:04b}" for i in range(16)])
def test_every_nesting_of_four_derivatives(modes):
    f = lambda x: (x * 0.7).sin() * x  # noqa: E731
    x = tg.tensor(1.3, dtype=tg.float64)
    for m in modes:
        f = push(f) if m == "1" else func.grad(f)
    s, c, a, v = math.sin(0.7 * 1.3), math.cos(0.7 * 1.3), 0.7, 1.3
    y = f(x)  # (x sin ax)'''' = a^4 x sin ax - 4 a^3 cos ax
    assert abs(y.item() - (a**4 * v * s - 4 * a**3 * c)) < 1e-13
    assert not y.requires_grad


def test_levels_are_not_confused():
    one = tg.tensor(1.0)
    inner = lambda x: x * push(lambda y: x + y)(one)  # noqa: E731  d/dy (x + y) is 1, not 2
    assert push(inner)(one).item() == 1.0
    assert func.grad(lambda x: x * func.grad(lambda y: x * y)(one))(one).item() == 2.0
    assert push(lambda x: x * func.grad(lambda y: x * y)(one))(one).item() == 2.0


def test_gradients_pass_through_both_modes():
    w = tg.tensor([1.0, 2.0], dtype=tg.float64, requires_grad=True)
    x, v = tg.tensor([0.5, 0.25], dtype=tg.float64), tg.tensor([3.0, 1.0], dtype=tg.float64)
    (_, t) = func.jvp(lambda x: (w * x**3).sum(), (x,), (v,))
    t.backward()  # t = sum w 3 x^2 v
    np.testing.assert_allclose(w.grad.numpy(), 3 * (x * x * v).numpy(), rtol=1e-14)
    v2 = v.clone().requires_grad_()
    _, (product,) = func.hvp(lambda x: (x**3).sum(), (x,), (v2,))
    product.sum().backward()
    np.testing.assert_allclose(v2.grad.numpy(), 6 * x.numpy(), rtol=1e-14)
    w.grad = None
    func.grad(lambda x: (w * x * x).sum())(x).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * x.numpy(), rtol=1e-14)


def test_no_grad_inside_is_constant_and_outside_is_not():
    x = tg.tensor(2.0)

    def f(x):
        with tg.no_grad():
            scale = x * 3
        return scale * x

    assert push(f)(x).item() == func.grad(f)(x).item() == 6.0
    with tg.no_grad():
        assert push(lambda x: x * x)(x).item() == func.grad(lambda x: x * x)(x).item() == 4.0
        assert not func.grad(lambda x: x * x)(x.clone().requires_grad_()).requires_grad


def test_in_place_changes_carry_tangents():
    def f(x):
        y = x * 1.0
        y *= x
        y[0] = x[1] * 5
        return y

    x = tg.tensor([2.0, 3.0])
    assert push(f)(x).tolist() == [5.0, 6.0]
    assert func.grad(lambda x: f(x).sum())(x).tolist() == [0.0, 11.0]


def test_structures_and_auxiliary_results():
    def f(p, k):
        return {"y": p["a"] * k, "z": [p["b"].sum()]}, (p["a"] + 1, "note")

    p, k = {"a": tg.tensor([1.0, 2.0]), "b": tg.ones(2, 2)}, tg.tensor(3.0)
    ones = {"a": tg.ones(2), "b": tg.ones(2, 2)}
    y, t, (extra, note) = func.jvp(f, (p, k), (ones, tg.tensor(0.0)), has_aux=True)
    assert y["y"].tolist() == [3, 6] and t["y"].tolist() == [3, 3] and t["z"][0].item() == 4
    assert extra.tolist() == [2, 3] and note == "note" and not extra.requires_grad
    y, pull, (extra, note) = func.vjp(f, p, k, has_aux=True)
    gp, gk = pull({"y": tg.ones(2), "z": [tg.tensor(2.0)]})
    assert gp["a"].tolist() == [3, 3] and gp["b"].tolist() == [[2, 2], [2, 2]] and gk.item() == 3
    gp, aux = func.grad(lambda p: (p["a"].sum(), 7), has_aux=True)(p)
    assert gp["a"].tolist() == [1, 1] and gp["b"].tolist() == [[0, 0], [0, 0]] and aux == 7


def test_jacobians_agree():
    def f(a, b):
        return (a[:, None] * b).sin(), a.sum()

    rng = np.random.default_rng(0)
    a, b = tg.from_numpy(rng.standard_normal(3)), tg.from_numpy(rng.standard_normal((3, 2)))
    rev, fwd = func.jacrev(f, (0, 1))(a, b), func.jacfwd(f, (0, 1))(a, b)
    shapes = [[(3, 2, 3), (3, 2, 3, 2)], [(3,), (3, 2)]]
    for i in range(2):
        for j in range(2):
            assert rev[i][j].shape == fwd[i][j].shape == shapes[i][j]
            np.testing.assert_allclose(rev[i][j].numpy(), fwd[i][j].numpy(), atol=1e-14)
    expected = np.einsum("ij,ik,ij->ijk", np.cos(a.numpy()[:, None] * b.numpy()), np.eye(3), b)
    np.testing.assert_allclose(rev[0][0].numpy(), expected, atol=1e-14)
    h = func.hessian(lambda a: (a**3).sum() + a[0] * a[1])(a)
    expected = np.diag(6 * a.numpy())
    expected[0, 1] = expected[1, 0] = 1
    np.testing.assert_allclose(h.numpy(), expected, atol=1e-14)
    assert func.jacrev(lambda x: x * 2)(tg.ones(0)).shape == (0, 0)
    assert func.jacfwd(lambda x: x * 2)(tg.ones(0)).shape == (0, 0)


def test_functional_follows_pytorch():
    g = tg.autograd.functional
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert not g.jacobian(lambda x: x * x, x).requires_grad
    (g.jacobian(lambda x: x * x, x, create_graph=True).sum()).backward()
    assert x.grad.tolist() == [2, 2]
    for strategy in ("reverse-mode", "forward-mode"):
        (a, b) = g.jacobian(lambda a, b: a * b, (x, x), strategy=strategy)
        assert a.tolist() == b.tolist() == [[1, 0], [0, 2]]
        h = g.hessian(lambda a, b: (a * a * b).sum(), (x, x), outer_jacobian_strategy=strategy)
        assert h[0][0].tolist() == [[2, 0], [0, 4]] and h[1][1].tolist() == [[0, 0], [0, 0]]
    assert g.vjp(lambda x: x * x, x, tg.ones(2))[1].tolist() == [2, 4]
    assert g.jvp(lambda a, b: a * b, (x, x), (tg.ones(2), tg.zeros(2)))[1].tolist() == [1, 2]
    assert g.hvp(lambda x: (x**3).sum(), x, tg.ones(2))[1].tolist() == [6, 12]
    assert g.vhp(lambda a, b: (a * b).sum(), (x, x), (tg.ones(2), tg.zeros(2)))[1][1].tolist() == [
        1,
        1,
    ]
    with pytest.raises(errors.ValueError, match="strategy must be one of"):
        g.jacobian(lambda x: x, x, strategy="sideways")
    with pytest.raises(errors.ShapeError, match="v may be left out for one element only"):
        g.vjp(lambda x: x, x)


def test_vmap_and_functional_call():
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert func.vmap(tg.dot)(x, x).tolist() == [5, 25, 61]
    assert func.vmap(lambda r, s: r * s, in_dims=(1, None), out_dims=1)(x, x[:, 0]).shape == (3, 2)
    per_sample = func.vmap(func.grad(lambda w, r: (w * r).sum() ** 2), in_dims=(None, 0))
    w = tg.ones(2)
    np.testing.assert_array_equal(per_sample(w, x).numpy(), [[6, 12], [42, 56], [110, 132]])
    net = tg.nn.Sequential(tg.nn.Linear(2, 2), tg.nn.Tanh())
    before = net[0].weight
    p = {"0.weight": tg.zeros(2, 2), "0.bias": tg.zeros(2)}
    assert func.functional_call(net, p, x).abs().sum().item() == 0
    g = func.grad(lambda p: func.functional_call(net, p, (x,)).sum())(p)
    assert g["0.weight"].tolist() == [[9, 12], [9, 12]] and net[0].weight is before
    with pytest.raises(errors.ValueError, match=r"no parameter or buffer is named '1\.weight'"):
        func.functional_call(net, {"0.bias": tg.ones(2), "1.weight": tg.ones(2)}, x)
    assert net[0].bias.requires_grad


def test_mistakes_are_named():
    x = tg.ones(2)
    for call, error, words in (
        (lambda: func.grad(lambda x: x)(x), errors.ShapeError, r"grad: func must return one elem"),
        (lambda: func.grad(lambda x: x.sum(), 1)(x), errors.ValueError, "argnums 1 for 1 posit"),
        (lambda: func.grad(lambda x: x.sum())(tg.tensor([1])), errors.DTypeError, "int64"),
        (lambda: func.grad(lambda x: 3)(x), errors.DTypeError, "must return tensors, got int"),
        (lambda: func.grad(lambda x: x.sum(), has_aux=True)(x), errors.ValueError, "has_aux"),
        (lambda: func.jvp(lambda x: x, x, x), errors.DTypeError, "must be tuples"),
        (lambda: func.jvp(lambda x: x, (x,), ()), errors.ShapeError, "1 primals, but 0 tangents"),
        (lambda: func.jvp(lambda x: x, (x,), (tg.ones(3),)), errors.ShapeError, r"\(3,\)"),
        (
            lambda: func.jvp(lambda d: d["a"], ({"a": x, "b": x},), ({"b": x, "a": x},)),
            errors.ShapeError,
            "primal 0 and its tangent differ in their structure",
        ),
        (lambda: func.grad(lambda x: x.argmax())(x), errors.DTypeError, "floating tensor, got int"),
        (lambda: func.grad(lambda x, y: x.sum(), (0, 0))(x, x), errors.ValueError, "twice"),
        (lambda: func.vjp(lambda x: x, x)[1](tg.ones(3)), errors.ShapeError, r"cotangent has sh"),
        (lambda: func.vjp(lambda x: x, x)[1]((x, x)), errors.ShapeError, "2 cotangents"),
        (lambda: func.vmap(lambda x: x, in_dims=None)(x), errors.ValueError, "slices no argument"),
        (lambda: func.vmap(tg.add)(x, tg.ones(3)), errors.ShapeError, r"lengths \[2, 3\]"),
    ):
        with pytest.raises(error, match=words):
            call()
    with pytest.raises(errors.GradientError, match="does not require grad"):
        func.jvp(lambda x: (x.sum().backward(), x)[1], (x,), (x,))
    assert not tape.watchers and not tape.mode.levels


def test_an_op_without_a_rule_is_named_in_both_modes():
    from tilegrad.ops import rules

    name = "unmapped"
    try:
        rule = rules.refused(name, "has no derivative")
        op = lambda x: rules.record(rule, x._array.copy(), (x,))  # noqa: E731
        x = tg.ones(2)
        for call in (lambda: func.grad(lambda x: op(x).sum())(x), lambda: push(op)(x)):
            with pytest.raises(errors.GradientError, match="unmapped: has no derivative"):
                call()
    finally:
        rules.RULES.pop(name, None)


def test_nothing_is_kept_alive():
    x = tg.tensor([0.5, 1.5], dtype=tg.float64)
    steps = (
        lambda: push(lambda x: (x.exp() * x).sin())(x),
        lambda: func.grad(lambda x: (x.exp() * x).sum())(x),
        lambda: func.hvp(lambda x: (x**3).sum(), (x,), (x,)),
        lambda: func.hessian(lambda x: x.prod())(x),
    )
    gc.collect()
    gc.disable()
    try:
        for step in steps:
            step()
            before = len(gc.get_objects())
            for _ in range(20):
                step()
            assert len(gc.get_objects()) - before < 20
    finally:
        gc.enable()


def test_a_long_chain_keeps_nothing_in_forward_mode():
    past = []

    def f(x):
        for _ in range(2000):
            x = x * 1.001
            past.append(weakref.ref(x._node))
        return x

    one = tg.tensor(1.0, dtype=tg.float64)
    y, t = func.jvp(f, (one,), (one,))
    assert abs(t.item() - 1.001**2000) < 1e-9 and abs(y.item() - t.item()) < 1e-12
    assert not any(r() for r in past)
    func.grad(f)(one)  # in reverse mode the same nodes do live, until the pass is over
    past.clear()
    z = f(tg.tensor(1.0, requires_grad=True))
    assert all(r() for r in past)
    del z
    assert not any(r() for r in past)
