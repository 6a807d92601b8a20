"""Convolution layers, 1-d to 3-d."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..ops.conv import per_axis
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import count, draw_bias, empty_parameter
from .module import Module


class _Conv(Module):
    """What the convolutions share. weight and bias are uniform in +-1/sqrt(fan_in)."""

    ndim = 0
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        output_padding: Any,
        device: Any,
        dtype: Any,
    ) -> None:
        super().__init__()
        op, n = type(self).__name__, self.ndim

        def axes(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
            return per_axis(op, name, value, n, least)

        in_channels = count(self, "in_channels", in_channels)
        out_channels = count(self, "out_channels", out_channels)
        groups = count(self, "groups", groups, 1)
        if in_channels % groups or out_channels % groups:
            raise TgValueError(
                f"{op}: in_channels {in_channels} and out_channels {out_channels} must be "
                f"divisible by groups {groups}"
            )
        modes = ("zeros",) if self.transposed else ("zeros", "reflect", "replicate", "circular")
        if padding_mode not in modes:
            raise TgValueError(f"{op}: padding_mode must be one of {modes}, got {padding_mode!r}")
        named = ("same", "valid")
        if isinstance(padding, str) and (self.transposed or padding not in named):
            raise TgValueError(f"{op}: padding must be ints or one of {named}, got {padding!r}")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = axes("kernel_size", kernel_size)
        self.stride = axes("stride", stride)
        self.padding = padding if isinstance(padding, str) else axes("padding", padding, 0)
        self.dilation = axes("dilation", dilation)
        self.output_padding = axes("output_padding", output_padding, 0)
        self.groups = groups
        self.padding_mode = padding_mode
        if padding == "same" and any(s != 1 for s in self.stride):
            raise TgValueError(f"{op}: padding 'same' needs stride 1, got {self.stride}")
        first, second = (
            (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        )
        shape = (first, second // groups, *self.kernel_size)
        self.weight = empty_parameter(self, *shape, device=device, dtype=dtype)
        vector = empty_parameter(self, out_channels, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", vector)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values."""
        init.kaiming_uniform_(self.weight, math.sqrt(5.0))
        draw_bias(self)

    def extra_repr(self) -> str:
        s = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        for name, plain in (("padding", 0), ("dilation", 1), ("output_padding", 0)):
            value = getattr(self, name)
            if value != (plain,) * self.ndim:
                s += f", {name}={value}"
        s += f", groups={self.groups}" * (self.groups != 1) + ", bias=False" * (self.bias is None)
        return s + f", padding_mode={self.padding_mode}" * (self.padding_mode != "zeros")


class _Forward(_Conv):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, 0, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        conv = (F.conv1d, F.conv2d, F.conv3d)[self.ndim - 1]
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._widths(), mode=self.padding_mode)
            padding = (0,) * self.ndim
        return conv(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _widths(self) -> list[int]:
        """The padding as ``pad`` wants it: before and after, last axis first."""
        out = []
        for k, d, p in zip(
            reversed(self.kernel_size),
            reversed(self.dilation),
            reversed(self.padding) if not isinstance(self.padding, str) else [None] * self.ndim,
            strict=True,
        ):
            total = d * (k - 1) if self.padding == "same" else 0
            before = total // 2 if p is None else p
            out += [before, total - before if p is None else p]
        return out


class _Transposed(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, output_padding, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.ndim - 1]
        extra = self.output_padding if output_size is None else self._extra(input, output_size)
        return conv(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups,
            self.dilation,
        )  # fmt: skip

    def _extra(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that gives output_size, which strides make ambiguous."""
        want, have = tuple(output_size)[-self.ndim :], input.shape[-self.ndim :]
        extra = []
        for w, n, k, s, p, d in zip(
            want, have, self.kernel_size, self.stride, self.padding, self.dilation, strict=True
        ):
            least = (n - 1) * s - 2 * int(p) + d * (k - 1) + 1
            if not least <= w < least + s:
                raise ShapeError(
                    f"{type(self).__name__}: output_size {want} does not come from an input of "
                    f"shape {input.shape}; this axis can be {least} to {least + s - 1}"
                )
            extra.append(w - least)
        return tuple(extra)


class Conv1d(_Forward):
    """Cross-correlation of (N, C, L) with weight (out, in / groups, k); see functional.conv1d."""

    ndim = 1


class Conv2d(_Forward):
    """Cross-correlation of (N, C, H, W) with weight (out, in / groups, kh, kw).

    stride, padding, dilation: an int or one per axis; padding also "same" or "valid".
    padding_mode: "zeros", "reflect", "replicate" or "circular".

    >>> import tilegrad as tg
    >>> tg.nn.Conv2d(1, 6, 5, padding=2)(tg.zeros(8, 1, 28, 28)).shape
    (8, 6, 28, 28)
    """

    ndim = 2


class Conv3d(_Forward):
    """Cross-correlation of (N, C, D, H, W); see functional.conv3d."""

    ndim = 3


class ConvTranspose1d(_Transposed):
    """The adjoint of Conv1d; see functional.conv_transpose1d."""

    ndim = 1


class ConvTranspose2d(_Transposed):
    """The adjoint of Conv2d: weight (in, out / groups, kh, kw).

    output_padding, or output_size when called, chooses among the sizes a stride makes possible.

    >>> import tilegrad as tg
    >>> tg.nn.ConvTranspose2d(4, 2, 3, stride=2)(tg.zeros(1, 4, 5, 5)).shape
    (1, 2, 11, 11)
    """

    ndim = 2


class ConvTranspose3d(_Transposed):
    """The adjoint of Conv3d; see functional.conv_transpose3d."""

    ndim = 3
