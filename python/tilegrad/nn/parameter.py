"""Parameter: the tensor a module learns."""

from __future__ import annotations

from typing import Any

from .. import dtypes
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
