"""Matrix products in float32 against NumPy (OpenBLAS) and PyTorch (MKL), at the kernel entry.

    PYTHONPATH=python python benchmarks/matmul_vs_peers.py [part of a name ...] [--threads 1 2]
        [--rounds 7] [--json FILE]

m x k x n is one product, b: m x k x n a batch; a and b behind it say which operand is transposed.
Printed are medians, and how many times as long the faster peer takes. Results are held against
each other in tests/test_matmul_kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from turns import Row, main

SQUARES = (8, 16, 17, 24, 31, 32, 48, 64, 96, 127, 128, 192, 255, 256, 384, 512)
LARGE = (768, 1000, 1024, 1023, 1536, 2048, 4096)
LAYERS = (
    (1, 784, 256), (2, 784, 256), (3, 784, 256), (4, 784, 256), (8, 784, 256), (64, 784, 256),
    (32, 2048, 1000), (64, 400, 120), (120, 64, 400), (64, 120, 84), (64, 256, 10),
    (1, 2048, 1000), (4, 2048, 1000), (1000, 20, 1000), (20, 1000, 20), (784, 64, 256),
)  # fmt: skip
BATCHES = ((512, 32, 32, 32), (512, 16, 16, 16), (64, 8, 64, 8), (16, 128, 64, 128))


def rows() -> list[Row]:
    """All products, small ones first."""
    shapes = [(0, n, n, n, "") for n in SQUARES + LARGE]
    shapes += [
        (0, n, n, n, t)
        for n in (16, 31, 64, 128, 255, 256, 512, 1000, 1024)
        for t in ("a", "b", "ab")
    ]
    shapes += [(0, *s, t) for s in LAYERS for t in ("", "a", "b")]
    shapes += [(*s, "") for s in BATCHES]
    return [
        Row(f"{f'{b}: ' if b else ''}{m}x{k}x{n} {t}".strip(), [b, m, k, n, t],
            2.0 * max(b, 1) * m * k * n)
        for b, m, k, n, t in shapes
    ]  # fmt: skip


def _operand(rng: np.random.Generator, batch: int, rows: int, cols: int, turned: bool) -> Any:
    shape = ((batch,) if batch else ()) + ((cols, rows) if turned else (rows, cols))
    memory = np.empty(int(np.prod(shape)) + 16, np.float32)
    begin = -memory.ctypes.data % 64 // 4  # where every library would have put it
    x = memory[begin : memory.size - 16 + begin].reshape(shape)
    x[...] = rng.standard_normal(shape)
    return x.swapaxes(-1, -2) if turned else x


def make(peer: str, spec: list[Any]) -> Callable[[], Any]:
    """One product by one library."""
    batch, m, k, n, turned = spec
    rng = np.random.default_rng(0)
    a = _operand(rng, batch, m, k, "a" in turned)
    b = _operand(rng, batch, k, n, "b" in turned)
    if peer == "numpy":
        return lambda: np.matmul(a, b)
    if peer == "tilegrad":
        from tilegrad import kernels

        return lambda: kernels.host.matmul(a, b)
    import torch

    torch.inference_mode().__enter__()
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    product = torch.bmm if batch else torch.mm
    return lambda: product(x, y)


if __name__ == "__main__":
    main(__doc__ or "", rows(), make, ("numpy", "torch"))
