"""Layers that learn the number of their inputs from the first one."""

from __future__ import annotations

from typing import Any

from ..errors import ShapeError
from ..tensor import Tensor
from .conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from .linear import Linear
from .module import Module
from .norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)  # fmt: skip
from .parameter import UninitializedParameter


class _Lazy(Module):
    """args and kwargs are those of the layer it becomes, without the first; the parameters are
    UninitializedParameters until the first call."""

    cls_to_become: Any
    axis = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        become = self.cls_to_become
        silent = type(become.__name__, (become,), {"reset_parameters": lambda self: None})
        empty = silent(0, *args, **kwargs)
        self.__dict__.update(empty.__dict__)
        self.__dict__["_asked"] = (args, kwargs)
        for name, p in empty._parameters.items():
            if p is not None:
                self._parameters[name] = UninitializedParameter(dtype=p.dtype)

    def has_uninitialized_params(self) -> bool:
        """Whether the number of inputs is still unknown."""
        return True

    def initialize_parameters(self, input: Tensor) -> None:
        """Becomes the layer for inputs like this one, with new values."""
        if input.ndim < (-self.axis if self.axis < 0 else self.axis + 1):
            raise ShapeError(f"{type(self).__name__}: input has shape {input.shape}")
        args, kwargs = self.__dict__.pop("_asked")
        made: Module = self.cls_to_become(input.shape[self.axis], *args, **kwargs)
        for name, p in made._parameters.items():
            own: Any = self._parameters[name]
            if p is not None and isinstance(own, UninitializedParameter):
                own.materialize(p.shape)
                own.data = p.detach().to(own.dtype)  # type: ignore[attr-defined]
        for name, b in made._buffers.items():
            before = self._buffers[name]
            keep = b is None or before is None
            self._buffers[name] = b if keep else b.to(before.dtype)  # type: ignore[union-attr]
        kept = ("training", "_parameters", "_buffers", "_modules", "_transient")
        for name, value in made.__dict__.items():
            if name not in kept and "hook" not in name and name != "_backward":
                self.__dict__[name] = value
        self.__class__ = self.cls_to_become  # type: ignore[assignment]

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.initialize_parameters(input)
        return self.forward(input, *args, **kwargs)


class LazyLinear(_Lazy):
    """Linear without in_features, which it takes from axis -1 of its first input.

    >>> import tilegrad as tg
    >>> tg.nn.LazyLinear(2)(tg.zeros(5, 3)).shape
    (5, 2)
    """

    cls_to_become = Linear
    axis = -1


class LazyConv1d(_Lazy):
    """Conv1d without in_channels, which it takes from axis -2 of its first input."""

    cls_to_become = Conv1d
    axis = -2


class LazyConv2d(_Lazy):
    """Conv2d without in_channels, which it takes from axis -3 of its first input.

    >>> import tilegrad as tg
    >>> tg.nn.LazyConv2d(4, 3)(tg.zeros(1, 2, 5, 5)).shape
    (1, 4, 3, 3)
    """

    cls_to_become = Conv2d
    axis = -3


class LazyConv3d(_Lazy):
    """Conv3d without in_channels, which it takes from axis -4 of its first input."""

    cls_to_become = Conv3d
    axis = -4


class LazyConvTranspose1d(_Lazy):
    """ConvTranspose1d without in_channels, which it takes from axis -2 of its first input."""

    cls_to_become = ConvTranspose1d
    axis = -2


class LazyConvTranspose2d(_Lazy):
    """ConvTranspose2d without in_channels, which it takes from axis -3 of its first input."""

    cls_to_become = ConvTranspose2d
    axis = -3


class LazyConvTranspose3d(_Lazy):
    """ConvTranspose3d without in_channels, which it takes from axis -4 of its first input."""

    cls_to_become = ConvTranspose3d
    axis = -4


class LazyBatchNorm1d(_Lazy):
    """BatchNorm1d without num_features, which it takes from axis 1 of its first input.

    >>> import tilegrad as tg
    >>> tg.nn.LazyBatchNorm1d()(tg.zeros(5, 3)).shape
    (5, 3)
    """

    cls_to_become = BatchNorm1d
    axis = 1


class LazyBatchNorm2d(_Lazy):
    """BatchNorm2d without num_features, which it takes from axis 1 of its first input."""

    cls_to_become = BatchNorm2d
    axis = 1


class LazyBatchNorm3d(_Lazy):
    """BatchNorm3d without num_features, which it takes from axis 1 of its first input."""

    cls_to_become = BatchNorm3d
    axis = 1


class LazyInstanceNorm1d(_Lazy):
    """InstanceNorm1d without num_features, which it takes from axis -2 of its first input."""

    cls_to_become = InstanceNorm1d
    axis = -2


class LazyInstanceNorm2d(_Lazy):
    """InstanceNorm2d without num_features, which it takes from axis -3 of its first input."""

    cls_to_become = InstanceNorm2d
    axis = -3


class LazyInstanceNorm3d(_Lazy):
    """InstanceNorm3d without num_features, which it takes from axis -4 of its first input."""

    cls_to_become = InstanceNorm3d
    axis = -4
