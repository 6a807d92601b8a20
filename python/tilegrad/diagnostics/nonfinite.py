"""Where a NaN or an infinity was born."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes
from ..bench.kernel_calls import Call
from ..errors import NonFiniteError
from ..kernels import contract
from ..tensor import Tensor
from .watch import Place, Watch

_SUM = contract.REDUCE.index("sum")
_AXES = tuple(tuple(range(n)) for n in range(65))
_NAMES = {k.name: [p.split("=")[0].split(":")[0].strip() for p in k.args.split(",")]
          for k in contract.KERNELS}  # fmt: skip


class Range(NamedTuple):
    """An array in numbers; min and max are those of its finite elements (NaN where none is)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    min: float
    max: float
    nan: int
    inf: int

    def __str__(self) -> str:
        bad = [f"{n} {kind}" for n, kind in ((self.nan, "NaN"), (self.inf, "inf")) if n]
        inside = f"finite in [{self.min:.4g}, {self.max:.4g}]" if self.min <= self.max else ""
        what = f"{self.name} {self.shape} {self.dtype}".lstrip()
        return ", ".join([f"{what}: {inside or 'none finite'}", *bad])


class NonFinite(NamedTuple):
    """One finding of ``trace_nonfinite``.

    op: the kernel. born: whether its inputs were sound; else the values came in with the data.
    where: ``file:line`` of the op in the user's program; in the backward pass, that of the forward
    op whose derivative ``rule`` ran, and ``called`` is the line that asked for gradients.
    """

    op: str
    born: bool
    where: str
    rule: str
    called: str
    inputs: tuple[Range, ...]
    outputs: tuple[Range, ...]

    def __str__(self) -> str:
        nan, inf = sum(r.nan for r in self.outputs), sum(r.inf for r in self.outputs)
        what = " and ".join([*(["NaN"] if nan else []), *(["inf"] if inf else [])])
        how = f"{what} born from finite inputs" if self.born else f"{what} came in with the data"
        if self.called:
            rule = f"the derivative of {self.rule}" if self.rule else "adding up gradients"
            forward = f", the op of {self.where}" if self.where else ""
            place = f"in {rule}{forward}, in the backward pass called at {self.called}"
        else:
            place = f"at {self.where}"
        lines = [f"{self.op}: {how}, {place}"]
        lines += [f"  input {r}" for r in self.inputs] + [f"  output {r}" for r in self.outputs]
        return "\n".join(lines)


def _range(name: str, a: np.ndarray) -> Range:
    x = a.astype(np.float32) if dtypes.is_floating(a.dtype) and a.dtype.itemsize == 2 else a
    with np.errstate(all="ignore"):
        fine = np.abs(x[np.isfinite(x)]) if x.dtype.kind == "c" else x[np.isfinite(x)]
        low, high = (float(fine.min()), float(fine.max())) if fine.size else (math.nan, math.nan)
        nan, inf = int(np.isnan(x).sum()), int(np.isinf(x).sum())
    return Range(name, a.shape, str(a.dtype), low, high, nan, inf)


def _owner(a: np.ndarray) -> np.ndarray:
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


