"""Layers, optimizers, schedules and initial values beside PyTorch's, where that is installed."""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest
from beside_pytorch import TABLE, array, compare, torch
from pytorch_layers import LAYERS, LOSSES, REDUCTIONS, REPR_OF_OURS
from torch_programs import RUNS, program, rates
from torch_programs import SCHEDULES as SEQUENCES

import tilegrad as tg
from tilegrad.testing import assert_close

pytestmark = pytest.mark.filterwarnings("ignore")


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


def flat(y):
    """The tensors of a nested tuple."""
    if isinstance(y, (tuple, list)):
        return [t for part in y for t in flat(part)]
    return [] if y is None else [y]


def backward(space, outs, seed):
    """From random cotangents of what has a gradient."""
    rng = np.random.default_rng(seed)
    us = [rng.uniform(-1.0, 1.0, tuple(y.shape)).astype(np.float32) for y in outs]
    sums = [(y * space.tensor(u)).sum() for y, u in zip(outs, us, strict=True) if y.requires_grad]
    sum(sums).backward()


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("name", "args", "options", "shapes"), LAYERS)
def test_layer(name, args, options, shapes, train):
    """Outputs, gradients and buffers over two steps; the state dict's names; the printed form."""
    rng = np.random.default_rng(0)
    mine, theirs = (getattr(space.nn, name)(*args, **options) for space in (tg, torch))
    like_pytorchs(mine, theirs, rng)
    assert repr(mine) == repr(theirs) or name in REPR_OF_OURS
    mine.train(train), theirs.train(train)
    for step in range(2):
        xs = [rng.uniform(-2.0, 2.0, shape).astype(np.float32) for shape in shapes]
        both = [[s.tensor(x, requires_grad=True) for x in xs] for s in (tg, torch)]
        y, z = flat(mine(*both[0])), flat(theirs(*both[1]))
        compare(y, z, name, 200)
        backward(tg, y, step), backward(torch, z, step)
        compare(*([x.grad for x in half] for half in both), f"{name} gradient", 400)
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None)
            if p.grad is not None:
                compare(p.grad, q.grad, f"{name} gradient of a parameter", 1000)
    for key, t in mine.state_dict().items():
        assert_close(array(t), array(theirs.state_dict()[key]), reduction_length=200, what=key)
    for same in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine))):
        assert repr(same) == repr(mine) and list(same.state_dict()) == list(mine.state_dict())


@pytest.mark.parametrize("kind", ["Encoder", "Decoder"])
def test_stack_of_transformer_layers(kind):
    made = []
    for space in (tg, torch):
        layer = getattr(space.nn, f"Transformer{kind}Layer")(8, 2, 16, 0.0)
        stack = getattr(space.nn, f"Transformer{kind}")
        made.append(stack(layer, 2, space.nn.LayerNorm(8)))
    rng = np.random.default_rng(0)
    like_pytorchs(*made, rng)
    x = rng.uniform(-1.0, 1.0, (5, 2, 8)).astype(np.float32)
    out = []
    for space, stack in zip((tg, torch), made, strict=True):
        xs = [space.tensor(x, requires_grad=True) for _ in range(1 + (kind == "Decoder"))]
        y = stack(*xs)
        backward(space, [y], 3)
        out.append([y, *(t.grad for t in xs), *(p.grad for p in stack.parameters())])
    compare(*out, kind, 1000)


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


def tensors(space, values):
    """Arrays as tensors of a library; anything else as it is."""
    return [space.tensor(v) if isinstance(v, np.ndarray) else v for v in values]


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
@pytest.mark.parametrize(("name", "options", "arrays", "leaves"), LOSSES)
def test_loss(name, options, arrays, leaves, reduction):
    """The loss and the gradients of its first arguments."""
    fixed = ("CTCLoss", "GaussianNLLLoss", "HuberLoss", "TripletMarginWithDistanceLoss")
    if name in fixed and "reduction" not in reduction and reduction:
        pytest.skip("PyTorch gives it no size_average and reduce")
    out = []
    for space in (tg, torch):
        more = dict(zip(options, tensors(space, options.values()), strict=True))
        xs = tensors(space, arrays)
        for x in xs[:leaves]:
            x.requires_grad_()
        loss = getattr(space.nn, name)(**{**reduction, **more})(*xs)
        loss.sum().backward()
        out.append([loss, *(x.grad for x in xs[:leaves] if name != "CTCLoss")])
    compare(*out, name)


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


@pytest.mark.parametrize("name", RUNS)
def test_state_after_twenty_steps(name):
    """Every optimizer's weights and state, in float64, with two groups and a rate halved."""
    (mine, a), (theirs, b) = (program(space, name, RUNS[name]) for space in (tg, torch))
    np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)
    a, b = a.state_dict()["state"], b.state_dict()["state"]
    assert a.keys() == b.keys()
    for i in a:
        assert a[i].keys() == b[i].keys() - {"al"}  # the scratch list of LBFGS
        for key, v in a[i].items():
            for x, y in zip(flat(v), flat(b[i][key]), strict=True):
                x, y = (np.asarray(array(u), float) for u in (x, y))
                np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-8, err_msg=key)


