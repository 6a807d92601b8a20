"""Multi-head attention, the transformer's layers, and positions."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from .. import dtypes, ops
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..ops.attention import by_head, self_attention, side_by_side
from ..tensor import Tensor
from . import functional as F
from . import init
from .activation import Dropout
from .container import ModuleList
from .linear import Linear, empty_parameter
from .module import Module
from .norm import LayerNorm


class MultiheadAttention(Module):
    """Concat(head_1 ... head_h) W_o with head_i = attention(query W_i^q, key W_i^k, value W_i^v).

    MultiheadAttention(embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False,
    add_zero_attn=False, kdim=None, vdim=None, batch_first=False). query (L, N, E), key (S, N,
    kdim), value (S, N, vdim), or (N, L, E) ... with batch_first, or without N. key_padding_mask:
    (N, S), bool (True: ignored) or numbers to be added; attn_mask: (L, S) or (N
    heads, L, S), likewise.
    Returns the output, like query, and with need_weights the probabilities (N, L, S), averaged over
    the heads unless average_attn_weights is false; else None, and then the scores are never stored.
    Raises ShapeError, DTypeError, ValueError. Source: Vaswani et al., 2017.

    >>> import tilegrad as tg
    >>> x = tg.zeros(5, 2, 8)
    >>> y, p = tg.nn.MultiheadAttention(8, 2)(x, x, x)
    >>> y.shape, p.shape
    ((5, 2, 8), (2, 5, 5))
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise TgValueError(
                f"MultiheadAttention: embed_dim {embed_dim} does not divide into {num_heads} heads"
            )
        if not 0.0 <= dropout <= 1.0:
            raise TgValueError(f"MultiheadAttention: dropout must lie in [0, 1], got {dropout}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        one = self.kdim == self.vdim == embed_dim
        shapes: dict[str, tuple[int, ...] | None] = {
            "in_proj_weight": (3 * embed_dim, embed_dim) if one else None,
            "q_proj_weight": None if one else (embed_dim, embed_dim),
            "k_proj_weight": None if one else (embed_dim, self.kdim),
            "v_proj_weight": None if one else (embed_dim, self.vdim),
            "in_proj_bias": (3 * embed_dim,) if bias else None,
        }
        for name, shape in shapes.items():
            p = None if shape is None else empty_parameter(self, *shape, **options)
            self.register_parameter(name, p)
        self.out_proj = Linear(embed_dim, embed_dim, bias, **options)
        for name in ("bias_k", "bias_v"):
            p = empty_parameter(self, 1, 1, embed_dim, **options) if add_bias_kv else None
            self.register_parameter(name, p)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new values: Xavier uniform weights, zero biases."""
        own = self._parameters
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if own[name] is not None:
                init.xavier_uniform_(own[name])  # type: ignore[arg-type]
        if own["in_proj_bias"] is not None:
            init.zeros_(own["in_proj_bias"])
            init.zeros_(self.out_proj.bias)  # type: ignore[arg-type]
        for name in ("bias_k", "bias_v"):
            if own[name] is not None:
                init.xavier_normal_(own[name])  # type: ignore[arg-type]

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        """Queries, keys and values, (N, L, E) or (L, N, E) as given."""
        own, e = self._parameters, self.embed_dim
        w, b = own["in_proj_weight"], own["in_proj_bias"]
        biases = [None] * 3 if b is None else [b[i * e : (i + 1) * e] for i in range(3)]
        if w is None:
            weights = [own[f"{c}_proj_weight"] for c in "qkv"]
        else:
            weights = [w[i * e : (i + 1) * e] for i in range(3)]  # type: ignore[misc]
        parts: Any = zip((query, key, value), weights, biases, strict=True)
        return [F.linear(x, w, b) for x, w, b in parts]

    def multiply_adds(self, query: Tensor, key: Tensor, value: Tensor, *args: Any) -> int:
        """Of the three projections, the scores and the weighted values; out_proj counts its own."""
        extra = (self.bias_k is not None) + self.add_zero_attn
        keys = key.shape[1 if self.batch_first and key.ndim == 3 else 0] + extra
        projected = sum(math.prod(x.shape) for x in (query, key, value))
        return self.embed_dim * projected + 2 * math.prod(query.shape) * keys

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None,
        average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        name = "MultiheadAttention"
        single = query.ndim == 2
        for what, x, size in (
            ("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim),
        ):  # fmt: skip
            if x.ndim != (2 if single else 3) or x.shape[-1] != size:
                raise ShapeError(
                    f"{name}: {what} expects {2 if single else 3} dimensions, the last of {size}, "
                    f"got shape {x.shape}"
                )
        same = query is key and key is value
        xs = [query] if same else [query, key, value]
        if single:
            xs = [x.unsqueeze(0) for x in xs]
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        # The axes of samples and of positions stay in memory where they are.
        n_axis, axis = (0, 1) if single or self.batch_first else (1, 0)
        if is_causal and attn_mask is None:
            raise TgValueError(f"{name}: is_causal is a hint about attn_mask, which must be given")
        own, drop = self._parameters, self.dropout if self.training else 0.0
        plain = own["bias_k"] is None and not self.add_zero_attn
        if same and plain and own["in_proj_weight"] is not None and not need_weights:
            x = F.linear(xs[0], own["in_proj_weight"], own["in_proj_bias"])
            causal = is_causal and key_padding_mask is None
            mask = None
            if not causal:
                sizes = (x.shape[n_axis], x.shape[axis], x.shape[axis])
                mask = self._mask(sizes, x.dtype, 0, attn_mask, key_padding_mask)
            y = self.out_proj(self_attention(x, self.num_heads, n_axis, mask, drop, causal))
            return (y[0] if single else y), None
        q, k, v = self._projected(*(xs * 3 if same else xs))
        n, length = q.shape[n_axis], q.shape[axis]
        if k.shape[:2] != v.shape[:2] or k.shape[n_axis] != n:
            raise ShapeError(f"{name}: query {query.shape}, key {key.shape} and value {value.shape}"
                             " differ in their batch or length")  # fmt: skip
        extra = 0
        row = (n, 1, self.embed_dim) if axis else (1, n, self.embed_dim)
        if own["bias_k"] is not None:
            extra += 1
            k = ops.cat([k, own["bias_k"].expand(*row)], axis)  # type: ignore[union-attr]
            v = ops.cat([v, own["bias_v"].expand(*row)], axis)  # type: ignore[union-attr]
        if self.add_zero_attn:
            extra += 1
            zero = ops.zeros(*row, dtype=k.dtype)
            k, v = ops.cat([k, zero], axis), ops.cat([v, zero], axis)
        q, k, v = (by_head(x, self.num_heads, n_axis) for x in (q, k, v))
        causal = is_causal and key_padding_mask is None and not need_weights and not extra
        mask = None
        if not causal:
            sizes = (n, length, k.shape[2])
            mask = self._mask(sizes, q.dtype, extra, attn_mask, key_padding_mask)
        p = None
        if need_weights:
            s = q @ k.transpose(2, 3) * (1.0 / math.sqrt(self.head_dim))
            p = F.softmax(s if mask is None else s + mask, -1)
            y = (F.dropout(p, drop) if drop else p) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, drop, causal)
        y = self.out_proj(side_by_side(y, n_axis))
        if p is not None and average_attn_weights:
            p = p.mean(1)
        if single:
            return y[0], None if p is None else p[0]
        return y, p

    def _mask(
        self, sizes: tuple[int, int, int], dtype: Any, extra: int, attn_mask: Tensor | None,
        padding: Tensor | None,
    ) -> Tensor | None:  # fmt: skip
        """Both masks as one to be added, of shape (N or 1, heads or 1, L or 1, keys); sizes: of the
        batch, the queries and the keys, the last `extra` of which are no one's to mask."""
        total = None
        n, length, s = sizes[0], sizes[1], sizes[2] - extra
        for what, m, shapes in (
            ("attn_mask", attn_mask, ((length, s), (n * self.num_heads, length, s))),
            ("key_padding_mask", padding, ((n, s),)),
        ):
            if m is None:
                continue
            if m.shape not in shapes:
                raise ShapeError(f"MultiheadAttention: {what} expects shape "
                                 f"{' or '.join(map(str, shapes))}, got {m.shape}")  # fmt: skip
            if m.dtype == dtypes.bool_:
                m = ops.where(m, -math.inf, ops.zeros((), dtype=dtype))
            elif not dtypes.is_floating(m.dtype):
                raise DTypeError(
                    f"MultiheadAttention: {what} must be bool or floating, got {m.dtype}"
                )
            if what == "key_padding_mask":
                m = m.reshape(n, 1, 1, s)
            else:
                m = m.reshape(-1, self.num_heads if m.ndim == 3 else 1, length, s)
            total = m if total is None else total + m
        if total is None or not extra:
            return total
        return F.pad(total, (0, extra))


def _activation(name: str, activation: Any) -> Callable[[Tensor], Tensor]:
    named: dict[Any, Callable[..., Tensor]] = {"relu": F.relu, "gelu": F.gelu}
    if isinstance(activation, str) and activation in named:
        return named[activation]
    if not callable(activation):
        raise TgValueError(
            f"{name}: activation is 'relu', 'gelu' or a function, got {activation!r}"
        )
    return activation


class _Layer(Module):
    """The parts of encoder and decoder layers: attention, the network behind it, norms, dropout."""

    def _build(
        self, attentions: tuple[str, ...], d_model: int, nhead: int, dim_feedforward: int,
        dropout: float, activation: Any, layer_norm_eps: float, batch_first: bool, norm_first: bool,
        bias: bool, device: Any, dtype: Any,
    ) -> None:  # fmt: skip
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        for name in attentions:
            layer = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first,
                                       **options)  # fmt: skip
            setattr(self, name, layer)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **options)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **options)
        self.norm_first = norm_first
        for i in range(1, len(attentions) + 2):
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **options)
            setattr(self, f"norm{i}", norm)
        for i in range(1, len(attentions) + 2):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _activation(type(self).__name__, activation)

    def _around(self, x: Tensor, i: int, block: Callable[[Tensor], Tensor]) -> Tensor:
        """x and what block makes of it, normalised behind the sum or, with norm_first, before."""
        norm, drop = self._modules[f"norm{i}"], self._modules[f"dropout{i}"]
        if self.norm_first:
            return x + drop(block(norm(x)))  # type: ignore[misc]
        return norm(x + drop(block(x)))  # type: ignore[misc]

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention and a two-layer network, each with dropout, a residual sum and layer norm.

    TransformerEncoderLayer(d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=relu,
    layer_norm_eps=1e-5, batch_first=False, norm_first=False, bias=True). src: (S, N, d_model), or
    (N, S, d_model) with batch_first, or (S, d_model); the masks are those of MultiheadAttention.
    Raises ShapeError, ValueError. Source: Vaswani et al., 2017.

    >>> import tilegrad as tg
    >>> tg.nn.TransformerEncoderLayer(8, 2, 16)(tg.zeros(5, 1, 8)).shape
    (5, 1, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Any = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._build(("self_attn",), d_model, nhead, dim_feedforward, dropout, activation,
                    layer_norm_eps, batch_first, norm_first, bias, device, dtype)  # fmt: skip

    def forward(
        self, src: Tensor, src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None, is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, True, is_causal)[
                0
            ]  # type: ignore[operator]

        return self._around(self._around(src, 1, attend), 2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """As TransformerEncoderLayer, with attention to the memory of an encoder in between.

    tgt (T, N, d_model), memory (S, N, d_model); batch_first as there. Raises ShapeError,
    ValueError.

    >>> import tilegrad as tg
    >>> layer = tg.nn.TransformerDecoderLayer(8, 2, 16)
    >>> layer(tg.zeros(3, 1, 8), tg.zeros(5, 1, 8)).shape
    (3, 1, 8)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Any = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self._build(
            ("self_attn", "multihead_attn"), d_model, nhead, dim_feedforward, dropout, activation,
            layer_norm_eps, batch_first, norm_first, bias, device, dtype,
        )  # fmt: skip

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        first, second = self._modules["self_attn"], self._modules["multihead_attn"]

        def own(x: Tensor) -> Tensor:
            masks = (tgt_key_padding_mask, False, tgt_mask, True, tgt_is_causal)
            return first(x, x, x, *masks)[0]  # type: ignore[misc]

        def other(x: Tensor) -> Tensor:
            masks = (memory_key_padding_mask, False, memory_mask, True, memory_is_causal)
            return second(x, memory, memory, *masks)[0]  # type: ignore[misc]

        x = self._around(self._around(tgt, 1, own), 2, other)
        return self._around(x, 3, self._feed_forward)


class _Stack(Module):
    """num_layers deep copies of a layer, and a norm behind them."""

    def __init__(self, layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.num_layers = num_layers
        self.norm = norm

    def _finish(self, x: Tensor) -> Tensor:
        return x if self.norm is None else self.norm(x)


class TransformerEncoder(_Stack):
    """num_layers copies of an encoder layer, with equal initial values, and a norm behind them.

    >>> import tilegrad as tg
    >>> encoder = tg.nn.TransformerEncoder(tg.nn.TransformerEncoderLayer(8, 2, 16), 2)
    >>> encoder(tg.zeros(5, 1, 8)).shape
    (5, 1, 8)
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None,
        enable_nested_tensor: bool = True, mask_check: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(encoder_layer, num_layers, norm)

    def forward(
        self, src: Tensor, mask: Tensor | None = None, src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:  # fmt: skip
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return self._finish(src)


class TransformerDecoder(_Stack):
    """num_layers copies of a decoder layer, with equal initial values, and a norm behind them.

    >>> import tilegrad as tg
    >>> decoder = tg.nn.TransformerDecoder(tg.nn.TransformerDecoderLayer(8, 2, 16), 2)
    >>> decoder(tg.zeros(3, 1, 8), tg.zeros(5, 1, 8)).shape
    (3, 1, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__(decoder_layer, num_layers, norm)

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask,
                        memory_key_padding_mask, bool(tgt_is_causal), memory_is_causal)  # fmt: skip
        return self._finish(tgt)


class Transformer(Module):
    """Encoder and decoder (Vaswani et al., 2017), with Xavier uniform weights.

    Transformer(d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6,
    dim_feedforward=2048, dropout=0.1, activation=relu, layer_norm_eps=1e-5, batch_first=False,
    norm_first=False, bias=True). src (S, N, d_model), tgt (T, N, d_model) give (T, N, d_model).

    >>> import tilegrad as tg
    >>> net = tg.nn.Transformer(8, 2, 1, 1, 16)
    >>> net(tg.zeros(5, 1, 8), tg.zeros(3, 1, 8)).shape
    (3, 1, 8)
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6,
        num_decoder_layers: int = 6, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Any = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        layer = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
                 norm_first, bias, device, dtype)  # fmt: skip

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype)

        self.encoder = TransformerEncoder(
            TransformerEncoderLayer(*layer), num_encoder_layers, norm()
        )
        self.decoder = TransformerDecoder(
            TransformerDecoderLayer(*layer), num_decoder_layers, norm()
        )
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None, src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask,
                            memory_key_padding_mask, tgt_is_causal, memory_is_causal)  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The causal mask (sz, sz) to be added: 0 on and below the diagonal, -inf above.

        >>> import tilegrad as tg
        >>> tg.nn.Transformer.generate_square_subsequent_mask(2)
        tensor([[  0., -inf],
                [  0.,   0.]])
        """
        above = ops.triu(ops.ones(sz, sz, dtype=dtypes.int64), 1) != 0
        return ops.where(above, -math.inf, ops.zeros(1, dtype=dtype, device=device))
