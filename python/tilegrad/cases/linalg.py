"""Rows of ``tilegrad.linalg`` and its names at the top level."""

from collections.abc import Callable
from typing import Any

import numpy as np

import tilegrad as tg
from tilegrad import linalg

from . import Arg, Case

_A, _B, _V = Arg((2, 3, 3)), Arg((2, 3, 2)), Arg((3,))
_ONE = Arg((3, 3), layout="transposed")
_TALL, _WIDE = Arg((2, 4, 3), layout="strided"), Arg((2, 3, 4))
_EMPTY = Arg((2, 0, 0))


def _near_identity(x: Any) -> Any:
    """Well away from singular."""
    return x * 0.25 + np.eye(x.shape[-2], x.shape[-1]).astype(x.dtype) * 2


def _positive(x: Any) -> Any:
    return x @ x.mT + np.eye(x.shape[-1]).astype(x.dtype)


def _symmetric(x: Any) -> Any:
    """With eigenvalues apart."""
    return (x + x.mT) * 0.25 + np.diag(np.arange(x.shape[-1]) * 2.0).astype(x.dtype)


def _apart(x: Any) -> Any:
    """With singular values apart."""
    m, n = x.shape[-2:]
    return x * 0.25 + (np.eye(m, n) * np.arange(1, n + 1) * 2.0).astype(x.dtype)


def _row(name: str, op: str, call: Callable, *args: Arg, **options: Any) -> Case:
    """An op of linalg, or of the top level where that has none of the name."""
    label = f"linalg.{op}" if hasattr(linalg, op) else op
    return Case(name, label, args, call=call, half=False, reduction=64, **options)


def _top(op: str, call: Callable, *args: Arg, **options: Any) -> Case:
    return Case("top_level", op, args, call=call, half=False, reduction=64, **options)


def _constant(name: str, op: str, call: Callable, *args: Arg) -> Case:
    return _row(name, op, call, *args, differentiable=False)


def _products(op: Callable, prepare: Callable) -> Callable:
    """The parts of a factorisation, without the arbitrary signs of their vectors."""

    def call(x: Any) -> Any:
        return tuple(p * p if p.ndim == x.ndim else p for p in op(prepare(x)))

    return call


def _null_projector(x: Any) -> Any:
    """A function of the completing vectors that no rotation of them changes."""
    null = linalg.svd(_apart(x))[2][2:]
    return null.mT @ null


