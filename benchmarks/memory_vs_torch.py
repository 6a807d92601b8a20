"""Kernels that memory bounds against PyTorch and against a copy, on the CPU in float32.

    PYTHONPATH=python python benchmarks/memory_vs_torch.py [part of a name ...] [--mib 64 0.5]
        [--threads 1 2] [--budget 0.3] [--tuned] [--json FILE]

One process runs both sides in turns. Printed per row: the medians, tilegrad's
bytes per second (of the least traffic that the op needs), their share of the speed at which this
machine copies, and how many times as long PyTorch takes. The copy, timed in the same turns, is of
64 MiB that were touched before, by as many threads, the better of memcpy and of stores past the
caches (`copy_bandwidth.c`, compiled with `cc`). Results that differ get no speed.

--tuned runs a second process whose allocator keeps large blocks (PyTorch's own asks the system for
fresh pages at every call) and prints PyTorch's time there as well.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import tilegrad as tg
from tilegrad.bench.kernel_calls import difference

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

MIB = 1 << 20
SETTLE = 3e-3  # seconds; OpenMP's threads spin for about as long before they sleep
TUNED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}


class Row(NamedTuple):
    """call(lib, functional, *inputs) is one call of either side. lay: how the inputs, arrays of
    the given shapes, are seen. passes: traffic in units of the first input. gradient: the first
    output and its gradients are what is timed."""

    name: str
    shapes: Callable[[int], list[tuple[int, ...]]]
    passes: float
    call: Callable[..., Any]
    lay: Callable[[Any], Any] = lambda x: x
    gradient: bool = False


def _same(count: int) -> Callable[[int], list[tuple[int, ...]]]:
    return lambda n: [(n // 1024, 1024)] * count


def _square(n: int) -> list[tuple[int, ...]]:
    side = 64 * max(int(n**0.5) // 64, 1)
    return [(side, side)]


def _image(channels: int, side: int) -> Callable[[int], list[tuple[int, ...]]]:
    return lambda n: [(max(n // (channels * side * side), 1), channels, side, side)]


def _nhwc(x: Any) -> Any:
    """Seen as (N, C, H, W), channels last in memory."""
    if x.ndim != 4:
        return x
    n, c, h, w = x.shape
    return x.reshape(n, h, w, c).permute(0, 3, 1, 2)


def _labels(n: int, classes: int) -> list[tuple[int, ...]]:
    return [(n // classes, classes), (n // classes,)]


def _unary(name: str) -> Row:
    return Row(name, _same(1), 2, lambda t, f, x: (getattr(t, name, None) or getattr(f, name))(x))


def _batch_norm(t: Any, f: Any, x: Any, w: Any, b: Any) -> Any:
    return f.batch_norm(x, None, None, w, b, training=True)


def _batch_norm_relu(t: Any, f: Any, x: Any, w: Any, b: Any, z: Any = None) -> Any:
    if t is tg:
        return f.batch_norm_relu(x, None, None, w, b, True, residual=z)
    y = f.batch_norm(x, None, None, w, b, True)
    return t.relu(y if z is None else y + z)


def _norm_shapes(channels: int, side: int) -> Callable[[int], list[tuple[int, ...]]]:
    return lambda n: [*_image(channels, side)(n), (channels,), (channels,)]


def _indices(pair: Any) -> Any:
    return pair[0]


def _pools() -> list[Row]:
    rows = []
    for layout, lay in (("nchw", lambda x: x), ("nhwc", _nhwc)):
        for kind in ("max", "avg"):
            for k, s, p in ((2, 2, 0), (3, 2, 1)):

                def call(t: Any, f: Any, x: Any, kind: str = kind, k: int = k, s: int = s,
                         p: int = p) -> Any:  # fmt: skip
                    return getattr(f, f"{kind}_pool2d")(x, k, s, p)

                name = f"{kind}_pool {k}x{k} {layout}"
                rows.append(Row(name, _image(64, 56), 1.25, call, lay))
                # x (where saved), g, gx; indices are not counted
                rows.append(Row(f"{name} fwd+bwd", _image(64, 56), 2.5, call, lay, True))
    return rows


ROWS = [
    *map(_unary, ("relu", "exp", "tanh", "sigmoid", "gelu", "silu", "sqrt", "log", "sin")),
    Row("add", _same(2), 3, lambda t, f, x, y: x + y),
    Row("mul", _same(2), 3, lambda t, f, x, y: x * y),
    Row("add bias", lambda n: [(n // 1024, 1024), (1024,)], 2, lambda t, f, x, y: x + y),
    Row("add column", lambda n: [(n // 1024, 1024), (n // 1024, 1)], 2, lambda t, f, x, y: x + y),
    Row("mul number", _same(1), 2, lambda t, f, x: x * 1.5),
    Row("add in place", _same(2), 3, lambda t, f, x, y: x.add_(y)),
    Row("add transposed", lambda n: _square(n) * 2, 3, lambda t, f, x, y: x + y.T),
    Row("where", _same(2), 4.5, lambda t, f, x, y: t.where(x > 0, x, y)),  # compare and where
    Row("compare", _same(2), 2.25, lambda t, f, x, y: x > y),
    Row("cast f64", _same(1), 3, lambda t, f, x: x.to(t.float64)),
    Row("relu fwd+bwd", _same(1), 5, lambda t, f, x: t.relu(x), gradient=True),
    Row("gelu fwd+bwd", _same(1), 5, lambda t, f, x: f.gelu(x), gradient=True),
    Row("copy", _same(1), 2, lambda t, f, x: x.clone()),
    Row("copy transposed", _square, 2, lambda t, f, x: x.T.contiguous()),
    Row("copy nchw to nhwc", _image(64, 56), 2,
        lambda t, f, x: x.permute(0, 2, 3, 1).contiguous()),
    Row("copy nhwc to nchw", _image(64, 56), 2, lambda t, f, x: x.contiguous(), _nhwc),
    Row("copy nhwc to nchw rgb", _image(3, 224), 2, lambda t, f, x: x.contiguous(), _nhwc),
    Row("copy heads", lambda n: [(max(n // 65536, 1), 128, 8, 64)], 2,
        lambda t, f, x: x.permute(0, 2, 1, 3).contiguous()),
    Row("cat", _same(2), 4, lambda t, f, x, y: t.cat([x, y])),
    Row("sum", _same(1), 1, lambda t, f, x: x.sum()),
    Row("sum last", _same(1), 1, lambda t, f, x: x.sum(-1)),
    Row("sum first", _same(1), 1, lambda t, f, x: x.sum(0)),
    Row("mean channel nchw", _image(64, 56), 1, lambda t, f, x: x.mean((0, 2, 3))),
    Row("mean channel nhwc", _image(64, 56), 1, lambda t, f, x: x.mean((0, 2, 3)), _nhwc),
    Row("mean spatial nchw", _image(64, 56), 1, lambda t, f, x: x.mean((2, 3))),
    Row("max", _same(1), 1, lambda t, f, x: x.max()),
    Row("amax last", _same(1), 1, lambda t, f, x: x.amax(-1)),
    Row("amax first", _same(1), 1, lambda t, f, x: x.amax(0)),
    Row("argmax last", _same(1), 1, lambda t, f, x: x.argmax(-1)),
    Row("var last", _same(1), 1, lambda t, f, x: x.var(-1)),
    Row("softmax", _same(1), 2, lambda t, f, x: f.softmax(x, -1)),
    Row("softmax 128", lambda n: [(n // 128, 128)], 2, lambda t, f, x: f.softmax(x, -1)),
    Row("log_softmax", _same(1), 2, lambda t, f, x: f.log_softmax(x, -1)),
    Row("softmax first", _same(1), 2, lambda t, f, x: f.softmax(x, 0)),
    Row("softmax fwd+bwd", _same(1), 5, lambda t, f, x: f.softmax(x, -1), gradient=True),
    Row("cross_entropy", lambda n: _labels(n, 1024), 1, lambda t, f, x, y: f.cross_entropy(x, y)),
    Row("cross_entropy 10", lambda n: _labels(n, 10), 1, lambda t, f, x, y: f.cross_entropy(x, y)),
    Row("cross_entropy fwd+bwd", lambda n: _labels(n, 1024), 3,
        lambda t, f, x, y: f.cross_entropy(x, y), gradient=True),
    *_pools(),
    Row("batch_norm nchw", _norm_shapes(64, 56), 3, _batch_norm),
    Row("batch_norm nhwc", _norm_shapes(64, 56), 3, _batch_norm, _nhwc),
    Row("batch_norm nchw fwd+bwd", _norm_shapes(64, 56), 8, _batch_norm, gradient=True),
    Row("batch_norm nhwc fwd+bwd", _norm_shapes(64, 56), 8, _batch_norm, _nhwc, True),
    Row("batch_norm relu nchw", _norm_shapes(64, 56), 3, _batch_norm_relu),
    Row("batch_norm relu nchw fwd+bwd", _norm_shapes(64, 56), 10, _batch_norm_relu, gradient=True),
    Row("batch_norm add relu nchw", lambda n: [*_norm_shapes(64, 56)(n), *_image(64, 56)(n)], 4,
        _batch_norm_relu),
    Row("batch_norm add relu nchw fwd+bwd",
        lambda n: [*_norm_shapes(64, 56)(n), *_image(64, 56)(n)], 12, _batch_norm_relu,
        gradient=True),
    Row("batch_norm 7x7 fwd+bwd", _norm_shapes(512, 7), 8, _batch_norm, gradient=True),
]  # fmt: skip


def _arrays(row: Row, mib: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = row.shapes(int(mib * MIB) // 4)
    make: list[np.ndarray] = []
    for shape in shapes:
        labels = len(make) == 1 and row.name.startswith("cross_entropy")
        make.append(
            rng.integers(0, shapes[0][1], shape)
            if labels
            else rng.random(shape, dtype=np.float32) + np.float32(0.25)
        )
    return make


def _side(row: Row, lib: Any, arrays: list[np.ndarray]) -> Callable[[], Any]:
    of = torch.from_numpy if lib is torch else tg.from_numpy
    inputs = [row.lay(of(a.copy())) for a in arrays]
    functional = lib.nn.functional
    if not row.gradient:

        def forward() -> Any:
            with lib.no_grad():
                return row.call(lib, functional, *inputs)

        return forward
    leaves = [x.detach().requires_grad_() if x.dtype == lib.float32 else x for x in inputs]
    wanted = [x for x in leaves if x.requires_grad]
    with lib.no_grad():
        shape = tuple(row.call(lib, functional, *inputs).shape)
        cotangent = of(np.random.default_rng(1).standard_normal(shape, dtype=np.float32))

    def both() -> Any:
        y = row.call(lib, functional, *leaves)
        return lib.autograd.grad(y, wanted, cotangent)[0]

    return both


def _first(result: Any) -> np.ndarray:
    return np.asarray((result[0] if isinstance(result, (tuple, list)) else result).detach())


def compare(row: Row, mib: float, copy: Copy, budget: float) -> dict[str, Any]:
    """One row: seconds of both sides, speed and share; no speed where the results differ."""
    arrays = _arrays(row, mib)
    ours, theirs = _side(row, tg, arrays), _side(row, torch, arrays)
    error = 0.0 if "in place" in row.name else difference(_first(ours()), _first(theirs()), 1e-30)
    if not error < 1e-4:
        return {"error": error}
    times = in_turns([ours, theirs, *copy.kinds], budget)
    a, b, *copies = (t[len(t) // 2] for t in times)
    moved, best = row.passes * arrays[0].nbytes, copy.bytes / min(copies)
    quartiles = [[t[len(t) // 4], t[3 * len(t) // 4]] for t in times[:2]]
    return {
        "seconds": a, "torch_seconds": b, "quartiles": quartiles[0],
        "torch_quartiles": quartiles[1], "bytes": moved, "gbytes": moved / a / 1e9,
        "copy": best, "share": moved / a / best, "ratio": b / a,
    }  # fmt: skip


class Copy:
    """A copy between touched blocks of 64 MiB by so many threads: the yardstick."""

    def __init__(self, threads: int) -> None:
        self.bytes = 2 * 64 * MIB
        self._blocks = np.ones((2, 64 * MIB), np.uint8)
        self._pool = ThreadPoolExecutor(threads)
        self._threads = threads
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder, "copy.so")
            source = Path(__file__).with_name("copy_bandwidth.c")
            flags = ["-O2", "-march=native", "-shared", "-fPIC"]
            subprocess.run(["cc", *flags, "-o", str(library), str(source)], check=True)
            loaded = ctypes.CDLL(str(library))
        self.kinds = [lambda f=f: self._run(f) for f in (loaded.plain, loaded.past_caches)]

    def _run(self, function: Any) -> None:
        step = self.bytes // 2 // self._threads
        parts = []
        for i in range(self._threads):
            to, source = (ctypes.c_void_p(b[i * step :].ctypes.data) for b in self._blocks)
            parts.append(self._pool.submit(function, to, source, ctypes.c_size_t(step)))
        for part in parts:
            part.result()


def in_turns(functions: list[Callable[[], Any]], budget: float) -> list[list[float]]:
    """Seconds per call, sorted. A turn of one side begins untimed, until the threads of the other
    have gone to sleep and the caches hold its own data."""
    calls = []
    for f in functions:
        f()
        start = time.perf_counter()
        f()
        calls.append(max(1, int(1e-3 / (time.perf_counter() - start))))
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + budget * len(functions)
    while time.perf_counter() < end or len(times[0]) < 5:
        for f, n, own in zip(functions, calls, times, strict=True):
            settled = time.perf_counter() + SETTLE
            while time.perf_counter() < settled:
                f()
            start = time.perf_counter()
            for _ in range(n):
                f()
            own.append((time.perf_counter() - start) / n)
    return [sorted(t) for t in times]


def torch_alone(row: Row, mib: float, budget: float) -> float:
    """PyTorch's time in this process."""
    times = in_turns([_side(row, torch, _arrays(row, mib))], budget)[0]
    return times[len(times) // 2]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="parts of names; all rows unless given")
    parser.add_argument("--mib", type=float, nargs="+", default=[64.0, 0.5], help="first input")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--budget", type=float, default=0.3, help="seconds per row and side")
    parser.add_argument("--tuned", action="store_true", help="PyTorch with a tuned allocator too")
    parser.add_argument("--torch-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", help="a file for the results")
    return parser.parse_args()


def _tuned(options: argparse.Namespace) -> dict[str, float]:
    args = [*options.names, "--mib", *map(str, options.mib), "--threads",
            *map(str, options.threads), "--budget", str(options.budget)]  # fmt: skip
    command = [sys.executable, __file__, *args, "--torch-only"]
    done = subprocess.run(
        command, env={**os.environ, **TUNED}, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout)


def main() -> None:
    options = _options()
    if torch is None:
        raise SystemExit("memory_vs_torch: skipped, PyTorch is not installed")
    rows = [r for r in ROWS if not options.names or any(n in r.name for n in options.names)]
    plan = [(t, m, r) for t in options.threads for m in options.mib for r in rows]
    tuned = _tuned(options) if options.tuned else {}
    results: dict[str, Any] = {}
    for threads, mib, row in plan:
        key = f"{row.name}, {mib:g} MiB, {threads} threads"
        if (torch.get_num_threads(), tg.get_num_threads()) != (threads, threads) or not results:
            torch.set_num_threads(threads)
            tg.set_num_threads(threads)
            copy = Copy(threads)
            print(f"{threads} threads", file=sys.stderr)
        if options.torch_only:
            results[key] = torch_alone(row, mib, options.budget)
            continue
        r = results[key] = compare(row, mib, copy, options.budget)
        if "error" in r:
            print(f"{row.name:28s} WRONG, error {r['error']:.2g}", flush=True)
            continue
        line = f"{row.name:28s} {mib:5g} MiB {1e6 * r['seconds']:9.1f} us {r['gbytes']:6.1f} GB/s"
        line += (
            f" {r['share']:4.0%} of {r['copy'] / 1e9:.0f}  torch {1e6 * r['torch_seconds']:9.1f} us"
        )
        line += f" ratio {r['ratio']:5.2f}"
        if key in tuned:
            r["tuned_seconds"] = tuned[key]
            line += f" ({tuned[key] / r['seconds']:.2f} tuned)"
        print(line, flush=True)
    if options.torch_only:
        print(json.dumps(results))
    if options.json:
        versions = {"torch": torch.__version__, "tilegrad": tg.__version__}
        record = {"versions": versions, "rows": results}
        Path(options.json).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
