"""The training loop: what it computes, what it reports, what it refuses."""

import random

import numpy as np
import pytest
from exact import assert_same, weights

import tilegrad as tg
from tilegrad import data, kernels, nn, optim, train
from tilegrad.errors import GradientError
from tilegrad.nn import functional as F
from tilegrad.train import Trainer, accuracy

rng = np.random.default_rng(7)
captures = pytest.mark.skipif(not hasattr(kernels.host, "Plan"), reason="the reference runs as is")


def blobs(n=40):
    """Two classes on a line."""
    labels = rng.integers(0, 2, n)
    points = rng.standard_normal((n, 2)) * 0.3 + 2 * labels[:, None]
    return tg.from_numpy(points.astype(np.float32)), tg.from_numpy(labels)


def network():
    tg.manual_seed(0)
    return nn.Sequential(
        nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 2)
    )


def trainer(model=None, rate=0.02, **options):
    model = model or network()
    optimizer = optim.Adam(model.parameters(), lr=rate)
    return Trainer(model, F.cross_entropy, optimizer, metrics={"accuracy": accuracy}, **options)


def without_time(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


# --- fit, evaluate, predict -----------------------------------------------------------------------
def test_fit_learns_and_reports():
    x, y = blobs()
    loader = data.DataLoader(data.TensorDataset(x, y), 8, shuffle=True, generator=0)
    t, seen = trainer(), []
    history = t.fit(
        loader, 12, validation=(x, y),
        callback=lambda p: seen.append((p.epoch, p.batch, p.seen, p.remaining)),
    )  # fmt: skip
    p = t.state
    assert [s[:3] for s in seen[:6]] == [(0, i, 8 * i) for i in range(1, 6)] + [(1, 1, 8)]
    assert seen[-1][3] == 0.0 and seen[0][3] > 0
    assert (len(p.losses), p.total_seen, p.steps, p.epoch, p.batch) == (60, 480, 60, 12, 0)
    assert np.mean(p.losses[-5:]) < 0.2 * np.mean(p.losses[:5]) and p.rate > 0
    assert history is p.history and len(history) == 12
    assert list(history[0]) == [
        "loss", "accuracy", "validation_loss", "validation_accuracy", "lr", "seconds"
    ]  # fmt: skip
    for i, row in enumerate(history):
        assert row["loss"] == pytest.approx(np.mean(p.losses[5 * i : 5 * i + 5]))
    got = t.evaluate(data.DataLoader(data.TensorDataset(x, y), 7))
    assert got["loss"] == pytest.approx(history[-1]["validation_loss"], rel=1e-5)
    assert got["accuracy"] == history[-1]["validation_accuracy"] == 1.0
    out = t.predict(x, batch_size=7)
    assert F.cross_entropy(out, y).item() == pytest.approx(got["loss"], rel=1e-5)
    assert t.model.training and not out.requires_grad
    assert all(p.grad is None for p in t.model.parameters())


def by_hand(model, optimizer, batches, accumulate=1, clip=None):
    """The loop written out, without a Trainer."""
    losses = []
    for start in range(0, len(batches), accumulate):
        window = batches[start : start + accumulate]
        optimizer.zero_grad()
        for x, y in window:
            loss = F.cross_entropy(model(x), y)
            losses.append(loss.item())
            (loss / len(window) if len(window) > 1 else loss).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return losses


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize("options", [{}, {"clip": 0.1}, {"accumulate": 2, "clip": 0.5}], ids=str)
def test_the_loop_is_the_plain_loop(options, captured):
    """Same bits as the loop written out, dropout and a smaller last batch included."""
    x, y = blobs(44)
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 44, 8)]
    t = trainer(capture=captured, **options)
    t.fit(batches, 2)
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    losses = [v for _ in range(2) for v in by_hand(model, optimizer, batches, **options)]
    assert t.state.losses == losses
    assert_same(weights(t.model), weights(model))


def test_accumulated_gradients_are_those_of_the_whole_batch():
    x, y = blobs(32)
    ends = []
    for size, accumulate in ((32, 1), (8, 4)):
        tg.manual_seed(0)
        model = nn.Linear(2, 2)
        t = Trainer(model, F.cross_entropy, optim.SGD(model.parameters(), lr=0.5),
                    accumulate=accumulate)  # fmt: skip
        t.fit(data.DataLoader(data.TensorDataset(x, y), size), 10)
        assert t.state.steps == 10
        ends.append(weights(model))
    for k in ends[0]:
        np.testing.assert_allclose(ends[0][k], ends[1][k], rtol=1e-5, atol=1e-6)


@captures
def test_a_step_is_one_plan():
    x, y = blobs()
    t = trainer(clip=1.0)
    t.fit((x, y), 3, batch_size=8)
    plan = t.steps._whole._last
    assert plan is not None and not plan.nested
    assert "adam_step" in t.steps._whole.explain()


