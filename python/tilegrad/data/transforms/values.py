"""Transforms of the values of images: scales, whitening, colours, noise, erasing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...errors import ValueError as TgValueError
from ...ops.matmul import matmul
from ...tensor import Tensor, from_numpy
from .base import (
    Transform,
    in_pieces,
    interval,
    like,
    per_channel,
    probability,
    real,
    top,
)


class ToFloat(Transform):
    """uint8 images as float32 in [0, 1]; floating ones stay.

    >>> import tilegrad as tg
    >>> ToFloat()(tg.full((1, 1, 2), 255, dtype=tg.uint8))
    tensor([[[1., 1.]]])
    """

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.true_divide(a, np.float32(255), dtype=np.float32) if a.dtype == np.uint8 else a


class Normalize(Transform):
    """(x - mean) / std for each channel, floating; uint8 counts as x / 255.

    ``Normalize.fit(images)`` takes both from images: standardises them. Raises ValueError where std
    is not positive.

    >>> import tilegrad as tg
    >>> Normalize(0.5, 0.5)(tg.tensor([[[0.0, 1.0]]]))
    tensor([[[-1.,  1.]]])
    """

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        if not (self.std > 0).all():
            raise TgValueError(f"Normalize: std must be positive, got {std}")

    @classmethod
    def fit(cls, images: Any) -> Normalize:
        """With mean and standard deviation of each channel of images (N, C, H, W)."""
        a = images._array if isinstance(images, Tensor) else np.asarray(images)
        if a.ndim != 4 or not a.size:
            raise ShapeError(f"Normalize.fit: expects images (N, C, H, W), got shape {a.shape}")
        mean = a.mean((0, 2, 3), dtype=np.float64)
        squares = np.zeros(a.shape[1])
        for s in in_pieces(a, 1 << 24):
            squares += np.square(a[s] - mean[:, None, None]).sum((0, 2, 3))
        std = np.sqrt(squares / (a.size / a.shape[1]))
        scale = top(a)
        return cls(mean / scale, np.where(std > 0, std, scale) / scale)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        mean, std = (
            per_channel("Normalize", n, v, a.shape[1])
            for n, v in (("mean", self.mean), ("std", self.std))
        )
        dtype = np.float32 if a.dtype == np.uint8 else a.dtype
        out = np.empty(a.shape, dtype)
        scale = (1.0 / (std * top(a))).astype(dtype)
        shift = (mean / std).astype(dtype)
        for s in in_pieces(out, 1 << 18):
            np.multiply(a[s], scale, out=out[s], dtype=dtype)
            out[s] -= shift
        return out


class LinearTransformation(Transform):
    """(x - mean) @ matrix of the flattened image, (D, D) and (D,) for D = C * H * W.

    ``LinearTransformation.fit(images, "zca")`` whitens: the features of images become uncorrelated
    and of variance 1, near the images they were ("zca") or in the order of their variances ("pca").
    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.

    >>> import tilegrad as tg
    >>> x = tg.randn(500, 1, 1, 3).cumsum(-1)
    >>> y = LinearTransformation.fit(x, eps=0.0)(x).reshape(500, 3)
    >>> bool(tg.allclose(y.t() @ y / 500, tg.eye(3), atol=1e-3))
    True
    """

    def __init__(self, transformation_matrix: Any, mean_vector: Any) -> None:
        self.matrix = np.asarray(transformation_matrix, np.float32)
        self.mean = np.asarray(mean_vector, np.float32)
        d = self.mean.size
        if self.mean.ndim != 1 or self.matrix.shape != (d, d):
            raise ShapeError(
                f"LinearTransformation: expects matrix (D, D) and mean (D,), got "
                f"{self.matrix.shape} and {self.mean.shape}"
            )

    @classmethod
    def fit(cls, images: Any, kind: str = "zca", eps: float = 1e-5) -> LinearTransformation:
        """The whitening of images (N, C, H, W); eps is added to the variances."""
        if kind not in ("zca", "pca"):
            raise TgValueError(f"LinearTransformation.fit: kind is 'zca' or 'pca', got {kind!r}")
        a = images._array if isinstance(images, Tensor) else np.asarray(images)
        x = a.reshape(len(a), -1).astype(np.float64) / top(a)
        mean = x.mean(0)
        x -= mean
        variances, directions = np.linalg.eigh(x.T @ x / len(x))
        # Directions in which the images do not vary stay as they are.
        variances = np.maximum(variances, 0.0) + eps
        small = variances <= variances[-1] * 1e-12
        matrix = directions / np.where(small, 1.0, np.sqrt(variances))
        return cls(matrix @ directions.T if kind == "zca" else matrix[:, ::-1], mean)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        flat = a.reshape(len(a), math.prod(a.shape[1:])).astype(np.float32)
        if flat.shape[1] != self.mean.size:
            raise ShapeError(
                f"LinearTransformation: expects {self.mean.size} values, got images {a.shape[1:]}"
            )
        flat /= np.float32(top(a))
        flat -= self.mean
        y: np.ndarray = matmul(from_numpy(flat), from_numpy(self.matrix)).numpy()
        return y.reshape(a.shape)


# --- colours --------------------------------------------------------------------------------------
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""What the channels give to grey (ITU-R BT.601)."""


