"""Running extremes, sums that skip NaN, differences, quantiles, covariance, integrals."""

from __future__ import annotations

import builtins
import math
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..host import host_array
from ..recording import constants
from ..tensor import Tensor
from .binary import add, eq, logical_xor, mul, pow, sub, true_divide, where
from .index import gather_along, index_tensor
from .join import cat
from .matmul import mm
from .reduce import ValuesIndices, cumsum, mean, sum
from .rules import as_operand, axis_of, constant, convert, explicit, promote, real_numbers, record
from .shape import movedim, reshape, t, unsqueeze
from .slicing import narrow
from .sorting import _along, comparable, order_of
from .unary import clamp, exp, isinf, isnan, sqrt


def _floating(op: str, x: Tensor) -> None:
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"{op}: expects a floating tensor, got {x.dtype}")


# --- running --------------------------------------------------------------------------------------
def _running_extreme(op: str, input: Any, dim: int) -> ValuesIndices:
    x, y, axis = _along(op, input, dim)
    a = comparable(y._array)
    best = (np.maximum if op == "cummax" else np.minimum).accumulate(a, axis)
    place = np.arange(a.shape[axis]).reshape([-1 if i == axis else 1 for i in range(a.ndim)])
    at = np.maximum.accumulate(np.where((a == best) | np.isnan(a), place, 0), axis)
    index = constant(np.ascontiguousarray(at))
    values = gather_along(y, index, axis)
    return ValuesIndices(reshape(values, x.shape), index._view(index._array.reshape(x.shape)))


def cummax(input: Any, dim: int) -> ValuesIndices:
    """The maximum up to each element along dim, and where it is last: (values, indices); NaN wins.

    >>> import tilegrad as tg
    >>> tg.cummax(tg.tensor([1, 3, 2]), 0).values
    tensor([1, 3, 3])
    """
    return _running_extreme("cummax", input, dim)


def cummin(input: Any, dim: int) -> ValuesIndices:
    """The minimum up to each element along dim, and where it is last: (values, indices); NaN wins.

    >>> import tilegrad as tg
    >>> tg.cummin(tg.tensor([3, 1, 2]), 0).indices
    tensor([0, 1, 1])
    """
    return _running_extreme("cummin", input, dim)


def _logcumsumexp_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axis: int, nodes: Any) -> Any:
    # r[i] = sum over j >= i of g[j] exp(y[i] - y[j]), doubled from windows of 1 to all: no exponent
    # is positive. Where y is -inf nothing passes.
    (x,) = inputs
    n = x.shape[axis]
    empty = isinf(out)
    y = where(empty, 0.0, out)
    r, d = g, 1
    while d < n:
        here, there = narrow(y, axis, 0, n - d), narrow(y, axis, d, n - d)
        fade = exp(where(narrow(empty, axis, 0, n - d), 0.0, sub(here, there)))
        longer = add(narrow(r, axis, 0, n - d), mul(fade, narrow(r, axis, d, n - d)))
        r = cat([longer, narrow(r, axis, n - d, d)], axis)
        d *= 2
    lost = isinf(x)
    share = exp(where(lost, 0.0, sub(x, y)))
    return (where(lost, 0.0, mul(r, share)),)


LOGCUMSUMEXP = explicit("logcumsumexp", _logcumsumexp_vjp, saves=(0, -1))


def logcumsumexp(input: Any, dim: int) -> Tensor:
    """ln(e**x[0] + ... + e**x[i]) along dim, without overflow. input: floating.

    Raises DTypeError for integers.

    >>> import tilegrad as tg
    >>> tg.logcumsumexp(tg.tensor([0.0, 0.0]), 0)
    tensor([0.    , 0.6931])
    """
    x, y, axis = _along("logcumsumexp", input, dim)
    _floating("logcumsumexp", x)
    a = y._array
    with np.errstate(all="ignore"):
        wide = np.logaddexp.accumulate(a.astype(np.float32) if a.itemsize == 2 else a, axis)
    return reshape(record(LOGCUMSUMEXP, wide.astype(a.dtype), (y,), axis), x.shape)


