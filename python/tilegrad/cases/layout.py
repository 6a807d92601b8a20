"""Rows of diagonals, grids, repetition, splitting, stacking and scattering."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import diagonals, layout, scattering
from . import Arg, Case

_S, _M, _V = Arg((4, 3, 5)), Arg((4, 3)), Arg((5,))


def _row(name: str, op: str, *inputs: Arg, **params: Any) -> Case:
    return Case(name, op, inputs or (_S,), params, exact=True)


def _call(name: str, op: str, call: Callable, *inputs: Arg, **options: Any) -> Case:
    return Case(name, op, inputs or (_S,), exact=True, call=call, **options)


def _listed(name: str, op: str, *inputs: Arg) -> Case:
    """An op of one list of tensors."""
    fn = getattr(layout, op)
    return _call(name, op, lambda *xs: fn(xs), *inputs)


def _drawn(name: str, op: str, call: Callable) -> Case:
    return Case(name, op, (), call=call, exact=True, differentiable=False, half=False)


CASES = [
    _row("main", "diagonal", Arg((3, 4))),
    _row("upper_of_last", "diagonal", offset=1, dim1=-1, dim2=0),
    _row("below_everything", "diagonal", Arg((2, 3)), offset=-5),
    _row("batch", "diag_embed", Arg((2, 3))),
    _row("below_apart", "diag_embed", Arg((2, 3)), offset=-1, dim1=2, dim2=0),
    _row("empty", "diag_embed", Arg((0,))),
    _row("vector", "diag", _V, diagonal=-1),
    _row("matrix", "diag", Arg((4, 3), layout="transposed"), diagonal=1),
    _row("matrix", "diagflat", _M, offset=2),
    _row("wide", "trace", _M),
    _row("upper", "diagonal_scatter", _M, Arg((2,)), offset=1),
    _row("vectors_and_matrices", "block_diag", _M, _V, Arg(())),
    _drawn("tall", "tril_indices", lambda: diagonals.tril_indices(4, 3, 1)),
    _drawn("wide", "triu_indices", lambda: diagonals.triu_indices(3, 4, -1)),
    _row("three", "meshgrid", Arg((2,)), Arg(()), Arg((3,))),
    _row("xy", "meshgrid", Arg((2,)), Arg((3,)), indexing="xy"),
    _row("three", "cartesian_prod", Arg((2,)), Arg((3,)), Arg((2,))),
    _row("pairs", "combinations", _V),
    _row("replacement", "combinations", Arg((3,)), r=3, with_replacement=True),
    _call("new_axis", "repeat", lambda x: x.repeat(2, 1, 3), Arg((2, 3), layout="strided")),
    _row("fewer", "tile", dims=(2,)),
    _row("none", "tile", _V, dims=(0,)),
    _row("number", "repeat_interleave", repeats=2, dim=1),
    _row("counts", "repeat_interleave", _M, repeats=[1, 0, 3], dim=-1),
    _row("flat", "repeat_interleave", _M, repeats=2),
    _row("number", "tensor_split", indices_or_sections=2),
    _row("indices", "tensor_split", indices_or_sections=[1, -1, 9], dim=2),
    _row("second_axis", "hsplit", indices_or_sections=[1]),
    _row("vector", "hsplit", Arg((6,)), indices_or_sections=3),
    _row("halves", "vsplit", indices_or_sections=2),
    _row("third_axis", "dsplit", indices_or_sections=[2, 3]),
    *[_call("several", op, lambda *xs, f=getattr(layout, op): f(*xs), Arg(()), _V, _M)
      for op in ("atleast_1d", "atleast_2d", "atleast_3d")],
    _listed("vectors", "dstack", _V, _V),
    _listed("matrices", "dstack", _M, Arg((4, 3, 2))),
    _listed("vectors_and_matrix", "column_stack", Arg((4,)), _M),
    *[_row(f"turns_{k}", "rot90", k=k, dims=(0, 2)) for k in (1, 2, 3, 4)],
    _row("batch", "adjoint"),
    _row("row", "select_scatter", _M, Arg((3,)), dim=0, index=-1),
    _row("stepped", "slice_scatter", _M, Arg((2, 3)), start=0, end=4, step=2),
    _row("middle", "narrow_copy", dim=2, start=1, length=3),
    _call("overlapping_slices", "unfold", lambda x: x.unfold(0, 3, 2), Arg((7, 2))),
    _call("last_axis", "unfold", lambda x: x.unfold(-1, 2, 1), Arg((2, 5), layout="reversed")),
]  # fmt: skip

# --- scatter --------------------------------------------------------------------------------------
_AT, _SRC = Arg((6, 2, 5), 0, 4, kind="index"), Arg((6, 3, 5), 0.5, 1.5)


def _scatter(name: str, op: str, *args: Any, inputs: tuple[Arg, ...] = (_S, _AT, _SRC),
             dim: int = 0, exact: bool = True, **options: Any) -> Case:  # fmt: skip
    fn = getattr(scattering, op)
    return Case(name, op, inputs, exact=exact, reduction=6,
                call=lambda x, at, *src: fn(x, dim, at, *src, *args, **options))  # fmt: skip


def _distinct(*shape: int) -> Arg:
    return Arg(shape, 0.1, 2.0, kind="distinct")


CASES += [
    _scatter("repeated", "scatter"),
    _scatter("last_axis_negative", "scatter", dim=-1,
             inputs=(_M, Arg((4, 2), -3, 3, kind="index"), Arg((4, 2), layout="transposed"))),
    _scatter("number", "scatter", 5, inputs=(_M, Arg((2, 3), 0, 4, kind="index"))),
    _scatter("added", "scatter", reduce="add"),
    _scatter("multiplied", "scatter", exact=False, reduce="multiply"),
    _scatter("numbers", "scatter", inputs=(Arg(()), Arg((), 0, 1, kind="index"), Arg(()))),
    _scatter("empty", "scatter", inputs=(_M, Arg((0, 3), 0, 4, kind="index"), Arg((0, 3)))),
    *[
        _scatter(reduce + ("" if own else "_without_self"), "scatter_reduce", reduce,
                 exact=reduce == "sum", include_self=own)
        for reduce in ("sum", "mean", "prod") for own in (True, False)
    ],
    *[
        _scatter(reduce + ("" if own else "_without_self"), "scatter_reduce", reduce,
                 inputs=(Arg((4, 3), 0.5, 1.0, "distinct"), Arg((6, 3), 0, 4, kind="index"),
                         _distinct(6, 3)), include_self=own)
        for reduce in ("amax", "amin") for own in (True, False)
    ],
    _scatter("zeros", "scatter_reduce", "prod",
             inputs=(_V, Arg((9,), 0, 5, kind="index"), Arg((9,)))),
    _scatter("products", "index_reduce", "prod", dim=1, exact=False,
             inputs=(_M, Arg((4,), 0, 3, kind="index"), Arg((4, 4)))),
    _scatter("largest", "index_reduce", "amax", include_self=False,
             inputs=(Arg((3,), 0.1, 0.5, "distinct"), Arg((5,), 0, 3, kind="index"), _distinct(5))),
    _call("broadcast", "masked_scatter", lambda x, m, s: x.masked_scatter(m, s), _M,
          Arg((3,), kind="bool"), Arg((12,))),
    _call("nothing", "masked_scatter",
          lambda x, s: x.masked_scatter(np.zeros((4, 3), bool), s) + s.sum(), _M, Arg((0,))),
]  # fmt: skip
