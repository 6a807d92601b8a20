"""Dropouts of channels, of normalised activations and of weights."""

from __future__ import annotations

from typing import Any

from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from . import functional as F
from .linear import Linear
from .module import Module


class _Dropout(Module):
    function = ""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise TgValueError(f"{type(self).__name__}: p must lie in [0, 1], got {p}")
        self.p = p
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return getattr(F, self.function)(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(_Dropout):
    """Dropout of whole channels of (N, C, L) or (C, L) (Tompson et al., 2014)."""

    function = "dropout1d"


class Dropout2d(_Dropout):
    """Dropout of whole channels of (N, C, H, W) or (C, H, W) (Tompson et al., 2014).

    >>> import tilegrad as tg
    >>> y = tg.nn.Dropout2d()(tg.ones(1, 50, 2, 2))
    >>> sorted(set(y.sum((0, 2, 3)).tolist()))
    [0.0, 8.0]
    """

    function = "dropout2d"


class Dropout3d(_Dropout):
    """Dropout of whole channels of (N, C, D, H, W) or (C, D, H, W)."""

    function = "dropout3d"


class AlphaDropout(_Dropout):
    """Dropout that keeps mean 0 and variance 1, for SELU (Klambauer et al., 2017)."""

    function = "alpha_dropout"


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels of (N, C, ...)."""

    function = "feature_alpha_dropout"


class DropConnect(Linear):
    """Linear with each weight zero with probability p in training (Wan et al., 2013).

    >>> import tilegrad as tg
    >>> tg.nn.DropConnect(3, 2, p=0.25)(tg.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        p: float = 0.5,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype)
        if not 0.0 <= p <= 1.0:
            raise TgValueError(f"DropConnect: p must lie in [0, 1], got {p}")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        return F.drop_connect(input, self.weight, self.bias, self.p, self.training)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, p={self.p}"
