"""Where the time and the memory of a block go, by op, line of the user's program and module."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from functools import cache
from time import perf_counter, perf_counter_ns
from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..bench.kernel_calls import Call
from .watch import Watch

OVERHEAD = "Python and overhead"
_SIZE, _COPY = 1024, 1 << 24  # of the product, and elements of the copy, that measure the roof


class Row(NamedTuple):
    """The calls of one kernel for one line in one module ("" outside of all). bytes: what they must
    read and write; made: what they allocated for their results. The last row of a profile has no op
    but Python."""

    op: str
    where: str
    backward: bool
    calls: int
    seconds: float
    flops: float
    bytes: float
    made: int
    module: str = ""

    @property
    def rate(self) -> float:
        """FLOP/s of products and convolutions, bytes/s of everything else."""
        return (self.flops or self.bytes) / self.seconds if self.seconds and self.calls else 0.0

    @property
    def unit(self) -> str:
        """The unit of rate, in 1e9."""
        return "GFLOP/s" if self.flops else "GB/s" if self.bytes else ""


class Roof(NamedTuple):
    """The best this machine did in this process: FLOP/s of a large product, bytes/s of a copy."""

    flops: float
    bytes: float


@cache
def roof() -> Roof:
    """Measured once per process: a float32 product of 1024 x 1024 and a copy of 64 MiB, the best of
    seven runs each. What fits a cache can be faster than the copy."""
    k: Any = kernels.host
    while hasattr(k, "_module"):
        k = k._module
    a, x = np.ones((_SIZE, _SIZE), np.float32), np.ones(_COPY, np.float32)
    product = min(_timed(lambda: k.matmul(a, a)) for _ in range(7))
    copy = min(_timed(lambda: k.copy(x)) for _ in range(7))
    return Roof(2.0 * _SIZE**3 / product, 2.0 * x.nbytes / copy)


def _timed(call: Callable[[], Any]) -> float:
    t = perf_counter()
    call()
    return perf_counter() - t


class profile(Watch):
    """Times the kernels of a block by op, line and module: calls, time, speed, share of the roof,
    memory.

    A context manager; watches this thread. After the block ``rows`` holds the numbers, slowest
    first, and last a row for Python and overhead (the profiler's too): together they take
    ``seconds``, the block's time. ``table()`` (also ``print``) and ``json()`` show them. The share
    is that of ``roof()``, measured when the table is first asked for. Work of the backward pass is
    counted for the line of the forward op. ``peak`` is the largest memory of the kernel pool during
    the block and ``owners`` who held it: lines (the arrays made there), ``working space`` of the
    kernel that ran, what was there before and the pool's rounding. Entering restarts the peak of
    ``memory_stats``.

    >>> import tilegrad as tg
    >>> w = tg.randn(64, 64, requires_grad=True)
    >>> with tg.profile() as p:
    ...     (w @ w).sum().backward()
    >>> sorted((r.op, r.calls, r.backward) for r in p.rows if r.flops)
    [('matmul', 1, False), ('matmul', 2, True)]
    """

    rows: list[Row]
    seconds: float
    peak: int | None
    owners: list[tuple[str, int]]

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.seconds, self.peak, self.owners = [], 0.0, None, []
        self._sums: dict[tuple, list[float]] = {}
        self._alive: dict[int, weakref.ref] = {}
        self._live: dict[str, int] = {}  # bytes of the arrays made by each line
        self._held: dict[str, int] = {}  # the same, when memory was largest
        self._peak = 0

    def __enter__(self) -> profile:
        self._start()
        self._follow_modules()
        self._reset = getattr(self._kernels, "reset_peak_memory", None)
        if self._reset is not None:
            self._reset()
        self._began = perf_counter_ns()
        return self

    def __exit__(self, *exc: object) -> None:
        wall = perf_counter_ns() - self._began
        self._stop()
        self._alive.clear()
        rows = [
            Row(op, where, backward, int(n), ns * 1e-9, flops, moved, int(made), module)
            for (op, where, backward, module), (n, ns, flops, moved, made) in self._sums.items()
        ]
        rows.sort(key=lambda r: -r.seconds)
        self.seconds = wall * 1e-9
        rest = self.seconds - sum(r.seconds for r in rows)
        self.rows = [*rows, Row(OVERHEAD, "", False, 0, rest, 0.0, 0.0, 0)]
        if self._reset is not None:
            self.peak = max(self._peak, self._kernels.memory_stats()["peak"])
            known = sum(self._held.values())
            self._held["from before, and rounding"] = max(self.peak - known, 0)
            held = sorted(self._held.items(), key=lambda item: -item[1])
            self.owners = [(where, n) for where, n in held if n]

    def around(self, kernel: Callable, call: Call) -> Any:
        reset = self._reset
        if reset is not None:
            reset()
        began = perf_counter_ns()
        out = kernel(*call.args)
        took = perf_counter_ns() - began
        place = self.place()
        where = place.where or place.called
        key = (call.op(), where, bool(place.called), place.module)
        written = call.written(out)
        new = [] if out is None else written
        made = sum(a.nbytes for a in new)
        row = self._sums.get(key)
        if row is None:
            row = self._sums[key] = [0, 0, 0.0, 0.0, 0]
        row[0] += 1
        row[1] += took
        row[2] += call.flops()
        row[3] += sum(a.nbytes for a in call.read()) + sum(a.nbytes for a in written)
        row[4] += made
        if reset is not None:
            self._account(where, new, made)
        return out

    def _account(self, where: str, new: list[np.ndarray], made: int) -> None:
        stats = self._kernels.memory_stats()
        live = self._live
        live[where] = live.get(where, 0) + made
        if stats["peak"] > self._peak:
            self._peak = stats["peak"]
            self._held = live.copy()
            self._held["working space"] = stats["peak"] - stats["in_use"]
        for a in new:
            self._track(a, where)

    def _track(self, array: np.ndarray, where: str) -> None:
        n = array.nbytes

        def gone(ref: weakref.ref) -> None:
            if self._alive.pop(id(ref), None) is not None:
                self._live[where] -= n

        ref = weakref.ref(array, gone)
        self._alive[id(ref)] = ref

    # --- showing ----------------------------------------------------------------------------------
    def table(self, limit: int = 30) -> str:
        """The rows as text; limit: how many, the quickest of the others added up."""
        best = roof()
        shown, rest = self.rows[:-1][:limit], self.rows[:-1][limit:]
        head = ("op", "line", "module", "calls", "ms", "time", "speed", "of roof", "made")
        body = [head, *(self._cells(r, best) for r in shown)]
        if rest:
            seconds, calls = sum(r.seconds for r in rest), sum(r.calls for r in rest)
            body.append(self._plain(f"{len(rest)} more", seconds, str(calls)))
        body.append(self._plain(OVERHEAD, self.rows[-1].seconds))
        body.append(self._plain("together", self.seconds))
        widths = [max(len(cells[i]) for cells in body) for i in range(len(head))]
        lines = [
            "  ".join(
                c.ljust(w) if i < 3 else c.rjust(w)
                for i, (c, w) in enumerate(zip(cells, widths, strict=True))
            ).rstrip()
            for cells in body
        ]
        lines.append(
            f"roof, measured once in this process: {best.flops / 1e9:.1f} GFLOP/s (float32 product "
            f"of {_SIZE}), {best.bytes / 1e9:.1f} GB/s (copy of {4 * _COPY >> 20} MiB)"
        )
        if self.peak is not None:
            owners = ", ".join(f"{_short(w)} {_bytes(n)}" for w, n in self.owners[:5])
            lines.append(f"peak memory {_bytes(self.peak)}: {owners}")
        return "\n".join(lines)

    def _cells(self, r: Row, best: Roof) -> tuple[str, ...]:
        share = r.rate / (best.flops if r.flops else best.bytes)
        return (
            r.op,
            _short(r.where) + (" backward" if r.backward else ""),
            r.module,
            str(r.calls),
            f"{r.seconds * 1e3:.3f}",
            f"{r.seconds / self.seconds:.1%}",
            f"{r.rate / 1e9:.1f} {r.unit}",
            f"{share:.0%}",
            _bytes(r.made),
        )

    def _plain(self, name: str, seconds: float, calls: str = "") -> tuple[str, ...]:
        share = f"{seconds / self.seconds:.1%}" if self.seconds else ""
        return (name, "", "", calls, f"{seconds * 1e3:.3f}", share, "", "", "")

    def json(self) -> str:
        """Everything as JSON: seconds, rows, roof, peak, owners."""
        rows = [{**r._asdict(), "rate": r.rate} for r in self.rows]
        return json.dumps(
            {"seconds": self.seconds, "rows": rows, "roof": roof()._asdict(), "peak": self.peak,
             "owners": self.owners}
        )  # fmt: skip

    def __str__(self) -> str:
        return self.table()


def _short(where: str) -> str:
    return where.rpartition("/")[2]


def _bytes(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"
