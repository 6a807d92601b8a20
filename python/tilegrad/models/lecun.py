"""The digit recognisers of 1989 and 1998, with their incomplete connections, and a plain MLP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .. import nn, ops
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..nn import functional as F
from ..tensor import Tensor, from_numpy


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers between the given sizes, with ReLU between them; images are flattened.

    >>> import tilegrad as tg
    >>> tg.models.mlp(784, 256, 10)(tg.zeros(5, 1, 28, 28)).shape
    (5, 10)
    """
    if len(sizes) < 2:
        raise TgValueError(f"mlp: expects at least two sizes, got {sizes}")
    layers: list[nn.Module] = [nn.Flatten()]
    for n, m in pairwise(sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _uniform(p: Any, bound: float) -> None:
    nn.init.uniform_(p, -bound, bound)


class _Squash(nn.Module):
    """1.7159 tanh(2 x / 3) (LeCun, 1989)."""

    def forward(self, input: Any) -> Tensor:
        return ops.tanh(input * (2.0 / 3.0)) * 1.7159  # type: ignore[operator]


class TableConv2d(nn.Module):
    """A convolution in which output map i sees the input maps table[i] only.

    weight: one kernel (kh, kw) per connection, in the order of the table; bias: (maps,), or one per
    unit, (maps, *unit_bias). Both begin uniform in +-2.4 / fan_in. Other arguments as for Conv2d.

    >>> import tilegrad as tg
    >>> layer = tg.models.TableConv2d(3, [[0, 1], [2]], 5)
    >>> layer.weight.shape, layer(tg.zeros(1, 3, 8, 8)).shape
    ((3, 5, 5), (1, 2, 4, 4))
    """

    def __init__(
        self,
        in_channels: int,
        table: Sequence[Sequence[int]],
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        unit_bias: tuple[int, ...] = (1, 1),
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.table = tuple(tuple(maps) for maps in table)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        pairs = [(i, j) for i, maps in enumerate(self.table) for j in maps]
        if not pairs or len(set(pairs)) < len(pairs):
            raise TgValueError(f"TableConv2d: table names a connection twice or none: {table}")
        if not all(0 <= j < in_channels for _, j in pairs):
            raise TgValueError(f"TableConv2d: table names a map outside of {in_channels}: {table}")
        # Where each kernel of the dense weight comes from; the last place holds zeros.
        place = np.full((len(self.table), in_channels), len(pairs))
        for n, pair in enumerate(pairs):
            place[pair] = n
        self.register_buffer("place", from_numpy(place.reshape(-1)), persistent=False)
        self.weight = nn.Parameter(ops.empty(len(pairs), kernel_size, kernel_size))
        shape = (len(self.table), *unit_bias) if unit_bias != (1, 1) else (len(self.table),)
        self.bias = nn.Parameter(ops.empty(*shape))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values."""
        taps = self.kernel_size**2
        spread = [2.4 / (taps * len(maps) + 1) for maps in self.table for _ in maps]
        _uniform(self.weight, 1.0)
        _uniform(self.bias, 2.4 / (taps * max(map(len, self.table)) + 1))
        scale: Any = from_numpy(np.array(spread, np.float32).reshape(-1, 1, 1))
        self.weight.data = self.weight.detach() * scale

    def forward(self, input: Tensor) -> Tensor:
        k = self.kernel_size
        zero = self.weight.new_zeros(1, k, k)  # type: ignore[attr-defined]
        dense = ops.index_select(ops.cat([self.weight, zero]), 0, self.place)
        w = ops.reshape(dense, (len(self.table), self.in_channels, k, k))
        y: Any = F.conv2d(input, w, None, self.stride, self.padding)
        return y + ops.reshape(self.bias, (len(self.table), *(self.bias.shape[1:] or (1, 1))))

    def multiply_adds(self, input: Tensor, output: Tensor) -> int:
        """Products of connected maps only."""
        return output.shape[0] * math.prod(output.shape[2:]) * math.prod(self.weight.shape)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {len(self.table)}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, connections={self.weight.shape[0]}"
        )


class ZipCodeNet(nn.Module):
    """The network that read zip codes: images (N, 1, 16, 16) in [-1, 1], ten outputs.

    Two layers of 12 shared 5x5 kernels with stride 2 and a bias of its own for every unit, each map
    of the second seeing 8 of the 12 maps (which 8 the paper leaves open: here i to i + 7, around),
    then 30 and 10 units. Source: LeCun et al., Backpropagation applied to handwritten zip code
    recognition, 1989: 1256 units with the input, 64660 connections, 9760 parameters.

    >>> import tilegrad as tg
    >>> tg.models.ZipCodeNet()(tg.zeros(2, 1, 16, 16)).shape
    (2, 10)
    """

    def __init__(self) -> None:
        super().__init__()
        around = [[(i + j) % 12 for j in range(8)] for i in range(12)]
        # Both layers see a border of -1, the background.
        self.h1 = TableConv2d(1, [[0]] * 12, 5, 2, unit_bias=(8, 8))
        self.h2 = TableConv2d(12, around, 5, 2, unit_bias=(4, 4))
        self.h3 = nn.Linear(192, 30)
        self.output = nn.Linear(30, 10)
        self.squash = _Squash()
        for layer, fan_in in ((self.h3, 193), (self.output, 31)):
            _uniform(layer.weight, 2.4 / fan_in)
            _uniform(layer.bias, 2.4 / fan_in)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 4 or input.shape[1:] != (1, 16, 16):
            raise ShapeError(f"ZipCodeNet: expects images (N, 1, 16, 16), got {input.shape}")
        edge = (2, 2, 2, 2)
        x = self.squash(self.h1(F.pad(input, edge, value=-1.0)))
        x = self.squash(self.h2(F.pad(x, edge, value=-1.0)))
        x = self.squash(self.h3(ops.flatten(x, 1)))
        return self.squash(self.output(x))


class _Subsampling(nn.Module):
    """The sum of every 2x2 window, times a learnt factor, plus a learnt bias, per map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(ops.empty(channels))
        self.bias = nn.Parameter(ops.empty(channels))
        for p in (self.weight, self.bias):
            _uniform(p, 2.4 / 5)

    def forward(self, input: Tensor) -> Tensor:
        shape = (-1, 1, 1)
        y: Any = F.avg_pool2d(input, 2, divisor_override=1)
        return y * ops.reshape(self.weight, shape) + ops.reshape(self.bias, shape)

    def multiply_adds(self, input: Tensor, output: Tensor) -> int:
        """Four inputs per unit."""
        return 4 * math.prod(output.shape)


_C3 = [
    [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 0], [5, 0, 1], [0, 1, 2, 3], [1, 2, 3, 4],
    [2, 3, 4, 5], [3, 4, 5, 0], [4, 5, 0, 1], [5, 0, 1, 2], [0, 1, 3, 4], [1, 2, 4, 5],
    [0, 2, 3, 5], [0, 1, 2, 3, 4, 5],
]  # fmt: skip
"""Table I of the paper: which maps of S2 each map of C3 sees."""


class LeNet5(nn.Module):
    """LeNet-5 as published: images (N, 1, 32, 32), the output one distance per class, the smallest
    of which wins. Source: LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to
    document recognition, 1998: 60000 trainable parameters, 340908 connections. ``tilegrad.demo``
    trains a plainer one.

    >>> import tilegrad as tg
    >>> tg.models.LeNet5()(tg.zeros(2, 1, 32, 32)).shape
    (2, 10)
    """

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = _Subsampling(6)
        self.c3 = TableConv2d(6, _C3, 5)
        self.s4 = _Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        # The paper draws the codes as 7x12 bitmaps of the digits; here they are random.
        codes = np.random.default_rng(0).choice([-1.0, 1.0], (10, 84)).astype(np.float32)
        self.output = nn.RadialBasis(84, 10, centers=from_numpy(codes))
        self.squash = _Squash()
        for layer in (self.c1, self.c5, self.f6):
            bound = 2.4 / (math.prod(layer.weight.shape[1:]) + 1)
            _uniform(layer.weight, bound)
            _uniform(layer.bias, bound)

    def forward(self, input: Tensor) -> Tensor:
        x = self.squash(self.s2(self.squash(self.c1(input))))
        x = self.squash(self.s4(self.squash(self.c3(x))))
        x = self.squash(self.c5(x))
        return self.output(self.squash(self.f6(ops.flatten(x, 1))))
