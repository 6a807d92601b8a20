"""Tensors named after their dtype, as older programs make and ask for them."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import dtypes
from .tensor import Tensor


class TypedTensor(type):
    """The class of FloatTensor and the like: called, it makes a Tensor; isinstance asks for the
    dtype."""

    dtype: np.dtype

    def __call__(cls, *data: Any) -> Tensor:
        from .ops.create import sized

        return sized(cls.__name__, data, cls.dtype)

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Tensor) and instance.dtype == cls.dtype


def _typed(name: str, dtype: Any) -> Any:
    doc = (
        f"A tensor of {dtype}: {name}(2, 3) is zeros of that shape, {name}([2, 3]) a copy of\n"
        "    data (a sequence, an array or a tensor).\n\n"
        f"    >>> import tilegrad as tg\n    >>> tg.{name}(2, 3).shape\n    (2, 3)\n"
    )
    return TypedTensor(name, (), {"dtype": dtype, "__doc__": doc, "__module__": __name__})


FloatTensor, DoubleTensor = (
    _typed("FloatTensor", dtypes.float32),
    _typed("DoubleTensor", dtypes.float64),
)
HalfTensor = _typed("HalfTensor", dtypes.float16)
BFloat16Tensor = _typed("BFloat16Tensor", dtypes.bfloat16)
LongTensor, IntTensor = _typed("LongTensor", dtypes.int64), _typed("IntTensor", dtypes.int32)
ShortTensor, CharTensor = _typed("ShortTensor", dtypes.int16), _typed("CharTensor", dtypes.int8)
ByteTensor, BoolTensor = _typed("ByteTensor", dtypes.uint8), _typed("BoolTensor", dtypes.bool_)

NAMES: dict[str, Any] = {
    t.__name__: t
    for t in (
        FloatTensor, DoubleTensor, HalfTensor, BFloat16Tensor, LongTensor, IntTensor, ShortTensor,
        CharTensor, ByteTensor, BoolTensor,
    )
}  # fmt: skip
