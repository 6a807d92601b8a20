"""Residual networks; parameters have the names they have in torchvision.

Source: He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2015. The stride of a
bottleneck is in its 3x3 convolution, as in torchvision ("v1.5").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import nn, ops
from ..nn.norm import norm_relu
from ..tensor import Tensor


class _Block(nn.Module):
    """A residual branch, whose last module is a norm, and what is added to it."""

    expansion = 1
    downsample: Any

    def branch(self, x: Tensor) -> tuple[nn.Module, Tensor]:
        """The last norm of the branch and what it is to be called with."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        shortcut = input if self.downsample is None else self.downsample(input)
        return norm_relu(*self.branch(input), shortcut)


class BasicBlock(_Block):
    """Two 3x3 convolutions."""

    def __init__(self, n: int, m: int, stride: int, downsample: Any) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n, m, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(m)
        self.conv2 = nn.Conv2d(m, m, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(m)
        self.downsample = downsample

    def branch(self, x: Tensor) -> tuple[nn.Module, Tensor]:
        return self.bn2, self.conv2(norm_relu(self.bn1, self.conv1(x)))


class Bottleneck(_Block):
    """1x1 to fewer channels, 3x3, 1x1 back to four times as many."""

    expansion = 4

    def __init__(self, n: int, m: int, stride: int, downsample: Any) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n, m, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(m)
        self.conv2 = nn.Conv2d(m, m, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(m)
        self.conv3 = nn.Conv2d(m, 4 * m, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * m)
        self.downsample = downsample

    def branch(self, x: Tensor) -> tuple[nn.Module, Tensor]:
        x = norm_relu(self.bn1, self.conv1(x))
        x = norm_relu(self.bn2, self.conv2(x))
        return self.bn3, self.conv3(x)


class ResNet(nn.Module):
    """Images (N, 3, H, W) through four stages of block, logits of num_classes.

    layers: the number of blocks per stage. Convolutions begin normal by He's rule (fan_out).

    >>> import tilegrad as tg
    >>> net = tg.models.resnet18(num_classes=10).eval()
    >>> net(tg.zeros(1, 3, 32, 32)).shape
    (1, 10)
    """

    def __init__(self, block: type[_Block], layers: Sequence[int], num_classes: int = 1000) -> None:
        super().__init__()
        self.inplanes = 64
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for i, count in enumerate(layers):
            self.add_module(f"layer{i + 1}", self._stage(block, 64 << i, count, 1 + (i > 0)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(self.inplanes, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def _stage(self, block: Any, m: int, count: int, stride: int) -> nn.Sequential:
        blocks = []
        for i in range(count):
            step, n, out = stride if i == 0 else 1, self.inplanes, m * block.expansion
            fit = None
            if step != 1 or n != out:
                fit = nn.Sequential(nn.Conv2d(n, out, 1, step, bias=False), nn.BatchNorm2d(out))
            blocks.append(block(n, m, step, fit))
            self.inplanes = out
        return nn.Sequential(*blocks)

    def forward(self, input: Tensor) -> Tensor:
        x = self.maxpool(norm_relu(self.bn1, self.conv1(input), relu=self.relu))
        for i in range(1, 5):
            x = self._modules[f"layer{i}"](x)  # type: ignore[misc]
        return self.fc(ops.flatten(self.avgpool(x), 1))


class _Widened(nn.Module):
    """Every second pixel, and zeros for the channels that are new: a shortcut without parameters
    ("option A")."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, input: Tensor) -> Tensor:
        before = self.extra // 2
        x = input[:, :, ::2, ::2]
        return nn.functional.pad(x, (0, 0, 0, 0, before, self.extra - before))


class CifarResNet(nn.Module):
    """The residual networks for small images: (N, 3, H, W) to logits of num_classes.

    A 3x3 convolution, then three stages of ``count`` basic blocks with 16, 32 and 64 channels:
    6 * count + 2 layers. Source: He et al., 2015, section 4.2.

    >>> import tilegrad as tg
    >>> tg.models.CifarResNet(1).eval()(tg.zeros(1, 3, 32, 32)).shape
    (1, 10)
    """

    def __init__(self, count: int, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages, n = [], 16
        for m in (16, 32, 64):
            for _ in range(count):
                stages.append(BasicBlock(n, m, m // n, None if m == n else _Widened(m - n)))
                n = m
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n, num_classes))
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.stages(norm_relu(self.bn1, self.conv1(input))))


def resnet20(num_classes: int = 10) -> CifarResNet:
    """A ResNet of 20 layers for 32x32 images: 269,722 parameters for 10 classes (num_classes)."""
    return CifarResNet(3, num_classes)


def resnet18(num_classes: int = 1000) -> ResNet:
    """A ResNet of 18 layers: 11,689,512 parameters for 1000 classes (num_classes)."""
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes)


def resnet34(num_classes: int = 1000) -> ResNet:
    """A ResNet of 34 layers: 21,797,672 parameters for 1000 classes (num_classes)."""
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes)


def resnet50(num_classes: int = 1000) -> ResNet:
    """A ResNet of 50 layers: 25,557,032 parameters for 1000 classes (num_classes)."""
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes)


def resnet101(num_classes: int = 1000) -> ResNet:
    """A ResNet of 101 layers: 44,549,160 parameters for 1000 classes (num_classes)."""
    return ResNet(Bottleneck, (3, 4, 23, 3), num_classes)


def resnet152(num_classes: int = 1000) -> ResNet:
    """A ResNet of 152 layers: 60,192,808 parameters for 1000 classes (num_classes)."""
    return ResNet(Bottleneck, (3, 8, 36, 3), num_classes)
