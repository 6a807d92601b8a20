"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..ops.rules import number
from ..tensor import Tensor
from . import functional as F
from . import init
from .activation import ReLU
from .linear import count, empty_parameter
from .module import Module


class _Affine(Module):
    """A scale that begins as ones and a shift that begins as zeros, where they are wanted."""

    def _affine(self, shape: tuple, scale: bool, shift: bool, device: Any, dtype: Any) -> None:
        for name, wanted in (("weight", scale), ("bias", shift)):
            p = empty_parameter(self, *shape, device=device, dtype=dtype) if wanted else None
            self.register_parameter(name, p)

    def reset_parameters(self) -> None:
        """Back to scale one, shift zero."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _BatchNorm(_Affine):
    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        op = type(self).__name__
        self.num_features = num_features = count(self, "num_features", num_features)
        self.eps = number(eps, op, "eps", 0.0)
        self.momentum = None if momentum is None else number(momentum, op, "momentum", 0.0, 1.0)
        self.affine = affine
        self.track_running_stats = track_running_stats
        self._affine((num_features,), affine, affine and bias, device, dtype)
        track = track_running_stats
        options = {"device": device, "dtype": dtype}
        zeros, ones = ops.zeros, ops.ones
        self.register_buffer("running_mean", zeros(num_features, **options) if track else None)
        self.register_buffer("running_var", ones(num_features, **options) if track else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype="int64") if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Running estimates back to mean 0, variance 1."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked.fill_(0)

    def reset_parameters(self) -> None:
        """Back to scale one, shift zero, and fresh running estimates."""
        super().reset_parameters()
        self.reset_running_stats()

    def forward(self, input: Tensor, residual: Tensor | None = None, relu: bool = False) -> Tensor:
        """relu: relu(batch_norm(input) + residual) by functional.batch_norm_relu."""
        if input.ndim not in self.ranks:
            raise ShapeError(
                f"batch_norm: {type(self).__name__} expects input of rank "
                f"{' or '.join(map(str, self.ranks))}, got shape {input.shape}"
            )
        momentum = 0.0 if self.momentum is None else self.momentum
        tracks = self.running_mean is not None
        counts = self.training and tracks
        if counts and self.momentum is None:  # cumulative average
            momentum = 1.0 / (self.num_batches_tracked.item() + 1)
        batch_statistics = self.training or not tracks
        norm = (
            self.running_mean, self.running_var, self.weight, self.bias, batch_statistics, momentum,
            self.eps,
        )  # fmt: skip
        if relu:
            y = F.batch_norm_relu(input, *norm, residual)
        else:
            y = F.batch_norm(input, *norm)
        if counts:
            with no_grad():
                self.num_batches_tracked += 1
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


def fuses(norm: Module, relu: Module | None = None) -> bool:
    """Whether norm may be called with relu=True in place of itself and what follows: it is a batch
    norm, relu (if a module) a plain ReLU, and neither has hooks that would see the difference."""
    if not isinstance(norm, _BatchNorm) or type(norm).forward is not _BatchNorm.forward:
        return False
    if relu is not None and type(relu) is not ReLU:
        return False
    return not any(
        m is not None and (m._forward_hooks or m._forward_pre_hooks or m._backward)
        for m in (norm, relu)
    )


def norm_relu(
    norm: Module, input: Tensor, residual: Tensor | None = None, relu: Module | None = None
) -> Tensor:
    """relu(norm(input) + residual), in one kernel where that makes no difference. relu: the module
    that would be called."""
    if fuses(norm, relu):
        return norm(input, residual, True)
    y = norm(input) if residual is None else norm(input) + residual
    return ops.relu(y) if relu is None else relu(y)


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (N, C) or (N, C, L)."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias per channel of (N, C, H, W).

    In training the statistics are the batch's, and the running estimates follow them by momentum
    (None: their cumulative average); in evaluation they are the running estimates, if these are
    tracked. Source: Ioffe and Szegedy, 2015.

    >>> import tilegrad as tg
    >>> tg.nn.BatchNorm2d(6)(tg.ones(2, 6, 3, 3)).shape
    (2, 6, 3, 3)
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (N, C, D, H, W)."""

    ranks = (5,)


