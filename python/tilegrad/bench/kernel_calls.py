"""The kernel calls of a piece of code: recorded, run again, held against the NumPy reference."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes, kernels
from ..kernels import contract
from ..testing import tol
from .timing import Timing, measure

_IN_PLACE = {"binary_into": 3, "copy_into": 0, "put": 0, "scale_all": 0}
_OP_TABLES = {
    "unary": contract.UNARY, "unary_grad": contract.UNARY_GRAD, "binary": contract.BINARY,
    "binary_into": contract.BINARY, "compare": contract.COMPARE, "reduce": contract.REDUCE,
    "arg_reduce": contract.ARG_REDUCE, "cumulative": contract.CUMULATIVE,
    "unary_bool": contract.UNARY_BOOL,
}  # fmt: skip
# The result is a small difference of terms as large as this argument: rounding follows the terms.
_TERMS = {"cross_entropy": 0, "cross_entropy_grad": 0, "softmax_grad": 0, "log_softmax_grad": 0}


class Call(NamedTuple):
    """One call of a kernel with copies of the arrays it was given."""

    name: str
    args: tuple[Any, ...]

    def key(self) -> tuple:
        """What makes two calls the same work."""
        return (self.name, *(_describe(a) for a in self.args))

    def op(self) -> str:
        """The name of the kernel; element-wise kernels by the name of their op."""
        if self.name not in _OP_TABLES:
            return self.name
        return _OP_TABLES[self.name][self.args[0]] + "_grad" * (self.name == "unary_grad")

    def label(self) -> str:
        """``conv (64, 1, 28, 28) (6, 1, 5, 5)``: the op and the shapes; of a list, its length."""
        if isinstance(self.args[0], list):
            return f"{self.op()} {len(self.args[0])} arrays"
        return " ".join([self.op(), *(str(a.shape) for a in self.read())])

    def read(self) -> list[np.ndarray]:
        """The arrays that it is given."""
        given = [x for a in self.args for x in (a if isinstance(a, list) else (a,))]
        return [a for a in given if isinstance(a, np.ndarray)]

    def written(self, out: Any) -> list[np.ndarray]:
        """The arrays that it changed or made, out being what it returned."""
        if self.name.endswith("_step"):  # all lists but the gradients
            lists = [a for i, a in enumerate(self.args) if isinstance(a, list) and i != 1]
            return [a for arrays in lists for a in arrays]
        if self.name in _IN_PLACE:
            changed = self.args[_IN_PLACE[self.name]]
            return changed if isinstance(changed, list) else [changed]
        return [a for a in (out if isinstance(out, tuple) else (out,)) if a is not None]

    def flops(self) -> float:
        """Multiplications and additions of the products; 0 for kernels that move memory."""
        a = self.args
        if self.name == "linear":
            return 2.0 * a[0].size * a[1].shape[0]
        if self.name == "matmul":
            batch = np.broadcast_shapes(a[0].shape[:-2], a[1].shape[:-2])
            return 2.0 * math.prod(batch) * a[0].shape[-2] * a[0].shape[-1] * a[1].shape[-1]
        if self.name == "conv":
            weight, (stride, padding, dilation) = a[1], a[3:6]
            plane = 1
            for n, k, s, p, d in zip(
                a[0].shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
            ):
                plane *= (n + sum(p) - d * (k - 1) - 1) // s + 1
            return 2.0 * a[0].shape[0] * plane * weight.size
        if self.name == "conv_grad_input":
            return 2.0 * a[0].shape[0] * math.prod(a[0].shape[2:]) * a[1].size
        if self.name == "conv_grad_weight":
            per_group = a[1].shape[1] // a[6]
            return 2.0 * a[0].size * per_group * math.prod(a[2])
        return 0.0

    def terms(self, result: np.ndarray) -> int:
        """How many rounded terms one element of the result adds up."""
        size = max(result.size, 1)
        if flops := self.flops():
            return math.ceil(flops / 2.0 / size)
        inputs = max((a.size for a in self.args if isinstance(a, np.ndarray)), default=1)
        return max(64, inputs // size)

    def floor(self) -> float:
        """The magnitude that errors are relative to where the result is smaller."""
        if self.name not in _TERMS:
            return 0.0
        return float(np.abs(self.args[_TERMS[self.name]]).max(initial=0.0))


def _describe(a: Any) -> Any:
    if isinstance(a, np.ndarray):
        return (a.shape, str(a.dtype), a.strides)
    if isinstance(a, list):
        return tuple(_describe(x) for x in a)
    return (type(a).__name__, str(a))


class _Recorder:
    """Stands in for a kernel module and hands over every call of the contract."""

    def __init__(self, module: Any, around: Callable[[Callable, Call], Any]) -> None:
        self._module, self._around = module, around

    def __getattr__(self, name: str) -> Any:
        target = getattr(self._module, name)
        if name not in contract.NAMES:
            return target

        def recorded(*args: Any, **kwargs: Any) -> Any:
            if kwargs:  # as the contract orders them; only defaults are ever left out
                given = [p.split("=")[0].split(":")[0].strip() for p in _ARGS[name].split(",")]
                args = (*args, *(kwargs[p] for p in given[len(args) :] if p in kwargs))
            return self._around(target, Call(name, args))

        setattr(self, name, recorded)  # found at once from now on
        return recorded


_ARGS = {k.name: k.args for k in contract.KERNELS}


def _private(a: Any) -> Any:
    """A copy that keeps the strides, so that the same algorithm is chosen again."""
    if not isinstance(a, np.ndarray):
        return [_private(x) for x in a] if isinstance(a, list) else a
    copy = np.empty_like(a)
    copy[...] = a
    return copy


@contextmanager
def surrounding(around: Callable[[Callable, Call], Any]) -> Iterator[None]:
    """Inside the with block around(kernel, call) takes the place of every kernel call."""
    before = kernels.host
    kernels.host = _Recorder(before, around)
    try:
        yield
    finally:
        kernels.host = before


@contextmanager
def recording() -> Iterator[list[Call]]:
    """Collects the kernel calls made inside the with block."""
    calls: list[Call] = []

    def note(kernel: Callable, call: Call) -> Any:
        calls.append(Call(call.name, tuple(_private(a) for a in call.args)))
        return kernel(*call.args)

    with surrounding(note):
        yield calls


class Row(NamedTuple):
    """One kernel call, measured. error is relative to the largest value of the reference,
    or of the terms whose difference it is."""

    label: str
    calls: int
    time: Timing
    reference: Timing
    error: float
    tolerance: float
    flops: float
    bytes: float

    @property
    def correct(self) -> bool:
        """Whether the error is within the tolerance; no speed counts otherwise."""
        return self.error <= self.tolerance

    @property
    def speed(self) -> str:
        """GFLOP/s of a product, GB/s of anything else."""
        if not self.correct:
            return "WRONG"
        if self.flops:
            return f"{self.flops / self.time.median / 1e9:.1f} GFLOP/s"
        return f"{self.bytes / self.time.median / 1e9:.1f} GB/s"


def compare(calls: list[Call], *, budget: float = 0.1) -> list[Row]:
    """Every different call in ``calls``, in order: its time and error against the reference."""
    counts: dict[tuple, list[Call]] = {}
    for call in calls:
        counts.setdefault(call.key(), []).append(call)
    reference = importlib.import_module("tilegrad.kernels.reference")
    return [_row(same[0], len(same), reference, budget) for same in counts.values()]


def _row(call: Call, count: int, reference: Any, budget: float) -> Row:
    actual, moved = _results(kernels.host, call)
    expected, _ = _results(reference, call)
    floor = call.floor()
    error = max(
        (difference(a, b, floor) for a, b in zip(actual, expected, strict=True)), default=0.0
    )
    dtype = next((a.dtype for a in expected if dtypes.is_floating(a.dtype)), np.dtype("i8"))
    ours, theirs = measure([_runner(kernels.host, call), _runner(reference, call)], budget=budget)
    limit = tol(dtype, max((call.terms(a) for a in expected), default=1))
    return Row(call.label(), count, ours, theirs, error, limit, call.flops(), moved)


def _runner(module: Any, call: Call) -> Callable[[], Any]:
    kernel, args = getattr(module, call.name), [_private(a) for a in call.args]
    return lambda: kernel(*args)


def _results(module: Any, call: Call) -> tuple[list[np.ndarray], float]:
    """The arrays that the call makes or changes, and the bytes it must read and write."""
    args = [_private(a) for a in call.args]
    out = getattr(module, call.name)(*args)
    private = Call(call.name, tuple(args))
    written = private.written(out)
    moved = sum(a.nbytes for a in private.read()) + sum(a.nbytes for a in written)
    return written, float(moved)


def difference(a: np.ndarray, b: np.ndarray, floor: float = 0.0) -> float:
    """The largest difference, relative to the largest finite value of b, or to floor."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.inf
    if not b.size:
        return 0.0
    x, y = a.astype(np.float64), b.astype(np.float64)
    scale = float(np.abs(y[np.isfinite(y)]).max(initial=floor)) or 1.0
    with np.errstate(invalid="ignore"):
        difference = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0.0, np.abs(x - y))
    worst = float(np.max(difference))
    return math.inf if math.isnan(worst) else worst / scale
