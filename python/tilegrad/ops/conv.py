"""Convolution of 1 to 3 spatial axes, and its transpose.

The kernel and its two adjoints are bilinear ops, and each is the derivative of the others, so that
gradients of any order run at full speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from .. import kernels
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .matmul import operands
from .rules import _SUM, _new, bilinear, record, sum_to
from .shape import reshape, squeeze, unsqueeze


class Window(NamedTuple):
    """How a kernel moves over its input, as the kernels take it; padding in pairs per axis."""

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int


# --- rules ----------------------------------------------------------------------------------------
def _correlate(x: Tensor, w: Tensor, bias: Tensor | None, window: Window) -> Tensor:
    """y (N, O, *out) from x (N, C, *in), w (O, C / groups, *kernel) and bias (O,)."""
    b = None if bias is None else bias._array
    y = kernels.of(x._array).conv(x._array, w._array, b, *window)
    return record(CONV, y, (x, w) if bias is None else (x, w, bias), window)


def _input_grad(g: Tensor, w: Tensor, window: Window, spatial: tuple[int, ...]) -> Tensor:
    """The adjoint of the convolution in its input of the given spatial sizes."""
    y = kernels.of(g._array).conv_grad_input(g._array, w._array, spatial, *window)
    return record(INPUT_GRAD, y, (g, w), window)


def _weight_grad(g: Tensor, x: Tensor, window: Window, kernel: tuple[int, ...]) -> Tensor:
    """The adjoint of the convolution in its weight of the given kernel sizes."""
    y = kernels.of(g._array).conv_grad_weight(g._array, x._array, kernel, *window)
    return record(WEIGHT_GRAD, y, (g, x), window)


def _bias_grad(g: Tensor, window: Window) -> Tensor:
    channels = g.shape[1]
    return reshape(sum_to(g, (1, channels) + (1,) * (g.ndim - 2)), channels)


def _fused(g: Tensor, need: Any, saved: Any, window: Window, nodes: Any) -> list:
    a, x, w = g._array, saved[0], saved[1]
    k = kernels.of(a)
    grads = [
        _new(k.conv_grad_input(a, w, x.shape[2:], *window)) if need[0] else None,
        _new(k.conv_grad_weight(a, x, w.shape[2:], *window)) if need[1] else None,
    ]
    if len(need) > 2:
        axes = (0, *range(2, a.ndim))
        grads.append(_new(k.reduce(_SUM, a, axes, False)) if need[2] else None)
    return grads


# <v, conv(x, w)> = <input_grad(v, w), x> = <weight_grad(v, x), w>: one trilinear form.
CONV = bilinear(
    "conv",
    lambda g, w, window, shape: _input_grad(g, w, window, shape[2:]),
    lambda g, x, window, shape: _weight_grad(g, x, window, shape[2:]),
    _bias_grad,
    _fused,
)
INPUT_GRAD = bilinear(
    "conv_grad_input",
    lambda v, w, window, shape: _correlate(v, w, None, window),
    lambda v, g, window, shape: _weight_grad(g, v, window, shape[2:]),
)
WEIGHT_GRAD = bilinear(
    "conv_grad_weight",
    lambda u, x, window, shape: _correlate(x, u, None, window),
    lambda u, g, window, shape: _input_grad(g, u, window, shape[2:]),
)


# --- arguments ------------------------------------------------------------------------------------
def per_axis(op: str, name: str, value: Any, n: int, least: int | None = None) -> tuple[int, ...]:
    """An int, or n of them, as a tuple of n ints, none below least."""
    expected = "an int" if n == 1 else f"an int or {n} of them"
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * n
    if len(values) == 1:
        values *= n
    if len(values) != n:
        raise TgValueError(f"{op}: {name} expects {expected}, got {value}")
    try:
        ints = tuple([v.__index__() for v in values])
    except (AttributeError, TypeError):
        raise DTypeError(f"{op}: {name} expects {expected}, got {value!r}") from None
    if least is not None and min(ints, default=least) < least:
        raise TgValueError(f"{op}: {name} must be at least {least}, got {value}")
    return ints


def _pairs(op: str, n: int, padding: Any) -> tuple[tuple[int, int], ...]:
    """Padding as (before, after) per axis; it may come as pairs already."""
    if isinstance(padding, tuple) and padding and all(isinstance(p, tuple) for p in padding):
        if len(padding) != n or any(len(p) != 2 for p in padding):
            raise TgValueError(f"{op}: padding expects {n} (before, after) pairs, got {padding}")
        return tuple(per_axis(op, "padding", p, 2) for p in padding)  # type: ignore[misc]
    return tuple((p, p) for p in per_axis(op, "padding", padding, n))


@lru_cache(maxsize=1024)
def _window(
    op: str, n: int, kernel: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: Any
) -> Window:
    strides, dilations = (
        per_axis(op, "stride", stride, n),
        per_axis(op, "dilation", dilation, n),
    )
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise TgValueError(f"{op}: padding must be ints, 'same' or 'valid', got {padding!r}")
        if padding == "same" and any(s != 1 for s in strides):
            raise TgValueError(f"{op}: padding 'same' needs stride 1, got {strides}")
        spans = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        widths = tuple((s // 2, s - s // 2) if padding == "same" else (0, 0) for s in spans)
    else:
        widths = _pairs(op, n, padding)
    return Window(strides, widths, dilations, per_axis(op, "groups", groups, 1)[0])


def _hashable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple([_hashable(v) for v in value])
    return value


def _prepare(op: str, n: int, input: Any, weight: Any, bias: Any, *window: Any) -> Any:
    """The operands with a batch axis, whether it was added, and the window."""
    if bias is None:
        (x, w), b = operands(op, input, weight), None
    else:
        x, w, b = operands(op, input, weight, bias)
    single = x.ndim == n + 1
    if not single and x.ndim != n + 2:
        raise ShapeError(
            f"{op}: input must have {n + 2} dimensions (samples, channels, {n} spatial), or "
            f"{n + 1} without samples, got shape {x.shape}"
        )
    if w.ndim != n + 2:
        raise ShapeError(f"{op}: weight must have {n + 2} dimensions, got shape {w.shape}")
    found = _window(op, n, w.shape[2:], *[_hashable(v) for v in window])
    return unsqueeze(x, 0) if single else x, w, b, single, found


def _conv(op: str, n: int, input: Any, weight: Any, bias: Any, *window: Any) -> Tensor:
    x, w, b, single, found = _prepare(op, n, input, weight, bias, *window)
    y = _correlate(x, w, b, found)
    return squeeze(y, 0) if single else y


def _transposed(
    op: str, n: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any,
    output_padding: Any, groups: Any, dilation: Any,
) -> Tensor:  # fmt: skip
    if isinstance(padding, str):
        raise TgValueError(f"{op}: padding must be ints, got {padding!r}")
    x, w, b, single, found = _prepare(op, n, input, weight, bias, stride, padding, dilation, groups)
    if x.shape[1] != w.shape[0]:
        raise ShapeError(
            f"{op}: weight expects {w.shape[0]} input channels (shape {w.shape}), but input has "
            f"shape {x.shape}"
        )
    extra = per_axis(op, "output_padding", _hashable(output_padding), n)
    if any(not 0 <= e < s for e, s in zip(extra, found.stride, strict=True)):
        raise TgValueError(
            f"{op}: output_padding must be at least 0 and less than stride {found.stride}, "
            f"got {extra}"
        )
    spatial = tuple(
        (size - 1) * s - before - after + d * (k - 1) + e + 1
        for size, s, (before, after), d, k, e in zip(
            x.shape[2:], found.stride, found.padding, found.dilation, w.shape[2:], extra,
            strict=True,
        )
    )  # fmt: skip
    if any(size < 1 for size in spatial):
        raise ShapeError(
            f"{op}: input of shape {x.shape} with weight {w.shape}, stride {found.stride} and "
            f"padding {found.padding} would give the spatial shape {spatial}"
        )
    y = _input_grad(x, w, found, spatial)
    if b is not None:
        y = y + reshape(b, -1, *[1] * n)
    return squeeze(y, 0) if single else y


# --- functions ------------------------------------------------------------------------------------
def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of signals input (N, C, L) or (C, L) with weight (O, C / groups, k).

    As conv2d, over one axis.

    >>> import tilegrad as tg
    >>> tg.conv1d(tg.tensor([[[1.0, 2.0, 3.0, 4.0]]]), tg.tensor([[[1.0, -1.0]]]))
    tensor([[[-1., -1., -1.]]])
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images input (N, C, H, W) or (C, H, W) with weight (O, C / groups, kh,
    kw).

    y[n, o, p] = bias[o] + sum over c and taps t of weight[o, c, t] * input[n, c, p * stride +
    t * dilation - padding], zero outside the input; (N, O, *out) in the memory order of input, with
    out = (in + padding before and after - dilation * (k - 1) - 1) // stride + 1.

    stride, dilation: an int or one per axis, at least 1. padding: an int or one per axis, (before,
    after) pairs, "valid" (none) or "same" (out = in; stride 1 only). groups divides C and O:
    output channels of a group see its input channels only. bias: (O,) or None. Floating dtypes;
    float16 and bfloat16 sum in float32. Raises ShapeError where sizes do not fit, ValueError for
    parameters out of range. Source: Dumoulin and Visin, "A guide to convolution arithmetic for
    deep learning", 2016.

    >>> import tilegrad as tg
    >>> tg.conv2d(tg.ones(8, 1, 28, 28), tg.ones(6, 1, 5, 5), padding=2).shape
    (8, 6, 28, 28)
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of volumes input (N, C, D, H, W) or (C, D, H, W) with weight
    (O, C / groups, kd, kh, kw). As conv2d, over three axes.

    >>> import tilegrad as tg
    >>> tg.conv3d(tg.ones(1, 2, 4, 5, 6), tg.ones(3, 2, 2, 2, 2)).shape
    (1, 3, 3, 4, 5)
    """
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The adjoint of conv1d in its input: input (N, C, L) or (C, L), weight (C, O / groups, k).

    As conv_transpose2d, over one axis.

    >>> import tilegrad as tg
    >>> tg.conv_transpose1d(tg.tensor([[[1.0, 2.0]]]), tg.tensor([[[1.0, 10.0]]]))
    tensor([[[ 1., 12., 20.]]])
    """
    return _transposed(
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The adjoint of conv2d in its input: input (N, C, H, W) or (C, H, W), weight (C, O / groups,
    kh, kw).

    Every input element adds weight times itself into a window of the result (N, O, *out), out =
    (in - 1) * stride - padding before and after + dilation * (k - 1) + output_padding + 1.
    output_padding (less than stride) chooses among the sizes that conv2d maps to the same one.
    Other parameters, dtypes and errors as conv2d; padding takes no names. Source: Dumoulin and
    Visin, "A guide to convolution arithmetic for deep learning", 2016.

    >>> import tilegrad as tg
    >>> tg.conv_transpose2d(tg.ones(1, 4, 5, 5), tg.ones(4, 2, 3, 3), stride=2).shape
    (1, 2, 11, 11)
    """
    return _transposed(
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    output_padding: int | Sequence[int] = 0,
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """The adjoint of conv3d in its input: input (N, C, D, H, W) or (C, D, H, W), weight
    (C, O / groups, kd, kh, kw). As conv_transpose2d, over three axes.

    >>> import tilegrad as tg
    >>> tg.conv_transpose3d(tg.ones(1, 2, 2, 2, 2), tg.ones(2, 1, 2, 2, 2), stride=2).shape
    (1, 1, 4, 4, 4)
    """
    return _transposed(
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


__all__ = [
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
]  # fmt: skip
