"""Padding of 1 to 3 spatial axes."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError
from ..ops.conv import per_axis
from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Pad(Module):
    """padding: an int, or (before, after) of the last axis, then of the one before it ..."""

    ndim = 0
    mode = "constant"

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = per_axis(type(self).__name__, "padding", padding, 2 * self.ndim)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (self.ndim + 1, self.ndim + 2):
            raise ShapeError(
                f"pad: {type(self).__name__} expects {self.ndim} spatial axes behind ([N,] C), got "
                f"shape {input.shape}"
            )
        return self._padded(input)

    def _padded(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def _padded(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, value=self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ReflectionPad(_Pad):
    mode = "reflect"


class _ReplicationPad(_Pad):
    mode = "replicate"


class _CircularPad(_Pad):
    mode = "circular"


class ConstantPad1d(_ConstantPad):
    """Adds value around (N, C, L); a negative padding crops.

    >>> import tilegrad as tg
    >>> tg.nn.ConstantPad1d((1, 2), 9.0)(tg.zeros(1, 1))
    tensor([[9., 0., 9., 9.]])
    """

    ndim = 1


class ConstantPad2d(_ConstantPad):
    """Adds value around (N, C, H, W); a negative padding crops."""

    ndim = 2


class ConstantPad3d(_ConstantPad):
    """Adds value around (N, C, D, H, W); a negative padding crops."""

    ndim = 3


class ZeroPad1d(_Pad):
    """Adds zeros around (N, C, L); a negative padding crops."""

    ndim = 1


class ZeroPad2d(_Pad):
    """Adds zeros around (N, C, H, W); a negative padding crops."""

    ndim = 2


class ZeroPad3d(_Pad):
    """Adds zeros around (N, C, D, H, W); a negative padding crops."""

    ndim = 3


class ReflectionPad1d(_ReflectionPad):
    """Mirrors (N, C, L) at its edges, which are not repeated.

    >>> import tilegrad as tg
    >>> tg.nn.ReflectionPad1d(2)(tg.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 2., 1., 2., 3., 2., 1.]])
    """

    ndim = 1


class ReflectionPad2d(_ReflectionPad):
    """Mirrors (N, C, H, W) at its edges, which are not repeated."""

    ndim = 2


class ReflectionPad3d(_ReflectionPad):
    """Mirrors (N, C, D, H, W) at its edges, which are not repeated."""

    ndim = 3


class ReplicationPad1d(_ReplicationPad):
    """Repeats the edges of (N, C, L)."""

    ndim = 1


class ReplicationPad2d(_ReplicationPad):
    """Repeats the edges of (N, C, H, W)."""

    ndim = 2


class ReplicationPad3d(_ReplicationPad):
    """Repeats the edges of (N, C, D, H, W)."""

    ndim = 3


class CircularPad1d(_CircularPad):
    """Continues (N, C, L) from its other end.

    >>> import tilegrad as tg
    >>> tg.nn.CircularPad1d(1)(tg.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 1., 2., 3., 1.]])
    """

    ndim = 1


class CircularPad2d(_CircularPad):
    """Continues (N, C, H, W) from its other end."""

    ndim = 2


class CircularPad3d(_CircularPad):
    """Continues (N, C, D, H, W) from its other end."""

    ndim = 3
