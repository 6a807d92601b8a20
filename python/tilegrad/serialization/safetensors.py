"""The safetensors format: tensors by name in one file.

8 bytes with the length of a JSON header, the header, the data. For each tensor by name
the header holds dtype, shape and where its data begin and end; under ``__metadata__`` it holds
strings. Source: the format section of the safetensors project.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DataError, DTypeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor, from_numpy

_NAMES = {
    dtypes.bool_: "BOOL", dtypes.uint8: "U8", dtypes.int8: "I8", dtypes.uint16: "U16",
    dtypes.int16: "I16", dtypes.uint32: "U32", dtypes.int32: "I32", dtypes.uint64: "U64",
    dtypes.int64: "I64", dtypes.float16: "F16", dtypes.bfloat16: "BF16", dtypes.float32: "F32",
    dtypes.float64: "F64", dtypes.complex64: "C64",
}  # fmt: skip
_DTYPES = {name: d for d, name in _NAMES.items()}


def pack(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file with these tensors or arrays.

    Raises DTypeError for element types the format lacks, ValueError for the name
    ``__metadata__``.
    """
    arrays = {}
    if "__metadata__" in tensors:
        raise TgValueError("save_tensors: safetensors holds no tensor named '__metadata__'")
    for name, t in tensors.items():
        a = t._value("saving") if isinstance(t, Tensor) else np.asarray(t)
        if a.dtype not in _NAMES:
            raise DTypeError(f"save_tensors: {name!r}: safetensors does not hold {a.dtype}")
        arrays[name] = a
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    pieces, at = [], 0
    # Wide elements first: then all lie on multiples of their size.
    for name, a in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        header[name] = {
            "dtype": _NAMES[a.dtype], "shape": a.shape, "data_offsets": [at, at + a.nbytes]
        }  # fmt: skip
        pieces.append(a.tobytes())
        at += a.nbytes
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([len(head).to_bytes(8, "little"), head, *pieces])


def pairs_once(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dict of pairs. Raises ValueError for a key that occurs twice."""
    out: dict[Any, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"{key!r} occurs twice")
        out[key] = value
    return out


def elements(data: Any, dtype: np.dtype, count: int, at: int) -> np.ndarray:
    """A copy of count elements of dtype from byte at of data on; any byte but 0 is True."""
    a = np.frombuffer(data, np.uint8 if dtype == dtypes.bool_ else dtype, count, at)
    return a != 0 if dtype == dtypes.bool_ else a.astype(dtype.newbyteorder("="))


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _count(n: Any) -> int:
    if type(n) is not int or not 0 <= n < 2**63:
        raise ValueError(f"{n!r} is no number of elements or bytes")
    return n


def unpack(data: bytes, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, of which name is said in messages.

    Raises DataError unless the header is whole and describes all of the data, none of them twice.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        if not 2 <= size <= len(data) - 8:
            raise ValueError(f"a header of {size} bytes in a file of {len(data)}")
        header = json.loads(
            data[8 : 8 + size].decode(), object_pairs_hook=pairs_once, parse_constant=_no_number
        )
        metadata = dict(header.pop("__metadata__", {}).items())
        places: list[tuple[int, int, str, Any, list[int]]] = []
        for key, entry in header.items():
            (begin, end), shape = map(_count, entry["data_offsets"]), entry["shape"]
            if len(shape) > 64:
                raise ValueError(f"{key!r:.80} has {len(shape)} axes")
            if type(kind := entry["dtype"]) is str and kind not in _DTYPES:
                what = f"{key!r:.80} has elements of {kind!r:.40}"
                raise DataError(f"load: {name!r}: {what}, which is not supported")
            places.append((begin, end, key, _DTYPES[kind], [*map(_count, shape)]))
        places.sort()
        out, at = {}, 0
        for begin, end, key, dtype, shape in places:
            count = math.prod(shape)
            if begin != at or end - begin != count * dtype.itemsize:
                raise ValueError(f"{key!r} does not fit its place {begin}:{end}")
            a = elements(data, dtype, count, 8 + size + begin)
            out[key], at = from_numpy(a.reshape(shape)), end
        if 8 + size + at != len(data):
            raise ValueError(f"{len(data) - 8 - size} bytes of data, the header describes {at}")
    except DataError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as e:
        raise DataError(f"load: {name!r} is damaged: {e}") from None
    return {key: out[key] for key in header}, metadata
