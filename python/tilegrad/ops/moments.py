"""Variance, standard deviation, norms and logsumexp."""

from __future__ import annotations

import inspect
import math
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .binary import where
from .reduce import amax, amin, arguments, length, mean, spread, sum
from .rules import as_operand, axes_of, convert, explicit, number, promote, record


def _var_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> tuple:
    (x,) = inputs
    axes, factor = params
    return (spread(g, axes, x.shape) * (x - mean(x, axes, True)) * (2.0 * factor),)


VAR = explicit("var", _var_vjp, saves=(0,))


def var(
    input: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The variance over the axes dim: sum((x - mean)**2) / (n - correction).

    input: floating. correction: 1 (Bessel's) unless given; unbiased=False means 0; a bool in the
    place of dim is unbiased, over all axes. NaN where no degree of freedom is left. Raises
    DTypeError for integers.

    >>> import tilegrad as tg
    >>> tg.var(tg.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    x, axes, keep = arguments("var", input, dim, keepdim, axis, keepdims)
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"var: expects a floating tensor, got {x.dtype}")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
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


def _root(v: Tensor) -> Tensor:
    """The square root, whose gradient at 0 is taken as zero."""
    return where(v == 0, 0.0, where(v == 0, 1.0, v).sqrt()) if v._node is not None else v.sqrt()


def std(input: Any, *args: Any, **options: Any) -> Tensor:
    """The standard deviation over the axes dim: the square root of ``var``, with its arguments. The
    gradient is 0 where all elements are equal.

    >>> import tilegrad as tg
    >>> tg.std(tg.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    return _root(var(input, *args, **options))


def var_mean(input: Any, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """``(var(...), mean(...))`` over the same axes.

    >>> import tilegrad as tg
    >>> tg.var_mean(tg.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    v = var(input, *args, **options)
    given = _VAR.bind(input, *args, **options).arguments
    dim = given.get("dim")
    dim = None if isinstance(dim, bool) else dim
    keep = given.get("keepdim", False) or given.get("keepdims") or False
    return v, mean(input, dim, keep, axis=given.get("axis"))


def std_mean(input: Any, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """``(std(...), mean(...))`` over the same axes.

    >>> import tilegrad as tg
    >>> tg.std_mean(tg.tensor([1.0, 2.0, 3.0]))
    (tensor(1.), tensor(2.))
    """
    v, m = var_mean(input, *args, **options)
    return _root(v), m


_VAR = inspect.signature(var)
for _fn, _result in ((std, "Tensor"), (var_mean, "tuple[Tensor, Tensor]"),
                     (std_mean, "tuple[Tensor, Tensor]")):  # fmt: skip
    _fn.__signature__ = _VAR.replace(return_annotation=_result)  # type: ignore[union-attr]


def _norm_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axes: Any, nodes: Any) -> tuple:
    (x,) = inputs
    y = spread(out, axes, x.shape)
    # At the origin the gradient is taken as zero.
    safe = where(y == 0, 1.0, y)
    return (spread(g, axes, x.shape) * where(y == 0, 0.0, x / safe),)


NORM = explicit("norm", _norm_vjp, saves=(0, -1))


def norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The p-norm sum(|x|**p)**(1/p) over the axes dim.

    p: a number, inf, -inf, 0 (the count of non-zeros), "fro" or None (2), or "nuc", the sum of the
    singular values of the matrices in two axes dim. input: floating or complex. The gradient at the
    origin is 0. Raises DTypeError for integers, ValueError for an unknown p.

    >>> import tilegrad as tg
    >>> tg.norm(tg.tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = as_operand(input, "norm")
    x = abs(x) if x.dtype.kind == "c" else x
    if dtype is not None:
        x = convert(x, dtypes.dtype(dtype))
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"norm: expects a floating tensor, got {x.dtype}")
    if x.dtype.itemsize == 2:  # a half sum could overflow
        return convert(norm(convert(x, dtypes.float32), p, dim, keepdim), x.dtype)
    if p == "nuc":
        from ..linalg import matrix_norm

        return matrix_norm(x, "nuc", (-2, -1) if dim is None and x.ndim == 2 else dim, keepdim)
    axes = axes_of(dim, x.ndim, "norm")
    order = 2.0 if p is None or p == "fro" else p
    if isinstance(order, str):
        raise TgValueError(f"norm: p is a number, 'fro', 'nuc' or None, got {p!r}")
    order = number(order, "norm", "p")
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
    return _power(sum(_power(x.abs(), order), axes, keepdim), 1.0 / order)


def _power(x: Tensor, p: float) -> Tensor:
    """x**p for x >= 0, with the derivative 0 at x = 0."""
    return where(x == 0, 0.0 if p > 0 else math.inf, where(x == 0, 1.0, x) ** p)


def _logsumexp_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axes: Any, nodes: Any) -> tuple:
    (x,) = inputs
    return (spread(g, axes, x.shape) * (x - spread(out, axes, x.shape)).exp(),)


LOGSUMEXP = explicit("logsumexp", _logsumexp_vjp, saves=(0, -1))


def logsumexp(
    input: Any,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """ln(sum(e**x)) over the axes dim, without overflow; -inf over nothing. input: any real dtype;
    integers and bool are converted to the default floating one.

    >>> import tilegrad as tg
    >>> tg.logsumexp(tg.tensor([1000.0, 1000.0], dtype=tg.float64), 0)
    tensor(1000.6931, dtype=float64)
    """
    (x,) = promote("logsumexp", input, floating=True)
    x, axes, keep = arguments("logsumexp", x, dim, keepdim, axis, keepdims)
    a = kernels.of(x._array).logsumexp(x._array, axes, keep)
    return record(LOGSUMEXP, a, (x,), axes)


METHODS: dict[str, Any] = {"var": var, "std": std, "norm": norm, "logsumexp": logsumexp}

__all__ = ["logsumexp", "norm", "std", "std_mean", "var", "var_mean"]