def _grey(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N, 1, H, W)."""
    if x.shape[1] != 3:
        return x.mean(1, keepdims=True)
    g: np.ndarray = np.einsum("nchw,c->nhw", x, _LUMA.astype(x.dtype))[:, None]
    return g


class Grayscale(Transform):
    """Grey images with 1 or 3 equal channels, from images with 3."""

    def __init__(self, num_output_channels: int = 1) -> None:
        self.channels = num_output_channels

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return like(np.repeat(_grey(real(a)), self.channels, 1), a)


def _blend(x: np.ndarray, other: Any, share: np.ndarray, high: float) -> np.ndarray:
    """other + share * (x - other), kept within [0, high]."""
    y = x - other
    y *= share
    y += other
    return np.clip(y, 0.0, high, out=y)


def _turn_hue(x: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """The hue of (N, 3, H, W) turned by (N, 1, 1) of a circle; value and saturation stay."""
    r, g, b = x[:, 0], x[:, 1], x[:, 2]
    value = x.max(1)
    chroma = value - x.min(1)
    safe = np.where(chroma > 0, chroma, 1).astype(x.dtype)
    hue = np.where(
        value == r, (g - b) / safe, np.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    hue = hue + 6 * turns.astype(x.dtype)
    out = np.empty_like(x)
    for channel, offset in enumerate((5, 3, 1)):
        k = np.mod(hue + offset, 6)
        out[:, channel] = value - chroma * np.clip(np.minimum(k, 4 - k), 0, 1)
    return out


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed at random, in random order.

    Each is an interval of factors, or how far from 1 (hue: from 0, within [-0.5, 0.5] of a circle).
    Contrast blends with the mean grey, saturation with the grey image. Images of one channel have
    neither saturation nor hue.

    >>> import tilegrad as tg
    >>> x = tg.rand(3, 4, 4)
    >>> bool((ColorJitter(brightness=(0.5, 0.5))(x) == x * 0.5).all())
    True
    """

    def __init__(
        self, brightness: Any = 0.0, contrast: Any = 0.0, saturation: Any = 0.0, hue: Any = 0.0
    ) -> None:
        op = "ColorJitter"
        self.factors = {}
        for name, value in (
            ("brightness", brightness), ("contrast", contrast), ("saturation", saturation),
        ):  # fmt: skip
            low, high = interval(op, name, value, 1.0)
            self.factors[name] = max(low, 0.0), high
        self.factors["hue"] = interval(op, "hue", hue)
        if not -0.5 <= self.factors["hue"][0] <= self.factors["hue"][1] <= 0.5:
            raise TgValueError(f"{op}: hue must lie within [-0.5, 0.5], got {hue}")

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wanted = [
            (name, rng.uniform(low, high, (len(a), 1, 1, 1)))
            for name, (low, high) in self.factors.items()
            if not low == high == (0.0 if name == "hue" else 1.0)
        ]
        order, out = rng.permutation(len(wanted)), np.empty_like(a)
        for s in in_pieces(a, 1 << 18):
            x = real(a[s])
            for name, by in (wanted[i] for i in order):
                x = self._changed(x, name, by[s].astype(x.dtype), top(a))
            out[s] = like(x, a)
        return out

    @staticmethod
    def _changed(x: np.ndarray, name: str, by: np.ndarray, high: float) -> np.ndarray:
        zero = x.dtype.type(0)
        if name == "brightness":
            return _blend(x, zero, by, high)
        if name == "contrast":
            return _blend(x, _grey(x).mean((1, 2, 3), keepdims=True), by, high)
        if x.shape[1] != 3:
            return x
        return _blend(x, _grey(x), by, high) if name == "saturation" else _turn_hue(x, by[:, 0])


