"""Layers, optimizers, schedules and initial values beside PyTorch's, where that is installed."""

import inspect
import math

import numpy as np
import pytest
from beside_pytorch import TABLE, array, compare, torch

import tilegrad as tg
from tilegrad.testing import assert_close

pytestmark = pytest.mark.filterwarnings("ignore")

LAYERS = [  # name, arguments, shape of the input
    ("Linear", (4, 3), {}, (5, 4)),
    ("Linear", (4, 3), {"bias": False}, (2, 5, 4)),
    ("Conv1d", (2, 4, 3), {"stride": 2, "padding": 1}, (3, 2, 9)),
    ("Conv2d", (2, 4, 3), {"padding": "same", "groups": 2}, (3, 2, 7, 6)),
    ("Conv2d", (2, 4, (3, 2)), {"padding": (2, 1), "padding_mode": "reflect"}, (3, 2, 7, 6)),
    ("Conv2d", (2, 4, 3, 1, 1, 2), {"padding_mode": "replicate"}, (3, 2, 7, 6)),
    ("Conv3d", (2, 4, 2), {"bias": False}, (2, 2, 4, 5, 4)),
    ("ConvTranspose1d", (2, 3, 3), {"stride": 2, "output_padding": 1}, (2, 2, 5)),
    ("ConvTranspose2d", (4, 2, 3, (2, 3), 1), {"groups": 2, "dilation": 2}, (2, 4, 4, 5)),
    ("ConvTranspose3d", (2, 3, 2), {}, (1, 2, 3, 3, 2)),
    ("MaxPool1d", (2,), {}, (2, 3, 7)),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1, "ceil_mode": True}, (2, 3, 7, 8)),
    ("MaxPool2d", (2,), {"return_indices": True, "dilation": 2}, (2, 3, 7, 8)),
    ("MaxPool3d", (2, 1), {}, (2, 3, 4, 5, 4)),
    ("AvgPool1d", (3, 2, 1), {}, (2, 3, 8)),
    ("AvgPool2d", (3, 2, 1, True, False), {}, (2, 3, 8, 7)),
    ("AvgPool2d", (2,), {"divisor_override": 3}, (2, 3, 8, 7)),
    ("AvgPool3d", (2,), {}, (2, 3, 4, 4, 5)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 8)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 3, 8, 7)),
    ("AdaptiveAvgPool3d", (2,), {}, (1, 2, 3, 4, 5)),
    ("AdaptiveMaxPool1d", (3,), {}, (2, 3, 8)),
    ("AdaptiveMaxPool2d", (3,), {"return_indices": True}, (2, 3, 8, 7)),
    ("AdaptiveMaxPool3d", (2,), {}, (1, 2, 3, 4, 5)),
    ("BatchNorm1d", (4,), {}, (6, 4)),
    ("BatchNorm1d", (4,), {"momentum": None}, (6, 4, 3)),
    ("BatchNorm2d", (3,), {"eps": 1e-3, "affine": False}, (4, 3, 5, 5)),
    ("BatchNorm2d", (3,), {"bias": False}, (4, 3, 5, 5)),
    ("BatchNorm3d", (2,), {"track_running_stats": False}, (3, 2, 3, 3, 3)),
    ("LayerNorm", (4,), {}, (3, 5, 4)),
    ("LayerNorm", ((5, 4),), {"bias": False}, (3, 5, 4)),
    ("GroupNorm", (2, 6), {}, (3, 6, 5)),
    ("GroupNorm", (3, 6), {"bias": False}, (3, 6, 5, 2)),
    *((name, (), {}, (4, 5)) for name in ("ReLU", "GELU", "SiLU", "Sigmoid", "Tanh", "Softplus")),
    ("LeakyReLU", (0.2,), {}, (4, 5)),
    ("ELU", (0.7,), {}, (4, 5)),
    ("GELU", ("tanh",), {}, (4, 5)),
    ("Softplus", (2, 1.5), {}, (4, 5)),
    ("Softmax", (1,), {}, (4, 5)),
    ("LogSoftmax", (-1,), {}, (4, 5)),
    ("Identity", (3,), {"unused": 1}, (4,)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Unflatten", (1, (2, 3)), {}, (2, 6)),
    ("Dropout", (0.0,), {}, (4, 5)),
]  # fmt: skip