def test_a_recorded_step_sees_what_changes():
    """Modules and functions that a step reaches are looked at before every replay."""
    x, y = blobs()

    def run(captured):
        model, factor = network(), 1.0

        def loss(out, y):
            return F.cross_entropy(out, y) * factor

        def change(p):
            nonlocal factor
            if p.steps == 3:
                model[3].p = 0.9
            if p.steps == 6:
                factor = 2.0

        t = Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1), capture=captured)
        loader = data.DataLoader(data.TensorDataset(x, y), 8)
        t.fit(loader, 2, callback=change)
        return t.state.losses, weights(model)

    (losses, end), (eager_losses, eager_end) = run(True), run(False)
    assert losses == eager_losses
    assert_same(end, eager_end)


@captures
def test_what_cannot_be_captured_runs_as_it_is():
    x, y = blobs()
    model = nn.Linear(2, 2)

    def loss(out, y):
        value = F.cross_entropy(out, y)
        return value if value.item() > 0 else value * 2

    t = Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1))
    with pytest.warns(UserWarning, match=r"item\(\) gives a value to Python") as caught:
        history = t.fit((x, y), 5, batch_size=8)
    assert len(caught) == 1 and history[-1]["loss"] < history[0]["loss"]


def test_data_in_any_form():
    x, y = blobs()
    whole = data.TensorDataset(x, y)
    expected = trainer().evaluate((x, y), batch_size=16)
    for form in (whole, data.DataLoader(whole, 16), (x.numpy(), y.numpy()),
                 data.Subset(whole, range(40)), list(data.DataLoader(whole, 16))):  # fmt: skip
        assert trainer().evaluate(form, batch_size=16) == expected
    outputs = [trainer().predict(form) for form in (x, x.numpy(), (x,), whole, [(x, y)])]
    assert all((out == outputs[0]).all() for out in outputs)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(2, 2)

        def forward(self, a, b):
            return {"sum": self.inner(a) + b, "first": a * 1.0}

    model = Twice()
    t = Trainer(model, lambda out, y: F.cross_entropy(out["sum"], y),
                optim.SGD(model.parameters(), lr=0.1))  # fmt: skip
    history = t.fit((x, x, y), 3)
    assert history[-1]["loss"] < history[0]["loss"]
    out = t.predict((x, x, y), batch_size=16)
    assert out["sum"].shape == (40, 2) and (out["first"] == x).all()


def test_a_stream_without_a_length():
    x, y = blobs()

    class Stream(data.IterableDataset):
        def __iter__(self):
            return zip(x, y, strict=True)

    t = trainer()
    t.fit(Stream(), 2, batch_size=8)
    assert (t.state.batches, t.state.steps) == (0, 10)
    t.fit(data.DataLoader(Stream(), 8), 1)
    assert t.state.steps == 5


def test_the_validation_split_is_the_same_in_every_run():
    x, y = blobs(50)
    t = trainer()
    history = t.fit((x, y), 1, validation=0.2)
    assert t.state.total_seen == 40 and history[0]["validation_accuracy"] * 10 % 1 == 0
    parts = [train.feed.split((x, y), 0.2) for _ in range(2)]
    assert parts[0][1].indices == parts[1][1].indices
    assert sorted(parts[0][0].indices + parts[0][1].indices) == list(range(50))


def test_transform_and_stop():
    x, y = blobs()
    shapes, t = [], trainer()

    def stop(p):
        p.stop = p.total_seen >= 48

    def transform(x):
        shapes.append(x.shape)
        return x + 1.0

    loader = data.DataLoader(data.TensorDataset(x, y), 8)
    assert len(t.fit(loader, 5, transform=transform, callback=stop)) == 1
    assert (t.state.epoch, t.state.batch, len(t.state.losses)) == (1, 1, 6)
    assert shapes == [(8, 2)] * 6
    t = trainer(accumulate=4)
    t.fit(loader, 5, callback=stop)
    assert (t.state.epoch, t.state.batch, t.state.steps) == (1, 4, 3), "stops between two steps"


# --- schedules, early stopping --------------------------------------------------------------------
def test_schedules():
    x, y = blobs()
    for schedule, rates in (("step", [0.5, 0.5]), ("epoch", [1.0, 0.5])):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=1.0)
        scheduler = optim.lr_scheduler.MultiStepLR(optimizer, [1], gamma=0.5)
        t = Trainer(model, F.cross_entropy, optimizer, scheduler, schedule=schedule)
        assert [row["lr"] for row in t.fit((x, y), 2, batch_size=20)] == rates
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    t = Trainer(model, lambda out, y: F.cross_entropy(out, y).detach() + 0 * out.sum(),
                optimizer, plateau)  # fmt: skip
    history = t.fit((x, y), 4, validation=(x * 0, y))
    assert history[0]["lr"] == 1.0 and history[-1]["lr"] < 1.0


