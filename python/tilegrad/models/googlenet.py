"""GoogLeNet, and a small network of the same kind."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..nn.blocks import conv_relu
from ..nn.norm import norm_relu
from ..tensor import Tensor


def _auxiliary(n: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4), conv_relu(n, 128, 1), nn.Flatten(), nn.Linear(2048, 1024),
        nn.ReLU(), nn.Dropout(0.7), nn.Linear(1024, num_classes),
    )  # fmt: skip


_STAGES = {
    "3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


class GoogLeNet(nn.Module):
    """GoogLeNet as published: images (N, 3, 224, 224), logits of num_classes.

    aux_logits: two more classifiers behind 4a and 4d; in training a call then returns (logits,
    logits behind 4d, logits behind 4a). Source: Szegedy et al., Going deeper with convolutions,
    2014: 22 layers, 6,998,552 parameters without the two.

    >>> import tilegrad as tg
    >>> tg.models.GoogLeNet(10).eval()(tg.zeros(1, 3, 64, 64)).shape
    (1, 10)
    """

    def __init__(
        self, num_classes: int = 1000, aux_logits: bool = False, dropout: float = 0.4
    ) -> None:
        super().__init__()
        self.aux_logits = aux_logits
        self.stem = nn.Sequential(
            conv_relu(3, 64, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5),
            conv_relu(64, 64, 1), conv_relu(64, 192, 3), nn.LocalResponseNorm(5),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )  # fmt: skip
        self.stages = nn.ModuleDict({k: nn.Inception(*v) for k, v in _STAGES.items()})
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(1024, num_classes)
        )
        self.aux4a = _auxiliary(512, num_classes) if aux_logits else None
        self.aux4d = _auxiliary(528, num_classes) if aux_logits else None

    def forward(self, input: Tensor) -> Any:
        x, early, late = self.stem(input), None, None
        more = self.training and self.aux_logits
        for name, stage in self.stages.items():
            x = stage(x)
            if name == "4a" and more:
                early = self.aux4a(x)  # type: ignore[misc]
            if name == "4d" and more:
                late = self.aux4d(x)  # type: ignore[misc]
            if name in ("3b", "4e"):
                x = self.pool(x)
        y = self.head(x)
        return (y, late, early) if more else y


class _Normalised(nn.Module):
    """A convolution, batch norm with a learnt shift but no learnt scale, and a ReLU."""

    def __init__(self, n: int, m: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(n, m, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(m)
        self.bn.weight.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        return norm_relu(self.bn, self.conv(input))


class _Joined(nn.Module):
    """Modules side by side, their results joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, input: Tensor) -> Tensor:
        return ops.cat([branch(input) for branch in self.branches], 1)


class SmallInception(nn.Module):
    """An Inception network for small images: (N, 3, H, W) to logits of num_classes.

    Branches of 1x1 and 3x3 convolutions, each with batch norm; twice a convolution with stride 2
    beside a maximum pool. Source: Zhang et al., Understanding deep learning requires rethinking
    generalization, 2016, figure 3: 28x28 images, 1,649,402 trainable parameters.

    >>> import tilegrad as tg
    >>> tg.models.SmallInception().eval()(tg.zeros(1, 3, 28, 28)).shape
    (1, 10)
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Normalised(3, 96, 3)]
        n = 96
        for first, second in (
            (32, 32), (32, 48), (0, 80), (112, 48), (96, 64), (80, 80), (48, 96), (0, 96),
            (176, 160), (176, 160),
        ):  # fmt: skip
            stride = 1 if first else 2
            side = _Normalised(n, first, 1) if first else nn.MaxPool2d(3, 2, 1)
            layers.append(_Joined(side, _Normalised(n, second, 3, stride)))
            n = (first or n) + second
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, num_classes))

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.features(input))
