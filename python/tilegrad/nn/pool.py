"""Pooling layers, 1-d to 3-d."""

from __future__ import annotations

from typing import Any

from ..errors import ValueError as TgValueError
from ..ops.conv import per_axis
from ..tensor import Tensor
from . import functional as F
from .linear import count
from .module import Module


def _require_window(layer: Any, **least: int) -> None:
    """Raises unless each named attribute is an int, or one per axis, and not below its least."""
    for name, low in least.items():
        per_axis(type(layer).__name__, name, getattr(layer, name), layer.ndim, low)


class _MaxPool(Module):
    ndim = 0

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode
        _require_window(self, kernel_size=1, stride=1, padding=0, dilation=1)

    def forward(self, input: Tensor) -> Any:
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self.ndim - 1]
        return pool(
            input, self.kernel_size, self.stride, self.padding, self.dilation,
            ceil_mode=self.ceil_mode, return_indices=self.return_indices,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest of each window of (N, C, L)."""

    ndim = 1


class MaxPool2d(_MaxPool):
    """The largest of each window of (N, C, H, W); stride: kernel_size unless given.

    >>> import tilegrad as tg
    >>> tg.nn.MaxPool2d(2)(tg.zeros(1, 6, 28, 28)).shape
    (1, 6, 14, 14)
    """

    ndim = 2


class MaxPool3d(_MaxPool):
    """The largest of each window of (N, C, D, H, W)."""

    ndim = 3


class AvgPool1d(Module):
    """The mean of each window of (N, C, L)."""

    ndim = 1

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        _require_window(self, kernel_size=1, stride=1, padding=0)

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(AvgPool1d):
    """The mean of each window of (N, C, H, W); divisor_override replaces the window's count.

    >>> import tilegrad as tg
    >>> tg.nn.AvgPool2d(2)(tg.ones(1, 6, 28, 28)).shape
    (1, 6, 14, 14)
    """

    ndim = 2

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override
        if divisor_override == 0:
            raise TgValueError(f"{type(self).__name__}: divisor_override must not be 0")

    def forward(self, input: Tensor) -> Tensor:
        pool = F.avg_pool2d if self.ndim == 2 else F.avg_pool3d
        return pool(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip


class AvgPool3d(AvgPool2d):
    """The mean of each window of (N, C, D, H, W)."""

    ndim = 3


class _Adaptive(Module):
    function = ""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size
        for n in output_size if isinstance(output_size, (tuple, list)) else (output_size,):
            if n is not None:
                count(self, "output_size", n)

    def forward(self, input: Tensor) -> Any:
        return getattr(F, self.function)(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveMax(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return getattr(F, self.function)(input, self.output_size, self.return_indices)


class AdaptiveAvgPool1d(_Adaptive):
    """The mean of output_size windows that cover (N, C, L)."""

    function = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_Adaptive):
    """The mean of output_size windows that cover (N, C, H, W); None keeps the size of an axis.

    >>> import tilegrad as tg
    >>> tg.nn.AdaptiveAvgPool2d(1)(tg.ones(2, 6, 7, 5)).shape
    (2, 6, 1, 1)
    """

    function = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_Adaptive):
    """The mean of output_size windows that cover (N, C, D, H, W)."""

    function = "adaptive_avg_pool3d"


class AdaptiveMaxPool1d(_AdaptiveMax):
    """The largest of output_size windows that cover (N, C, L)."""

    function = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptiveMax):
    """The largest of output_size windows that cover (N, C, H, W)."""

    function = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptiveMax):
    """The largest of output_size windows that cover (N, C, D, H, W)."""

    function = "adaptive_max_pool3d"


class _LPPool(Module):
    ndim = 0

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        pool = (F.lp_pool1d, F.lp_pool2d, F.lp_pool3d)[self.ndim - 1]
        return pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """sum(x**norm_type)**(1 / norm_type) of each window of (N, C, L)."""

    ndim = 1


class LPPool2d(_LPPool):
    """sum(x**norm_type)**(1 / norm_type) of each window of (N, C, H, W).

    >>> import tilegrad as tg
    >>> tg.nn.LPPool2d(2, 2)(tg.ones(1, 6, 28, 28)).shape
    (1, 6, 14, 14)
    """

    ndim = 2


class LPPool3d(_LPPool):
    """sum(x**norm_type)**(1 / norm_type) of each window of (N, C, D, H, W)."""

    ndim = 3


class _MaxUnpool(Module):
    ndim = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.ndim)
        step = kernel_size if stride is None else stride
        self.stride = per_axis(name, "stride", step, self.ndim)
        self.padding = per_axis(name, "padding", padding, self.ndim)

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        back = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)[self.ndim - 1]
        return back(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The values of MaxPool1d back at the indices it returned, zeros elsewhere."""

    ndim = 1


class MaxUnpool2d(_MaxUnpool):
    """The values of MaxPool2d back at the indices it returned, zeros elsewhere.

    >>> import tilegrad as tg
    >>> y, at = tg.nn.MaxPool2d(2, return_indices=True)(tg.ones(1, 1, 4, 4))
    >>> tg.nn.MaxUnpool2d(2)(y, at).shape
    (1, 1, 4, 4)
    """

    ndim = 2


class MaxUnpool3d(_MaxUnpool):
    """The values of MaxPool3d back at the indices it returned, zeros elsewhere."""

    ndim = 3


class _FractionalMaxPool(Module):
    ndim = 0

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if (output_size is None) == (output_ratio is None):
            raise TgValueError(f"{name}: give either output_size or output_ratio")
        several = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,)
        if output_ratio is not None and not all(0 < r < 1 for r in several):
            raise TgValueError(f"{name}: output_ratio must lie between 0 and 1, got {output_ratio}")
        self.kernel_size = kernel_size
        self.output_size = output_size
        self.output_ratio = output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)

    def forward(self, input: Tensor) -> Any:
        pool = F.fractional_max_pool2d if self.ndim == 2 else F.fractional_max_pool3d
        return pool(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices,
            self._random_samples,
        )  # fmt: skip


class FractionalMaxPool2d(_FractionalMaxPool):
    """Max pooling of (N, C, H, W) by a fraction, at random places (Graham, 2014)."""

    ndim = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """Max pooling of (N, C, D, H, W) by a fraction, at random places (Graham, 2014)."""

    ndim = 3


class MedianPool2d(Module):
    """The median of each window of (N, C, H, W); stride: kernel_size unless given.

    >>> import tilegrad as tg
    >>> tg.nn.MedianPool2d(3, 1, 1)(tg.ones(1, 3, 8, 8)).shape
    (1, 3, 8, 8)
    """

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(self, input: Tensor) -> Tensor:
        return F.median_pool2d(input, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
