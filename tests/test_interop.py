"""Tensors from other memory, in-place methods of shape, switches, ``tilegrad.special``."""

import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors
from tilegrad.testing import assert_close, gradcheck


# --- other memory ---------------------------------------------------------------------------------
def test_asarray_shares_or_copies_as_asked():
    a = np.zeros(3, np.float32)
    assert np.shares_memory(tg.asarray(a).numpy(), a)
    assert not np.shares_memory(tg.asarray(a, copy=True).numpy(), a)
    x = tg.ones(2, requires_grad=True)
    assert not tg.asarray(x).requires_grad
    assert tg.asarray(x * 2, requires_grad=True).grad_fn is not None
    assert tg.asarray([1, 2], dtype=tg.float64, requires_grad=True).requires_grad
    with pytest.raises(errors.ValueError, match="asarray: copy=False"):
        tg.asarray([1.0], copy=False)
    with pytest.raises(errors.ValueError, match="asarray: copy=False"):
        tg.asarray(a, dtype=tg.float64, copy=False)


def test_buffers_and_dlpack():
    memory = bytearray(np.arange(4, dtype="<i4").tobytes())
    t = tg.frombuffer(memory, dtype=tg.int32, count=2, offset=4)
    assert t.tolist() == [1, 2]
    t[0] = 7
    assert np.frombuffer(memory, "<i4")[1] == 7
    with pytest.raises(errors.ValueError, match="frombuffer"):
        tg.frombuffer(b"123", dtype=tg.int32)
    with pytest.raises(errors.DTypeError, match="frombuffer"):
        tg.frombuffer(5, dtype=tg.int32)
    a = np.arange(3)
    assert np.shares_memory(tg.from_dlpack(a).numpy(), a)
    with pytest.raises(errors.DTypeError, match="from_dlpack: ext_tensor must have"):
        tg.from_dlpack([1.0])


def test_range_includes_its_end():
    assert tg.range(0, 1, 0.25).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert tg.range(3, 1, -1, dtype=tg.int64).tolist() == [3, 2, 1]
    with pytest.raises(errors.ValueError):
        tg.range(1, 3, 0)


# --- strides --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("args", "error"),
    [
        (((3,), (3,)), errors.ValueError),
        (((2,), (-1,), 1), errors.ValueError),
        (((2,), (1,), -1), errors.ValueError),
        (((2, 2), (1,)), errors.ShapeError),
        (((-2,), (1,)), errors.ShapeError),
    ],
)
def test_a_view_cannot_leave_its_storage(args, error):
    with pytest.raises(error, match="as_strided"):
        tg.as_strided(tg.zeros(6), *args)


def test_a_strided_view_is_written_through_unless_it_overlaps():
    x = tg.zeros(2, 3)
    x.as_strided((2,), (3,), 1)[...] = 5.0
    assert x.tolist() == [[0.0, 5.0, 0.0], [0.0, 5.0, 0.0]]
    with pytest.raises(errors.ValueError, match="read-only"):
        x.as_strided((2, 2), (1, 1)).zero_()
    with pytest.raises(errors.ShapeError, match="must be contiguous"):
        x.t().as_strided((2,), (1,))


# --- in place -------------------------------------------------------------------------------------
def test_shapes_change_in_place():
    x = tg.arange(6).reshape(2, 3)
    assert x.unsqueeze_(0) is x
    assert x.transpose_(0, 2).shape == (3, 2, 1)
    assert x.squeeze_(axis=-1).t_().tolist() == [[0, 1, 2], [3, 4, 5]]
    w = tg.ones(2, 3, requires_grad=True)
    y = w * 2
    y.t_().tril_().cumsum_(0)
    y.sum().backward()
    assert w.grad.tolist() == [[6.0, 4.0, 2.0], [0.0, 4.0, 2.0]]
    with pytest.raises(errors.GradientError, match="t_: a leaf that requires grad keeps its shape"):
        w.t_()


def test_logic_in_place():
    x = tg.tensor([0.0, 2.0, 3.0])
    assert x.clone().logical_and_(tg.tensor([1, 0, 1])).tolist() == [0.0, 0.0, 1.0]
    assert x.clone().logical_not_().tolist() == [1.0, 0.0, 0.0]
    assert tg.tensor([1, 2]).bitwise_left_shift_(2).tolist() == [4, 8]
    assert tg.tensor([1, 2]).bitwise_not_().tolist() == [-2, -3]