def like_pytorchs(mine, theirs, rng):
    """Gives both modules the same random parameters and buffers."""
    state = theirs.state_dict()
    assert list(mine.state_dict()) == list(state)
    for name, t in state.items():
        if t.dtype.is_floating_point:
            low = 0.1 if "var" in name else -0.5
            state[name] = torch.tensor(rng.uniform(low, 0.5, tuple(t.shape)).astype(np.float32))
    theirs.load_state_dict(state)
    mine.load_state_dict({name: tg.tensor(t.numpy()) for name, t in state.items()})


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("name", "args", "options", "shape"), LAYERS)
def test_layer(name, args, options, shape, train):
    """Outputs, gradients and buffers over two steps; the state dict's names; the printed form."""
    rng = np.random.default_rng(0)
    mine, theirs = (getattr(space.nn, name)(*args, **options) for space in (tg, torch))
    like_pytorchs(mine, theirs, rng)
    assert repr(mine) == repr(theirs) or name == "AvgPool1d"  # which prints (3,) for 3
    mine.train(train), theirs.train(train)
    for _ in range(2):
        x = rng.uniform(-2.0, 2.0, shape).astype(np.float32)
        both = [space.tensor(x, requires_grad=True) for space in (tg, torch)]
        y, z = mine(both[0]), theirs(both[1])
        compare(y, z, name, 200)
        u = None
        for space, out in ((tg, y), (torch, z)):
            out = out[0] if isinstance(out, tuple) else out
            u = rng.uniform(-1.0, 1.0, tuple(out.shape)).astype(np.float32) if u is None else u
            (out * space.tensor(u)).sum().backward()
        compare(both[0].grad, both[1].grad, f"{name} gradient", 400)
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            compare(p.grad, q.grad, f"{name} gradient of a parameter", 1000)
    for key, t in mine.state_dict().items():
        assert_close(array(t), array(theirs.state_dict()[key]), reduction_length=200, what=key)


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding(padding_idx):
    mine, theirs = (space.nn.Embedding(5, 3, padding_idx) for space in (tg, torch))
    assert_close(array(mine.weight)[padding_idx], np.zeros(3, "f4")) if padding_idx else None
    like_pytorchs(mine, theirs, np.random.default_rng(0))
    index = [[0, 2, 4], [4, 4, 2]]
    y, z = mine(tg.tensor(index)), theirs(torch.tensor(index))
    compare(y, z, "embedding")
    (y * y).sum().backward(), (z * z).sum().backward()
    compare(mine.weight.grad, theirs.weight.grad, "gradient")


LOSSES = [("MSELoss", False), ("L1Loss", False), ("NLLLoss", True), ("CrossEntropyLoss", True)]


@pytest.mark.parametrize("options", [{}, {"reduction": "sum"}, {"reduction": "none"},
                                     {"size_average": False}, {"reduce": False}])  # fmt: skip
@pytest.mark.parametrize(("name", "classes"), LOSSES)
def test_loss(name, classes, options):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.0, 1.0, (6, 4)).astype(np.float32)
    target = np.array([0, 3, 1, -100, 2, 2]) if classes else x[::-1].copy() * 2
    out = []
    for space in (tg, torch):
        more = {"weight": space.tensor([1.0, 2.0, 0.5, 3.0])} if classes else {}
        t = space.tensor(x, requires_grad=True)
        loss = getattr(space.nn, name)(**options, **more)(t, space.tensor(target))
        loss.sum().backward()
        out.append((loss, t.grad))
    compare(out[0], out[1], name)


# --- optimizers and their schedules ---------------------------------------------------------------
OPTIMIZERS = [
    ("SGD", {}), ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "dampening": 0.3, "maximize": True}),
    ("Adam", {}), ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True}), ("Adam", {"maximize": True}),
    ("AdamW", {}), ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"maximize": True, "eps": 1e-3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS, ids=str)
