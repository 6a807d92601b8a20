"""The vector functions: at most 2 ulp (erf and erfc: 4) against extended precision, everywhere.

Kernels flush denormals: an argument below the smallest normal number may count as zero (the
logarithms see it all the same), and a result below it may be zero.
"""

import functools
import math

import numpy as np
import pytest

from tilegrad import _cpu
from tilegrad.kernels import contract

LONG = np.longdouble
DTYPES = [np.float32, np.float64]
LOGARITHMS = ("log", "log1p", "log2", "log10")


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, LONG(1)) / (1 + e)


def erf_near(x):
    """2/sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!, whose terms all have one sign."""
    term = total = x
    for n in range(1, 80):
        term = term * (2 * x * x) / (2 * n + 1)
        total = total + term
    return total * np.exp(-x * x) * 2 / np.sqrt(LONG(np.pi) + LONG(1.2246467991473532e-16))


def erfc_far(x):
    """Laplace's continued fraction, x >= 1.5; x^2 in two parts, as exp magnifies its rounding."""
    fraction = x
    for n in range(120, 0, -1):
        fraction = x + LONG(n) / 2 / fraction
    head = x.astype(np.float32).astype(LONG)
    e = np.exp(-head * head) * np.exp((head - x) * (head + x))
    return e / fraction / np.sqrt(LONG(np.pi) + LONG(1.2246467991473532e-16))


def erfc_positive(x):
    near = 1 - erf_near(np.minimum(x, LONG(1.5)))
    return np.where(x < 1.5, near, erfc_far(np.clip(x, LONG(1.5), LONG(120))))


def erf(x):
    a = np.abs(x)
    y = np.where(a < 1.5, erf_near(np.minimum(a, LONG(1.5))), 1 - erfc_positive(a))
    return np.where(np.isnan(x), x, np.copysign(y, x))


def erfc(x):
    y = erfc_positive(np.abs(x))
    return np.where(np.isnan(x), x, np.where(x < 0, 2 - y, y))


# The oracle, the bound in ulp, and where the function bends.
FUNCTIONS = {
    "exp": (np.exp, 2, (-110, 95), (-760, 715)),
    "exp2": (np.exp2, 2, (-150, 130), (-1080, 1030)),
    "expm1": (np.expm1, 2, (-20, 95), (-40, 715)),
    "log": (np.log, 2, (0, 4), (0, 4)),
    "log1p": (np.log1p, 2, (-1.5, 3), (-1.5, 3)),
    "log2": (np.log2, 2, (0, 4), (0, 4)),
    "log10": (np.log10, 2, (0, 4), (0, 4)),
    "tanh": (np.tanh, 2, (-10, 10), (-20, 20)),
    "sigmoid": (sigmoid, 2, (-95, 20), (-715, 40)),
    "erf": (erf, 4, (-4, 4), (-6, 6)),
    "erfc": (erfc, 4, (-4, 10), (-6, 27)),
    "sin": (np.sin, 2, (-400, 400), (-400, 400)),
    "cos": (np.cos, 2, (-400, 400), (-400, 400)),
}


def call(name, x):
    return _cpu.unary(contract.UNARY.index(name), x)


def random_bits(dtype, n, rng):
    words = rng.integers(0, 2 ** (8 * np.dtype(dtype).itemsize) - 1, n, np.uint64, endpoint=True)
    return words.astype(f"u{np.dtype(dtype).itemsize}").view(dtype)


def samples(name, dtype, n):
    rng = np.random.default_rng(len(name))
    f = FUNCTIONS[name]
    low, high = f[2] if dtype == np.float32 else f[3]
    info = np.finfo(dtype)
    edges = [0, 1, 0.5, 0.625, 0.9, 2, 10, math.log(2) / 2, math.pi / 4, 1.5 * math.pi, low, high]
    edges += [info.max, info.tiny, info.smallest_subnormal, info.tiny / 8, 2.0**24, 1647000.0, 1e30]
    edges += [k * math.pi / 2 for k in range(1, 40)] + [2.0**k for k in range(-30, 30)]
    edges += [2.0**120, np.inf]
    with np.errstate(over="ignore"):
        e = np.array(edges).astype(dtype)
        near = [e, np.nextafter(e, dtype(0)), np.nextafter(e, dtype(np.inf))]
        parts = [
            random_bits(dtype, n, rng),
            rng.uniform(low, high, n).astype(dtype),
            (rng.choice([-1, 1], n) * np.exp2(rng.uniform(-50, 10, n))).astype(dtype),
            (1 + rng.choice([-1, 1], n) * np.exp2(rng.uniform(-50, -1, n))).astype(dtype),
            *near,
            *[-v for v in near],
            np.array([np.nan, -0.0], dtype),
        ]
    return np.concatenate(parts)


@functools.cache
def sampled(name, dtype, n):
    x = samples(name, dtype, n)
    with np.errstate(all="ignore"):
        return x, FUNCTIONS[name][0](x.astype(LONG))


