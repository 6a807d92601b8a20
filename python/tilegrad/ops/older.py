"""Methods that programs use for older or shorter forms of others: dtypes by name, the shape changed
in place."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from .. import dtypes, typed
from ..errors import DTypeError, GradientError
from ..tensor import Tensor
from ..tensor import tensor as make
from .rules import convert
from .shape import squeeze, swapaxes, t, transpose, unsqueeze


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
    """A copy of data as ``tilegrad.tensor`` makes it, in the dtype of input unless one is given.

    >>> import tilegrad as tg
    >>> tg.zeros(2).new_tensor([1, 2])
    tensor([1., 2.])
    """
    d = input.dtype if dtype is None else dtype
    return make(data, dtype=d, device=device, requires_grad=requires_grad)


def _reshaping(fn: Callable) -> Callable:
    """fn as a method that changes the shape of the tensor itself, on the same memory."""
    name = fn.__name__ + "_"

    @wraps(fn)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.requires_grad and self.is_leaf:
            raise GradientError(f"{name}: a leaf that requires grad keeps its shape")
        return self._rebind(fn(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As ``{fn.__name__}``, of this tensor itself; returns it."
    return method


METHODS: dict[str, Any] = {
    "type": type,
    "new_tensor": new_tensor,
    "nelement": Tensor.numel,
    "ndimension": Tensor.dim,
}
for _fn in (squeeze, unsqueeze, transpose, swapaxes, t):
    METHODS[_fn.__name__ + "_"] = _reshaping(_fn)
METHODS["swapdims_"] = METHODS["transpose_"]
