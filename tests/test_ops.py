"""Every row of the case tables: against the reference under each instruction set, exactly on whole
numbers, by finite differences to second order, and fused against composite gradients."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import autograd, cases, kernels
from tilegrad.errors import GradientError
from tilegrad.ops import rules
from tilegrad.testing import assert_close, gradcheck

CASES = cases.all_cases()
SMALL = [c for c in CASES if not c.bench]
DIFFERENTIABLE = [c for c in SMALL if c.differentiable]
DTYPES = [tg.float32, tg.float64]


def tensors(case, dtype, integers=False, seed=0):
    arrays = case.arrays(dtype, seed, integers)
    out = []
    for arg, a in zip(case.inputs, arrays, strict=True):
        t = tg.from_numpy(a)
        differentiable = case.differentiable and arg.grad and t.is_floating_point()
        out.append(t.requires_grad_() if differentiable else t)
    return out


def run(case, dtype, integers=False, create_graph=False):
    """Outputs and the gradients for one random cotangent per output, as arrays."""
    xs = tensors(case, dtype, integers)
    before = [x.numpy(force=True).copy() for x in xs]
    y = case.function()(*xs)
    ys = list(y) if isinstance(y, (tuple, list)) else [y]
    results = [t.numpy(force=True) for t in ys if t is not None]
    leaves = [x for x in xs if x.requires_grad]
    outs = [t for t in ys if t is not None and t.requires_grad]
    if leaves:
        rng = np.random.default_rng(1)
        us = []
        for t in outs:
            u = rng.integers(-3, 4, t.shape) if integers else rng.standard_normal(t.shape)
            us.append(tg.from_numpy(np.asarray(u).astype(t.dtype)))
        grads = autograd.grad(outs, leaves, us, create_graph=create_graph, allow_unused=True)
        for x, g in zip(leaves, grads, strict=True):
            assert g is None or (g.shape, g.dtype) == (x.shape, x.dtype)
        results += [g.numpy(force=True) for g in grads if g is not None]
    for x, b in zip(xs, before, strict=True):
        np.testing.assert_array_equal(x.numpy(force=True), b, err_msg="an input was modified")
    return results


def compare(case, dtype, integers=False):
    actual = run(case, dtype, integers)
    with kernels.use("reference"):
        expected = run(case, dtype, integers)
    assert len(actual) == len(expected)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        exact = {"rtol": 0.0, "atol": 0.0} if integers else {}
        assert_close(a, e, reduction_length=case.reduction, what=f"{case} result {i}", **exact)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_reference(case, dtype, isa):
    compare(case, dtype)


@pytest.mark.parametrize("case", [c for c in SMALL if c.exact], ids=str)
def test_whole_numbers_are_exact(case, isa):
    compare(case, tg.float32, integers=True)


@pytest.mark.parametrize("dtype", [tg.float16, tg.bfloat16], ids=str)
@pytest.mark.parametrize("case", [c for c in SMALL if c.half], ids=str)
def test_half(case, dtype):
    compare(case, dtype)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_gradient(case):
    gradcheck(case.function(), tensors(case, tg.float64), second_order=case.second)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_fused_equals_composite(case):
    fused = run(case, tg.float64)
    composite = run(case, tg.float64, create_graph=True)
    for i, (a, e) in enumerate(zip(fused, composite, strict=True)):
        assert_close(a, e, reduction_length=8 * case.reduction, what=f"{case} result {i}")


# --- what a gradient depends on -------------------------------------------------------------------
def outputs(function, xs):
    """The results of a function as a list without None."""
    y = function(*xs)
    return [t for t in (y if isinstance(y, (tuple, list)) else (y,)) if t is not None]


def gradients(ys, leaves, create_graph=False):
    """The gradients for a cotangent per result that depends on its place and shape alone; None
    where nothing leads to the leaves."""
    us = [tg.tensor(np.random.default_rng(i).standard_normal(y.shape)) for i, y in enumerate(ys)]
    live = [(y, u) for y, u in zip(ys, us, strict=True) if y.requires_grad]
    if not live:
        return [None] * len(leaves)
    ys, us = zip(*live, strict=True)
    return autograd.grad(ys, leaves, us, create_graph=create_graph, allow_unused=True)


def same(actual, expected, case):
    assert (actual is None) == (expected is None)
    if actual is not None:
        assert_close(actual, expected, reduction_length=8 * case.reduction, what=str(case))


def sparing(derivative):
    """A derivative of a rule that must compute no gradient that nobody asked for."""

    def checked(g, need, *rest):
        results = derivative(g, need, *rest)
        assert all(r is None or n for r, n in zip(results, need, strict=True))
        return results

    return checked


@pytest.mark.parametrize("create_graph", [False, True], ids=["fused", "composite"])
@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_each_gradient_alone(case, create_graph, monkeypatch):
    """Asked for one input, the gradient is the same and no other is computed."""
    for rule in rules.RULES.values():
        monkeypatch.setattr(rule, "vjp", sparing(rule.vjp))
        if rule.fused is not None:
            monkeypatch.setattr(rule, "fused", sparing(rule.fused))
    xs, function = tensors(case, tg.float64), case.function()
    leaves = [i for i, x in enumerate(xs) if x.requires_grad]
    expected = gradients(outputs(function, xs), [xs[i] for i in leaves], create_graph)
    for i, e in zip(leaves, expected, strict=True):
        alone = [x if j == i else x.detach() for j, x in enumerate(xs)]
        for given in (xs, alone):
            (g,) = gradients(outputs(function, given), [xs[i]], create_graph)
            same(g, e, case)


def change_in_place(t):
    """Overwrites t with other values behind the tape's back, as a buffer used again would be."""
    t = t.detach()
    if t.dtype == tg.bool:
        t.copy_(~t)
    else:
        t.copy_(t * (-2 if t.is_floating_point() else 0))


def check_changes(function, make, case):
    """Whatever a derivative keeps: changed in place, it raises or does not matter."""
    xs = make()
    ys = outputs(function, xs)
    expected = gradients(ys, [x for x in xs if x.requires_grad])
    for i in range(len(xs) + len(ys)):
        xs = make()
        ys = outputs(function, xs)
        changed = [*xs, *ys][i]
        if not changed._array.flags.writeable:
            continue
        change_in_place(changed)
        try:
            actual = gradients(ys, [x for x in xs if x.requires_grad])
        except GradientError as e:
            assert "changed in place" in str(e)
            continue
        for a, e in zip(actual, expected, strict=True):
            same(a, e, case)


@pytest.mark.parametrize("case", DIFFERENTIABLE, ids=str)
def test_changes_in_place_are_noticed(case):
    def make():
        return tensors(case, tg.float64)

    check_changes(case.function(), make, case)
    n, ys = len(make()), [y for y in outputs(case.function(), make()) if y.requires_grad]
    if not (ys and case.second):
        return

    def slope(*args):
        xs, us = args[:n], args[n:]
        ys = [y for y in outputs(case.function(), xs) if y.requires_grad]
        leaves = [x for x in xs if x.requires_grad]
        return autograd.grad(ys, leaves, us, create_graph=True, allow_unused=True)

    check_changes(slope, lambda: [*make(), *[tg.ones_like(y).requires_grad_() for y in ys]], case)


def test_names_are_unique():
    names = [str(c) for c in CASES]
    assert len(set(names)) == len(names), {n for n in names if names.count(n) > 1}


def test_every_rule_has_a_name():
    assert all(rule.name == name for name, rule in rules.RULES.items())
