"""Layers around layers, Highway, Residual and Inception, and radial basis functions."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from . import init
from .activation import ReLU
from .container import Sequential
from .conv import Conv2d
from .linear import Linear, empty_parameter
from .module import Module
from .pool import MaxPool2d


class Highway(Module):
    """y = t * layer(x) + (1 - t) * x with the transform gate t = sigmoid(gate(x)), a Linear.

    input and result: (..., features). layer: any module that keeps this shape; by default a Linear
    and a ReLU. gate_bias: what the bias of the gate begins with; negative, so that deep networks
    begin by passing their input on. gate: another module than the Linear, as a Conv2d for images
    (N, features, H, W). Raises ShapeError. Source: Srivastava, Greff and Schmidhuber, Training very
    deep networks, 2015.

    >>> import tilegrad as tg
    >>> highway = tg.nn.Highway(8, tg.nn.Sequential(tg.nn.Linear(8, 8), tg.nn.Tanh()))
    >>> highway(tg.zeros(2, 8)).shape, highway.gate.bias[0].item()
    ((2, 8), -2.0)
    """

    def __init__(
        self, features: int, layer: Module | None = None, gate_bias: float = -2.0,
        device: Any = None, dtype: Any = None, *, gate: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.gate_bias = gate_bias
        if layer is None:
            layer = Sequential(Linear(features, features, device=device, dtype=dtype), ReLU())
        self.layer = layer
        self.gate = gate or Linear(features, features, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values for the gate."""
        self.gate.reset_parameters()
        init.constant_(self.gate.bias, self.gate_bias)  # type: ignore[arg-type]

    def forward(self, input: Tensor) -> Tensor:
        t: Any = ops.sigmoid(self.gate(input))
        return t * _alike(self, self.layer(input), input) + (1.0 - t) * input


def _alike(block: Module, y: Tensor, other: Tensor) -> Any:
    if y.shape != other.shape:
        raise ShapeError(
            f"{type(block).__name__}: the layers give {y.shape}, which does not fit {other.shape}"
        )
    return y


class Residual(Module):
    """y = branch(x) + shortcut(x), the branch being the given modules one after the other.

    shortcut: a module that brings x to the shape of the branch, as a convolution with the stride of
    the branch does; without it x itself is added. Raises ShapeError where the two differ,
    ValueError without modules. Source: He et al., Deep residual learning for image recognition,
    2015.

    >>> import tilegrad as tg
    >>> block = tg.nn.Residual(tg.nn.Linear(4, 8), tg.nn.ReLU(), tg.nn.Linear(8, 4))
    >>> block(tg.zeros(2, 4)).shape
    (2, 4)
    """

    def __init__(self, *modules: Module, shortcut: Module | None = None) -> None:
        super().__init__()
        if not modules:
            raise TgValueError("Residual: expects the modules of its branch")
        self.branch = Sequential(*modules)
        self.shortcut = shortcut

    def forward(self, input: Tensor) -> Tensor:
        x = input if self.shortcut is None else self.shortcut(input)
        return _alike(self, self.branch(input), x) + x


def conv_relu(n: int, m: int, kernel: int, stride: int = 1) -> Sequential:
    """A convolution from n to m channels that keeps the image size at stride 1, and a ReLU."""
    return Sequential(Conv2d(n, m, kernel, stride, kernel // 2), ReLU())


class Inception(Module):
    """Four branches side by side, joined along the channels: 1x1; 1x1 then 3x3; 1x1 then 5x5; a
    3x3 max-pool then 1x1; a ReLU behind each convolution.

    input: (N, in_channels, H, W); result: (N, one + three + five + pool, H, W). reduce3, reduce5:
    the channels between the two convolutions of a branch. The order is that of Table 1 of the
    source: Szegedy et al., Going deeper with convolutions, 2014. Raises ShapeError.

    >>> import tilegrad as tg
    >>> tg.nn.Inception(12, 4, 6, 8, 1, 2, 2)(tg.zeros(1, 12, 5, 5)).shape
    (1, 16, 5, 5)
    """

    def __init__(self, in_channels: int, one: int, reduce3: int, three: int, reduce5: int,
                 five: int, pool: int) -> None:  # fmt: skip
        super().__init__()
        n = in_channels
        self.branch1 = conv_relu(n, one, 1)
        self.branch2 = Sequential(conv_relu(n, reduce3, 1), conv_relu(reduce3, three, 3))
        self.branch3 = Sequential(conv_relu(n, reduce5, 1), conv_relu(reduce5, five, 5))
        self.branch4 = Sequential(MaxPool2d(3, 1, 1), conv_relu(n, pool, 1))

    def forward(self, input: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return ops.cat([branch(input) for branch in branches], 1)


class RadialBasis(Module):
    """The squared distance of x to each of out_features centers, d_j = |x - centers_j|**2; with
    gaussian e**(-scale_j**2 d_j).

    input: (..., in_features); result: (..., out_features). centers: (out_features, in_features), a
    parameter that begins normal; given ones stay fixed, as a buffer. scale: (out_features,), begins
    as ones. Raises ShapeError. Sources: Broomhead and Lowe, 1988; as the output of LeNet-5 LeCun et
    al., 1998.

    >>> import tilegrad as tg
    >>> layer = tg.nn.RadialBasis(2, 2, centers=tg.tensor([[0.0, 0.0], [1.0, 1.0]]))
    >>> layer(tg.tensor([[0.0, 1.0], [1.0, 1.0]])).tolist()
    [[1.0, 1.0], [2.0, 0.0]]
    """

    def __init__(
        self, in_features: int, out_features: int, gaussian: bool = False,
        centers: Tensor | None = None, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_features, self.out_features, self.gaussian = in_features, out_features, gaussian
        shape = (out_features, in_features)
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        if centers is None:
            self.centers: Any = empty_parameter(self, *shape, **options)
        else:
            if centers.shape != shape:
                raise ShapeError(f"RadialBasis: centers expects {shape}, got {centers.shape}")
            self.register_buffer("centers", centers)
        scale = empty_parameter(self, out_features, **options) if gaussian else None
        self.register_parameter("scale", scale)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values for centers that are learnt; scale becomes ones."""
        if "centers" in self._parameters:
            init.normal_(self.centers)
        if self.scale is not None:
            init.ones_(self.scale)

    def forward(self, input: Tensor) -> Tensor:
        if not input.ndim or input.shape[-1] != self.in_features:
            raise ShapeError(
                f"RadialBasis: input expects (..., {self.in_features}), got {input.shape}"
            )
        away: Any = ops.unsqueeze(input, -2) - self.centers  # type: ignore[operator]
        if self.scale is None:
            return ops.sum(away * away, -1)
        return ops.exp(-ops.sum(away * away, -1) * self.scale * self.scale)

    def multiply_adds(self, input: Tensor, output: Tensor) -> int:
        """One per center and feature."""
        return math.prod(output.shape) * self.in_features

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, gaussian={self.gaussian}"
