"""Where an element of a sequence stands, told to layers that do not see the order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..ops import cat
from ..tensor import Tensor, from_numpy
from . import init
from .linear import empty_parameter
from .module import Module


def _angles(width: int, positions: np.ndarray, base: float) -> np.ndarray:
    """positions times 1 / base^(2 i / width): (positions, width / 2)."""
    return positions[:, None] / base ** (np.arange(0, width, 2) / width)


def _even(name: str, width: int) -> int:
    if not isinstance(width, int) or width < 2 or width % 2:
        raise TgValueError(f"{name}: the width must be even and positive, got {width!r}")
    return width


class _Added(Module):
    """x + table of positions, for x (..., T, width)."""

    weight: Tensor

    def forward(self, input: Tensor) -> Tensor:
        most, width = self.weight.shape
        if input.ndim < 2 or input.shape[-1] != width or input.shape[-2] > most:
            raise ShapeError(
                f"{type(self).__name__}: input expects (..., T, {width}) with at most {most} "
                f"positions T, got {input.shape}"
            )
        return input + self.weight[: input.shape[-2]].to(input.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}"


class SinusoidalPositions(_Added):
    """Adds sin and cos of position / 10000^(2 i / width) to x (..., T, width).

    SinusoidalPositions(width, max_len=5000); width even. Raises ShapeError, ValueError. Source:
    Vaswani et al., 2017.

    >>> import tilegrad as tg
    >>> tg.nn.SinusoidalPositions(4)(tg.zeros(1, 1, 4))
    tensor([[[0., 1., 0., 1.]]])
    """

    def __init__(self, width: int, max_len: int = 5000) -> None:
        super().__init__()
        angles = _angles(_even("SinusoidalPositions", width), np.arange(max_len), 10000.0)
        table = np.stack([np.sin(angles), np.cos(angles)], 2).reshape(max_len, width)
        self.register_buffer("weight", from_numpy(table.astype(np.float32)), persistent=False)


class LearnedPositions(_Added):
    """Adds a learned vector per position to x (..., T, width), T at most max_len.

    LearnedPositions(width, max_len); normal of deviation 0.02. Raises ShapeError.

    >>> import tilegrad as tg
    >>> tg.nn.LearnedPositions(4, 16)(tg.zeros(2, 3, 4)).shape
    (2, 3, 4)
    """

    def __init__(self, width: int, max_len: int, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.weight = empty_parameter(self, max_len, width, device=device, dtype=dtype)
        init.normal_(self.weight, 0.0, 0.02)


class RotaryPositions(Module):
    """Turns pairs of elements of x (..., T, width) by position / base^(2 i / width), so that
    products of queries and keys depend on their distance alone.

    RotaryPositions(width, base=10000.0); pair i is made of the elements i and i + width / 2. start:
    the position of the first element. Raises ShapeError, ValueError. Source: Su et al., 2021.

    >>> import tilegrad as tg
    >>> tg.nn.RotaryPositions(2)(tg.ones(1, 1, 2))
    tensor([[[1., 1.]]])
    """

    def __init__(self, width: int, base: float = 10000.0) -> None:
        super().__init__()
        self.width, self.base = _even("RotaryPositions", width), base

    def forward(self, input: Tensor, start: int = 0) -> Tensor:
        if input.ndim < 2 or input.shape[-1] != self.width:
            raise ShapeError(
                f"RotaryPositions: input expects (..., T, {self.width}), got {input.shape}"
            )
        angles = _angles(self.width, np.arange(start, start + input.shape[-2]), self.base)
        cos, sin = (from_numpy(f(angles)).to(input.dtype) for f in (np.cos, np.sin))
        half = self.width // 2
        a, b = input[..., :half], input[..., half:]
        return cat([a * cos - b * sin, a * sin + b * cos], -1)

    def extra_repr(self) -> str:
        return f"{self.width}" + ("" if math.isclose(self.base, 1e4) else f", base={self.base}")
