"""Optimizers against the formulas of their papers in NumPy, and rates against closed forms."""

import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn, optim
from tilegrad.errors import GradientError, StateError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.optim import lr_scheduler
from tilegrad.testing import assert_close

STEPS = 6


def problem(dtype=np.float64, steps=STEPS):
    """A parameter and a fixed sequence of gradients."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((3, 5)).astype(dtype), [
        rng.standard_normal((3, 5)).astype(dtype) for _ in range(steps)
    ]


def run(make, start, grads):
    p = nn.Parameter(tg.tensor(start))
    optimizer = make([p])
    for g in grads:
        p.grad = tg.tensor(g)
        optimizer.step()
    return p, optimizer


def sgd(
    p, grads, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False
):
    p, b = p.copy(), None
    for g in grads:
        d = (-g if maximize else g) + weight_decay * p
        b = d if b is None else momentum * b + (1 - dampening) * d
        p = p - lr * (d + momentum * b if nesterov else b if momentum else d)
    return p


def adam(
    p, grads, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False,
    maximize=False, decoupled=False,
):  # fmt: skip
    p, m, v, largest = p.copy(), 0.0, 0.0, 0.0
    for t, g in enumerate(grads, 1):
        g = -g if maximize else g
        if decoupled:
            p = p * (1 - lr * weight_decay)
        else:
            g = g + weight_decay * p
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        largest = np.maximum(largest, v)
        mhat = m / (1 - betas[0] ** t)
        vhat = (largest if amsgrad else v) / (1 - betas[1] ** t)
        p = p - lr * mhat / (np.sqrt(vhat) + eps)
    return p


SGD = [
    {"lr": 0.1},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05},
    {"lr": 0.1, "weight_decay": 0.05, "maximize": True},
]
ADAM = [
    {},
    {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3},
    {"lr": 0.1, "weight_decay": 0.2},
    {"lr": 0.1, "amsgrad": True, "betas": (0.5, 0.5)},
    {"lr": 0.1, "maximize": True, "weight_decay": 0.1},
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("options", SGD, ids=str)
def test_sgd(options, dtype):
    start, grads = problem(dtype)
    p, _ = run(lambda ps: optim.SGD(ps, **options), start, grads)
    want = sgd(start.astype(np.float64), [g.astype(np.float64) for g in grads], **options)
    assert_close(p, want.astype(dtype), reduction_length=STEPS)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("options", ADAM, ids=str)
def test_adam(options, dtype):
    start, grads = problem(dtype)
    wide = start.astype(np.float64), [g.astype(np.float64) for g in grads]
    p, _ = run(lambda ps: optim.Adam(ps, **options), start, grads)
    assert_close(p, adam(*wide, **options).astype(dtype), reduction_length=STEPS)
    p, _ = run(lambda ps: optim.AdamW(ps, **options), start, grads)
    options = {"weight_decay": 1e-2, **options}
    want = adam(*wide, **options, decoupled=True)
    assert_close(p, want.astype(dtype), reduction_length=STEPS)


def test_amsgrad_remembers_the_largest():
    start = np.zeros((1, 1))
    grads = [np.array([[10.0]]), *[np.array([[0.1]])] * 4]
    options = {"lr": 0.1, "betas": (0.0, 0.5)}
    plain, _ = run(lambda ps: optim.Adam(ps, **options), start, grads)
    careful, _ = run(lambda ps: optim.Adam(ps, **options, amsgrad=True), start, grads)
    assert abs(float(careful.detach())) < abs(float(plain.detach()))


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_strided_parameters_and_gradients(name):
    """A parameter in any memory order gets the step of its row-major twin."""
    start, grads = problem()
    make = {
        "SGD": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9),
        "Adam": lambda ps: optim.Adam(ps, lr=0.1),
    }[name]
    want, _ = run(make, start, grads)
    p = nn.Parameter(tg.tensor(start.T.copy()).t())
    assert not p.is_contiguous()
    optimizer = make([p])
    for g in grads:
        p.grad = tg.from_numpy(np.asfortranarray(g))
        optimizer.step()
    assert_close(p, want, rtol=0, atol=0)
    assert not p.is_contiguous()


def test_a_step_counts_as_a_change_in_place():
    p = nn.Parameter(tg.ones(2))
    y = (p * p).sum()
    p.grad = tg.ones(2)
    optim.SGD([p], lr=0.1).step()
    with pytest.raises(GradientError, match="changed in place"):
        y.backward()
    frozen = np.ones(2, np.float32)
    frozen.flags.writeable = False
    q = nn.Parameter(tg.from_numpy(frozen))
    q.grad = tg.ones(2)
    with pytest.raises(TgValueError, match="read-only"):
        optim.Adam([q]).step()
    assert frozen.tolist() == [1, 1]


def test_parameters_without_gradient_are_left_alone():
    p, q = nn.Parameter(tg.ones(2)), nn.Parameter(tg.ones(2))
    optimizer = optim.Adam([p, q], lr=0.5)
    p.grad = tg.ones(2)
    optimizer.step()
    assert q.tolist() == [1, 1] and q not in optimizer.state
    assert p.tolist() == pytest.approx([0.5, 0.5])
    g = p.grad = tg.tensor([float("nan"), 1.0])
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is g and g.tolist() == [0, 0] and q.grad is None  # in place, as PyTorch
    p.grad = tg.ones(1).expand(2)  # memory that cannot be written
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    (p * p).sum().backward(create_graph=True)
    held = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0] and not p.grad.requires_grad and held.requires_grad
    optimizer.zero_grad()
    assert p.grad is None


def test_groups_and_closure():
    p, q = nn.Parameter(tg.zeros(1)), nn.Parameter(tg.zeros(1))
    optimizer = optim.SGD([{"params": p, "lr": 1.0}], lr=0.1)
    optimizer.add_param_group({"params": [q], "weight_decay": 0.5})
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 0.1]
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.5]

    def closure():
        optimizer.zero_grad()
        loss = (p + q).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 0
    assert p.item() == -1 and q.item() == pytest.approx(-0.1)
    assert "Parameter Group 1" in repr(optimizer) and "weight_decay: 0.5" in repr(optimizer)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda p: optim.SGD([]), TgValueError, "SGD: got an empty list of parameters"),
        (lambda p: optim.SGD(iter([])), TgValueError, "empty list"),
        (lambda p: optim.SGD(p), TypeError, "got a single Tensor"),
        (lambda p: optim.SGD([p, p]), TgValueError, "appears twice"),
        (lambda p: optim.SGD([p * 2]), TgValueError, r"computed tensor of shape \(2,\)"),
        (lambda p: optim.SGD([3]), TypeError, "expects tensors, got int"),
        (lambda p: optim.SGD([p], lr=-1.0), TgValueError, "lr must be at least 0, got -1.0"),
        (lambda p: optim.SGD([p], lr=math.nan), TgValueError, "lr must be at least 0, got nan"),
        (lambda p: optim.SGD([p], momentum=-0.1), TgValueError, "momentum must be at least 0"),
        (lambda p: optim.SGD([p], nesterov=True), TgValueError, "nesterov needs a momentum"),
        (lambda p: optim.Adam([p], betas=(0.9, 1.0)), TgValueError, r"betas\[1\] lies in \[0, 1\)"),
        (lambda p: optim.AdamW([p], eps=-1e-8), TgValueError, "AdamW: eps must be at least 0"),
        (lambda p: optim.SGD([{"lr": 1.0}]), TypeError, "a dict with the key 'params'"),
    ],
)
def test_refusals(make, error, text):
    with pytest.raises(error, match=text):
        make(nn.Parameter(tg.zeros(2)))


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_loaded_state_goes_on_bit_for_bit(name):
    start, grads = problem(np.float32, 8)
    make = {
        "SGD": lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9),
        "Adam": lambda ps: optim.Adam(ps, lr=0.1, amsgrad=True),
    }[name]
    whole, _ = run(make, start, grads)
    p, first = run(make, start, grads[:4])
    state = first.state_dict()
    q = nn.Parameter(p.detach().clone())
    second = make([q])
    second.param_groups[0]["lr"] = 5.0
    second.load_state_dict(state)
    for g in grads[4:]:
        q.grad = tg.tensor(g)
        second.step()
    assert_close(q, whole, rtol=0, atol=0)
    assert state["param_groups"][0]["params"] == [0]
    key = "momentum_buffer" if name == "SGD" else "exp_avg"
    mine, theirs = second.state[q][key], first.state[p][key]
    assert not np.shares_memory(mine.numpy(), theirs.numpy())


def test_a_state_that_does_not_fit_changes_nothing():
    p = nn.Parameter(tg.zeros(2))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.5)
    p.grad = tg.ones(2)
    optimizer.step()
    good = optimizer.state_dict()

    def bad(**changes):
        return {**good, **changes}

    group = good["param_groups"][0]
    wrong_shape = {0: {"momentum_buffer": tg.zeros(3)}}
    for state, error, text in (
        ([], StateError, "keys 'state' and 'param_groups'"),
        (bad(param_groups=[{**group, "params": [0, 1]}]), StateError, r"groups of \[1\] .* \[2\]"),
        (bad(state={7: {}}), StateError, "names parameter 7"),
        (bad(state=wrong_shape), StateError, r"momentum_buffer of parameter 0 has shape \(3,\)"),
        (bad(param_groups=[{**group, "lr": -1.0}]), TgValueError, "lr must be at least 0"),
    ):
        with pytest.raises(error, match=text):
            optimizer.load_state_dict(state)
    assert optimizer.state[p]["momentum_buffer"].tolist() == [1, 1]
    assert optimizer.param_groups[0]["lr"] == 0.1


# --- schedules ------------------------------------------------------------------------------------
def rates(make, count, lr=0.8):
    optimizer = optim.SGD([nn.Parameter(tg.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    out = []
    for _ in range(count):
        out.append(optimizer.param_groups[0]["lr"])
        assert scheduler.get_last_lr() == [out[-1]]
        optimizer.step()
        scheduler.step()
    return out


@pytest.mark.parametrize(
    ("make", "closed"),
    [
        (lambda o: lr_scheduler.StepLR(o, 3, 0.5), lambda t: 0.5 ** (t // 3)),
        (lambda o: lr_scheduler.MultiStepLR(o, [5, 2, 5], 0.1),
         lambda t: 0.1 ** ((t >= 2) + 2 * (t >= 5))),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), lambda t: 0.9**t),
        (lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: 1 / (1 + t)),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 4, 0.08),
         lambda t: 0.1 + 0.9 * (1 + math.cos(math.pi * t / 4)) / 2),
        (lambda o: lr_scheduler.CosineAnnealingLR(o, 1), lambda t: (t + 1) % 2),
    ],
    ids=["step", "multistep", "exponential", "lambda", "cosine", "cosine_1"],
)  # fmt: skip
def test_schedules(make, closed):
    assert rates(make, 20) == pytest.approx([0.8 * closed(t) for t in range(20)], abs=1e-12)


def test_schedules_chain_and_resume():
    def both(o):
        first = lr_scheduler.ExponentialLR(o, 0.5)
        second = lr_scheduler.StepLR(o, 2, 0.1)
        step = second.step
        second.step = lambda: (first.step(), step())
        return second

    assert rates(both, 5, 1.0) == pytest.approx([1, 0.5, 0.025, 0.0125, 0.000625])
    optimizer = optim.SGD([nn.Parameter(tg.zeros(1))], lr=1.0)
    a = lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(3):
        a.step()
    other = optim.SGD([nn.Parameter(tg.zeros(1))], lr=1.0)
    b = lr_scheduler.CosineAnnealingLR(other, 10)
    other.load_state_dict(optimizer.state_dict())
    b.load_state_dict(a.state_dict())
    a.step()
    b.step()
    assert a.get_last_lr() == b.get_last_lr() and b.last_epoch == 4
    resumed = lr_scheduler.CosineAnnealingLR(optimizer, 10, last_epoch=4)
    assert resumed.last_epoch == 5
    with pytest.raises(StateError, match="expects"):
        b.load_state_dict({"gamma": 1})


def test_schedules_refuse():
    optimizer = optim.SGD([nn.Parameter(tg.zeros(1))], lr=1.0)
    with pytest.raises(TypeError, match="expects an Optimizer, got int"):
        lr_scheduler.ExponentialLR(3, 0.5)
    with pytest.raises(TgValueError, match="step_size must be at least 1, got 0"):
        lr_scheduler.StepLR(optimizer, 0)
    with pytest.raises(TgValueError, match="T_max must be at least 1"):
        lr_scheduler.CosineAnnealingLR(optimizer, 0)
    with pytest.raises(TgValueError, match="expects 1 functions, got 2"):
        lr_scheduler.LambdaLR(optimizer, [abs, abs])
    with pytest.raises(StateError, match="'initial_lr' in group 0"):
        lr_scheduler.StepLR(optim.SGD([nn.Parameter(tg.zeros(1))]), 1, last_epoch=3)


# --- named parameters -----------------------------------------------------------------------------
def test_named_parameters():
    """Groups, errors and states as in PyTorch 2.13.0."""
    m = tg.nn.Linear(2, 1)
    named = optim.SGD(m.named_parameters(), lr=0.1)
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    assert named.param_groups[0]["params"][1] is m.bias
    assert "param_names: ['weight', 'bias']" in repr(named)
    state = named.state_dict()
    assert state["param_groups"][0]["param_names"] == ["weight", "bias"]
    assert state["param_groups"][0]["params"] == [0, 1]
    plain = optim.SGD(m.parameters(), lr=0.1)
    assert "param_names" not in plain.state_dict()["param_groups"][0]
    plain.load_state_dict(state)
    assert plain.param_groups[0]["param_names"] == ["weight", "bias"]
    named.load_state_dict(optim.SGD(m.parameters(), lr=0.1).state_dict())
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    before = m.bias.item()
    m(tg.ones(1, 2)).sum().backward()
    named.step()
    assert m.bias.item() == pytest.approx(before - 0.1)


def test_names_of_groups():
    w, b = tg.zeros(2, requires_grad=True), tg.zeros(1, requires_grad=True)
    o = optim.Adam([{"params": [("w", w)], "lr": 0.5}])
    o.add_param_group({"params": [("b", b)]})
    assert [g["param_names"] for g in o.param_groups] == [["w"], ["b"]]
    for params in ([w, ("b", b)], [("w", w), b]):
        with pytest.raises(TgValueError, match="some parameters of a group have names"):
            optim.SGD(params)
    for first, second in ((w, ("b", b)), (("w", w), b)):
        with pytest.raises(TgValueError, match="some groups have names"):
            optim.SGD([{"params": [first]}, {"params": [second]}])
    with pytest.raises(TypeError, match="expects tensors, got str"):
        optim.SGD([{"params": ("w", w)}])


def test_adam_with_decoupled_weight_decay_is_adamw():
    start, grads = problem(np.float64)
    options = {"lr": 0.1, "weight_decay": 0.2}
    got, _ = run(lambda ps: optim.Adam(ps, **options, decoupled_weight_decay=True), start, grads)
    want, _ = run(lambda ps: optim.AdamW(ps, **options), start, grads)
    coupled, _ = run(lambda ps: optim.Adam(ps, **options), start, grads)
    assert got.tolist() == want.tolist() != coupled.tolist()
    x = [tg.zeros(1, requires_grad=True)]
    flags = [k(x).state_dict()["param_groups"][0] for k in (optim.Adam, optim.AdamW)]
    assert [g["decoupled_weight_decay"] for g in flags] == [False, True]
