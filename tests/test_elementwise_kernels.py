"""Element-wise kernels of the CPU against the NumPy reference, every op, dtype and layout."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from tilegrad import _cpu, errors
from tilegrad.kernels import contract, reference

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
INTEGERS = [np.dtype(t) for t in "u1 i1 u2 i2 u4 i4 u8 i8".split()]
HALVES = [np.dtype(np.float16), BFLOAT16]
FLOATS = [*HALVES, np.dtype(np.float32), np.dtype(np.float64)]
DTYPES = [np.dtype(bool), *INTEGERS, *FLOATS]
IDS = [d.name for d in DTYPES]

PARAMETERS = {
    "leaky_relu": (0.25, 0.0),
    "elu": (1.5, 0.0),
    "softplus": (2.0, 20.0),
    "clamp": (-0.75, 1.5),
}
EXACT = (
    "neg abs sign square reciprocal sqrt floor ceil trunc round relu leaky_relu clamp bitwise_not "
    "add sub mul div floor_divide remainder fmod maximum minimum copysign "
    "bitwise_and bitwise_or bitwise_xor left_shift right_shift"
).split()
ZERO_OF_EITHER_SIGN = "maximum minimum clamp".split()


def is_float(dtype):
    return dtype in FLOATS


def precision(dtype):
    return {2: 2**-7 if dtype == BFLOAT16 else 2**-10, 4: 2**-22, 8: 2**-51}[dtype.itemsize]


def values(dtype, n=301, seed=0):
    """n values of a dtype, the awkward ones among them; no denormals, which arithmetic flushes."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, n).astype(bool)
    if not is_float(dtype):
        info = np.iinfo(dtype)
        x = rng.integers(info.min, info.max, n, dtype, endpoint=True)
        x[::3] = rng.integers(0, 7, len(x[::3])).astype(dtype) - (3 if info.min < 0 else 0)
        x[:6] = [info.min, info.max, 0, 1, info.max - 1, info.min + 1]
        return rng.permutation(x)
    x = rng.standard_normal(n) * np.exp2(rng.integers(-6, 5, n))
    x[: n // 4] = rng.integers(-5, 6, n // 4) / 2
    x[-9:] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 30.0, -30.0]
    return rng.permutation(x).astype(dtype)


def same(got, want, name, dtype, precise=None):
    """Equal in value, dtype and sign of zero; floats of inexact ops within a few ulp."""
    assert got.dtype == want.dtype and got.shape == want.shape
    if not is_float(want.dtype):
        np.testing.assert_array_equal(got, want, name)
        return
    got, want = got.astype(np.float64), want.astype(np.float64)
    if name in EXACT if precise is None else precise:
        np.testing.assert_array_equal(got, want, name)
    else:
        eps = precision(dtype)
        np.testing.assert_allclose(got, want, 16 * eps, 4 * eps, err_msg=name)
    if name not in ZERO_OF_EITHER_SIGN:
        zero = (want == 0) & (got == 0)
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]), name)


def test_the_ops_are_those_of_the_contract():
    assert _cpu.ops() == {
        name: list(getattr(contract, name))
        for name in ("UNARY", "UNARY_BOOL", "UNARY_GRAD", "BINARY", "COMPARE")
    }