def test_early_stopping_restores_the_best():
    """The metric is made up: best in the third epoch."""
    x, y = blobs()
    values = iter([0.1, 0.2, 0.9, 0.3, 0.9, 0.2, 0.1])
    kept, model = [], network()
    t = Trainer(
        model, F.cross_entropy, optim.Adam(model.parameters(), lr=0.1),
        metrics={"made_up": lambda out, y: 0.0 if model.training else next(values)},
        loggers=[lambda p: kept.append(weights(model))],
    )  # fmt: skip
    history = t.fit((x, y), 100, validation=(x, y), batch_size=40, patience=3, monitor="made_up")
    assert len(history) == 6
    assert_same(weights(model), kept[2])
    assert (kept[2]["0.weight"] != kept[5]["0.weight"]).any()


def test_early_stopping_looks_at_the_loss_and_at_nan():
    x, y = blobs()
    values = iter([float("nan"), 3.0, 2.0, float("nan"), 2.5])
    model = network()
    t = Trainer(model, lambda out, y: F.cross_entropy(out, y) * 0 + (1.0 if model.training else
                next(values)), optim.SGD(model.parameters(), lr=0.1), capture=False)  # fmt: skip
    history = t.fit((x, y), 100, validation=(x, y), batch_size=40, patience=2)
    assert [row["validation_loss"] for row in history][1:3] == [3.0, 2.0] and len(history) == 5


# --- precision ------------------------------------------------------------------------------------
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision(precision):
    """Weights stay float32, computing does not, captured and eager agree, and it learns."""
    x, y = blobs()
    ends, seen = [], []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(str(x.dtype))
            return x

    for captured in (True, False):
        t = trainer(nn.Sequential(network(), Spy()), precision=precision, capture=captured)
        history = t.fit((x, y), 15, batch_size=8)
        assert history[-1]["accuracy"] > 0.9 and set(seen) == {precision}
        assert all(p.dtype == tg.float32 for p in t.model.parameters())
        assert all(s["exp_avg"].dtype == tg.float32 for s in t.optimizer.state.values())
        assert t.predict(x).dtype == tg.float32
        ends.append((weights(t.model), without_time(history)))
    assert_same(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]


def test_tied_weights_in_mixed_precision():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Embedding(4, 3), nn.Linear(3, 4)
            self.last.weight = self.first.weight

        def forward(self, x):
            return self.last(self.first(x))

    tg.manual_seed(0)
    model, x = Tied(), tg.arange(4)
    t = Trainer(model, F.cross_entropy, optim.Adam(model.parameters(), lr=0.1),
                precision="bfloat16")  # fmt: skip
    history = t.fit([(x, (x + 1) % 4)], 1) + t.fit([(x, (x + 1) % 4)] * 50, 1)
    assert model.last.weight is model.first.weight
    assert history[1]["loss"] < 0.5 * history[0]["loss"]


def test_small_gradients_survive_float16():
    """A loss of 1e-7 times the error: gradients below the least float16."""
    x, y = tg.ones(8, 4), tg.ones(8, 1)
    moved = {}
    for precision in ("float16", None):
        tg.manual_seed(0)
        model = nn.Linear(4, 1)
        before = model.weight.detach().clone()
        t = Trainer(model, lambda out, y: 1e-7 * F.mse_loss(out, y),
                    optim.SGD(model.parameters(), lr=1e5), precision=precision)  # fmt: skip
        t.fit((x, y), 1)
        moved[precision] = (model.weight - before).detach().numpy()
    assert (abs(moved[None]) > 1e-3).all()
    np.testing.assert_allclose(moved["float16"], moved[None], rtol=1e-2)


def test_float16_skips_steps_that_overflow():
    x, y = tg.full((8, 4), 100.0), tg.ones(8, 1)
    tg.manual_seed(0)
    model = nn.Linear(4, 1)
    rates = []
    optimizer = optim.SGD(model.parameters(), lr=1e-6)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    t = Trainer(model, F.mse_loss, optimizer, scheduler, precision="float16")
    before = weights(model)
    t.fit((x, y), 1, callback=lambda p: rates.append(optimizer.param_groups[0]["lr"]))
    assert (t.state.steps, t.state.skipped) == (0, 1) and t.steps.scale.value == 2.0**15
    assert_same(weights(model), before)
    t.fit((x, y), 20, callback=lambda p: rates.append(optimizer.param_groups[0]["lr"]))
    assert t.state.skipped > 0 and t.state.steps > 0 and t.state.steps + t.state.skipped == 20
    assert rates[0] == 1e-6 and rates[-1] == pytest.approx(1e-6 * 0.5**t.state.steps)
    assert all(np.isfinite(w).all() for w in weights(model).values())
    t = Trainer(model, lambda out, y: F.mse_loss(out, y) * float("nan"), optimizer,
                precision="float16")  # fmt: skip
    with pytest.raises(GradientError, match="not finite even without loss scaling"):
        t.fit((x, y), 100)


