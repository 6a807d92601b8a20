"""matmul and linear under every instruction set: small integers, so that no bit may differ."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from exact import rng

from tilegrad import _cpu as cpu
from tilegrad import errors
from tilegrad.kernels import reference as ref

FLOATS = [np.dtype(c) for c in "efd"] + [np.dtype(ml_dtypes.bfloat16)]
INTEGERS = [np.dtype(c) for c in "bBhHiIqQ"]
# m, n, k: empty, dot products, full and partial tiles, several blocks of k
SIZES = [
    (0, 3, 2), (3, 0, 2), (3, 2, 0), (1, 1, 1), (1, 5, 7), (5, 1, 7), (3, 70, 9), (70, 3, 9),
    (14, 32, 256), (15, 33, 257), (29, 65, 600), (2, 130, 300), (130, 1, 513), (360, 40, 20),
    (2, 53, 520), (5, 24, 20), (20, 18, 1030),
]  # fmt: skip
BATCHES = [
    ((2, 3, 4, 5), (5, 6)), ((3, 4, 5), (2, 1, 5, 6)), ((7, 1, 5), (5, 6)), ((0, 4, 5), (5, 6)),
    ((2, 1, 4, 5), (1, 3, 5, 2)), ((4, 5), (3, 5, 2)), ((6, 1, 5), (6, 5, 3)),
]  # fmt: skip


@pytest.fixture(params=cpu.isas(), autouse=True)
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


def layouts(dtype, shape):
    """Row-major, column-major, and a gapped view that runs backwards."""
    x = rng.integers(0 if dtype.kind == "u" else -3, 4, shape).astype(dtype)
    gapped = np.zeros([2 * n + 1 for n in shape], dtype)[
        tuple(slice(1, 2 * n + 1, 2) for n in shape)
    ]
    gapped[...] = x[..., ::-1]
    return [x, np.ascontiguousarray(x.swapaxes(-1, -2)).swapaxes(-1, -2), gapped[..., ::-1]]


def same(a, b):
    assert isinstance(a, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", FLOATS + INTEGERS, ids=str)
def test_matmul(dtype):
    for m, n, k in SIZES:
        for a, b in itertools.product(layouts(dtype, (m, k)), layouts(dtype, (k, n))):
            same(cpu.matmul(a, b), ref.matmul(a, b))
    for shapes in BATCHES:
        for a, b in itertools.product(*(layouts(dtype, s) for s in shapes)):
            same(cpu.matmul(a, b), ref.matmul(a, b))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_linear(dtype):
    for m, n, k in SIZES:
        for x, w in itertools.product(layouts(dtype, (m, k)), layouts(dtype, (n, k))):
            bias = layouts(dtype, (2, n))[2][1]
            same(cpu.linear(x, w, bias), ref.linear(x, w, bias))
            same(cpu.linear(x, w, None), ref.linear(x, w, None))
    for shape in ((5,), (2, 3, 5), (4, 0, 5), (3, 1, 5)):
        x, w = rng.integers(-3, 4, shape).astype(dtype), layouts(dtype, (6, 5))[1]
        same(cpu.linear(x, w, w[:, 0]), ref.linear(x, w, w[:, 0]))


def test_integers_wrap():
    for dtype in INTEGERS:
        a = rng.integers(0, np.iinfo(dtype).max, (9, 30), dtype)
        same(cpu.matmul(a, a.T), ref.matmul(a, a.T))


def test_threads_do_not_change_bits():
    before = cpu.num_threads()
    shapes = ((300, 270, 200), (1, 40000, 300), (70, 2000, 31), (4, 900, 1100), (600, 1100, 530))
    for m, n, k in shapes:
        a, b = rng.standard_normal((m, k), "f"), rng.standard_normal((k, n), "f")
        results = []
        for threads in (1, 2, 5):
            cpu.set_num_threads(threads)
            results.append(
                (cpu.matmul(a, b), cpu.matmul(b.T, a.T), cpu.linear(a, b.T.copy(), b[0]))
            )
        cpu.set_num_threads(before)
        np.testing.assert_allclose(results[0][0], a.astype("d") @ b, rtol=0, atol=1e-3)
        for other in results[1:]:
            for x, y in zip(results[0], other, strict=True):
                assert x.tobytes() == y.tobytes()


def test_errors():
    f = np.zeros
    for call, kind, message in (
        (lambda: cpu.matmul(f((2, 3)), f((4, 5))), errors.ShapeError,
         "matmul: axis -1 of input (2, 3) has 3, but axis -2 of other (4, 5) has 4"),
        (lambda: cpu.matmul(f((2, 2, 3)), f((3, 3, 5))), errors.ShapeError,
         "matmul: batch axis -3 of input (2, 2, 3) and other (3, 3, 5) does not broadcast: 2 "
         "and 3"),
        (lambda: cpu.matmul(f(3), f((3, 5))), errors.ShapeError,
         "matmul: input and other must have at least 2 dimensions, got (3,) and (3, 5)"),
        (lambda: cpu.matmul(f((2, 3)), f((3, 5), "f")), errors.DTypeError,
         "matmul: other has dtype float32, but input has float64"),
        (lambda: cpu.matmul(f((2, 2), bool), f((2, 2), bool)), errors.DTypeError,
         "matmul: not defined for bool"),
        (lambda: cpu.linear(f((2, 3)), f((4, 2)), None), errors.ShapeError,
         "linear: weight (4, 2) expects 2 features, but axis -1 of input (2, 3) has 3; "
         "in_features=3 would fit"),
        (lambda: cpu.linear(f((2, 3)), f((4, 3)), f(3)), errors.ShapeError,
         "linear: bias must have shape (4,), got (3,)"),
        (lambda: cpu.linear(f((2, 3), int), f((4, 3), int), None), errors.DTypeError,
         "linear: input must be floating, got int64"),
        (lambda: cpu.matmul(*[np.broadcast_to(f((1, 1)), (2**40, 2)),
                              np.broadcast_to(f((1, 1)), (2, 2**40))]), errors.MemoryError,
         "matmul: output shape (1099511627776, 1099511627776) overflows 2^63 bytes"),
    ):  # fmt: skip
        with pytest.raises(kind) as caught:
            call()
        assert str(caught.value) == message
