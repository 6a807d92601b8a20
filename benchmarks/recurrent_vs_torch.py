"""Two-layer LSTMs and transformer encoder layers against PyTorch, on the CPU in float32.

    PYTHONPATH=python python benchmarks/recurrent_vs_torch.py [lstm] [encoder] [--threads 2]
        [--seconds 1.0] [--json FILE]

One process runs both, in turns: a turn is one untimed and a few timed steps of one side, so that
the threads of the other have gone to sleep. A step is forward and backward in training mode, with
the gradients of the input and of every parameter; both sides have the same weights and input.
Printed per shape: the medians, the ratio of the medians (above 1: tilegrad is faster) and the
middle half of the times.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from typing import Any

import numpy as np

import tilegrad as tg

try:
    import torch
except ImportError:
    torch = None  # type: ignore[assignment]

LSTM = (
    (35, 20, 200, 200), (50, 32, 128, 256), (20, 1, 32, 32), (100, 64, 64, 64), (30, 16, 512, 512),
)  # fmt: skip
ENCODER = (
    (128, 32, 32, 0.0), (128, 128, 8, 0.1), (256, 64, 16, 0.0), (256, 64, 16, 0.1),
    (512, 32, 8, 0.0), (512, 128, 8, 0.1),
)  # fmt: skip
PER_TURN = 3


def lstm(t: int, n: int, i: int, h: int) -> tuple[str, tuple[int, ...], Any, Any]:
    return f"lstm T={t} N={n} I={i} H={h}", (t, n, i), torch.nn.LSTM(i, h, 2), tg.nn.LSTM(i, h, 2)


def encoder(d: int, t: int, n: int, p: float) -> tuple[str, tuple[int, ...], Any, Any]:
    layers = [m.TransformerEncoderLayer(d, 4, 4 * d, p) for m in (torch.nn, tg.nn)]
    return f"encoder d={d} T={t} N={n} dropout={p}", (t, n, d), *layers


def step(layer: Any, x: Any) -> None:
    layer.zero_grad()
    x.grad = None
    y = layer(x)
    (y[0] if isinstance(y, tuple) else y).sum().backward()


def compare(shape: tuple[int, ...], theirs: Any, ours: Any, seconds: float) -> dict[str, Any]:
    a = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    weights = {k: v.detach().numpy() for k, v in theirs.named_parameters()}
    ours.load_state_dict({k: tg.tensor(v) for k, v in weights.items()})
    sides = [
        (theirs.train(), torch.tensor(a, requires_grad=True)),
        (ours.train(), tg.tensor(a, requires_grad=True)),
    ]
    times: list[list[float]] = [[], []]
    for layer, x in sides:
        step(layer, x)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 2 * PER_TURN:
        for (layer, x), own in zip(sides, times, strict=True):
            step(layer, x)
            for _ in range(PER_TURN):
                start = time.perf_counter()
                step(layer, x)
                own.append(time.perf_counter() - start)
    result: dict[str, Any] = {}
    for name, own in zip(("torch", "tilegrad"), times, strict=True):
        low, median, high = statistics.quantiles(own, n=4)
        result[name] = {"median_s": median, "quartiles_s": [low, high], "steps": len(own)}
    result["ratio"] = result["torch"]["median_s"] / result["tilegrad"]["median_s"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("families", nargs="*", help="lstm, encoder; both unless given")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="per shape")
    parser.add_argument("--json", help="a file for the results")
    options = parser.parse_args()
    if torch is None:
        raise SystemExit("recurrent_vs_torch: skipped, PyTorch is not installed")
    torch.set_num_threads(options.threads)
    tg.set_num_threads(options.threads)
    families = options.families or ["lstm", "encoder"]
    rows = [(lstm, s) for s in LSTM if "lstm" in families]
    rows += [(encoder, s) for s in ENCODER if "encoder" in families]  # type: ignore[misc]
    print(f"{options.threads} threads, torch {torch.__version__}, tilegrad {tg.__version__}; ms")
    results = {}
    for build, sizes in rows:
        name, shape, theirs, ours = build(*sizes)  # type: ignore[arg-type]
        r = results[name] = compare(shape, theirs, ours, options.seconds)
        parts = [
            f"{side} {1e3 * s['median_s']:.3f} [{1e3 * s['quartiles_s'][0]:.3f}, "
            f"{1e3 * s['quartiles_s'][1]:.3f}]"
            for side, s in r.items()
            if side != "ratio"
        ]
        print(f"{name:36s} ratio {r['ratio']:.2f}   {'   '.join(parts)}", flush=True)
    if options.json:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            cpu = next((line.split(":")[1].strip() for line in f if "model name" in line), "")
        record = {
            "machine": {"cpu": cpu or platform.processor(), "system": platform.platform()},
            "versions": {
                "python": platform.python_version(), "numpy": np.__version__,
                "torch": torch.__version__, "tilegrad": tg.__version__,
            },
            "threads": options.threads,
            "results": results,
        }  # fmt: skip
        with open(options.json, "w", encoding="utf-8") as f:
            json.dump(record, f, indent=2)


if __name__ == "__main__":
    main()
