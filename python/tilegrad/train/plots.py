"""Pictures of training as matplotlib figures: ``figure.savefig("name.png")``. Needs matplotlib,
else PackageError.

Every function takes ``figure``, a Figure or SubFigure to draw into, and returns it; without one it
makes a Figure. The numbers come from ``study``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import PackageError, ShapeError
from .study import Decisions, Surface, _array


def new_figure(width: float = 6.4, height: float = 4.8) -> Any:
    """An empty Figure, of no window and no global list. Raises PackageError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise PackageError(f"figure: matplotlib is needed: pip install matplotlib ({e})") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def curves(history: Sequence[Mapping[str, float]], figure: Any = None) -> Any:
    """Loss and metrics by epoch, one part each, training and validation together.

    >>> curves([{"loss": 1.0, "validation_loss": 1.5}, {"loss": 0.5}]).axes[0].get_title()
    'loss'
    """
    names = list(dict.fromkeys(k for row in history for k in row))
    pairs = [k for k in names if not k.startswith("validation_") and k not in ("lr", "seconds")]
    figure = figure or new_figure(4.8 * max(len(pairs), 1), 4.0)
    for name, axes in zip(pairs, np.ravel(figure.subplots(1, max(len(pairs), 1))), strict=False):
        for key, label in ((name, "training"), (f"validation_{name}", "validation")):
            points = [(i, row[key]) for i, row in enumerate(history, 1) if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=label)
        axes.set(xlabel="epoch", title=name)
        axes.legend()
    return figure


