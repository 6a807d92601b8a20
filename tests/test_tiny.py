"""One second: does the house stand?"""

import numpy as np

import tilegrad as tg


def test_tiny():
    x = tg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = (x * x + 2 * x).sum() if hasattr(x, "sum") else (x * x + 2 * x)
    y.backward(tg.ones(y.shape))
    np.testing.assert_array_equal(x.grad.numpy(), [[4, 6], [8, 10]])
