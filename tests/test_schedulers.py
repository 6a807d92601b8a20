"""Schedules: their states, what they refuse, and schedules made of schedules. That their rates are
PyTorch's is in test_optimizers."""

import json

import pytest
import torch_programs as programs

import tilegrad as tg
from tilegrad import optim
from tilegrad.errors import StateError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.optim import lr_scheduler as s
from tilegrad.optim import swa_utils


def optimizer(*rates, **options):
    groups = [{"params": [tg.zeros(1, requires_grad=True)], "lr": r} for r in rates or (1.0,)]
    return optim.SGD(groups, **options)


def rates(scheduler, count):
    out = []
    for _ in range(count):
        out += scheduler.get_last_lr()
        scheduler.step()
    return out


@pytest.mark.parametrize("name", programs.SCHEDULES)
def test_a_state_goes_on_through_json(name):
    """A fresh scheduler and optimizer that load the state halfway take the same path."""

    def fresh(scheduler, old):
        state = scheduler.state_dict()
        groups = old.state_dict()
        assert "optimizer" not in state
        new = optim.SGD([{"params": g["params"]} for g in old.param_groups], lr=0.123, momentum=0.1)
        space = swa_utils if name.startswith("swa") else s
        other = programs.SCHEDULES[name](space, new)
        if not name.startswith("plateau"):  # whose best value may be infinite
            state, groups = json.loads(json.dumps([state, groups]))
        other.load_state_dict(state)
        new.load_state_dict(groups)
        # The program goes on with the optimizer it made: its groups become those of the new one.
        old.param_groups[:] = new.param_groups
        other.optimizer = old
        for inner in getattr(other, "_schedulers", ()):
            inner.optimizer = old
        return other

    assert programs.rates(tg, name, halfway=fresh) == programs.rates(tg, name)


def test_what_pytorch_notes_for_its_warnings_is_left_out():
    def made():
        optimizer = tg.optim.SGD([tg.zeros(1, requires_grad=True)], lr=1.0)
        return tg.optim.lr_scheduler.StepLR(optimizer, 2)

    scheduler, other = made(), made()
    scheduler.step()
    notes = {"_step_count": 2, "_is_initial": False, "_get_lr_called_within_step": False}
    other.load_state_dict({**scheduler.state_dict(), **notes})
    assert other.state_dict() == scheduler.state_dict() and other.last_epoch == 1


def test_a_state_of_another_kind_is_refused():
    o = optimizer()
    both = s.ChainedScheduler([s.StepLR(o, 2), s.ExponentialLR(o, 0.5)])
    with pytest.raises(StateError, match="2 schedulers, but 0 states"):
        both.load_state_dict(s.StepLR(optimizer(), 2).state_dict())
    with pytest.raises(StateError, match=r"LinearLR\.load_state_dict: expects"):
        s.LinearLR(optimizer()).load_state_dict(s.StepLR(optimizer(), 2).state_dict())


def test_resuming_with_last_epoch_leaves_the_rate():
    for make in (
        lambda o, n: s.ExponentialLR(o, 0.5, last_epoch=n),
        lambda o, n: s.LinearLR(o, 0.5, 1.0, 8, last_epoch=n),
        lambda o, n: s.PolynomialLR(o, 9, last_epoch=n),
        lambda o, n: s.CosineAnnealingLR(o, 9, last_epoch=n),
        lambda o, n: s.MultiplicativeLR(o, lambda t: 0.9, last_epoch=n),
    ):
        o = optimizer()
        whole = make(o, -1)
        for _ in range(3):
            whole.step()
        expected = rates(whole, 4)
        again = optimizer()
        first = make(again, -1)
        for _ in range(3):
            first.step()
        # As PyTorch: the constructor counts one on, and leaves the rate it finds.
        assert rates(make(again, 2), 4) == pytest.approx(expected, rel=1e-12)


def test_schedules_in_schedules_begin_as_on_their_own():
    def tail():
        o = optimizer()
        return rates(s.ChainedScheduler([s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.5)]), 5)

    assert tail() == pytest.approx([0.1, 0.05, 0.25, 0.125, 0.0625])
    o = optimizer()
    chained = s.ChainedScheduler([s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.5)])
    outer = s.SequentialLR(o, [s.StepLR(o, 1, 0.1), chained], [3])
    assert rates(outer, 8) == pytest.approx([1.0, 0.1, 0.01, *tail()])
    o = optimizer()
    chained = s.ChainedScheduler([s.ConstantLR(o, 0.1, 2), s.ExponentialLR(o, 0.5)])
    outer = s.SequentialLR(o, [chained, s.StepLR(o, 1, 0.1)], [5])
    assert rates(outer, 7) == pytest.approx([*tail(), 1.0, 0.1])
    for first in (True, False):
        o = optimizer()
        inner = s.SequentialLR(o, [s.ConstantLR(o, 0.5, 9), s.StepLR(o, 2, 0.1)], [2])
        other = s.ConstantLR(o, 0.25, 9)
        parts = [inner, other] if first else [other, inner]
        a, b = [0.5, 0.5, 1.0, 1.0, 0.1], [0.25] * 5
        expected = a + b if first else b + a
        assert rates(s.SequentialLR(o, parts, [5]), 10) == pytest.approx(expected)


