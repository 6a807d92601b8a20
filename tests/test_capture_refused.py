"""capture: what cannot be repeated is refused, by line."""

import random
import re

import numpy as np
import pytest

import tilegrad as tg
from tilegrad.errors import CaptureError

kept = []


def test_what_cannot_be_captured():
    w = tg.ones(2, requires_grad=True)
    array = np.ones(2, "f")
    nested = [[tg.ones(2)]]
    count = 0

    def counts(x):
        nonlocal count
        count += 1
        return x + 1.0

    mistakes = {
        "item() gives a value": lambda x: x * x.sum().item(),
        "bool() gives a value": lambda x: x if x.sum() > 0 else -x,
        "numpy() gives a value": lambda x: x.numpy(),
        "repr() gives a value": lambda x: (str(x), x)[1],
        "NumPy": lambda x: x * tg.tensor(np.ones(2, "f") * 3.0),
        "belongs to no tensor": lambda x: x * array,
        "NumPy made": lambda x: tg.sort(x)[0] + 1.0,
        "view of a tensor": lambda x: nested[0][0][:1],
        "NumPy array; return": lambda x: array,
        "requires grad and was not": lambda x: w * x,
        "depends on values": lambda x: tg.masked_select(x, x > 0.0),
        "random stream of Python": lambda x: x * random.random(),
        "variable of its closure": counts,
        "seeding": lambda x: (tg.manual_seed(0), x + 1.0)[1],
    }
    for message, f in mistakes.items():
        with pytest.raises(CaptureError, match=re.escape(message)):
            tg.capture(f)(tg.ones(2))
    line = f"{__file__}:"
    with pytest.raises(CaptureError) as e:
        tg.capture(mistakes["item() gives a value"])(tg.ones(2))
    assert e.value.where.startswith(line)


def test_tensors_that_are_kept():
    f = tg.capture(lambda x: kept.append(x * 2.0))
    with pytest.raises(CaptureError, match="is kept after the call"):
        for _ in range(4):
            f(tg.ones(2))
    kept.clear()


def test_fallback():
    f = tg.capture(lambda x: x * x.sum().item(), fallback=True)
    with pytest.warns(UserWarning, match="runs without being captured") as seen:
        values = [f(tg.full((2,), float(k))).tolist() for k in range(4)]
    assert values == [[2.0 * k * k] * 2 for k in range(4)]
    assert len(seen) == 1


def test_fallback_after_numpy():
    f = tg.capture(lambda x: tg.sort(x)[0] + 1.0, fallback=True)
    with pytest.warns(UserWarning, match="NumPy made"):
        assert f(tg.tensor([2.0, 1.0])).tolist() == [2.0, 3.0]
    assert f(tg.tensor([5.0, 4.0])).tolist() == [5.0, 6.0]
    g = tg.capture(lambda x: tg.masked_select(x, x > 1.0).sum(), fallback=True)
    with pytest.warns(UserWarning, match="depends on values"):
        assert g(tg.tensor([2.0, 1.0])).item() == 2.0
    assert g(tg.tensor([2.0, 3.0])).item() == 5.0


def test_arguments_that_are_refused():
    f = tg.capture(lambda x: x + 1.0)
    with pytest.raises(CaptureError, match="NumPy array"):
        f(np.ones(2))
    with pytest.raises(TypeError, match="callable"):
        tg.capture(3)


def test_inside_another_capture_and_under_forward_mode():
    inner = tg.capture(lambda x: x * 2.0)
    outer = tg.capture(lambda x: inner(x) + 1.0)
    assert [outer(tg.full((2,), k)).tolist() for k in (1.0, 2.0, 3.0)] == [[3, 3], [5, 5], [7, 7]]
    assert tg.func.jvp(inner, (tg.ones(2),), (tg.ones(2),))[1].tolist() == [2.0, 2.0]
