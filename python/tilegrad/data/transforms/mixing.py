"""Mixtures of the samples of a batch, and of their labels."""

from __future__ import annotations

import math

import numpy as np

from ...errors import ShapeError
from ...errors import ValueError as TgValueError
from ...generator import Generator
from ...tensor import Tensor, from_numpy
from .base import numpy_generator


class MixUp:
    """Every sample of a batch mixed with another one: lam * x + (1 - lam) * x[partner], and so the
    labels, which become rows of num_classes shares. lam is drawn from Beta(alpha, alpha), once for
    the batch; partner is the order reversed by one place.

    Called with (images (N, ...) floating, labels (N,) of integers or (N, num_classes) of shares).
    Raises ShapeError and ValueError. Source: Zhang et al., "mixup: beyond empirical risk
    minimization", 2018.

    >>> import tilegrad as tg
    >>> x, y = MixUp(num_classes=3)(tg.rand(4, 1, 2, 2), tg.tensor([0, 1, 2, 0]))
    >>> x.shape, y.shape, bool(tg.allclose(y.sum(1), tg.ones(4)))
    ((4, 1, 2, 2), (4, 3), True)
    """

    def __init__(self, alpha: float = 1.0, num_classes: int | None = None) -> None:
        if alpha <= 0:
            raise TgValueError(f"{type(self).__name__}: alpha must be positive, got {alpha}")
        self.alpha, self.num_classes = alpha, num_classes

    def __call__(
        self, images: Tensor, labels: Tensor, generator: Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        op, x, y = type(self).__name__, images.numpy(), labels.numpy()
        if x.dtype.kind != "f" or len(x) != len(y) or y.ndim not in (1, 2):
            raise ShapeError(
                f"{op}: expects floating images (N, ...) and labels (N,) or (N, classes), got "
                f"{x.dtype} {x.shape} and {y.shape}"
            )
        if y.ndim == 1:
            if self.num_classes is None or (
                y.size and not 0 <= y.min() <= y.max() < self.num_classes
            ):
                raise TgValueError(
                    f"{op}: labels need num_classes above them, got {self.num_classes}"
                )
            y = np.eye(self.num_classes, dtype=np.float32)[y]
        rng = numpy_generator(generator)
        mixed, lam = self._mix(x, float(rng.beta(self.alpha, self.alpha)), rng)
        y = y * np.float32(lam) + np.roll(y, 1, 0) * np.float32(1 - lam)
        return from_numpy(mixed), from_numpy(y.astype(np.float32, copy=False))

    def _mix(self, x: np.ndarray, lam: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        return x * x.dtype.type(lam) + np.roll(x, 1, 0) * x.dtype.type(1 - lam), lam


class CutMix(MixUp):
    """As MixUp, but a rectangle is taken from the other image, and lam is the share of the pixels
    that stay. Source: Yun et al., "CutMix", 2019."""

    def _mix(self, x: np.ndarray, lam: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        if x.ndim != 4:
            raise ShapeError(f"CutMix: expects images (N, C, H, W), got shape {x.shape}")
        h, w = x.shape[2:]
        cy, cx = rng.integers(0, (h, w))
        ry, rx = int(h * math.sqrt(1 - lam) / 2), int(w * math.sqrt(1 - lam) / 2)
        rows, columns = slice(max(cy - ry, 0), cy + ry), slice(max(cx - rx, 0), cx + rx)
        out = x.copy()
        out[:, :, rows, columns] = np.roll(x, 1, 0)[:, :, rows, columns]
        hole = len(range(h)[rows]) * len(range(w)[columns])
        return out, 1 - hole / (h * w)
