"""CIFAR-10, CIFAR-100 and SVHN: 32 x 32 colour images in the files their authors gave out.

Sources: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009; Y. Netzer et
al., "Reading digits in natural images with unsupervised feature learning", 2011.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, PackageError
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..serialization import DAMAGE
from ..serialization.pickles import STANDARD, Machine, Maker, Name
from ..tensor import from_numpy
from .images import ImageDataset, ImageFolder

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


# --- pickles of arrays ----------------------------------------------------------------------------
class _Described:
    """What a pickle describes as an array or an element type: its state, not yet looked at."""

    state: Any = None

    def __init__(self, code: Any = None) -> None:
        self.code = code

    def array(self) -> np.ndarray:
        """The uint8 array. Raises ValueError and the like where the state describes none."""
        _, shape, dtype, fortran, data = self.state
        kind = dtype.code if isinstance(dtype, _Described) else None
        if kind not in ("u1", "|u1", b"u1", b"|u1") or fortran or type(data) is not bytes:
            raise ValueError("not an array of uint8 in C order")
        if type(shape) is not tuple or len(shape) > 4 or any(type(n) is not int for n in shape):
            raise ValueError("not an array of uint8 of few axes")
        return np.frombuffer(data, np.uint8).reshape(shape)


def _reconstruct(m: Machine, kind: Any, shape: Any, code: Any) -> _Described:
    m.charge(200)
    return _Described()


def _dtype(m: Machine, code: Any, *args: Any) -> _Described:
    if type(code) not in (str, bytes):
        raise ValueError("an element type without a name")
    m.charge(200)
    return _Described(code)


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): Maker("_reconstruct", _reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): Maker("_reconstruct", _reconstruct),
    ("numpy", "ndarray"): Name("numpy.ndarray", None),
    ("numpy", "dtype"): Maker("numpy.dtype", _dtype),
    ("_codecs", "encode"): STANDARD["_codecs", "encode"],
}


class _Arrays(Machine):
    """A machine that knows arrays; the strings of Python 2 are bytes."""

    plain = (*Machine.plain, _Described)

    def step(self, op: int) -> None:
        if op in b"UT":
            raw = self.take(self.number("<B" if op == ord("U") else "<I"))
            self.stack.append(self.new(raw))
        elif op == ord("b"):
            state = self.pop()
            self.top((_Described,)).state = state
        else:
            super().step(op)


def _no_storage(identity: Any) -> Any:
    raise ValueError("refers to something outside it")


def read_batch(data: bytes, name: str) -> dict[str, Any]:
    """The dict of arrays, lists and bytes in a pickle of Python 2 or 3, whose code is not executed.

    Raises DataError for any other pickle, and for damaged ones.
    """
    try:
        found = _Arrays(data, _NAMES, _no_storage, len(data)).run()
        if type(found) is not dict:
            raise ValueError("it is no dict")
        return {
            k.decode("latin1") if isinstance(k, bytes) else str(k): (
                v.array() if isinstance(v, _Described) else v
            )
            for k, v in found.items()
        }
    except DAMAGE as e:
        raise DataError(f"{name!r} is no whole pickle of arrays: {e}") from None


def _labelled(batch: dict[str, Any], key: str, n_classes: int, name: str) -> tuple[Any, Any]:
    x, y = batch.get("data"), batch.get(key)
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[1] != 3072:
        raise DataError(f"{name!r}: data is not uint8 of shape (N, 3072)")
    if not isinstance(y, list) or len(y) != len(x):
        raise DataError(f"{name!r}: {key} does not hold one label for each of {len(x)} images")
    if not all(type(n) is int and 0 <= n < n_classes for n in y):
        raise DataError(f"{name!r}: {key} holds labels other than 0 to {n_classes - 1}")
    return x.reshape(-1, 3, 32, 32), np.array(y, np.int64)


def _batches(
    folder: Path, names: list[str], key: str, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for name in names:
        path = folder / name
        if not path.is_file():
            raise TgFileNotFoundError(f"there is no file {str(path)!r}")
        parts.append(_labelled(read_batch(path.read_bytes(), str(path)), key, n_classes, str(path)))
    xs, ys = zip(*parts, strict=True)
    return np.concatenate(xs), np.concatenate(ys)


class CIFAR10(ImageDataset):
    """CIFAR-10: images (N, 3, 32, 32) uint8, labels 0 to 9, 50,000 for training and 10,000 others.

    folder: holds the pickles of the Python version (``data_batch_1`` to ``5``, ``test_batch``), or
    ``cifar-10-batches-py`` with them, or images in ``train/<class>/`` and ``test/<class>/``, which
    a zip archive may hold as well. No code in the pickles is executed. Samples and transform as in
    ImageDataset. Raises FileNotFoundError, and DataError for damaged files.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        root = Path(folder)
        inner = root / "cifar-10-batches-py"
        root = inner if inner.is_dir() else root
        if (root / "test_batch").is_file() or (root / "data_batch_1").is_file():
            names = [f"data_batch_{i}" for i in range(1, 6)] if train else ["test_batch"]
            x, y = _batches(root, names, "labels", 10)
        else:
            x, y = _decoded(root, "train" if train else "test")
        super().__init__(from_numpy(x), from_numpy(y), CIFAR10_CLASSES, transform)


