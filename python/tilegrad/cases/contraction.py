"""Rows of einsum and the products by name."""

import math

from ..ops import contraction as ops
from . import Arg, Case


def _einsum(name: str, equation: str, *args: Arg, k: int = 1) -> Case:
    return Case(name, "einsum", args, exact=True, reduction=k,
                call=lambda *xs: ops.einsum(equation, *xs))  # fmt: skip


def _row(name: str, op: str, *args: Arg, k: int = 1, **params: object) -> Case:
    return Case(name, op, args, params, exact=True, reduction=k)


_M, _N, _V = Arg((3, 4)), Arg((4, 5)), Arg((4,))
_BATCH, _OTHER = Arg((2, 3, 4)), Arg((2, 4, 5))

CASES = [
    _einsum("matrix_product", "ij,jk->ik", _M, _N, k=4),
    _einsum("implicit_output", "ij,jk", _M, Arg((4, 5), layout="transposed"), k=4),
    _einsum("implicit_alphabetical", "ba", _M),
    _einsum("batch_with_dots", "...ij,...jk->...ik", Arg((2, 1, 3, 4)), Arg((5, 4, 2)), k=4),
    _einsum("dots_summed", "...i->i", _BATCH, k=6),
    _einsum("dots_of_length_one", "...,...->...", Arg((1, 3)), Arg((4, 1))),
    _einsum("diagonal", "iij->ij", Arg((3, 3, 2), layout="strided")),
    _einsum("trace", "ii", Arg((3, 3)), k=3),
    _einsum("repeated_three_times", "iii->i", Arg((3, 3, 3))),
    _einsum("repeated_in_both", "iij,jkk->ik", Arg((2, 2, 3)), Arg((3, 4, 4)), k=3),
    _einsum("outer", "i,jk->kij", _V, _M),
    _einsum("hadamard", "ij,ij->ji", _M, Arg((3, 4), layout="reversed")),
    _einsum("length_one_broadcasts", "ij,ij->ij", Arg((3, 1)), _M),
    _einsum("bilinear", "bn,anm,bm->ba", Arg((2, 3)), Arg((5, 3, 4)), Arg((2, 4)), k=12),
    _einsum("attention", "bqhd,bkhd->bhqk", Arg((2, 3, 2, 4)), Arg((2, 5, 2, 4)), k=4),
    _einsum("one_side_summed", "ij,kl->i", _M, _N, k=80),
    _einsum("to_a_number", "ij,ij->", _M, _M, k=12),
    _einsum("empty", "ij,jk->ik", Arg((3, 0)), Arg((0, 2))),
    _einsum("numbers", ",->", Arg(()), Arg(())),
    Case("lists", "einsum", (_M, _N), exact=True, reduction=4,
         call=lambda x, y: ops.einsum(x, [0, 1], y, [1, 2], [2, 0])),
    _row("two_axes", "tensordot", Arg((2, 3, 4)), Arg((3, 4, 5)), k=12),
    _row("named_axes", "tensordot", Arg((2, 3, 4)), Arg((4, 5, 2)), k=8, dims=([0, 2], [-1, 0])),
    _row("outer", "tensordot", Arg((2,)), Arg((3,)), dims=0),
    _row("last_axes", "inner", Arg((2, 3)), Arg((4, 5, 3)), k=3),
    _row("number", "inner", Arg(()), Arg((3,))),
    _row("vectors", "vdot", _V, _V, k=4),
    _row("matrices", "kron", Arg((2, 3)), Arg((4, 1))),
    _row("more_axes", "kron", Arg((2,)), Arg((2, 1, 3))),
    _row("bias", "addmm", Arg((5,)), _M, _N, k=5),
    _row("scaled", "addmm", Arg((3, 1)), _M, _N, k=5, beta=2, alpha=-3),
    _row("plain", "addmv", Arg((3,)), _M, _V, k=5),
    _row("plain", "addr", Arg((3, 4)), Arg((3,)), _V, alpha=2),
    _row("plain", "addbmm", Arg((3, 5)), _BATCH, _OTHER, k=9),
    _row("plain", "baddbmm", Arg((2, 1, 5)), _BATCH, _OTHER, k=5, beta=2),
    _row("four", "chain_matmul", _M, _N, Arg((5, 2)), Arg((2, 6)), k=40),
    *[
        Case(f"p{p}", "cdist", (Arg((2, 3, 4)), Arg((5, 4))), {"p": p}, reduction=4, half=False)
        for p in (1.0, 1.5, 2.0, 3.0)
    ],
    Case("inf", "cdist", (Arg((3, 4), kind="distinct"), Arg((5, 4), 3, 9)), {"p": math.inf},
         second=False, half=False),
    Case("same_points", "cdist", (Arg((2, 3)),), second=False, half=False,
         call=lambda x: ops.cdist(x * 0, x * 0) + ops.cdist(x * 0, x * 0, 3.0) + x.sum()),
    Case("empty", "cdist", (Arg((0, 4)), Arg((5, 4)))),
    Case("euclidean", "dist", (_M, _V), reduction=12),
]  # fmt: skip