def allowed(kernel, *args):
    """The kernel's result, or None where it says that the op is not defined."""
    try:
        return kernel(*args)
    except TypeError:
        return None


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
def test_unary(isa, dtype):
    for op, name in enumerate(contract.UNARY):
        x = values(dtype, seed=op)
        params = PARAMETERS.get(name, ())
        want = allowed(reference.unary, op, x, *params)
        if want is None:
            with pytest.raises(errors.DTypeError, match=f"{name}: not defined for {dtype}"):
                _cpu.unary(op, x, *params)
        else:
            same(_cpu.unary(op, x, *params), want, name, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
def test_unary_bool(isa, dtype):
    for op, name in enumerate(contract.UNARY_BOOL):
        x = values(dtype, seed=op)
        same(_cpu.unary_bool(op, x), reference.unary_bool(op, x), name, dtype)


@pytest.mark.parametrize("dtype", FLOATS, ids=IDS[9:])
def test_unary_grad(isa, dtype):
    for op, name in enumerate(contract.UNARY_GRAD):
        g, v = values(dtype, seed=op), values(dtype, seed=op + 100)
        params = PARAMETERS.get(name, ())
        want = reference.unary_grad(op, g, v, *params)
        same(_cpu.unary_grad(op, g, v, *params), want, name, dtype, precise=False)
    with pytest.raises(errors.DTypeError, match="relu: not defined for int32"):
        _cpu.unary_grad(0, np.ones(3, "i4"), np.ones(3, "i4"))


def divisor(name, b):
    """b without the values that raise."""
    if is_float(b.dtype) or b.dtype == bool:
        return b
    if name in ("floor_divide", "remainder", "fmod"):
        return np.where(b == 0, b.dtype.type(3), b)
    if name == "pow":
        return (b % 9).astype(b.dtype)
    if "shift" in name and b.dtype.kind == "i":
        return (b % 80 - 5).astype(b.dtype)
    return b


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
def test_binary(isa, dtype):
    for op, name in enumerate(contract.BINARY):
        a, b = values(dtype, seed=op), divisor(name, values(dtype, seed=op + 100))
        want = allowed(reference.binary, op, a, b)
        if want is None:
            message = f"{name}: not defined for {dtype}"
            with pytest.raises(errors.DTypeError, match=message):
                _cpu.binary(op, a, b)
            continue
        same(_cpu.binary(op, a, b), want, name, dtype)
        out = a.copy()
        assert _cpu.binary_into(op, out, b, out) is None
        same(out, want, name, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
def test_compare_and_where(isa, dtype):
    a, b = values(dtype, seed=1), values(dtype, seed=2)
    b[::5] = a[::5]
    for op, name in enumerate(contract.COMPARE):
        same(_cpu.compare(op, a, b), reference.compare(op, a, b), name, dtype)
    cond = values(np.dtype(bool), seed=3)
    same(_cpu.where(cond, a, b), np.where(cond, a, b), "where", dtype, precise=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=IDS)
def test_cast(isa, dtype):
    for target in DTYPES:
        x = values(dtype)
        if is_float(dtype):
            with np.errstate(all="ignore"):  # larger ones too, and ties of the half types
                scale = 2.0 ** np.random.default_rng(5).integers(-30, 90, x.size)
                x = np.concatenate([x, (x.astype("f8") * scale).astype(dtype), x])
                if dtype == np.float64:
                    ties = np.arange(1, 400) + 2048.5
                    x = np.concatenate([x, ties, ties * (1 + 2**-40), ties * 2**-35])
        same(_cpu.cast(x, target), reference.cast(x, target), f"{dtype} to {target}", target, True)


@pytest.mark.parametrize("target", HALVES, ids=["float16", "bfloat16"])
def test_half_conversion_of_every_value(isa, target):
    every = np.arange(65536, dtype=np.uint16).view(target)
    wide = _cpu.cast(every, np.dtype(np.float32))
    with np.errstate(all="ignore"):  # some processors report signalling NaN
        expected = every.astype(np.float32)
    np.testing.assert_array_equal(wide, expected)
    np.testing.assert_array_equal(np.signbit(wide), np.signbit(expected))
    steps = [*(np.arange(-3, 4) * 2.0**-13 + 1), 1 + 2**-11, 1 - 2**-12]
    with np.errstate(all="ignore"):  # around every value and every tie
        near = np.concatenate([(wide.astype(np.float64) * s).astype(np.float32) for s in steps])
        want = near.astype(target)
    np.testing.assert_array_equal(_cpu.cast(near, target).astype("f4"), want.astype("f4"))


def layouts(x):
    """Views with the values of x (2-d) that lie differently in memory."""
    big = np.zeros((2 * x.shape[0], 3 * x.shape[1]), x.dtype)
    big[::2, ::3] = x
    turned = np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]
    return [x, np.asfortranarray(x), big[::2, ::3], turned, np.ascontiguousarray(x.T).T[:, :]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int16, np.bool_])
