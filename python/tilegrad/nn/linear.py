"""Layers that are one matrix: Linear and Embedding."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..errors import ShapeError, TilegradError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..ops.conv import per_axis
from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


def count(layer: Module, name: str, value: Any, least: int = 0) -> int:
    """An argument of a layer that counts something."""
    return per_axis(type(layer).__name__, name, value, 1, least)[0]


def empty_parameter(layer: Module, *shape: int, device: Any, dtype: Any) -> Parameter:
    """A parameter whose values are still to be drawn. An error names the layer."""
    try:
        return Parameter(ops.empty(*shape, device=device, dtype=dtype))
    except TilegradError as e:
        e.args = (f"{type(layer).__name__}: a parameter of shape {shape}: {e}",)
        raise


class Linear(Module):
    """x @ weight.T + bias over the last axis.

    weight: (out_features, in_features), uniform in +-1/sqrt(in_features), as bias: (out_features,).

    >>> import tilegrad as tg
    >>> tg.nn.Linear(3, 2)(tg.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features = count(self, "in_features", in_features)
        self.out_features = out_features = count(self, "out_features", out_features)
        self.weight = empty_parameter(self, out_features, in_features, device=device, dtype=dtype)
        vector = empty_parameter(self, out_features, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", vector)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values."""
        init.kaiming_uniform_(self.weight, math.sqrt(5.0))
        draw_bias(self)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


def draw_bias(layer: Any) -> None:
    """Uniform in +-1/sqrt(fan_in) of the layer's weight."""
    if layer.bias is not None:
        fan_in, _ = init.fans(layer.weight)
        bound = 1.0 / math.sqrt(fan_in) if fan_in else 0.0
        init.uniform_(layer.bias, -bound, bound)


class EmbeddingTable(Module):
    """What Embedding and EmbeddingBag share: rows that begin normal, the padding one as zeros."""

    weight: Parameter
    padding_idx: int | None

    def _row(self, padding_idx: int | None, rows: int) -> int | None:
        """padding_idx as a non-negative number, checked."""
        if padding_idx is None:
            return None
        if not -rows <= padding_idx < rows:
            raise TgValueError(
                f"{type(self).__name__}: padding_idx {padding_idx} is outside of {rows} rows"
            )
        return padding_idx % rows

    @no_grad()
    def reset_parameters(self) -> None:
        """Draws new values."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight[self.padding_idx] = 0.0


class Embedding(EmbeddingTable):
    """Row i of weight (num_embeddings, embedding_dim) for every index i; rows begin normal.

    padding_idx: a row that begins as zeros and gets no gradient. max_norm, norm_type and
    scale_grad_by_freq as for functional.embedding; sparse raises. _weight: the rows to begin with;
    _freeze: whether they stay.

    >>> import tilegrad as tg
    >>> tg.nn.Embedding(10, 3)(tg.tensor([[1, 2], [4, 9]])).shape
    (2, 2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        num_embeddings = count(self, "num_embeddings", num_embeddings)
        embedding_dim = count(self, "embedding_dim", embedding_dim)
        if sparse:
            raise TgValueError(f"Embedding: sparse is not supported, got {sparse}")
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.padding_idx = self._row(padding_idx, num_embeddings)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        if _weight is not None:
            if _weight.shape != (num_embeddings, embedding_dim):
                raise ShapeError(
                    f"Embedding: _weight expects shape {(num_embeddings, embedding_dim)}, got "
                    f"{_weight.shape}"
                )
            self.weight = Parameter(_weight, requires_grad=not _freeze)
            return
        self.weight = empty_parameter(
            self, num_embeddings, embedding_dim, device=device, dtype=dtype
        )
        self.reset_parameters()

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        **options: Any,
    ) -> Embedding:
        """A layer whose weight is embeddings (V, D), shared; freeze: whether it stays as it is."""
        if embeddings.ndim != 2:
            raise ShapeError(f"Embedding: embeddings expects (V, D), got {embeddings.shape}")
        rows, size = embeddings.shape
        return cls(rows, size, padding_idx, _weight=embeddings, _freeze=freeze, **options)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq,
        )  # fmt: skip

    def extra_repr(self) -> str:
        pad = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{pad}"
