"""Steps of optimizers against PyTorch's fastest setting.

    PYTHONPATH=python python benchmarks/optim_vs_torch.py [part of a name ...] [--threads 1 2]
        [--rounds 7] [--json FILE]

Every optimizer steps over the same parameters and gradients in either library; PyTorch once per
setting it has (foreach, fused), of which the ratio takes the faster. The last rows of a size are
zero_grad(set_to_none=False) and clip_grad_norm_. That the steps agree is tested, not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from turns import Row, main

SIZES = {
    "lenet": [(6, 1, 5, 5), (6,), (16, 6, 5, 5), (16,), (120, 400), (120,), (84, 120), (84,),
              (10, 84), (10,)],
    "mlp": [(64, 32), (64,), (64, 64), (64,), (64, 64), (64,), (10, 64), (10,)],
    "1M": [(1000, 1000)],
    "10M": [(10_000_000,)],
}  # fmt: skip
OPTIMIZERS: dict[str, dict[str, Any]] = {
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
ROWS = [
    Row(f"{size} {name}", [size, name])
    for size in SIZES
    for name in [*OPTIMIZERS, "zero_grad", "clip_grad_norm_"]
]


def _parameters(lib: Any, shapes: list[tuple[int, ...]]) -> list[Any]:
    rng = np.random.default_rng(0)
    out = []
    for shape in shapes:
        p = lib.from_numpy(rng.standard_normal(shape, np.float32)).requires_grad_()
        p.grad = lib.from_numpy(rng.standard_normal(shape, np.float32))
        out.append(p)
    return out


def make(peer: str, spec: list[Any]) -> Callable[[], Any] | None:
    """One step, or None where the peer has no such setting."""
    module, _, setting = peer.partition(" ")
    lib, (size, name) = import_module(module), spec
    kind = name.split()[0]
    if setting == "fused" and kind not in FUSED:
        return None
    settings = {setting: True} if setting else {}
    parameters = _parameters(lib, SIZES[size])
    if name == "zero_grad":
        optimizer = lib.optim.SGD(parameters, lr=1e-3, **settings)
        return lambda: optimizer.zero_grad(set_to_none=False)
    if name == "clip_grad_norm_":
        limit = [1e9]  # every call has to scale: a little below the norm of the last

        def clip() -> None:
            norm = lib.nn.utils.clip_grad_norm_(parameters, limit[0], **settings)
            limit[0] = 0.99999 * float(norm)

        return clip
    step: Callable[[], Any] = getattr(lib.optim, kind)(
        parameters, **OPTIMIZERS[name], **settings
    ).step
    return step


if __name__ == "__main__":
    main(__doc__ or "", ROWS, make, ("torch foreach", "torch fused"))