class trace_nonfinite(Watch):
    """Names the first op that makes a NaN or an infinity from finite inputs, forward or backward.

    A context manager; watches this thread. inf: whether infinities count (``log(0)`` is reported
    then, though it is meant); raises: whether the first finding raises NonFiniteError from the op
    itself, so that a debugger stops there and a Module's path leads the message. With raises=False
    the findings are collected in ``records``, one per origin: what a reported value spreads to is
    not reported again. Values that were there before any op ran are reported as coming in with the
    data, by the first op they go through.

    Every output is read once more and in-place operands are copied, so that steps take longer; a
    graph recorded outside of the block is traced too, but its forward lines are not known.

    >>> import tilegrad as tg
    >>> x = tg.tensor([0.0, 4.0], requires_grad=True)
    >>> with tg.trace_nonfinite(raises=False) as trace:
    ...     x.sqrt().sum().backward()
    >>> [(r.op, r.rule, r.born) for r in trace.records]
    [('div', 'sqrt', True)]
    """

    def __init__(self, *, inf: bool = True, raises: bool = True) -> None:
        super().__init__()
        self.inf, self.raises = inf, raises
        self.records: list[NonFinite] = []
        self._spoilt: dict[int, weakref.ref] = {}  # owners of memory that was reported
        self._read: Sequence[Any] = ()  # what the last kernel made

    def __enter__(self) -> trace_nonfinite:
        self._start()
        self._sum = self._kernels.reduce
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()
        self._spoilt.clear()
        self._read = ()

    def __str__(self) -> str:
        return "\n".join(map(str, self.records)) or "no NaN or inf was born"

    def _bad(self, a: Any) -> bool:
        if not isinstance(a, np.ndarray):
            return False
        # One pass: a sum is finite only over finite values. It may overflow, so look closer then.
        if a.dtype.kind == "f" and math.isfinite(self._sum(_SUM, a, _AXES[a.ndim], False)):
            return False
        if a.dtype.kind == "c":
            return not np.isfinite(a).all() if self.inf else bool(np.isnan(a).any())
        if not dtypes.is_floating(a.dtype):
            return False
        r = _range("", a)
        return r.nan > 0 or (self.inf and r.inf > 0)

    def around(self, kernel: Callable, call: Call) -> Any:
        name, given = call
        if name in _fresh:
            out = kernel(*given)
            made: Sequence[Any] = out if isinstance(out, tuple) else (out,)
        else:
            made = call.written(None)
            given = tuple(self._copied(a) for a in given)
            out = kernel(*call.args)
        self._read = made
        for a in made:
            if self._bad(a):
                self._found(call, given, [a for a in made if a is not None])
                break
        return out

    def _copied(self, a: Any) -> Any:
        if isinstance(a, list):
            return [self._copied(x) for x in a]
        return self._kernels.copy(a) if isinstance(a, np.ndarray) else a

    def recorded(self, out: Tensor, inputs: Sequence[Tensor | None]) -> None:
        """An op that computed with NumPy alone has an array that no kernel made."""
        array = out._array
        if any(array is a for a in self._read):
            return
        if isinstance(array, np.ndarray) and array.base is None and self._bad(array):
            if id(array) not in self._spoilt:
                args = tuple(t._array for t in inputs if t is not None)
                self._found(Call(out._node.name, args), args, [array])  # type: ignore[union-attr]

    def _found(self, call: Call, given: tuple[Any, ...], made: Sequence[np.ndarray]) -> None:
        names = _NAMES.get(call.name) or [str(i) for i in range(len(given))]
        inputs, bad = [], []
        for name, a, original in zip(names, given, call.args, strict=False):
            several = isinstance(a, list)
            for i, x in enumerate(a if several else [a]):
                if not isinstance(x, np.ndarray) or (call.name, name) == ("copy_into", "dst"):
                    continue
                inputs.append(_range(f"{name}[{i}]" if several else name, x))
                if self._bad(x):
                    bad.append(original[i] if several else original)
        known = any(id(_owner(a)) in self._spoilt for a in bad)
        for a in [*bad, *made]:
            self._spoil(_owner(a))
        if known:
            return
        outputs = [_range(str(i) if len(made) > 1 else "", a) for i, a in enumerate(made)]
        place: Place = self.place()
        record = NonFinite(call.op(), not bad, *place[:3], tuple(inputs), tuple(outputs))
        self.records.append(record)
        if self.raises:
            error = NonFiniteError(str(record))
            error.record = record
            raise error

    def _spoil(self, owner: np.ndarray) -> None:
        key = id(owner)
        self._spoilt[key] = weakref.ref(owner, lambda _: self._spoilt.pop(key, None))


_fresh = frozenset(k.name for k in contract.KERNELS if k.out != "None")
