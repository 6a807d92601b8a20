"""Modules: what they hold, how they are found, saved and shown."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn
from tilegrad.errors import (
    DTypeError,
    GradientError,
    StateError,
)
from tilegrad.errors import IndexError as TgIndexError
from tilegrad.testing import assert_close


@pytest.fixture(autouse=True)
def seeded():
    tg.manual_seed(7)


def rng():
    return np.random.default_rng(3)


def randn(*shape):
    return tg.tensor(rng().standard_normal(shape), dtype=tg.float64)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


NAMES = [
    "features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias", "head.weight",
    "head.bias",
]  # fmt: skip
BUFFERS = [f"features.1.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")]


# --- what a module holds --------------------------------------------------------------------------
def test_names_follow_the_order_of_assignment():
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_buffers()] == BUFFERS
    assert [n for n, _ in net.named_children()] == ["features", "head"]
    assert [n for n, _ in net.named_modules()] == [
        "", "features", "features.0", "features.1", "features.2", "head",
    ]  # fmt: skip
    assert [n for n, _ in net.named_parameters("net", recurse=False)] == []
    assert [n for n, _ in net.head.named_parameters("top")] == ["top.weight", "top.bias"]
    assert net.get_submodule("features.0") is net.features[0]
    with pytest.raises(AttributeError, match="Sequential has no child '9'"):
        net.get_submodule("features.9")


def test_shared_parameters_are_listed_once():
    net = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert "1.weight" in net.state_dict()
    twin = copy.deepcopy(net)
    assert twin[1].weight is twin[0].weight and twin[0].weight is not net[0].weight


def test_parameter():
    base = tg.zeros(2)
    p = nn.Parameter(base)
    assert isinstance(p, nn.Parameter) and p.requires_grad and p.is_leaf and p.dtype == tg.float32
    with tg.no_grad():
        p += 1
    assert base.tolist() == [1, 1]
    assert type(p + 1) is tg.Tensor
    assert not nn.Parameter(tg.tensor([1]), requires_grad=False).requires_grad
    assert repr(p).startswith("Parameter containing:\ntensor([1., 1.]")
    with pytest.raises(GradientError):
        nn.Parameter(tg.tensor([1]))
    y = (p * p).sum()
    with tg.no_grad():
        base += 1
    with pytest.raises(GradientError, match="changed in place"):
        y.backward()


def test_assignment():
    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    with pytest.raises(AttributeError, match=r"super\(\).__init__"):
        Early()
    m = nn.Linear(2, 2)
    with pytest.raises(TypeError, match="weight: expects a Parameter or None, got Tensor"):
        m.weight = tg.zeros(2, 2)
    m.bias = None
    assert [n for n, _ in m.named_parameters()] == ["weight"] and m.bias is None
    m.bias = nn.Parameter(tg.ones(2))
    assert m(tg.zeros(1, 2)).tolist() == [[1, 1]]
    m.extra = 5
    m.extra = nn.ReLU()
    assert [n for n, _ in m.named_children()] == ["extra"]
    del m.extra, m.bias
    assert not hasattr(m, "extra") and not hasattr(m, "bias")
    m.register_buffer("count", tg.zeros(1))
    m.count = tg.ones(1)
    assert m.state_dict()["count"].tolist() == [1]
    with pytest.raises(TypeError, match="expects a Tensor or None, got int"):
        m.count = 3
    with pytest.raises(AttributeError, match="already has an attribute 'forward'"):
        m.register_parameter("forward", None)
    with pytest.raises(TypeError, match="without dots"):
        m.add_module("a.b", nn.ReLU())
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'nothing'"):
        m.nothing  # noqa: B018
    assert "weight" in dir(m)


def test_transient_buffers_stay_out_of_the_state():
    m = nn.Module()
    m.register_buffer("kept", tg.zeros(1))
    m.register_buffer("scratch", tg.zeros(1), persistent=False)
    assert list(m.state_dict()) == ["kept"]
    assert [n for n, _ in m.named_buffers()] == ["kept", "scratch"]


def test_modes_and_gradients():
    net = Net()
    assert all(m.training for m in net.modules())
    assert net.eval() is net and not any(m.training for m in net.modules())
    assert net.train() is net and net.features[1].training
    net(tg.randn(2, 1, 5, 5)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all(float(abs(p.grad).sum()) == 0 for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_apply_visits_children_first():
    seen = []
    net = Net()
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Conv2d", "BatchNorm2d", "ReLU", "Sequential", "Linear", "Net"]


def test_to_changes_floating_values_and_gradients_in_place():
    net = Net()
    weight = net.head.weight
    net(tg.randn(2, 1, 5, 5)).sum().backward()
    assert net.double() is net and net.head.weight is weight
    assert weight.dtype == weight.grad.dtype == tg.float64
    assert net.features[1].running_mean.dtype == tg.float64
    assert net.features[1].num_batches_tracked.dtype == tg.int64
    assert net(tg.randn(2, 1, 5, 5, dtype=tg.float64)).dtype == tg.float64
    net.to(memory_format=tg.channels_last)
    assert net.features[0].weight.is_contiguous(memory_format=tg.channels_last)
    with pytest.raises(DTypeError, match="floating"):
        net.to(tg.int64)
    with pytest.raises(RuntimeError, match="cuda"):
        net.to("cuda")


def test_repr_is_pytorchs():
    assert repr(Net()) == (
        "Net(\n"
        "  (features): Sequential(\n"
        "    (0): Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1))\n"
        "    (1): BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, "
        "track_running_stats=True)\n"
        "    (2): ReLU()\n"
        "  )\n"
        "  (head): Linear(in_features=4, out_features=2, bias=True)\n"
        ")"
    )
    for layer, text in (
        (nn.Conv2d(4, 8, 3, 2, "valid", groups=2, bias=False),
         "Conv2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=valid, groups=2, bias=False)"),
        (nn.Conv1d(2, 2, 3, padding=1, padding_mode="reflect"),
         "Conv1d(2, 2, kernel_size=(3,), stride=(1,), padding=(1,), padding_mode=reflect)"),
        (nn.ConvTranspose2d(2, 2, 3, stride=2, output_padding=1),
         "ConvTranspose2d(2, 2, kernel_size=(3, 3), stride=(2, 2), output_padding=(1, 1))"),
        (nn.MaxPool2d(2),
         "MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False)"),
        (nn.AvgPool2d(3, 2), "AvgPool2d(kernel_size=3, stride=2, padding=0)"),
        (nn.AdaptiveAvgPool2d((1, 1)), "AdaptiveAvgPool2d(output_size=(1, 1))"),
        (nn.LayerNorm(4), "LayerNorm((4,), eps=1e-05, elementwise_affine=True, bias=True)"),
        (nn.GroupNorm(2, 4), "GroupNorm(2, 4, eps=1e-05, affine=True, bias=True)"),
        (nn.Embedding(5, 3, padding_idx=-1), "Embedding(5, 3, padding_idx=4)"),
        (nn.Dropout(), "Dropout(p=0.5, inplace=False)"),
        (nn.LeakyReLU(0.2, True), "LeakyReLU(negative_slope=0.2, inplace=True)"),
        (nn.Softmax(1), "Softmax(dim=1)"), (nn.ModuleList(), "ModuleList()"),
        (nn.Unflatten(1, (2, 3)), "Unflatten(dim=1, unflattened_size=(2, 3))"),
    ):  # fmt: skip
        assert repr(layer) == text


# --- state ----------------------------------------------------------------------------------------
def test_state_dict_shares_and_loads():
    a, b = Net(), Net()
    state = a.state_dict()
    assert list(state) == [*NAMES[:4], *BUFFERS, *NAMES[4:]]
    assert not any(t.requires_grad for t in state.values())
    b.load_state_dict(state)
    for (_, p), (_, q) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        assert_close(p, q, rtol=0, atol=0)
    with tg.no_grad():
        state["head.bias"].fill_(9)
    assert a.head.bias.tolist() == [9, 9] and b.head.bias.tolist() != [9, 9]
    assert a.state_dict(keep_vars=True)["head.bias"] is a.head.bias
    assert list(a.head.state_dict(prefix="x.")) == ["x.weight", "x.bias"]


def test_load_names_everything_that_differs_and_writes_nothing():
    net = Net()
    before = {k: v.numpy().copy() for k, v in net.state_dict().items()}
    state = {k: tg.ones(*v.shape, dtype=v.dtype) for k, v in net.state_dict().items()}
    del state["head.bias"]
    state["head.more"] = tg.zeros(1)
    state["features.0.weight"] = tg.zeros(4, 1, 5, 5)
    state["features.1.num_batches_tracked"] = tg.tensor(1.5)
    with pytest.raises(StateError) as e:
        net.load_state_dict(state)
    assert isinstance(e.value, RuntimeError)
    assert (
        e.value.args[0]
        == """\
