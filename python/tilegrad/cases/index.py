"""Rows of indexing, joining and padding."""

from collections.abc import Callable
from typing import Any

from ..ops.index import embedding, one_hot
from ..ops.join import cat, hstack, pad, stack, vstack
from . import Arg, Case


def _at(*shape: int, low: int = 0, high: int = 3) -> Arg:
    return Arg(shape, low, high, kind="index")


def _along(name: str, op: str, dim: Any, *inputs: Arg, **params: Any) -> Case:
    """x.op(dim, ...)"""
    return Case(
        name, op, inputs, exact=True, call=lambda x, *rest: getattr(x, op)(dim, *rest, **params)
    )


def _call(name: str, op: str, call: Callable, *inputs: Arg, **options: Any) -> Case:
    return Case(name, op, inputs, exact=True, call=call, **options)


_S, _MASK = Arg((4, 3, 5)), Arg((4, 3, 5), kind="bool")
_TABLE, _IMAGE = Arg((7, 4)), Arg((2, 3, 4, 5))
_CHANNELS_LAST = Arg((2, 3, 4, 5), layout="channels_last")

CASES = [
    _along("rows", "gather", 0, _S, _at(2, 3, 5)),
    _along("last_axis_longer", "gather", -1, Arg((4, 3, 5), layout="transposed"), _at(4, 2, 9)),
    _along("negative", "gather", 1, _S, _at(4, 3, 5, low=-3)),
    _along("empty", "gather", 0, _S, _at(0, 3, 5)),
    _along("repeated", "scatter_add", 0, _S, _at(6, 2, 5), Arg((6, 3, 5))),
    _along("last_axis", "scatter_add", 2, _S, _at(4, 3, 8), Arg((4, 3, 8), layout="strided")),
    _call("broadcast", "take_along_dim", lambda x, i: x.take_along_dim(i, 2), _S, _at(1, 3, 7)),
    _call("flattened", "take_along_dim", lambda x, i: x.take_along_dim(i), _S, _at(7)),
    _call("flat", "take", lambda x, i: x.take(i), _S, _at(2, 4, high=60)),
    _along("middle", "index_select", 1, _S, _at(7)),
    _along("channels_last", "index_select", 1, _CHANNELS_LAST, _at(4)),
    _along("scaled", "index_add", 1, _S, _at(6), Arg((4, 6, 5)), alpha=2),
    _call("two_rows", "index_copy", lambda x, v: x.index_copy(0, [3, 1], v), _S, Arg((2, 3, 5))),
    _call("one_number", "index_fill", lambda x: x.index_fill(2, [0, 4], 7), _S),
    _call("broadcast", "masked_fill", lambda x, m: x.masked_fill(m, -2), _S,
          Arg((3, 1), kind="bool")),
    _call("same_shape", "masked_select", lambda x, m: x.masked_select(m), _S, _MASK),
    _call("mask", "nonzero", lambda m: m.nonzero(), _MASK, differentiable=False),
    _call("tokens", "embedding", embedding, _at(2, 5, high=7), _TABLE),
    _call("classes", "one_hot", lambda i: one_hot(i, 4), _at(2, 5), differentiable=False),
    _call("different_lengths", "cat", lambda *xs: cat(xs, 1), Arg((2, 3)), Arg((2, 1)),
          Arg((2, 0))),
    _call("layouts", "cat", lambda *xs: cat(xs, -1), Arg((2, 3, 4), layout="transposed"),
          Arg((2, 3, 4), layout="reversed")),
    _call("new_last_axis", "stack", lambda *xs: stack(xs, -1), Arg((2, 3)), Arg((2, 3))),
    Case("two_axes", "roll", (_S,), {"shifts": (2, -7), "dims": (0, 2)}, exact=True),
    Case("flattened", "roll", (Arg((4, 3), layout="transposed"),), {"shifts": 5}, exact=True),
    _along("two_axes", "flip", (0, -1), _S),
    *[Case("matrix", op, (Arg((3, 4)),), exact=True) for op in ("fliplr", "flipud")],
    _call("different_lengths", "hstack", lambda *xs: hstack(xs), Arg((2, 3)), Arg((2, 1))),
    _call("row_on_rows", "vstack", lambda *xs: vstack(xs), Arg((3,)), Arg((2, 3))),
    Case("mask", "argwhere", (_MASK,), exact=True, differentiable=False),
    _call("value", "pad", lambda x: pad(x, (1, 2, 3, 0), value=5), _IMAGE),
    _call("crop", "pad", lambda x: pad(x, (-1, 2, 0, -3)), _IMAGE),
    *[
        _call(mode + reason, "pad", lambda x, m=mode: pad(x, (2, 3, 1, 0), m), arg)
        for mode in ("reflect", "replicate")
        for reason, arg in (("", _IMAGE), ("_channels_last", _CHANNELS_LAST))
    ],
]  # fmt: skip

# --- x[index] and x[index] = v --------------------------------------------------------------------
_INDICES = {
    "list": [2, 0, 2],
    "negative_list": (..., [-1, -5, 0]),
    "two_neighbours": (slice(None), [[0], [2]], [1, 4, 4]),
    "apart": ([1, 0], slice(None), [4, 2]),
    "int_between": ([1, 0], 2, [4, 2]),
    "slices_around": (slice(3, 0, -1), [0, 2, 2], slice(1, 4)),
    "none": (None, [3], ..., None),
    "empty": [],
    "bool_list": [True, False, True, True],
}


def _assign(x: Any, v: Any, index: Any, accumulate: bool = False) -> Any:
    y = x * 1
    if accumulate:
        y.index_put_(index if isinstance(index, tuple) else (index,), v, accumulate=True)
    else:
        y[index] = v
    return y * y


for _name, _index in _INDICES.items():
    CASES.append(_call("by_" + _name, "getitem", lambda x, i=_index: x[i], _S))
    CASES.append(
        _call("by_" + _name, "setitem", lambda x, v, i=_index: _assign(x, v, i), _S, Arg(()))
    )
CASES += [
    _call("by_mask", "getitem", lambda x, m: x[m], _S, _MASK),
    _call("by_leading_mask", "getitem", lambda x, m: x[m, 1:], _S, Arg((4, 3), kind="bool")),
    _call("by_mask_and_list", "getitem", lambda x: x[[True, False, True, True], :, [1, 1, 0]], _S),
    _call("by_number_mask", "getitem", lambda x: x[True], _S),
    _call("by_mask", "setitem", _assign, _S, Arg((1,)), _MASK),
    _call("repeated_rows", "setitem", lambda x, v: _assign(x, v, [1, 1, 3, 1]), _S, Arg((4, 3, 5))),
    _call("strided", "setitem", lambda x, v: _assign(x, v, (0, [2, 1])),
          Arg((4, 3, 5), layout="transposed"), Arg((2, 5))),
    _call("accumulate", "index_put", lambda x, v: _assign(x, v, [1, 1, 3, 1], True), _S,
          Arg((4, 1, 5))),
]  # fmt: skip
