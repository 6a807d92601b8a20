"""A highway network."""

from __future__ import annotations

from collections.abc import Sequence

from .. import nn
from ..nn.blocks import conv_relu
from ..tensor import Tensor


class HighwayNet(nn.Module):
    """A convolutional highway network: images (N, 3, H, W) to logits of num_classes.

    Per width a 3x3 convolution to that many channels, ``layers`` highway layers whose branch and
    gate are 3x3 convolutions, and a maximum pool. The biases of the gates begin negative, so that
    the network begins by passing its input on. Source: Srivastava, Greff and Schmidhuber, Training
    very deep networks, 2015; there 11 layers have about 236,000 parameters. Here 13 layers have
    213,562.

    >>> import tilegrad as tg
    >>> tg.models.HighwayNet()(tg.zeros(1, 3, 32, 32)).shape
    (1, 10)
    """

    def __init__(
        self, num_classes: int = 10, widths: Sequence[int] = (16, 32, 48), layers: int = 3,
        gate_bias: float = -2.0,
    ) -> None:  # fmt: skip
        super().__init__()
        n = 3
        stages: list[nn.Module] = []
        for m in widths:
            stages.append(conv_relu(n, m, 3))
            for _ in range(layers):
                gate = nn.Conv2d(m, m, 3, padding=1)
                stages.append(nn.Highway(m, conv_relu(m, m, 3), gate_bias, gate=gate))
            stages.append(nn.MaxPool2d(2))
            n = m
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, num_classes))

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.features(input))
