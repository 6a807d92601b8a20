"""A bilinear layer, and bags of embedding rows."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from . import functional as F
from . import init
from .linear import EmbeddingTable, empty_parameter
from .module import Module
from .parameter import Parameter


class Bilinear(Module):
    """input1 weight[k] input2 + bias[k] for each of out_features k, over the last axes.

    weight: (out_features, in1_features, in2_features) and bias begin uniform in
    +-1/sqrt(in1_features).

    >>> import tilegrad as tg
    >>> tg.nn.Bilinear(3, 4, 5)(tg.zeros(2, 3), tg.zeros(2, 4)).shape
    (2, 5)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if in1_features < 1:
            raise TgValueError(f"Bilinear: in1_features must be at least 1, got {in1_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        self.weight = empty_parameter(self, *shape, device=device, dtype=dtype)
        vector = empty_parameter(self, out_features, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", vector)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values."""
        bound = 1.0 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class EmbeddingBag(EmbeddingTable):
    """The sum, mean or maximum of the rows of weight in each bag; see functional.embedding_bag.

    weight: (num_embeddings, embedding_dim), rows begin normal, that of padding_idx as zeros.

    >>> import tilegrad as tg
    >>> tg.nn.EmbeddingBag(10, 3)(tg.tensor([1, 2, 4, 5]), tg.tensor([0, 3])).shape
    (2, 3)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if mode not in ("sum", "mean", "max"):
            raise TgValueError(f"EmbeddingBag: mode must be 'sum', 'mean' or 'max', got {mode!r}")
        self.padding_idx = self._row(padding_idx, num_embeddings)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.mode = mode
        self.sparse = sparse
        self.include_last_offset = include_last_offset
        if _weight is not None:
            self.weight = Parameter(_weight)
        else:
            shape = (num_embeddings, embedding_dim)
            self.weight = empty_parameter(self, *shape, device=device, dtype=dtype)
            self.reset_parameters()

    def forward(
        self, input: Tensor, offsets: Any = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, self.sparse, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        pad = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}, mode={self.mode!r}{pad}"
