"""The optimizer steps against the reference, bit for bit, and what they refuse."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from exact import rng

from tilegrad import _cpu as cpu
from tilegrad import errors
from tilegrad.kernels import reference as ref

FLOATS = [np.dtype(c) for c in "efd"] + [np.dtype(ml_dtypes.bfloat16)]
SHAPES = [(7, 45), (), (0, 3), (1,), (33,), (2, 3, 4, 5)]

KERNELS = {
    "sgd": ("sgd_step", 1, (0.1, 0.9, 0.2, False, False)),
    "sgd first": ("sgd_step", 1, (0.1, 0.9, 0.2, False, True)),
    "sgd nesterov": ("sgd_step", 1, (0.1, 0.9, 0.0, True, False)),
    "sgd plain": ("sgd_step", -1, (0.1, 0.0, 0.0, False, True)),
    "adam": ("adam_step", 2, (0.1, 0.9, 0.999, 1e-8, 1)),
    "adam late": ("adam_step", 2, (0.1, 0.9, 0.999, 1e-8, 100)),
    "amsgrad": ("adam_step", 3, (0.1, 0.9, 0.999, 1e-8, 3)),
    "rmsprop": ("rmsprop_step", 1, (0.1, 0.99, 1e-8, 0.0)),
    "rmsprop centered": ("rmsprop_step", 2, (0.1, 0.5, 1e-8, 0.0)),
    "rmsprop momentum": ("rmsprop_step", (1, 0, 1), (0.1, 0.99, 1e-8, 0.9)),
    "rmsprop both": ("rmsprop_step", 3, (0.1, 0.5, 1e-8, 0.9)),
    "adagrad": ("adagrad_step", 1, (0.1, 0.01, 1e-10, 5)),
    "adadelta": ("adadelta_step", 2, (1.0, 0.9, 1e-6)),
    "adamax": ("adamax_step", 2, (0.1, 0.9, 0.999, 1e-8, 2)),
    "nadam": ("nadam_step", 2, (0.1, 0.9, 0.999, 1e-8, 0.8, 0.81, 0.7, 2)),
    "radam": ("radam_step", 2, (0.1, 0.9, 0.999, 1e-8, 2)),
    "radam rectified": ("radam_step", 2, (0.1, 0.9, 0.999, 1e-8, 20)),
    "asgd": ("asgd_step", 1, (0.1, 0.01, 0.09, 1.0)),
    "asgd average": ("asgd_step", 1, (0.1, 0.01, 0.09, 0.25)),
    "rprop": ("rprop_step", 2, (0.1, 0.5, 1.2, 0.05, 1.0)),
    "lion": ("lion_step", 1, (0.1, 0.9, 0.99)),
}
"""Kernel, lists of state (how many of those it has, or which), numbers up to the common ones."""
LISTS = {"sgd_step": 1, "adam_step": 3, "rmsprop_step": 3}
TAIL = (0.0, False, False, 0.0)
TAILS = [TAIL, (0.3, False, True, 0.0), (0.3, True, False, 0.5)]


def layouts(a):
    """The same values in other memory."""
    wide = np.zeros([2 * n for n in a.shape], a.dtype)
    wide = wide[(*[slice(None, None, 2) for _ in a.shape], ...)]
    wide[...] = a
    flip = (*[slice(None, None, -1) for _ in a.shape], ...)
    return [a.copy(), a.T.copy().T, wide, a[flip].copy()[flip]]


def lists_of(name, dtype, shapes):
    """Parameters, gradients and states; states are not negative; None for absent lists."""
    kernel, states, _ = KERNELS[name]
    total = LISTS.get(kernel, states)
    present = states if isinstance(states, tuple) else (1,) * max(states, 0) + (0,) * total
    keep = [True, True, *present[:total]] if kernel in LISTS else [True, True] + [True] * states
    out = []
    for i, kept in enumerate(keep):
        a = [np.asarray(rng.standard_normal(s)).astype(dtype) for s in shapes]
        out.append([np.asarray(np.abs(x) if i > 1 else x) for x in a] if kept else None)
    return out


def same(a, b):
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    np.testing.assert_array_equal(a.astype("f8"), b.astype("f8"))


def stepped(module, name, lists, tail):
    getattr(module, KERNELS[name][0])(*lists, *KERNELS[name][2], *tail)


def copied(lists, layout=0):
    """Every list in another memory order than its neighbour, unless layout is 0."""
    return [
        x and [layouts(a)[(layout and layout + k + i) % 4] for i, a in enumerate(x)]
        for k, x in enumerate(lists)
    ]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_against_the_reference(name, dtype, isa):
    start = lists_of(name, dtype, SHAPES)
    start[0][4][:3] = start[1][4][2:5] = 0, -0.0, np.nan
    for tail, layout in itertools.product(TAILS, (0, 1)):
        found, expected = copied(start, layout), copied(start)
        for _ in range(2):
            stepped(cpu, name, found, tail)
            stepped(ref, name, expected, tail)
        for x, y in zip(found, expected, strict=True):
            for a, b in zip(x or [], y or [], strict=True):
                same(a, b)
        for a, b in zip(found[1], start[1], strict=True):
            same(a, b)


@pytest.mark.parametrize("name", ["sgd", "amsgrad", "rmsprop both"])
def test_any_number_of_threads_and_any_cut(name):
    """Of a list and of one array that holds all its elements."""
    shapes = [(40_001,), (3,), (300, 200), (5, 0), (70_000,)]
    start = lists_of(name, np.float32, shapes)
    before, rows = cpu.num_threads(), []
    try:
        for threads in (1, 2, 3):
            cpu.set_num_threads(threads)
            lists = copied(start)
            stepped(cpu, name, lists, TAIL)
            rows.append(lists)
        joined = [[np.concatenate([a.reshape(-1) for a in x])] for x in start]
        stepped(cpu, name, joined, TAIL)
    finally:
        cpu.set_num_threads(before)
    for lists in rows:
        for x, y in zip(lists, joined, strict=True):
            flat = np.concatenate([a.reshape(-1) for a in x])
            assert flat.tobytes() == y[0].tobytes()


def test_interleaved_arrays_and_gradients_that_are_parameters():
    both = np.arange(10, dtype=np.float64)
    cpu.sgd_step([both[::2], both[1::2]], [np.ones(5)] * 2, None, 1, 0, 0, False, True, *TAIL)
    assert both.tolist() == [i - 1.0 for i in range(10)]
    a = np.arange(5.0)
    cpu.sgd_step([a], [a], None, 0.5, 0, 0, False, True, *TAIL)
    assert a.tolist() == [0, 0.5, 1, 1.5, 2]
    cpu.sgd_step([], [], None, 0.5, 0, 0, False, True, *TAIL)


def x(dtype="f4", n=3):
    return np.ones(n, dtype)


X = x()
FROZEN = x()
FROZEN.flags.writeable = False
SGD = (0.1, 0.9, 0, False, True, *TAIL)
ADAM = (0.1, 0.9, 0.999, 1e-8)
REFUSED = [
    (errors.DTypeError, r"params must be a list of arrays, got numpy", (X, [x()], None)),
    (errors.DTypeError, r"grads must be a list of arrays, got None", ([x()], None, None)),
    (errors.DTypeError, r"grads\[0\] must be a numpy.ndarray, got int", ([x()], [3], None)),
    (errors.ValueError, r"grads has 2 arrays, but params has 1", ([x()], [x(), x()], None)),
    (errors.DTypeError, r"params\[0\] must be floating, got int32", ([x("i4")], [x("i4")], None)),
    (errors.DTypeError, r"grads\[0\] has dtype float64, but params\[0\] has float32",
     ([x()], [x("f8")], None)),
    (errors.DTypeError, r"params\[1\] has dtype float64", ([x(), x("f8")], [x(), x("f8")], None)),
    (errors.ShapeError, r"momentum_buffers\[1\] has shape \(2,\), but params\[1\] has \(3,\)",
     ([x(), x()], [x(), x()], [x(), x(n=2)])),
    (errors.ValueError, r"params\[1\] is read-only", ([X, FROZEN], [x(), x()], None)),
    (errors.ValueError, r"params\[0\] and params\[1\] share memory", ([X, X], [x(), x()], None)),
    (errors.ValueError, r"grads\[0\] and momentum_buffers\[0\] share memory",
     ([x()], [X], [X[::-1]])),
    (errors.ValueError, r"params\[0\] and grads\[1\] share memory",
     ([X, x()], [x(), X], None)),
    (errors.ValueError, r"params\[0\] has elements that share memory",
     ([np.lib.stride_tricks.as_strided(X, (2, 2), (4, 4))], [np.ones((2, 2), "f4")], None)),
]  # fmt: skip


@pytest.mark.parametrize("error, message, lists", REFUSED)
def test_refusals_change_nothing(error, message, lists):
    with pytest.raises(error, match=f"sgd_step: {message}"):
        cpu.sgd_step(*lists, *SGD)
    for a in [a for arrays in lists if isinstance(arrays, list) for a in arrays]:
        assert isinstance(a, int) or (a == 1).all()


@pytest.mark.parametrize("name", ["adam", "adagrad", "adamax", "nadam", "radam"])
def test_steps_begin_at_one(name):
    lists = lists_of(name, np.float32, [(3,)])
    kernel, _, numbers = KERNELS[name]
    for module in (cpu, ref):
        with pytest.raises(errors.ValueError, match=f"{kernel}: expected step >= 1, got 0"):
            getattr(module, kernel)(*lists, *numbers[:-1], 0, *TAIL)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_total_norm(dtype, isa):
    arrays = [np.asarray(rng.standard_normal(s)).astype(dtype) for s in [*SHAPES, (40_001,)]]
    for x in (arrays, [layouts(a)[i % 4] for i, a in enumerate(arrays)], [], [arrays[2]]):
        for power in (2.0, np.inf):
            found, expected = cpu.total_norm(x, power), ref.total_norm(x, power)
            assert found.shape == () and found.dtype == np.float64
            np.testing.assert_allclose(found, expected, rtol=1e-13)
    for bad in (np.nan, -np.inf):
        arrays[3][0] = bad
        for power in (2.0, np.inf):
            np.testing.assert_equal(cpu.total_norm(arrays, power), abs(np.float64(bad)))
    with pytest.raises(errors.ValueError, match="total_norm: power must be 2 or inf, got 1"):
        cpu.total_norm(arrays, 1.0)


def test_a_norm_has_the_same_bits_for_any_number_of_threads():
    arrays = [rng.standard_normal(n).astype("f4") for n in (100_001, 7, 40_000)]
    before, found = cpu.num_threads(), set()
    try:
        for threads in (1, 2, 3):
            cpu.set_num_threads(threads)
            found.add(cpu.total_norm(arrays, 2.0).tobytes())
    finally:
        cpu.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_scale_all(dtype):
    start = [np.asarray(rng.standard_normal(s)).astype(dtype) for s in SHAPES]
    found = [layouts(a)[i % 4] for i, a in enumerate(start)]
    expected = [a.copy() for a in start]
    for k, arrays in ((cpu, found), (ref, expected)):
        k.scale_all(arrays, np.array(3.0), 0.9)
    for a, b in zip(found, expected, strict=True):
        same(a, b)
