"""Steps of optimizers against PyTorch's fastest setting, in turns, on equal threads.

    PYTHONPATH=python python benchmarks/optim_vs_torch.py [--json FILE] [--threads 2] [--only Adam]

Every optimizer steps over the same parameters and gradients in both libraries; PyTorch once per
setting it has (fused, foreach). Results are compared first: what differs gets no speed. Between
samples all threads rest, PyTorch's spin after a call. Medians; quartiles in the JSON file. The last
rows are zero_grad and clip_grad_norm_.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from typing import Any

import numpy as np

import tilegrad as tg
from tilegrad import kernels
from tilegrad.bench.report import busy, machine
from tilegrad.bench.timing import measure

LENET = [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,), (10, 84),
         (10,)]  # fmt: skip
SIZES = {
    "lenet": LENET,
    "mlp": [(64, 32), (64,), (64, 64), (64,), (64, 64), (64,), (10, 64), (10,)],
    "1M": [(1000, 1000)],
    "10M": [(10_000_000,)],
}
OPTIMIZERS = {
    "SGD": {"lr": 1e-3},
    "SGD momentum": {"lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4},
    "Adam": {},
    "AdamW amsgrad": {"amsgrad": True},
    "RMSprop": {"momentum": 0.9},
    "Adagrad": {},
    "Adadelta": {},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "ASGD": {},
    "Rprop": {},
}
FUSED = {"SGD", "Adam", "AdamW", "Adagrad"}
AGREE = 2e-5


def parameters(lib: Any, shapes: list[tuple[int, ...]]) -> list[Any]:
    """Seeded parameters with gradients, the same values in both libraries."""
    rng = np.random.default_rng(0)
    out = []
    for shape in shapes:
        p = lib.from_numpy(rng.standard_normal(shape, np.float32)).requires_grad_()
        p.grad = lib.from_numpy(rng.standard_normal(shape, np.float32))
        out.append(p)
    return out


def optimizer(lib: Any, name: str, shapes: list[tuple[int, ...]], **settings: Any) -> Any:
    """An optimizer over parameters of these shapes."""
    kind = getattr(lib.optim, name.split()[0])
    return kind(parameters(lib, shapes), **OPTIMIZERS[name], **settings)


def worst(a: Any, b: Any) -> float:
    """The largest difference between the parameters of two optimizers."""
    pairs = zip(a.param_groups[0]["params"], b.param_groups[0]["params"], strict=True)
    return max(float(np.abs(x.detach().numpy() - y.detach().numpy()).max()) for x, y in pairs)


def steps(torch: Any, name: str, shapes: list[tuple[int, ...]]) -> dict[str, Any]:
    """The step of both libraries by the name of the setting."""
    made = {"tilegrad": optimizer(tg, name, shapes)}
    settings = ["foreach", *(["fused"] if name.split()[0] in FUSED else [])]
    for s in settings:
        made[f"torch {s}"] = optimizer(torch, name, shapes, **{s: True})
    for _ in range(3):
        for o in made.values():
            o.step()
    for o in made.values():
        difference = worst(made["tilegrad"], o)
        if difference > AGREE:
            raise SystemExit(f"{name}: the parameters differ by {difference:.2g} after 3 steps")
    return {k: o.step for k, o in made.items()}


def gradients(torch: Any, what: str, shapes: list[tuple[int, ...]]) -> dict[str, Any]:
    """zero_grad (filling) or clip_grad_norm_ of both libraries."""
    ours, theirs = parameters(tg, shapes), parameters(torch, shapes)
    if what == "clip_grad_norm_":

        def clipping(clip: Any, parameters: list[Any], **settings: Any) -> Any:
            """Every call has to scale: the limit lies a little below the norm of the last."""
            limit = [1e9]

            def call() -> None:
                limit[0] = 0.99999 * float(clip(parameters, limit[0], **settings))

            return call

        return {
            "tilegrad": clipping(tg.nn.utils.clip_grad_norm_, ours),
            "torch foreach": clipping(torch.nn.utils.clip_grad_norm_, theirs, foreach=True),
        }
    mine, other = tg.optim.SGD(ours), torch.optim.SGD(theirs, foreach=True)
    return {
        "tilegrad": lambda: mine.zero_grad(set_to_none=False),
        "torch foreach": lambda: other.zero_grad(set_to_none=False),
    }


def main() -> int:
    """Prints one line per optimizer and size; writes the JSON file when asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", help="write machine, versions, medians and quartiles here")
    parser.add_argument("--threads", type=int, default=kernels.host.num_threads())
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--size", action="append", choices=[*SIZES], help="only these sizes")
    parser.add_argument("--budget", type=float, default=0.3, help="seconds per candidate")
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print("optim_vs_torch: needs PyTorch, which is not installed", file=sys.stderr)
        return 2
    torch = importlib.import_module("torch")
    torch.set_num_threads(options.threads)
    kernels.host.set_num_threads(options.threads)
    print(f"tilegrad {tg.__version__}, PyTorch {torch.__version__}, {options.threads} threads")
    if note := busy():
        print(note)
    rows = []
    for size in options.size or SIZES:
        for name in [*OPTIMIZERS, "zero_grad", "clip_grad_norm_"]:
            if options.only not in name:
                continue
            make = steps if name in OPTIMIZERS else gradients
            candidates = make(torch, name, SIZES[size])
            timings = measure([*candidates.values()], budget=options.budget, pause=0.005)
            found = dict(zip(candidates, timings, strict=True))
            best = min(t.median for k, t in found.items() if k != "tilegrad")
            ratio = best / found["tilegrad"].median
            times = "  ".join(f"{k} {t.median * 1e6:10.1f} us" for k, t in found.items())
            print(f"{size:6} {name:16} {ratio:6.2f}x  {times}", flush=True)
            entries = {k: t._asdict() for k, t in found.items()}
            rows.append({"size": size, "name": name, "ratio": ratio, "candidates": entries})
    if options.json:
        versions = {"tilegrad": tg.__version__, "torch": torch.__version__, "numpy": np.__version__}
        report = {"machine": {**machine(), "threads": options.threads}, "versions": versions}
        with open(options.json, "w") as f:
            json.dump({**report, "rows": rows}, f, indent=1)
            f.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