def batch_losses(losses: Sequence[float], figure: Any = None) -> Any:
    """The loss of every batch and a moving mean over a hundredth of them, on a log scale."""
    figure = figure or new_figure()
    axes, width = figure.subplots(), max(1, len(losses) // 100)
    axes.plot(losses, color="0.8", linewidth=0.7, label="batch")
    if len(losses) >= width:
        smooth = np.convolve(losses, np.ones(width) / width, "valid")
        axes.plot(np.arange(len(smooth)) + width - 1, smooth, label=f"mean of {width}")
    axes.set(yscale="log", xlabel="batch", ylabel="training loss", title="loss")
    axes.legend()
    return figure


def learning_rates(found: Any, figure: Any = None) -> Any:
    """What ``Trainer.find_lr`` returned: the loss over the learning rate, and its suggestion."""
    figure = figure or new_figure()
    axes = figure.subplots()
    axes.plot(found.rates, found.losses)
    axes.axvline(found.suggestion, color="0.6", linestyle="--", label=f"{found.suggestion:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title="learning rate test")
    axes.legend()
    return figure


def confusion(counts: np.ndarray, names: Sequence[str] | None = None, figure: Any = None) -> Any:
    """A matrix that ``confusion_matrix`` made; what is right is not coloured.

    names: of the classes. Raises ShapeError unless counts is square and has a name for each row.
    """
    shown = [str(i) for i in range(len(counts))] if names is None else list(names)
    if np.shape(counts) != (len(shown), len(shown)):
        raise ShapeError(
            f"confusion: expects counts (classes, classes), got shape {np.shape(counts)} and "
            f"{len(shown)} names"
        )
    figure = figure or new_figure(6.0, 6.0)
    axes = figure.subplots()
    wrong = np.where(np.eye(len(counts), dtype=bool), np.nan, counts)
    most = np.nanmax(wrong) if len(counts) > 1 else 1
    axes.imshow(wrong, cmap="Reds", vmin=0, vmax=max(most, 1))
    for (i, j), n in np.ndenumerate(counts):
        if n:
            axes.text(j, i, str(n), ha="center", va="center", fontsize=7)
    ticks = range(len(counts))
    axes.set(xlabel="taken for", ylabel="true class", title="confusion matrix")
    axes.set_xticks(ticks, shown)
    axes.set_yticks(ticks, shown)
    return figure


def images(
    pictures: Sequence[Any], captions: Iterable[str] = (), columns: int = 8, figure: Any = None
) -> Any:
    """Pictures (H, W), or (H, W, 3) in [0, 1], in a grid, each with its caption."""
    rows = max(1, -(-len(pictures) // columns))
    figure, captions = figure or new_figure(columns, 1.2 * rows), list(captions)
    for i, axes in enumerate(np.ravel(figure.subplots(rows, columns))):
        axes.set_axis_off()
        if i < len(pictures):
            axes.imshow(pictures[i], cmap="gray")
            if i < len(captions):
                axes.set_title(captions[i], fontsize=8)
    return figure


def filters(weight: Any, columns: int = 8, most: int = 64, figure: Any = None) -> Any:
    """The filters of a convolution, weight (N, C, H, W): in colour for three channels, else each
    channel of each filter alone; the first ``most`` of them, each scaled to its own range.

    Raises ShapeError for a weight of other rank.
    """
    w = _array(weight).astype(np.float64)
    if w.ndim != 4:
        raise ShapeError(f"filters: expects weight (N, C, H, W), got shape {w.shape}")
    shown = w.transpose(0, 2, 3, 1) if w.shape[1] == 3 else w.reshape(-1, *w.shape[2:])
    shown = shown[:most]
    axes = tuple(range(1, shown.ndim))
    low, high = shown.min(axes, keepdims=True), shown.max(axes, keepdims=True)
    scaled = (shown - low) / np.where(high > low, high - low, 1.0)
    return images(list(scaled), columns=columns, figure=figure)


def activations(outputs: Mapping[str, Any], figure: Any = None) -> Any:
    """Histograms of what ``layer_outputs`` returned, with the mean and deviation of each layer."""
    columns = min(4, max(len(outputs), 1))
    rows = max(1, -(-len(outputs) // columns))
    figure = figure or new_figure(3.2 * columns, 2.4 * rows)
    parts = iter(np.ravel(figure.subplots(rows, columns)))
    for (name, out), axes in zip(outputs.items(), parts, strict=False):
        values = _array(out).astype(np.float64).ravel()
        axes.hist(values[np.isfinite(values)], bins=50)
        axes.set_title(f"{name}: {values.mean():.3g} ± {values.std():.3g}", fontsize=8)
    for axes in parts:
        axes.set_axis_off()
    return figure


def landscape(surface: Surface, figure: Any = None) -> Any:
    """What ``loss_surface`` returned, as lines of equal loss; the weights are in the middle."""
    figure = figure or new_figure(6.0, 5.0)
    axes = figure.subplots()
    # Row i is the first direction, which goes to the right.
    lines = axes.contourf(surface.steps, surface.steps, surface.losses.T, 20)
    axes.plot(0.0, 0.0, "r+")
    axes.set(xlabel="first direction", ylabel="second direction", title="loss", aspect="equal")
    figure.colorbar(lines)
    return figure


def decision_boundary(
    found: Decisions, points: Any = None, labels: Any = None, figure: Any = None
) -> Any:
    """What ``decision_grid`` returned, as areas; points (N, 2) with class labels (N,) on it."""
    figure = figure or new_figure(5.0, 5.0)
    axes = figure.subplots()
    known = [] if labels is None else [_array(labels).max()]
    top = max(found.classes.max(), *known, 1)
    axes.pcolormesh(found.x, found.y, found.classes, cmap="viridis", alpha=0.4, vmin=0, vmax=top)
    if points is not None:
        at, colour = _array(points), None if labels is None else _array(labels)
        style = {"cmap": "viridis", "vmin": 0, "vmax": top} if colour is not None else {}
        axes.scatter(at[:, 0], at[:, 1], c=colour, edgecolors="k", s=16, **style)
    axes.set(title="decisions")
    return figure


def descent(rows: Sequence[Mapping[str, float]], figure: Any = None) -> Any:
    """What ``double_descent`` returned: training and test loss over the number of parameters."""
    figure = figure or new_figure()
    axes = figure.subplots()
    parameters = [row["parameters"] for row in rows]
    for key, label in (("loss", "training"), ("test_loss", "test")):
        axes.plot(parameters, [row[key] for row in rows], marker=".", label=label)
    axes.set(xscale="log", yscale="log", xlabel="trained parameters", ylabel="loss")
    axes.set_title("loss by size")
    axes.legend()
    return figure
