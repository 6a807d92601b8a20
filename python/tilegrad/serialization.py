"""``save`` and ``load``: tensors, and what numbers, strings and containers tie them together, in
one safetensors file. Nothing is ever pickled.

The format: 8 bytes with the length of a JSON header, the header, the data. For each tensor by name
the header holds dtype, shape and where its data begin and end; under ``__metadata__`` it holds
strings. Source: the format section of the safetensors project.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import dtypes
from .device import check_device
from .errors import DataError, DTypeError
from .errors import FileNotFoundError as TgFileNotFoundError
from .tensor import Tensor, from_numpy

_NAMES = {
    dtypes.bool_: "BOOL", dtypes.uint8: "U8", dtypes.int8: "I8", dtypes.uint16: "U16",
    dtypes.int16: "I16", dtypes.uint32: "U32", dtypes.int32: "I32", dtypes.uint64: "U64",
    dtypes.int64: "I64", dtypes.float16: "F16", dtypes.bfloat16: "BF16", dtypes.float32: "F32",
    dtypes.float64: "F64", dtypes.complex64: "C64",
}  # fmt: skip
_DTYPES = {name: d for d, name in _NAMES.items()}
_STRUCTURE = "tilegrad"


# --- the format -----------------------------------------------------------------------------------
def pack(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file with these tensors or arrays.

    Raises DTypeError for element types the format lacks.
    """
    arrays = {}
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


def unpack(data: bytes, name: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, of which name is said in messages.

    Raises DataError unless the header is whole and describes all of the data, none of them twice.
    """
    try:
        size = int.from_bytes(data[:8], "little")
        if not 2 <= size <= len(data) - 8:
            raise ValueError(f"a header of {size} bytes in a file of {len(data)}")
        header = json.loads(data[8 : 8 + size])
        metadata = dict(header.pop("__metadata__", {}).items())
        places = sorted(
            (begin, end, key, _DTYPES[entry["dtype"]], [int(n) for n in entry["shape"]])
            for key, entry in header.items()
            for begin, end in [entry["data_offsets"]]
        )
        out, at = {}, 0
        for begin, end, key, dtype, shape in places:
            count = math.prod(shape)
            if begin != at or end - begin != count * dtype.itemsize or min(shape, default=0) < 0:
                raise ValueError(f"{key!r} does not fit its place {begin}:{end}")
            a = np.frombuffer(data, dtype, count, 8 + size + begin)
            out[key], at = from_numpy(a.reshape(shape).copy()), end
        if 8 + size + at != len(data):
            raise ValueError(f"{len(data) - 8 - size} bytes of data, the header describes {at}")
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise DataError(f"load_tensors: {name!r} is damaged: {e}") from None
    return {key: out[key] for key in header}, metadata


# --- objects --------------------------------------------------------------------------------------
def _plain(x: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """x as JSON; its tensors go to tensors, under the path that leads to them."""
    if isinstance(x, Tensor):
        name = path or "tensor"
        while name in tensors:
            name += "'"
        tensors[name] = x
        return {"tensor": name}
    for kind in (bool, int, float, str):
        if isinstance(x, kind):
            return kind(x)
    if x is None:
        return None
    if isinstance(x, Mapping):
        items = []
        for k, v in x.items():
            if k is not None and type(k) not in (bool, int, float, str):
                raise TypeError(f"save: {path or 'the object'}: a key of {type(k).__name__}")
            items.append([k, _plain(v, f"{path}.{k}" if path else str(k), tensors)])
        return {"dict": items}
    if type(x) in (list, tuple):
        values = [_plain(v, f"{path}.{i}" if path else str(i), tensors) for i, v in enumerate(x)]
        return {type(x).__name__: values}
    raise TypeError(
        f"save: {path or 'the object'} is of {type(x).__name__}; expects tensors, numbers, "
        "strings, None, and dicts, lists and tuples of them; of a module, save its state_dict()"
    )


def _rebuilt(x: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(x, dict):
        return x
    ((kind, value),) = x.items()
    if kind == "tensor":
        return tensors[value]
    if kind == "dict":
        return {k: _rebuilt(v, tensors) for k, v in value}
    return {"list": list, "tuple": tuple}[kind](_rebuilt(v, tensors) for v in value)


def save(obj: Any, f: Any) -> None:
    """Writes obj to f, a path or a binary file: a tensor, number, string, None, or a dict, list or
    tuple of such, as ``state_dict()`` returns them.

    The file is in the safetensors format, its tensors named after the keys that lead to them; other
    programs can read those of a ``state_dict()``. Parameters are saved as tensors. Raises TypeError
    for objects of other classes, modules among them, and DTypeError for complex128.

    >>> import io, tilegrad as tg
    >>> file = io.BytesIO()
    >>> tg.save({"weights": {"w": tg.tensor([1.0, 2.0])}, "epoch": 3}, file)
    >>> _ = file.seek(0)
    >>> tg.load(file)
    {'weights': {'w': tensor([1., 2.])}, 'epoch': 3}
    """
    tensors: dict[str, Tensor] = {}
    data = pack(tensors, {_STRUCTURE: json.dumps(_plain(obj, "", tensors))})
    if hasattr(f, "write"):
        f.write(data)
    else:
        write_whole(Path(f), data)


def load(f: Any, map_location: Any = None, *, weights_only: bool | None = None) -> Any:
    """What ``save`` wrote to f, a path or a binary file; of another safetensors file the tensors by
    name.

    map_location: the device to load to, or a function or mapping, which have no effect on a machine
    with one device; weights_only has no effect, since files hold no code.
    Raises FileNotFoundError, and DataError for a file that is damaged or of another format.
    """
    if not callable(map_location) and not isinstance(map_location, Mapping):
        check_device(map_location)
    if hasattr(f, "read"):
        data, name = f.read(), getattr(f, "name", "the file")
    else:
        name = os.fspath(f)
        try:
            data = Path(f).read_bytes()
        except FileNotFoundError:
            raise TgFileNotFoundError(f"load: there is no file {name!r}") from None
    tensors, metadata = unpack(data, str(name))
    if _STRUCTURE not in metadata:
        return tensors
    try:
        return _rebuilt(json.loads(metadata[_STRUCTURE]), tensors)
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"load: {name!r} is damaged: {e}") from None


def write_whole(path: Path, data: bytes) -> None:
    """Puts a file in place whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
