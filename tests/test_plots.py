"""What a model does, in numbers and pictures."""

import sys

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import nn, optim, train
from tilegrad.errors import PackageError, ShapeError
from tilegrad.nn import functional as F
from tilegrad.train import plots

rng = np.random.default_rng(7)


def size(figure):
    """The bytes of the figure as PNG: it can be drawn."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def ink(figure):
    """How many different colours a drawn figure has: an empty one has few."""
    return len(np.unique(size(figure).reshape(-1, 4), axis=0))


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def test_curves():
    history = [
        {"loss": 2.0, "accuracy": 0.25, "validation_loss": 3.0, "lr": 0.1, "seconds": 1.0},
        {"loss": 1.0, "accuracy": 0.5, "validation_loss": 2.5, "lr": 0.1, "seconds": 2.0},
    ]
    figure = plots.curves(history)
    assert [axes.get_title() for axes in figure.axes] == ["loss", "accuracy"]
    assert lines(figure.axes[0]) == {
        "training": [[1, 2.0], [2, 1.0]], "validation": [[1, 3.0], [2, 2.5]]
    }  # fmt: skip
    assert lines(figure.axes[1]) == {"training": [[1, 0.25], [2, 0.5]]}
    assert ink(figure) > 10
    losses = list(range(300, 0, -1))
    drawn = lines(plots.batch_losses(losses).axes[0])
    assert len(drawn["batch"]) == 300 and drawn["mean of 3"][0] == [2.0, 299.0]


def test_confusion():
    labels, predicted = tg.tensor([0, 1, 2, 2]), np.array([0, 2, 1, 2])
    counts = train.confusion_matrix(labels, predicted)
    assert counts.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 1]]
    assert train.confusion_matrix(labels, predicted, 5).shape == (5, 5)
    figure = plots.confusion(counts, ["a", "b", "c"])
    axes = figure.axes[0]
    assert sorted((*t.get_position(), t.get_text()) for t in axes.texts) == [
        (0, 0, "1"), (1, 2, "1"), (2, 1, "1"), (2, 2, "1")
    ]  # fmt: skip
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b", "c"]
    shown = np.ma.filled(axes.images[0].get_array(), -1.0)
    assert shown.tolist() == [[-1, 0, 0], [0, -1, 1], [0, 1, -1]]
    with pytest.raises(
        ValueError, match=r"expects counts \(classes, classes\), got shape \(3, 3\)"
    ):
        plots.confusion(counts, ["a"])
    for wrong, classes in (([0, -1], None), ([0, 3], 2)):
        with pytest.raises(ValueError, match="class indices must lie in 0 to"):
            train.confusion_matrix([0, 1], wrong, classes)
    with pytest.raises(ShapeError, match=r"got shapes \(2,\) and \(2, 2\)"):
        train.confusion_matrix([0, 1], np.zeros((2, 2)))


def test_filters():
    w = rng.standard_normal((5, 3, 4, 4)).astype(np.float32)
    figure = plots.filters(tg.from_numpy(w), columns=3)
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(figure.axes) == 6 and len(pictures) == 5 and pictures[0].shape == (4, 4, 3)
    assert all(p.min() == 0.0 and p.max() == 1.0 for p in pictures)
    scaled = (w[2] - w[2].min()) / (w[2].max() - w[2].min())
    np.testing.assert_allclose(pictures[2], scaled.transpose(1, 2, 0), rtol=1e-5, atol=1e-6)
    one = [a.images[0].get_array() for a in plots.filters(w[:, :2], most=7).axes if a.images]
    assert len(one) == 7 and one[0].shape == (4, 4)
    assert plots.filters(np.ones((1, 1, 2, 2))).axes[0].images[0].get_array().max() == 0.0
    with pytest.raises(ValueError, match=r"expects weight \(N, C, H, W\), got shape \(5, 3\)"):
        plots.filters(np.ones((5, 3)))


def test_activations():
    tg.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(0.9)), nn.Linear(4, 2)
    )
    x = tg.randn(50, 3)
    outputs = train.layer_outputs(model, x)
    assert list(outputs) == ["0", "1.0", "1.1", "2"] and model.training
    linear = F.linear(x, model[0].weight, model[0].bias)
    assert (outputs["0"] == linear).all() and (outputs["1.0"] == F.relu(linear)).all()
    assert (outputs["1.1"] == outputs["1.0"]).all(), "no dropout in evaluation mode"
    assert not model[0]._forward_hooks
    figure = plots.activations(outputs)
    first = figure.axes[0]
    assert sum(bar.get_height() for bar in first.patches) == 200
    mean, deviation = linear.mean().item(), linear.std(correction=0).item()
    assert first.get_title() == f"0: {mean:.3g} ± {deviation:.3g}"


def plain(model, rate=0.1, loss=F.cross_entropy, **options):
    return train.Trainer(model, loss, optim.SGD(model.parameters(), lr=rate), **options)


def test_loss_surface_of_a_parabola():
    """The loss |w|^2 of weights w: moved by a u + b v it is |w + a u + b v|^2."""
    tg.manual_seed(0)
    model = nn.Linear(6, 3)
    with tg.no_grad():
        model.bias.fill_(5.0)

    trainer = plain(model, loss=lambda out, y: model.weight.square().sum())
    before = model.weight.detach().clone()
    found = train.loss_surface(trainer, [(tg.zeros(1, 6), tg.zeros(1, 3))], span=0.5, steps=5)
    assert (model.weight == before).all() and (model.bias == 5.0).all()
    np.testing.assert_allclose(found.steps, [-0.5, -0.25, 0.0, 0.25, 0.5])
    w2 = before.square().sum().item()
    assert found.losses[2, 2] == pytest.approx(w2, rel=1e-6)
    # Filters of a direction have the norms of the weights: second differences give |u|^2 = |w|^2.
    for line in (found.losses[:, 2], found.losses[2, :]):
        bend = (line[0] - 2 * line[2] + line[4]) / 2 / 0.25
        assert bend == pytest.approx(w2, rel=1e-4)
    assert found.losses[0, 2] != found.losses[2, 0]
    again = train.loss_surface(trainer, [(tg.zeros(1, 6), tg.zeros(1, 3))], 0.5, 5)
    assert (again.losses == found.losses).all()
    figure = plots.landscape(found)
    assert ink(figure) > 20 and len(figure.axes) == 2


def test_decision_boundary():
    x = tg.tensor([[-1.0, -2.0], [1.0, 2.0]])
    found = train.decision_grid(lambda p: tg.stack([p[:, 1], tg.zeros(len(p))], 1), x, 10, 1.0)
    assert found.x[0] == -2.0 and found.x[-1] == 2.0 and found.y[0] == -3.0 and found.y[-1] == 3.0
    assert found.classes.tolist() == [[int(y <= 0)] * 10 for y in found.y]
    model = nn.Sequential(nn.Linear(2, 3))
    trainer = plain(model)
    assert (train.decision_grid(model, x).classes
            == train.decision_grid(trainer.predict, x).classes).all()  # fmt: skip
    figure = plots.decision_boundary(found, x, [1, 0])
    assert figure.axes[0].collections[1].get_offsets().tolist() == x.tolist()
    assert ink(figure) > 10 and ink(plots.decision_boundary(found)) > 2
    with pytest.raises(ValueError, match=r"expects points \(N, 2\), got shape \(2, 3\)"):
        train.decision_grid(model, tg.ones(2, 3))


def test_double_descent():
    """Random features on 20 noisy samples: the test error peaks at 20 features."""
    stream = tg.Generator().manual_seed(0)
    w = tg.randn(5, 1, generator=stream)

    def draw(n, noise):
        x = tg.randn(n, 5, generator=stream)
        return x, x @ w + noise * tg.randn(n, 1, generator=stream)

    def make(width):
        first, last = nn.Linear(5, width), nn.Linear(width, 1, bias=False)
        first.requires_grad_(False)
        with tg.no_grad():
            first.weight.mul_(2.0)
            last.weight.zero_()
        optimizer = optim.SGD(last.parameters(), lr=0.5 / width, momentum=0.95)
        return train.Trainer(nn.Sequential(first, nn.ReLU(), last), F.mse_loss, optimizer)

    data, test = draw(20, 0.5), draw(200, 0.0)
    rows = train.double_descent(make, [2, 10, 20, 200], [data] * 2000, test, epochs=1)
    assert [row["parameters"] for row in rows] == [2, 10, 20, 200]
    loss = [row["loss"] for row in rows]
    assert loss[0] > loss[1] > loss[2] > loss[3] and loss[3] < 1e-6
    error = [row["test_loss"] for row in rows]
    assert error[2] > 2 * error[1] and error[3] < 0.5 * min(error[:3])
    drawn = lines(plots.descent(rows).axes[0])
    assert drawn["test"] == [[row["parameters"], row["test_loss"]] for row in rows]


def test_learning_rates():
    found = train.RateTest([0.1, 1.0, 10.0], [3.0, 1.0, 2.0], 1.0)
    assert next(iter(lines(plots.learning_rates(found).axes[0]).values()))[2] == [10.0, 2.0]


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PackageError, match="matplotlib is needed: pip install matplotlib"):
        plots.curves([])
