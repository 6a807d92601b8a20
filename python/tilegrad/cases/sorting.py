"""Rows of sorting, sets, counts, running extremes, quantiles, covariance and weighted draws."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ops import sampling, sorting, statistics
from . import Arg, Case
from .random import _seeded

_S = Arg((4, 5), kind="distinct")
_CUBE = Arg((3, 4, 5), layout="transposed", kind="distinct")
_NUMBER, _V = Arg((), kind="distinct"), Arg((9,), kind="distinct")
_INTS = Arg((4, 6), 0, 4, kind="index")
_NAN = np.where(np.arange(20).reshape(4, 5) % 7 == 3, np.nan, 0.0)


def _row(name: str, op: str, arg: Arg = _S, **params: Any) -> Case:
    return Case(name, op, (arg,), params, exact=True)


def _call(name: str, op: str, call: Callable, *args: Arg, **options: Any) -> Case:
    return Case(name, op, args, call=call, **options)


def _counted(name: str, op: str, call: Callable, *args: Arg) -> Case:
    return Case(name, op, args, call=call, exact=True, differentiable=False, half=False)


def _with_nan(op: str, **params: Any) -> Case:
    fn = getattr(statistics, op, None) or getattr(sorting, op)

    def call(x: Any) -> Any:
        y = fn(x + _NAN.astype(x.dtype), **params)
        return y if op.startswith("nan") else y + x.sum() * 0

    return Case("nan", op, (Arg((4, 5), kind="distinct"),), call=call, reduction=5)


CASES = [
    _row("last_axis", "sort"), _row("descending", "sort", _CUBE, dim=1, descending=True),
    _row("zero_dim", "sort", _NUMBER), _row("empty", "sort", Arg((0, 3)), dim=0),
    _row("integers", "argsort", _INTS), _row("descending", "argsort", dim=0, descending=True),
    _row("first_axis", "msort"),
    _row("largest", "topk", _CUBE, k=2), _row("smallest", "topk", dim=0, k=3, largest=False),
    _row("none", "topk", k=0), _row("zero_dim", "topk", _NUMBER, k=1),
    _row("third", "kthvalue", k=3), _row("keepdim", "kthvalue", _CUBE, k=1, dim=0, keepdim=True),
    _row("everything", "median"), _row("along_axis", "median", _CUBE, dim=1),
    _row("keepdim", "median", dim=-2, keepdim=True), _row("zero_dim", "median", _NUMBER, dim=0),
    _with_nan("nanmedian"), _with_nan("nanmean", dim=1), _with_nan("nansum", dim=0),
    _call("along_axis", "nanmedian", lambda x: x.nanmedian(1), _S, exact=True),
    _row("no_ties", "mode"), _counted("ties", "mode", sorting.mode, _INTS),
    _row("floats", "unique"),
    _counted("everything", "unique", lambda x: sorting.unique(x, True, True, True), _INTS),
    _counted("rows", "unique", lambda x: sorting.unique(x, True, True, True, dim=0),
             Arg((9, 2), 0, 2, kind="index")),
    _counted("runs", "unique_consecutive", lambda x: sorting.unique_consecutive(x, True, True),
             Arg((20,), 0, 2, kind="index")),
    _row("columns", "unique_consecutive", dim=1),
    _counted("integers", "isin", sorting.isin, _INTS, Arg((3,), 0, 4, kind="index")),
    _counted("vector", "searchsorted", lambda v: sorting.searchsorted(np.arange(5.0), v), _V),
    _counted("rows", "searchsorted",
             lambda v: sorting.searchsorted(np.sort(np.arange(8.0).reshape(4, 2)), v, right=True),
             _S),
    _counted("right", "bucketize", lambda v: sorting.bucketize(v, np.arange(5.0), right=True), _S),
    _counted("counts", "bincount", lambda v: sorting.bincount(v, minlength=7),
             Arg((20,), 0, 5, kind="index")),
    _call("weights", "bincount", lambda at, w: sorting.bincount(at, w),
          Arg((20,), 0, 5, kind="index"), Arg((20,)), exact=True, half=False, reduction=9),
    Case("range", "histc", (Arg((30,)),), {"bins": 5, "min": -1, "max": 1.5}, exact=True,
         differentiable=False),
    _row("along_axis", "aminmax", dim=1),
    # --- statistics ---
    *[c for op in ("cummax", "cummin") for c in (
        _row("middle", op, _CUBE, dim=1), _row("zero_dim", op, _NUMBER, dim=0),
        _row("empty", op, Arg((0, 3)), dim=0),
    )],
    Case("middle", "logcumsumexp", (Arg((3, 11, 2), layout="strided"),), {"dim": 1}, reduction=11),
    Case("zero_dim", "logcumsumexp", (_NUMBER,), {"dim": 0}),
    Case("empty", "logcumsumexp", (Arg((2, 0)),), {"dim": 1}),
    _call("infinite_start", "logcumsumexp", lambda x: statistics.logcumsumexp(
        x + np.array([-np.inf, -np.inf, 0, 0, 0]).astype(x.dtype), 1)[:, 2:], _S, half=False),
    _row("twice", "diff", n=2), _row("first_axis", "diff", _CUBE, dim=0),
    _call("joined", "diff", lambda x, a, b: statistics.diff(x, 1, 0, a, b), _S, Arg((1, 5)),
          Arg((2, 5)), exact=True),
    Case("all", "nansum", (_S,), exact=True, reduction=20),
    *[
        Case(kind, "quantile", (_CUBE,), {"q": 0.3, "dim": 1, "interpolation": kind})
        for kind in ("linear", "lower", "higher", "midpoint", "nearest")
    ],
    _call("several_keepdim", "quantile", lambda x, q: statistics.quantile(x, q, 1, True), _S,
          Arg((3,), 0.3, 0.45)),
    _call("everything", "nanquantile", lambda x: x.nanquantile(0.37), _S),
    _with_nan("nanquantile", q=0.4, dim=1),
    Case("rows", "cov", (Arg((3, 6)),), reduction=6),
    Case("vector", "cov", (Arg((6,)),), {"correction": 0}, reduction=6),
    _call("weights", "cov", lambda x, a: x.cov(fweights=np.array([1, 2, 0, 3]), aweights=a),
          Arg((3, 4)), Arg((4,), 0.5, 1.5), reduction=8, half=False),
    Case("rows", "corrcoef", (Arg((3, 6)),), reduction=24, half=False),
    _row("spacing", "trapezoid", Arg((3, 4)), dx=2, dim=0),
    _call("abscissae", "trapezoid", statistics.trapezoid, Arg((3, 4)), Arg((4,)), reduction=4),
    _row("last_axis", "cumulative_trapezoid", Arg((3, 4)), dx=2),
    Case("increasing", "vander", (Arg((4,)),), {"increasing": True}),
    Case("more_columns", "vander", (Arg((4,), 0.5, 1.5),), {"N": 6}),
    _counted("matrix", "unravel_index", lambda at: statistics.unravel_index(at, (3, 4)),
             Arg((7,), 0, 12, kind="index")),
    # --- draws ---
    _counted("with_replacement", "multinomial", _seeded(sampling.multinomial, 9, True),
             Arg((3, 5), 0.0, 1.0)),
    _counted("without_replacement", "multinomial", _seeded(sampling.multinomial, 4),
             Arg((5,), 0.1, 1.0)),
    Case("rates", "poisson", (Arg((9,), 0.0, 20.0),), call=_seeded(sampling.poisson),
         differentiable=False, half=False),
]  # fmt: skip
