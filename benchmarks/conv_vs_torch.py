"""Convolution against PyTorch, layer by layer: forward and both gradients.

Same process, taking turns, medians; PyTorch in the faster of its two layouts (NCHW, channels_last),
tilegrad in NCHW. The layers are rows of tilegrad/cases/conv.py, which the tests hold against the
reference. A result that is far from PyTorch's has no speed.

    python benchmarks/conv_vs_torch.py --threads 1 --rows resnet,vgg
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

import torch

import tilegrad as tg
from tilegrad import kernels
from tilegrad.bench import measure
from tilegrad.cases import Case
from tilegrad.cases.conv import LAYERS

DIRECTIONS = ("forward", "grad_input", "grad_weight")


def per_axis(case: Case, name: str, default: int) -> list[int]:
    """A parameter of a row, once per spatial axis."""
    return [case.params.get(name, default)] * (len(case.inputs[0].shape) - 2)


def ours(case: Case, arrays: list[Any], g: Any) -> dict[str, Callable[[], Any]]:
    """The three directions of tilegrad."""
    x, w, _ = arrays
    tensors = [tg.from_numpy(a) for a in arrays]
    function = case.function()
    padding = tuple((p, p) for p in per_axis(case, "padding", 0))
    window = (
        tuple(per_axis(case, "stride", 1)), padding, tuple(per_axis(case, "dilation", 1)),
        case.params.get("groups", 1),
    )  # fmt: skip
    host = kernels.host

    def forward() -> Any:
        with tg.no_grad():
            return function(*tensors).numpy()

    return {
        "forward": forward,
        "grad_input": lambda: host.conv_grad_input(g, w, x.shape[2:], *window),
        "grad_weight": lambda: host.conv_grad_weight(g, x, w.shape[2:], *window),
    }


def theirs(case: Case, arrays: list[Any], g: Any, last: bool) -> dict[str, Callable[[], Any]]:
    """The three directions of PyTorch in one layout."""
    x, w, bias = (torch.from_numpy(a) for a in arrays)
    g = torch.from_numpy(g)
    if last:
        order = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        x, w, g = (t.contiguous(memory_format=order) for t in (x, w, g))
    window = (*(per_axis(case, n, d) for n, d in (("stride", 1), ("padding", 0), ("dilation", 1))),)
    groups, zeros = case.params.get("groups", 1), [0] * (x.ndim - 2)
    named = getattr(torch, case.op)

    def forward() -> Any:
        with torch.no_grad():
            return named(x, w, bias, *window, groups)

    def backward(which: int) -> Callable[[], Any]:
        mask = [which == 0, which == 1, False]
        return lambda: torch.ops.aten.convolution_backward(
            g, x, w, None, *window, False, zeros, groups, mask
        )[which]

    return {"forward": forward, "grad_input": backward(0), "grad_weight": backward(1)}


def row(case: Case, direction: str, budget: float) -> dict[str, Any]:
    """One layer in one direction: seconds of both, and how far the results are apart."""
    arrays = case.arrays("float32")
    with torch.no_grad():
        g = torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])
        shape = getattr(torch, case.op)(*g, None, **case.params).shape
    g = tg.randn(*shape).numpy()
    layouts = (False,) if len(arrays[0].shape) == 3 else (False, True)
    mine = ours(case, arrays, g)[direction]
    peers = [theirs(case, arrays, g, last)[direction] for last in layouts]
    a, b = torch.from_numpy(mine()), peers[0]()
    error = float((a - b).abs().max() / b.abs().max())
    timings = measure([mine, *peers], budget=budget, min_samples=5)
    best = min(range(len(peers)), key=lambda i: timings[1 + i].median)
    seconds, torch_seconds = timings[0].median, timings[1 + best].median
    return {
        "layer": case.name, "direction": direction, "seconds": seconds,
        "torch_seconds": torch_seconds, "torch_layout": ("NCHW", "channels_last")[best],
        "ratio": torch_seconds / seconds if error < 1e-3 else float("nan"), "error": error,
        "gflops": case.flops / seconds / 1e9,
    }  # fmt: skip


def peak() -> float:
    """FLOP/s of the best matrix product, which lies a few per cent below the peak of the FMA
    units."""
    best = 0.0
    for m, k, n in ((1120, 512, 1024), (1120, 256, 2048)):
        a, b = tg.randn(m, k).numpy(), tg.randn(k, n).numpy()
        (t,) = measure([lambda a=a, b=b: kernels.host.matmul(a, b)], budget=0.1)
        best = max(best, 2.0 * m * n * k / t.low)
    return best


def mean(ratios: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(math.log(r) for r in ratios) / len(ratios)) if ratios else float("nan")


def main() -> None:
    """Prints the table; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", default="", help="only layers with one of these in their name")
    parser.add_argument("--directions", default=",".join(DIRECTIONS))
    parser.add_argument("--budget", type=float, default=0.05, help="seconds per candidate")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tg.set_num_threads(args.threads)
    limit, rows = peak(), []
    print(f"{args.threads} threads, best matrix product {limit / 1e9:.0f} GFLOP/s")
    print(f"{'layer':30s}{'direction':13s}{'us':>9s}{'torch us':>10s} ratio GFLOP/s of peak")
    for case in LAYERS:
        if not any(part in case.name for part in args.rows.split(",")):
            continue
        for direction in args.directions.split(","):
            r = row(case, direction, args.budget)
            rows.append(r)
            print(
                f"{r['layer']:30s}{r['direction']:13s}{r['seconds'] * 1e6:9.0f}"
                f"{r['torch_seconds'] * 1e6:10.0f} {r['ratio']:5.2f} {r['gflops']:7.0f}"
                f"{r['gflops'] * 1e9 / limit:7.0%} {r['torch_layout']}",
                flush=True,
            )
    for direction in args.directions.split(","):
        found = [r["ratio"] for r in rows if r["direction"] == direction]
        print(f"{direction}: geometric mean {mean(found):.2f}, lowest {min(found, default=0):.2f}")
    print(f"all: geometric mean {mean([r['ratio'] for r in rows]):.2f}")
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"threads": args.threads, "peak": limit, "rows": rows}, f, indent=1)


if __name__ == "__main__":
    main()