SCHEDULES = [
    ("StepLR", (7, 0.5)), ("StepLR", (1,)), ("MultiStepLR", ([3, 10, 10, 20], 0.3)),
    ("ExponentialLR", (0.9,)), ("LambdaLR", (lambda step: 1.0 / (1.0 + step),)),
    ("CosineAnnealingLR", (10,)), ("CosineAnnealingLR", (7, 0.01)),
    ("CosineAnnealingWarmRestarts", (5, 2, 0.01)), ("PolynomialLR", (25, 2.0)), ("ConstantLR", ()),
    ("LinearLR", (0.9, 0.05, 20)), ("MultiplicativeLR", (lambda step: 1.0 - 0.5 / (step + 1),)),
]  # fmt: skip


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize(("name", "args"), SCHEDULES, ids=str)
def test_learning_rates_over_thirty_steps(name, args, chained):
    both = []
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
        both.append(seen)
    np.testing.assert_allclose(*both, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", SEQUENCES)
def test_sixty_rates(name):
    """Rates and momentum, of the schedules that cycle too."""
    np.testing.assert_allclose(rates(tg, name), rates(torch, name), rtol=1e-12, atol=1e-14)


# --- initial values -------------------------------------------------------------------------------
INITIAL = [
    ("uniform_", (-1.0, 3.0)), ("normal_", (1.0, 2.0)), ("constant_", (1.5,)), ("ones_", ()),
    ("zeros_", ()), ("xavier_uniform_", (2.0,)), ("xavier_normal_", ()), ("kaiming_uniform_", ()),
    ("kaiming_uniform_", (0.3, "fan_out", "leaky_relu")),
    ("trunc_normal_", ()), ("trunc_normal_", (0.5, 2.0, -1.0, 1.0)), ("dirac_", ()),
    ("dirac_", (2,)),
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


@pytest.mark.parametrize("shape", [(50, 80), (80, 50)])
def test_orthogonal_sparse_and_identity(shape):
    drawn = []
    for space in (tg, torch):
        space.manual_seed(1)
        init = space.nn.init
        rows = array(init.orthogonal_(space.zeros(*shape), 2.0))
        product = rows @ rows.T if shape[0] < shape[1] else rows.T @ rows
        np.testing.assert_allclose(product, 4.0 * np.eye(50), atol=1e-4)
        thin = array(init.sparse_(space.zeros(*shape), 0.3, 0.5))
        drawn.append((rows, thin[thin != 0], array(init.eye_(space.zeros(*shape)))))
        assert set((thin == 0).sum(0)) == {math.ceil(0.3 * shape[0])}
    same_distribution(drawn[0][0], drawn[1][0]), same_distribution(drawn[0][1], drawn[1][1])
    assert_close(drawn[0][2], drawn[1][2])


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
    names |= {"CyclicLR", "OneCycleLR"}  # by test_sixty_rates
    names |= {"ModuleDict", "ParameterDict", "ParameterList", "TransformerEncoder"}
    names |= {"TransformerDecoder", "orthogonal_", "sparse_", "eye_"}
    names |= {"FractionalMaxPool2d", "FractionalMaxPool3d"}
    names |= {f"MaxUnpool{n}d" for n in (1, 2, 3)}
    names |= {"Subset", "TensorDataset", "random_split", "ConcatDataset", "ChainDataset"}
    names |= {"IterableDataset", "Sampler", "SequentialSampler", "RandomSampler", "BatchSampler"}
    names |= {"SubsetRandomSampler", "WeightedRandomSampler"}
    for key in ("nn", "nn.init", "optim", "optim.lr_scheduler", "utils.data"):
        assert set(TABLE[key].get("same", ())) <= names, key


@pytest.mark.parametrize("n", [1, 2, 3])
def test_unpooling_and_drawn_windows(n):
    x = np.random.default_rng(0).standard_normal((2, 3, *(8, 6, 4)[:n])).astype(np.float32)
    out = []
    for space in (tg, torch):
        t = space.tensor(x, requires_grad=True)
        pool = getattr(space.nn, f"MaxPool{n}d")(2, return_indices=True)
        back = getattr(space.nn, f"MaxUnpool{n}d")(2)
        y = back(*pool(t))
        (y * y).sum().backward()
        out.append([y, t.grad])
        if n > 1:  # the windows are drawn, so only that each value is one of its input's
            layer = getattr(space.nn, f"FractionalMaxPool{n}d")(2, output_ratio=0.5)
            z = layer(t)
            assert tuple(z.shape[2:]) == tuple(k // 2 for k in x.shape[2:])
            assert np.isin(array(z), x).all()
            out[-1].append(repr(layer))
    compare(*out, "MaxUnpool")


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
    printed = []
    for space in (tg, torch):
        made = space.nn.ModuleDict({"a": space.nn.Linear(2, 3), "b": space.nn.ReLU()})
        made.update({"c": space.nn.Tanh()})
        made.pop("b")
        named = space.nn.ParameterDict({"w": space.nn.Parameter(space.zeros(2, 3))})
        listed = space.nn.ParameterList([space.nn.Parameter(space.ones(2))])
        listed.append(space.nn.Parameter(space.zeros(1)))
        names = [[k for k, _ in m.named_parameters()] for m in (made, named, listed)]
        printed.append((repr(made), list(made.keys()), len(made), "a" in made, names, len(listed)))
    assert printed[0] == printed[1]
    mine, theirs = (inspect.signature(s.nn.Parameter) for s in (tg, torch))
    assert list(mine.parameters) == list(theirs.parameters)
