"""Files of ``torch.save``: the zip archives of PyTorch 1.6 and later, and the streams of pickles of
earlier versions, read by the machine of ``pickles``: nothing in them is executed.

An archive holds ``data.pkl``, whose tensors refer to storages by key, and each storage as
``data/KEY``. A stream holds five pickles (a number, the version, a description of the machine, the
object, the keys of its storages), then for each storage its length and its bytes. Source:
torch/serialization.py of PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import dtypes
from ..tensor import Tensor, from_numpy
from .archive import Member
from .pickles import STANDARD, Machine, Maker, Name, Refused
from .safetensors import elements

_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number of the first pickle
_VERSION = 1001
_STORAGES = {
    "Double": dtypes.float64, "Float": dtypes.float32, "Half": dtypes.float16,
    "BFloat16": dtypes.bfloat16, "Long": dtypes.int64, "Int": dtypes.int32, "Short": dtypes.int16,
    "Char": dtypes.int8, "Byte": dtypes.uint8, "Bool": dtypes.bool_,
    "ComplexFloat": dtypes.complex64, "ComplexDouble": dtypes.complex128,
}  # fmt: skip
_UNTYPED = (dtypes.uint16, dtypes.uint32, dtypes.uint64)  # have no class of storages


class Storage:
    """The bytes that tensors share; in the first reading of a stream they are still unknown."""

    name = "a storage"

    def __init__(self, dtype: np.dtype | None, count: int) -> None:
        self.dtype, self.count = dtype, count
        self.nbytes = count * (dtype.itemsize if dtype else 1)
        self.base: Tensor | None = None

    def fill(self, raw: bytes | memoryview, swapped: bool = False) -> None:
        """Takes a copy of raw; swapped: the numbers have the other byte order."""
        if len(raw) != self.nbytes:
            raise ValueError(f"a storage of {self.nbytes} bytes has {len(raw)}")
        array = elements(raw, self.dtype or dtypes.uint8, self.count, 0).view(np.uint8)
        if swapped and self.dtype is None:
            raise Refused("has numbers without a type in the byte order of another machine")
        if swapped and self.dtype is not None:
            array.view(self.dtype).byteswap(inplace=True)
        self.base = from_numpy(array)


class TorchMachine(Machine):
    """A machine that makes tensors."""

    plain = (*Machine.plain, np.dtype, Tensor)

    def __init__(
        self, data: bytes | memoryview, find: Callable[[str, Storage], Storage], file_size: int
    ) -> None:
        def persistent(identity: Any) -> Storage:
            # Types before values: a comparison with a tensor could compute something large.
            plain = type(identity) is tuple and type(next(iter(identity), None)) is str
            if not plain or identity[0] != "storage":
                raise Refused(f"refers to {show(identity)}, no storage")
            if len(identity) not in (5, 6):
                raise ValueError(f"the pickle has a storage described as {show(identity)}")
            _, kind, key, _, count, *view = identity
            if not isinstance(kind, Name) or kind.name[-7:] != "Storage" or type(key) is not str:
                raise ValueError("the pickle has a storage of no kind")
            if not _whole(count) or (view and view[0] is not None):
                raise ValueError(f"the pickle has a storage of {show(count)} elements")
            return find(key, Storage(kind.value, count))

        super().__init__(data, NAMES, persistent, file_size)


def show(x: Any, deep: bool = True) -> str:
    """A short text for x, whatever it is: the repr of shared containers can be endless."""
    if type(x) is tuple and deep:
        return "(" + ", ".join(show(y, False) for y in x[:8]) + ", ..." * (len(x) > 8) + ")"
    if type(x) is str:
        return repr(x[:60])
    if type(x) in (int, float, bool, type(None)):
        return repr(x)
    return x.name if isinstance(x, (Name, Maker, Storage)) else type(x).__name__


def _whole(x: Any) -> bool:
    return type(x) is int and 0 <= x < 1 << 62


# --- what the names stand for ---------------------------------------------------------------------
def _tensor(
    m: Machine, storage: Any, offset: Any, shape: Any, stride: Any, dtype: Any, metadata: Any
) -> Any:
    """The tensor of a shape whose steps along storage, in elements, are stride."""
    if not isinstance(storage, Storage) or not isinstance(dtype, np.dtype):
        raise ValueError("the pickle makes a tensor of no storage")
    for sizes in (shape, stride):
        if type(sizes) is not tuple or not all(map(_whole, sizes)):
            raise ValueError(f"a tensor has the shape or stride {show(sizes)}")
    if metadata is not None and type(metadata) is not dict:
        raise ValueError(f"a tensor has properties of {show(metadata)}")
    bits = all(type(v) is bool for v in metadata.values()) if metadata else True
    if not bits or not set(metadata or ()) <= {"conj", "neg"}:
        raise Refused(f"has a tensor with the properties {show(tuple(metadata or ()))}")
    m.charge(600)
    if storage.base is None:
        return None
    raw, item = storage.base._array, dtype.itemsize
    if not _whole(offset) or len(shape) != len(stride) or len(shape) > 64:
        raise ValueError(
            f"a tensor has shape {show(shape)}, stride {show(stride)} and offset {show(offset)}"
        )
    last = offset + sum((n - 1) * s for n, s in zip(shape, stride, strict=True))
    if 0 not in shape and (last + 1) * item > raw.size:
        raise ValueError(
            f"a tensor of shape {shape}, stride {stride} and offset {offset} lies outside its "
            f"storage of {raw.size // item} elements"
        )
    if 0 in shape:
        return from_numpy(np.zeros(shape, dtype))
    steps = tuple(item * s for s in stride)
    a = np.ndarray(shape, dtype, raw, item * offset, steps)
    if any(s == 0 and n > 1 for n, s in zip(shape, stride, strict=True)):
        a.flags.writeable = False  # as what expand() returns
    if metadata and any(metadata.values()):
        m.charge(2 * a.nbytes)
        a = np.conjugate(a) if metadata.get("conj") else a
        return from_numpy(np.negative(a) if metadata.get("neg") else a)
    return storage.base._view(a)


def _tensor_v2(
    m: Machine, storage: Any, offset: Any, shape: Any, stride: Any, grad: Any = None,
    hooks: Any = None, metadata: Any = None,
) -> Any:  # fmt: skip
    return _tensor(m, storage, offset, shape, stride, getattr(storage, "dtype", None), metadata)


def _tensor_v3(
    m: Machine, storage: Any, offset: Any, shape: Any, stride: Any, grad: Any, hooks: Any,
    dtype: Any, metadata: Any = None,
) -> Any:  # fmt: skip
    if not isinstance(dtype, np.dtype) or dtype not in _UNTYPED:
        raise Refused(f"has a tensor of {show(dtype)} on a storage without a type")
    return _tensor(m, storage, offset, shape, stride, dtype, metadata)


def _parameter(m: Machine, data: Any, grad: Any, hooks: Any, state: Any = None) -> Any:
    if not isinstance(data, (Tensor, type(None))):
        raise ValueError("the pickle makes a parameter of no tensor")
    return data


def _shape(m: Machine, sizes: Any) -> tuple[int, ...]:
    if type(sizes) not in (tuple, list) or not all(map(_whole, sizes)):
        raise ValueError("the pickle has a torch.Size of no sizes")
    return tuple(sizes)


def _device(m: Machine, kind: Any, index: Any = None) -> str:
    if type(kind) is not str or (index is not None and not _whole(index)):
        raise ValueError("the pickle has a torch.device of no name")
    return kind if index is None else f"{kind}:{index}"


NAMES: Mapping[tuple[str, str], Any] = {
    **STANDARD,
    ("torch._utils", "_rebuild_tensor"): Maker("_rebuild_tensor", _tensor_v2),
    ("torch._utils", "_rebuild_tensor_v2"): Maker("_rebuild_tensor_v2", _tensor_v2),
    ("torch._utils", "_rebuild_tensor_v3"): Maker("_rebuild_tensor_v3", _tensor_v3),
    ("torch._utils", "_rebuild_parameter"): Maker("_rebuild_parameter", _parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Maker(
        "_rebuild_parameter_with_state", _parameter
    ),
    ("torch", "Size"): Maker("torch.Size", _shape),
    ("torch", "device"): Maker("torch.device", _device),
    ("torch.storage", "UntypedStorage"): Name("torch.UntypedStorage", None),
    ("torch", "UntypedStorage"): Name("torch.UntypedStorage", None),
    **{("torch", f"{n}Storage"): Name(f"torch.{n}Storage", d) for n, d in _STORAGES.items()},
    **{("torch", str(d)): d for d in dtypes.ALL},
}


# --- the two formats ------------------------------------------------------------------------------
def read_archive(archive: Mapping[str, Member], pickle: str, file_size: int) -> Any:
    """What an archive describes whose member ``pickle`` is its data.pkl.

    Raises ValueError where it is damaged, Refused where it is more than data.
    """
    prefix = pickle.removesuffix("data.pkl")
    if prefix + "constants.pkl" in archive:
        raise Refused("is a TorchScript program; of a model, save the state_dict()")
    order = archive.get(prefix + "byteorder")
    endian = bytes(order.head(10)) if order else b"little"
    if endian not in (b"little", b"big"):
        raise ValueError(f"its byte order is {endian!r}")
    known: dict[str, Storage] = {}

    def find(key: str, storage: Storage) -> Storage:
        if key not in known:
            member = archive.get(f"{prefix}data/{key}")
            if member is None or member.size != storage.nbytes:
                size = member.size if member else 0
                raise ValueError(f"storage {key!r} of {storage.nbytes} bytes has {size}")
            storage.fill(member.read(), endian == b"big")
            known[key] = storage
        return _same(known[key], storage, key)

    member = archive[pickle]
    if member.deflated and member.size > max(1 << 20, file_size):
        raise ValueError(f"{pickle!r} of {member.size} bytes is longer than the file")
    return _whole_run(TorchMachine(member.read(), find, file_size))


def _same(known: Storage, asked: Storage, key: str) -> Storage:
    if (known.dtype, known.count) != (asked.dtype, asked.count):
        raise ValueError(f"storage {key!r} is described in two ways")
    return known


def _whole_run(m: Machine) -> Any:
    out = m.run()
    if m.at != len(m.data):
        raise ValueError("bytes follow the pickle")
    return out


def is_stream(data: bytes) -> bool:
    """Whether data begin like a file of PyTorch before 1.6."""
    return data.startswith(b"\x80") and _MAGIC in data[:32]


def read_stream(data: bytes) -> Any:
    """What a file of PyTorch before 1.6 describes; raises as read_archive.

    The storages lie behind the object that refers to them: it is read twice, first for the sizes of
    the storages alone.
    """
    known: dict[str, Storage] = {}

    def find(key: str, storage: Storage) -> Storage:
        return _same(known.setdefault(key, storage), storage, key)

    m = TorchMachine(data, find, len(data))
    m.run()
    version, system = m.run(), m.run()
    if type(version) is not int or version != _VERSION or type(system) is not dict:
        raise ValueError(f"version {show(version)}, expected {_VERSION}")
    begin = m.at
    m.run()
    keys = m.run()
    plain = type(keys) is list and all(type(key) is str for key in keys)
    if not plain or sorted(keys) != sorted(known):
        raise ValueError("the storages listed are not those of the tensors")
    for key in keys:
        if m.number("<q") != known[key].count:
            raise ValueError(f"storage {key!r} has another length than its tensors say")
        known[key].fill(m.take(known[key].nbytes))
    if m.at != len(data):
        raise ValueError(f"{len(data) - m.at} bytes follow the last storage")
    m.at = begin
    return m.run()
