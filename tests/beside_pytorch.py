"""One call in tilegrad and in PyTorch, and whether the two agree: for the tests that run where
PyTorch is installed."""

import sys
import tomllib
import types
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
    return x.numpy(force=True)  # a gradient of nothing but zeros has no memory


def outputs(y):
    return list(y) if isinstance(y, (tuple, list)) else [y]


def compare(mine, theirs, what, terms=64, shortest=None, least=0.0):
    """Within the tolerance of sums of that many terms; least where PyTorch itself rounds more."""
    mine, theirs = outputs(mine), outputs(theirs)
    assert len(mine) == len(theirs), what
    for a, b in zip(mine, theirs, strict=True):
        assert isinstance(a, tg.Tensor) == isinstance(b, torch.Tensor), what
        if isinstance(a, tg.Tensor):
            assert a.requires_grad == b.requires_grad, f"{what}: requires_grad"
            b = array(b)
            # A gradient may have passed a shorter dtype.
            short = max(least, tol(shortest or b.dtype, terms))
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


def beside(what, mine, theirs, pairs=(), grad=True, terms=64, least=0.0):
    """Calls mine and theirs on the two halves of the pairs. False where PyTorch raises."""
    try:
        expected = theirs(*(b for _, b in pairs))
    except Exception:
        return False
    compare(mine(*(a for a, _ in pairs)), expected, what, terms, least=least)
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
    actual, expected = zip(*kept, strict=True) if kept else ((), ())
    compare(actual, expected, f"{what} gradient", 4 * terms, shortest, least)
    return True


# --- the rows of the case tables, with PyTorch for tilegrad ---------------------------------------
class Array(np.ndarray):
    """A constant of a row, which becomes a tensor where it is given a dtype of PyTorch."""

    def astype(self, dtype):
        if isinstance(dtype, torch.dtype):
            return torch.from_numpy(np.array(self)).to(dtype)
        return super().astype(dtype)


class Library:
    """A module with PyTorch's functions in place, or NumPy, whose arrays are such constants."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        found = getattr(self.module, name)
        if self.module is not np or not callable(found) or isinstance(found, type):
            return theirs_of(found)
        return lambda *args, **options: theirs_of(found(*args, **options))


def counterpart(name):
    for space in (torch.nn.functional, torch):
        if hasattr(space, name):
            return getattr(space, name)
    return None


def theirs_of(v):
    """What PyTorch has for a value, function or module that the code of a row names."""
    if v is tg:
        return torch
    if isinstance(v, types.ModuleType) and (v is np or v.__name__.startswith("tilegrad.")):
        return Library(v)
    if isinstance(v, np.ndarray):
        return v.view(Array)
    if not isinstance(v, types.FunctionType):
        return v
    home = v.__module__ or "tilegrad.cases"  # None for an expression that a table evaluates
    if home.startswith("tilegrad.cases"):
        return with_torch(v)
    if not home.startswith("tilegrad"):
        return v
    fn = counterpart(v.__name__)

    def tensors(x):
        return torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x

    def call(*args, **options):
        return fn(*map(tensors, args), **{k: tensors(x) for k, x in options.items()})

    return call if fn else v


def with_torch(fn):
    """The same code with PyTorch's for what is tilegrad's: global, closed over or a default."""
    names = {k: theirs_of(v) for k, v in fn.__globals__.items()
             if k in fn.__code__.co_names and v is not fn}  # fmt: skip
    cells = tuple(types.CellType(theirs_of(c.cell_contents)) for c in fn.__closure__ or ())
    defaults = tuple(map(theirs_of, fn.__defaults__ or ()))
    made = types.FunctionType(
        fn.__code__, {**fn.__globals__, **names}, fn.__name__, defaults or None, cells or None
    )
    made.__kwdefaults__ = {k: theirs_of(v) for k, v in (fn.__kwdefaults__ or {}).items()}
    return made


def pytorch_of(case, monkeypatch):
    """The function of a row of the case tables in PyTorch."""
    if case.call is None:
        params = dict(case.params)  # PyTorch has no such name, only the place
        places = [params.pop(k) for k in ("indices_or_sections",) if k in params]
        return lambda *xs: counterpart(case.op)(*xs, *places, **params)

    def call(*xs):
        with monkeypatch.context() as m:  # imports inside a row find PyTorch
            m.setitem(sys.modules, "tilegrad", torch)
            m.setitem(sys.modules, "tilegrad.nn", torch.nn)
            return theirs_of(case.call)(*xs, **case.params)

    return call
