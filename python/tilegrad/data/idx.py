"""The IDX format of MNIST: big-endian arrays behind a header that states type and shape.

Header: two zero bytes, one byte for the element type, one for the number of axes, then each length
as a big-endian 32-bit integer. Files may be compressed with gzip. Source: Y. LeCun, C. Cortes and
C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from typing import Any, BinaryIO

import numpy as np

from ..errors import DataError, DTypeError
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..serialization.archive import FREE, GROWTH

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of an IDX file, compressed or not, in native byte order.

    Raises FileNotFoundError, or DataError when the file is no IDX file, is shorter or longer than
    its header says, or its compressed data are damaged or unpack to more than 256 MiB and 64 times
    the file. No memory is set aside on the word of the header alone.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                return _read(raw, name)
            allowed = max(FREE, GROWTH * os.fstat(raw.fileno()).st_size)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read(unpacked, name, allowed)  # type: ignore[arg-type]
    except FileNotFoundError:
        raise TgFileNotFoundError(f"read_idx: there is no file {name!r}") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as e:
        raise DataError(f"read_idx: the compressed data of {name!r} are damaged: {e}") from None


def _read(file: BinaryIO, name: str, allowed: int | None = None) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4:
        raise DataError(f"read_idx: {name!r} is truncated: a header of 4 bytes, got {len(head)}")
    if head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise DataError(
            f"read_idx: {name!r} is not an IDX file: expected 00 00, a type out of "
            f"{' '.join(f'{t:02x}' for t in _TYPES)} and the number of axes, got {head.hex(' ')}"
        )
    dtype, ndim = np.dtype(_TYPES[head[2]]), head[3]
    lengths = file.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        raise DataError(
            f"read_idx: {name!r} is truncated: {ndim} lengths in {4 * ndim} bytes, got "
            f"{len(lengths)} bytes"
        )
    shape = tuple(int.from_bytes(lengths[i : i + 4], "big") for i in range(0, 4 * ndim, 4))
    expected = math.prod(shape) * dtype.itemsize
    if allowed is not None and expected > allowed:
        raise DataError(
            f"read_idx: {name!r} unpacks to {expected} bytes; at most {allowed} are unpacked"
        )
    pieces, got = [], 0
    while got <= expected and (piece := file.read(min(expected + 1 - got, 1 << 24))):
        pieces.append(piece)
        got += len(piece)
    if got != expected:
        what = "is truncated" if got < expected else "is longer than its header says"
        found = got if got < expected else f"at least {got}"
        raise DataError(
            f"read_idx: {name!r} {what}: shape {shape} of {dtype.name} takes {expected} bytes of "
            f"data, got {found}"
        )
    flat = np.frombuffer(bytearray().join(pieces), dtype)
    try:
        return flat.astype(dtype.newbyteorder("="), copy=False).reshape(shape)
    except ValueError as e:
        raise DataError(f"read_idx: {name!r}: no array has {ndim} such lengths: {e}") from None


def write_idx(path: str | os.PathLike[str], array: Any) -> None:
    """Writes an array as an IDX file, compressed where path ends in ``.gz``.

    Raises DTypeError unless the elements are uint8, int8, int16, int32, float32 or float64.
    """
    a = np.asarray(array)
    codes = {np.dtype(t).newbyteorder("="): code for code, t in _TYPES.items()}
    if a.dtype not in codes:
        raise DTypeError(f"write_idx: expects one of {[str(d) for d in codes]}, got {a.dtype}")
    if a.ndim > 255 or any(n >= 2**32 for n in a.shape):
        raise DataError(f"write_idx: the format does not hold shape {a.shape}")
    code = codes[a.dtype]
    head = bytes([0, 0, code, a.ndim]) + b"".join(n.to_bytes(4, "big") for n in a.shape)
    body = np.ascontiguousarray(a, np.dtype(_TYPES[code])).tobytes()
    name = os.fspath(path)
    if name.endswith(".gz"):
        # No time stamp: equal arrays give equal files.
        with open(name, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
            packed.write(head + body)
    else:
        with open(name, "wb") as raw:
            raw.write(head + body)