def test_twenty_steps(name, options):
    """Parameters and the state agree, also where one step leaves parameters without a gradient."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (5,), ())]
    ends, states = [], []
    for space in (tg, torch):
        params = [space.tensor(p, requires_grad=True) for p in start]
        optimizer = getattr(space.optim, name)(params, **options)
        for step in range(20):
            optimizer.zero_grad()
            sum((p * p * p.sin()).sum() for p in params[: 1 if step == 7 else 3]).backward()
            optimizer.step()
        ends.append([p.detach() for p in params])
        states.append(optimizer.state_dict()["state"])
    compare(*ends, name, 400)
    assert states[0].keys() == states[1].keys()
    for mine, theirs in zip(states[0].values(), states[1].values(), strict=True):
        assert mine.keys() == theirs.keys()
        for key in mine.keys() - {"step"}:
            assert_close(array(mine[key]), array(theirs[key]), reduction_length=400, what=key)


SCHEDULES = [
    ("StepLR", (7, 0.5)), ("StepLR", (1,)), ("MultiStepLR", ([3, 10, 10, 20], 0.3)),
    ("ExponentialLR", (0.9,)), ("LambdaLR", (lambda step: 1.0 / (1.0 + step),)),
    ("CosineAnnealingLR", (10,)), ("CosineAnnealingLR", (7, 0.01)),
]  # fmt: skip


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize(("name", "args"), SCHEDULES, ids=str)
def test_learning_rates_over_thirty_steps(name, args, chained):
    rates = []
    for space in (tg, torch):
        optimizer = space.optim.SGD([space.zeros(1, requires_grad=True)], lr=0.5)
        optimizer.add_param_group({"params": [space.zeros(2, requires_grad=True)], "lr": 0.2})
        kinds = space.optim.lr_scheduler
        schedulers = [getattr(kinds, name)(optimizer, *args)]
        if chained:
            schedulers.append(kinds.ExponentialLR(optimizer, 0.97))
        seen = []
        for _ in range(30):
            now = [group["lr"] for group in optimizer.param_groups]
            seen.append(now + schedulers[0].get_last_lr())
            optimizer.step()
            for s in schedulers:
                s.step()
        rates.append(seen)
    np.testing.assert_allclose(rates[0], rates[1], rtol=1e-13, atol=1e-15)


# --- initial values -------------------------------------------------------------------------------
INITIAL = [
    ("uniform_", (-1.0, 3.0)), ("normal_", (1.0, 2.0)), ("constant_", (1.5,)), ("ones_", ()),
    ("zeros_", ()), ("xavier_uniform_", (2.0,)), ("xavier_normal_", ()), ("kaiming_uniform_", ()),
    ("kaiming_uniform_", (0.3, "fan_out", "leaky_relu")),
    ("kaiming_normal_", (0, "fan_in", "relu")), ("kaiming_normal_", (0, "fan_out", "tanh")),
]  # fmt: skip
DRAWN = [("Linear", (60, 50)), ("Conv2d", (16, 24, 3)), ("ConvTranspose2d", (16, 24, 3)),
         ("Embedding", (80, 50))]  # fmt: skip


def same_distribution(a, b):
    """Mean, deviation and range of two large samples, within what chance allows."""
    assert a.shape == b.shape and a.dtype == b.dtype
    spread, n = b.std(), b.size
    assert abs(a.mean() - b.mean()) <= 6.0 * spread * math.sqrt(2.0 / n)
    assert abs(a.std() - b.std()) <= 6.0 * spread * math.sqrt(1.0 / n)
    tails = np.quantile(a, (0.01, 0.25, 0.75, 0.99)) - np.quantile(b, (0.01, 0.25, 0.75, 0.99))
    assert np.abs(tails).max() <= 0.3 * spread


@pytest.mark.parametrize(("name", "args"), INITIAL, ids=str)
def test_initial_values(name, args):
    tg.manual_seed(1), torch.manual_seed(1)
    out = [getattr(space.nn.init, name)(space.zeros(64, 32, 3, 3), *args) for space in (tg, torch)]
    same_distribution(*map(array, out))


@pytest.mark.parametrize(("name", "args"), DRAWN, ids=str)
def test_layers_begin_alike(name, args):
    tg.manual_seed(1), torch.manual_seed(1)
    layers = [getattr(space.nn, name)(*args) for space in (tg, torch)]
    for p, q in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        if p.ndim > 1:
            same_distribution(array(p), array(q))
        assert array(p).max() <= 1.2 * array(q).max() or name == "Embedding"


def test_gains():
    plain = ("linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu")
    for args in [(name,) for name in plain] + [("leaky_relu", slope) for slope in (None, 0.3, 2)]:
        mine, theirs = (s.nn.init.calculate_gain(*args) for s in (tg, torch))
        assert mine == pytest.approx(theirs, rel=1e-12)


# --- data -----------------------------------------------------------------------------------------
def test_loader():
    import torch.utils.data

    out = []
    for space in (tg, torch):
        data = space.utils.data
        pairs = data.TensorDataset(space.arange(10).float(), space.arange(10) * 2)
        parts = data.random_split(pairs, [0.5, 0.25, 0.25])
        kept = data.Subset(pairs, [7, 1, 3])
        loader = data.DataLoader(kept, batch_size=2, drop_last=False)
        rows = [{"a": 1, "b": (space.ones(2), 2)}, {"a": 3, "b": (space.zeros(2), 4)}]
        batch = data.default_collate(rows)
        both = data.ConcatDataset([kept, pairs]) + pairs
        assert [float(both[i][0]) for i in (0, 3, -1)] == [7.0, 0.0, 9.0]
        order = data.SubsetRandomSampler([3, 5, 4])
        samplers = [
            data.SequentialSampler(kept), data.RandomSampler(kept), order,
            data.RandomSampler(kept, num_samples=6), data.WeightedRandomSampler([0.0, 2.0], 4),
            data.RandomSampler(kept, replacement=True, num_samples=5),
        ]  # fmt: skip
        batches = data.BatchSampler(samplers[0], 2, drop_last=True)
        some = data.DataLoader(pairs, 4, sampler=order, num_workers=0, persistent_workers=False)
        stream = Stream(space)
        out.append((
            [len(both), both.cumulative_sizes, *map(len, samplers), len(batches), list(batches)],
            [sorted(s) if i != 5 else max(s) < 3 for i, s in enumerate(samplers)],
            len(some), sorted(next(iter(some))[1].tolist()), isinstance(some.sampler, data.Sampler),
            [b.tolist() for b in data.DataLoader(stream, batch_size=2)],
            [b.tolist() for b in data.DataLoader(stream + stream, 3, drop_last=True)],
            [int(b) for b in data.DataLoader(stream, batch_size=None)], data.get_worker_info(),
            [len(p) for p in parts], sorted(i for p in parts for i in p.indices), len(loader),
            [[t.tolist() for t in b] for b in loader], len(pairs), [t.item() for t in pairs[3]],
            batch["a"].tolist(), [t.tolist() for t in batch["b"]],
        ))  # fmt: skip
    assert out[0] == out[1]


def Stream(space):
    """A data set of each library without positions."""

    class Counting(space.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(5))

    return Counting()


def test_every_name_is_compared():
    names = {n for n, *_ in [*LAYERS, *LOSSES, *OPTIMIZERS, *SCHEDULES, *INITIAL, *DRAWN]}
    names |= {"Parameter", "Sequential", "ModuleList", "LRScheduler", "calculate_gain", "Dataset"}
    names |= {"Subset", "TensorDataset", "random_split", "ConcatDataset", "ChainDataset"}
    names |= {"IterableDataset", "Sampler", "SequentialSampler", "RandomSampler", "BatchSampler"}
    names |= {"SubsetRandomSampler", "WeightedRandomSampler"}
    for key in ("nn", "nn.init", "optim", "optim.lr_scheduler", "utils.data"):
        assert set(TABLE[key].get("same", ())) <= names, key


def test_containers():
    for kind in ("Sequential", "ModuleList"):
        printed = []
        for space in (tg, torch):
            layers = [space.nn.Linear(2, 3), space.nn.ReLU(), space.nn.Linear(3, 2)]
            made = getattr(space.nn, kind)
            box = made(*layers) if kind == "Sequential" else made(layers)
            popped = box.pop(1)
            box.append(popped).insert(0, space.nn.Tanh())
            box.extend([space.nn.Sigmoid()])
            names = [n for n, _ in box.named_parameters()]
            printed.append((repr(box), len(box), repr(box[1:3]), names, repr(box[-1])))
        assert printed[0] == printed[1]
    mine, theirs = (inspect.signature(s.nn.Parameter) for s in (tg, torch))
    assert list(mine.parameters) == list(theirs.parameters)