# --- noise and holes ------------------------------------------------------------------------------
class GaussianNoise(Transform):
    """x plus normal noise of the given mean and deviation sigma, relative to the range of values;
    clip keeps the sum in the range.

    >>> import tilegrad as tg
    >>> GaussianNoise(sigma=0.0)(tg.ones(1, 1, 2))
    tensor([[[1., 1.]]])
    """

    def __init__(self, mean: float = 0.0, sigma: float = 0.1, clip: bool = True) -> None:
        if sigma < 0:
            raise TgValueError(f"GaussianNoise: sigma must not be negative, got {sigma}")
        self.mean, self.sigma, self.clip = mean, sigma, clip

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out, high = np.empty_like(a), top(a)
        for s in in_pieces(a, 1 << 18):
            y = rng.standard_normal(a[s].shape, np.float32)
            y *= np.float32(self.sigma * high)
            y += np.float32(self.mean * high)
            y = y + a[s]
            out[s] = like(np.clip(y, 0.0, high, out=y) if self.clip else y, a)
        return out


class RandomErasing(Transform):
    """Fills a random rectangle of each image with the chance p.

    scale: the interval of its share of the area; ratio: that of height / width, drawn
    logarithmically; value: a number, one for each channel, or "random" for noise. A rectangle that
    does not fit is drawn again, ten times at most. Source: Zhong et al., "Random erasing data
    augmentation", 2017.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        value: Any = 0,
    ) -> None:
        op = "RandomErasing"
        self.p = probability(op, p)
        self.scale, self.ratio = interval(op, "scale", scale), interval(op, "ratio", ratio)
        if self.scale[0] < 0 or self.scale[1] > 1 or self.ratio[0] <= 0:
            raise TgValueError(f"{op}: scale must lie in [0, 1], ratio above 0")
        self.value = value

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, c, h, w = a.shape
        out = a.copy()
        fill = None
        if not isinstance(self.value, str):
            fill = per_channel("RandomErasing", "value", self.value, c)
        elif self.value != "random":
            raise TgValueError(f"RandomErasing: value is a number or 'random', got {self.value!r}")
        for i in np.flatnonzero(rng.random(n) < self.p):
            box = rectangle(rng, (h, w), self.scale, self.ratio)
            if box is None:
                continue
            y, x, height, width = box
            hole = out[i, :, y : y + height, x : x + width]
            if fill is None:
                noise = rng.standard_normal(hole.shape, np.float32)
                hole[...] = noise if a.dtype != np.uint8 else rng.integers(0, 256, hole.shape)
            else:
                hole[...] = fill
        return out


def rectangle(
    rng: np.random.Generator,
    space: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> tuple[int, int, int, int] | None:
    """Top, left, height and width of a random rectangle in space with a share of the area from
    scale and height / width from ratio; None where ten do not fit."""
    for _ in range(10):
        area = space[0] * space[1] * rng.uniform(*scale)
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < height <= space[0] and 0 < width <= space[1]:
            y, x = rng.integers(0, (space[0] - height + 1, space[1] - width + 1))
            return int(y), int(x), height, width
    return None
