"""Images at other sizes and places: interpolation, sampling on a grid.

Every mode is separable: each axis is a sum over a few taps (an index and a weight per output
element), so gradients of any order are gathers and additions.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor
from .activation import floating
from .binary import where
from .index import gather, take_slices
from .matmul import matmul
from .pool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from .rules import as_operand, constant, convert
from .shape import broadcast_to, movedim, reshape
from .unary import clamp

_RANKS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
_MODES = ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area")


@constants
def _cubic(t: Any) -> list:
    """The four weights of cubic convolution at -1 - t ... 2 - t (Keys, 1981; a = -0.75)."""
    a = -0.75
    near = lambda u: ((a + 2) * u - (a + 3)) * u * u + 1  # noqa: E731
    far = lambda u: ((a * u - 5 * a) * u + 8 * a) * u - 4 * a  # noqa: E731
    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


@constants
def _taps(size: int, out: int, scale: float, mode: str, align: bool) -> list:
    """(index, weight) arrays of each tap along one axis; a weight of None is one."""
    at = np.arange(out)
    if mode.startswith("nearest"):
        # PyTorch places nearest neighbours in float32.
        shift = np.float32(0.5 if mode == "nearest-exact" else 0.0)
        source = np.floor((at.astype(np.float32) + shift) * np.float32(scale))
        return [(np.clip(source, 0, size - 1).astype(np.int64), None)]
    if align:
        place = at * ((size - 1) / (out - 1) if out > 1 else 0.0)
    else:
        place = (at + 0.5) * scale - 0.5
    if mode == "bicubic":
        base = np.floor(place)
        steps = [base + i for i in (-1, 0, 1, 2)]
        return [
            (np.clip(s, 0, size - 1).astype(np.int64), w)
            for s, w in zip(steps, _cubic(place - base), strict=True)
        ]
    place = np.maximum(place, 0.0)
    first = np.minimum(place.astype(np.int64), size - 1)
    t = place - first
    return [(first, 1.0 - t), (np.minimum(first + 1, size - 1), t)]


def _resampled(x: Any, axis: int, taps: list, op: str) -> Any:
    y: Any = None
    for index, weight in taps:
        part: Any = take_slices(x, constant(index), axis, op)
        if weight is not None:
            column = weight.reshape((-1,) + (1,) * (x.ndim - 1 - axis))
            part = part * convert(constant(column), x.dtype)
        y = part if y is None else y + part
    return y


def _sizes(op: str, x: Any, size: Any, factor: Any, recompute: Any) -> tuple[tuple, list]:
    """The output size and the steps in the input per axis."""
    space = x.shape[2:]
    n = len(space)
    if (size is None) == (factor is None):
        raise TgValueError(f"{op}: give either size or scale_factor")
    given = factor if size is None else size
    several = tuple(given) if isinstance(given, (tuple, list)) else (given,) * n
    if len(several) != n:
        raise ShapeError(
            f"{op}: {'size' if factor is None else 'scale_factor'} expects {n} values for input of "
            f"shape {x.shape}, got {given}"
        )
    if factor is None:
        out = tuple(int(s) for s in several)
    else:
        if not all(0 < f < math.inf for f in several):
            raise TgValueError(f"{op}: scale_factor must be positive, got {factor}")
        out = tuple(math.floor(m * float(f)) for m, f in zip(space, several, strict=True))
    if min(out) < 1 or min(space) < 1:
        raise ShapeError(f"{op}: an input of shape {x.shape} cannot have the size {out}")
    if factor is not None and not recompute:
        return out, [1.0 / float(f) for f in several]
    return out, [m / o for m, o in zip(space, out, strict=True)]


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Images (N, C, ...) at another size, of one to three spatial axes.

    input: floating. size, or scale_factor: one value or one per spatial axis. mode: "nearest"
    (rounds down), "nearest-exact", "area" (the mean), "linear" (3 axes in all), "bilinear" and
    "bicubic" (4), "trilinear" (5). align_corners: whether the corner elements keep their places,
    for the last four. recompute_scale_factor: steps from the sizes instead of scale_factor.
    antialias must be False. Raises ShapeError, ValueError, DTypeError. Source: Keys, 1981
    (bicubic).

    >>> import tilegrad as tg
    >>> x = tg.tensor([[[0.0, 2.0]]])
    >>> tg.nn.functional.interpolate(x, 4, mode="linear")
    tensor([[[0. , 0.5, 1.5, 2. ]]])
    """
    op = "interpolate"
    x = floating(op, input)
    if x.ndim not in (3, 4, 5):
        raise ShapeError(f"{op}: expects 1 to 3 spatial axes after (N, C), got shape {x.shape}")
    if mode not in _MODES:
        raise TgValueError(f"{op}: mode must be one of {_MODES}, got {mode!r}")
    if _RANKS.get(mode, x.ndim - 2) != x.ndim - 2:
        raise ShapeError(f"{op}: mode {mode!r} does not fit input of shape {x.shape}")
    if align_corners is not None and mode not in _RANKS:
        raise TgValueError(f"{op}: align_corners is for {', '.join(_RANKS)}, got mode {mode!r}")
    if antialias:
        raise TgValueError(f"{op}: antialias is not supported")
    if recompute_scale_factor and scale_factor is None:
        raise TgValueError(f"{op}: recompute_scale_factor needs scale_factor")
    out, steps = _sizes(op, x, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        pool = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[x.ndim - 3]
        return pool(x, out)
    for i, (n, step) in enumerate(zip(out, steps, strict=True)):
        x = _resampled(x, 2 + i, _taps(x.shape[2 + i], n, step, mode, bool(align_corners)), op)
    return x


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """The former name of interpolate; as interpolate.

    >>> import tilegrad as tg
    >>> tg.nn.functional.upsample(tg.zeros(1, 1, 2, 2), scale_factor=2).shape
    (1, 1, 4, 4)
    """
    return interpolate(as_operand(input, "upsample"), size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """As interpolate with mode "nearest".

    >>> import tilegrad as tg
    >>> tg.nn.functional.upsample_nearest(tg.zeros(1, 1, 2, 2), 3).shape
    (1, 1, 3, 3)
    """
    return interpolate(as_operand(input, "upsample_nearest"), size, scale_factor)


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """As interpolate with mode "bilinear" and align_corners.

    >>> import tilegrad as tg
    >>> tg.nn.functional.upsample_bilinear(tg.zeros(1, 1, 2, 2), 3).shape
    (1, 1, 3, 3)
    """
    x = as_operand(input, "upsample_bilinear")
    return interpolate(x, size, scale_factor, "bilinear", True)


# --- sampling on a grid ---------------------------------------------------------------------------
@constants
def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """Where an affine map takes the points of an image, as grid_sample wants it.

    theta: (N, 2, 3) for size (N, C, H, W), giving (N, H, W, 2), or (N, 3, 4) for (N, C, D, H, W).
    Coordinates run from -1 to 1: over the centres of the corner elements if align_corners, else
    over their edges. Raises ShapeError, DTypeError. Source: Jaderberg et al., 2015.

    >>> import tilegrad as tg
    >>> theta = tg.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> tg.nn.functional.affine_grid(theta, (1, 1, 1, 2), True)
    tensor([[[[-1.,  0.],
              [ 1.,  0.]]]])
    """
    op = "affine_grid"
    a, sizes = floating(op, theta), tuple(int(n) for n in size)
    n = len(sizes) - 2
    if n not in (2, 3) or min(sizes) < 1 or a.shape != (sizes[0], n, n + 1):
        raise ShapeError(f"{op}: theta of shape {a.shape} does not fit size {sizes}")
    axes = []
    for m in sizes[2:]:
        line = np.linspace(-1.0, 1.0, m) if m > 1 else np.zeros(1)
        axes.append(line if align_corners else line * (m - 1) / m)
    points = np.stack([*np.meshgrid(*axes, indexing="ij")[::-1], np.ones(sizes[2:])], -1)
    base = convert(constant(points.reshape(-1, n + 1)), a.dtype)
    return reshape(matmul(base, movedim(a, 1, 2)), (sizes[0], *sizes[2:], n))


def _reflected(x: Any, size: int, align: bool) -> Any:
    """x mirrored into the image as often as needed; its slope is 1 or -1."""
    low, high = (0.0, size - 1.0) if align else (-0.5, size - 0.5)
    span = high - low
    if span == 0:
        return x * 0.0
    a = x._array.astype(np.float64) - low
    turns = np.floor(np.abs(a) / span)
    even = turns % 2 == 0
    # |a| mod span, from the left or from the right.
    sign = np.where(a < 0, -1.0, 1.0) * np.where(even, 1.0, -1.0)
    start = np.where(even, -turns * span, (turns + 1) * span) + low - sign * low
    y = x * convert(constant(sign), x.dtype) + convert(constant(start), x.dtype)
    return clamp(y, 0.0, size - 1.0)


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """input (N, C, H, W) read at the points grid (N, H', W', 2), as (N, C, H', W').

    input: also (N, C, D, H, W) with grid (N, D', H', W', 3); floating. grid: (x, y[, z]) from -1 to
    1; align_corners: see affine_grid. mode: "bilinear" (linear per axis) or "nearest".
    padding_mode: what lies outside, "zeros", "border" or "reflection". Raises ShapeError,
    ValueError, DTypeError. Source: Jaderberg et al., 2015.

    >>> import tilegrad as tg
    >>> x, at = tg.tensor([[[[0.0, 1.0]]]]), tg.tensor([[[[0.0, 0.0]]]])
    >>> tg.nn.functional.grid_sample(x, at)
    tensor([[[[0.5]]]])
    """
    op = "grid_sample"
    x, g = floating(op, input), floating(op, grid)
    n = x.ndim - 2
    if n not in (2, 3) or g.ndim != x.ndim or g.shape[0] != x.shape[0] or g.shape[-1] != n:
        raise ShapeError(f"{op}: grid of shape {g.shape} does not fit input of shape {x.shape}")
    if mode not in ("bilinear", "nearest"):
        raise TgValueError(f"{op}: mode must be 'bilinear' or 'nearest', got {mode!r}")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise TgValueError(
            f"{op}: padding_mode must be 'zeros', 'border' or 'reflection', got {padding_mode!r}"
        )
    if min(x.shape[2:]) < 1:
        raise ShapeError(f"{op}: input of shape {x.shape} has no elements to sample")
    align, space = bool(align_corners), x.shape[2:]
    places: list[Any] = []
    for i, size in enumerate(space):
        c: Any = g[..., n - 1 - i]
        c = (c + 1.0) * ((size - 1) / 2) if align else ((c + 1.0) * size - 1.0) / 2
        if padding_mode == "border":
            c = clamp(c, 0.0, size - 1.0)
        elif padding_mode == "reflection":
            c = _reflected(c, size, align)
        places.append(c)
    flat = reshape(x, (*x.shape[:2], -1))
    y: Any = None
    corners: Any = product((0, 1), repeat=n) if mode == "bilinear" else [(0,) * n]
    for corner in corners:
        index, inside, weight = 0, True, None
        for c, step, size in zip(places, corner, space, strict=True):
            p = c._array.astype(np.float64)
            whole = np.rint(p) if mode == "nearest" else np.floor(p)
            whole = np.clip(np.nan_to_num(whole, nan=-1.0), -2.0, size + 1.0)
            k = (whole + step).astype(np.int64)
            inside = inside & (k >= 0) & (k < size)
            index = index * size + np.clip(k, 0, size - 1)
            if mode == "bilinear":
                t: Any = c - convert(constant(whole), c.dtype)
                part = t if step else 1.0 - t
                weight = part if weight is None else weight * part
        at = np.asarray(index).reshape(x.shape[0], 1, -1)
        picked: Any = gather(flat, 2, broadcast_to(constant(at), (*x.shape[:2], at.shape[2])))
        keep = constant(np.asarray(inside).reshape(at.shape))
        picked = where(keep, picked, 0.0)
        if weight is not None:
            picked = picked * where(keep, reshape(weight, at.shape), 0.0)
        y = picked if y is None else y + picked
    return reshape(y, (*x.shape[:2], *g.shape[1:-1]))


FUNCTIONAL = (
    "affine_grid", "grid_sample", "interpolate", "upsample", "upsample_bilinear",
    "upsample_nearest",
)  # fmt: skip
"""What ``tilegrad.nn.functional`` publishes from here."""
