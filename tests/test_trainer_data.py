"""What a Trainer takes as batches and refuses, and where a run that is stopped stands."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import data, nn, optim
from tilegrad.errors import ShapeError, StateError
from tilegrad.nn import functional as F
from tilegrad.train import Trainer, accuracy

rng = np.random.default_rng(3)
X = tg.from_numpy(rng.standard_normal((10, 3)).astype(np.float32))
Y = tg.arange(10) % 2


def trainer(**options):
    tg.manual_seed(0)
    model = nn.Linear(3, 2)
    return Trainer(model, F.cross_entropy, optim.SGD(model.parameters(), lr=0.1), **options)


def test_accuracy_of_maps_and_of_other_shapes():
    out = tg.from_numpy(rng.standard_normal((2, 3, 4, 4)).astype(np.float32))
    assert accuracy(out, out.argmax(1)) == 1.0
    assert accuracy(out, (out.argmax(1) + tg.tensor([0, 1]).reshape(2, 1, 1)) % 3) == 0.5
    for shape, target in (((8, 1), (8, 1)), ((8, 1), (8,)), ((8,), (8,)), ((8, 2), (8, 2))):
        with pytest.raises(ShapeError, match=r"logits \(N, 1\)"):
            accuracy(tg.zeros(shape), tg.zeros(target))


def test_samples_and_batches_without_a_target_are_refused():
    t = trainer()
    for samples in ([(x, y) for x, y in zip(X, Y, strict=True)], [(x, 1) for x in X]):
        with pytest.raises(ValueError, match=r"pass DataLoader\(data, batch_size\)"):
            t.fit(samples, 1)
    for call in (lambda d: t.fit(d, 1), t.evaluate, t.find_lr):
        with pytest.raises(ValueError, match="needs inputs and a target"):
            call(X)
    with pytest.raises(TypeError, match="field 1 of data is a list"):
        t.fit((X, [0] * 10), 1)


def test_a_list_is_one_of_batches():
    t = trainer()
    assert t.predict([X[:4], X[4:]]).shape == (10, 2)
    with pytest.raises(ValueError, match="needs inputs and a target"):
        t.evaluate([X, X])


def test_batches_of_arrays():
    a, b = trainer(), trainer()
    arrays = [(X.numpy(), Y.numpy())]
    assert a.fit(arrays, 2)[-1]["loss"] == b.fit([(X, Y)], 2)[-1]["loss"]
    assert a.evaluate(arrays) == b.evaluate([(X, Y)])
    assert (a.predict([X.numpy()]) == a.predict(X)).all()


def test_the_fraction_and_the_monitor_in_other_forms():
    t = trainer()
    runs = [
        trainer().fit((X, Y), 2, validation=part, patience=1, monitor=monitor)
        for part in (0.25, np.float32(0.25)) for monitor in ("loss", "validation_loss")
    ]  # fmt: skip
    assert len({run[-1]["validation_loss"] for run in runs}) == 1
    for part in (0, 1, 1.0, True):
        with pytest.raises(ValueError, match="a fraction between 0 and 1"):
            t.fit((X, Y), 1, validation=part)


def test_lbfgs_is_refused():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"LBFGS .* step\(closure\)"):
        Trainer(model, F.cross_entropy, optim.LBFGS(model.parameters()))


# --- find_lr --------------------------------------------------------------------------------------
def test_find_lr_needs_data_that_last():
    t = trainer()
    before = t.model.weight.tolist()
    dropped = data.DataLoader(data.TensorDataset(X, Y), 16, drop_last=True)
    for batches in ([], dropped, ((X, Y) for _ in range(3))):
        with pytest.raises(ValueError, match="gave no batches in pass"):
            t.find_lr(batches)
    assert t.model.weight.tolist() == before


def test_find_lr_leaves_the_loader_where_it_is():
    loader = data.DataLoader(data.TensorDataset(X, Y), 2, shuffle=True, generator=1)
    iter(loader)
    state = str(loader.state_dict())
    trainer().find_lr(loader, steps=12)
    assert str(loader.state_dict()) == state
    loader.load_state_dict(loader.state_dict())
    trainer().find_lr(loader, steps=12)
    assert str(loader.state_dict()) == state

    class Counting:
        passes = 0

        def __iter__(self):
            self.passes += 1
            return iter([(X, Y)])

        def state_dict(self):
            return {"passes": self.passes}

        def load_state_dict(self, state):
            self.passes = state["passes"]

    own = Counting()
    trainer().find_lr(own, steps=3)
    assert own.passes == 0


# --- stopping -------------------------------------------------------------------------------------
def test_a_stop_at_the_end_of_an_epoch_finishes_it():
    logged = []
    t = trainer(loggers=[lambda p: logged.append(p.epoch)])

    def stop(p):
        p.stop = p.steps == 10

    history = t.fit((X, Y), 5, batch_size=2, validation=(X, Y), callback=stop)
    assert len(history) == 2 and "validation_loss" in history[1]
    assert logged == [1, 2] and (t.state.epoch, t.state.batch) == (2, 0)


def test_a_stopped_run_has_the_best_weights_and_its_checkpoint_the_last(tmp_path):
    t, seen = trainer(), {}

    def stop(p):
        seen[p.steps] = t.model.weight.tolist()
        p.stop = p.steps == 12

    t.fit((X, Y), 5, batch_size=2, patience=4, mode="max", callback=stop, checkpoint=tmp_path)
    losses = [row["loss"] for row in t.state.history]
    assert len(losses) == 2 and losses[0] > losses[1], "the first epoch is the best in this sense"
    assert t.model.weight.tolist() == seen[5]
    again = trainer()
    again.fit((X, Y), 2, batch_size=2, checkpoint=tmp_path)  # two epochs are done: no step
    assert again.model.weight.tolist() == seen[12]


def test_resuming_with_fewer_batches(tmp_path):
    def stop(p):
        p.stop = p.steps == 4

    trainer().fit([(X, Y)] * 6, 1, checkpoint=tmp_path, callback=stop)
    with pytest.raises(StateError, match="stands at batch 4 of an epoch, the data have fewer"):
        trainer().fit([(X, Y)] * 3, 1, checkpoint=tmp_path)
