"""The case tables on the user's machine: values and gradients against the NumPy reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import autograd, cases, dtypes, kernels
from ..cases import Case
from ..tensor import Tensor, from_numpy
from ..testing import tol
from .kernel_calls import difference


class Outcome(NamedTuple):
    """A family: how many rows ran, the largest error in units of its tolerance by instruction set,
    what failed."""

    family: str
    rows: int
    worst: dict[str, float]
    failures: list[str]


def results(case: Case, dtype: Any) -> list[np.ndarray]:
    """The outputs of a row, and its gradients for fixed random cotangents."""
    inputs = []
    for arg, a in zip(case.inputs, case.arrays(dtype), strict=True):
        t = from_numpy(a)
        learns = case.differentiable and arg.grad and t.is_floating_point()
        inputs.append(t.requires_grad_() if learns else t)
    y = case.function()(*inputs)
    outputs = [t for t in (y if isinstance(y, (tuple, list)) else [y]) if t is not None]
    found = [t.numpy(force=True) for t in outputs]
    leaves = [t for t in inputs if t.requires_grad]
    live = [t for t in outputs if t.requires_grad]
    if leaves and live:
        rng = np.random.default_rng(1)
        cotangents: list[Tensor | None] = [
            from_numpy(np.asarray(rng.standard_normal(t.shape), t.dtype)) for t in live
        ]
        grads = autograd.grad(live, leaves, cotangents, allow_unused=True)
        found += [g.numpy(force=True) for g in grads if g is not None]
    return found


def check_case(case: Case, dtype: Any) -> float:
    """The largest error of a row against the reference, in units of the tolerance."""
    actual = results(case, dtype)
    with kernels.use("reference"):
        expected = results(case, dtype)
    if len(actual) != len(expected):
        return float("inf")
    worst = 0.0
    for a, b in zip(actual, expected, strict=True):
        error = difference(a, b, 1.0)
        limit = tol(b.dtype, case.reduction) if dtypes.is_floating(b.dtype) else 0.0
        worst = max(worst, error / limit if limit else float("inf") if error else 0.0)
    return worst


@contextmanager
def _running(isa: str) -> Iterator[None]:
    """The host kernels under one instruction set."""
    host = kernels.host
    before = host.isa() if isa else ""
    if isa:
        host.set_isa(isa)
    try:
        yield
    finally:
        if isa:
            host.set_isa(before)


def check(dtypes_: tuple[Any, ...] = ("float32", "float64")) -> Iterator[Outcome]:
    """Every row that is small enough to be a test, family by family, under every instruction set
    that this machine has."""
    isas = list(kernels.host.isas()) if hasattr(kernels.host, "isas") else [""]
    for family, table in cases.load().items():
        small = [c for c in table if not c.bench]
        worst, failures = {}, []
        for isa in isas:
            with _running(isa):
                worst[isa], failed = _check_rows(small, dtypes_)
            failures += [f"{isa} {line}".lstrip() for line in failed]
        yield Outcome(family, len(small) * len(dtypes_), worst, failures)


def _check_rows(rows: list[Case], dtypes_: tuple[Any, ...]) -> tuple[float, list[str]]:
    worst, failures = 0.0, []
    for case in rows:
        for dtype in dtypes_:
            try:
                error = check_case(case, dtype)
            except Exception as e:
                failures.append(f"{case} {dtype}: {type(e).__name__}: {e}")
                continue
            worst = max(worst, error)
            if not error <= 1.0:
                failures.append(f"{case} {dtype}: error {error:.3g} times the tolerance")
    return worst, failures
