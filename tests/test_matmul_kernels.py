"""matmul and linear under every instruction set: small integers, so that no bit may differ."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from exact import rng

from tilegrad import _cpu as cpu
from tilegrad import errors
from tilegrad.kernels import contract
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


def applies(impl, a, b):
    """What docs/kernels.md says of the ways."""
    m, n, item = a.shape[-2], b.shape[-1], a.dtype.itemsize
    if a.dtype not in ("f", "d"):
        return False
    rows = n == 1 or b.strides[-1] == item
    return {
        "naive": True, "rows": rows, "blocked": rows, "few_rows": rows and m <= 3,
        "dot": b.strides[-2] == item, "in_place": m == 1 or item in a.strides, "packed": True,
    }[impl]  # fmt: skip


@pytest.mark.parametrize("impl", contract.MATMUL)
def test_ways(impl):
    """Every way gives the bits of the reference or says why it cannot be taken."""
    taken = 0
    for dtype in FLOATS:
        for m, n, k in [s for s in SIZES if s[0] * s[1]] + [(30, 700, 300)]:
            for a, b in itertools.product(layouts(dtype, (m, k)), layouts(dtype, (k, n))):
                if applies(impl, a, b):
                    same(cpu.matmul(a, b, impl), ref.matmul(a, b))
                    taken += 1
                else:
                    with pytest.raises(errors.ValueError, match=f"{impl}' does not apply: it need"):
                        cpu.matmul(a, b, impl=impl)
    assert taken > 9
    for shapes in BATCHES:  # some are one product of more rows
        a, b = (layouts(np.dtype("f"), s)[0] for s in shapes)
        try:
            y = cpu.matmul(a, b, impl=impl)
        except errors.ValueError:
            assert impl in ("dot", "few_rows")
        else:
            same(y, ref.matmul(a, b))


def test_integers_wrap():
    for dtype in INTEGERS:
        a = rng.integers(0, np.iinfo(dtype).max, (9, 30), dtype)
        same(cpu.matmul(a, a.T), ref.matmul(a, a.T))


@pytest.mark.parametrize("dtype", [np.dtype(ml_dtypes.bfloat16), np.dtype("e")], ids=str)
def test_half_types_are_rounded_once(dtype):
    """Sums in float32, then one rounding: half a unit of the last place from what float64 sums."""
    half_unit = float(ml_dtypes.finfo(dtype).eps) / 2
    for m, n, k in ((1, 700, 512), (3, 600, 1000), (16, 70, 4096), (70, 90, 300), (300, 400, 513),
                    (5, 6, 7)):  # fmt: skip
        a, b = (rng.standard_normal(s).astype(dtype) for s in ((m, k), (k, n)))
        exact = a.astype("d") @ b.astype("d")
        turned = np.ascontiguousarray(b.T)
        for y in (cpu.matmul(a, b), cpu.matmul(b.T, a.T).T, cpu.linear(a, turned, None)):
            error = np.abs(y.astype("d") - exact)
            assert (error <= half_unit * np.abs(exact) + 5e-6 * np.abs(exact).max()).all()


def test_threads_do_not_change_bits():
    before = cpu.num_threads()
    shapes = (
        (300, 270, 200),
        (1, 40000, 300),
        (2, 900, 1300),
        (70, 2000, 31),
        (4, 900, 1100),
        (600, 1100, 530),
    )
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
        (lambda: cpu.matmul(f((2, 3)), f((3, 5)), impl="fast"), errors.ValueError,
         f"matmul: impl must be '' or one of {', '.join(contract.MATMUL)}; got 'fast'"),
        (lambda: cpu.matmul(f((5, 3)), f((3, 5)), impl="few_rows"), errors.ValueError,
         "matmul: impl='few_rows' does not apply: it needs at most 3 rows of input and "
         "contiguous rows of other"),
        (lambda: cpu.matmul(f((2, 3), int), f((3, 5), int), impl="naive"), errors.ValueError,
         "matmul: impl='naive' does not apply: it needs float32 or float64, got int64"),
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