def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """The differences of neighbours along dim, n times over; bool gives whether they differ.

    prepend, append: tensors joined before and after input first. Raises ShapeError for a number,
    ValueError for a negative n.

    >>> import tilegrad as tg
    >>> tg.diff(tg.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    x = as_operand(input, "diff")
    if x.ndim == 0:
        raise ShapeError("diff: expects at least 1 dimension, got shape ()")
    if n < 0:
        raise TgValueError(f"diff: n must not be negative, got {n}")
    axis = axis_of(dim, x.ndim, "diff")
    parts = [p for p in (prepend, x, append) if p is not None]
    x = cat(parts, axis) if len(parts) > 1 else x
    for _ in range(builtins.min(n, x.shape[axis])):
        m = builtins.max(x.shape[axis] - 1, 0)
        left, right = narrow(x, axis, 0, m), narrow(x, axis, x.shape[axis] - m, m)
        x = logical_xor(right, left) if x.dtype == dtypes.bool_ else sub(right, left)
    return x if n else mul(x, 1)


# --- without NaN ----------------------------------------------------------------------------------
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """As sum, with NaN counted as zero: over the axes dim, converted to dtype first.

    >>> import tilegrad as tg
    >>> tg.nansum(tg.tensor([1.0, float("nan"), 2.0]))
    tensor(3.)
    """
    x = real_numbers("nansum", as_operand(input, "nansum"))
    x = where(isnan(x), 0.0, x) if dtypes.is_floating(x.dtype) else x
    return sum(x, dim, keepdim, dtype=dtype)


def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """As mean, of the elements that are no NaN: over the axes dim, converted to dtype first.

    >>> import tilegrad as tg
    >>> tg.nanmean(tg.tensor([1.0, float("nan"), 2.0]))
    tensor(1.5)
    """
    x = as_operand(input, "nanmean")
    x = x if dtype is None else convert(x, dtypes.dtype(dtype))
    _floating("nanmean", x)
    count = sum(eq(isnan(x), False), dim, keepdim)
    return true_divide(nansum(x, dim, keepdim), convert(count, x.dtype))


# --- quantiles ------------------------------------------------------------------------------------
_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(
    op: str, input: Any, q: Any, dim: int | None, keepdim: bool, interpolation: str, skip: bool
) -> Tensor:
    x = as_operand(input, op)
    _floating(op, x)
    levels = q if isinstance(q, Tensor) else promote(op, x.detach(), q)[1]
    if levels.dtype != x.dtype or levels.ndim > 1:
        raise DTypeError(f"{op}: q must be a number or vector of {x.dtype}, got {levels.dtype}, "
                         f"shape {levels.shape}")  # fmt: skip
    if interpolation not in _INTERPOLATIONS:
        raise TgValueError(f"{op}: interpolation is one of {_INTERPOLATIONS}, got {interpolation}")
    p = np.asarray(levels._array, np.float64)
    if x._array.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise TgValueError(f"{op}: expects elements, and q in [0, 1]")
    kept = (1,) * x.ndim
    if dim is None:
        y, axis = reshape(x, -1), 0
    else:
        y, axis = (x if x.ndim else reshape(x, 1)), axis_of(dim, x.ndim, op)
        kept = tuple([1 if i == axis else n for i, n in enumerate(x.shape)])
    y = movedim(y, axis, -1)
    a = comparable(y._array)
    nans = np.isnan(a).sum(-1, keepdims=True)
    last = y.shape[-1] - 1 - (nans if skip else 0)
    # A float64 rank: q (n - 1) need not be a float32 number.
    place = np.maximum(p.reshape(-1) * last, 0.0)
    low, high = np.floor(place).astype(np.int64), np.ceil(place).astype(np.int64)
    if interpolation in ("lower", "higher", "nearest"):
        near = {"lower": low, "higher": high}.get(interpolation)
        low = high = np.rint(place).astype(np.int64) if near is None else near
    elif not skip:  # a NaN is last in order; taken at both ends it is the result
        low, high = (np.where(nans > 0, y.shape[-1] - 1, r) for r in (low, high))
    if not skip and interpolation not in ("linear", "midpoint"):
        low = high = np.where(nans > 0, y.shape[-1] - 1, low)
    order = order_of(y, y.ndim - 1)
    shape = (*y.shape[:-1], p.size)
    start, end = (
        gather_along(
            y, constant(np.take_along_axis(order, np.broadcast_to(r, shape), -1)), y.ndim - 1
        )
        for r in (low, high)
    )
    z = start
    if interpolation in ("linear", "midpoint"):
        if interpolation == "midpoint":
            weight = constant(np.where(high > low, 0.5, 0.0).astype(x.dtype))
        else:
            ends = np.broadcast_to(np.asarray(last, np.float64), (*place.shape[:-1], 1))
            rank = mul(reshape(levels, -1), constant(ends.astype(x.dtype)))
            exact = constant((place - np.floor(place)).astype(x.dtype))
            weight = add(exact, sub(rank, rank.detach()))  # exact, with the gradient of q
        same = constant(np.broadcast_to(low == high, shape))
        z = where(same, start, add(start, mul(weight, sub(end, start))))
    z = movedim(z, -1, 0)
    size = kept if keepdim else tuple([n for i, n in enumerate(kept) if dim is not None and
                                       i != axis])  # fmt: skip
    return reshape(z, size if levels.ndim == 0 else (p.size, *size))


def quantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """The value below which the part q of the elements lies: of all, or along dim; NaN where there
    is one.

    q: in [0, 1], a number or a vector, which adds a first axis. interpolation between neighbours:
    "linear", "lower", "higher", "midpoint" or "nearest". Raises DTypeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.quantile(tg.tensor([1.0, 2.0, 4.0]), 0.25)
    tensor(1.5)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


def nanquantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Tensor:  # fmt: skip
    """As quantile, of the elements that are no NaN; q, dim and interpolation as there.

    >>> import tilegrad as tg
    >>> tg.nanquantile(tg.tensor([1.0, float("nan"), 4.0]), 0.5)
    tensor(2.5)
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


# --- histograms -----------------------------------------------------------------------------------
class Histogram(NamedTuple):
    """What histogram returns."""

    hist: Tensor
    bin_edges: Tensor


def histogram(
    input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> Histogram:
    """How many elements fall between neighbouring edges, and the edges, in input's dtype.

    bins: the number of equal parts of range (low, high), the extremes of input unless given, or
    ascending edges. weight: what each element counts, of input's shape and dtype; density: as a
    density, whose integral is 1. The last part includes its upper edge. No gradient passes. Raises
    DTypeError for integers, ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.histogram(tg.tensor([1.0, 2.0, 1.0]), 2, range=(0.0, 2.0)).hist
    tensor([0., 3.])
    """
    x = as_operand(input, "histogram")
    _floating("histogram", x)
    weights = None if weight is None else as_operand(weight, "histogram", "weight")
    if weights is not None and (weights.shape, weights.dtype) != (x.shape, x.dtype):
        raise ShapeError(f"histogram: weight of shape {weights.shape} and {weights.dtype} does not "
                         f"fit input of shape {x.shape} and {x.dtype}")  # fmt: skip
    edges: Any = bins
    if not isinstance(bins, int):
        edges = np.asarray(host_array(bins), np.float64)
    wide: list[Any] = [
        None if t is None else np.asarray(t._array, np.float64).ravel() for t in (x, weights)
    ]
    if wide[0].size == 0 and range is None:
        range = (0.0, 1.0)
    try:
        counts, limits = np.histogram(wide[0], edges, range, density=density, weights=wide[1])
    except ValueError as e:
        raise TgValueError(f"histogram: {e}") from None
    return Histogram(constant(counts.astype(x.dtype)), constant(limits.astype(x.dtype)))


# --- covariance -----------------------------------------------------------------------------------
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """The covariances of the rows of a matrix, whose columns are observations; of a vector, its
    variance.

    correction: taken from the number of observations. fweights: how often each counts, integers;
    aweights: how much each counts. Raises ShapeError, DTypeError, ValueError for negative weights.

    >>> import tilegrad as tg
    >>> tg.cov(tg.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    x = real_numbers("cov", *promote("cov", input, floating=True))
    if x.ndim > 2:
        raise ShapeError(f"cov: expects at most 2 dimensions, got shape {x.shape}")
    rows = x if x.ndim == 2 else reshape(x, (1, -1))
    n = rows.shape[1]
    weights: Tensor | None = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        w = as_operand(given, "cov")
        if w.shape != (n,):
            raise ShapeError(f"cov: expects {name} of shape {(n,)}, got {w.shape}")
        if dtypes.is_floating(w.dtype) != (name == "aweights"):
            raise DTypeError(f"cov: {name} has dtype {w.dtype}")
        if (np.asarray(w._array, np.float64) < 0).any():
            raise TgValueError(f"cov: {name} must not be negative")
        w = convert(w, x.dtype)
        weights = w if weights is None else mul(weights, w)
    if weights is None:
        centred, scaled = sub(rows, mean(rows, 1, True)), None
        left: Any = builtins.max(n - correction, 0)
    else:
        total = sum(weights)
        centred = sub(rows, true_divide(sum(mul(rows, weights), 1, True), total))
        scaled = mul(centred, weights)
        if aweights is None or correction == 0:
            left = sub(total, correction)
        else:
            part = sum(mul(weights, convert(as_operand(aweights, "cov"), x.dtype)))
            left = sub(total, mul(true_divide(part, total), correction))
        left = clamp(left, 0.0)
    product = mm(centred if scaled is None else scaled, t(centred))
    c = true_divide(product, left if isinstance(left, Tensor) else float(left))
    return c if x.ndim == 2 else reshape(c, ())


def corrcoef(input: Any) -> Tensor:
    """The correlation coefficients of the rows of a matrix, in [-1, 1]; arguments as for cov.

    >>> import tilegrad as tg
    >>> tg.corrcoef(tg.tensor([[1.0, 2.0], [3.0, 1.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    c = cov(input)
    if c.ndim == 0:
        return true_divide(c, c)
    spread = sqrt(c.diagonal())
    return clamp(true_divide(true_divide(c, unsqueeze(spread, 1)), unsqueeze(spread, 0)), -1, 1)


# --- integrals and powers -------------------------------------------------------------------------
def _trapezoids(op: str, y: Any, x: Any, dx: Any, dim: int) -> tuple[Tensor, int]:
    (v,) = promote(op, y)
    v = v if dtypes.is_differentiable(v.dtype) else convert(v, dtypes.get_default_dtype())
    if v.ndim == 0:
        raise ShapeError(f"{op}: expects at least 1 dimension, got shape ()")
    axis = axis_of(dim, v.ndim, op)
    n = builtins.max(v.shape[axis] - 1, 0)
    pairs = add(narrow(v, axis, 0, n), narrow(v, axis, v.shape[axis] - n, n))
    if x is None:
        return mul(pairs, mul(1.0 if dx is None else dx, 0.5)), axis
    if dx is not None:
        raise TgValueError(f"{op}: expects x or dx, got both")
    at = as_operand(x, op)
    if at.ndim == 1 and v.ndim > 1:
        if at.shape[0] != v.shape[axis]:
            raise ShapeError(f"{op}: x {at.shape} does not fit dim {dim} of y {v.shape}")
        at = reshape(at, tuple([-1 if i == axis else 1 for i in range(v.ndim)]))
    step = diff(at, 1, axis - v.ndim)
    return mul(mul(pairs, step), 0.5), axis


def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The integral of y along dim by the trapezoidal rule.

    x: where y was taken, a vector or a tensor; or dx, the distance of neighbours, 1 unless given.

    >>> import tilegrad as tg
    >>> tg.trapezoid(tg.tensor([1.0, 2.0, 3.0]))
    tensor(4.)
    """
    parts, axis = _trapezoids("trapezoid", y, x, dx, dim)
    return sum(parts, axis)


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The running sums that trapezoid adds up; y, x, dx and dim as there.

    >>> import tilegrad as tg
    >>> tg.cumulative_trapezoid(tg.tensor([1.0, 2.0, 3.0]))
    tensor([1.5, 4. ])
    """
    parts, axis = _trapezoids("cumulative_trapezoid", y, x, dx, dim)
    return cumsum(parts, axis)


@constants
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """The Vandermonde matrix of a vector x: its powers N - 1 to 0 as columns, 0 to N - 1 if
    increasing. N: the length of x unless given. Raises ShapeError, ValueError for a negative N.

    >>> import tilegrad as tg
    >>> tg.vander(tg.tensor([2, 3]))
    tensor([[2, 1],
            [3, 1]])
    """
    v = as_operand(x, "vander")
    if v.ndim != 1:
        raise ShapeError(f"vander: expects a vector, got shape {v.shape}")
    n = v.shape[0] if N is None else int(N)
    if n < 0:
        raise TgValueError(f"vander: N must not be negative, got {n}")
    powers = np.arange(n) if increasing else np.arange(n)[::-1].copy()
    return pow(unsqueeze(v, 1), convert(constant(powers), v.dtype))


def unravel_index(indices: Any, shape: Any) -> tuple[Tensor, ...]:
    """Flat indices as one tensor per axis of the shape, in row-major order.

    Raises ValueError for indices out of range.

    >>> import tilegrad as tg
    >>> tg.unravel_index(tg.tensor([3, 5]), (2, 3))
    (tensor([1, 1]), tensor([0, 2]))
    """
    at = index_tensor(indices, "unravel_index")
    sizes = (int(shape),) if isinstance(shape, int) else tuple(int(n) for n in shape)
    total = math.prod(sizes)
    if at._array.size and not (at._array.min() >= 0 and at._array.max() < total):
        raise TgValueError(f"unravel_index: indices must lie in [0, {total}) for shape {sizes}")
    return tuple(constant(np.asarray(i)) for i in np.unravel_index(at._array, sizes))


trapz = trapezoid
METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        corrcoef, cov, cummax, cummin, diff, histogram, logcumsumexp, nanmean, nanquantile,
        nansum, quantile,
    )
}  # fmt: skip

__all__ = [
    "corrcoef", "cov", "cummax", "cummin", "cumulative_trapezoid", "diff", "histogram",
    "logcumsumexp", "nanmean", "nanquantile", "nansum", "quantile", "trapezoid", "trapz",
    "unravel_index", "vander",
]  # fmt: skip