load_state_dict: the state does not fit Net: 1 missing, 1 unexpected, 1 other shape, 1 other dtype
               name                            the module            the state
  missing      head.bias                       (2,) float32          -
  unexpected   head.more                       -                     (1,) float32
  other shape  features.0.weight               (4, 1, 3, 3) float32  (4, 1, 5, 5) float32
  other dtype  features.1.num_batches_tracked  () int64              () float32"""
    )
    for k, v in net.state_dict().items():
        np.testing.assert_array_equal(v.numpy(), before[k])
    with pytest.raises(TypeError, match="expects a mapping, got list"):
        net.load_state_dict([])


def repair(state):
    """The last line of what a module with the entries body.weight and body.bias says to a state."""
    net = nn.Module()
    net.body = nn.Linear(2, 1)
    with pytest.raises(StateError) as e:
        net.load_state_dict(state)
    return e.value.args[0].splitlines()[-1]


def test_load_knows_prefixes():
    good = {f"body.{k}": v for k, v in nn.Linear(2, 1).state_dict().items()}
    wrapped = {f"module.{k}": v for k, v in good.items()}
    assert repair(wrapped) == (
        'without "module." in front, 2 of 2 missing names are there: '
        'load {k.removeprefix("module."): v for k, v in state.items()}'
    )
    assert repair({**wrapped, "head.weight": tg.ones(1)}) == repair(wrapped)
    deep = {f"a.b.{k}": v for k, v in good.items()}
    assert repair(deep) == repair(wrapped).replace("module.", "a.b.")
    bare = {k.removeprefix("body."): v for k, v in good.items()}
    assert repair(bare) == (
        'with "body." in front, 2 of 2 missing names are there: '
        'load {"body." + k: v for k, v in state.items()}'
    )
    assert repair({"epoch": 3, "net": good}) == (
        "2 of 2 missing names are in state['net']: load that"
    )
    assert repair({**good, 3: None}).split() == ["unexpected", "3", "-", "NoneType"]
    for entry in ("weight2", "body2.weight", "body.weight.x"):
        assert repair({entry: tg.ones(1)}).split() == ["unexpected", entry, "-", "(1,)", "float32"]


def test_load_not_strict():
    m = nn.Linear(2, 1)
    keys = m.load_state_dict({"weight": np.ones((1, 2)), "other": tg.zeros(1)}, strict=False)
    assert keys.missing_keys == ["bias"] and keys.unexpected_keys == ["other"]
    assert m.weight.tolist() == [[1, 1]] and m.weight.dtype == tg.float32
    with pytest.raises(StateError, match="does not fit Linear: 1 other shape\n"):
        m.load_state_dict({"weight": tg.ones(3, 2), "more": 1}, strict=False)
    fresh = tg.zeros(1, 2)
    m.load_state_dict({"weight": fresh, "bias": tg.zeros(1)}, assign=True)
    with tg.no_grad():
        fresh += 2
    assert m.weight.tolist() == [[2, 2]]


def test_a_batch_norm_of_old_files_has_no_count():
    net = nn.Sequential(nn.BatchNorm1d(2))
    state = {k: v for k, v in net.state_dict().items() if k != "0.num_batches_tracked"}
    keys = net.load_state_dict({**state, "0.running_mean": tg.ones(2)})
    assert keys.missing_keys == [] and net[0].running_mean.tolist() == [1, 1]
    del state["0.running_mean"]
    with pytest.raises(StateError, match="2 missing"):
        net.load_state_dict(state)


def test_what_is_no_tensor_is_named():
    m = nn.Linear(2, 1)
    with pytest.raises(StateError, match=r"no tensor +weight +\(1, 2\) float32 +NoneType"):
        m.load_state_dict({"weight": None, "bias": tg.zeros(1)})
    with pytest.raises(StateError, match="1 other dtype"):
        m.load_state_dict({"weight": tg.ones(1, 2).long(), "bias": tg.zeros(1)}, assign=True)
    assert m.weight.dtype == tg.float32
    m.load_state_dict({"weight": tg.ones(1, 2).long(), "bias": tg.zeros(1)})
    assert m.weight.tolist() == [[1, 1]]


def test_copies_are_independent():
    net = Net()
    x = tg.randn(3, 1, 6, 6)
    net(x)
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(twin) == repr(net)
        assert isinstance(twin.head.weight, nn.Parameter) and twin.head.weight.requires_grad
        assert_close(twin.eval()(x), net.eval()(x), rtol=0, atol=0)
        with tg.no_grad():
            twin.head.weight.zero_()
        assert float(abs(net.head.weight).sum()) > 0


# --- hooks and errors -----------------------------------------------------------------------------
def test_hooks():
    m, log = nn.Linear(2, 2), []
    m.weight.data = tg.eye(2)
    m.bias.data = tg.zeros(2)
    x = tg.tensor([[1.0, 2.0]])
    first = m.register_forward_hook(lambda mod, args, y: log.append((mod, args, y)))
    y = m(x)
    assert log == [(m, (x,), y)]
    first.remove()
    first.remove()
    doubled = m.register_forward_pre_hook(lambda mod, args: args[0] * 2)
    assert m(x).tolist() == [[2, 4]]
    m.register_forward_hook(lambda mod, args, y: y + 1)
    m.register_forward_hook(lambda mod, args, y: y * 10, prepend=True)
    assert m(x).tolist() == [[21, 41]]
    doubled.remove()
    m.register_forward_pre_hook(lambda mod, a, k: ((k["input"] * 3,), {}), with_kwargs=True)
    m.register_forward_hook(lambda mod, a, k, y: y - 1 if k == {} else y, with_kwargs=True)
    assert m(input=x).tolist() == [[30, 60]]
    assert len(log) == 1


def test_errors_name_the_layer_and_keep_their_class():
    net = Net()
    with pytest.raises(ValueError) as e:
        net(tg.zeros(2, 3, 8, 8))
    assert str(e.value).startswith("in Net.features.0 (Conv2d): conv")
    with pytest.raises(ValueError, match=r"^in Linear: "):
        net.head(tg.zeros(2, 5))

    class Failing(nn.Module):
        def __init__(self, error):
            super().__init__()
            self.error = error

        def forward(self, x):
            raise self.error

    custom = type("CustomError", (Exception,), {})
    for error, expected in (
        (custom("no"), "in Sequential.0.1 (Failing): no"),
        (GradientError("g"), "in Sequential.0.1 (Failing): g"),
        (KeyError("k"), "'k'"),
        (custom("a", "b"), "('a', 'b')"),
    ):
        model = nn.Sequential(nn.Sequential(nn.Identity(), Failing(error)))
        with pytest.raises(type(error)) as e:
            model(1)
        assert str(e.value) == expected

    class Hidden(nn.Module):
        def forward(self, x):
            return [nn.Sequential(Failing(custom("no")))][0](x)

    with pytest.raises(custom, match=r"^in Hidden\.\?\.0 \(Failing\): no$"):
        Hidden()(1)
    with pytest.raises(NotImplementedError, match=r"Module does not define forward"):
        nn.Module()()


# --- containers -----------------------------------------------------------------------------------
def test_sequential():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    s = nn.Sequential(a, b, c)
    assert len(s) == 3 and s[0] is a and s[-1] is c and list(s) == [a, b, c]
    assert list(s[1:]) == [b, c] and isinstance(s[:2], nn.Sequential)
    assert s[:2][0].weight is a.weight
    s[1] = d = nn.Tanh()
    assert s[1] is d
    del s[1]
    assert list(s.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    s.insert(1, b)
    assert s.append(d) is s and list(s) == [a, b, c, d]
    assert [type(m).__name__ for m in s + nn.Sequential(nn.Identity())][-1] == "Identity"
    named = nn.Sequential(OrderedDict(first=a, second=b))
    assert named.first is a and repr(named).count("(second): ReLU()") == 1
    x = randn(4, 2).float()
    w, v = a.weight.numpy(force=True), a.bias.numpy(force=True)
    assert_close(named(x), np.maximum(x.numpy() @ w.T + v, 0))
    for i in (4, -5):
        with pytest.raises(TgIndexError, match="out of range for 4 modules"):
            s[i]
    with pytest.raises(TypeError, match="expects modules"):
        s.append(lambda x: x)


def test_module_list():
    m = nn.ModuleList([nn.Linear(2, 2)])
    m += [nn.ReLU()]
    m.extend(nn.ModuleList([nn.Tanh()]))
    assert [n for n, _ in m.named_children()] == ["0", "1", "2"]
    assert isinstance(m[1:], nn.ModuleList) and len(m[1:]) == 2
    del m[0:2]
    assert isinstance(m[0], nn.Tanh) and len(m + nn.ModuleList([nn.ReLU()])) == 2
    with pytest.raises(NotImplementedError):
        m(1)


# --- seeds ----------------------------------------------------------------------------------------
def test_a_seed_fixes_the_values():
    def weights(seed):
        tg.manual_seed(seed)
        return [p.numpy(force=True) for p in Net().parameters()]

    for a, b in zip(weights(5), weights(5), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (weights(5)[0] != weights(6)[0]).any()
