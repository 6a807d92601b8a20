"""Reductions, scans and moments under every instruction set, against the reference."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from tilegrad import _cpu as cpu
from tilegrad import errors
from tilegrad.kernels import contract
from tilegrad.kernels import reference as ref

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(c) for c in "efd"] + [BFLOAT16]
DTYPES = FLOATS + [np.dtype(c) for c in "?bBhHiIqQ"]
# short and long rows, narrow and wide columns, cut sequences, empty axes
SHAPES = [
    (), (1,), (0,), (17,), (150001,), (3, 0, 2), (3, 5), (7, 300), (300, 7), (70000, 3),
    (129, 1025), (4, 6, 5, 7), (2, 64, 9, 9), (2, 3, 4, 5, 6),
]  # fmt: skip
SUM, PROD, MAX, MIN, ANY, ALL = range(6)
rng = np.random.default_rng(3)


@pytest.fixture(params=cpu.isas(), autouse=True)
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


def views(a):
    """Memory orders and strides: plain, transposed, gapped and backwards, broadcast."""
    yield a
    if a.ndim > 1:
        yield a.T
        yield a[::-1, ::2]
        yield np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
    yield np.broadcast_to(a[..., None], (*a.shape, 3))


def small(shape, dtype):
    """Whole numbers, whose sums are exact in every dtype; mostly ones, so that products are."""
    a = rng.integers(0 if dtype.kind == "u" else -1, 2, shape)
    return np.asarray(a > 0 if dtype.kind == "b" else a).astype(dtype)


def axis_sets(ndim):
    sets = [c for r in range(ndim + 1) for c in itertools.combinations(range(ndim), r)]
    return sets if len(sets) <= 8 else [sets[i] for i in rng.choice(len(sets), 8, replace=False)]


def same(a, b):
    assert isinstance(a, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reduce(dtype):
    for shape in SHAPES:
        base = small(shape, dtype)
        if base.size > 1500 and dtype.itemsize < 4:
            continue
        for x in views(base):
            for axes, op in itertools.product(axis_sets(x.ndim), range(6)):
                keepdims = bool(rng.integers(2))
                if op in (MAX, MIN) and any(x.shape[a] == 0 for a in axes):
                    with pytest.raises(errors.ValueError, match="cannot reduce over an empty axis"):
                        cpu.reduce(op, x, axes, keepdims)
                    continue
                v = np.ones_like(x) if op == ALL and keepdims else x
                same(cpu.reduce(op, v, axes, keepdims), ref.reduce(op, v, axes, keepdims))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_arg_reduce_and_cumulative(dtype):
    for shape in SHAPES[1:]:
        base = small(shape, dtype)
        if base.size > 1500 and dtype.itemsize < 4:
            continue
        for x in views(base):
            for axis, op in itertools.product(range(x.ndim), range(2)):
                v = x if op == 0 else np.abs(x) if dtype.kind in "fi" else x
                same(cpu.cumulative(op, v, axis), ref.cumulative(op, v, axis))
                if x.shape[axis] == 0:
                    with pytest.raises(errors.ValueError, match=contract.ARG_REDUCE[op]):
                        cpu.arg_reduce(op, x, axis, False)
                else:
                    same(cpu.arg_reduce(op, x, axis, True), ref.arg_reduce(op, x, axis, True))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nan_is_the_extreme(dtype):
    for shape in ((5,), (3000,), (100, 40), (40, 100)):
        x = rng.standard_normal(shape).astype(dtype)
        x.flat[rng.integers(x.size, size=2)] = np.nan
        for axis, op in itertools.product(range(x.ndim), range(2)):
            a, b = cpu.reduce(MAX + op, x, (axis,), False), ref.reduce(MAX + op, x, (axis,), False)
            np.testing.assert_array_equal(a.astype("f"), b.astype("f"))
            same(cpu.arg_reduce(op, x, axis, False), ref.arg_reduce(op, x, axis, False))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_moments(dtype):
    limit = {2: 1e-2, 4: 1e-6, 8: 4e-14}[dtype.itemsize]
    for shape in SHAPES[1:]:
        for x in views(rng.standard_normal(shape).astype(dtype)):
            for axes in axis_sets(x.ndim):
                for a, b in zip(cpu.moments(x, axes), ref.moments(x, axes), strict=True):
                    assert a.dtype == dtype and a.shape == b.shape
                    np.testing.assert_allclose(a.astype("d"), b.astype("d"), limit, limit)


def test_moments_far_from_zero():
    x = rng.standard_normal((64, 40, 50)).astype("f") + np.float32(10000)
    for axes in ((0, 1, 2), (1, 2), (0, 1)):
        mean, var = cpu.moments(x, axes)
        exact = x.astype("d")
        np.testing.assert_allclose(mean, exact.mean(axes, keepdims=True), 2e-7)
        np.testing.assert_allclose(var, exact.var(axes, keepdims=True), 2e-4)


def test_long_sums_keep_their_digits():
    x = rng.random(10**6).astype("f")
    for v, axis in ((x, 0), (x.reshape(-1, 4), 0), (x[::-1], 0)):
        exact = v.astype("d").sum(axis)
        np.testing.assert_allclose(cpu.reduce(SUM, v, (axis,), False), exact, 3e-7)


def test_truth_of_denormals_and_nan():
    x = np.array([1e-42, np.nan], "f")
    assert cpu.reduce(ALL, x, (0,), False) and cpu.reduce(ANY, x[:1], (0,), False)
    assert cpu.reduce(MAX, x[:1], (0,), False) > 0
    assert not cpu.reduce(ANY, np.array([0.0, -0.0]), (0,), False)


def test_threads_do_not_change_bits():
    before, x = cpu.num_threads(), rng.standard_normal((37, 1000, 41)).astype("f")
    for axes in axis_sets(3)[1:]:
        bits = set()
        for threads in (1, 2, 3, 7):
            cpu.set_num_threads(threads)
            m = cpu.moments(x, axes)
            bits.add(cpu.reduce(SUM, x, axes, False).tobytes() + m[0].tobytes() + m[1].tobytes())
        assert len(bits) == 1
    cpu.set_num_threads(before)


def test_refuses():
    x = np.zeros((2, 3), "f")
    for call, error, words in (
        (lambda: cpu.reduce(0, x, (2,), False), errors.IndexError, "sum: axis 2"),
        (lambda: cpu.reduce(0, x, (-1,), False), errors.IndexError, "sum: axis -1"),
        (lambda: cpu.reduce(0, x, (1, 1), False), errors.ValueError, "sum: axis 1 appears twice"),
        (lambda: cpu.reduce(0, x, (2**63,), False), errors.ValueError, "must fit 64 bits"),
        (lambda: cpu.reduce(0, x, (0.5,), False), errors.DTypeError, "must be an integer"),
        (lambda: cpu.reduce(6, x, (0,), False), errors.ValueError, "op must be"),
        (lambda: cpu.arg_reduce(0, x, 2**70, False), errors.ValueError, "argmax: axis"),
        (lambda: cpu.cumulative(1, x, 2), errors.IndexError, "cumprod: axis 2"),
        (lambda: cpu.moments(x.astype(int), (0,)), errors.DTypeError, "moments: x must be float"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_names():
    assert tuple(cpu.reduce_ops()) == tuple(contract.REDUCE)
    assert tuple(cpu.arg_reduce_ops()) == tuple(contract.ARG_REDUCE)
    assert tuple(cpu.cumulative_ops()) == tuple(contract.CUMULATIVE)
