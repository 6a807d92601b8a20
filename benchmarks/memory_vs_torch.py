"""Kernels that memory bounds against PyTorch and against a copy, on the CPU in float32.

    PYTHONPATH=python python benchmarks/memory_vs_torch.py [part of a name ...] [--threads 1 2]
        [--rounds 7] [--part 1/3] [--json FILE]

The number in a row's name is the size of its first input. The copy, taken in the same turns, is of
64 MiB that were touched before, by as many threads, the better of memcpy and of stores past the
caches (`copy_bandwidth.c`, compiled with `cc`). "torch tuned" is PyTorch with an allocator that
keeps large blocks; as installed it asks the system for fresh pages at every call. At the end, per
row: the share of the copy's bytes per second (of the least traffic that the op needs), and how many
times as long PyTorch takes, as installed and tuned.
"""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import turns

MIB = 1 << 20
SIZES = (64, 0.5)  # MiB of the first input
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
COPIED = 2 * 64 * MIB  # bytes that a copy reads and writes


class Op(NamedTuple):
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


def _unary(name: str) -> Op:
    return Op(name, _same(1), 2, lambda t, f, x: (getattr(t, name, None) or getattr(f, name))(x))


def _batch_norm(t: Any, f: Any, x: Any, w: Any, b: Any) -> Any:
    return f.batch_norm(x, None, None, w, b, training=True)


def _batch_norm_relu(t: Any, f: Any, x: Any, w: Any, b: Any, z: Any = None) -> Any:
    if t.__name__ == "tilegrad":
        return f.batch_norm_relu(x, None, None, w, b, True, residual=z)
    y = f.batch_norm(x, None, None, w, b, True)
    return t.relu(y if z is None else y + z)


def _norm_shapes(channels: int, side: int) -> Callable[[int], list[tuple[int, ...]]]:
    return lambda n: [*_image(channels, side)(n), (channels,), (channels,)]


def _indices(pair: Any) -> Any:
    return pair[0]


def _pools() -> list[Op]:
    rows = []
    for layout, lay in (("nchw", lambda x: x), ("nhwc", _nhwc)):
        for kind in ("max", "avg"):
            for k, s, p in ((2, 2, 0), (3, 2, 1)):

                def call(t: Any, f: Any, x: Any, kind: str = kind, k: int = k, s: int = s,
                         p: int = p) -> Any:  # fmt: skip
                    return getattr(f, f"{kind}_pool2d")(x, k, s, p)

                name = f"{kind}_pool {k}x{k} {layout}"
                rows.append(Op(name, _image(64, 56), 1.25, call, lay))
                # x (where saved), g, gx; indices are not counted
                rows.append(Op(f"{name} fwd+bwd", _image(64, 56), 2.5, call, lay, True))
    return rows


