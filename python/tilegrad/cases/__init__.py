"""The case tables: one file per family, one row per reason an op could go wrong.

The same rows drive the tests (forward and gradient against the reference under every instruction
set, gradcheck, second order), ``tilegrad check`` and the benchmarks.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LAYOUTS = ("C", "transposed", "strided", "reversed", "channels_last", "broadcast")


@dataclass(frozen=True)
class Arg:
    """One array argument of a case.

    kind: "float" (the dtype under test; carries a gradient unless grad is false), "distinct" (float
    without ties, for max and sort), "bool", or "index" (int64 in [low, high)). low, high: the
    domain of floats, away from kinks and poles. layout: how it lies in memory. dtype fixes the
    element type.
    """

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    kind: str = "float"
    layout: str = "C"
    grad: bool = True
    dtype: Any = None

    def make(self, rng: np.random.Generator, dtype: Any, integers: bool = False) -> np.ndarray:
        """A fresh array; integers: small whole numbers, so that linear ops are exact."""
        return lay_out(np.asarray(self._values(rng, integers)), self.layout).astype(
            self._dtype(dtype), copy=False
        )

    def _dtype(self, dtype: Any) -> np.dtype:
        if self.dtype is not None:
            return np.dtype(self.dtype)
        return np.dtype({"bool": np.bool_, "index": np.int64}.get(self.kind, dtype))

    def _values(self, rng: np.random.Generator, integers: bool) -> np.ndarray:
        shape = self.shape
        if self.kind == "bool":
            return rng.integers(0, 2, shape).astype(bool)
        if self.kind == "index":
            return rng.integers(int(self.low), int(self.high), shape)
        if self.kind == "distinct":
            n = math.prod(shape)
            values = rng.permutation(n).reshape(shape).astype(np.float64)
            if integers:
                return values - n // 2
            return self.low + (self.high - self.low) * (values + 0.5) / max(n, 1)
        if integers:
            low, high = max(math.ceil(self.low), -4), min(math.floor(self.high), 4)
            if low > high:
                low, high = 1, 4
            return rng.integers(low, high + 1, shape).astype(np.float64)
        return rng.uniform(self.low, self.high, shape)


def lay_out(a: np.ndarray, layout: str) -> np.ndarray:
    """An array of equal values whose memory lies as named (one of LAYOUTS)."""
    if layout == "transposed":
        return a.T.copy().T
    if layout == "strided":
        big = np.zeros([2 * n for n in a.shape], a.dtype)
        view = big[tuple(slice(None, None, 2) for _ in a.shape)]
        view[...] = a
        return view
    if layout == "reversed":
        flip = tuple(slice(None, None, -1) for _ in a.shape)
        return a[flip].copy()[flip]
    if layout == "channels_last":
        return np.moveaxis(np.moveaxis(a, 1, -1).copy(), -1, 1)
    if layout == "broadcast":
        return np.broadcast_to(a[:1], a.shape) if a.ndim and a.shape[0] else a
    return a.copy()


@dataclass(frozen=True)
class Case:
    """One row. ``op`` names a public function of ``tilegrad`` (or ``call`` is given); it is called
    as ``op(*inputs, **params)`` and returns a tensor, or several of which the first is checked.

    exact: whole numbers in give whole numbers out, so the tolerance is zero. second: whether
    second-order gradients are checked. half: whether float16 and bfloat16 rows are run. flops and
    bytes: of one call, for the benchmark; bench: whether the row is large enough to time.
    """

    name: str
    op: str
    inputs: tuple[Arg, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False
    differentiable: bool = True
    second: bool = True
    half: bool = True
    bench: bool = False
    flops: float = 0.0
    bytes: float = 0.0
    reduction: int = 1
    call: Callable | None = None

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def function(self) -> Callable:
        """The op with the parameters of this row applied."""
        import tilegrad

        fn = self.call or getattr(tilegrad, self.op, None)
        if fn is None:
            fn = getattr(tilegrad.nn.functional, self.op)
        return lambda *inputs: fn(*inputs, **self.params)

    def arrays(self, dtype: Any, seed: int = 0, integers: bool = False) -> list[np.ndarray]:
        """The inputs of this row, seeded by its name."""
        rng = np.random.default_rng([seed, *map(ord, str(self))])
        return [arg.make(rng, dtype, integers) for arg in self.inputs]


def load() -> dict[str, list[Case]]:
    """Every table by the name of its family."""
    tables = {}
    for m in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        tables[m] = list(importlib.import_module(f"{__name__}.{m}").CASES)
    return tables


def all_cases() -> list[Case]:
    """Every row of every table; names are unique per op."""
    return [c for table in load().values() for c in table]
