"""Special functions, evaluated through NumPy: the gamma function's logarithm and its derivatives,
and the inverse of the error function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import kernels
from ..errors import ValueError as TgValueError
from ..kernels.contract import UNARY
from ..tensor import Tensor
from .binary import add, mul
from .elementwise import add_inplace, real_operand
from .rules import elementwise, record, sizes_of
from .unary import exp

_ERF, _ERFC = UNARY.index("erf"), UNARY.index("erfc")
# B(2j) / (2j)! of the Euler-Maclaurin sum.
_BERNOULLI = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
    1 / 74724249600, -3617 / 10670622842880000,
)  # fmt: skip


def _evaluated(function: Callable[[np.ndarray], np.ndarray], a: np.ndarray) -> np.ndarray:
    """function, which takes and returns float64, on an array of any floating dtype."""
    with np.errstate(all="ignore"):
        y = function(np.asarray(a, np.float64).reshape(-1))
        return y.reshape(a.shape).astype(a.dtype)


# --- the gamma function ---------------------------------------------------------------------------
def _lgamma_at(x: float) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.lgamma(x)


_LGAMMA_AT = np.frompyfunc(_lgamma_at, 1, 1)


def _lgamma_of(a: np.ndarray) -> np.ndarray:
    return np.asarray(_LGAMMA_AT(a)).astype(np.float64)


def _cotangent(n: int, x: np.ndarray) -> np.ndarray:
    """The n-th derivative of pi cot(pi x): a polynomial in c = cot(pi x)."""
    p = np.polynomial.Polynomial([0.0, 1.0])
    for _ in range(n):
        p = p.deriv() * np.polynomial.Polynomial([-1.0, 0.0, -1.0])
    r = x - np.round(x)  # the period, taken off before the multiplication rounds
    return math.pi ** (n + 1) * p(1.0 / np.tan(math.pi * r))


def _polygamma_of(n: int, a: np.ndarray) -> np.ndarray:
    """The n-th derivative of digamma. Below 1/2 by reflection, then by recurrence to arguments of
    at least n + 10, where the Euler-Maclaurin sum ends.

    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 6.4.
    """
    low = a < 0.5
    x = np.where(low, 1.0 - a, a)
    shift = n + 10
    total = np.zeros_like(x)
    sign = -1.0 if n % 2 == 0 else 1.0
    scale = math.gamma(n + 1)
    for k in range(shift):
        total += sign * scale * (x + k) ** (-n - 1.0)
    z = x + shift
    if n == 0:
        total += np.log(z) - 0.5 / z
    else:
        total += sign * (math.gamma(n) * z**-n + 0.5 * scale * z ** (-n - 1.0))
    for j, b in enumerate(_BERNOULLI, 1):
        total += sign * b * math.gamma(n + 2 * j) * z ** (-n - 2.0 * j)
    whole = low & (a == np.floor(a))
    pole = np.where(np.signbit(a), math.inf, -math.inf) if n == 0 else np.asarray(sign * math.inf)
    mirrored = (total if n % 2 == 0 else -total) - _cotangent(n, np.where(whole, 0.25, a))
    y = np.where(low, np.where(whole, pole, mirrored), total)
    if n == 0:
        y = np.where(whole & (a != 0), math.nan, y)
        return np.where(a == math.inf, math.inf, y)
    return np.where(a == math.inf, 0.0, np.where(a == -math.inf, math.nan, y))


def _polygamma(n: int, x: Tensor) -> Tensor:
    return record(_POLYGAMMA, _evaluated(lambda a: _polygamma_of(n, a), x._array), (x,), (n,))


_POLYGAMMA = elementwise("polygamma", lambda t, x, y, n: mul(t, _polygamma(n + 1, x)), saves=(0,))
_LGAMMA = elementwise("lgamma", lambda t, x, y: mul(t, _polygamma(0, x)), saves=(0,))


def lgamma(input: Any) -> Tensor:
    """ln |gamma(x)|, element by element; inf at 0, -1, -2 ... Its derivative is digamma.

    >>> import tilegrad as tg
    >>> tg.lgamma(tg.tensor([1.0, 4.0]))
    tensor([0.    , 1.7918])
    """
    x = real_operand("lgamma", input, True)
    return record(_LGAMMA, _evaluated(_lgamma_of, x._array), (x,))


def digamma(input: Any) -> Tensor:
    """The derivative of lgamma, element by element; NaN at -1, -2 ..., infinite at 0.

    >>> import tilegrad as tg
    >>> tg.digamma(tg.tensor([1.0]))
    tensor([-0.5772])
    """
    return _polygamma(0, real_operand("digamma", input, True))


def polygamma(n: int, input: Any) -> Tensor:
    """The n-th derivative of digamma, element by element; n is an int >= 0.

    Raises ValueError for a negative n.

    >>> import tilegrad as tg
    >>> tg.polygamma(1, tg.tensor([1.0]))
    tensor([1.6449])
    """
    (n,) = sizes_of((n,), "polygamma")
    if n < 0:
        raise TgValueError(f"polygamma: n must not be negative, got {n}")
    return _polygamma(int(n), real_operand("polygamma", input, True))


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    """As ``tilegrad.polygamma(n, self)``."""
    return polygamma(n, self)


def mvlgamma(input: Any, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p, element by element:
    p (p - 1) / 4 ln pi + sum over i < p of lgamma(x - i / 2).

    Raises ValueError unless p >= 1.

    >>> import tilegrad as tg
    >>> tg.mvlgamma(tg.tensor([3.0]), 2)
    tensor([1.5502])
    """
    if p < 1:
        raise TgValueError(f"mvlgamma: p must be at least 1, got {p}")
    x = real_operand("mvlgamma", input, True)
    total = lgamma(x)
    for i in range(1, p):
        total = add(total, lgamma(add(x, -0.5 * i)))
    return add(total, p * (p - 1) / 4 * math.log(math.pi))


