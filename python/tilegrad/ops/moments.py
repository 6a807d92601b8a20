"""Variance, standard deviation, norms and logsumexp."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError
from ..tensor import Tensor
from .binary import where
from .reduce import amax, amin, arguments, length, mean, spread, sum
from .rules import as_operand, axes_of, convert, explicit, record


def _var_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> tuple:
    (x,) = inputs
    axes, factor = params
    return (spread(g, axes, x.shape) * (x - mean(x, axes, True)) * (2.0 * factor),)


VAR = explicit("var", _var_vjp, saves=(0,))


def var(
    input: Any,
    dim: Any = None,
    *,
    correction: float = 1,
    unbiased: bool | None = None,
    keepdim: bool = False,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The variance over the axes dim: sum((x - mean)**2) / (n - correction).

    input: floating. correction 1 (Bessel's) is the default, unbiased=False means 0. NaN where no
    degree of freedom is left. Raises DTypeError for integers.

    >>> import tilegrad as tg
    >>> tg.var(tg.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    x, axes, keep = arguments("var", input, dim, keepdim, axis, keepdims)
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"var: expects a floating tensor, got {x.dtype}")
    if unbiased is not None:
        correction = 1 if unbiased else 0
    n = length(x.shape, axes)
    left = n - correction
    ratio = n / left if left > 0 else math.inf
    biased = kernels.of(x._array).moments(x._array, axes)[1]
    if ratio == 1.0:
        y = biased
    else:
        y = (Tensor._new(biased) * ratio)._array
    if not keep:
        y = y.reshape(tuple([m for i, m in enumerate(x.shape) if i not in axes]))
    return record(VAR, y, (x,), (axes, 1.0 / left if left > 0 else math.inf))


def std(input: Any, dim: Any = None, **options: Any) -> Tensor:
    """The standard deviation over the axes dim: the square root of ``var``, with its arguments.

    >>> import tilegrad as tg
    >>> tg.std(tg.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    return var(input, dim, **options).sqrt()


def var_mean(input: Any, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
    """``(var(...), mean(...))`` over the same axes.

    >>> import tilegrad as tg
    >>> tg.var_mean(tg.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    keep = options.get("keepdim", False) or options.get("keepdims") or False
    return var(input, dim, **options), mean(input, dim, keep, axis=options.get("axis"))


def std_mean(input: Any, dim: Any = None, **options: Any) -> tuple[Tensor, Tensor]:
    """``(std(...), mean(...))`` over the same axes.

    >>> import tilegrad as tg
    >>> tg.std_mean(tg.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    v, m = var_mean(input, dim, **options)
    return v.sqrt(), m


def _norm_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axes: Any, nodes: Any) -> tuple:
    (x,) = inputs
    y = spread(out, axes, x.shape)
    # At the origin the gradient is taken as zero.
    safe = where(y == 0, 1.0, y)
    return (spread(g, axes, x.shape) * where(y == 0, 0.0, x / safe),)


NORM = explicit("norm", _norm_vjp, saves=(0, -1))


def norm(
    input: Any, p: float | str = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The p-norm sum(|x|**p)**(1/p) over the axes dim.

    p: a number, inf, -inf, 0 (the count of non-zeros) or "fro" (2). input: floating. The gradient
    of the 2-norm at the origin is 0. Raises DTypeError for integers.

    >>> import tilegrad as tg
    >>> tg.norm(tg.tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = as_operand(input, "norm")
    if dtype is not None:
        x = convert(x, dtypes.dtype(dtype))
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"norm: expects a floating tensor, got {x.dtype}")
    axes = axes_of(dim, x.ndim, "norm")
    order = 2.0 if p == "fro" else float(p)
    if order == 2.0:
        with_square = sum(x.detach().square(), axes, keepdim)
        return record(NORM, with_square.sqrt()._array, (x,), axes)
    if order == math.inf:
        return amax(x.abs(), axes, keepdim)
    if order == -math.inf:
        return amin(x.abs(), axes, keepdim)
    if order == 0.0:
        return sum(convert(x != 0, x.dtype), axes, keepdim)
    if order == 1.0:
        return sum(x.abs(), axes, keepdim)
    return sum(x.abs() ** order, axes, keepdim) ** (1.0 / order)


def _logsumexp_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axes: Any, nodes: Any) -> tuple:
    (x,) = inputs
    return (spread(g, axes, x.shape) * (x - spread(out, axes, x.shape)).exp(),)


LOGSUMEXP = explicit("logsumexp", _logsumexp_vjp, saves=(0, -1))


def logsumexp(input: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """ln(sum(e**x)) over the axes dim, without overflow; -inf over nothing. input: floating.

    >>> import tilegrad as tg
    >>> tg.logsumexp(tg.tensor([1000.0, 1000.0], dtype=tg.float64), 0)
    tensor(1000.6931, dtype=float64)
    """
    x, axes, keep = arguments("logsumexp", input, dim, keepdim, None, None)
    a = kernels.of(x._array).logsumexp(x._array, axes, keep)
    return record(LOGSUMEXP, a, (x,), axes)


METHODS: dict[str, Any] = {"var": var, "std": std, "norm": norm, "logsumexp": logsumexp}

__all__ = ["logsumexp", "norm", "std", "std_mean", "var", "var_mean"]
