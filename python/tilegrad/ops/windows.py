"""Windows as columns and back, and the poolings made of them; pixels traded for channels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor
from .activation import floating
from .binary import where
from .conv import per_axis
from .create import zeros
from .index import gather, index_add, take_slices
from .join import pad
from .pool import avg_pool1d, avg_pool2d, avg_pool3d
from .random import rand
from .reduce import argmax
from .rules import as_operand, constant, number
from .shape import broadcast_to, permute, reshape, squeeze, unsqueeze
from .unary import abs as abs_
from .unary import relu, sign


def _batched(op: str, input: Any, n: int) -> Any:
    x = as_operand(input, op)
    if x.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"{op}: input expects {n + 2} dimensions (N, C, ...) or {n + 1} (C, ...), got shape "
            f"{x.shape}"
        )
    return unsqueeze(x, 0) if x.ndim == n + 1 else x


@constants
def _places(
    op: str, spatial: tuple, kernel: tuple, dilation: tuple, stride: tuple
) -> tuple[np.ndarray, tuple]:
    """The flat place of every tap of every window (taps, windows), and how many windows there are
    per axis."""
    for name, values in (("kernel_size", kernel), ("dilation", dilation), ("stride", stride)):
        if min(values) < 1:
            raise TgValueError(f"{op}: {name} must be positive, got {values}")
    counts = tuple(
        (size - d * (k - 1) - 1) // s + 1
        for size, k, d, s in zip(spatial, kernel, dilation, stride, strict=True)
    )
    if min(counts) < 1:
        raise ShapeError(
            f"{op}: windows of kernel_size {kernel} and dilation {dilation} do not fit into the "
            f"padded size {spatial}"
        )
    places = np.zeros((1,) * (2 * len(spatial)), np.int64)
    n = len(spatial)
    for i in range(n):
        taps = np.arange(kernel[i])[:, None] * dilation[i] + np.arange(counts[i]) * stride[i]
        shape = [1] * (2 * n)
        shape[i], shape[n + i] = taps.shape
        places = places * spatial[i] + taps.reshape(shape)
    return places.reshape(math.prod(kernel), math.prod(counts)), counts


def _windows(op: str, x: Any, places: np.ndarray) -> Any:
    """(N, C, taps, windows) of x (N, C, ...)."""
    flat = reshape(x, (*x.shape[:2], -1))
    y = take_slices(flat, constant(places.reshape(-1)), 2, op)
    return reshape(y, (*x.shape[:2], *places.shape))


def _both(padding: tuple) -> list[int]:
    return [p for n in reversed(padding) for p in (n, n)]


def _settings(op: str, kernel: Any, dilation: Any, stride: Any, padding: Any) -> list[tuple]:
    named = {"kernel_size": kernel, "dilation": dilation, "stride": stride, "padding": padding}
    return [per_axis(op, name, value, 2) for name, value in named.items()]


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of images as columns: (N, C, H, W) becomes (N, C kh kw, number of windows).

    input: also (C, H, W). kernel_size, dilation, padding (zeros), stride: an int or 2 of them.
    Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.unfold(tg.zeros(1, 3, 4, 5), 2).shape
    (1, 12, 12)
    """
    op = "unfold"
    x = _batched(op, input, 2)
    k, d, s, p = _settings(op, kernel_size, dilation, stride, padding)
    x = pad(x, _both(p)) if any(p) else x
    places, _ = _places(op, x.shape[2:], k, d, s)
    y = _windows(op, x, places)
    y = reshape(y, (y.shape[0], -1, y.shape[3]))
    return squeeze(y, 0) if input.ndim == 3 else y


