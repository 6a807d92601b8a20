"""Tensors from other memory, how they print, and switches that programs for PyTorch turn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import dtypes
from .errors import DTypeError
from .errors import ValueError as TgValueError
from .host import PRINTING
from .ops.create import arange
from .ops.rules import number
from .tensor import Tensor, as_tensor, from_numpy, tensor


class Size(tuple[int, ...]):
    """A shape: a tuple of ints that knows its number of elements.

    >>> import tilegrad as tg
    >>> tg.Size([2, 3]).numel(), tg.Size([2, 3]) == tg.zeros(2, 3).shape
    (6, True)
    """

    __slots__ = ()

    def numel(self) -> int:
        """The product of the sizes."""
        return math.prod(self)


# --- other memory ---------------------------------------------------------------------------------
def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """obj (a tensor, an array, numbers, or what knows DLPack) as a tensor.

    copy: True always copies, False raises ValueError where a copy would be needed; else the memory
    is shared where that is possible. A tensor that is part of a graph stays in it, unless
    requires_grad is false, which cuts it.

    >>> import numpy as np, tilegrad as tg
    >>> a = np.zeros(2)
    >>> t = tg.asarray(a)
    >>> a[0] = 5
    >>> t.tolist()
    [5.0, 0.0]
    """
    if not isinstance(obj, (Tensor, np.ndarray)) and hasattr(obj, "__dlpack__"):
        obj = from_dlpack(obj)
    t = as_tensor(obj, dtype, device)
    source = getattr(obj, "_array", obj)
    shared = isinstance(source, np.ndarray) and np.may_share_memory(t._array, source)
    if copy is False and not shared and t._array.size:
        raise TgValueError("asarray: copy=False, but obj cannot be a tensor without a copy")
    if copy and shared:
        t = tensor(t.detach()) if not requires_grad else t.clone()  # type: ignore[attr-defined]
    if not requires_grad:
        return t.detach() if t.requires_grad else t
    return t if t.requires_grad else t.detach().requires_grad_()


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """A vector on the memory of a buffer (bytes, bytearray, memoryview): count elements of dtype
    from the byte offset on, all unless given. Memory that may not be written is read-only.

    >>> import tilegrad as tg
    >>> tg.frombuffer(bytearray([1, 0, 2, 0]), dtype=tg.int16)
    tensor([1, 2], dtype=int16)
    """
    try:
        a = np.frombuffer(buffer, dtypes.dtype(dtype), count, offset)
    except TypeError as e:
        raise DTypeError(f"frombuffer: {e}") from None
    except ValueError as e:
        raise TgValueError(f"frombuffer: {e}") from None
    t = from_numpy(a)
    return t.requires_grad_() if requires_grad else t


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor on the memory of another library's array, by ``__dlpack__``; on the CPU alone.

    >>> import numpy as np, tilegrad as tg
    >>> tg.from_dlpack(np.arange(3))
    tensor([0, 1, 2])
    """
    if isinstance(ext_tensor, Tensor):
        return ext_tensor.detach()
    if not hasattr(ext_tensor, "__dlpack__"):
        kind = type(ext_tensor).__name__
        raise DTypeError(f"from_dlpack: ext_tensor must have __dlpack__, got {kind}")
    try:
        return from_numpy(np.from_dlpack(ext_tensor))
    except (BufferError, RuntimeError) as e:
        raise TgValueError(f"from_dlpack: {e}") from None


def range(start: Any, end: Any = None, step: Any = 1, *, dtype: Any = None) -> Tensor:
    """start, start + step, ... up to and including end; the default floating dtype unless given.

    The former relative of arange, which leaves end out.

    >>> import tilegrad as tg
    >>> tg.range(1, 4)
    tensor([1., 2., 3., 4.])
    """
    start, end = (0, start) if end is None else (start, end)
    first, last = number(start, "range", "start"), number(end, "range", "end")
    by = number(step, "range", "step")
    count = arange(first, last, by, dtype=dtypes.float64).numel()  # with its checks
    d = dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype)
    values = first + np.arange(max(math.floor((last - first) / by) + 1, count)) * by
    return from_numpy(np.asarray(values).astype(d))


def can_cast(from_: Any, to: Any) -> bool:
    """Whether numbers of one dtype may become another: none may leave the floating for the
    integers, the complex for the real, or anything for bool.

    >>> import tilegrad as tg
    >>> tg.can_cast(tg.float64, tg.float32), tg.can_cast(tg.float32, tg.int64)
    (True, False)
    """
    a, b = dtypes.dtype(from_), dtypes.dtype(to)
    return dtypes.category(a) <= dtypes.category(b)


# --- switches -------------------------------------------------------------------------------------
def set_printoptions(
    precision: int | None = None, threshold: int | None = None, edgeitems: int | None = None,
    linewidth: int | None = None, profile: str | None = None, sci_mode: bool | None = None,
) -> None:  # fmt: skip
    """How tensors print: digits behind the point, the number of elements above which they are
    abbreviated to edgeitems at each end, and the width of a line.

    profile: "default", "short" or "full", which is applied first. sci_mode: whether numbers have
    exponents; chosen by their size unless given. Raises ValueError for an unknown profile.

    >>> import tilegrad as tg
    >>> tg.set_printoptions(precision=2)
    >>> tg.tensor([1 / 3])
    tensor([0.33])
    >>> tg.set_printoptions(profile="default")
    """
    if profile is not None:
        if profile not in _PROFILES:
            raise TgValueError(
                f"set_printoptions: profile is one of {sorted(_PROFILES)}, got {profile!r}"
            )
        PRINTING.clear()
        PRINTING.update(_PROFILES[profile])
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems,
             "max_line_width": linewidth}  # fmt: skip
    for k, v in given.items():
        if v is not None and not isinstance(v, int):
            raise DTypeError(f"set_printoptions: {k} must be an int, got {type(v).__name__}")
    PRINTING.update({k: v for k, v in given.items() if v is not None})
    if sci_mode is not None:
        PRINTING.pop("formatter", None)
        PRINTING["suppress_small"] = not sci_mode
        if sci_mode:
            PRINTING["formatter"] = {"float_kind": lambda x: f"{x:.{PRINTING['precision']}e}"}


_PROFILES: dict[str, dict[str, Any]] = {
    "default": dict(PRINTING),
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2},
    "full": {"precision": 4, "threshold": 2**62},
}


def set_float32_matmul_precision(precision: str) -> None:
    """Takes "highest", "high" and "medium", and changes nothing: float32 always means float32.

    >>> import tilegrad as tg
    >>> tg.set_float32_matmul_precision("high")
    >>> tg.get_float32_matmul_precision()
    'highest'
    """
    known = ("highest", "high", "medium")
    if not isinstance(precision, str):
        kind = type(precision).__name__
        raise DTypeError(f"set_float32_matmul_precision: precision must be a string, got {kind}")
    if precision not in known:
        raise TgValueError(
            f"set_float32_matmul_precision: expects one of {known}, got {precision!r}"
        )


def get_float32_matmul_precision() -> str:
    """ "highest", always.

    >>> import tilegrad as tg
    >>> tg.get_float32_matmul_precision()
    'highest'
    """
    return "highest"


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Changes nothing: results are the same bits in every run, whatever mode and warn_only say.

    >>> import tilegrad as tg
    >>> tg.use_deterministic_algorithms(True)
    """


def are_deterministic_algorithms_enabled() -> bool:
    """True: there are no other algorithms.

    >>> import tilegrad as tg
    >>> tg.are_deterministic_algorithms_enabled()
    True
    """
    return True
