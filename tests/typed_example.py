"""A program a type checker must accept, and one line it must reject (see test_types)."""

import math
from collections.abc import Sequence

import numpy as np

import tilegrad as tg
from tilegrad import Tensor


def norm(xs: Sequence[Tensor]) -> float:
    """The Euclidean norm of several tensors."""
    total = 0.0
    for x in xs:
        total += float(x.reshape(-1).square().to(tg.float64).sum())
    return math.sqrt(total)


def step(w: Tensor, x: Tensor, lr: float = 0.1) -> Tensor:
    """One step down the slope of a product."""
    y: Tensor = tg.tanh(x.mul(w) + 1.0)[0, ..., ::2]
    y.backward(tg.ones_like(y))
    assert w.grad is not None
    with tg.no_grad():
        w -= lr * w.grad
    rows, columns = w.shape[0], w.size(1)
    array: np.ndarray = w.detach().numpy()
    return tg.from_numpy(array).reshape(rows, columns).T.float()
