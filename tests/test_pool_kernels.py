"""Pooling kernels under every instruction set, against the reference: random geometry, layouts."""

import ml_dtypes
import numpy as np
import pytest

from tilegrad import _cpu as cpu
from tilegrad import errors
from tilegrad.kernels import reference as ref

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(c) for c in "fde"] + [BFLOAT16]
DTYPES = FLOATS + [np.dtype(c) for c in "?bBhHiIqQ"]


@pytest.fixture(params=cpu.isas(), autouse=True)
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


def laid_out(rng, a):
    """a in one of the memory orders and strides a caller may bring."""
    kind = rng.integers(6)
    if kind == 0:
        return np.asfortranarray(a)
    if kind == 1:
        big = np.zeros([2 * n for n in a.shape], a.dtype)
        view = big[tuple(slice(None, None, 2) for _ in a.shape)]
        view[...] = a
        return view
    if kind == 2:
        return a[..., ::-1].copy()[..., ::-1]
    if kind in (3, 4):
        last = np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)
        return last if kind == 3 else last[::-1]
    return a


def geometry(rng):
    """(spatial, kernel, stride, padding, dilation): mostly small, sometimes wide or degenerate."""
    rank = int(rng.integers(1, 4))
    high = ([70, 24, 9] if rng.random() < 0.8 else [600, 40, 14])[rank - 1]
    spatial = rng.integers(0 if rng.random() < 0.05 else 1, high, rank)
    kernel = rng.integers(1, 5 if rng.random() < 0.8 else 18, rank)
    stride = kernel if rng.random() < 0.2 else rng.integers(1, 4, rank)
    dilation = rng.integers(1, 4, rank) if rng.random() < 0.3 else np.ones(rank, int)
    pads = [int(rng.integers(0, k // 2 + 1)) for k in kernel]
    sizes = [tuple(int(v) for v in t) for t in (spatial, kernel, stride)]
    return (*sizes, tuple((p, p) for p in pads), tuple(int(v) for v in dilation))


def whole(rng, shape, dtype):
    x = rng.integers(-8, 9, shape)
    return x > 0 if dtype.kind == "b" else x.astype(dtype)


def both(name, *args):
    """What the two modules return, or None where both refuse."""
    results = []
    for module in (cpu, ref):
        try:
            results.append(getattr(module, name)(*args))
        except ValueError as e:
            results.append(e)
    refused = [isinstance(r, Exception) for r in results]
    assert refused[0] == refused[1], (name, args[1:], results)
    return None if refused[0] else results


def agree(results, tolerance=0.0):
    if results is None:
        return
    a, b = results
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_allclose(a.astype("d"), b.astype("d"), tolerance, tolerance)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_max(dtype):
    rng = np.random.default_rng(1)
    for _ in range(60):
        spatial, *window = geometry(rng)
        outside = (int(rng.integers(0, 4)), int(rng.choice([1, 3, 5, 16, 40])))
        x = whole(rng, outside + spatial, dtype)
        if dtype in FLOATS and x.size and rng.random() < 0.4:
            x.flat[rng.integers(x.size)] = rng.choice([np.nan, -np.inf])
        x = laid_out(rng, x)
        results = both("max_pool", x, *window, bool(rng.integers(2)))
        if results is None:
            continue
        (y, indices), (want, places) = results
        agree((y, want))
        agree((indices, places))
        places = laid_out(rng, places.astype(rng.choice([np.uint16, np.int32, np.int64])))
        agree(both("max_pool_gather", x, places))
        if dtype in FLOATS:
            agree(both("max_pool_grad", laid_out(rng, whole(rng, y.shape, dtype)), places, spatial))
        size = tuple(int(v) for v in rng.integers(1, 9, len(spatial)))
        results = both("adaptive_max_pool", x, size)
        for pair in zip(*results, strict=True) if results else ():
            agree(pair)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_average(dtype):
    rng = np.random.default_rng(2)
    limit = {2: 2e-2 if dtype == BFLOAT16 else 2e-3, 4: 2e-6, 8: 1e-13}[dtype.itemsize]
    for _ in range(100):
        spatial, *window, _ = geometry(rng)
        outside = (int(rng.integers(0, 4)), int(rng.choice([1, 3, 5, 16, 40])))
        x = laid_out(rng, whole(rng, outside + spatial, dtype))
        rule = (*window, bool(rng.integers(2)), bool(rng.integers(2)), int(rng.choice([0, 3, -2])))
        results = both("avg_pool", x, *rule)
        agree(results, limit)
        if results is not None:
            g = laid_out(rng, whole(rng, results[1].shape, dtype))
            agree(both("avg_pool_grad", g, spatial, *rule), limit)
        size = tuple(int(v) for v in rng.integers(1, 12, len(spatial)))
        results = both("adaptive_avg_pool", x, size)
        agree(results, limit)
        if results is not None:
            g = laid_out(rng, whole(rng, results[1].shape, dtype))
            agree(both("adaptive_avg_pool_grad", g, spatial), limit)


def test_memory_order_is_kept():
    rng = np.random.default_rng(3)
    x = np.moveaxis(rng.standard_normal((2, 8, 8, 5)).astype("f"), -1, 1)
    none, two = ((0, 0),) * 2, (2, 2)
    y, indices = cpu.max_pool(x, two, two, none, (1, 1), False)
    g = cpu.max_pool_grad(y, indices, (8, 8))
    for a in (y, indices, g, cpu.avg_pool(x, two, two, none, False, True, 0)):
        assert a.strides[1] == a.itemsize


@pytest.mark.parametrize("layout", ["planes", "channels_last"])
@pytest.mark.parametrize("width, narrow", [(256, np.uint16), (257, np.int32)])
def test_places_take_no_more_room_than_they_need(width, narrow, layout):
    """256 x 256 positions are the most that 16 bits count; a maximum lies at the last one."""
    x = np.random.default_rng(5).standard_normal((2, 3, 256, width)).astype("f")
    x[0, 1, -1, -1] = 9.0
    if layout == "channels_last":
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    spatial = x.shape[2:]
    for window in (((2, 2), (2, 1), ((0, 0), (0, 0))), ((3, 3), (2, 2), ((1, 1), (1, 1)))):
        y, places = cpu.max_pool(x, *window, (1, 1), False)
        for pair in zip((y, places), ref.max_pool(x, *window, (1, 1), False), strict=True):
            agree(pair)
        assert places.dtype == narrow and places.max() == 256 * width - 1
        agree((cpu.max_pool_gather(x, places), y))
        agree(both("max_pool_grad", y, places, spatial))
    assert cpu.adaptive_max_pool(x, (2, 2))[1].dtype == narrow
    with pytest.raises(errors.DTypeError, match="must be uint16, int32 or int64, got int16"):
        cpu.max_pool_gather(x, places.astype(np.int16))


def test_threads_do_not_change_bits():
    rng, before = np.random.default_rng(4), cpu.num_threads()
    x, pads = rng.standard_normal((3, 7, 33, 41)).astype("f"), ((1, 1), (1, 1))
    bits = set()
    for threads in (1, 2, 3, 5):
        cpu.set_num_threads(threads)
        y, indices = cpu.max_pool(x, (3, 3), (2, 2), pads, (1, 1), False)
        a = cpu.avg_pool(x, (3, 3), (2, 2), pads, False, False, 0)
        b = cpu.avg_pool_grad(a, (33, 41), (3, 3), (2, 2), pads, False, False, 0)
        c = cpu.max_pool_grad(y, indices, (33, 41))
        bits.add(b"".join(v.tobytes() for v in (y, indices, a, b, c)))
    cpu.set_num_threads(before)
    assert len(bits) == 1


def test_a_window_larger_than_memory():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    window = ((2**60, 2), (1, 2), ((2**59, 2**59), (0, 0)))
    y, indices = cpu.max_pool(x, *window, (1, 1), False)
    assert y.shape == (1, 1, 5, 2) and (y == [13, 15]).all() and (indices == y).all()
    share = cpu.avg_pool(x, *window, False, False, 0)
    assert (share == x.reshape(4, 2, 2).mean((0, 2))).all()


def test_a_lone_tap_ignores_its_dilation():
    x = np.arange(8.0).reshape(1, 1, 2, 4)
    plain = ((1, 1), (1, 1), ((0, 0), (0, 0)))
    for expected, actual in zip(
        cpu.max_pool(x, *plain, (1, 1), False), cpu.max_pool(x, *plain, (2**62, 2**62), False),
        strict=True,
    ):  # fmt: skip
        assert (actual == expected).all()


def test_refuses():
    x, one, two, none = np.zeros((1, 1, 4, 4), "f"), (1, 1), (2, 2), ((0, 0), (0, 0))
    index = np.zeros((1, 1, 2, 2), np.int64)

    def max_pool(x=x, kernel=two, stride=two, padding=none, dilation=one, ceil_mode=False):
        return cpu.max_pool(x, kernel, stride, padding, dilation, ceil_mode)

    huge = 2**63 - 1
    for call, error, words in (
        (lambda: max_pool(padding=((3, 3), (3, 3))), errors.ValueError,
         r"max_pool2d: padding \(3, 3\) must be at most half of kernel \(2, 2\)"),
        (lambda: max_pool(kernel=(5, 5)), errors.ShapeError, "is larger than the input"),
        (lambda: max_pool(kernel=(huge, 2)), errors.ShapeError, "is larger than the input"),
        (lambda: max_pool(kernel=(huge, 2), padding=((huge // 2, huge // 2), (0, 0))),
         errors.ValueError, "are too large"),
        (lambda: max_pool(kernel=(huge, 2), dilation=(huge, 1)), errors.ShapeError, "larger"),
        (lambda: max_pool(stride=(0, 1)), errors.ValueError, "stride must be at least 1"),
        (lambda: max_pool(stride=(2**64, 1)), errors.ValueError, "must fit 64 bits"),
        (lambda: max_pool(kernel=(0, 1)), errors.ValueError, "kernel must be at least 1"),
        (lambda: max_pool(kernel=(2,)), errors.ShapeError, "one entry for each"),
        (lambda: max_pool(padding=((1, 0, 0), (0, 0))), errors.ShapeError, "pairs"),
        (lambda: max_pool(padding=((-1, 0), (0, 0))), errors.ValueError, "padding must be"),
        (lambda: max_pool(x=np.zeros((1, 4), "f")), errors.ShapeError, "1 to 3 spatial axes"),
        (lambda: max_pool(x=np.zeros((1, 1, 0, 4), "f"), padding=((1, 1), (0, 0))),
         errors.ValueError, "nothing but padding"),
        (lambda: cpu.max_pool_grad(x, index, (4, 4)), errors.ShapeError, "one shape"),
        (lambda: cpu.max_pool_grad(x[..., :2, :2], index + 16, (4, 4)), errors.IndexError,
         "index 16 is outside"),
        (lambda: cpu.max_pool_gather(x, index - 1), errors.IndexError, "index -1 is outside"),
        (lambda: cpu.avg_pool_grad(x, (4, 4), two, two, none, False, True, 0),
         errors.ShapeError, "must have the spatial shape"),
        (lambda: cpu.avg_pool(x.astype(int), two, two, none, False, True, 0),
         errors.DTypeError, "must be floating"),
        (lambda: cpu.adaptive_avg_pool(x, (-1, 2)), errors.ValueError, "at least 0"),
        (lambda: cpu.adaptive_avg_pool(x, (2**62, 2**62)), errors.MemoryError, "overflows"),
        (lambda: cpu.adaptive_max_pool(x[:, :, :0], (1, 1)), errors.ShapeError, "cannot pool"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            call()
