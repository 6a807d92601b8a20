"""GoogLeNet."""

from __future__ import annotations

from typing import Any

from .. import nn
from ..nn.blocks import conv_relu
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
