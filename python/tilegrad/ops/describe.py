"""What a tensor says about itself under PyTorch's names, and its other forms."""

from __future__ import annotations

from typing import Any

from .. import dtypes, typed
from ..errors import DTypeError
from ..tensor import Tensor, tensor
from .rules import convert


def is_signed(input: Tensor) -> bool:
    """Whether the dtype has negative numbers.

    >>> import tilegrad as tg
    >>> tg.tensor([1], dtype=tg.uint8).is_signed()
    False
    """
    return input.dtype.kind not in "bu"


def get_device(input: Tensor) -> int:
    """The number of the device among its kind; -1 for the CPU.

    >>> import tilegrad as tg
    >>> tg.zeros(2).get_device()
    -1
    """
    index = input.device.index
    return -1 if index is None else index


def storage_offset(input: Tensor) -> int:
    """How many elements lie between the start of the memory and the first element.

    >>> import tilegrad as tg
    >>> tg.arange(6).reshape(2, 3)[1].storage_offset()
    3
    """
    a: Any = input._array
    base = a
    while getattr(base, "base", None) is not None and hasattr(base.base, "dtype"):
        base = base.base
    start = base.__array_interface__["data"][0]
    return int((a.__array_interface__["data"][0] - start) // a.itemsize)


def type(input: Tensor, dtype: Any = None, non_blocking: bool = False) -> Any:
    """The tensor converted to dtype: a dtype, a class such as LongTensor, or its name; without one,
    the name of its class. non_blocking has no effect.

    Raises DTypeError for other names.

    >>> import tilegrad as tg
    >>> tg.tensor([1.7]).type(tg.LongTensor), tg.zeros(1).type()
    (tensor([1]), 'tilegrad.FloatTensor')
    """
    if dtype is None:
        name = next((n for n, c in typed.NAMES.items() if c.dtype == input.dtype), None)
        return f"tilegrad.{name}" if name else str(input.dtype)
    if isinstance(dtype, str) and dtype.endswith("Tensor"):
        found = typed.NAMES.get(dtype.rpartition(".")[2])
        if found is None:
            raise DTypeError(f"type: no tensors are called {dtype!r}")
        dtype = found
    d = dtype.dtype if isinstance(dtype, typed.TypedTensor) else dtypes.dtype(dtype)
    return convert(input, d)


def new_tensor(
    input: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """``tilegrad.tensor(data)`` with this tensor's dtype unless one is given.

    >>> import tilegrad as tg
    >>> tg.zeros(1, dtype=tg.float64).new_tensor([1, 2])
    tensor([1., 2.], dtype=float64)
    """
    d = input.dtype if dtype is None else dtype
    return tensor(data, dtype=d, device=device, requires_grad=requires_grad)


def _constant(name: str, what: str) -> property:
    def get(self: Tensor) -> bool:
        return False

    get.__name__ = get.__qualname__ = name
    get.__doc__ = f"Whether {what}: no tensor of this library is."
    return property(get)


def _retains_grad(self: Tensor) -> bool:
    """Whether ``retain_grad`` was called on this computed tensor."""
    hooks = None if self._node is None else self._node.hooks
    return not self.is_leaf and any(
        getattr(h, "__qualname__", "").endswith("retain_grad.<locals>.keep")
        for h in (hooks or {}).values()
    )


METHODS: dict[str, Any] = {
    f.__name__: f for f in (get_device, is_signed, new_tensor, storage_offset)
}
METHODS.update(
    type=type,
    nelement=Tensor.numel,
    ndimension=Tensor.dim,
    is_cuda=_constant("is_cuda", "the memory is a CUDA device's"),
    is_meta=_constant("is_meta", "there is a shape without memory"),
    is_quantized=_constant("is_quantized", "the elements are quantised"),
    is_sparse=_constant("is_sparse", "only some elements are stored"),
    retains_grad=property(_retains_grad),
)
