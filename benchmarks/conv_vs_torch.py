"""Convolution against PyTorch, layer by layer: forward and both gradients, in float32.

    PYTHONPATH=python python benchmarks/conv_vs_torch.py [part of a name ...] [--threads 1 2]
        [--rounds 7] [--part 1/3] [--json FILE]

Ratios are those to PyTorch in the faster of its two layouts; tilegrad's is NCHW. The layers are
rows of tilegrad/cases/conv.py, which the tests hold against the reference. At the end: geometric
means and the lowest ratio, by kind of layer, and what is below 0.95.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from turns import Row, main

import tilegrad as tg
from tilegrad import kernels
from tilegrad.cases import Case
from tilegrad.cases.conv import LAYERS

DIRECTIONS = ("forward", "grad_input", "grad_weight")
PRODUCT = "product of 1120 x 256 x 2048"  # what the machine can do at best
PEERS = ("torch", "torch channels_last")
LOW = 0.95


def rows() -> list[Row]:
    """Every layer in three directions, and a matrix product."""
    out = [Row(PRODUCT, [PRODUCT], 2.0 * 1120 * 256 * 2048, ())]
    for case in LAYERS:
        peers = PEERS if len(case.inputs[0].shape) > 3 else PEERS[:1]
        out += [
            Row(f"{case.name} {d}", [case.name, d], case.flops, peers, tolerance=1e-3)
            for d in DIRECTIONS
        ]
    return out


def _per_axis(case: Case, name: str, default: int) -> list[int]:
    """A parameter of a row, once per spatial axis."""
    return [case.params.get(name, default)] * (len(case.inputs[0].shape) - 2)


def _ours(case: Case, arrays: list[Any], g: Any) -> dict[str, Callable[[], Any]]:
    """The three directions of tilegrad."""
    x, w, _ = arrays
    tensors = [tg.from_numpy(a) for a in arrays]
    function = case.function()
    padding = tuple((p, p) for p in _per_axis(case, "padding", 0))
    window = (
        tuple(_per_axis(case, "stride", 1)), padding, tuple(_per_axis(case, "dilation", 1)),
        case.params.get("groups", 1),
    )  # fmt: skip
    host = kernels.host

    def forward() -> Any:
        with tg.no_grad():
            return function(*tensors)

    return {
        "forward": forward,
        "grad_input": lambda: host.conv_grad_input(g, w, x.shape[2:], *window),
        "grad_weight": lambda: host.conv_grad_weight(g, x, w.shape[2:], *window),
    }


def _theirs(case: Case, arrays: list[Any], g: Any, last: bool) -> dict[str, Callable[[], Any]]:
    """The three directions of PyTorch in one layout."""
    torch = import_module("torch")
    x, w, bias = (torch.from_numpy(a) for a in arrays)
    g = torch.from_numpy(g)
    if last:
        order = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        x, w, g = (t.contiguous(memory_format=order) for t in (x, w, g))
    window = [_per_axis(case, n, d) for n, d in (("stride", 1), ("padding", 0), ("dilation", 1))]
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


def make(peer: str, spec: list[Any]) -> Callable[[], Any]:
    """One layer in one direction, or the product."""
    if spec[0] == PRODUCT:
        a, b = (np.ones(shape, np.float32) for shape in ((1120, 256), (256, 2048)))
        return lambda: kernels.host.matmul(a, b)
    case = next(c for c in LAYERS if c.name == spec[0])
    arrays = case.arrays("float32")
    with tg.no_grad():
        shape = case.function()(*map(tg.from_numpy, arrays)).shape
    g = np.random.default_rng(0).standard_normal(shape, np.float32)
    if peer == "tilegrad":
        return _ours(case, arrays, g)[spec[1]]
    return _theirs(case, arrays, g, peer.endswith("channels_last"))[spec[1]]


def kind(case: Case) -> str:
    """The line of the table that a layer belongs to."""
    shape, stride = case.inputs[1].shape, case.params.get("stride", 1)
    kernel, square = shape[2:], shape[2:] in ((3, 3), (5, 5))
    if case.inputs[0].shape[1] <= 3:
        return "first layers, 1 or 3 channels"
    if case.params.get("groups", 1) == case.inputs[0].shape[1]:
        return "depthwise"
    if kernel == (1, 1):
        return "1 x 1"
    if square and shape[1] >= 16 and case.params.get("groups", 1) == 1:
        return f"{kernel[0]} x {kernel[0]}, stride {stride}, 16 channels and more"
    return "the others"


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By threads and kind of layer: GFLOP/s; by direction, the geometric mean of the ratios, the
    lowest, and the lowest bound of their intervals."""
    lines: list[dict[str, Any]] = []
    kinds = {case.name: kind(case) for case in LAYERS}
    for threads in sorted({r["threads"] for r in rows}):
        mine = [r for r in rows if r["threads"] == threads and "ratio" in r]
        for name in [*dict.fromkeys(kinds.values()), "all"]:
            some = [r for r in mine if name in ("all", kinds[r["row"].split()[0]])]
            if not some:
                continue
            speeds = [r["flops"] / r["seconds"]["tilegrad"]["median"] / 1e9 for r in some]
            line = {"threads": threads, "layers": name, "gflops": [min(speeds), max(speeds)]}
            for direction in (*DIRECTIONS, "all"):
                found = [
                    r["ratio"] for r in some if direction in ("all", r["row"].split()[1])
                ]  # fmt: skip
                medians = [r["median"] for r in found]
                if found:
                    mean = math.exp(sum(map(math.log, medians)) / len(medians))
                    low = min(r["low"] for r in found)
                    line[direction] = {"mean": mean, "lowest": min(medians), "bound": low}
            lines.append(line)
        low_rows = {
            r["row"]: [r["ratio"]["median"], r["ratio"]["low"]]
            for r in mine if r["ratio"]["median"] < LOW
        }  # fmt: skip
        lines.append({"threads": threads, f"below {LOW}": low_rows})
    return lines


if __name__ == "__main__":
    main(__doc__ or "", rows(), make, PEERS, summary=summary)
