"""Devices, and what the machine gives the host kernels: threads, memory, instruction sets."""

from __future__ import annotations

from typing import Any

from . import kernels
from .errors import DeviceError, DTypeError
from .errors import ValueError as TgValueError
from .recording import epoch


class device(str):
    """The name of a device, ``"cpu"``; a string with ``type`` and ``index``.

    Raises DeviceError for a device this build does not serve.

    >>> device("cpu").type
    'cpu'
    """

    __slots__ = ()

    def __new__(cls, name: Any = "cpu", index: int | None = None) -> device:
        text = str(name) if index is None else f"{name}:{index}"
        if text not in ("cpu", "cpu:0"):
            raise DeviceError(f"device: {text!r} is not available; this build serves 'cpu' only")
        return super().__new__(cls, "cpu")

    @property
    def type(self) -> str:
        """The kind of device: ``"cpu"``."""
        return self[:].partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]
        """The number of the device among its kind, None for the CPU."""
        return None

    def __repr__(self) -> str:
        return f"device(type={self.type!r})"


CPU = device("cpu")


def get_default_device() -> device:
    """The device of new tensors.

    >>> get_default_device()
    device(type='cpu')
    """
    return CPU


def set_default_device(device: Any) -> None:
    """Chooses the device of new tensors. Raises DeviceError for one this build does not serve."""
    check_device(device)


def check_device(name: Any) -> None:
    """Raises DeviceError unless name is None or a device this build serves."""
    if name is not None and name is not CPU:
        device(name)


def _runtime(name: str) -> Any:
    f = getattr(kernels.host, name, None)
    if f is None:
        raise DeviceError(
            f"{name}: the reference kernels have no threads, pool or instruction sets"
        )
    return f


def get_num_threads() -> int:
    """How many threads a kernel may use: the affinity and the control group's quota of the process,
    unless ``TILEGRAD_NUM_THREADS`` or ``set_num_threads`` says otherwise.

    >>> get_num_threads() >= 1
    True
    """
    return _runtime("num_threads")()


def set_num_threads(n: int) -> None:
    """Sets how many threads a kernel may use. Results do not depend on it, bit for bit.

    Raises ValueError unless n is at least 1.
    """
    if not isinstance(n, int):
        raise DTypeError(f"set_num_threads: n must be an int, got {type(n).__name__}")
    if n < 1:
        from .errors import ValueError as TgValueError

        raise TgValueError(f"set_num_threads: expects at least 1, got {n}")
    _runtime("set_num_threads")(int(n))


def cpu_isas() -> list[str]:
    """The instruction sets this CPU can run, best first.

    >>> cpu_isas()[-1]
    'generic'
    """
    return list(_runtime("isas")())


def get_cpu_isa() -> str:
    """The instruction set in use; ``TILEGRAD_CPU_ISA`` chooses another at load.

    >>> get_cpu_isa() in cpu_isas()
    True
    """
    return _runtime("isa")()


def set_cpu_isa(name: str) -> None:
    """Switches the kernels to another instruction set. Raises ValueError when it is unknown or this
    machine does not run it."""
    if not isinstance(name, str):
        raise DTypeError(f"set_cpu_isa: name must be a string, got {type(name).__name__}")
    _runtime("set_isa")(name)
    epoch[0] += 1


def get_precision() -> str:
    """How float32 convolutions are computed: "high" or "highest".

    >>> get_precision()
    'high'
    """
    allowed = getattr(kernels.host, "_winograd_allowed", None)
    return "high" if allowed is not None and allowed() else "highest"


def set_precision(name: str) -> None:
    """Sets how float32 convolutions are computed, in every thread.

    "high", the default: kernels of 3 x 3 and 5 x 5 taps may use Winograd's algorithm, which takes a
    quarter to a half of the products and has errors up to ten times as large (docs/numbers.md).
    "highest": only the sums of the formula. Raises ValueError for other names, DTypeError for what
    is no string.

    >>> set_precision("highest")
    >>> get_precision()
    'highest'
    >>> set_precision("high")
    """
    if not isinstance(name, str):
        raise DTypeError(f"set_precision: name must be a string, got {type(name).__name__}")
    if name not in ("high", "highest"):
        raise TgValueError(f'set_precision: expects "high" or "highest", got {name!r}')
    _runtime("_allow_winograd")(name == "high")
    epoch[0] += 1


def memory_stats() -> dict[str, int]:
    """Bytes of the kernel pool: in_use, cached, peak, cache_limit, and the machine's memory_limit.

    >>> memory_stats()["in_use"] >= 0
    True
    """
    return dict(_runtime("memory_stats")())


def reset_peak_memory() -> None:
    """Makes ``memory_stats()["peak"]`` the memory in use now."""
    _runtime("reset_peak_memory")()


def empty_cache() -> int:
    """Gives cached memory back to the system; returns the number of bytes.

    >>> empty_cache() >= 0
    True
    """
    return _runtime("empty_cache")()
