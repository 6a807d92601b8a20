"""The picture of a trained classifier: loss, confusions, first filters, worst mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import PackageError


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int = 10) -> np.ndarray:
    """Entry (i, j): how many samples of class i were taken for class j.

    >>> confusion_matrix(np.array([0, 1, 1]), np.array([0, 1, 0]), 2)
    array([[1, 0],
           [1, 1]])
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    return counts


def worst_mistakes(logits: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The positions of misclassified samples, those with the least probability for the true class
    first."""
    shifted = logits - logits.max(1, keepdims=True)
    chosen = shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(1))
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    return wrong[np.argsort(chosen[wrong], kind="stable")][:count]


def draw(
    losses: list[float],
    logits: np.ndarray,
    labels: np.ndarray,
    images: np.ndarray,
    filters: np.ndarray,
    title: str,
) -> Any:
    """The picture, a Figure. Raises PackageError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise PackageError(f"figure: matplotlib is needed: pip install matplotlib ({e})") from None
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    parts: Any = figure.subfigures(2, 2)
    (loss_part, confusion_part), (filter_part, mistake_part) = parts
    _losses(loss_part.subplots(), losses)
    _confusions(confusion_part.subplots(), confusion_matrix(labels, logits.argmax(1)))
    filter_part.suptitle("filters of the first layer")
    _images(filter_part, list(filters), [""] * len(filters), 3)
    worst = worst_mistakes(logits, labels, 12)
    mistake_part.suptitle("worst mistakes (true class, taken for)")
    captions = [f"{labels[i]}, {logits[i].argmax()}" for i in worst]
    _images(mistake_part, [images[i] for i in worst], captions, 4)
    return figure


def _losses(axes: Any, losses: list[float]) -> None:
    width = max(1, len(losses) // 100)
    axes.plot(losses, color="0.8", linewidth=0.7, label="batch")
    if len(losses) >= width:
        smooth = np.convolve(losses, np.ones(width) / width, "valid")
        axes.plot(np.arange(len(smooth)) + width - 1, smooth, label=f"mean of {width}")
    axes.set(yscale="log", xlabel="batch", ylabel="training loss", title="loss")
    axes.legend()


def _confusions(axes: Any, counts: np.ndarray) -> None:
    shown = np.where(np.eye(len(counts), dtype=bool), np.nan, counts)
    axes.imshow(shown, cmap="Reds", vmin=0, vmax=max(np.nanmax(shown), 1))
    for (i, j), n in np.ndenumerate(counts):
        if n:
            axes.text(j, i, str(n), ha="center", va="center", fontsize=7)
    axes.set(
        xlabel="taken for", ylabel="true class", title="confusion matrix (test set)",
        xticks=range(len(counts)), yticks=range(len(counts)),
    )  # fmt: skip


def _images(part: Any, images: list[np.ndarray], captions: list[str], columns: int) -> None:
    rows = max(1, -(-len(images) // columns))
    for i, axes in enumerate(np.ravel(part.subplots(rows, columns))):
        axes.set_axis_off()
        if i < len(images):
            axes.imshow(images[i], cmap="gray")
            axes.set_title(captions[i], fontsize=8)
