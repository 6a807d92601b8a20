"""The reference kernels against independent statements: worked examples, SciPy, slopes."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
import scipy.special
from exact import dot, rng, slope, small

from tilegrad.kernels import reference as ref
from tilegrad.kernels.contract import (
    ARG_REDUCE,
    BINARY,
    COMPARE,
    CUMULATIVE,
    NAMES,
    REDUCE,
    UNARY,
    UNARY_BOOL,
    UNARY_GRAD,
)

BF16 = np.dtype(ml_dtypes.bfloat16)


def unary(name, x, *p):
    return ref.unary(UNARY.index(name), np.asarray(x), *p)


def binary(name, a, b):
    return ref.binary(BINARY.index(name), np.asarray(a), np.asarray(b))


def test_names_are_the_contract():
    assert tuple(ref.__all__) == NAMES
    assert all(callable(getattr(ref, name)) for name in NAMES)


# --- element-wise ---------------------------------------------------------------------------------

INDEPENDENT = {
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "sigmoid": scipy.special.expit,
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "silu": lambda x: x * scipy.special.expit(x),
    "rsqrt": lambda x: x**-0.5,
    "reciprocal": lambda x: x**-1.0,
    "exp2": lambda x: 2.0**x,
    "square": lambda x: x**2,
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_unary_against_scipy(name):
    x = np.linspace(0.1, 8, 50) if name == "rsqrt" else np.linspace(-8.1, 8, 50)
    # Where erfc(z) decays, half an ulp of z becomes z^2 ulps of the result.
    rtol = 3e-14 if name in ("erfc", "gelu") else 2e-15
    np.testing.assert_allclose(unary(name, x), INDEPENDENT[name](x), rtol=rtol)


def test_unary_by_hand():
    x = np.array([-2.5, -0.5, 0.5, 1.5, np.nan])
    np.testing.assert_array_equal(unary("round", x), [-2, 0, 0, 2, np.nan])
    np.testing.assert_array_equal(unary("relu", x), [0, 0, 0.5, 1.5, np.nan])
    np.testing.assert_array_equal(unary("leaky_relu", x, 0.5), [-1.25, -0.25, 0.5, 1.5, np.nan])
    np.testing.assert_array_equal(unary("clamp", x, -1.0, 1.0), [-1, -0.5, 0.5, 1, np.nan])
    np.testing.assert_allclose(
        unary("elu", x, 2.0)[:2], [2 * math.expm1(-2.5), 2 * math.expm1(-0.5)]
    )
    np.testing.assert_allclose(
        unary("softplus", [-1.0, 30.0], 2.0, 20.0)[0], math.log1p(math.exp(-2)) / 2
    )
    assert unary("softplus", [-1.0, 30.0], 2.0, 20.0)[1] == 30
    np.testing.assert_array_equal(unary("clamp", np.int8([-9, 0, 9]), -1.5, np.inf), [-1, 0, 9])
    np.testing.assert_array_equal(unary("bitwise_not", [True, False]), [False, True])
    np.testing.assert_array_equal(unary("abs", np.int8([-128])), [-128])
    with pytest.raises(TypeError, match="exp"):
        unary("exp", [1])


def test_layout_is_kept():
    x = np.zeros((2, 3, 4, 5), np.float32).transpose(0, 3, 1, 2)
    for y in (unary("exp", x), ref.copy(x), ref.cast(x, np.float64), ref.dropout(x, 0.5, 1, 2)):
        assert np.argsort(y.strides).tolist() == np.argsort(x.strides).tolist()
    assert ref.copy(x, "C").flags.c_contiguous


@pytest.mark.parametrize("name", UNARY_GRAD)
def test_unary_grad_is_the_slope(name):
    x = np.concatenate([np.linspace(-4, -0.1, 20), np.linspace(0.1, 4, 20)])
    p = {"leaky_relu": (0.2,), "elu": (1.3,), "softplus": (1.5, 20.0)}.get(name, ())
    saved = unary(name, x, *p) if name in ("relu", "sigmoid", "tanh") else x
    g = rng.standard_normal(x.shape)
    d, expected = slope(lambda v: unary(name, v, *p), x, g)
    gx = ref.unary_grad(UNARY_GRAD.index(name), g, saved, *p)
    assert dot(gx, d) == pytest.approx(expected, rel=1e-8, abs=1e-8)


def test_unary_bool():
    x = np.array([0.0, -0.0, np.inf, np.nan, -2.0], BF16)
    rows = {
        "isnan": [0, 0, 0, 1, 0],
        "isinf": [0, 0, 1, 0, 0],
        "isfinite": [1, 1, 0, 0, 1],
        "logical_not": [1, 1, 0, 0, 0],
        "signbit": [0, 1, 0, 0, 1],
    }
    for i, name in enumerate(UNARY_BOOL):
        y = ref.unary_bool(i, x)
        assert y.dtype == bool and y.tolist() == [bool(v) for v in rows[name]], name
    assert ref.unary_bool(UNARY_BOOL.index("signbit"), np.int8([-1, 0])).tolist() == [True, False]


def test_division_follows_python():
    pairs = list(itertools.product([-7, -3, 0, 4, 7], [-3, -2, 2, 5]))
    a, b = np.array(pairs).T
    for dtype in (np.int64, np.float64):
        quotient = binary("floor_divide", a.astype(dtype), b.astype(dtype))
        assert quotient.tolist() == [p // q for p, q in pairs]
        rest = binary("remainder", a.astype(dtype), b.astype(dtype))
        assert rest.tolist() == [p % q for p, q in pairs]
        assert binary("fmod", a.astype(dtype), b.astype(dtype)).tolist() == [
            math.fmod(p, q) for p, q in pairs
        ]
    for name in ("floor_divide", "remainder", "fmod"):
        with pytest.raises(ZeroDivisionError, match=name):
            binary(name, [1, 2], [1, 0])
    assert binary("floor_divide", np.int8([-128]), np.int8([-1])).tolist() == [-128]


def test_binary_by_hand():
    assert binary("add", np.int8([127]), np.int8([1])).tolist() == [-128]
    assert binary("add", [True, True], [True, False]).tolist() == [True, True]
    assert binary("pow", [2, -1, 3, 1, 0], [10, 3, 1, 2, 0]).tolist() == [1024, -1, 3, 1, 1]
    with pytest.raises(ValueError, match="negative power"):
        binary("pow", [2], [-1])
    assert binary("left_shift", np.int32([1, 1]), np.int32([4, 40])).tolist() == [16, 0]
    assert binary("right_shift", np.int32([-8, -8]), np.int32([1, 40])).tolist() == [-4, -1]
    np.testing.assert_array_equal(binary("maximum", [1.0, np.nan], [2.0, 0.0]), [2, np.nan])
    np.testing.assert_allclose(binary("logaddexp", [1000.0], [1000.0]), 1000 + math.log(2))
    assert binary("copysign", [1.0, 2.0], [-0.0, 3.0]).tolist() == [-1, 2]
    assert binary("add", np.float32(1), np.float32(2)).shape == ()
    with pytest.raises(TypeError, match="div"):
        binary("div", [1], [2])
    out = np.zeros((2, 3))
    ref.binary_into(BINARY.index("sub"), np.arange(3.0), np.ones(()), out)
    assert out.tolist() == [[-1, 0, 1]] * 2


def test_half_types_round_once():
    a, b = np.array([1.0, 3.0], BF16), np.array([2**-8, 2**-9], BF16)
    assert binary("add", a, b).astype(float).tolist() == [1.0, 3.0]
    x = np.full(1000, 0.1, np.float16)
    assert float(ref.reduce(0, x, (0,), False)) == np.float16(1000 * float(np.float16(0.1)))
    assert ref.matmul(x[None], x[:, None]).dtype == np.float16


def test_compare_and_where():
    a, b = np.array([1.0, 2.0, np.nan]), np.array([1.0, 3.0, np.nan])
    rows = {
        "eq": [1, 0, 0],
        "ne": [0, 1, 1],
        "lt": [0, 1, 0],
        "le": [1, 1, 0],
        "gt": [0, 0, 0],
        "ge": [1, 0, 0],
    }
    rows |= {"logical_and": [1, 1, 1], "logical_or": [1, 1, 1], "logical_xor": [0, 0, 0]}
    for i, name in enumerate(COMPARE):
        assert ref.compare(i, a, b).tolist() == [bool(v) for v in rows[name]], name
    y = ref.where(np.array([[True], [False]]), np.array([1, 2]), np.array(5))
    assert y.tolist() == [[1, 2], [5, 5]]


def test_cast():
    x = np.array([1.9, -1.9, 300.0, -129.0, np.nan, np.inf])
    assert ref.cast(x, np.int8).tolist() == [1, -1, -128, -128, -128, -128]
    assert ref.cast(x, np.uint8).tolist() == [1, 0, 0, 0, 0, 0]
    lowest = -(2**63)
    assert ref.cast(np.array([2.0**63, 2.0**62]), np.int64).tolist() == [lowest, 2**62]
    assert ref.cast(x, np.bool_).tolist() == [True] * 6
    assert ref.cast(np.array([300, -1]), np.uint8).tolist() == [44, 255]
    assert ref.cast(np.array([1 + 2**-7]), BF16).astype(float).tolist() == [1 + 2**-7]


# --- reductions, products -------------------------------------------------------------------------


def test_reduce_by_hand():
    x = np.array([[1, 2, 3], [4, 5, 6]], np.int32)
    rows = {
        "sum": [6, 15],
        "prod": [6, 120],
        "max": [3, 6],
        "min": [1, 4],
        "any": [True, True],
        "all": [True, True],
    }
    for i, name in enumerate(REDUCE):
        assert ref.reduce(i, x, (1,), False).tolist() == rows[name]
        assert ref.reduce(i, x, (0, 1), True).shape == (1, 1)
        assert ref.reduce(i, x, (), False).shape == (2, 3)
    assert ref.reduce(0, x, (0,), False).dtype == np.int64
    assert ref.reduce(0, x.astype(np.uint64), (0,), False).dtype == np.uint64
    assert ref.reduce(2, x, (0,), False).dtype == np.int32
    assert np.isnan(ref.reduce(2, np.array([1.0, np.nan, 2.0]), (0,), False))
    assert ref.reduce(0, np.zeros((0, 3)), (0,), False).tolist() == [0, 0, 0]
    for i in (2, 3):
        with pytest.raises(ValueError, match="nothing"):
            ref.reduce(i, np.zeros((0, 3)), (0,), False)
    big = np.float32([1e8] + [1.0] * 1000)
    assert ref.reduce(0, big, (0,), False) == np.float32(math.fsum(big.tolist()))


def test_arg_reduce_and_cumulative():
    x = np.array([[3.0, 7.0, 7.0], [np.nan, 1.0, np.nan]])
    assert ref.arg_reduce(ARG_REDUCE.index("argmax"), x, 1, False).tolist() == [1, 0]
    assert ref.arg_reduce(ARG_REDUCE.index("argmin"), x, 1, True).tolist() == [[0], [0]]
    with pytest.raises(ValueError, match="argmax"):
        ref.arg_reduce(0, np.zeros((2, 0)), 1, False)
    rows = {"cumsum": [1, 3, 6, 10], "cumprod": [1, 2, 6, 24]}
    for i, name in enumerate(CUMULATIVE):
        y = ref.cumulative(i, np.int8([1, 2, 3, 4]), 0)
        assert y.tolist() == rows[name] and y.dtype == np.int64


def test_moments():
    mean, var = ref.moments(np.array([[1.0, 3.0], [2.0, 8.0]], np.float32), (1,))
    assert mean.tolist() == [[2], [5]] and var.tolist() == [[1], [9]]


def test_matmul_and_linear():
    a, b = small(2, 1, 3, 4), small(5, 4, 2)
    y = ref.matmul(a, b)
    for i, j, m, n in np.ndindex(y.shape):
        assert y[i, j, m, n] == sum(a[i, 0, m, p] * b[j, p, n] for p in range(4))
    assert ref.matmul(np.zeros((2, 0)), np.zeros((0, 3))).tolist() == [[0] * 3] * 2
    assert ref.matmul(np.int8([[100]]), np.int8([[2]])).tolist() == [[-56]]
    w, bias = small(6, 4), small(6)
    assert (ref.linear(a, w, bias) == np.einsum("...k,nk->...n", a, w) + bias).all()
    with pytest.raises(ValueError, match="matmul"):
        ref.matmul(a, a)
