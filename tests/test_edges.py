"""Edges whose answers are known without a reference: what PyTorch, or mathematics, gives there."""

import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors
from tilegrad.testing import assert_close

INF = math.inf


def evaluate(text, x=((1.0, 2.0), (4.0, 8.0)), requires_grad=False):
    x = tg.tensor(x, requires_grad=requires_grad)
    names = {"tg": tg, "x": x, "i": tg.tensor([1, 2]), "z": tg.tensor(3.0), "INF": INF}
    return x, eval(text, names)


VALUES = [
    # dim 0 and -1 of a tensor without dimensions
    ("z.sum(0)", 3.0, "float32"),
    ("z.amax(-1, keepdim=True)", 3.0, "float32"),
    ("z.max(0).indices", 0, "int64"),
    ("z.logsumexp(0)", 3.0, "float32"),
    ("z.norm(INF, 0, True)", 3.0, "float32"),
    ("z.movedim(0, -1)", 3.0, "float32"),
    # the dtype asked for
    ("i.sum(dtype='int32')", 3, "int32"),
    ("i.prod(dtype='int8')", 2, "int8"),
    ("i.cumsum(0, dtype='int16')", [1, 3], "int16"),
    ("i ** 2.0", [1.0, 4.0], "float32"),
    ("i ** 2", [1, 4], "int64"),
    ("tg.tensor([True]).square()", [1], "int64"),
    ("tg.tensor([False, True]) ** False", [True, True], "bool"),
    ("tg.hstack([tg.tensor(1.0, dtype='float64'), tg.tensor([2.0])])", [1.0, 2.0], "float64"),
    ("tg.arange(1.5, dtype='int64')", [0], "int64"),
    ("tg.logsumexp(i - i, 0)", math.log(2.0), "float32"),
    # unbiased in the place of dim, and after it
    ("x.var(1, False)", [0.25, 4.0], "float32"),
    ("x.var(False)", 7.1875, "float32"),
    ("x.std(1, False, True)", [[0.5], [2.0]], "float32"),
    ("tg.var_mean(x, 0, False)[1]", [2.5, 5.0], "float32"),
    ("tg.std_mean(x, axis=1, keepdims=True)[1]", [[1.5], [6.0]], "float32"),
    # without overflow, and with infinities
    ("tg.hypot(tg.tensor([3e30, INF, 0.0]), tg.tensor([4e30, -INF, 0.0]))", [5e30, INF, 0.0],
     "float32"),
    ("tg.tensor([300.0, 400.0], dtype='float16').norm()", 500.0, "float16"),
    # axis beside dim
    ("x.argmax(axis=0)", [1, 1], "int64"),
    ("x.argmin(axis=1, keepdims=True)", [[0], [0]], "int64"),
    ("x.max(axis=1).values", [2.0, 8.0], "float32"),
    ("x.cumsum(axis=1)", [[1.0, 3.0], [4.0, 12.0]], "float32"),
    ("x.cumprod(axis=0)", [[1.0, 2.0], [4.0, 16.0]], "float32"),
    ("(x > 3).any(axis=1, keepdims=True)", [[False], [True]], "bool"),
    ("(x > 3).all(axis=1)", [False, True], "bool"),
    ("(x * 0).softmax(axis=1)", [[0.5, 0.5], [0.5, 0.5]], "float32"),
    ("tg.log_softmax(x * 0, axis=0).exp()", [[0.5, 0.5], [0.5, 0.5]], "float32"),
    ("tg.count_nonzero(x - 1, axis=0)", [1, 2], "int64"),
    ("tg.cat([i, i], axis=0)", [1, 2, 1, 2], "int64"),
    ("tg.stack([i, i], axis=1)", [[1, 1], [2, 2]], "int64"),
    ("i.unsqueeze(axis=0).squeeze(axis=0)", [1, 2], "int64"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "dtype"), VALUES)
def test_value(text, value, dtype):
    _, y = evaluate(text)
    assert_close(y, np.array(value, dtype))


GRADIENTS = [  # of the sum, at x
    ("x.std()", [2.0, 2.0], [0.0, 0.0]),
    ("x.norm(3)", [0.0, 0.0], [0.0, 0.0]),
    ("x.norm(0.5)", [0.0, 4.0], [0.0, 1.0]),
    ("tg.atan2(x, x)", [0.0], [0.0]),
    ("x.clamp(tg.tensor(-1.0), tg.tensor(1.0))", [-1.0, 0.5, 1.0, 2.0], [1.0, 1.0, 1.0, 0.0]),
    ("tg.tensor(0.5).clamp(max=x)", [0.5, 0.25, 1.0], [0.0, 1.0, 0.0]),
    ("tg.div(z, x, rounding_mode='trunc')", [0.0, 2.0], [0.0, 0.0]),
    ("tg.tensor(0.0) ** x", [2.0, -1.0], [0.0, -INF]),
]


@pytest.mark.parametrize(("text", "x", "gradient"), GRADIENTS)
def test_gradient(text, x, gradient):
    x, y = evaluate(text, x, requires_grad=True)
    y.sum().backward()
    assert_close(x.grad, np.array(gradient, np.float32))


def test_alpha_is_multiplied_in_the_promoted_dtype():
    a, b = tg.tensor([1.0], dtype=tg.float64), tg.tensor([0.1])
    assert tg.sub(a, b, alpha=3).item() == 1.0 - np.float64(np.float32(0.1)) * 3


def test_chunks_of_nothing():
    assert [x.shape for x in tg.zeros(0, 2).chunk(3)] == [(0, 2)] * 3


def test_hooks_run_when_inputs_are_named():
    x = tg.tensor([2.0], requires_grad=True)
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
    (x * x).sum().backward(inputs=[x])
    assert seen == [4.0]


def test_switches_as_bare_decorators():
    @tg.no_grad
    def inner():
        return tg.is_grad_enabled()

    assert not inner()
    assert tg.enable_grad(tg.is_grad_enabled)()
    with tg.set_grad_enabled(mode=False):
        assert not tg.is_grad_enabled()


REFUSED = [
    ("tg.tensor([1, 2**63])", errors.ValueError, "an integer is out of range for int64"),
    ("tg.tensor([[1, 2], [2**63, -1]])", errors.ValueError, "out of range for int64"),
    ("tg.tensor(INF, dtype='int64')", errors.ValueError, "tensor: inf is out of range for int64"),
    ("tg.tensor([1.0, float('nan')], dtype='int8')", errors.ValueError, "nan is out of range"),
    ("tg.tensor(1e10, dtype='int32')", errors.ValueError, "10000000000.0 is out of .* int32"),
    ("tg.tensor([-1], dtype='uint8')", errors.ValueError, "-1 is out of range for uint8"),
    ("x.sum(0, axis=0)", errors.ValueError, "sum: dim and axis are two names"),
    ("x.cumsum()", TypeError, "cumsum: dim must be an int, got NoneType"),
    ("x.sum(True)", TypeError, "sum: dim must be an int, got bool"),
    ("x.norm('nuc')", errors.ValueError, "norm: p is a number, 'fro' or None, got 'nuc'"),
]


@pytest.mark.parametrize(("text", "error", "message"), REFUSED)
def test_refused(text, error, message):
    with pytest.raises(error, match=message):
        evaluate(text)
