"""Transforms of where things are in images: crops, flips, sizes, rotations, affine maps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...errors import ValueError as TgValueError
from ...ops.matmul import matmul
from ...tensor import from_numpy
from .base import Transform, interval, like, pair, per_channel, probability, real
from .values import rectangle

_PAD_MODES = ("constant", "edge", "reflect", "symmetric")


# --- crops and flips ------------------------------------------------------------------------------
def _padded(op: str, a: np.ndarray, pads: Any, mode: str, fill: Any) -> np.ndarray:
    """a with (left, top, right, bottom) more pixels."""
    left, top, right, bottom = pads
    widths = ((0, 0), (0, 0), (top, bottom), (left, right))
    if mode != "constant":
        return np.pad(a, widths, mode)  # type: ignore[call-overload, no-any-return]
    n, c, h, w = a.shape
    out = np.empty((n, c, h + top + bottom, w + left + right), a.dtype)
    out[...] = per_channel(op, "fill", fill, c).astype(a.dtype)
    out[:, :, top : top + h, left : left + w] = a
    return out


def _four(padding: Any) -> tuple[int, int, int, int]:
    """Padding as torchvision takes it: all sides, (left and right, top and bottom), or four."""
    p = (padding,) if isinstance(padding, int) else tuple(padding)
    if len(p) not in (1, 2, 4) or min(p) < 0:
        raise TgValueError(f"padding expects 1, 2 or 4 numbers from 0 on, got {padding}")
    left, top, right, bottom = p * (4 // len(p))
    return left, top, right, bottom


class Pad(Transform):
    """Pixels around the image: padding for all sides, (left and right, top and bottom), or (left,
    top, right, bottom); padding_mode: "constant" (fill), "edge", "reflect" or "symmetric"."""

    def __init__(self, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> None:
        if padding_mode not in _PAD_MODES:
            raise TgValueError(f"padding_mode is one of {_PAD_MODES}, got {padding_mode!r}")
        self.padding, self.fill, self.padding_mode = _four(padding), fill, padding_mode

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return _padded("Pad", a, self.padding, self.padding_mode, self.fill)


def _fits(op: str, a: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """How far a window of this size can move."""
    h, w = a.shape[2] - size[0], a.shape[3] - size[1]
    if min(h, w) < 0:
        raise ShapeError(f"{op}: images {a.shape[2:]} are smaller than {size}")
    return h, w


class CenterCrop(Transform):
    """The middle of each image. Raises ShapeError for smaller images.

    >>> import tilegrad as tg
    >>> CenterCrop(2)(tg.arange(16.0).reshape(1, 4, 4))
    tensor([[[ 5.,  6.],
             [ 9., 10.]]])
    """

    def __init__(self, size: Any) -> None:
        self.size = pair("CenterCrop", "size", size)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, w = _fits("CenterCrop", a, self.size)
        y, x = round(h / 2), round(w / 2)
        return np.ascontiguousarray(a[:, :, y : y + self.size[0], x : x + self.size[1]])


class RandomCrop(Transform):
    """A window of the given size at a random place, after padding as Pad does: (32, padding=4) for
    CIFAR, 224 of images of 256 as AlexNet's patches. Raises ShapeError where images are smaller.

    >>> import tilegrad as tg
    >>> RandomCrop(28, padding=2)(tg.zeros(5, 1, 28, 28)).shape
    (5, 1, 28, 28)
    """

    def __init__(
        self, size: Any, padding: Any = None, fill: Any = 0, padding_mode: str = "constant"
    ) -> None:
        self.size = pair("RandomCrop", "size", size)
        self.pad = None if padding is None else Pad(padding, fill, padding_mode)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.pad is not None:
            a = self.pad.apply(a, rng)
        h, w = _fits("RandomCrop", a, self.size)
        out = np.empty((*a.shape[:2], *self.size), a.dtype)
        places = rng.integers(0, (h + 1, w + 1), (len(a), 2)).tolist()
        for i, (y, x) in enumerate(places):
            out[i] = a[i, :, y : y + self.size[0], x : x + self.size[1]]
        return out


class RandomHorizontalFlip(Transform):
    """Left and right exchanged with the chance p."""

    mirrored: tuple[Any, ...] = np.s_[..., ::-1]

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability(type(self).__name__, p)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        out, turned = a.copy(), a[self.mirrored]
        for i in np.flatnonzero(rng.random(len(a)) < self.p).tolist():
            out[i] = turned[i]
        return out


class RandomVerticalFlip(RandomHorizontalFlip):
    """Top and bottom exchanged with the chance p."""

    mirrored = np.s_[..., ::-1, :]


class TenCrop(Transform):
    """Corners and middle of each image and the same mirrored, (10, C, h, w) or (N, 10, C, h, w):
    the patches a prediction is averaged over. Source: Krizhevsky, Sutskever and Hinton, 2012.
    """

    def __init__(self, size: Any) -> None:
        self.size = pair("TenCrop", "size", size)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, w = _fits("TenCrop", a, self.size)
        places = [(0, 0), (0, w), (h, 0), (h, w), (round(h / 2), round(w / 2))]
        return np.stack(
            [
                image[:, :, y : y + self.size[0], x : x + self.size[1]]
                for image in (a, a[..., ::-1])
                for y, x in places
            ],
            1,
        )


# --- sizes ----------------------------------------------------------------------------------------
def _taps(n_in: int, n_out: int, begin: int, length: int) -> np.ndarray:
    """The (n_out, n_in) weights that resize the part [begin, begin + length) of an axis: triangles
    as wide as an output pixel, and at least as an input pixel."""
    step = length / n_out
    wide = max(step, 1.0)
    centers = begin + (np.arange(n_out) + 0.5) * step
    distance = (np.arange(n_in) + 0.5) - centers[:, None]
    weights = np.maximum(0.0, 1.0 - np.abs(distance) / wide)
    weights[:, :begin] = weights[:, begin + length :] = 0.0
    weights /= weights.sum(1, keepdims=True)
    return weights.astype(np.float32)


def _resized(
    x: np.ndarray, size: tuple[int, int], box: tuple[int, int, int, int] | None = None
) -> np.ndarray:
    """The box (top, left, height, width) of floating (N, C, H, W) at another size."""
    top, left, height, width = box or (0, 0, *x.shape[2:])
    rows = _taps(height, size[0], 0, height)
    columns = _taps(width, size[1], 0, width)
    part = x[:, :, top : top + height, left : left + width].astype(np.float32, copy=False)
    across = matmul(from_numpy(part), from_numpy(columns).t())
    y: np.ndarray = matmul(from_numpy(rows), across).numpy()
    return y


class Resize(Transform):
    """Images at another size: (height, width), or one number for the shorter side. Linear, with
    wider taps where it shrinks ("antialias"), as pillow's and torchvision's.

    >>> import tilegrad as tg
    >>> Resize(8)(tg.ones(3, 16, 32)).shape
    (3, 8, 16)
    """

    def __init__(self, size: Any) -> None:
        self.shorter = size if isinstance(size, int) else None
        self.size = pair("Resize", "size", size)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, w = a.shape[2:]
        size = self.size
        if self.shorter is not None:
            least = min(h, w)
            size = h * self.shorter // least, w * self.shorter // least
        return like(_resized(real(a), size), a)


class RandomResizedCrop(Transform):
    """A random rectangle of each image at the given size. scale: the interval of its share of the
    area; ratio: that of width / height, drawn logarithmically. Ten that do not fit give the
    largest in the middle. Source: Szegedy et al., "Going deeper with convolutions", 2015.
    """

    def __init__(
        self,
        size: Any,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        op = "RandomResizedCrop"
        self.size = pair(op, "size", size)
        self.scale, ratio = interval(op, "scale", scale), interval(op, "ratio", ratio)
        if self.scale[0] <= 0 or ratio[0] <= 0:
            raise TgValueError(f"{op}: scale and ratio must be above 0")
        self.ratio = 1 / ratio[1], 1 / ratio[0]

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        h, w = a.shape[2:]
        out = np.empty((*a.shape[:2], *self.size), a.dtype)
        for i in range(len(a)):
            box = rectangle(rng, (h, w), self.scale, self.ratio)
            if box is None:
                height = min(h, round(w * self.ratio[1]))
                width = min(w, round(h / self.ratio[0]))
                box = (h - height) // 2, (w - width) // 2, height, width
            out[i] = like(_resized(real(a[i : i + 1]), self.size, box), a)[0]
        return out


# --- affine maps ----------------------------------------------------------------------------------
def _warped(
    image: np.ndarray, inverse: np.ndarray, fill: np.ndarray, nearest: bool, points: np.ndarray
) -> np.ndarray:
    """image (C, H, W) read at inverse @ points, (2, H * W) places around the middle; beyond the
    edge lies fill."""
    c, h, w = image.shape
    x, y = inverse[:, :2] @ points + inverse[:, 2:]
    # One pixel of fill on each side; places further out come to lie on it.
    x += np.float32((w - 1) / 2 + 1)
    y += np.float32((h - 1) / 2 + 1)
    np.clip(x, 0, w + 1, out=x)
    np.clip(y, 0, h + 1, out=y)
    framed = np.empty((c, h + 3, w + 3), image.dtype)
    framed[...] = fill
    framed[:, 1:-2, 1:-2] = image
    flat = framed.reshape(c, -1)
    if nearest:
        at = np.rint(y).astype(np.intp) * (w + 3) + np.rint(x).astype(np.intp)
        return flat.take(at, 1).reshape(image.shape)
    left, above = np.floor(x), np.floor(y)
    at = above.astype(np.intp) * (w + 3) + left.astype(np.intp)
    x -= left
    y -= above
    rows = []
    for k in (at, at + (w + 3)):
        row = flat.take(k + 1, 1).astype(np.float32, copy=False)
        first = flat.take(k, 1)
        row = (row - first) * x + first
        rows.append(row)
    out = (rows[1] - rows[0]) * y + rows[0]
    shaped: np.ndarray = out.reshape(image.shape)
    return shaped


class RandomAffine(Transform):
    """Rotation, shift, scale and shear by random amounts about the middle.

    degrees: the interval of angles, counter-clockwise, or how far from 0; translate: the largest
    shifts as shares of (width, height); scale: the interval of factors; shear: that of the angles
    along x, or four numbers for x and y. interpolation: "bilinear" or "nearest"; fill: what lies
    beyond the edge, one number or one for each channel.

    >>> import tilegrad as tg
    >>> x = tg.rand(3, 5, 5)
    >>> quarter = RandomAffine((90, 90), interpolation="nearest")
    >>> bool((quarter(x) == x.rot90(1, (1, 2))).all())
    True
    """

    def __init__(
        self,
        degrees: Any,
        translate: tuple[float, float] | None = None,
        scale: tuple[float, float] | None = None,
        shear: Any = None,
        interpolation: str = "bilinear",
        fill: Any = 0,
    ) -> None:
        op = type(self).__name__
        self.degrees = interval(op, "degrees", degrees)
        self.translate = translate or (0.0, 0.0)
        self.scale = interval(op, "scale", scale or (1.0, 1.0))
        many = shear is not None and not isinstance(shear, (int, float)) and len(shear) == 4
        shears = (shear[:2], shear[2:]) if many else (shear or 0.0, 0.0)
        self.shear = [interval(op, "shear", s) for s in shears]
        if not all(0 <= t <= 1 for t in self.translate) or self.scale[0] <= 0:
            raise TgValueError(f"{op}: translate must lie in [0, 1], scale above 0")
        if interpolation not in ("bilinear", "nearest"):
            raise TgValueError(
                f"{op}: interpolation is 'bilinear' or 'nearest', got {interpolation!r}"
            )
        self.nearest, self.fill = interpolation == "nearest", fill

    def _inverse(self, rng: np.random.Generator, h: int, w: int) -> np.ndarray:
        """The (2, 3) map from places in the result to places in the image, about the middle."""
        angle, factor = math.radians(rng.uniform(*self.degrees)), rng.uniform(*self.scale)
        sx, sy = (math.tan(math.radians(rng.uniform(*s))) for s in self.shear)
        shift = [rng.uniform(-t, t) * n for t, n in zip(self.translate, (w, h), strict=True)]
        # y points down, so this turns counter-clockwise on the screen.
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        forward = factor * turn @ np.array([[1.0, sx], [0.0, 1.0]]) @ [[1.0, 0.0], [sy, 1.0]]
        back = np.linalg.inv(forward)
        return np.column_stack([back, -back @ np.round(shift)]).astype(np.float32)

    def apply(self, a: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        n, c, h, w = a.shape
        y, x = np.mgrid[:h, :w].astype(np.float32)
        points = np.stack([(x - (w - 1) / 2).ravel(), (y - (h - 1) / 2).ravel()])
        fill = per_channel(type(self).__name__, "fill", self.fill, c)
        out = np.empty_like(a)
        for i in range(n):
            inverse = self._inverse(rng, h, w)
            out[i] = like(_warped(a[i], inverse, fill, self.nearest, points), a)
        return out


class RandomRotation(RandomAffine):
    """Rotation about the middle by an angle from degrees (an interval, or how far from 0),
    counter-clockwise; the rest as RandomAffine."""

    def __init__(self, degrees: Any, interpolation: str = "nearest", fill: Any = 0) -> None:
        super().__init__(degrees, interpolation=interpolation, fill=fill)
