"""Images: their files, and datasets that hold them as arrays."""

from __future__ import annotations

import io
import itertools
import os
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import kernels
from ..errors import DataError, PackageError
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..serialization import DAMAGE
from ..tensor import Tensor, from_numpy
from .dataset import Dataset, TensorDataset

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
"""What a file may hold, whatever its name is: some decoders start other programs."""
LARGEST = 1 << 28
"""Bytes a member of an archive may claim to hold."""
_DAMAGED = (*DAMAGE, zipfile.BadZipFile, EOFError, OSError, RuntimeError)
"""What zipfile raises on damaged archives."""


def read_image(source: str | os.PathLike[str] | bytes, mode: str = "RGB") -> np.ndarray:
    """The image of a file, or of the bytes of one, as (C, H, W) uint8; mode: "RGB" or "L" (grey).

    JPEG, PNG, PPM, BMP, TIFF and WebP are read. Of grey levels of 16 bits the upper eight are kept.
    Raises FileNotFoundError, DataError for what is no whole image of at most
    ``PIL.Image.MAX_IMAGE_PIXELS``, and PackageError where pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as e:
        raise PackageError(f"read_image: needs pillow: pip install pillow ({e})") from None
    name = "the image" if isinstance(source, bytes) else repr(os.fspath(source))
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_FORMATS) as found:
            image: Image.Image = found
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise ValueError(f"{image.width} x {image.height} pixels, at most {limit} are read")
            deep = image.mode == "I" and found.format in ("PNG", "PPM")
            if deep or image.mode.startswith("I;16"):  # pillow would clip them to 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("I", "F"):
                raise ValueError(f"its levels, of mode {image.mode!r}, have no known range")
            a = np.asarray(image.convert(mode))
    except FileNotFoundError:
        raise TgFileNotFoundError(f"read_image: there is no file {name}") from None
    except Exception as e:  # a decoder may raise anything on damaged data
        raise DataError(f"read_image: {name} cannot be decoded: {e}") from None
    return np.ascontiguousarray(a.transpose(2, 0, 1) if a.ndim == 3 else a[None])


class Files:
    """The files under a folder, or in a zip archive, by name with ``/`` between the parts.

    Forked workers and threads may read at the same time.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root, self._lock = os.fspath(root), threading.Lock()
        self._zip: zipfile.ZipFile | None = None
        self._owner = -1
        path = Path(self.root)
        if path.is_dir():
            self.names = sorted(
                p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()
            )
        elif not path.exists():
            raise TgFileNotFoundError(f"there is neither a folder nor a file {self.root!r}")
        else:
            self.names = sorted(n for n in self._archive().namelist() if not n.endswith("/"))
            for one, other in itertools.pairwise(self.names):
                if one == other:
                    raise DataError(f"{self.root!r} holds {one!r} twice")

    def _archive(self) -> zipfile.ZipFile:
        with self._lock:
            # A forked child that shared the file's position with its parent would move it.
            if self._zip is None or self._owner != os.getpid():
                try:
                    self._zip = zipfile.ZipFile(self.root)
                except _DAMAGED as e:
                    raise DataError(f"{self.root!r} is no whole zip archive: {e}") from None
                self._owner = os.getpid()
            return self._zip

    def read(self, name: str) -> bytes:
        """The bytes of one file. Raises DataError where the archive is damaged."""
        if self._owner == -1:
            return Path(self.root, name).read_bytes()
        archive = self._archive()
        info = archive.getinfo(name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{self.root!r}: {name!r} is neither stored nor deflated")
        # No stream of deflate unpacks to more than 1032 times its size.
        if info.file_size > min(LARGEST, 1032 * info.compress_size + 64):
            raise DataError(f"{self.root!r}: {name!r} claims to hold {info.file_size} bytes")
        try:
            return archive.read(info)
        except _DAMAGED as e:
            raise DataError(f"{self.root!r}: {name!r} is damaged: {e}") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]


def unit(x: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]; others as they are."""
    a = x._array
    if a.dtype != np.uint8:
        return x
    return Tensor._new(np.true_divide(a, np.float32(255), dtype=np.float32))


class ImageDataset(TensorDataset):
    """Images in memory: images (N, C, H, W) uint8 or float32, labels (N,) int64, class names.

    A sample is (image, label). transform: applied to images (C, H, W), or to a whole batch
    (N, C, H, W) at once where it is one of ``tilegrad.data.transforms``. What is uint8 then becomes
    float32 in [0, 1].

    >>> import tilegrad as tg
    >>> images, labels = tg.full((5, 3, 8, 8), 255, dtype=tg.uint8), tg.arange(5)
    >>> x, y = tg.data.ImageDataset(images, labels)[2]
    >>> x.shape, x.max(), y
    ((3, 8, 8), tensor(1.), tensor(2))
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        classes: Sequence[str] = (),
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        super().__init__(images, labels)
        self.images, self.labels, self.classes = images, labels, list(classes)
        self.transform = transform

    def _prepared(self, x: Tensor) -> Any:
        y = x if self.transform is None else self.transform(x)
        return unit(y) if isinstance(y, Tensor) else y

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return self._prepared(self.images[index]), self.labels[index]

    def take(self, index: np.ndarray) -> list[Any] | None:
        if self.transform is not None and not getattr(self.transform, "batched", False):
            return None
        x, y = (
            Tensor._new(kernels.of(t._array).take(t._array, index, 0))
            for t in (self.images, self.labels)
        )
        return [self._prepared(x), y]


class ImageFolder(Dataset):
    """Images in one folder per class, ``root/<class>/.../name.jpg``, as ImageNet is kept; root may
    be a zip archive, and part a folder within (``"train"``).

    A sample is (image (3, H, W), label): a tensor, decoded when it is asked for, through transform
    as in ImageDataset, and an int. Names with a part that begins with a dot, or is ``__MACOSX``,
    are left out. classes are the names in order, samples the (name, label).
    Raises FileNotFoundError, and DataError where there is no image or one is damaged.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[Tensor], Any] | None = None,
        part: str = "",
    ) -> None:
        self.files, self.transform = Files(root), transform
        prefix = part.strip("/") + "/" if part.strip("/") else ""
        found = [
            (name, name[len(prefix) :].split("/"))
            for name in self.files.names
            if name.startswith(prefix) and name.lower().endswith(SUFFIXES)
        ]
        # What file managers leave beside the images is none.
        found = [
            (name, parts)
            for name, parts in found
            if len(parts) > 1 and not any(p[:1] == "." or p == "__MACOSX" for p in parts)
        ]
        if not found:
            raise DataError(f"ImageFolder: {self.files.root!r} has no {prefix}<class>/<image>")
        self.classes = sorted({parts[0] for _, parts in found})
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples = [(name, self.class_to_idx[parts[0]]) for name, parts in found]
        self.targets = [label for _, label in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> np.ndarray:
        """Image index as it is in its file, (3, H, W) uint8."""
        name = self.samples[index][0]
        try:
            return read_image(self.files.read(name))
        except DataError as e:
            raise DataError(f"ImageFolder: {name!r}: {e.args[0]}") from None

    def __getitem__(self, index: int) -> tuple[Any, int]:
        x: Any = from_numpy(self.image(index))
        if self.transform is not None:
            x = self.transform(x)
        return unit(x) if isinstance(x, Tensor) else x, self.samples[index][1]
