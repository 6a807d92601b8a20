"""Methods that change a tensor in place: its shape, or its elements by ops of other files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import GradientError
from ..tensor import Tensor
from .binary import logical_and, logical_or, logical_xor
from .create import tril, triu
from .elementwise import METHODS as _ATTACHED
from .elementwise import add_inplace
from .reduce import cumprod, cumsum
from .shape import squeeze, swapaxes, t, transpose, unsqueeze
from .unary import bitwise_not, logical_not

METHODS: dict[str, Any] = {}


def _reshaped(fn: Callable) -> Callable:
    """fn, whose result views the tensor, as a method after which the tensor itself has that
    shape."""
    name = fn.__name__ + "_"

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self._node is not None and self._node.rule is None:
            raise GradientError(
                f"{name}: a leaf that requires grad keeps its shape; use {fn.__name__}()"
            )
        return self._rebind(fn(self, *args, **kwargs))

    method.__wrapped__ = fn  # type: ignore[attr-defined]  # its signature
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As ``{fn.__name__}``, of this tensor itself; returns it."
    return method


METHODS.update({f.__name__ + "_": _reshaped(f) for f in (squeeze, swapaxes, t, transpose,
                                                         unsqueeze)})  # fmt: skip
METHODS["swapdims_"] = METHODS["transpose_"]

for _fn in (cumprod, cumsum, tril, triu, logical_and, logical_or, logical_xor, logical_not,
            bitwise_not):  # fmt: skip
    add_inplace(_fn.__name__ + "_", _fn)
METHODS.update(
    bitwise_left_shift_=_ATTACHED["left_shift_"], bitwise_right_shift_=_ATTACHED["right_shift_"]
)
