"""Every row of the case tables: against the reference under each instruction set, exactly on whole
numbers, by finite differences to second order, and fused against composite gradients."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import autograd, cases, kernels
from tilegrad.ops import rules
from tilegrad.testing import assert_close, gradcheck

CASES = cases.all_cases()
SMALL = [c for c in CASES if not c.bench]
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


@pytest.mark.parametrize("case", [c for c in SMALL if c.differentiable], ids=str)
def test_gradient(case):
    gradcheck(case.function(), tensors(case, tg.float64), second_order=case.second)


@pytest.mark.parametrize(
    "case", [c for c in SMALL if c.differentiable and len(c.inputs) > 1], ids=str
)
def test_an_input_that_alone_requires_grad(case):
    """A rule may be asked for the gradient of one input only."""
    together = tensors(case, tg.float64)
    leaves = [i for i, x in enumerate(together) if x.requires_grad]

    def gradients(xs):
        y = case.function()(*xs)
        ys = [t for t in (y if isinstance(y, (tuple, list)) else [y]) if t is not None]
        ys = [t for t in ys if t.requires_grad]
        wanted = [x for x in xs if x.requires_grad]
        ones = [tg.ones_like(t) for t in ys]
        return autograd.grad(ys, wanted, ones, allow_unused=True) if ys else [None] * len(wanted)

    expected = gradients(together)
    for i, e in zip(leaves, expected, strict=True):
        alone = [x if k == i else x.detach() for k, x in enumerate(tensors(case, tg.float64))]
        (g,) = gradients(alone)
        if g is not None and e is not None:
            assert_close(g.numpy(), e.numpy(), reduction_length=8 * case.reduction, what=str(case))
        else:
            assert all(t is None or not t.numpy().any() for t in (g, e))


@pytest.mark.parametrize("case", [c for c in SMALL if c.differentiable], ids=str)
def test_fused_equals_composite(case):
    fused = run(case, tg.float64)
    composite = run(case, tg.float64, create_graph=True)
    for i, (a, e) in enumerate(zip(fused, composite, strict=True)):
        assert_close(a, e, reduction_length=8 * case.reduction, what=f"{case} result {i}")


def test_names_are_unique():
    names = [str(c) for c in CASES]
    assert len(set(names)) == len(names), {n for n in names if names.count(n) > 1}


def test_every_rule_has_a_name():
    assert all(rule.name == name for name, rule in rules.RULES.items())