def errors_in_ulp(name, x, y, exact):
    """Errors of y; asserts what is not a matter of rounding: NaN, infinities, signs, underflow."""
    tiny = np.finfo(x.dtype).tiny
    with np.errstate(all="ignore"):
        rounded = exact.astype(x.dtype)
    if name not in LOGARITHMS:  # whether such an argument is zero is left open
        keep = (np.abs(x) >= tiny) | (x == 0) | np.isnan(x)
        x, y, exact, rounded = x[keep], y[keep], exact[keep], rounded[keep]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(rounded))
    usual = ~np.isnan(rounded)
    x, y, exact, rounded = x[usual], y[usual], exact[usual], rounded[usual]
    small = np.abs(exact) < tiny
    assert (np.abs(y[small]) <= tiny).all()
    if name not in ("log1p",):
        zero = exact == 0
        np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(exact[zero]))
    infinite = np.isinf(rounded) | np.isinf(y)
    np.testing.assert_array_equal(y[infinite], rounded[infinite])
    rest = ~(small | infinite)
    x, y, exact = x[rest], y[rest], exact[rest]
    _, exponent = np.frexp(exact)
    ulp = np.ldexp(LONG(1), exponent - (np.finfo(x.dtype).nmant + 1))
    return x, (np.abs(y.astype(LONG) - exact) / ulp).astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error(isa, name, dtype):
    x, exact = sampled(name, dtype, 20_000)
    at, errors = errors_in_ulp(name, x, call(name, x), exact)
    worst = errors.argmax()
    assert errors[worst] <= FUNCTIONS[name][1], (name, float(at[worst]).hex())


@functools.cache
def float_comb(name):
    x = np.arange(0, 2**32, 8191, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        return x, FUNCTIONS[name][0](x.astype(LONG))


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_over_all_exponents(isa, name):
    """Every 8191st float."""
    x, exact = float_comb(name)
    _, errors = errors_in_ulp(name, x, call(name, x), exact)
    assert errors.max() <= FUNCTIONS[name][1]


def test_the_oracle_of_erf():
    x = np.linspace(-5, 5, 1001)
    np.testing.assert_allclose(erf(x.astype(LONG)), [math.erf(v) for v in x], 4e-16)
    x = np.linspace(-5, 26, 1001)
    np.testing.assert_allclose(erfc(x.astype(LONG)), [math.erfc(v) for v in x], 1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_symmetry_and_range(isa, dtype):
    for name in ("tanh", "erf", "sin", "cos", "sigmoid"):
        x = samples(name, dtype, 5000)
        x = x[np.isfinite(x)]
        y = call(name, x)
        assert (np.abs(y) <= 1).all()
        if name == "sigmoid":
            assert (y >= 0).all()
        else:
            odd = call(name, -x) if name == "cos" else -call(name, -x)
            assert y.tobytes() == odd.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_values(isa, dtype):
    powers = np.arange(-120, 120).astype(dtype)
    np.testing.assert_array_equal(call("exp2", powers), np.exp2(powers))
    np.testing.assert_array_equal(call("log2", np.exp2(powers)), powers)
    subnormal = np.ldexp(dtype(1), np.arange(-3, 0) - (126 if dtype == np.float32 else 1022))
    np.testing.assert_array_equal(call("log2", subnormal.astype(dtype)),
                                  np.log2(subnormal.astype(LONG)).astype(dtype))  # fmt: skip
    one = np.ones(3, dtype)
    assert call("log", one).tolist() == [0, 0, 0] and call("exp", 0 * one).tolist() == [1, 1, 1]
    assert call("sigmoid", 0 * one).tolist() == [0.5] * 3
    assert call("tanh", 40 * one).tolist() == [1] * 3 and call("erf", 9 * one).tolist() == [1] * 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", contract.UNARY)
def test_position_has_no_say(isa, name, dtype):
    """Vector body, tail, offset, stride: the same bits."""
    if name == "bitwise_not":
        return
    params = {"softplus": (1.0, 20.0), "clamp": (-1.0, 1.0)}.get(name, (0.5, 0.0))
    op = contract.UNARY.index(name)
    x = samples(name if name in FUNCTIONS else "tanh", dtype, 60)
    want = _cpu.unary(op, x, *params)

    def same(y, z):
        nan = np.isnan(z)
        assert (np.isnan(y) == nan).all() and y[~nan].tobytes() == z[~nan].tobytes()

    for offset in range(1, 18):
        same(_cpu.unary(op, x[offset:], *params), want[offset:])
        same(_cpu.unary(op, x[:-offset], *params), want[:-offset])
    same(_cpu.unary(op, x[::-1], *params), want[::-1])
    same(_cpu.unary(op, x[::3], *params), want[::3])
    for i in range(0, len(x), 7):
        same(_cpu.unary(op, x[i : i + 1], *params), want[i : i + 1])
        same(_cpu.unary(op, np.broadcast_to(x[i], 20), *params), want[[i] * 20])