def fold(
    input: Tensor,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """The adjoint of unfold: columns (N, C kh kw, windows) added up to images (N, C, *output_size).

    input: also without N. Other arguments as for unfold. Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.fold(tg.ones(1, 4, 4), (3, 3), 2)[0, 0].tolist()
    [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
    """
    op = "fold"
    x = _batched(op, input, 1)
    size = per_axis(op, "output_size", output_size, 2)
    k, d, s, p = _settings(op, kernel_size, dilation, stride, padding)
    padded = tuple(n + 2 * m for n, m in zip(size, p, strict=True))
    places, _ = _places(op, padded, k, d, s)
    if x.shape[1] % places.shape[0] or x.shape[2] != places.shape[1]:
        raise ShapeError(
            f"{op}: input expects (N, C * {places.shape[0]}, {places.shape[1]}) for output_size "
            f"{size}, got shape {input.shape}"
        )
    columns = reshape(x, (x.shape[0], -1, places.size))
    empty = zeros(*columns.shape[:2], math.prod(padded), dtype=x.dtype)
    y = index_add(empty, 2, constant(places.reshape(-1)), columns)
    y = reshape(y, (*columns.shape[:2], *padded))
    if any(p):
        y = pad(y, [-n for n in _both(p)])
    return squeeze(y, 0) if input.ndim == 2 else y


# --- pooling --------------------------------------------------------------------------------------
def _lp_pool(op: str, n: int, input: Any, p: Any, kernel: Any, stride: Any, ceil: bool) -> Any:
    x, order = floating(op, input), number(p, op, "norm_type")
    average = (avg_pool1d, avg_pool2d, avg_pool3d)[n - 1]
    if order == 0:
        raise TgValueError(f"{op}: norm_type must not be 0")
    mean: Any = average(x**order, kernel, stride, 0, ceil)
    count = math.prod(per_axis(op, "kernel_size", kernel, n))
    return (sign(mean) * relu(abs_(mean)) * count) ** (1.0 / order)  # type: ignore[operator]


def lp_pool1d(
    input: Tensor, norm_type: float, kernel_size: int, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """sum(x**norm_type)**(1 / norm_type) of each window of (N, C, L) or (C, L).

    input: floating. norm_type: 1 gives the sum, infinity would give the maximum. kernel_size,
    stride, ceil_mode as for avg_pool1d. Raises ShapeError, ValueError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.lp_pool1d(tg.tensor([[3.0, 4.0]]), 2, 2)
    tensor([[5.]])
    """
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """As lp_pool1d, of (N, C, H, W) or (C, H, W).

    >>> import tilegrad as tg
    >>> tg.nn.functional.lp_pool2d(tg.ones(1, 2, 2), 2, 2)
    tensor([[[2.]]])
    """
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """As lp_pool1d, of (N, C, D, H, W) or (C, D, H, W).

    >>> import tilegrad as tg
    >>> tg.nn.functional.lp_pool3d(tg.ones(1, 1, 2, 2), 2, (1, 2, 2))
    tensor([[[[2.]]]])
    """
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


def median_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0) -> Tensor:
    """The median of each window of (N, C, H, W) or (C, H, W), the lower one of an even number.

    input: any real dtype. kernel_size, stride (default: kernel_size), padding (repeats the edge):
    an int or 2 of them. Raises ShapeError, ValueError. Source: Tukey, 1977.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[[1.0, 9.0, 2.0], [4.0, 5.0, 6.0], [7.0, 0.0, 3.0]]])
    >>> tg.nn.functional.median_pool2d(x, 3)
    tensor([[[4.]]])
    """
    op = "median_pool2d"
    x = _batched(op, input, 2)
    k = per_axis(op, "kernel_size", kernel_size, 2)
    s = k if stride is None else per_axis(op, "stride", stride, 2)
    p = per_axis(op, "padding", padding, 2)
    x = pad(x, _both(p), mode="replicate") if any(p) else x
    places, counts = _places(op, x.shape[2:], k, (1, 1), s)
    y = _windows(op, x, places)
    order = np.argsort(y._array, axis=2, kind="stable")
    middle = order[:, :, (len(places) - 1) // 2 : (len(places) + 1) // 2][:, :, :1]
    y = reshape(gather(y, 2, constant(np.ascontiguousarray(middle))), (*x.shape[:2], *counts))
    return squeeze(y, 0) if input.ndim == 3 else y


def _max_unpool(
    op: str, n: int, input: Any, indices: Any, kernel: Any, stride: Any, padding: Any, size: Any
) -> Any:
    x, at = _batched(op, input, n), _batched(op, indices, n)
    if at.shape != x.shape:
        raise ShapeError(f"{op}: indices expects the shape of input {x.shape}, got {at.shape}")
    k = per_axis(op, "kernel_size", kernel, n)
    s = k if stride is None else per_axis(op, "stride", stride, n)
    p = per_axis(op, "padding", padding, n)
    default = tuple(
        (m - 1) * t + w - 2 * q for m, t, w, q in zip(x.shape[2:], s, k, p, strict=True)
    )
    want = default if size is None else tuple(size)[-n:]
    near = len(want) == n and all(abs(w - d) < t for w, d, t in zip(want, default, s, strict=True))
    if not near:
        raise ShapeError(f"{op}: output_size {want} is too far from {default}")
    places = at._array.reshape(*x.shape[:2], -1)
    total = math.prod(want)
    if places.size and (places.min() < 0 or places.max() >= total):
        raise TgValueError(f"{op}: an index is outside of the output size {want}")
    # Where windows overlapped, places repeat; the last one counts.
    source = np.full((*x.shape[:2], total), -1)
    np.put_along_axis(source, places, np.arange(places.shape[2])[None, None], 2)
    flat = reshape(x, (*x.shape[:2], -1))
    y = where(constant(source < 0), 0.0, gather(flat, 2, constant(np.maximum(source, 0))))
    y = reshape(y, (*x.shape[:2], *want))
    return squeeze(y, 0) if as_operand(input, op).ndim == n + 1 else y


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """The values of a max pooling put back to where they were, zeros elsewhere.

    input, indices: (N, C, L) or (C, L), the results of max_pool1d with return_indices. kernel_size,
    stride (default: kernel_size), padding: those of the pooling. output_size: chooses among the
    sizes they make possible. Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> F = tg.nn.functional
    >>> y, at = F.max_pool1d(tg.tensor([[1.0, 2.0, 4.0, 3.0]]), 2, return_indices=True)
    >>> F.max_unpool1d(y, at, 2)
    tensor([[0., 2., 4., 0.]])
    """
    op = "max_unpool1d"
    return _max_unpool(op, 1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """As max_unpool1d, of (N, C, H, W) or (C, H, W). Source: Zeiler and Fergus, 2013.

    >>> import tilegrad as tg
    >>> tg.nn.functional.max_unpool2d(tg.ones(1, 1, 1), tg.tensor([[[3]]]), 2).tolist()
    [[[0.0, 0.0], [0.0, 1.0]]]
    """
    op = "max_unpool2d"
    return _max_unpool(op, 2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """As max_unpool1d, of (N, C, D, H, W) or (C, D, H, W).

    >>> import tilegrad as tg
    >>> tg.nn.functional.max_unpool3d(tg.ones(1, 1, 1, 1), tg.tensor([[[[7]]]]), 2).sum()
    tensor(1.)
    """
    op = "max_unpool3d"
    return _max_unpool(op, 3, input, indices, kernel_size, stride, padding, output_size)


def _fractional(
    op: str, n: int, input: Any, kernel: Any, size: Any, ratio: Any, wanted: bool, samples: Any
) -> Any:
    x = _batched(op, input, n)
    k, space = per_axis(op, "kernel_size", kernel, n), x.shape[2:]
    if (size is None) == (ratio is None):
        raise TgValueError(f"{op}: give either output_size or output_ratio")
    if size is None:
        ratios = ratio if isinstance(ratio, (tuple, list)) else (ratio,) * n
        if not all(0 < r < 1 for r in ratios):
            raise TgValueError(f"{op}: output_ratio must lie between 0 and 1, got {ratio}")
        size = tuple(int(m * r) for m, r in zip(space, ratios, strict=True))
    out = per_axis(op, "output_size", size, n)
    if any(o < 1 or o + w - 1 > m for o, w, m in zip(out, k, space, strict=True)):
        raise ShapeError(f"{op}: output_size {out} with kernel_size {k} does not fit {space}")
    if samples is None:
        samples = rand(*x.shape[:2], n)
    u = as_operand(samples, op)._array.astype(np.float64)
    if u.shape != (*x.shape[:2], n):
        raise ShapeError(f"{op}: _random_samples expects shape {(*x.shape[:2], n)}, got {u.shape}")
    places = np.zeros((*x.shape[:2], *(1,) * (2 * n)), np.int64)
    for i in range(n):
        # PyTorch takes the samples of two axes in the order W, H, those of three as D, H, W.
        draw = u[..., n - 1 - i if n == 2 else i, None]
        step = (space[i] - k[i]) / (out[i] - 1) if out[i] > 1 else 0.0
        begin = ((np.arange(out[i]) + draw) * step).astype(np.int64)
        begin -= (draw * step).astype(np.int64)
        begin[..., -1] = space[i] - k[i]
        taps = begin[..., None] + np.arange(k[i])
        shape = [*x.shape[:2]] + [1] * (2 * n)
        shape[2 + i], shape[2 + n + i] = out[i], k[i]
        places = places * space[i] + taps.reshape(shape)
    places = places.reshape(*x.shape[:2], math.prod(out), math.prod(k))
    flat = reshape(x, (*x.shape[:2], 1, -1))
    values = gather(broadcast_to(flat, (*places.shape[:3], flat.shape[3])), 3, constant(places))
    best = argmax(values.detach(), 3, True)
    at = np.take_along_axis(places, best._array, 3).reshape(*x.shape[:2], -1)
    y: Any = gather(reshape(x, (*x.shape[:2], -1)), 2, constant(at))
    y, where_ = reshape(y, (*x.shape[:2], *out)), constant(at.reshape(*x.shape[:2], *out))
    if as_operand(input, op).ndim == n + 1:
        y, where_ = squeeze(y, 0), squeeze(where_, 0)
    return (y, where_) if wanted else y


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maxima of overlapping windows at random places that shrink (N, C, H, W) by a fraction.

    input: also (C, H, W). kernel_size: an int or 2 of them. output_size, or output_ratio between 0
    and 1: one or 2. return_indices: also the places of the maxima. _random_samples: (N, C, 2) in
    [0, 1), drawn unless given. Raises ShapeError, ValueError. Source: Graham, 2014.

    >>> import tilegrad as tg
    >>> tg.nn.functional.fractional_max_pool2d(tg.zeros(1, 2, 9, 9), 2, output_ratio=0.7).shape
    (1, 2, 6, 6)
    """
    return _fractional(
        "fractional_max_pool2d", 2, input, kernel_size, output_size, output_ratio, return_indices,
        _random_samples,
    )  # fmt: skip


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """As fractional_max_pool2d, of (N, C, D, H, W) or (C, D, H, W).

    >>> import tilegrad as tg
    >>> tg.nn.functional.fractional_max_pool3d(tg.zeros(1, 2, 5, 6, 7), 2, 3).shape
    (1, 2, 3, 3, 3)
    """
    return _fractional(
        "fractional_max_pool3d", 3, input, kernel_size, output_size, output_ratio, return_indices,
        _random_samples,
    )  # fmt: skip


# --- pixels and channels --------------------------------------------------------------------------
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r r, H, W) as (..., C, H r, W r), r the upscale_factor.

    input: any dtype. Raises ShapeError. Source: Shi et al., 2016.

    >>> import tilegrad as tg
    >>> tg.nn.functional.pixel_shuffle(tg.arange(4).reshape(4, 1, 1), 2).tolist()
    [[[0, 1], [2, 3]]]
    """
    x, r = as_operand(input, "pixel_shuffle"), upscale_factor
    if x.ndim < 3 or r < 1 or x.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle: expects (..., C * {r * r}, H, W) for upscale_factor {r}, got shape "
            f"{x.shape}"
        )
    *lead, c, h, w = x.shape
    n = len(lead)
    y = reshape(x, (*lead, c // (r * r), r, r, h, w))
    y = permute(y, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(y, (*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of pixel_shuffle: (..., C, H r, W r) as (..., C r r, H, W), r the
    downscale_factor. Raises ShapeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.pixel_unshuffle(tg.zeros(1, 4, 6), 2).shape
    (4, 2, 3)
    """
    x, r = as_operand(input, "pixel_unshuffle"), downscale_factor
    if x.ndim < 3 or r < 1 or x.shape[-1] % r or x.shape[-2] % r:
        raise ShapeError(
            f"pixel_unshuffle: expects (..., C, H, W) with H and W divisible by downscale_factor "
            f"{r}, got shape {x.shape}"
        )
    *lead, c, h, w = x.shape
    n = len(lead)
    y = reshape(x, (*lead, c, h // r, r, w // r, r))
    y = permute(y, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(y, (*lead, c * r * r, h // r, w // r))


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of (N, C, ...) dealt out anew: position g C / groups + i goes to i groups + g.

    input: any dtype, C divisible by groups. Raises ShapeError. Source: Zhang et al., ShuffleNet,
    2017.

    >>> import tilegrad as tg
    >>> tg.nn.functional.channel_shuffle(tg.arange(4).reshape(1, 4, 1), 2).flatten().tolist()
    [0, 2, 1, 3]
    """
    x = as_operand(input, "channel_shuffle")
    if x.ndim < 3 or groups < 1 or x.shape[1] % groups:
        raise ShapeError(
            f"channel_shuffle: expects (N, C, ...) with C divisible by groups {groups}, got shape "
            f"{x.shape}"
        )
    n, c, *rest = x.shape
    y = permute(reshape(x, (n, groups, c // groups, -1)), (0, 2, 1, 3))
    return reshape(y, (n, c, *rest))


FUNCTIONAL = (
    "channel_shuffle", "fold", "fractional_max_pool2d", "fractional_max_pool3d", "lp_pool1d",
    "lp_pool2d", "lp_pool3d", "max_unpool1d", "max_unpool2d", "max_unpool3d", "median_pool2d",
    "pixel_shuffle", "pixel_unshuffle", "unfold",
)  # fmt: skip
"""What ``tilegrad.nn.functional`` publishes from here."""
