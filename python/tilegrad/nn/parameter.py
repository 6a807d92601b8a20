"""Parameter: the tensor a module learns."""

from __future__ import annotations

from typing import Any

from .. import dtypes
from ..ops.create import zeros
from ..tensor import Tensor, tensor


class Parameter(Tensor):
    """A tensor that a Module registers when it is assigned as an attribute.

    data: a tensor (whose storage is shared), or anything ``tilegrad.tensor`` takes; requires_grad:
    whether it learns. Results of operations on parameters are plain tensors.

    >>> import tilegrad as tg
    >>> tg.nn.Parameter(tg.zeros(2)).requires_grad
    True
    """

    __slots__ = ()

    def __new__(cls, data: Any = (), requires_grad: bool = True) -> Any:
        if not isinstance(data, Tensor):
            data = tensor(data, dtype=dtypes.get_default_dtype())
        shared = data._view(data._array)
        p = cls._new(shared._array)
        p._version, p._share = shared._version, shared._share
        return p.requires_grad_() if requires_grad else p

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class UninitializedParameter(Parameter):
    """A parameter whose shape is not known yet; materialize gives it one.

    device and dtype: of the elements to come.

    >>> import tilegrad as tg
    >>> p = tg.nn.UninitializedParameter()
    >>> p.materialize((2, 3))
    >>> p.shape, type(p).__name__
    ((2, 3), 'Parameter')
    """

    __slots__ = ()

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return super().__new__(cls, zeros(0, device=device, dtype=dtype), requires_grad)

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Becomes a Parameter of zeros of that shape."""
        d = self._array.dtype if dtype is None else dtype
        learns, self._node = self._node is not None, None
        self.data = zeros(tuple(shape), device=device, dtype=d)
        self.__class__ = Parameter  # type: ignore[assignment]
        self.requires_grad_(learns)

    def __repr__(self) -> str:
        return "UninitializedParameter()"


class Buffer(Tensor):
    """A tensor that a Module registers as a buffer when it is assigned as an attribute.

    data: as for Parameter; persistent: whether it belongs to the state_dict.

    >>> import tilegrad as tg
    >>> m = tg.nn.Module()
    >>> m.mean = tg.nn.Buffer(tg.zeros(2))
    >>> list(m.state_dict())
    ['mean']
    """

    __slots__ = ("persistent",)
    persistent: bool

    def __new__(cls, data: Any = (), *, persistent: bool = True) -> Any:
        if not isinstance(data, Tensor):
            data = tensor(data, dtype=dtypes.get_default_dtype())
        shared = data._view(data._array)
        b = cls._new(shared._array)
        b._version, b._share = shared._version, shared._share
        b.persistent = persistent  # type: ignore[attr-defined]
        return b

    def __repr__(self) -> str:
        return "Buffer containing:\n" + super().__repr__()
