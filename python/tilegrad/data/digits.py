"""Handwritten digits: MNIST from a folder, and the small set that comes with scikit-learn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, PackageError
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..tensor import Tensor, from_numpy
from .dataset import TensorDataset
from .idx import read_idx
from .images import ImageDataset

MNIST_FILES = {
    True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / (name + ".gz")):
        if candidate.is_file():
            return candidate
    there = "" if folder.is_dir() else ", which is not a folder"
    raise TgFileNotFoundError(f"MNIST: neither {name} nor {name}.gz is in {str(folder)!r}{there}")


def _dataset(images: np.ndarray, labels: np.ndarray, white: float) -> tuple[Tensor, Tensor]:
    scaled = images.astype(np.float32)
    scaled *= np.float32(1.0 / white)
    return from_numpy(scaled[:, None]), from_numpy(labels.astype(np.int64))


class MNIST(ImageDataset):
    """The MNIST digits: images (N, 1, H, W) float32 in [0, 1] and labels (N,) int64.

    folder holds the IDX files ``train-images-idx3-ubyte`` and so on, with or without ``.gz``; train
    chooses the training or the test set; transform as in ImageDataset. Raises FileNotFoundError,
    and DataError when files are damaged or do not belong together.
    """

    names: tuple[str, ...] = tuple("0123456789")

    def __init__(
        self,
        folder: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        paths = [_find(Path(folder), name) for name in MNIST_FILES[bool(train)]]
        images, labels = (read_idx(p) for p in paths)
        for path, a, ndim in zip(paths, (images, labels), (3, 1), strict=True):
            if a.ndim != ndim or a.dtype != np.uint8:
                raise DataError(
                    f"MNIST: {str(path)!r} must hold uint8 of {ndim} axes, got {a.dtype} of shape "
                    f"{a.shape}"
                )
        if len(images) != len(labels):
            raise DataError(
                f"MNIST: {paths[0].name} has {len(images)} images, but {paths[1].name} "
                f"{len(labels)} labels"
            )
        if labels.size and labels.max() > 9:
            raise DataError(f"MNIST: {str(paths[1])!r} has label {labels.max()}, expected 0 to 9")
        super().__init__(*_dataset(images, labels, 255.0), self.names, transform)


class FashionMNIST(MNIST):
    """Fashion-MNIST, articles of clothing in files like those of MNIST.

    Source: H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST", 2017.
    """

    names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
        "Ankle boot",
    )  # fmt: skip


def digits(train: bool = True, enlarge: bool = False) -> TensorDataset:
    """The 1797 digits of scikit-learn: images (N, 1, 8, 8) float32 in [0, 1], labels (N,) int64.

    Every fifth sample is the test set, the others the training set. enlarge: 28 x 28, each pixel as
    a block of 3 x 3 within a margin of 2. Raises PackageError where scikit-learn is missing.
    Source: E. Alpaydin and C. Kaynak, "Optical recognition of handwritten digits", 1998 (UCI).
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as e:
        raise PackageError(
            "digits: the bundled digits need scikit-learn: pip install scikit-learn, or give a "
            f"folder with the MNIST files ({e})"
        ) from None
    bunch: Any = load_digits()
    chosen = (np.arange(len(bunch.target)) % 5 == 0) != bool(train)
    images, labels = bunch.images[chosen], bunch.target[chosen]
    if enlarge:
        images = np.pad(images.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    return TensorDataset(*_dataset(images, labels, 16.0))