@pytest.mark.parametrize(
    ("name", "args", "quartiles"),
    [
        ("exponential_", (2.0,), [-math.log(q) / 2.0 for q in (0.75, 0.5, 0.25)]),
        ("geometric_", (0.25,), [1.0, 3.0, 5.0]),
        ("log_normal_", (0.0, 1.0), [math.exp(-0.6745), 1.0, math.exp(0.6745)]),
        ("cauchy_", (1.0, 2.0), [-1.0, 1.0, 3.0]),
    ],
)
@pytest.mark.parametrize("dtype", [tg.float16, tg.float32, tg.float64], ids=str)
def test_drawn_in_place(name, args, quartiles, dtype):
    tg.manual_seed(5)
    x = tg.zeros(20001, dtype=dtype)
    assert getattr(x, name)(*args) is x
    found = tg.quantile(x.double(), tg.tensor([0.25, 0.5, 0.75], dtype=tg.float64))
    np.testing.assert_allclose(found.numpy(), quartiles, rtol=0.06, atol=0.06)
    with pytest.raises(errors.DTypeError, match=name):
        getattr(tg.zeros(2, dtype=tg.int64), name)(*args)
    with pytest.raises(errors.ValueError, match=name):
        getattr(x, name)(*[-1.0 for _ in args])


# --- what a tensor says ---------------------------------------------------------------------------
def test_what_a_tensor_says():
    x = tg.zeros(2, 3)
    assert (x.nelement(), x.ndimension(), x.get_device()) == (6, 2, -1)
    assert not any((x.is_cuda, x.is_sparse, x.is_meta, x.is_quantized, x.is_complex()))
    assert x.type() == "tilegrad.FloatTensor"
    assert x.type("torch.LongTensor").dtype == tg.int64
    assert x[1, 1:].storage_offset() == 4
    assert tg.tensor([1], dtype=tg.int8).new_tensor([3]).dtype == tg.int8
    y = tg.ones(1, requires_grad=True) * 2
    assert not y.retains_grad
    y.retain_grad()
    assert y.retains_grad
    assert isinstance(x.dtype, tg.dtype)


def test_printing():
    x = tg.tensor([1 / 3, 1e-7])
    try:
        tg.set_printoptions(precision=2, sci_mode=True)
        assert repr(x) == "tensor([3.33e-01, 1.00e-07])"
        tg.set_printoptions(profile="short", threshold=3)
        assert repr(tg.arange(9)) == "tensor([0, 1, ..., 7, 8])"
        with pytest.raises(errors.ValueError, match="profile is one of"):
            tg.set_printoptions(profile="long")
    finally:
        tg.set_printoptions(profile="default")
    assert repr(tg.tensor([1 / 3])) == "tensor([0.3333])"


def test_inference_mode():
    @tg.inference_mode()
    def inside():
        return tg.is_grad_enabled()

    assert inside() is False
    assert tg.inference_mode(tg.is_grad_enabled)() is False
    with tg.inference_mode(False):
        assert tg.is_grad_enabled()


# --- tilegrad.special -----------------------------------------------------------------------------
SPECIAL = {  # at -1.5, 0, 0.3, 1, 2.5, by PyTorch 2.13.0
    "entr": [-math.inf, 0.0, 0.36119184, 0.0, -2.29072683],
    "ndtr": [0.0668072, 0.5, 0.61791142, 0.84134475, 0.99379033],
    "expit": [0.18242552, 0.5, 0.57444252, 0.73105858, 0.92414182],
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special(name):
    x = tg.tensor([-1.5, 0.0, 0.3, 1.0, 2.5], dtype=tg.float64)
    fn = getattr(tg.special, name)
    assert_close(fn(x), np.array(SPECIAL[name]), rtol=1e-6)
    z = tg.tensor([0.3, 0.9], dtype=tg.float64, requires_grad=True)
    gradcheck(fn, [z], second_order=True)


def test_special_of_two():
    a = tg.tensor([0.0, 2.0, 0.0], dtype=tg.float64)
    y = tg.special.xlog1py(a, tg.tensor([-2.0, 0.5, math.nan], dtype=tg.float64))
    np.testing.assert_allclose(y.numpy(), [0.0, 2.0 * math.log(1.5), math.nan])
    assert_close(tg.special.ndtri(tg.special.ndtr(a)), a.numpy(), atol=1e-12)
