"""Scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .binary import where
from .classification import softmax
from .create import full, ones, tril, zeros
from .join import cat
from .matmul import matmul
from .random import default_generator, dropped
from .reduce import all as all_
from .rules import as_operand, convert, explicit, new_tensor, record
from .shape import expand, reshape, transpose


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    """The probabilities (..., T, S), recorded op by op."""
    s = matmul(q, transpose(k, -1, -2)) * scale
    if mask is not None:
        s = s + mask
    if causal:
        sees = tril(ones(s.shape[-2], s.shape[-1], dtype=dtypes.int64)) != 0
        s = where(sees, s, -math.inf)
    if mask is None and not causal:
        return softmax(s, -1)
    nothing = all_(s == -math.inf, -1, True)
    return where(nothing, 0.0, softmax(where(nothing, 0.0, s), -1))


def _stream(p: float, *shape: int) -> tuple[float, int, int]:
    """The parameters of dropout of the probabilities, which have this shape."""
    return (float(p), *default_generator.take(math.prod(shape))) if p else (0.0, 0, 0)


def _thinned(x: Tensor, p: float, key: int, offset: int) -> Tensor:
    return dropped(x, p, key, offset) if p else x


def _attention_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> tuple:
    q, k, v, mask = inputs
    scale, causal, *stream = params
    p = _scores(q, k, mask, scale, causal)
    gv = matmul(transpose(_thinned(p, *stream), -1, -2), g) if need[2] else None
    if not need[0] and not need[1]:
        return None, None, gv, None
    gp = _thinned(matmul(g, transpose(v, -1, -2)), *stream)
    d = p * (gp - (p * gp).sum(-1, True)) * scale
    gq = matmul(d, k) if need[0] else None
    return gq, matmul(transpose(d, -1, -2), q) if need[1] else None, gv, None


def _attention_fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> tuple:
    grads = kernels.of(g._array).attention_grad(g._array, *saved[:4], *params)
    return (*[new_tensor(a) if n else None for a, n in zip(grads, need, strict=False)], None)


ATTENTION = explicit("attention", _attention_vjp, saves=(0, 1, 2, 3), fused=_attention_fused)


# --- queries, keys and values from one projection -------------------------------------------------
def _thirds(x: Any, params: Any) -> list[Any]:
    """Queries, keys and values (N, H, L, D), views of an array or a tensor x (A, B, 3 E) that holds
    them side by side; params: heads, and which of the first axes is that of the samples."""
    heads, n_axis = params[:2]
    e = x.shape[2] // 3
    parts = [x[..., i * e : (i + 1) * e] for i in range(3)]
    return [by_head(p, heads, n_axis) for p in parts]


def by_head(x: Any, heads: int, n_axis: int) -> Any:
    """(A, B, E) as (N, H, L, D), without a copy."""
    four = x.reshape(*x.shape[:2], heads, x.shape[2] // heads)
    return four.swapaxes(1, 2) if n_axis == 0 else four.swapaxes(0, 1).swapaxes(1, 2)


def side_by_side(x: Any, n_axis: int) -> Any:
    """(N, H, L, D) as (A, B, E): the inverse of by_head."""
    four = x.swapaxes(1, 2) if n_axis == 0 else x.swapaxes(1, 2).swapaxes(0, 1)
    return four.reshape(*four.shape[:2], four.shape[2] * four.shape[3])


def _self_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> tuple:
    x, mask = inputs
    q, k, v = _thirds(x, params)
    grads = _attention_vjp(
        by_head(g, *params[:2]), (True,) * 3, (q, k, v, mask), out, params[2:], nodes
    )
    return cat([side_by_side(t, params[1]) for t in grads[:3]], 2), None


def _self_fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> tuple:
    x, mask = saved[:2]
    kernel = kernels.of(x)
    parts = kernel.attention_grad(
        by_head(g._array, *params[:2]), *_thirds(x, params), mask, *params[2:]
    )
    return new_tensor(kernel.concatenate([side_by_side(a, params[1]) for a in parts], 2)), None


SELF_ATTENTION = explicit("self_attention", _self_vjp, saves=(0, 1), fused=_self_fused)


def self_attention(
    qkv: Tensor, heads: int, n_axis: int, mask: Tensor | None, dropout_p: float, causal: bool
) -> Tensor:
    """scaled_dot_product_attention of one projection, heads side by side again.

    qkv: (N, L, 3 E) with n_axis 0, (L, N, 3 E) with n_axis 1; mask: broadcastable to (N, H, L, L),
    to be added. Returns (N, L, E) or (L, N, E). The gradient is written once, not once per third.
    """
    params = (heads, n_axis)
    if mask is not None and mask._node is not None:
        q, k, v = _thirds(qkv, params)
        y = scaled_dot_product_attention(q, k, v, mask, dropout_p, causal)
        return side_by_side(y, n_axis)
    q, k, v = _thirds(qkv._array, params)
    if mask is not None:
        mask = expand(convert(mask, qkv.dtype), (*q.shape[:3], q.shape[2]))
    added = None if mask is None else mask._array
    stream = _stream(dropout_p, *q.shape[:3], q.shape[2])
    how = (1.0 / math.sqrt(q.shape[3]), causal, *stream)
    y = kernels.of(q).attention(q, k, v, added, *how)
    return record(SELF_ATTENTION, side_by_side(y, n_axis), (qkv, mask), (*params, *how))


def _four_axes(x: Tensor, lead: tuple[int, ...]) -> Tensor:
    """x (..., n, m), its leading axes stretched to lead, as (B, H, n, m)."""
    if x.shape[:-2] != lead:
        x = expand(x, (*lead, *x.shape[-2:]))
    if len(lead) == 2:
        return x
    return reshape(x, math.prod(lead[:-1]), lead[-1] if lead else 1, *x.shape[-2:])


def _additive(op: str, mask: Any, q: Tensor) -> Tensor:
    """A mask as numbers to be added; False is -inf."""
    m = as_operand(mask, op)
    if m.dtype == dtypes.bool_:
        nothing = zeros((), dtype=q.dtype)
        return where(m, nothing, full((), -math.inf, dtype=q.dtype))
    if not dtypes.is_floating(m.dtype):
        raise DTypeError(f"{op}: attn_mask must be bool or floating, got {m.dtype}")
    return convert(m, q.dtype)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale query key^T + attn_mask) value over the last two axes.

    query: (..., T, D), key: (..., S, D), value: (..., S, E), floating, leading axes broadcast.
    attn_mask: broadcastable to (..., T, S); bool (True: seen) or numbers to be added. is_causal:
    query i sees the keys 0 to i. scale: 1 / sqrt(D) unless given. dropout_p: of the probabilities.
    enable_gqa: the heads (axis -3) of key and value are repeated to those of query. A query that
    sees nothing gives zeros. The T x S scores are stored only for the gradient of attn_mask and
    under create_graph. Raises ShapeError, DTypeError, ValueError. Source: Vaswani et al., 2017; Dao
    et al., 2022.

    >>> import tilegrad as tg
    >>> x = tg.ones(2, 3, 4)
    >>> tg.nn.functional.scaled_dot_product_attention(x, x, x).shape
    (2, 3, 4)
    """
    op = "scaled_dot_product_attention"
    q, k, v = (as_operand(x, op) for x in (query, key, value))
    for name, x in (("query", q), ("key", k), ("value", v)):
        if x.ndim < 2:
            raise ShapeError(f"{op}: {name} expects at least 2 dimensions, got shape {x.shape}")
        if not dtypes.is_floating(x.dtype) or x.dtype != q.dtype:
            raise DTypeError(f"{op}: query, key and value expect one floating dtype, got "
                             f"{q.dtype}, {k.dtype} and {v.dtype}")  # fmt: skip
    if not 0.0 <= dropout_p <= 1.0:
        raise TgValueError(f"{op}: dropout_p must lie in [0, 1], got {dropout_p}")
    if enable_gqa:
        k, v = (_repeated(op, x, q) for x in (k, v))
    shapes = f"query {q.shape}, key {k.shape} and value {v.shape}"
    if q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ShapeError(f"{op}: expects (..., T, D), (..., S, D) and (..., S, E), got {shapes}")
    lead = _lead(op, shapes, q, k, v)
    factor = 1.0 / math.sqrt(max(q.shape[-1], 1)) if scale is None else float(scale)
    scores = (*lead, q.shape[-2], k.shape[-2])
    mask = None if attn_mask is None else _additive(op, attn_mask, q)
    if mask is not None:
        if is_causal:
            raise TgValueError(f"{op}: give attn_mask or is_causal, not both")
        try:
            mask = expand(mask, scores)
        except ShapeError:
            raise ShapeError(
                f"{op}: attn_mask of shape {mask.shape} does not broadcast to {scores}"
            ) from None
    stream = _stream(dropout_p, *scores)
    if mask is not None and mask._node is not None:
        return matmul(_thinned(_scores(q, k, mask, factor, is_causal), *stream), v)
    four = [_four_axes(x, lead) for x in (q, k, v)]
    m = None if mask is None else _four_axes(mask, lead)
    added = None if m is None else m._array
    how = (factor, bool(is_causal), *stream)
    y = kernels.of(q._array).attention(*[x._array for x in four], added, *how)
    out = record(ATTENTION, y, (*four, m), how)
    return out if len(lead) == 2 else reshape(out, (*lead, *out.shape[-2:]))


def _lead(op: str, shapes: str, *xs: Tensor) -> tuple[int, ...]:
    from .shape import broadcast_shapes

    try:
        return broadcast_shapes(*[x.shape[:-2] for x in xs])
    except ShapeError:
        raise ShapeError(f"{op}: the leading axes of {shapes} do not broadcast") from None


def _repeated(op: str, x: Tensor, q: Tensor) -> Tensor:
    """The heads of x repeated to those of q, neighbours alike."""
    if x.ndim < 3 or q.ndim < 3 or x.shape[-3] == 0 or q.shape[-3] % x.shape[-3]:
        raise ShapeError(
            f"{op}: with enable_gqa the heads of query {q.shape} must be a multiple of those of "
            f"key and value {x.shape}"
        )
    times = q.shape[-3] // x.shape[-3]
    heads = [x[..., i : i + 1, :, :] for i in range(x.shape[-3]) for _ in range(times)]
    return cat(heads, -3)


FUNCTIONAL = ("scaled_dot_product_attention",)
"""Published in ``nn.functional`` only, as in PyTorch."""

__all__: list[str] = []
"""The rest of this module is for nn."""
