"""Names that older programs use: tensors by the names of their dtypes, shapes changed in place."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import typed

SHAPES = {
    "unsqueeze_": (0,),
    "squeeze_": (1,),
    "t_": (),
    "transpose_": (0, 1),
    "swapaxes_": (1, 0),
    "swapdims_": (0, 1),
}


@pytest.mark.parametrize("name", typed.NAMES)
def test_typed_tensors(name):
    make = getattr(tg, name)
    assert make is typed.NAMES[name]
    assert make(2, 3).shape == (2, 3) and make(3).tolist() == [0, 0, 0] and make().shape == (0,)
    for data in ([1, 0], (1, 0), np.array([1.0, 0]), tg.tensor([1, 0], dtype=tg.int8)):
        x = make(data)
        assert x.dtype == make.dtype and x.tolist() == [1, 0] and type(x) is tg.Tensor
    assert (isinstance(x, make) and not isinstance(x.double(), make)) or name == "DoubleTensor"
    for form in (make, f"torch.{name}", f"tilegrad.{name}", make.dtype):
        assert tg.tensor([1.0]).type(form).dtype == make.dtype
    assert x.type() == f"tilegrad.{name}"
    for wrong in ((2.5,), (2, 3.0), (True,)):
        with pytest.raises(TypeError, match=f"{name}: expects sizes"):
            make(*wrong)
    with pytest.raises(tg.errors.ShapeError, match="negative size"):
        make(-1)


def test_tensor_of_a_shape():
    assert tg.Tensor(2, 3).shape == (2, 3) and tg.Tensor([2, 3]).tolist() == [2, 3]
    assert tg.Tensor(tg.tensor(3)).item() == 3 and tg.Tensor().shape == (0,)
    a = np.zeros(2, np.float32)
    assert not np.shares_memory(tg.Tensor(a).numpy(), a)
    p = tg.nn.Parameter(tg.Tensor(2, 2))
    assert p.requires_grad and p.shape == (2, 2)


def test_type_refuses_other_names():
    with pytest.raises(tg.errors.DTypeError, match=r"no tensors are called 'torch.StringTensor'"):
        tg.zeros(1).type("torch.StringTensor")
    assert tg.zeros(1, dtype=tg.uint16).type() == "uint16"


def test_type_passes_gradients():
    x = tg.ones(2, requires_grad=True)
    x.type(tg.DoubleTensor).sum().backward()
    assert x.grad.tolist() == [1, 1] and x.grad.dtype == tg.float32


def test_new_tensor_counts_and_sizes():
    x = tg.zeros(2, 3, dtype=tg.float64)
    assert x.new_tensor([1, 2]).dtype == tg.float64
    assert x.new_tensor(1, dtype=tg.int8, requires_grad=False).dtype == tg.int8
    assert x.new_tensor([1], requires_grad=True).requires_grad
    assert x.nelement() == 6 and x.ndimension() == 2


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_in_place(name):
    a = np.arange(6.0).reshape(3, 1, 2) if name != "t_" else np.arange(6.0).reshape(2, 3)
    x = tg.from_numpy(a)
    want = getattr(x, name[:-1])(*SHAPES[name]).shape
    view = x[0]
    assert getattr(x, name)(*SHAPES[name]) is x and x.shape == want
    x.fill_(7)  # the memory is still that of the array and of the view
    assert (a == 7).all() and (view == 7).all()
    leaf = tg.from_numpy(a.copy()).requires_grad_()
    with pytest.raises(
        tg.errors.GradientError, match="_: a leaf that requires grad keeps its shape"
    ):
        getattr(leaf, name)(*SHAPES[name])
    y = leaf * 2
    getattr(y, name)(*SHAPES[name])
    (y * tg.arange(6.0).reshape(want)).sum().backward()
    g = np.asarray(leaf.grad)
    assert sorted(g.ravel()) == [0, 2, 4, 6, 8, 10] and g.shape == leaf.shape


def test_where_of_one_argument():
    m = tg.tensor([[True, False], [True, True]])
    assert [i.tolist() for i in tg.where(m)] == [[0, 1, 1], [0, 0, 1]]
    assert tg.where(tg.tensor([0.0, 2.0]))[0].tolist() == [1]
    with pytest.raises(TypeError, match=r"where\(\) takes"):
        tg.where(m, 1)


@pytest.mark.parametrize("make", [tg.zeros, tg.ones, tg.empty, tg.rand, tg.randn])
def test_size_by_name(make):
    assert make(size=(2, 3)).shape == make(size=[2, 3]).shape == (2, 3)
    assert make(size=4).shape == (4,)
    with pytest.raises(TypeError, match="multiple values for argument 'size'"):
        make(2, size=(2,))


def test_arange_by_name():
    assert tg.arange(end=3).tolist() == [0, 1, 2] and tg.arange(start=1, end=3).tolist() == [1, 2]


def test_inference_mode():
    with tg.inference_mode():
        assert not tg.is_grad_enabled()
        with tg.inference_mode(mode=False):
            assert tg.is_grad_enabled()
    assert not tg.inference_mode(tg.is_grad_enabled)()
    assert not tg.inference_mode()(tg.is_grad_enabled)()
    assert tg.autograd.inference_mode is tg.inference_mode


def test_flatten_parameters_changes_nothing():
    layer = tg.nn.GRU(2, 3)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    assert layer.flatten_parameters() is None
    assert all((before[k] == v).all() for k, v in layer.state_dict().items())


def test_comparisons_in_place():
    x = tg.tensor([1.0, 2.0, 3.0])
    assert x.gt_(1) is x and x.tolist() == [0, 1, 1] and x.dtype == tg.float32
    assert x.logical_not_().tolist() == [1, 0, 0] and x.eq_(x.clone()).tolist() == [1, 1, 1]
    assert tg.tensor([1, 0]).logical_and_(tg.tensor([1.0, 1.0])).tolist() == [1, 0]
    assert tg.tensor([1, 5]).less_equal_(3).dtype == tg.int64
    y = tg.ones(2, requires_grad=True) * 2
    assert not y.greater_(1).requires_grad
