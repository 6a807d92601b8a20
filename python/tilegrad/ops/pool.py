"""Max and average pooling of 1 to 3 spatial axes, with fixed and adaptive windows.

All are linear once the places of the maxima are known, so gradients of any order are pooling
kernels again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .. import dtypes, kernels
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from .conv import per_axis
from .rules import constant, convert, explicit, linear, record
from .shape import squeeze, unsqueeze


class _Average(NamedTuple):
    """The windows of an average, as the kernels take them."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    ceil_mode: bool
    count_include_pad: bool
    divisor: int


# --- rules ----------------------------------------------------------------------------------------
# The places of the maxima are an input, in the narrow type that the kernels count with.
def _scatter(g: Tensor, indices: Tensor, spatial: tuple[int, ...]) -> Tensor:
    y = kernels.of(g._array).max_pool_grad(g._array, indices._array, spatial)
    return record(SCATTER, y, (g, indices))


def _pick(x: Tensor, indices: Tensor) -> Tensor:
    y = kernels.of(x._array).max_pool_gather(x._array, indices._array)
    return record(PICK, y, (x, indices))


def _pick_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> tuple:
    return _scatter(g, inputs[1], nodes[0].shape[2:]), None


def _scatter_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> tuple:
    return _pick(g, inputs[1]), None


MAX_POOL = explicit("max_pool", _pick_vjp, saves=(1,))
PICK = explicit("max_pool_gather", _pick_vjp, saves=(1,))
SCATTER = explicit("max_pool_grad", _scatter_vjp, saves=(1,))


def _average(x: Tensor, p: _Average) -> Tensor:
    return record(AVG_POOL, kernels.of(x._array).avg_pool(x._array, *p), (x,), p)


def _average_back(g: Tensor, p: _Average, spatial: tuple[int, ...]) -> Tensor:
    y = kernels.of(g._array).avg_pool_grad(g._array, spatial, *p)
    return record(AVG_POOL_BACK, y, (g,), p)


AVG_POOL = linear("avg_pool", lambda g, p, shape: _average_back(g, p, shape[2:]))
AVG_POOL_BACK = linear("avg_pool_grad", lambda g, p, shape: _average(g, p))


def _adaptive(x: Tensor, out: tuple[int, ...]) -> Tensor:
    return record(ADAPTIVE, kernels.of(x._array).adaptive_avg_pool(x._array, out), (x,), out)


def _adaptive_back(g: Tensor, spatial: tuple[int, ...]) -> Tensor:
    y = kernels.of(g._array).adaptive_avg_pool_grad(g._array, spatial)
    return record(ADAPTIVE_BACK, y, (g,))


ADAPTIVE = linear("adaptive_avg_pool", lambda g, out, shape: _adaptive_back(g, shape[2:]))
ADAPTIVE_BACK = linear("adaptive_avg_pool_grad", lambda g, p, shape: _adaptive(g, shape[2:]))


# --- arguments ------------------------------------------------------------------------------------
def _batched(op: str, x: Tensor, n: int) -> Tensor:
    if not isinstance(x, Tensor):
        raise DTypeError(f"{op}: input must be a tensor, got {type(x).__name__}")
    if x.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"{op}: input expects {n + 2} dimensions (N, C, ...) or {n + 1} (C, ...), got shape "
            f"{x.shape}"
        )
    return unsqueeze(x, 0) if x.ndim == n + 1 else x


def _windows(op: str, n: int, kernel: Any, stride: Any, padding: Any) -> tuple:
    k = per_axis(op, "kernel_size", kernel, n)
    s = k if stride is None else per_axis(op, "stride", stride, n)
    return k, s, tuple((p, p) for p in per_axis(op, "padding", padding, n))


def _floating(op: str, x: Tensor) -> None:
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"{op}: input must be floating, got {x.dtype}")


def _max_pool(
    op: str, n: int, input: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, return_indices: bool,
) -> Any:  # fmt: skip
    x = _batched(op, input, n)
    k, s, p = _windows(op, n, kernel, stride, padding)
    d = per_axis(op, "dilation", dilation, n)
    y, indices = kernels.of(x._array).max_pool(x._array, k, s, p, d, bool(ceil_mode))
    return _with_indices(x, y, indices, input, return_indices)


def _with_indices(x: Tensor, y: Any, indices: Any, input: Tensor, wanted: bool) -> Any:
    where = constant(indices)
    out = record(MAX_POOL, y, (x, where))
    out = squeeze(out, 0) if input.ndim < x.ndim else out
    if not wanted:
        return out
    where = convert(where, dtypes.int64)
    return out, squeeze(where, 0) if input.ndim < x.ndim else where


def _avg_pool(
    op: str, n: int, input: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor: int | None,
) -> Tensor:  # fmt: skip
    x = _batched(op, input, n)
    _floating(op, x)
    k, s, p = _windows(op, n, kernel, stride, padding)
    if divisor is not None and divisor == 0:
        raise ShapeError(f"{op}: divisor_override must not be zero")
    windows = _Average(k, s, p, bool(ceil_mode), bool(count_include_pad), divisor or 0)
    y = _average(x, windows)
    return squeeze(y, 0) if input.ndim < x.ndim else y