# --- the error function ---------------------------------------------------------------------------
def _erfinv_of(y: np.ndarray) -> np.ndarray:
    """A first guess and three steps of Halley's method, on 1 - |y| where that is exact.

    The guess: Winitzki, A handy approximation for the error function and its inverse, 2008.
    """
    k = kernels.of(y)
    a = np.abs(y)
    q = np.log((1.0 - a) * (1.0 + a))
    h = 2.0 / (math.pi * 0.147) + q / 2
    x = np.sqrt(np.sqrt(h * h - q / 0.147) - h)
    for _ in range(3):
        near = np.asarray(k.unary(_ERF, x)) - a
        far = (1.0 - a) - np.asarray(k.unary(_ERFC, x))
        f = np.where(a < 0.5, near, far) * (math.sqrt(math.pi) / 2.0) * np.exp(x * x)
        step = f / (1.0 + x * f)
        x = np.where(np.isfinite(step), x - step, x)
    x = np.where(a == 1.0, math.inf, np.where(a > 1.0, math.nan, x))
    return np.copysign(x, y)


_ERFINV = elementwise(
    "erfinv", lambda t, x, y: mul(t, mul(exp(mul(y, y)), math.sqrt(math.pi) / 2.0)), saves=(-1,)
)


def erfinv(input: Any) -> Tensor:
    """The x with erf(x) = input, element by element; infinite at -1 and 1, NaN beyond.

    >>> import tilegrad as tg
    >>> tg.erfinv(tg.tensor([0.0, 0.5]))
    tensor([0.    , 0.4769])
    """
    x = real_operand("erfinv", input, True)
    return record(_ERFINV, _evaluated(_erfinv_of, x._array), (x,))


METHODS: dict[str, Any] = {f.__name__: f for f in (digamma, erfinv, lgamma, mvlgamma)}
METHODS["polygamma"] = _polygamma_method
add_inplace("polygamma_", _polygamma_method)
for _fn in (digamma, erfinv, lgamma, mvlgamma):
    add_inplace(_fn.__name__ + "_", _fn)

__all__ = ["digamma", "erfinv", "lgamma", "mvlgamma", "polygamma"]
