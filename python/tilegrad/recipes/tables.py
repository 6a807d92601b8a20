"""Recipes for small tables: iris and the motorcycle measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import nn, ops, optim
from ..data import read_csv, toy
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..nn import functional as F
from ..tensor import from_numpy
from ..train import plots, study
from .recipe import Options, Published, Recipe, Result, Task, error_percent, predict

_MEASURES = ("sepal length", "sepal width", "petal length", "petal width")
_LDA = "linear discriminants (method: Fisher, 1936; computed with scikit-learn 1.9.1)"


def _file(path: Any, name: str) -> Path:
    return Path(path) / name if Path(path).is_dir() else Path(path)


def iris(path: Any = None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Four measures (N, 4), species (N,) and their names, from a CSV file as that of R (or a folder
    with iris.csv); without path those that come with scikit-learn."""
    if path is None:
        table = toy("iris")
    else:
        columns = [m.title().replace(" ", ".") for m in _MEASURES]
        table = read_csv(_file(path, "iris.csv"), target="Species", columns=columns)
    y: Any = table.y
    return table.x.numpy().astype(np.float64), y.numpy(), table.classes


def _tensor(a: np.ndarray) -> Any:
    return from_numpy(np.ascontiguousarray(a, np.float32))


def _split(y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two thirds of the rows of every class, drawn by the seed, and the others."""
    rng, train = np.random.default_rng(seed), []
    for c in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == c))
        train.append(rows[: len(rows) * 2 // 3])
    chosen = np.sort(np.concatenate(train))
    return chosen, np.setdiff1d(np.arange(len(y)), chosen)


def _regions(score: Any, x: np.ndarray, y: np.ndarray, columns: list[int], title: str) -> Any:
    """The classes of the plane around the samples x (N, 2), and the samples with theirs."""
    found = study.decision_grid(score, x, 200)
    figure = plots.decision_boundary(found, x, y)
    across, up = (f"{_MEASURES[c]}, cm" for c in columns)
    figure.axes[0].set(xlabel=across, ylabel=up, title=title)
    return figure


# --- the perceptron -------------------------------------------------------------------------------
def _perceptron(options: Options, facts: dict[str, Any]) -> nn.Module:
    model = nn.Linear(2, 1)
    for p in model.parameters():
        nn.init.zeros_(p)
    return model


def _mistaken(score: Any, y: Any) -> Any:
    """Rosenblatt's rule as a loss: its gradient is -y x where y (w x + b) <= 0, otherwise 0."""
    right = ops.reshape(score, (-1,)) * y
    return ops.mean(ops.where(right <= 0, -right, ops.zeros_like(right)))


def largest_margin(x: np.ndarray, y: np.ndarray, steps: int = 20_000) -> float:
    """The margin of a plane through 0 that has y x (y +1 or -1) on its positive side, close to the
    largest there is: the distance from 0 of the convex hull of the points y x, by Gilbert's
    algorithm (1966). Not positive where it found none."""
    points = y[:, None] * x
    z = points[0]
    for _ in range(steps):
        p = points[(points @ z).argmin()]
        step = z @ (z - p) / max((z - p) @ (z - p), 1e-300)
        if step <= 0:
            break
        z = z + min(step, 1.0) * (p - z)
    return float((points @ z).min() / max(np.sqrt(z @ z), 1e-300))


def _prepare_perceptron(options: Options, path: Any) -> Task:
    whole, species, names = iris(path)
    keep = species < 2
    columns = [0, 2]
    raw, y = whole[keep][:, columns], np.where(species[keep] == 0, -1.0, 1.0)
    mean, spread = raw.mean(0), raw.std(0)
    x = (raw - mean) / spread
    xs, ys = _tensor(x), _tensor(y)

    def mistakes(score: Any, target: Any) -> float:  # of the samples, as the loss is
        return float(np.mean(score.numpy(force=True)[:, 0] * target.numpy() <= 0))

    def total(result: Result) -> int:
        rows = sum(row["mistakes"] for row in result.state.history) * len(x)
        return round(rows + result.state.sums.get("mistakes", 0.0))

    def callback(p: Any) -> None:
        p.stop = p.batch == p.batches and p.sums["mistakes"] == 0

    def measure(model: Any) -> dict[str, float]:
        score = predict(model, xs).numpy()[:, 0]
        return {"rows on the wrong side": float(np.count_nonzero(score * y <= 0))}

    def remarks(result: Result) -> list[str]:
        longer = np.c_[x, np.ones(len(x))]
        r, margin = np.sqrt((longer**2).sum(1).max()), largest_margin(longer, y)
        if margin <= 0:
            return [f"{total(result)} mistakes; no line separates the two classes"]
        return [
            f"{total(result)} mistakes on the way; at most (R / margin)^2 = "
            f"({r:.3f} / {margin:.3f})^2 = {(r / margin) ** 2:.1f} (Novikoff, 1962)"
        ]

    def draw(result: Result) -> dict[str, Any]:
        def side(points: Any) -> Any:
            return predict(result.model, (points - _tensor(mean)) / _tensor(spread))

        title = f"perceptron: {names[0]} and {names[1]}, {total(result)} mistakes on the way"
        return {"boundary.png": _regions(side, raw, species[keep], columns, title)}

    def plain(params: Any) -> Any:
        return optim.SGD(params, lr=options["lr"])

    return Task(
        (xs, ys), _mistaken, measure, f"{len(x)} rows of iris, 2 columns, {names[0]} or {names[1]}",
        metrics={"mistakes": mistakes}, optimizer=plain, constant=True, pictures=draw,
        remarks=remarks, callback=callback,
    )  # fmt: skip


# --- classifiers of iris --------------------------------------------------------------------------
def _softmax(options: Options, facts: dict[str, Any]) -> nn.Module:
    return nn.Linear(4, len(facts["names"]))


def _sigmoid_net(options: Options, facts: dict[str, Any]) -> nn.Module:
    out = len(facts["names"])
    return nn.Sequential(
        nn.Linear(2, options["hidden"]), nn.Sigmoid(), nn.Linear(options["hidden"], out),
        nn.Sigmoid(),
    )  # fmt: skip


def _prepare_iris(columns: list[int], loss: Any) -> Any:
    def prepare(options: Options, path: Any) -> Task:
        whole, y, names = iris(path)
        raw = whole[:, columns]
        train, test = _split(y, options["seed"])
        mean, spread = raw[train].mean(0), raw[train].std(0)
        xs, ys = _tensor((raw - mean) / spread), from_numpy(y.astype(np.int64))
        parts = [(xs[from_numpy(rows)], ys[from_numpy(rows)]) for rows in (train, test)]

        def measure(model: Any) -> dict[str, float]:
            return {
                "test error": error_percent(model, parts[1]),
                "wrong of all rows": error_percent(model, (xs, ys)) * len(y) / 100.0,
            }

        def draw(result: Result) -> dict[str, Any]:
            if len(columns) != 2:
                return {"loss.png": plots.batch_losses(result.losses)}

            def classes(points: Any) -> Any:
                return predict(result.model, (points - _tensor(mean)) / _tensor(spread))

            title = "one hidden layer: " + ", ".join(f"{i} {n}" for i, n in enumerate(names))
            return {"regions.png": _regions(classes, raw, y, columns, title)}

        about = (
            f"iris: {len(train)} rows to learn from, {len(test)} to test; {len(columns)} columns"
        )
        learn, seen = parts[0]
        if loss is F.mse_loss:  # of the classes as 0 and 1
            seen = F.one_hot(seen, len(names)).float()  # type: ignore[attr-defined]
        return Task((learn, seen), loss, measure, about, {"names": names}, pictures=draw)

    return prepare


# --- the motorcycle data --------------------------------------------------------------------------
def _curve(options: Options, facts: dict[str, Any]) -> nn.Module:
    return nn.Sequential(
        nn.Linear(1, options["hidden"]), nn.Sigmoid(), nn.Linear(options["hidden"], 1)
    )


def _prepare_mcycle(options: Options, path: Any) -> Task:
    if path is None:
        raise TgFileNotFoundError("mcycle: name the file (R, MASS::mcycle, as CSV) with --data")
    table = read_csv(_file(path, "mcycle.csv"), columns=("times", "accel"))
    raw = table.x.numpy().astype(np.float64)
    mean, spread = raw.mean(0), raw.std(0)
    xs, ys = (_tensor(c) for c in np.split((raw - mean) / spread, 2, axis=1))

    def explained(model: Any) -> dict[str, float]:
        left = predict(model, xs).numpy() - ys.numpy()
        share = 1.0 - float((left.astype(np.float64) ** 2).mean())
        return {"variance explained": 100.0 * share}

    def draw(result: Result) -> dict[str, Any]:
        model: Any = result.model
        figure = plots.new_figure(12.0, 4.8)
        fit, hidden = figure.subplots(1, 2)
        t = np.linspace(-2.0, 2.5, 300)[:, None]
        ms = t[:, 0] * spread[0] + mean[0]
        fit.scatter(*raw.T, s=10, color="0.6")
        fit.plot(ms, predict(model, _tensor(t)).numpy() * spread[1] + mean[1])
        fit.set(xlabel="ms", ylabel="g", title="data and network")
        hidden.plot(ms, predict(model[:2], _tensor(t)).numpy())
        hidden.set(xlabel="ms", title="the hidden units")
        return {"curve.png": figure}

    def adam(params: Any) -> Any:
        return optim.Adam(params, lr=options["lr"])

    return Task(
        (xs, ys), F.mse_loss, explained, f"{len(raw)} pairs of time and acceleration",
        optimizer=adam, pictures=draw,
    )  # fmt: skip


RECIPES = (
    Recipe(
        "perceptron", "Rosenblatt's perceptron on two species of iris", "of 100",
        (Published("0", "Novikoff, On convergence proofs on perceptrons, 1962",
                   "for any two classes that a line separates, after finitely many mistakes"),),
        "iris.csv or a folder with it (not needed with scikit-learn)",
        {"epochs": 100, "lr": 1.0, "batch": 1}, {}, _perceptron, _prepare_perceptron,
    ),
    Recipe(
        "logistic", "logistic regression of three classes on iris", "%",
        (Published("2 % (3 of 150)", _LDA, "the same four columns, judged on the rows it was "
                   "fitted to"),),
        "iris.csv or a folder with it (not needed with scikit-learn)",
        {"epochs": 200, "lr": 0.1, "batch": 10}, {"epochs": 5},
        _softmax, _prepare_iris([0, 1, 2, 3], F.cross_entropy),
    ),
    Recipe(
        "iris_mlp", "one hidden layer of sigmoids on two columns of iris", "%",
        (Published("4 % (6 of 150)", _LDA, "the same two columns, judged on the rows it was "
                   "fitted to"),),
        "iris.csv or a folder with it (not needed with scikit-learn)",
        {"epochs": 500, "lr": 1.0, "batch": 10, "hidden": 10}, {"epochs": 5},
        _sigmoid_net, _prepare_iris([2, 3], F.mse_loss),
    ),
    Recipe(
        "mcycle", "a curve through the motorcycle data by one hidden layer", "%",
        (Published("79.9 %", "a smoothing spline with the smoothness chosen by generalized "
                   "cross-validation (method: Silverman, 1985; computed with SciPy 1.17.1)",
                   "the same rows, fitted and judged there as here"),),
        "mcycle.csv or a folder with it",
        {"epochs": 2000, "lr": 0.03, "batch": 133, "hidden": 10}, {"epochs": 5},
        _curve, _prepare_mcycle,
    ),
)  # fmt: skip