def test_layouts_give_the_same_bits(isa, dtype):
    dtype = np.dtype(dtype)
    a, b = (values(dtype, 7 * 43, seed=s).reshape(7, 43) for s in (1, 2))
    ops = [contract.BINARY.index(n) for n in ("mul", "maximum")]
    ops += [contract.BINARY.index(n) for n in ("logaddexp", "pow") if is_float(dtype)]
    for op in ops:
        want = _cpu.binary(op, a, b)
        for x, y in itertools.product(layouts(a), layouts(b)):
            assert _cpu.binary(op, x, y).tobytes() == want.tobytes()
            out = np.empty((7, 86), dtype)[:, ::2]
            _cpu.binary_into(op, x, y, out)
            assert out.tobytes() == want.tobytes()
        for x, y in ((a, b[3:4]), (a[:, 5:6], b), (a[2, 7], b), (a[:1], b[:, :1]), (a, b[0, 0])):
            x, y = np.asarray(x), np.asarray(y)
            full = [np.ascontiguousarray(v) for v in np.broadcast_arrays(x, y)]
            assert _cpu.binary(op, x, y).tobytes() == _cpu.binary(op, *full).tobytes()
    cond = np.arange(301).reshape(7, 43) % 3 == 0
    want = np.where(cond, a, b[:1])
    for c, x in itertools.product(layouts(cond), layouts(a)):
        assert _cpu.where(c, x, b[:1]).tobytes() == want.tobytes()
        assert _cpu.compare(2, x, b).tobytes() == _cpu.compare(2, a, b).tobytes()