CASES = [
    *[
        _row(name, op, lambda x, f=getattr(linalg, op): f(_near_identity(x)), arg)
        for op in ("inv", "det") for name, arg in (("batch", _A), ("one", _ONE), ("empty", _EMPTY))
    ],
    _row("singular", "det", lambda x: linalg.det(x * np.array([[1, 1, 0]] * 3).astype(x.dtype)),
         _ONE, second=False),
    _row("batch", "slogdet", lambda x: linalg.slogdet(_near_identity(x))[1], _A),
    _row("batch", "solve", lambda a, b: linalg.solve(_near_identity(a), b), _A, _B),
    _row("from_the_right", "solve", lambda a, b: linalg.solve(_near_identity(a), b, left=False),
         _A, Arg((2, 2, 3))),
    _row("broadcast", "solve", lambda a, b: linalg.solve(_near_identity(a), b), _ONE, _B),
    _row("vector", "solve", lambda a, b: linalg.solve(_near_identity(a), b), _ONE, _V),
    _row("vectors", "solve", lambda a, b: linalg.solve(_near_identity(a), b), _A, Arg((2, 3))),
    *[
        _row(f"{'upper' if upper else 'lower'}_{'left' if left else 'right'}{'_unit' * unit}",
             "solve_triangular",
             lambda a, b, u=upper, s=left, i=unit: linalg.solve_triangular(
                 _near_identity(a), b, upper=u, left=s, unitriangular=i),
             _A, _B if left else Arg((2, 3)))
        for upper in (True, False) for left in (True, False) for unit in (False, True)
    ],
    *[
        _row("upper" if upper else "lower", "cholesky",
             lambda x, u=upper: linalg.cholesky(_positive(x), upper=u), _A)
        for upper in (False, True)
    ],
    _row("tall", "pinv", lambda x: linalg.pinv(_apart(x)), _TALL),
    _row("wide", "pinv", lambda x: linalg.pinv(_apart(x)), _WIDE),
    _row("symmetric", "pinv", lambda x: linalg.pinv(_symmetric(x) + 2, hermitian=True), _A),
    _row("rank_one", "pinv", lambda a, b: linalg.pinv(a[:, None] * b, rtol=1e-3),
         Arg((4,), 0.5, 1), Arg((3,), 0.5, 1), second=False),
    _row("tall", "lstsq", lambda a, b: linalg.lstsq(_apart(a), b, driver="gels")[:2],
         _TALL, Arg((2, 4, 2))),
    _row("wide", "lstsq", lambda a, b: linalg.lstsq(_apart(a), b)[0], _WIDE, _B),
    *[
        _row(f"power_{n}".replace("-", "minus_"), "matrix_power",
             lambda x, n=n: linalg.matrix_power(_near_identity(x), n), _A)
        for n in (0, 1, 5, -2)
    ],
    _row("batch", "matrix_exp", lambda x: linalg.matrix_exp(x), _A),
    _row("squared", "matrix_exp", lambda x: linalg.matrix_exp(x * 4) * 1e-4, _ONE),
    _row("square", "tensorinv",
         lambda x: linalg.tensorinv(_near_identity(x).reshape(2, 3, 3, 2), 2), Arg((6, 6))),
    _row("moved", "tensorsolve",
         lambda x, b: linalg.tensorsolve(
             _near_identity(x).reshape(6, 2, 3).permute(1, 0, 2), b, (0,)),
         Arg((6, 6)), Arg((6,))),
    # --- factorisations ---
    _row("tall", "qr", lambda x: linalg.qr(_apart(x)), _TALL),
    _row("wide", "qr", lambda x: linalg.qr(_apart(x)), _WIDE),
    _row("only_r", "qr", lambda x: linalg.qr(_apart(x), "r")[1], _A),
    _row("complete_square", "qr", lambda x: linalg.qr(_apart(x), "complete"), _A),
    _row("complete_tall", "qr", lambda x: linalg.qr(_apart(x), "complete"), _TALL),
    _row("batch", "eigh", _products(linalg.eigh, _symmetric), _A),
    _row("upper", "eigh", _products(lambda x: linalg.eigh(x, "U"), _symmetric), _ONE),
    _row("equal_values", "eigvalsh", lambda x: linalg.eigvalsh(x * 0 + 1) + x.sum() * 0, _ONE,
         second=False, differentiable=False),
    _row("batch", "eigvalsh", lambda x: linalg.eigvalsh(_symmetric(x)), _A),
    _row("tall", "svd", _products(lambda x: linalg.svd(x, False), _apart), _TALL),
    _row("wide", "svd", _products(lambda x: linalg.svd(x, False), _apart), _WIDE),
    _row("square", "svd", _products(linalg.svd, _apart), _A),
    _row("complete_tall", "svd", _products(linalg.svd, _apart), _TALL),
    _row("complete_wide", "svd", _products(linalg.svd, _apart), _WIDE),
    _row("null_space", "svd", _null_projector, Arg((2, 5))),
    _row("batch", "svdvals", lambda x: linalg.svdvals(_apart(x)), _WIDE),
    _constant("batch", "matrix_rank", linalg.matrix_rank, _TALL),
    *[
        _row(f"norm_{p}".replace("-", "minus_"), "cond",
             lambda x, p=p: linalg.cond(_apart(x), p), _A)
        for p in (None, -2, "fro", "nuc", 1)
    ],
    # --- norms and products ---
    *[
        _row(f"norm_{p}".replace("-", "minus_"), "matrix_norm",
             lambda x, p=p: linalg.matrix_norm(_apart(x), p), _TALL)
        for p in ("fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf)
    ],
    _row("other_axes", "matrix_norm",
         lambda x: linalg.matrix_norm(_apart(x).movedim(0, 1), "nuc", (0, 2), True), _TALL),
    _row("three", "vector_norm", lambda x: linalg.vector_norm(x, 3, (0, 2)),
         Arg((2, 3, 4), 0.2, 2)),
    _row("everything", "norm", linalg.norm, _A),
    _row("vectors", "norm", lambda x: linalg.norm(x, np.inf, -1),
         Arg((2, 3), 0.1, 1, kind="distinct")),
    _row("matrices", "norm", lambda x: linalg.norm(_apart(x), "nuc"), Arg((4, 3))),
    _row("broadcast", "cross", lambda a, b: linalg.cross(a, b, dim=1), _A, Arg((1, 3, 3))),
    _row("axis", "vecdot", lambda a, b: linalg.vecdot(a, b, dim=1), _A, _A),
    _row("vectors_outside", "multi_dot", lambda *xs: linalg.multi_dot(xs), Arg((4,)), Arg((4, 3)),
         Arg((3, 5)), Arg((5,))),
    _row("last_axes", "diagonal", linalg.diagonal, _WIDE),
    _row("batch", "vander", lambda x: linalg.vander(x, N=4), Arg((2, 3))),
    # --- the names at the top level ---
    *[_top(op, lambda x, f=getattr(tg, op): f(_positive(x)), _A)
      for op in ("det", "logdet", "inverse", "pinverse", "cholesky", "matrix_exp")],
    _top("slogdet", lambda x: tg.slogdet(_near_identity(x))[1], _A),
    _top("cholesky_solve", lambda b, x: tg.cholesky_solve(b, tg.cholesky(_positive(x))), _B, _A),
    _row("upper", "cholesky_solve",
         lambda b, x: tg.cholesky_solve(b, tg.cholesky(_positive(x), True), True), _B, _A),
    _top("cholesky_inverse", lambda x: tg.cholesky_inverse(tg.cholesky(_positive(x))), _A),
    _top("qr", lambda x: tg.qr(_apart(x)), _TALL),
    _top("svd", _products(tg.svd, _apart), _WIDE),
    _top("matrix_power", lambda x: tg.matrix_power(x, 3), _A),
    _top("cross", tg.cross, _A, _A),
]  # fmt: skip
