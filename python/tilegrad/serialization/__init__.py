"""``save`` and ``load``: tensors, and what numbers, strings and containers tie them together, in
one safetensors file; the files of NumPy too, and those of PyTorch to read. Nothing is pickled, and
nothing that is read is executed.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..device import check_device
from ..errors import DataError
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from . import archive, arrays, pickles, torch_files
from .safetensors import pack as pack
from .safetensors import pairs_once as pairs_once
from .safetensors import unpack as unpack

_STRUCTURE = "tilegrad"
DAMAGE = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError,
    struct.error, zlib.error,
)  # fmt: skip
"""What reading a damaged file may raise inside this package."""


# --- objects as JSON ------------------------------------------------------------------------------
def _plain(x: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """x as JSON; its tensors go to tensors, under the path that leads to them."""
    if isinstance(x, Tensor):
        name = path or "tensor"
        while name in tensors or name == "__metadata__":
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
        return pairs_once((k, _rebuilt(v, tensors)) for k, v in value)
    return {"list": list, "tuple": tuple}[kind](_rebuilt(v, tensors) for v in value)


# --- files ----------------------------------------------------------------------------------------
def save(obj: Any, f: Any) -> None:
    """Writes obj to f, a path or a binary file: a tensor, number, string, None, or a dict, list or
    tuple of such, as ``state_dict()`` returns them.

    The file is in the safetensors format, its tensors named after the keys that lead to them; other
    programs can read those of a ``state_dict()``. A path that ends in ``.npz`` (tensors and numbers
    by name) or ``.npy`` (one tensor) becomes a file of NumPy. Parameters are saved as tensors.
    Raises TypeError for objects of other classes, modules among them, DTypeError for complex128 in
    safetensors and bfloat16 in files of NumPy, ValueError for containers nested too deeply or in
    themselves.

    >>> import io, tilegrad as tg
    >>> file = io.BytesIO()
    >>> tg.save({"weights": {"w": tg.tensor([1.0, 2.0])}, "epoch": 3}, file)
    >>> _ = file.seek(0)
    >>> tg.load(file)
    {'weights': {'w': tensor([1., 2.])}, 'epoch': 3}
    """
    suffix = "" if hasattr(f, "write") else Path(f).suffix
    if suffix in (".npy", ".npz"):
        data = arrays.pack_numpy(obj, suffix)
    else:
        tensors: dict[str, Tensor] = {}
        try:
            structure = json.dumps(_plain(obj, "", tensors))
        except RecursionError:
            raise TgValueError("save: the object is nested too deeply, or in itself") from None
        data = pack(tensors, {_STRUCTURE: structure})
    if hasattr(f, "write"):
        f.write(data)
    else:
        write_whole(Path(f), data)


def load(f: Any, map_location: Any = None, *, weights_only: bool | None = None) -> Any:
    """What ``save`` wrote to f, a path or a binary file; of another safetensors file the tensors by
    name. Files of NumPy (``.npy``, ``.npz``) and of ``torch.save`` (state dicts and other
    containers of tensors, numbers and strings) are read too; their content tells which they are.

    map_location: the device to load to, or a function or mapping, which have no effect on a machine
    with one device; weights_only has no effect, since nothing in a file is executed. Of a PyTorch
    file, parameters come back as tensors, ``torch.Size`` as a tuple, ``torch.device`` as a string.
    Raises FileNotFoundError, and DataError for a file that is damaged, of another format, or holds
    more than data.
    """
    if not callable(map_location) and not isinstance(map_location, Mapping):
        check_device(map_location)
    if hasattr(f, "read"):
        data, name = f.read(), getattr(f, "name", "the file")
        if not isinstance(data, (bytes, bytearray)):
            raise TypeError(f"load: expects a file opened for bytes, got {type(data).__name__}")
    else:
        name = os.fspath(f)
        try:
            data = Path(f).read_bytes()
        except FileNotFoundError:
            raise TgFileNotFoundError(f"load: there is no file {name!r}") from None
    try:
        return _read(bytes(data), str(name))
    except DataError:
        raise
    except pickles.Refused as e:
        raise DataError(f"load: {name!r} {e}") from None
    except DAMAGE as e:
        raise DataError(f"load: {name!r} is damaged: {e or type(e).__name__}") from None


def _read(data: bytes, name: str) -> Any:
    if data.startswith((b"PK\3\4", b"PK\5\6")):
        found = archive.members(data)
        described = [n for n in found if n.partition("/")[2] == "data.pkl" or n == "data.pkl"]
        if len(described) == 1:
            return torch_files.read_archive(found, described[0], len(data))
        if not described and any(n.endswith(("/version", "/byteorder")) for n in found):
            raise ValueError("an archive of PyTorch without its data.pkl")
        return arrays.read_npz(found)
    if data.startswith(arrays.MAGIC):
        return arrays.read_npy(data)
    if torch_files.is_stream(data):
        return torch_files.read_stream(data)
    if data.startswith(b"\x80") and data[1:2] <= b"\5" and data.endswith(b"."):
        raise pickles.Refused("is a pickle, which could execute anything")
    tensors, metadata = unpack(data, name)
    if _STRUCTURE not in metadata:
        return tensors
    return _rebuilt(json.loads(metadata[_STRUCTURE]), tensors)


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