OPS = [
    *map(_unary, ("relu", "exp", "tanh", "sigmoid", "gelu", "silu", "sqrt", "log", "sin")),
    Op("add", _same(2), 3, lambda t, f, x, y: x + y),
    Op("mul", _same(2), 3, lambda t, f, x, y: x * y),
    Op("add bias", lambda n: [(n // 1024, 1024), (1024,)], 2, lambda t, f, x, y: x + y),
    Op("add column", lambda n: [(n // 1024, 1024), (n // 1024, 1)], 2, lambda t, f, x, y: x + y),
    Op("mul number", _same(1), 2, lambda t, f, x: x * 1.5),
    Op("add in place", _same(2), 3, lambda t, f, x, y: x.add_(y)),
    Op("add transposed", lambda n: _square(n) * 2, 3, lambda t, f, x, y: x + y.T),
    Op("where", _same(2), 4.5, lambda t, f, x, y: t.where(x > 0, x, y)),  # compare and where
    Op("compare", _same(2), 2.25, lambda t, f, x, y: x > y),
    Op("cast f64", _same(1), 3, lambda t, f, x: x.to(t.float64)),
    Op("relu fwd+bwd", _same(1), 5, lambda t, f, x: t.relu(x), gradient=True),
    Op("gelu fwd+bwd", _same(1), 5, lambda t, f, x: f.gelu(x), gradient=True),
    Op("copy", _same(1), 2, lambda t, f, x: x.clone()),
    Op("copy transposed", _square, 2, lambda t, f, x: x.T.contiguous()),
    Op("copy nchw to nhwc", _image(64, 56), 2,
        lambda t, f, x: x.permute(0, 2, 3, 1).contiguous()),
    Op("copy nhwc to nchw", _image(64, 56), 2, lambda t, f, x: x.contiguous(), _nhwc),
    Op("copy nhwc to nchw rgb", _image(3, 224), 2, lambda t, f, x: x.contiguous(), _nhwc),
    Op("copy heads", lambda n: [(max(n // 65536, 1), 128, 8, 64)], 2,
        lambda t, f, x: x.permute(0, 2, 1, 3).contiguous()),
    Op("cat", _same(2), 4, lambda t, f, x, y: t.cat([x, y])),
    Op("sum", _same(1), 1, lambda t, f, x: x.sum()),
    Op("sum last", _same(1), 1, lambda t, f, x: x.sum(-1)),
    Op("sum first", _same(1), 1, lambda t, f, x: x.sum(0)),
    Op("mean channel nchw", _image(64, 56), 1, lambda t, f, x: x.mean((0, 2, 3))),
    Op("mean channel nhwc", _image(64, 56), 1, lambda t, f, x: x.mean((0, 2, 3)), _nhwc),
    Op("mean spatial nchw", _image(64, 56), 1, lambda t, f, x: x.mean((2, 3))),
    Op("max", _same(1), 1, lambda t, f, x: x.max()),
    Op("amax last", _same(1), 1, lambda t, f, x: x.amax(-1)),
    Op("amax first", _same(1), 1, lambda t, f, x: x.amax(0)),
    Op("argmax last", _same(1), 1, lambda t, f, x: x.argmax(-1)),
    Op("var last", _same(1), 1, lambda t, f, x: x.var(-1)),
    Op("softmax", _same(1), 2, lambda t, f, x: f.softmax(x, -1)),
    Op("softmax 128", lambda n: [(n // 128, 128)], 2, lambda t, f, x: f.softmax(x, -1)),
    Op("log_softmax", _same(1), 2, lambda t, f, x: f.log_softmax(x, -1)),
    Op("softmax first", _same(1), 2, lambda t, f, x: f.softmax(x, 0)),
    Op("softmax fwd+bwd", _same(1), 5, lambda t, f, x: f.softmax(x, -1), gradient=True),
    Op("cross_entropy", lambda n: _labels(n, 1024), 1, lambda t, f, x, y: f.cross_entropy(x, y)),
    Op("cross_entropy 10", lambda n: _labels(n, 10), 1, lambda t, f, x, y: f.cross_entropy(x, y)),
    Op("cross_entropy fwd+bwd", lambda n: _labels(n, 1024), 3,
        lambda t, f, x, y: f.cross_entropy(x, y), gradient=True),
    *_pools(),
    Op("batch_norm nchw", _norm_shapes(64, 56), 3, _batch_norm),
    Op("batch_norm nhwc", _norm_shapes(64, 56), 3, _batch_norm, _nhwc),
    Op("batch_norm nchw fwd+bwd", _norm_shapes(64, 56), 8, _batch_norm, gradient=True),
    Op("batch_norm nhwc fwd+bwd", _norm_shapes(64, 56), 8, _batch_norm, _nhwc, True),
    Op("batch_norm relu nchw", _norm_shapes(64, 56), 3, _batch_norm_relu),
    Op("batch_norm relu nchw fwd+bwd", _norm_shapes(64, 56), 10, _batch_norm_relu, gradient=True),
    Op("batch_norm add relu nchw", lambda n: [*_norm_shapes(64, 56)(n), *_image(64, 56)(n)], 4,
        _batch_norm_relu),
    Op("batch_norm add relu nchw fwd+bwd",
        lambda n: [*_norm_shapes(64, 56)(n), *_image(64, 56)(n)], 12, _batch_norm_relu,
        gradient=True),
    Op("batch_norm 7x7 fwd+bwd", _norm_shapes(512, 7), 8, _batch_norm, gradient=True),
]  # fmt: skip


def _arrays(op: Op, mib: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = op.shapes(int(mib * MIB) // 4)
    make: list[np.ndarray] = []
    for shape in shapes:
        labels = len(make) == 1 and op.name.startswith("cross_entropy")
        make.append(
            rng.integers(0, shapes[0][1], shape)
            if labels
            else rng.random(shape, dtype=np.float32) + np.float32(0.25)
        )
    return make


def rows() -> list[turns.Row]:
    """All operations, in both sizes."""
    out = []
    for mib in SIZES:
        for op in OPS:
            moved = op.passes * 4 * math.prod(op.shapes(int(mib * MIB) // 4)[0])
            tolerance = None if "in place" in op.name else 1e-4
            name = f"{op.name}, {mib:g} MiB"
            out.append(turns.Row(name, [op.name, mib], bytes=moved, tolerance=tolerance))
    return out


@cache
def _copy() -> Callable[[], None]:
    """A copy between touched blocks of 64 MiB: the yardstick."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    blocks, pool = np.ones((2, 64 * MIB), np.uint8), ThreadPoolExecutor(threads)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "copy.so")
        source = Path(__file__).with_name("copy_bandwidth.c")
        flags = ["-O2", "-march=native", "-shared", "-fPIC"]
        subprocess.run(["cc", *flags, "-o", str(library), str(source)], check=True)
        loaded = ctypes.CDLL(str(library))

    def run(function: Any) -> None:
        step, parts = blocks.shape[1] // threads, []
        for i in range(threads):
            to, source = (ctypes.c_void_p(b[i * step :].ctypes.data) for b in blocks)
            parts.append(pool.submit(function, to, source, ctypes.c_size_t(step)))
        for part in parts:
            part.result()

    def least(function: Any) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            run(function)
            times.append(time.perf_counter() - began)
        return min(times)

    best = min((loaded.plain, loaded.past_caches), key=least)
    return lambda: run(best)


def make(peer: str, spec: list[Any]) -> Callable[[], Any]:
    """One call of an operation, or with its gradients; or the copy."""
    if peer == "copy":
        return _copy()
    lib = import_module(peer.split()[0])
    op = next(o for o in OPS if o.name == spec[0])
    inputs = [op.lay(lib.from_numpy(a)) for a in _arrays(op, spec[1])]
    functional = lib.nn.functional
    if not op.gradient:

        def forward() -> Any:
            with lib.no_grad():
                return op.call(lib, functional, *inputs)

        return forward
    leaves = [x.detach().requires_grad_() if x.dtype == lib.float32 else x for x in inputs]
    wanted = [x for x in leaves if x.requires_grad]
    with lib.no_grad():
        shape = tuple(op.call(lib, functional, *inputs).shape)
        g = lib.from_numpy(np.random.default_rng(1).standard_normal(shape, dtype=np.float32))

    def both() -> Any:
        return lib.autograd.grad(op.call(lib, functional, *leaves), wanted, g)[0]

    return both


def summary(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per row the share of a copy and the two ratios; per number of threads their geometric means
    and what lies below 0.95 of PyTorch's speed, tuned or not."""
    lines: list[dict[str, Any]] = []
    for threads in sorted({r["threads"] for r in results}):
        logs: dict[str, list[float]] = {"torch": [], "torch tuned": []}
        low: dict[str, list[float]] = {}
        for row in (r for r in results if r["threads"] == threads):
            seconds = {peer: s["median"] for peer, s in row["seconds"].items()}
            ours = seconds["tilegrad"]
            line = {"row": row["row"], "threads": threads, "GB/s": row["bytes"] / ours / 1e9}
            line["share"] = row["bytes"] / ours / (COPIED / seconds["copy"])
            for peer in logs:
                if peer in seconds:
                    line[peer] = seconds[peer] / ours
                    logs[peer].append(math.log(line[peer]))
            lines.append(line)
            if "ratio" in row and row["ratio"]["median"] < 0.95:
                low[row["row"]] = [row["ratio"]["median"], row["ratio"]["low"]]
        means = {peer: math.exp(sum(x) / len(x)) for peer, x in logs.items() if x}
        lines.append({"threads": threads, "geometric means": means, "below 0.95": low})
    return lines


if __name__ == "__main__":
    turns.main(
        __doc__ or "", rows(), make, ("torch", "torch tuned"), summary=summary,
        settings={"torch tuned": KEPT}, yardstick="copy",
    )  # fmt: skip