def _decoded(root: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    if root.is_dir() and not (root / part).is_dir():
        raise DataError(
            f"CIFAR10: {str(root)!r} has neither data_batch_1 to 5 and test_batch, nor "
            f"{part}/<class>/<image>"
        )
    images = ImageFolder(root, part=part)
    if set(images.classes) != set(CIFAR10_CLASSES):
        raise DataError(f"CIFAR10: {str(root)!r} has the classes {images.classes}")
    x = np.empty((len(images), 3, 32, 32), np.uint8)
    for i, (name, _) in enumerate(images.samples):
        a = images.image(i)
        if a.shape != (3, 32, 32):
            raise DataError(f"CIFAR10: {name!r} has shape {a.shape}, expected (3, 32, 32)")
        x[i] = a
    return x, np.array(images.targets, np.int64)


class CIFAR100(ImageDataset):
    """CIFAR-100, as CIFAR10: 100 classes ("fine" labels) or their 20 superclasses (coarse=True).

    folder: holds the pickles ``train``, ``test`` and, for the names, ``meta`` of the Python
    version, or ``cifar-100-python`` with them.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        coarse: bool = False,
    ) -> None:
        root = Path(folder)
        inner = root / "cifar-100-python"
        root = inner if inner.is_dir() else root
        kind = "coarse" if coarse else "fine"
        x, y = _batches(
            root, ["train" if train else "test"], f"{kind}_labels", 20 if coarse else 100
        )
        classes: list[str] = []
        if (root / "meta").is_file():
            meta = read_batch((root / "meta").read_bytes(), str(root / "meta"))
            names = meta.get(f"{kind}_label_names", [])
            classes = [n.decode("latin1") if isinstance(n, bytes) else str(n) for n in names]
        super().__init__(from_numpy(x), from_numpy(y), classes, transform)


class SVHN(ImageDataset):
    """Street View House Numbers, cropped digits: images (N, 3, 32, 32) uint8, labels 0 to 9.

    folder: holds ``train_32x32.mat`` and so on; split: "train", "test" or "extra". Samples and
    transform as in ImageDataset. Raises FileNotFoundError, DataError for damaged files, and
    PackageError where scipy, which reads them, is missing.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        split: str = "train",
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        try:
            from scipy.io import loadmat  # type: ignore[import-untyped]
        except ImportError as e:
            raise PackageError(f"SVHN: .mat files need scipy: pip install scipy ({e})") from None
        path = Path(folder) / f"{split}_32x32.mat"
        if not path.is_file():
            raise TgFileNotFoundError(f"SVHN: there is no file {str(path)!r}")
        try:
            found = loadmat(str(path), variable_names=["X", "y"])
            x, y = found["X"], found["y"].ravel()
        except Exception as e:  # a damaged file may raise anything there
            raise DataError(f"SVHN: {str(path)!r} is no .mat file with X and y: {e}") from None
        if x.dtype != np.uint8 or x.shape != (32, 32, 3, y.size):
            raise DataError(
                f"SVHN: {str(path)!r}: X must be uint8 of shape (32, 32, 3, {y.size}), got "
                f"{x.dtype} of shape {x.shape}"
            )
        if y.size and not (y.min() >= 0 and y.max() <= 10):
            raise DataError(f"SVHN: {str(path)!r} has labels other than 1 to 10")
        labels = y.astype(np.int64) % 10  # the files call the digit 0 ten
        images = np.ascontiguousarray(x.transpose(3, 2, 0, 1))
        super().__init__(from_numpy(images), from_numpy(labels), list("0123456789"), transform)
