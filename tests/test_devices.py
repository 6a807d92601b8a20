"""What programs ask and set before they choose a device, and what they pass out of habit."""

import importlib

import pytest

import tilegrad as tg
from tilegrad.errors import DeviceError, GradientError
from tilegrad.errors import ValueError as TgValueError


def test_there_is_no_accelerator():
    spaces = (tg.cuda, tg.accelerator, tg.backends.cudnn, tg.backends.mps)
    assert [space.is_available() for space in spaces] == [False] * 4
    assert tg.cuda.device_count() == tg.accelerator.device_count() == 0
    assert tg.accelerator.current_accelerator() is None and not tg.backends.mps.is_built()
    assert tg.device("cuda:0" if tg.cuda.is_available() else "cpu").type == "cpu"
    assert not tg.zeros(1).is_cuda


def test_seeding_it_leaves_the_host_alone():
    tg.manual_seed(3)
    tg.cuda.manual_seed(1), tg.cuda.manual_seed_all(2), tg.cuda.empty_cache()
    assert tg.initial_seed() == 3


def test_the_default_device_is_the_cpu():
    tg.set_default_device("cpu")
    tg.set_default_device(tg.get_default_device())
    with pytest.raises(DeviceError, match="'cuda' is not available"):
        tg.set_default_device("cuda")


def test_switches_of_other_libraries_can_be_set(monkeypatch):
    cudnn = importlib.import_module("tilegrad.backends.cudnn")
    assert cudnn is tg.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", True)
    assert tg.backends.cudnn.benchmark is True


def test_inference_mode_records_nothing():
    x = tg.ones(2, requires_grad=True)

    @tg.inference_mode()
    def called():
        return x * 2

    @tg.inference_mode
    def plain():
        return x * 2

    assert not called().requires_grad and not plain().requires_grad
    with tg.inference_mode():
        y = x * 2
        with tg.inference_mode(mode=False):
            assert (x * 2).requires_grad
    (x * y).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_unused_inputs_of_grad_become_zeros_on_request():
    x, y = tg.ones(2, requires_grad=True), tg.ones(3, dtype=tg.float64, requires_grad=True)
    loss = (x * x).sum()
    got = tg.autograd.grad(loss, (x, y), None, True, False, True, materialize_grads=True)
    assert [g.tolist() for g in got] == [[2.0, 2.0], [0.0, 0.0, 0.0]] and got[1].dtype == tg.float64
    assert tg.autograd.grad(loss, (x, y), None, True, False, True, True)[1] is None
    with pytest.raises(GradientError, match="was not used"):
        tg.autograd.grad(loss, (x, y), only_inputs=True)


def test_a_group_of_parameters_may_be_empty():
    x = tg.ones(2, requires_grad=True)
    optimizer = tg.optim.SGD([{"params": []}, {"params": [x], "lr": 0.5}], lr=1.0)
    x.sum().backward()
    optimizer.step()
    assert x.tolist() == [0.5, 0.5] and len(optimizer.state_dict()["param_groups"]) == 2
    with pytest.raises(TgValueError, match="empty list of parameters"):
        tg.optim.SGD([], lr=1.0)


def test_new_tensors_take_the_dtype():
    x = tg.zeros(2, dtype=tg.float64)
    assert x.new_tensor([1, 2]).dtype == tg.float64 and x.new_tensor(1, dtype=tg.int8).item() == 1
    assert x.new_tensor([1.0], requires_grad=True).requires_grad
    assert x.nelement() == 2 and x.ndimension() == 1
    norm = tg.nn.InstanceNorm2d(3, affine=True, bias=False)
    assert norm.bias is None and norm.weight.shape == (3,)
