"""The picture of a trained classifier: loss, confusions, first filters, worst mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..train import plots, study


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
    figure = plots.new_figure(11, 8.5)
    figure.suptitle(title)
    parts: Any = figure.subfigures(2, 2)
    (loss_part, confusion_part), (filter_part, mistake_part) = parts
    plots.batch_losses(losses, loss_part)
    counts = study.confusion_matrix(labels, logits.argmax(1), 10)
    plots.confusion(counts, figure=confusion_part)
    filter_part.suptitle("filters of the first layer")
    plots.filters(filters, 3, figure=filter_part)
    worst = worst_mistakes(logits, labels, 12)
    mistake_part.suptitle("worst mistakes (true class, taken for)")
    captions = [f"{labels[i]}, {logits[i].argmax()}" for i in worst]
    plots.images([images[i] for i in worst], captions, 4, mistake_part)
    return figure
