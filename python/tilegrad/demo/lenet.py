"""LeNet-5 in two forms, and the shifts that make its training set larger.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", 1998.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from .. import nn, ops
from ..errors import ValueError as TgValueError
from ..tensor import Tensor, from_numpy

VARIANTS = ("modern", "1998")


def lenet5(variant: str = "modern") -> nn.Sequential:
    """LeNet-5 for images (N, 1, 28, 28): logits (N, 10).

    "1998": the layout of the paper, tanh and average pooling; C3 sees every map of S2, and the
    output is linear instead of radial basis functions. "modern": the same layout with ReLU and
    maximum pooling.

    >>> import tilegrad as tg
    >>> lenet5()(tg.zeros(2, 1, 28, 28)).shape
    (2, 10)
    """
    if variant not in VARIANTS:
        raise TgValueError(f"lenet5: variant must be one of {VARIANTS}, got {variant!r}")
    act, pool = (nn.ReLU, nn.MaxPool2d) if variant == "modern" else (nn.Tanh, nn.AvgPool2d)
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(1, 6, 5, padding=2), a1=act(), s2=pool(2),
            c3=nn.Conv2d(6, 16, 5), a3=act(), s4=pool(2),
            flatten=nn.Flatten(),
            c5=nn.Linear(400, 120), a5=act(),
            f6=nn.Linear(120, 84), a6=act(),
            output=nn.Linear(84, 10),
        )
    )  # fmt: skip


class Shift:
    """Moves every image of a batch (N, C, H, W) by up to ``distance`` pixels in each direction,
    filling with zeros; the numbers come from generator."""

    def __init__(self, distance: int, generator: Any = None) -> None:
        self.distance, self.generator = distance, generator

    def __call__(self, x: Tensor) -> Tensor:
        d = self.distance
        n, c, h, w = x.shape
        offsets = ops.randint(0, 2 * d + 1, (2, n), generator=self.generator).numpy()
        padded = np.zeros((n, c, h + 2 * d, w + 2 * d), x.dtype)
        padded[:, :, d : d + h, d : d + w] = x.numpy()
        windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
        return from_numpy(np.ascontiguousarray(windows[np.arange(n), :, offsets[0], offsets[1]]))
