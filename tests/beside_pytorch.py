"""One call in tilegrad and in PyTorch, and whether the two agree: for the tests that run where
PyTorch is installed."""

import tomllib
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import tilegrad as tg
from tilegrad.testing import assert_close, tol

torch = pytest.importorskip("torch")

TABLE = tomllib.loads((Path(__file__).parent.parent / "docs" / "from_pytorch.toml").read_text())


def pair(values, dtype):
    """The same array as a tensor of tilegrad and of PyTorch."""
    t = torch.tensor(np.asarray(values)).to(getattr(torch, dtype))
    return tg.from_numpy(array(t).copy()), t


def array(x):
    """A tensor of either as a NumPy array; anything else as it is."""
    if isinstance(x, tg.Tensor):
        return x.numpy(force=True)
    if not isinstance(x, torch.Tensor):
        return x
    x = x.detach().contiguous()
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return x.numpy()


def outputs(y):
    return list(y) if isinstance(y, (tuple, list)) else [y]


def compare(mine, theirs, what, terms=64, shortest=None):
    mine, theirs = outputs(mine), outputs(theirs)
    assert len(mine) == len(theirs), what
    for a, b in zip(mine, theirs, strict=True):
        assert isinstance(a, tg.Tensor) == isinstance(b, torch.Tensor), what
        if isinstance(a, tg.Tensor):
            assert a.requires_grad == b.requires_grad, f"{what}: requires_grad"
            b = array(b)
            short = tol(shortest or b.dtype, terms)  # a gradient may have passed a shorter dtype
            finite = np.abs(b.astype(np.float64)[np.isfinite(b.astype(np.float64))])
            scale = float(np.max(finite, initial=1.0))
            assert_close(array(a), b, atol=short * scale, what=what)
        elif not isinstance(a, list):
            assert a == b, f"{what}: {a} is not {b}"


def gradients(space, f, xs):
    """Of one random cotangent per output."""
    leaves = [x for x in xs if x.requires_grad]
    outs = [y for y in outputs(f(*xs)) if getattr(y, "requires_grad", False)]
    rng = np.random.default_rng(1)
    us = [np.asarray(rng.uniform(-1.0, 1.0, tuple(y.shape))) for y in outs]
    us = [space.tensor(u, dtype=y.dtype) for u, y in zip(us, outs, strict=True)]
    return space.autograd.grad(outs, leaves, us, allow_unused=True) if outs else ()


def beside(what, mine, theirs, pairs=(), grad=True, terms=64):
    """Calls mine and theirs on the two halves of the pairs. False where PyTorch raises."""
    try:
        expected = theirs(*(b for _, b in pairs))
    except Exception:
        return False
    compare(mine(*(a for a, _ in pairs)), expected, what, terms)
    if not grad or not any(b.is_floating_point() for _, b in pairs):
        return True
    leaves = [
        (a.clone().requires_grad_(), b.clone().requires_grad_())
        if b.is_floating_point()
        else (a, b)
        for a, b in pairs
    ]
    try:
        expected = gradients(torch, theirs, [b for _, b in leaves])
    except Exception:
        return True
    actual = gradients(tg, mine, [a for a, _ in leaves])
    assert [g is None for g in actual] == [g is None for g in expected], f"{what}: gradients"
    kept = [(a, b) for a, b in zip(actual, expected, strict=True) if a is not None]
    dtypes = [a.dtype if a.requires_grad else tg.float32 for a, _ in leaves]
    shortest = min(dtypes, key=lambda d: d.itemsize)
    compare([a for a, _ in kept], [b for _, b in kept], f"{what} gradient", 4 * terms, shortest)
    return True
