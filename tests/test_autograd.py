"""The tape: graph shapes, accumulation, hooks, in-place changes, memory, depth, threads."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import autograd
from tilegrad.errors import GradientError, TilegradError
from tilegrad.testing import gradcheck


def leaf(values, dtype=tg.float64):
    return tg.tensor(values, dtype=dtype, requires_grad=True)


def test_diamond():
    x = leaf([2.0, 3.0])
    a = x * x
    y = a * 3 + a * x + x
    y.backward(tg.ones_like(y))
    np.testing.assert_allclose(x.grad.numpy(), 6 * x.numpy(force=True) + 3 * np.array([4, 9.0]) + 1)


@pytest.mark.parametrize("uses", range(1, 10))
def test_fan_out(uses):
    x = leaf([1.5])
    y = x * 1
    total = y * 1
    for k in range(1, uses):
        total = total + y * (k + 1)
    total.backward(tg.ones_like(total))
    assert x.grad.item() == uses * (uses + 1) / 2


def test_accumulates_over_backwards():
    x = leaf([1.0, 2.0])
    for n in range(1, 4):
        (x * x).backward(tg.ones(2, dtype=tg.float64))
        np.testing.assert_array_equal(x.grad.numpy(), n * 2 * np.array([1.0, 2.0]))


def test_second_backward_needs_retain_graph():
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12
    with pytest.raises(GradientError, match=r"mul was already differentiated.*retain_graph"):
        y.backward()


def test_gradients_do_not_alias():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    seed = tg.ones(2, dtype=tg.float64)
    (a + b).backward(seed)
    a.grad.mul_(10)
    np.testing.assert_array_equal(b.grad.numpy(), [1, 1])
    np.testing.assert_array_equal(seed.numpy(), [1, 1])
    c = leaf([1.0, 2.0])
    c.reshape(2, 1).backward(tg.ones(2, 1, dtype=tg.float64))
    assert c.grad.numpy().base is None


def test_grad_leaves_dot_grad_alone():
    x, z = leaf(2.0), leaf(5.0)
    (g,) = autograd.grad(x * x * z, x)
    assert g.item() == 20 and x.grad is None and z.grad is None


def test_grad_of_an_intermediate():
    x = leaf(2.0)
    y = x * x
    z = y * y
    gy, gx = autograd.grad(z, [y, x])
    assert gy.item() == 8 and gx.item() == 32


def test_grad_unused():
    x, z = leaf(2.0), leaf(5.0)
    with pytest.raises(GradientError, match=r"input 1 .* was not used"):
        autograd.grad(x * x, [x, z])
    assert autograd.grad(x * x, [x, z], allow_unused=True)[1] is None


def test_backward_with_inputs():
    x, z = leaf(2.0), leaf(5.0)
    (x * z).backward(inputs=x)
    assert x.grad.item() == 5 and z.grad is None


def test_third_order():
    x = leaf(2.0)
    y = x**4
    for expected in (32.0, 48.0, 48.0, 24.0):
        (y,) = autograd.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected)


def test_create_graph_leaves_no_cycle():
    gc.collect()
    gc.disable()
    try:
        x = leaf([1.0, 2.0])
        (x * x * x).backward(tg.ones_like(x), create_graph=True)
        assert x.grad.requires_grad
        dead = weakref.ref(x), weakref.ref(x.grad)
        del x
        assert all(r() is None for r in dead)
    finally:
        gc.enable()


def test_memory_is_released_by_reference_counting():
    from tilegrad import kernels

    if not hasattr(kernels.host, "memory_stats"):
        pytest.skip("the reference has no pool")
    gc.collect()
    gc.disable()
    try:
        before = kernels.host.memory_stats()["in_use"]
        for _ in range(3):
            x = tg.zeros(1000, requires_grad=True)
            y = x
            for _ in range(20):
                y = (y * 2).tanh()
            y.backward(tg.ones(1000))
            del x, y
        assert kernels.host.memory_stats()["in_use"] == before
    finally:
        gc.enable()


def test_saved_values_are_freed_by_backward():
    x = leaf([1.0])
    y = x * x
    held = weakref.ref(y._node.saved[0]) if y._node.saved[0].base is None else None
    y.backward(tg.ones_like(y))
    assert y._node.saved is None and held is not None


def test_deep_chain():
    x = tg.tensor([1.0], requires_grad=True)
    y = x
    for _ in range(1_000_000):
        y = y + x
    y.backward()
    assert x.grad.item() == 1_000_001
    del y


def test_no_grad_and_enable_grad():
    x = leaf(2.0)
    with tg.no_grad():
        y = x * x
        with tg.enable_grad():
            z = x * x
    assert not y.requires_grad and z.requires_grad
    assert not tg.no_grad()(lambda: x * x)().requires_grad
    with tg.set_grad_enabled(False):
        assert not (x * x).requires_grad
    with pytest.raises(RuntimeError), tg.no_grad():
        raise RuntimeError
    assert (x * x).requires_grad


def test_grad_mode_is_per_thread():
    seen = []
    with tg.no_grad():
        t = threading.Thread(target=lambda: seen.append(tg.is_grad_enabled()))
        t.start()
        t.join()
    assert seen == [True]


def test_hooks():
    x = leaf([1.0, 2.0])
    y = x * 2
    seen = []
    handle = y.register_hook(lambda g: seen.append(g.tolist()) or g * 10)
    y.retain_grad()
    (y * 3).backward(tg.ones_like(y))
    assert seen == [[3, 3]] and x.grad.tolist() == [60, 60] and y.grad.tolist() == [30, 30]
    handle.remove()
    handle.remove()
    x.grad = None
    done = []
    x.register_post_accumulate_grad_hook(lambda t: done.append(t.grad.tolist()))
    (x * 3).backward(tg.ones_like(x))
    assert done == [[3, 3]]


def test_hook_handles_stay_distinct():
    x = leaf(1.0)
    calls = []
    first = x.register_hook(lambda g: calls.append("a"))
    first.remove()
    second = x.register_hook(lambda g: calls.append("b"))
    first.remove()
    (x * 1).backward()
    second.remove()
    assert calls == ["b"]


def test_saved_value_changed_in_place_raises():
    x = leaf([1.0, 2.0])
    w = tg.tensor([3.0, 4.0], dtype=tg.float64)
    y = x * w
    w.mul_(2)
    with pytest.raises(GradientError, match=r"input 1 of mul .*changed in place"):
        y.backward(tg.ones_like(y))
    w = tg.tensor([3.0, 4.0], dtype=tg.float64)
    y = x * w
    w[0] = 7  # through a slice
    with pytest.raises(GradientError, match="changed in place"):
        y.backward(tg.ones_like(y))
    w = tg.tensor([3.0, 4.0], dtype=tg.float64)
    v = w[:1]
    y = x * w
    v.zero_()  # through a view made before
    with pytest.raises(GradientError, match="changed in place"):
        y.backward(tg.ones_like(y))


def test_unsaved_value_may_change():
    x = leaf([1.0, 2.0])
    w = tg.tensor([3.0, 4.0], dtype=tg.float64)
    y = x + w
    w.mul_(2)
    y.backward(tg.ones_like(y))
    assert x.grad.tolist() == [1, 1]


def test_in_place_on_leaf_raises():
    x = leaf([1.0])
    with pytest.raises(GradientError, match="leaf that requires grad"):
        x += 1
    with pytest.raises(GradientError, match="leaf that requires grad"):
        x[0] = 1
    with tg.no_grad():
        x += 1
    assert x.item() == 2 and x.is_leaf and x.requires_grad


def test_in_place_on_computed_rebinds():
    x = leaf([1.0, 2.0])
    y = x * 2
    z = y * y
    before = y
    y += x
    assert y is before and y.tolist() == [3, 6]
    (z + y).backward(tg.ones_like(y))
    assert x.grad.tolist() == [8 * 1 + 3, 8 * 2 + 3]


def test_in_place_of_constant_by_gradient():
    x = leaf([1.0, 2.0])
    buffer = tg.zeros(3, dtype=tg.float64)
    buffer[1:] = x * 3
    (buffer * buffer).backward(tg.ones(3, dtype=tg.float64))
    assert x.grad.tolist() == [18, 36]


def test_recorded_in_place_on_shared_storage_raises():
    x = leaf([1.0, 2.0])
    y = x * 2
    v = y[:1]
    with pytest.raises(GradientError, match="shares storage"):
        y += 1
    with pytest.raises(GradientError, match="shares storage"):
        v += 1
    del v
    y += 1


def test_setitem_gradient():
    def f(a, b):
        y = a * 1
        y[1:, 0] = b
        return y * y

    a = leaf(np.arange(6.0).reshape(3, 2))
    gradcheck(f, [a, leaf([5.0, 6.0])], second_order=True)
    gradcheck(f, [a, leaf(5.0)], second_order=True)


def test_detach_shares_storage_and_version():
    x = leaf([1.0, 2.0])
    y = x * x
    d = x.detach()
    assert not d.requires_grad and d.data_ptr() == x.data_ptr()
    d.zero_()
    with pytest.raises(GradientError, match="changed in place"):
        y.backward(tg.ones_like(y))


def test_integer_results_are_constants():
    x = leaf([1.0, -2.0])
    assert not (x > 0).requires_grad
    assert not x.to(tg.int64).requires_grad
    with pytest.raises(GradientError, match="floating"):
        tg.tensor([1]).requires_grad_()


def test_missing_rule_raises_by_name():
    from tilegrad.ops import rules

    rule = rules.refused("no_such_derivative", "has no derivative")
    try:
        x = leaf([1.0])
        y = rules.record(rule, x.numpy(force=True), (x,))
        with pytest.raises(GradientError, match="no_such_derivative: has no derivative"):
            y.backward()
    finally:
        del rules.RULES["no_such_derivative"]


def test_mixed_dtypes():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x * tg.tensor([3.0, 4.0], dtype=tg.float64)
    assert y.dtype == tg.float64
    y.backward(tg.ones_like(y))
    assert x.grad.dtype == tg.float32 and x.grad.tolist() == [3, 4]


def test_gradient_must_match():
    x = leaf([1.0, 2.0])
    with pytest.raises(GradientError, match="must be given for an output of shape"):
        (x * x).backward()
    with pytest.raises(GradientError, match=r"the gradient has shape \(3,\)"):
        (x * x).backward(tg.ones(3, dtype=tg.float64))
    with pytest.raises(GradientError, match="float32"):
        (x * x).backward(tg.ones(2))
    with pytest.raises(GradientError, match="does not require grad"):
        tg.ones(1).backward()
    with pytest.raises(GradientError, match="expects shape"):
        x.grad = tg.ones(3)


def test_pickle_and_deepcopy():
    x = leaf([[1.0, 2.0]])
    x.grad = tg.ones(1, 2, dtype=tg.float64)
    y = copy.deepcopy(x)
    assert y.requires_grad and y.grad.tolist() == [[1, 1]] and y.data_ptr() != x.data_ptr()
    z = pickle.loads(pickle.dumps(x))
    assert z.requires_grad and z.tolist() == x.tolist() and z.dtype == x.dtype
    b = pickle.loads(pickle.dumps(tg.ones(2, dtype=tg.bfloat16)))
    assert b.dtype == tg.bfloat16 and b.tolist() == [1, 1]
    for f in (copy.deepcopy, pickle.dumps):
        with pytest.raises(GradientError, match="only leaves"):
            f(x * 2)


def test_repr():
    assert repr(tg.tensor([1.0, 2.5])) == "tensor([1. , 2.5])"
    assert repr(leaf([1.0])) == "tensor([1.], dtype=float64, requires_grad=True)"
    assert repr(leaf([1.0]) * 2) == "tensor([2.], dtype=float64, grad_fn=<mul>)"
    assert repr(tg.zeros(0, 3)) == "tensor([], shape=(0, 3))"
    assert repr(tg.ones(1, dtype=tg.bfloat16)) == "tensor([1.], dtype=bfloat16)"
    assert f"{tg.tensor(0.5):.3f}" == "0.500"


def test_numpy_on_either_side():
    x = leaf([1.0, 2.0])
    a = np.array([3.0, 4.0])
    for y in (x * a, a * x, np.float64(2) * x, x * np.float64(2), a - x, 2 - x, a @ x if 0 else x):
        assert isinstance(y, tg.Tensor)
    assert (np.float32(2) * tg.ones(1)).dtype == tg.float32
    with pytest.raises(RuntimeError, match="detach"):
        x.numpy()
    with pytest.raises(RuntimeError, match="detach"):
        np.asarray(x)
    assert np.asarray(x.detach()).base is not None or np.asarray(x.detach()) is x.detach().numpy()
    t = tg.from_numpy(a)
    a[0] = 9
    assert t[0].item() == 9


def test_from_numpy_of_foreign_memory():
    swapped = np.array([1.0, 2.0]).astype(">f8")
    assert tg.from_numpy(swapped).tolist() == [1, 2]
    raw = np.zeros(17, np.uint8)[1:].view(np.float64)
    assert tg.from_numpy(raw).tolist() == [0, 0]
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        tg.from_numpy(frozen).add_(1)


def test_iteration_and_truth():
    x = tg.tensor([[1, 2], [3, 4]])
    assert [r.tolist() for r in x] == [[1, 2], [3, 4]] and len(x) == 2
    assert int(tg.tensor(3)) == 3 and float(tg.tensor(0.5)) == 0.5 and [7, 8][tg.tensor(1)] == 8
    with pytest.raises(ValueError, match="truth value"):
        bool(x)
    with pytest.raises(TypeError, match="0-d"):
        len(tg.tensor(1))
    with pytest.raises(ValueError, match="one element"):
        x.item()
    assert x.size == 4 and x.size() == (2, 2) and x.size(1) == 2


def test_promotion_table():
    f16, bf16, i8, u8 = tg.float16, tg.bfloat16, tg.int8, tg.uint8
    assert tg.promote_types(f16, bf16) == tg.float32
    assert tg.promote_types(i8, u8) == tg.int16
    assert tg.promote_types(tg.int64, f16) == f16
    with pytest.raises(TypeError, match="no integer dtype"):
        tg.promote_types(tg.uint64, i8)
    assert tg.result_type(tg.ones(2, dtype=f16), tg.tensor(1.0, dtype=tg.float64)) == f16
    assert tg.result_type(tg.ones(2, dtype=i8), tg.tensor(1.0, dtype=tg.float64)) == tg.float64
    assert tg.result_type(tg.ones(2, dtype=i8), 1) == i8
    assert tg.result_type(tg.ones(2, dtype=i8), 1.0) == tg.float32
    assert tg.result_type(tg.ones(2, dtype=i8), tg.tensor(1, dtype=tg.int64)) == i8
    assert (tg.ones(2, dtype=bf16) * 2.5).dtype == bf16
    assert (tg.tensor([True]) + True).dtype == tg.bool
    assert (tg.tensor([1]) / 2).dtype == tg.float32


def test_scalar_out_of_range_raises():
    with pytest.raises(TilegradError, match="300 is out of range for uint8"):
        tg.ones(2, dtype=tg.uint8) + 300


def test_import_is_light():
    code = (
        "import sys, tilegrad; heavy = [m for m in ('scipy', 'matplotlib', 'rich', 'sklearn',"
        " 'safetensors', 'numba', 'cupy', 'PIL', 'torch') if m in sys.modules]\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
