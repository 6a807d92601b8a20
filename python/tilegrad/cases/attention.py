"""Rows of scaled dot-product attention."""

from typing import Any

from ..ops import attention
from . import Arg, Case
from .random import _seeded


def _row(
    name: str, q: tuple, k: tuple, v: tuple, *mask: Arg, layout: str = "C", **options: Any
) -> Case:
    params = options.pop("params", {})
    if "dropout_p" in params:
        options["call"] = _seeded(attention.scaled_dot_product_attention)
    args = (Arg(q, -1.5, 1.5, layout=layout), Arg(k, -1.5, 1.5), Arg(v, layout=layout), *mask)
    return Case(name, "scaled_dot_product_attention", args, params,
                reduction=4 * (q[-1] + k[-2]), **options)  # fmt: skip


def _self(
    name: str, shape: tuple, *mask: Arg, n_axis: int = 0, dropout: float = 0.0, causal: bool = False
) -> Case:
    def call(qkv: Any, *masks: Any) -> Any:
        mask = masks[0] if masks else None
        return attention.self_attention(qkv, 2, n_axis, mask, dropout, causal)

    return Case(name, "self_attention", (Arg(shape, -1.5, 1.5), *mask), call=_seeded(call),
                reduction=4 * sum(shape))  # fmt: skip


_Q, _K, _V = (2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)
_CAUSAL = {"is_causal": True}
CASES = [
    _row("heads", _Q, _K, _V),
    _row("causal", _Q, _K, _V, params=_CAUSAL),
    _row("causal_more_queries", (1, 2, 6, 4), (1, 2, 3, 4), (1, 2, 3, 4), params=_CAUSAL),
    _row("added_mask", _Q, _K, _V, Arg((5, 7), grad=False)),
    _row("mask_with_gradient", _Q, _K, _V, Arg((3, 1, 7))),
    _row("bool_mask", _Q, _K, _V, Arg((2, 1, 5, 7), kind="bool")),
    _row("no_heads", (5, 4), (7, 4), (7, 6)),
    _row("one_leading_axis", (3, 5, 4), (3, 7, 4), (3, 7, 6)),
    _row("stretched_key", (2, 3, 5, 4), (1, 3, 7, 4), (7, 6)),
    _row("five_axes", (2, 1, 3, 5, 4), (2, 2, 3, 7, 4), (2, 2, 1, 7, 4)),
    _row("shared_heads", (2, 4, 5, 4), (2, 2, 7, 4), (2, 2, 7, 4), params={"enable_gqa": True}),
    _row("own_scale", _Q, _K, _V, params={"scale": 0.25}),
    _row("two_blocks_of_queries", (1, 1, 70, 3), (1, 1, 5, 3), (1, 1, 5, 3), params=_CAUSAL),
    _row("non_contiguous", _Q, _K, _V, layout="transposed"),
    _row("no_queries", (1, 2, 0, 4), (1, 2, 3, 4), (1, 2, 3, 4)),
    _row("no_keys", (1, 2, 3, 4), (1, 2, 0, 4), (1, 2, 0, 4)),
    _row("dropout", _Q, _K, _V, params={"dropout_p": 0.3}),
    _row("dropout_causal", (1, 2, 70, 3), (1, 2, 67, 3), (1, 2, 67, 2),
         params={"dropout_p": 0.5, **_CAUSAL}),
    _row("dropout_added_mask", _Q, _K, _V, Arg((5, 7), grad=False), params={"dropout_p": 0.3}),
    _row("dropout_mask_with_gradient", _Q, _K, _V, Arg((3, 1, 7)), params={"dropout_p": 0.3}),
    _row("dropout_one_leading_axis", (3, 5, 4), (3, 7, 4), (3, 7, 6), params={"dropout_p": 0.5}),
    _row("everything_dropped", _Q, _K, _V, params={"dropout_p": 1.0}),
    _self("samples_first", (2, 5, 12)),
    _self("positions_first", (5, 2, 12), n_axis=1),
    _self("causal", (70, 1, 6), n_axis=1, causal=True),
    _self("added_mask", (2, 3, 12), Arg((2, 1, 3, 3), grad=False)),
    _self("mask_with_gradient", (3, 2, 12), Arg((2, 1, 3), -1.0, 1.0), n_axis=1),
    _self("dropout", (2, 5, 12), dropout=0.3),
    _self("dropout_causal", (9, 2, 12), n_axis=1, dropout=0.5, causal=True),
    _self("dropout_mask_with_gradient", (3, 2, 12), Arg((2, 1, 3), -1.0, 1.0), n_axis=1,
          dropout=0.3),
    _self("empty_batch", (0, 3, 12)),
    _row("large", (8, 4, 256, 64), (8, 4, 256, 64), (8, 4, 256, 64), bench=True,
         differentiable=False, flops=4.0 * 32 * 256 * 256 * 64, bytes=4.0 * 32 * 256 * 64 * 4),
]  # fmt: skip
