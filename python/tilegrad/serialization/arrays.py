"""The files of NumPy: one array (``.npy``) or several by name in a zip archive (``.npz``).

A header is matched, not evaluated, and its shape is compared with the bytes that are there before
anything is set aside. Source: numpy.lib.format, versions 1.0 to 3.0.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError
from ..tensor import Tensor, from_numpy
from .archive import Member
from .pickles import Refused
from .safetensors import elements

MAGIC = b"\x93NUMPY"
_HEAD = 12 + 10_000  # NumPy refuses longer headers too
_KINDS = {d.str[1:]: d for d in dtypes.ALL if d != dtypes.bfloat16}
_ITEM = r"'(descr|fortran_order|shape)':('[^']*'|True|False|\([0-9,L]*\))"


def _layout(head: bytes, size: int, name: str) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """dtype, shape, whether the first axis varies fastest, and where the elements begin, of an
    array in size bytes, of which head are the first."""
    width = {1: 2, 2: 4, 3: 4}.get(head[6] if len(head) > 7 else 0)
    if head[:6] != MAGIC or width is None:
        raise ValueError(f"{name} has no header of a NumPy array")
    begin = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if begin > len(head):
        raise ValueError(f"{name} has a header of {begin - 8 - width} bytes")
    text = "".join(head[8 + width : begin].decode().split())
    found = dict(re.findall(_ITEM, text))
    if len(found) != 3 or not re.fullmatch(rf"\{{{_ITEM},{_ITEM},{_ITEM},?\}}", text):
        raise ValueError(f"{name} has the header {text[:200]}; expects descr, fortran_order, shape")
    descr, lengths = found["descr"], found["shape"]
    if descr[1:2] not in ("<", ">", "|", "=") or descr[2:-1] not in _KINDS:
        raise Refused(f"has elements {descr[:80]}; expects numbers (objects would be pickles)")
    dtype = _KINDS[descr[2:-1]]
    dtype = dtype.newbyteorder(">") if descr[1] == ">" else dtype
    shape = tuple(int(n.rstrip("L")) for n in lengths[1:-1].split(",") if n)
    if math.prod(shape) * dtype.itemsize != size - begin:
        raise ValueError(
            f"{name} has {size - begin} bytes of data; shape {lengths[:80]} of {dtype.name} takes "
            f"{math.prod(shape) * dtype.itemsize}"
        )
    return dtype, shape, found["fortran_order"] == "True", begin


def _array(data: Any, layout: tuple[np.dtype, tuple[int, ...], bool, int]) -> Tensor:
    dtype, shape, fortran, begin = layout
    flat = elements(data, dtype, math.prod(shape), begin)
    return from_numpy(flat.reshape(shape, order="F" if fortran else "C"))


def read_npy(data: bytes) -> Tensor:
    """The array of an npy file. Raises ValueError where header and data disagree."""
    return _array(data, _layout(data[:_HEAD], len(data), "the file"))


def read_npz(archive: Mapping[str, Member]) -> dict[str, Tensor]:
    """The arrays of an npz file by name. Raises ValueError as read_npy does."""
    out = {}
    for name, member in archive.items():
        layout = _layout(member.head(_HEAD), member.size, repr(name))
        key = name.removesuffix(".npy")
        if key in out:
            raise ValueError(f"{key!r} occurs twice")
        out[key] = _array(member.read(), layout)
    return out


def _npy(x: Any, name: str) -> bytes:
    a = x._value("saving") if isinstance(x, Tensor) else np.asarray(x)
    if a.dtype not in dtypes.ALL or a.dtype == dtypes.bfloat16:
        raise DTypeError(f"save: {name}: files of NumPy do not hold {a.dtype}")
    file = io.BytesIO()
    np.lib.format.write_array(file, a, allow_pickle=False)
    return file.getvalue()


def pack_numpy(obj: Any, suffix: str) -> bytes:
    """The bytes of an npy file of a tensor or of an npz file of a mapping.

    Raises TypeError for other objects, DTypeError for what tensors or NumPy's files do not hold.
    """
    if suffix == ".npy":
        if not isinstance(obj, (Tensor, np.ndarray)):
            raise TypeError(f"save: an npy file holds one tensor, got {type(obj).__name__}")
        return _npy(obj, "the tensor")
    kinds = (Tensor, np.ndarray, bool, int, float, complex)
    if not isinstance(obj, Mapping):
        raise TypeError(f"save: an npz file holds tensors by name, got {type(obj).__name__}")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        for key, x in obj.items():
            if type(key) is not str or "\0" in key or not isinstance(x, kinds):
                raise TypeError(
                    f"save: an npz file holds tensors and numbers by name, got {key!r}: "
                    f"{type(x).__name__}; nested containers need another suffix than .npz"
                )
            # No time stamp: equal arrays give equal files.
            z.writestr(zipfile.ZipInfo(f"{key}.npy"), _npy(x, repr(key)))
    return file.getvalue()