class LayerNorm(_Affine):
    """Normalises over the last axes, whose shape is normalized_shape (Ba et al., 2016).

    >>> import tilegrad as tg
    >>> tg.nn.LayerNorm(4)(tg.ones(2, 3, 4)).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes: Any = normalized_shape
        sizes = sizes if isinstance(sizes, (tuple, list)) else (sizes,)
        self.normalized_shape = tuple(count(self, "normalized_shape", n) for n in sizes)
        self.eps = number(eps, "LayerNorm", "eps", 0.0)
        self.elementwise_affine = elementwise_affine
        shift = elementwise_affine and bias
        self._affine(self.normalized_shape, elementwise_affine, shift, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class GroupNorm(_Affine):
    """Normalises over groups of channels of (N, C, ...) (Wu and He, 2018).

    >>> import tilegrad as tg
    >>> tg.nn.GroupNorm(2, 6)(tg.ones(1, 6, 4, 4)).shape
    (1, 6, 4, 4)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        num_groups = count(self, "num_groups", num_groups, 1)
        num_channels = count(self, "num_channels", num_channels)
        if num_channels % num_groups:
            raise TgValueError(
                f"GroupNorm: num_channels {num_channels} must be divisible by num_groups "
                f"{num_groups}"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = number(eps, "GroupNorm", "eps", 0.0)
        self.affine = affine
        self._affine((num_channels,), affine, affine and bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )


class _InstanceNorm(_BatchNorm):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:  # type: ignore[override]
        name, rank = type(self).__name__, self.ranks[0]
        if input.ndim not in (rank - 1, rank):
            raise ShapeError(
                f"instance_norm: {name} expects input of rank {rank - 1} or {rank}, got shape "
                f"{input.shape}"
            )
        if input.shape[-rank + 1] != self.num_features:
            raise ShapeError(
                f"instance_norm: {name} expects {self.num_features} channels, got shape "
                f"{input.shape}"
            )
        x = input if input.ndim == rank else ops.unsqueeze(input, 0)
        y = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return y if input.ndim == rank else ops.squeeze(y, 0)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (N, C, L) or (C, L)."""

    ranks = (3,)


class InstanceNorm2d(_InstanceNorm):
    """Normalises every channel of every sample of (N, C, H, W) or (C, H, W) by itself (Ulyanov et
    al., 2016); affine and track_running_stats are off unless asked for; bias: whether affine adds.

    >>> import tilegrad as tg
    >>> tg.nn.InstanceNorm2d(6)(tg.ones(2, 6, 3, 3)).shape
    (2, 6, 3, 3)
    """

    ranks = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (N, C, D, H, W) or (C, D, H, W)."""

    ranks = (5,)


class RMSNorm(_Affine):
    """x / sqrt(mean(x**2) + eps) * weight over the last axes (Zhang and Sennrich, 2019).

    eps: the machine epsilon of the input's dtype unless given.

    >>> import tilegrad as tg
    >>> tg.nn.RMSNorm(4)(tg.ones(2, 3, 4)).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        p = None
        if elementwise_affine:
            p = empty_parameter(self, *self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", p)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Back to scale one."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LocalResponseNorm(Module):
    """x / (k + alpha * mean(x**2 over size channels))**beta (Krizhevsky et al., 2012).

    >>> import tilegrad as tg
    >>> tg.nn.LocalResponseNorm(5)(tg.ones(2, 6, 3, 3)).shape
    (2, 6, 3, 3)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        if size < 1:
            raise TgValueError(f"LocalResponseNorm: size must be at least 1, got {size}")
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