def test_the_scale_grows_again():
    scale = train.steps.Scale()
    scale.patience = 3
    for finite in (False, True, True, False, True, True, True, True):
        scale.update(finite)
    assert (scale.value, scale.good) == (2.0**15, 1)


# --- learning rate --------------------------------------------------------------------------------
def test_find_lr_restores_everything():
    x, y = blobs(200)
    t = trainer(rate=0.5)
    t.fit((x, y), 1)
    before, state = weights(t.model), t.optimizer.state_dict()
    moment = state["state"][0]["exp_avg"].clone()
    random.seed(3)
    stream, drawn = tg.get_rng_state().tolist(), random.getstate()
    rates, losses, suggestion = t.find_lr((x, y), low=1e-5, high=1e3)
    assert_same(weights(t.model), before)
    assert (t.optimizer.state_dict()["state"][0]["exp_avg"] == moment).all()
    assert t.optimizer.param_groups[0]["lr"] == 0.5 and t.state.epoch == 1
    assert tg.get_rng_state().tolist() == stream and random.getstate() == drawn
    assert len(rates) == len(losses) <= 100 and suggestion in rates
    np.testing.assert_allclose(np.diff(np.log(rates)), np.log(1e8) / 99, rtol=1e-9)


def test_find_lr_on_a_parabola():
    """Gradient descent on w**2 / 2 shrinks w fastest near a rate of 1 and diverges above 2."""
    model = nn.Linear(1, 1, bias=False)
    with tg.no_grad():
        model.weight.fill_(1.0)
    t = Trainer(model, lambda out, y: 0.5 * (out - y).square().mean(),
                optim.SGD(model.parameters(), lr=0.1))  # fmt: skip
    found = t.find_lr([(tg.ones(1, 1), tg.zeros(1, 1))], low=1e-3, high=1e3, steps=60)
    assert 0.03 < found.suggestion < 2.0 and 2.0 < found.rates[-1] < 1e3


# --- refusals -------------------------------------------------------------------------------------
def test_refusals(tmp_path):
    x, y = blobs()
    for options, text in (
        ({"precision": "int8"}, "precision must be None, 'bfloat16' or 'float16', got 'int8'"),
        ({"accumulate": 0}, "accumulate must be a positive int, got 0"),
        ({"clip": 0.0}, "clip must be positive, got 0.0"),
        ({"schedule": "day"}, "schedule must be 'step' or 'epoch', got 'day'"),
    ):
        with pytest.raises(ValueError, match=text):
            trainer(**options)
    with pytest.raises(ValueError, match="a metric must not be named 'loss'"):
        Trainer(network(), F.cross_entropy, None, metrics={"loss": accuracy})
    t = trainer()
    for options, text in (
        ({"epochs": -1}, "epochs must be an integer and not be negative, got -1"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"monitor": "f1"}, r"monitor must be 'loss' or one of the metrics \['accuracy'\], with"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"monitor": "validation_loss"}, "only where there is validation"),
        ({"validation": 0}, "a fraction between 0 and 1, got 0"),
        ({"mode": "up"}, "mode must be 'min' or 'max', got 'up'"),
        ({"checkpoint_every": 1}, "needs a checkpoint folder"),
        ({"checkpoint_every": 0, "checkpoint": tmp_path}, "at least 1"),
        ({"validation": 0.001}, "validation=0.001 of 40 samples leaves a part empty"),
    ):
        with pytest.raises(ValueError, match=text):
            t.fit((x, y), **{"epochs": 1, **options})
    with pytest.raises(ValueError, match="needs a Dataset or tensors; of a DataLoader, pass"):
        t.fit(data.DataLoader(data.TensorDataset(x, y), 8), 1, validation=0.5)
    with pytest.raises(ValueError, match="no batches in epoch 2"):
        t.fit(iter([(x, y)]), 2)
    for call in (t.evaluate, t.predict):
        with pytest.raises(ValueError, match="there are no batches"):
            call([])
    with pytest.raises(TypeError, match="data must be a Dataset, a DataLoader, tensors or"):
        t.fit(3, 1)
    with pytest.raises(TypeError, match="a batch must be a tensor or a tuple"):
        t.fit([{"x": x}], 1)
    with pytest.raises(ValueError, match="expects 0 < low < high"):
        t.find_lr((x, y), low=1.0, high=0.5)
