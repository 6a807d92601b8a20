"""The random kernels against the reference; uniform streams bit for bit."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from exact import rng

from tilegrad import _cpu as cpu
from tilegrad import errors
from tilegrad.kernels import reference as ref

BF16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(c) for c in "efd"] + [BF16]
STREAMS = [(0, 0), (2**64 - 1, 2**32 - 2), (12345678901234567890, 2**64 - 3)]
SHAPES = [(), (1,), (0, 3), (5, 7), (63,), (64,), (9001,)]


def same(a, b):
    assert isinstance(a, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_streams(shape, stream, isa):
    for dtype in FLOATS:
        same(cpu.random_uniform(shape, dtype, *stream), ref.random_uniform(shape, dtype, *stream))
    for low, high in ((0, 10), (-(2**63), 2**63 - 1), (5, 6)):
        same(cpu.random_int(shape, low, high, *stream), ref.random_int(shape, low, high, *stream))
    x = np.asarray(rng.standard_normal(shape))
    for dtype, p in itertools.product(FLOATS, (0.0, 0.3, 1.0)):
        v = x.astype(dtype)
        same(cpu.dropout(v, p, *stream), ref.dropout(v, p, *stream))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_normal(dtype, isa):
    # float32: the angle and the logarithm are good to a few ulps of 1.
    atol = {"f": 1e-6, "d": 1e-14, "e": 4e-3}.get(dtype.char, 3e-2)
    for shape, stream in itertools.product(SHAPES, STREAMS):
        y = cpu.random_normal(shape, dtype, *stream)
        expected = ref.random_normal(shape, dtype, *stream)
        assert y.shape == expected.shape and y.dtype == dtype
        np.testing.assert_allclose(y.astype(float), expected.astype(float), rtol=0, atol=atol)


def test_normal_is_accurate_everywhere():
    y = cpu.random_normal((1_000_000,), np.dtype("f"), 5, 0).astype(float)
    expected = ref.random_normal((1_000_000,), np.dtype("f"), 5, 0).astype(float)
    assert np.abs(y - expected).max() < 1e-6 and np.isfinite(y).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_dropout_keeps_layout(dtype, isa):
    x = rng.standard_normal((6, 5, 4, 3)).astype(dtype)
    for v in (x.transpose(0, 3, 1, 2), x[::-1, :, ::2], x.T):
        y = cpu.dropout(v, 0.4, 3, 9)
        same(np.ascontiguousarray(y), np.ascontiguousarray(ref.dropout(v, 0.4, 3, 9)))
    assert cpu.dropout(x.transpose(0, 3, 1, 2), 0.4, 3, 9).transpose(0, 2, 3, 1).flags.c_contiguous


def test_every_instruction_set_draws_the_same_normals():
    before, drawn = cpu.isa(), []
    for isa in cpu.isas():
        cpu.set_isa(isa)
        drawn.append([cpu.random_normal((9001,), dtype, 5, 7) for dtype in FLOATS])
    cpu.set_isa(before)
    for other in drawn[1:]:
        for a, b in zip(drawn[0], other, strict=True):
            same(a, b)


def test_any_number_of_threads():
    before = cpu.num_threads()
    x = rng.standard_normal((300, 200)).astype(np.float32)
    calls = [
        lambda: cpu.random_uniform((60_001,), np.dtype("d"), 1, 2),
        lambda: cpu.random_normal((60_001,), np.dtype("f"), 1, 2),
        lambda: cpu.random_int((60_001,), -5, 1000, 1, 2),
        lambda: cpu.dropout(x.T, 0.5, 1, 2),
    ]
    try:
        cpu.set_num_threads(1)
        once = [call() for call in calls]
        cpu.set_num_threads(3)
        for call, expected in zip(calls, once, strict=True):
            same(call(), expected)
    finally:
        cpu.set_num_threads(before)


x1 = np.zeros(3, np.float32)
f4 = np.dtype("f")
ERRORS = [
    (errors.DTypeError, "floating", "random_uniform", ((2,), np.dtype("i"), 0, 0)),
    (errors.ShapeError, "negative size -2", "random_normal", ((3, -2), f4, 0, 0)),
    (errors.MemoryError, "overflows", "random_uniform", ((2**40, 2**40), f4, 0, 0)),
    (errors.ValueError, "low < high", "random_int", ((2,), 3, 3, 0, 0)),
    (errors.ValueError, r"\[0, 1\], got nan", "dropout", (x1, float("nan"), 0, 0)),
    (errors.ValueError, "got 1.5", "dropout", (x1, 1.5, 0, 0)),
    (errors.DTypeError, "floating", "dropout", (x1.astype(int), 0.5, 0, 0)),
]


@pytest.mark.parametrize("error, message, name, args", ERRORS)
def test_errors(error, message, name, args):
    with pytest.raises(error, match=message):
        getattr(cpu, name)(*args)
    assert not x1.any()
