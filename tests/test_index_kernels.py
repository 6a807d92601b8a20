"""The indexing kernels against the reference: every dtype, any strides, bit for bit."""

import ml_dtypes
import numpy as np
import pytest
from exact import rng

from tilegrad import _cpu as cpu
from tilegrad import errors
from tilegrad.kernels import reference as ref

BF16 = np.dtype(ml_dtypes.bfloat16)
NUMBERS = [np.dtype(c) for c in "bBhHiIqQefd"] + [BF16]
ALL = [np.dtype(bool), *NUMBERS]


def array(dtype, *shape):
    """Small integers of any dtype: sums are exact even in bfloat16."""
    return rng.integers(-3, 4, shape).astype(dtype)


def layouts(x):
    """x in row-major, column-major, reversed and gapped memory."""
    every_other = (*(slice(None, None, 2) for _ in x.shape), ...)
    gapped = np.zeros([2 * n for n in x.shape], x.dtype)[every_other]
    gapped[...] = x
    backwards = np.ascontiguousarray(x[::-1])[::-1] if x.ndim else x
    return [x, np.array(x, order="F"), backwards, gapped]


def same(a, b):
    assert isinstance(a, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_gather_take(dtype):
    for x in layouts(array(dtype, 4, 5, 3)):
        for axis in range(3):
            shape = [4, 4, 2]
            shape[axis] = 6
            for index in layouts(rng.integers(-x.shape[axis], x.shape[axis], shape)):
                same(cpu.gather(x, index, axis), ref.gather(x, index, axis))
                same(cpu.take(x, index[0], axis), ref.take(x, index[0], axis))
            same(cpu.take(x, np.array(-1), axis), ref.take(x, np.array(-1), axis))


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_scatter_add_take_grad(dtype):
    for axis in range(3):
        shape = [4, 4, 2]
        shape[axis] = 6
        for index in layouts(rng.integers(-3, 3, shape)):
            for src in layouts(array(dtype, *shape)):
                args = (4, 5, 3), index, src, axis
                same(cpu.scatter_add(*args), ref.scatter_add(*args))
    for index in (np.array(2), rng.integers(-5, 5, 7), rng.integers(-5, 5, (2, 3))):
        for axis in range(2):
            shape = [3, 4]
            shape[axis:axis] = index.shape
            for g in layouts(array(dtype, *shape)):
                same(cpu.take_grad(g, index, axis, 5), ref.take_grad(g, index, axis, 5))


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_put(dtype):
    x = array(dtype, 4, 5)
    for accumulate in (False, True):
        if accumulate and dtype.kind == "b":
            continue
        for index in (rng.integers(-20, 20, (3, 7)), np.array(3), np.zeros((0,), np.int64)):
            for src in (*layouts(array(dtype, *index.shape)), array(dtype)):
                a, b = x.copy(), x.copy()
                cpu.put(a, index, src, accumulate)
                ref.put(b, index, src, accumulate)
                same(a, b)
    a = array(dtype, 6)
    b = a.copy()
    cpu.put(a, np.arange(5), a[1:], False)
    assert (a[:5] == b[1:]).all()


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_nonzero(dtype):
    for shape in ((), (7,), (3, 4, 5), (0, 3), (200, 333)):
        for x in layouts(array(dtype, *shape)):
            same(cpu.nonzero(x), ref.nonzero(x))
    same(cpu.nonzero(np.array([0.0, -0.0, np.nan])), np.array([[2]]))


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_concatenate_roll(dtype):
    for x in layouts(array(dtype, 4, 5, 3)):
        for axis in range(3):
            parts = [
                x,
                x[:, :, ::-1],
                np.zeros_like(x)[
                    tuple([slice(0, 0) if a == axis else slice(None) for a in range(3)])
                ],
            ]
            same(cpu.concatenate(parts, axis), ref.concatenate(parts, axis))
        for shifts, axes in (
            ((), ()),
            ((1,), (0,)),
            ((-7, 2, 1), (1, 2, 1)),
            ((5, -1, 2), (0, 1, 2)),
        ):
            same(cpu.roll(x, shifts, axes), ref.roll(x, shifts, axes))
    empty = array(dtype, 0, 3)
    same(cpu.roll(empty, (2,), (0,)), empty)


PADDINGS = [
    ((0, 0), (2, 1), (1, 0)),
    ((3, 3), (0, 0), (0, 2)),
    ((1, 2), (4, 3), (2, 2)),
    ((0, 0),) * 3,
]


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_pad(dtype, mode):
    for x in layouts(array(dtype, 4, 5, 3)):
        for widths in PADDINGS:
            y = cpu.pad(x, widths, mode, 1)
            same(y, ref.pad(x, widths, mode, 1))
            if dtype.kind == "f" or dtype == BF16:
                for g in layouts(y):
                    same(cpu.pad_grad(g, widths, mode), ref.pad_grad(g, widths, mode))
    single = array(dtype, 1)
    if mode != "reflect":
        same(cpu.pad(single, ((3, 2),), mode, 0), ref.pad(single, ((3, 2),), mode, 0))
    same(cpu.pad(array(dtype, 0, 2), ((0, 0), (1, 1)), mode, 0), array(dtype, 0, 4))


def test_large_and_threads():
    """Results are the same bits for any number of threads."""
    x, index = array(np.float32, 400, 300), rng.integers(0, 50, (400, 300))
    calls = [
        lambda: cpu.gather(x, index, 1),
        lambda: cpu.scatter_add((50, 300), index, x / 7, 0),
        lambda: cpu.scatter_add((400, 50), index, x / 7, 1),
        lambda: cpu.take_grad(x / 7, index[0], 1, 50),
        lambda: cpu.nonzero(x),
        lambda: cpu.pad(x, ((3, 9), (8, 1)), "reflect", 0),
        lambda: cpu.pad_grad(x / 7, ((3, 9), (8, 1)), "replicate"),
    ]
    before = cpu.num_threads()
    try:
        cpu.set_num_threads(1)
        once = [call() for call in calls]
        cpu.set_num_threads(3)
        for call, expected in zip(calls, once, strict=True):
            assert call().tobytes() == expected.tobytes()
    finally:
        cpu.set_num_threads(before)
    np.testing.assert_array_equal(once[0], ref.gather(x, index, 1))
    np.testing.assert_array_equal(once[1], ref.scatter_add((50, 300), index, x / 7, 0))
    np.testing.assert_array_equal(once[2], ref.scatter_add((400, 50), index, x / 7, 1))


def test_half_types_round_once():
    x = np.ones(1, BF16)
    cpu.put(x, np.zeros(4, np.int64), np.full(4, 2**-9, BF16), True)
    assert float(x[0]) == 1 + 2**-7
    src = np.array([1, *[2**-9] * 4], BF16)
    assert float(cpu.scatter_add((1,), np.zeros(5, np.int64), src, 0)[0]) == 1 + 2**-7


x2, i2 = np.zeros((3, 4), np.float32), np.zeros((3, 4), np.int64)
ERRORS = [
    (errors.IndexError, "gather: index 4 is out of range for size 4", "gather", (x2, i2 + 4, 1)),
    (errors.IndexError, "gather: index -5 is", "gather", (x2, i2 - 5, 1)),
    (errors.IndexError, "gather: axis 2", "gather", (x2, i2, 2)),
    (errors.ShapeError, r"gather: .*\(3, 4\) off axis 1, got \(4, 3\)", "gather", (x2, i2.T, 1)),
    (
        errors.DTypeError,
        "gather: index must be int64, got int32",
        "gather",
        (x2, i2.astype("i"), 1),
    ),
    (errors.ShapeError, "scatter_add", "scatter_add", ((3, 4), i2, x2[:1], 1)),
    (errors.ShapeError, "scatter_add: negative size -3", "scatter_add", ((4, -3), i2, x2, 1)),
    (errors.MemoryError, "scatter_add", "scatter_add", ((4, 2**62), i2, x2, 1)),
    (errors.DTypeError, "bool", "scatter_add", ((3, 4), i2, x2 > 0, 1)),
    (errors.IndexError, "take: index 3 .* size 3", "take", (x2, np.array([0, 3]), 0)),
    (errors.IndexError, "size 0", "take", (x2[:0], np.array([0]), 0)),
    (errors.ShapeError, "take_grad", "take_grad", (x2, np.array([0]), 0, 4)),
    (errors.ShapeError, "size >= 0", "take_grad", (x2, np.array([0, 0, 0]), 0, -1)),
    (errors.IndexError, "put: index 12", "put", (x2, np.array([0, 12]), x2[0, :1], False)),
    (errors.ValueError, "row major", "put", (x2.T, np.array([0]), x2[0, :1], False)),
    (errors.DTypeError, "put: src", "put", (x2, np.array([0]), np.array([0]), False)),
    (errors.ShapeError, "broadcast", "put", (x2, np.array([0]), x2[0], False)),
    (errors.ValueError, "at least one", "concatenate", ([], 0)),
    (errors.ShapeError, r"\(3, 4\), off axis 0, got \(4, 3\)", "concatenate", ([x2, x2.T], 0)),
    (errors.DTypeError, "concatenate", "concatenate", ([x2, i2], 0)),
    (errors.ValueError, "as many shifts", "roll", (x2, (1,), (0, 1))),
    (errors.IndexError, "roll: axis 5", "roll", (x2, (1,), (5,))),
    (errors.ValueError, "mode", "pad", (x2, ((0, 0), (0, 0)), "circular", 0)),
    (errors.ShapeError, "pairs", "pad", (x2, ((0, 0),), "constant", 0)),
    (errors.ShapeError, r"\(-1, 0\)", "pad", (x2, ((0, 0), (-1, 0)), "constant", 0)),
    (errors.ShapeError, "reflect", "pad", (x2, ((0, 0), (4, 0)), "reflect", 0)),
    (errors.ShapeError, "replicate", "pad", (x2[:0], ((1, 0), (0, 0)), "replicate", 0)),
    (errors.ShapeError, "not possible", "pad", (x2, ((2**63 - 1, 1), (0, 0)), "constant", 0)),
    (errors.MemoryError, "pad", "pad", (x2, ((2**62, 1), (0, 0)), "constant", 0)),
    (errors.ShapeError, "not possible", "pad_grad", (x2, ((2, 2), (0, 0)), "constant")),
]


@pytest.mark.parametrize("error, message, name, args", ERRORS)
def test_errors(error, message, name, args):
    with pytest.raises(error, match=message):
        getattr(cpu, name)(*args)
    assert not x2.any()


def test_put_writes_nothing_on_error_and_needs_writable():
    x = np.zeros(3)
    with pytest.raises(errors.IndexError):
        cpu.put(x, np.array([0, 1, 9]), np.ones(3), False)
    assert not x.any()
    x.flags.writeable = False
    with pytest.raises(errors.ValueError, match="read-only"):
        cpu.put(x, np.array([0]), np.ones(1), False)