def _output_size(op: str, n: int, x: Tensor, size: Any) -> tuple[int, ...]:
    sizes = tuple(size) if isinstance(size, (tuple, list)) else (size,) * n
    if len(sizes) == n:
        sizes = tuple(x.shape[2 + i] if m is None else m for i, m in enumerate(sizes))
    return per_axis(op, "output_size", sizes, n)


def _adaptive_avg(op: str, n: int, input: Tensor, size: Any) -> Tensor:
    x = _batched(op, input, n)
    _floating(op, x)
    y = _adaptive(x, _output_size(op, n, x, size))
    return squeeze(y, 0) if input.ndim < x.ndim else y


def _adaptive_max(op: str, n: int, input: Tensor, size: Any, return_indices: bool) -> Any:
    x = _batched(op, input, n)
    y, indices = kernels.of(x._array).adaptive_max_pool(x._array, _output_size(op, n, x, size))
    return _with_indices(x, y, indices, input, return_indices)


# --- public functions -----------------------------------------------------------------------------
_INPUT = "input: (N, C, {axes}) or (C, {axes})"
_AXES = {1: "L", 2: "H, W", 3: "D, H, W"}
_MAX_DOC = """The maximum of each window over {n} spatial ax{s}; NaN wins, the first maximum counts.

{input}, any real dtype. kernel_size, stride (default:
kernel_size), padding (at most half the kernel), dilation: an int or {n} of them. ceil_mode keeps a
last window that starts inside. return_indices also returns the places of the maxima (int64), flat
within one channel's plane. The output has floor((L + 2 padding - dilation (kernel - 1) - 1) /
stride) + 1 elements per axis. Raises ShapeError, ValueError.

>>> import tilegrad as tg
>>> tg.nn.functional.max_pool{n}d(tg.ones{ones}, 2).shape
{out}
"""
_AVG_DOC = """The mean of each window over {n} spatial ax{s}.

{input}, floating. kernel_size, stride (default: kernel_size),
padding (at most half the kernel): an int or {n} of them. ceil_mode keeps a last window that starts
inside. count_include_pad counts padding as zeros. divisor_override replaces the count. The output
has floor((L + 2 padding - kernel) / stride) + 1 elements per axis. Raises ShapeError, ValueError,
DTypeError.

>>> import tilegrad as tg
>>> tg.nn.functional.avg_pool{n}d(tg.ones{ones}, 2).shape
{out}
"""
_ADAPTIVE_DOC = """The {what} of output_size windows per spatial axis (of {n}) that cover the input:
window i spans floor(i L / out) to ceil((i + 1) L / out).

{input}. output_size: an int or {n} of them; None keeps an axis.
{more}Raises ShapeError, ValueError, DTypeError.

>>> import tilegrad as tg
>>> tg.nn.functional.{name}(tg.ones{ones}, 1).shape
{one}
"""


def _document(fn: Callable, n: int, doc: str, **parts: str) -> None:
    ones = (1, 2, *(4,) * n)
    fn.__doc__ = doc.format(
        n=n, s="is" if n == 1 else "es", input=_INPUT.format(axes=_AXES[n]), ones=ones,
        out=(1, 2, *(2,) * n), one=(1, 2, *(1,) * n), name=fn.__name__, **parts,
    )  # fmt: skip


def _make_max(n: int) -> Callable:
    def fn(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        return _max_pool(
            f"max_pool{n}d", n, input, kernel_size, stride, padding, dilation, ceil_mode,
            return_indices,
        )  # fmt: skip

    fn.__name__ = fn.__qualname__ = f"max_pool{n}d"
    _document(fn, n, _MAX_DOC)
    return fn


def _make_avg(n: int) -> Callable:
    def fn(
        input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
        ceil_mode: bool = False, count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:  # fmt: skip
        return _avg_pool(
            f"avg_pool{n}d", n, input, kernel_size, stride, padding, ceil_mode, count_include_pad,
            divisor_override,
        )  # fmt: skip

    fn.__name__ = fn.__qualname__ = f"avg_pool{n}d"
    _document(fn, n, _AVG_DOC)
    return fn


def _make_adaptive_avg(n: int) -> Callable:
    def fn(input: Tensor, output_size: Any) -> Tensor:
        return _adaptive_avg(f"adaptive_avg_pool{n}d", n, input, output_size)

    fn.__name__ = fn.__qualname__ = f"adaptive_avg_pool{n}d"
    _document(fn, n, _ADAPTIVE_DOC, what="mean", more="")
    return fn


def _make_adaptive_max(n: int) -> Callable:
    def fn(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        return _adaptive_max(f"adaptive_max_pool{n}d", n, input, output_size, return_indices)

    fn.__name__ = fn.__qualname__ = f"adaptive_max_pool{n}d"
    more = "return_indices also returns the places of the maxima (int64).\n"
    _document(fn, n, _ADAPTIVE_DOC, what="maximum", more=more)
    return fn


max_pool1d, max_pool2d, max_pool3d = _make_max(1), _make_max(2), _make_max(3)
avg_pool1d, avg_pool2d, avg_pool3d = _make_avg(1), _make_avg(2), _make_avg(3)
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_make_adaptive_avg, (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = map(_make_adaptive_max, (1, 2, 3))

FUNCTIONAL = tuple(
    f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)
)
"""Published in ``nn.functional``."""

__all__ = ["adaptive_avg_pool1d", "avg_pool1d", "max_pool1d", "max_pool2d", "max_pool3d"]
