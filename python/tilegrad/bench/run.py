"""Benchmarks of the rows of the case tables: first the gate, then the clock."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .. import cases, dtypes, kernels
from ..cases import Case
from ..errors import PackageError
from ..grad_mode import no_grad
from ..tensor import Tensor, from_numpy
from ..testing import tol
from .kernel_calls import difference
from .timing import Timing, measure


def select(pattern: str = "") -> Iterator[tuple[str, Case]]:
    """The rows that are large enough to be timed and whose ``family/op-name`` contains pattern."""
    for family, table in cases.load().items():
        for case in table:
            if case.bench and pattern in f"{family}/{case}":
                yield family, case


def run_case(
    family: str,
    case: Case,
    *,
    dtype: Any = "float32",
    peers: tuple[str, ...] = (),
    budget: float = 0.3,
) -> dict[str, Any]:
    """One row of a report: the public function against the NumPy reference and the peers.

    A wrong result, of ours or of a peer, gets no speed.
    """
    arrays = case.arrays(dtypes.dtype(dtype))
    candidates: dict[str, Callable[[], Any]] = {"tilegrad": _ours(case, arrays)}
    candidates["reference"] = _on_reference(candidates["tilegrad"])
    for peer in peers:
        function = _PEERS[peer](case, arrays)
        if function is not None:
            candidates[peer] = function
    results = {name: _arrays(f()) for name, f in candidates.items()}
    errors = {n: _worst(r, results["reference"]) for n, r in results.items() if n != "reference"}
    first = results["reference"][0]
    limit = tol(first.dtype, case.reduction) if dtypes.is_floating(first.dtype) else 0.0
    correct = errors["tilegrad"] <= limit
    timed = [n for n in candidates if correct and errors.get(n, 0.0) <= limit]
    timings = dict(zip(timed, measure([candidates[n] for n in timed], budget=budget), strict=True))
    return {
        "family": family,
        "case": case.name,
        "op": case.op,
        "dtype": str(dtypes.dtype(dtype)),
        "shapes": [list(a.shape) for a in arrays],
        "correct": correct,
        "error": errors["tilegrad"] if np.isfinite(errors["tilegrad"]) else None,
        "tolerance": limit,
        "flops": case.flops,
        "bytes": case.bytes,
        "candidates": {n: _entry(case, timings.get(n)) for n in candidates},
    }


def _entry(case: Case, t: Timing | None) -> dict[str, Any]:
    if t is None:
        empty = dict.fromkeys(("seconds", "low", "high", "gflops", "gbytes"))
        return {**empty, "samples": 0, "calls": 0}
    return {
        "seconds": t.median,
        "low": t.low,
        "high": t.high,
        "samples": t.samples,
        "calls": t.calls,
        "gflops": case.flops / t.median / 1e9,
        "gbytes": case.bytes / t.median / 1e9,
    }


def _ours(case: Case, arrays: list[np.ndarray]) -> Callable[[], Any]:
    function, inputs = case.function(), [from_numpy(a) for a in arrays]

    def call() -> Any:
        with no_grad():
            return function(*inputs)

    return call


def _on_reference(function: Callable[[], Any]) -> Callable[[], Any]:
    def call() -> Any:
        with kernels.use("reference"):
            return function()

    return call


def _on_torch(case: Case, arrays: list[np.ndarray]) -> Callable[[], Any] | None:
    """The function of the same name in PyTorch, on one thread per thread of ours."""
    if importlib.util.find_spec("torch") is None:
        raise PackageError("bench: --vs torch needs PyTorch, which is not installed")
    torch = importlib.import_module("torch")
    named = getattr(torch.nn.functional, case.op, None) or getattr(torch, case.op, None)
    if named is None or case.call is not None:
        return None
    if hasattr(kernels.host, "num_threads"):
        torch.set_num_threads(kernels.host.num_threads())
    short = dtypes.bfloat16  # which PyTorch exchanges with NumPy as bits only
    inputs = [
        torch.from_numpy(a.view(np.int16)).view(torch.bfloat16)
        if a.dtype == short
        else torch.from_numpy(a)
        for a in arrays
    ]
    params = dict(case.params)

    def call() -> Any:
        with torch.no_grad():
            return named(*inputs, **params)

    return call


_PEERS: dict[str, Callable[[Case, list[np.ndarray]], Callable[[], Any] | None]] = {
    "torch": _on_torch
}
PEERS = tuple(_PEERS)
"""What ``--vs`` takes."""


def _arrays(result: Any) -> list[np.ndarray]:
    several = result if isinstance(result, (tuple, list)) else [result]
    return [_array(t) for t in several if t is not None]


def _array(t: Any) -> np.ndarray:
    if isinstance(t, Tensor):
        return t.numpy(force=True)
    if str(getattr(t, "dtype", "")) == "torch.bfloat16":
        torch = importlib.import_module("torch")
        return t.contiguous().view(torch.int16).numpy().view(dtypes.bfloat16)
    return np.asarray(t)


def _worst(actual: list[np.ndarray], expected: list[np.ndarray]) -> float:
    if len(actual) != len(expected):
        return float("inf")
    return max((difference(a, b, 1.0) for a, b in zip(actual, expected, strict=True)), default=0.0)