def test_memory_order_is_kept():
    x = np.zeros((2, 3, 4, 5), np.float32).transpose(0, 3, 1, 2)
    bias = np.ones((5, 1, 1), np.float32)
    for y in (_cpu.unary(0, x), _cpu.binary(0, x, bias), _cpu.binary(0, bias, x),
              _cpu.compare(0, x, bias), _cpu.cast(x, np.dtype(np.int64))):  # fmt: skip
        assert [s // y.itemsize for s in y.strides] == [s // 4 for s in x.strides]


def test_sizes_around_the_block_and_the_vector(isa):
    for n in [*range(36), 255, 256, 257, 511, 513, 1000]:
        a, b = values(np.dtype("f4"), max(n, 9), 1)[:n], values(np.dtype("f4"), max(n, 9), 2)[:n]
        want = reference.binary(2, a, b)
        np.testing.assert_array_equal(_cpu.binary(2, a, b), want)
        wide = np.zeros(2 * n, "f4")
        wide[::2] = a
        np.testing.assert_array_equal(_cpu.binary(2, wide[::2], b), want)
        np.testing.assert_array_equal(_cpu.binary(2, a, np.array(2, "f4")), a * np.float32(2))
        half = a.astype(np.float16)
        np.testing.assert_array_equal(_cpu.unary(0, half), -half)


def test_empty_and_scalar():
    for shape in ((), (0,), (3, 0, 2), (1, 1)):
        x = np.ones(shape, np.float32)
        assert _cpu.unary(0, x).shape == shape
        assert isinstance(_cpu.binary(0, x, x), np.ndarray)
        assert _cpu.where(np.ones(shape, bool), x, x).shape == shape
    assert _cpu.binary(4, np.ones((0, 2), int), np.zeros(2, int)).shape == (0, 2)


def test_results_do_not_depend_on_the_number_of_threads():
    x = values(np.dtype("f4"), 200_001)
    before = _cpu.num_threads()
    results = []
    for threads in (1, 2, 3):
        _cpu.set_num_threads(threads)
        y = _cpu.unary(contract.UNARY.index("tanh"), x)
        results.append((y.tobytes(), _cpu.binary(7, x, y[::-1]).tobytes()))
    _cpu.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_integers_by_hand(isa):
    def call(name, a, b, dtype):
        y = _cpu.binary(contract.BINARY.index(name), np.array(a, dtype), np.array(b, dtype))
        return y.tolist()

    for dtype in ("i1", "i2", "i4", "i8"):
        low, bits = np.iinfo(dtype).min, np.iinfo(dtype).bits
        assert call("floor_divide", [low, 7, -7, 7], [-1, -2, 2, 2], dtype) == [low, -4, -4, 3]
        assert call("remainder", [low, 7, -7, 7], [-1, -2, 2, 2], dtype) == [0, -1, 1, 1]
        assert call("fmod", [low, 7, -7], [-1, -2, 2], dtype) == [0, 1, -1]
        shifts = [bits, -1, bits - 1, 1]
        assert call("left_shift", [1, 1, 1, 3], shifts, dtype) == [0, 0, low, 6]
        assert call("right_shift", [-8, -8, -8, 8], shifts, dtype) == [-1, -1, -1, 4]
        assert call("pow", [3, -2, 0, 2], [4, 3, 0, bits], dtype) == [81, -8, 1, 0]
        for name in ("floor_divide", "remainder", "fmod"):
            with pytest.raises(errors.ZeroDivisionError, match=f"{name}: .* by zero"):
                call(name, [1, 2], [1, 0], dtype)
        with pytest.raises(errors.ValueError, match="pow"):
            call("pow", [2], [-1], dtype)
    odd = np.array([0, 1, 2, 255], "u1").view(bool)  # any byte but zero is true
    np.testing.assert_array_equal(_cpu.cast(odd, np.dtype("i4")), [0, 1, 1, 1])
    assert _cpu.binary(0, odd, odd[::-1]).view("u1").tolist() == [1, 1, 1, 1]
    assert _cpu.compare(0, odd, np.array(True)).view("u1").tolist() == [0, 1, 1, 1]
    assert _cpu.where(odd, np.ones(4), np.zeros(4)).tolist() == [0, 1, 1, 1]


def test_clamp_of_integers(isa):
    op = contract.UNARY.index("clamp")
    for dtype in INTEGERS:
        x = values(dtype)
        for low, high in (
            (-1.5, 2.5),
            (-1e30, 1e30),
            (3.2, 3.9),
            (5, 1),
            (-np.inf, -7.0),
            (1e30, np.inf),
        ):
            np.testing.assert_array_equal(
                _cpu.unary(op, x, low, high), reference.unary(op, x, low, high)
            )
        with pytest.raises(errors.ValueError, match="clamp"):
            _cpu.unary(op, x, np.nan, 1.0)


def test_denormals_survive_what_only_moves(isa):
    tiny = np.array([1e-40, -1e-40, 0.0], np.float32)
    assert _cpu.compare(4, tiny, np.zeros(3, "f4")).tolist() == [True, False, False]
    np.testing.assert_array_equal(_cpu.binary(8, tiny, np.zeros(3, "f4")), [tiny[0], 0, 0])
    np.testing.assert_array_equal(_cpu.unary(contract.UNARY.index("relu"), tiny), [tiny[0], 0, 0])
    np.testing.assert_array_equal(_cpu.cast(tiny.astype("f8"), tiny.dtype), tiny)
    assert _cpu.unary(contract.UNARY.index("floor"), tiny).tolist() == [0, -1, 0]
    assert (tiny[:2] * np.float32(0.5)).all()  # the mode of the caller is back


def test_binary_into_overlap(isa):
    for a_at, b_at in ((1, 0), (0, 1), (2, 0), (0, 0)):
        x = np.arange(600.0)
        want = x.copy()
        want[:500] = x[a_at : a_at + 500] - x[b_at : b_at + 500][::-1]
        _cpu.binary_into(1, x[a_at : a_at + 500], x[b_at : b_at + 500][::-1], x[:500])
        np.testing.assert_array_equal(x, want)
    square = np.arange(90_000.0).reshape(300, 300)
    want = square + square.T
    _cpu.binary_into(0, square, square.T, square)
    np.testing.assert_array_equal(square, want)


def test_errors():
    f, i = np.ones((2, 3), "f4"), np.ones((2, 3), "i8")
    for call, error, message in (
        (lambda: _cpu.unary(99, f), errors.ValueError, r"unary: op must be in \[0, 41\), got 99"),
        (lambda: _cpu.unary(-1, f), errors.ValueError, "unary: op must be"),
        (lambda: _cpu.unary(0, [1.0]), errors.DTypeError, "unary: x must be a numpy.ndarray"),
        (lambda: _cpu.unary(0, f.astype("c8")), errors.DTypeError, "complex64"),
        (lambda: _cpu.binary(0, f, i), errors.DTypeError, "add: other has dtype int64, but"),
        (lambda: _cpu.binary(3, i, i), errors.DTypeError, "div: not defined for int64"),
        (lambda: _cpu.binary(0, f, f[:, :2]), errors.ShapeError, r"input \(2, 3\), other \(2, 2\)"),
        (lambda: _cpu.where(f, f, f), errors.DTypeError, "where: condition must be bool, got"),
        (lambda: _cpu.where(f > 0, f, i), errors.DTypeError, "where: other has dtype int64"),
        (lambda: _cpu.cast(f, np.dtype("c8")), errors.DTypeError, "cast: unsupported dtype"),
        (lambda: _cpu.binary_into(0, f, f, f[:1]), errors.ShapeError, r"to \(1, 3\), which"),
        (lambda: _cpu.binary_into(0, f, f, np.broadcast_to(f, (4, 2, 3))), errors.ValueError,
         "out is read-only"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("dtype", ["i1", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(2, 3, 65, 70), (3, 64, 7, 9), (1, 1, 130, 67), (5, 4, 6, 300)])
def test_operands_in_another_order_of_axes(isa, dtype, shape):
    """Read in tiles: whole ones, their rests, and both ways round."""
    x = np.random.default_rng(3).integers(-50, 50, shape).astype(dtype)
    for axes in itertools.permutations(range(4)):
        turned = x.transpose(axes)
        y = np.ascontiguousarray(turned)[::-1].copy()
        assert (_cpu.copy(turned, "C") == turned).all()
        for name, a, b in (("add", turned, y), ("sub", y, turned), ("maximum", turned, turned)):
            op = contract.BINARY.index(name)
            assert (_cpu.binary(op, a, b) == reference.binary(op, a, b)).all()


@pytest.mark.parametrize("side", [2100, 2305])
def test_results_larger_than_the_caches(isa, side):
    """Stored past the caches: in whole lines, and what is left over at the ends of rows."""
    rng = np.random.default_rng(4)
    a, b = rng.integers(-9, 9, (2, side, side)).astype("f4")
    add, less = contract.BINARY.index("add"), contract.COMPARE.index("lt")
    for x, y in ((a, b), (a, b.T), (a[1:, 1:], b[:-1, 1:]), (a, b[:1]), (a, b[:, :1])):
        assert (_cpu.binary(add, x, y) == x + y).all()
    assert (_cpu.compare(less, a, b.T) == (a < b.T)).all()
    for dtype in (np.float64, np.float16):
        assert (_cpu.cast(a, np.dtype(dtype)) == a).all()
    assert (_cpu.copy(a[:, 3:], "C") == a[:, 3:]).all()
    assert (_cpu.copy(a.astype("f2").T, "C") == a.T).all()