def test_warm_restarts_go_to_any_epoch():
    def at(epoch, T_mult):
        scheduler = s.CosineAnnealingWarmRestarts(optimizer(), 4, T_mult)
        scheduler.step(epoch)
        return scheduler

    for mult in (1, 2, 3):
        walked = s.CosineAnnealingWarmRestarts(optimizer(), 4, mult)
        for epoch in range(30):
            scheduler = at(epoch, mult)
            assert scheduler.get_last_lr() == pytest.approx(walked.get_last_lr())
            assert (scheduler.T_i, scheduler.last_epoch) == (walked.T_i, epoch)
            walked.step()
    (low,), (high,) = at(1, 1).get_last_lr(), at(2, 1).get_last_lr()
    assert high < at(1.5, 1).get_last_lr()[0] < low
    with pytest.raises(TgValueError, match="epoch must not be negative"):
        at(-1, 1)


def test_momentum_cycles_as_beta_too():
    adam = optim.Adam([tg.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = s.OneCycleLR(adam, 0.5, total_steps=10)
    assert adam.param_groups[0]["betas"] == (0.95, 0.999)
    for _ in range(2):
        scheduler.step()
    assert adam.param_groups[0]["betas"] == pytest.approx((0.85, 0.999))
    with pytest.raises(TgValueError, match="needs an optimizer with momentum or betas, got Adagra"):
        s.CyclicLR(optim.Adagrad([tg.zeros(1, requires_grad=True)]), 0.1, 0.2)


def test_a_plateau_of_infinite_and_tensor_values():
    o = optimizer()
    scheduler = s.ReduceLROnPlateau(o, patience=0)
    scheduler.step(tg.tensor(1.0))
    scheduler.step(float("nan"))
    assert scheduler.get_last_lr() == [0.1] and scheduler.best == 1.0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda o: s.ConstantLR(o, 0.0), r"factor lies in \(0, 1\], got 0.0"),
        (lambda o: s.LinearLR(o, 0.0), r"start_factor lies in \(0, 1\]"),
        (lambda o: s.LinearLR(o, 0.5, 1.5), r"end_factor lies in \[0, 1\], got 1.5"),
        (lambda o: s.MultiplicativeLR(o, [abs, abs]), "MultiplicativeLR: expects 1 functions, go"),
        (lambda o: s.CosineAnnealingWarmRestarts(o, 0), "T_0 must be an int of at least 1, got 0"),
        (lambda o: s.CosineAnnealingWarmRestarts(o, 1, 0.5), "T_mult must be an int"),
        (lambda o: s.CyclicLR(o, 0.1, 0.2, mode="sine"), "mode is 'triangular', .* got 'sine'"),
        (lambda o: s.CyclicLR(o, [0.1, 0.1], 0.2), "base_lr needs 1 values, one per group, got 2"),
        (lambda o: s.OneCycleLR(o, 0.1), "needs total_steps, or epochs and steps_per_epoch"),
        (lambda o: s.OneCycleLR(o, 0.1, 0), "expects a positive number of steps, got 0"),
        (lambda o: s.OneCycleLR(o, 0.1, 9, pct_start=2.0), r"pct_start lies in \[0, 1\], got 2.0"),
        (lambda o: s.OneCycleLR(o, 0.1, 9, anneal_strategy="x"), "'cos' or 'linear', got 'x'"),
        (lambda o: rates(s.OneCycleLR(o, 0.1, 3), 5), "step 4 of a cycle of 3 steps"),
        (lambda o: s.ReduceLROnPlateau(o, factor=1.0), "factor must be below 1, got 1.0"),
        (lambda o: s.ReduceLROnPlateau(o, "avg"), "mode is 'min' or 'max', got 'avg'"),
        (lambda o: s.ReduceLROnPlateau(o, threshold_mode="x"), "threshold_mode is 'rel' or 'abs'"),
        (lambda o: s.ChainedScheduler([]), "ChainedScheduler: expects at least one scheduler"),
        (lambda o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]), "0 must be stepped without a"),
        (lambda o: s.ChainedScheduler([s.StepLR(o, 1), s.StepLR(optimizer(), 1)]), "1 belongs to"),
        (lambda o: s.SequentialLR(o, [s.StepLR(o, 1)], [2]), "need 0 milestones, got 1"),
        (lambda o: swa_utils.SWALR(o, 0.1, -1), "anneal_epochs must be an int >= 0, got -1"),
        (lambda o: swa_utils.SWALR(o, 0.1, 2, "x"), "anneal_strategy is 'cos' or 'linear'"),
    ],
)
def test_refusals(make, text):
    with pytest.raises(TgValueError, match=text):
        make(optimizer(momentum=0.5))


def test_a_cycle_whose_rise_takes_no_step():
    scheduler = s.OneCycleLR(optimizer(momentum=0.5), 1.0, total_steps=10, pct_start=0.1)
    assert rates(scheduler, 10)[0] == 1.0
