"""The pictures of the recipes: curves, tiles of images, decision regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import PackageError


def panel(title: str, columns: int = 1, size: tuple[float, float] = (7.0, 5.0)) -> tuple[Any, Any]:
    """An empty figure and its axes, in one row. Raises PackageError where matplotlib is missing."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise PackageError(f"figure: matplotlib is needed: pip install matplotlib ({e})") from None
    figure = Figure(figsize=(size[0] * columns, size[1]), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def losses(values: Sequence[float], title: str, lines: dict[str, float] | None = None) -> Any:
    """The loss by batch and its running mean; lines: levels to draw, by name."""
    figure, (axes,) = panel(title)
    width = max(1, len(values) // 100)
    axes.plot(values, color="0.8", linewidth=0.7, label="batch")
    if len(values) >= width:
        smooth = np.convolve(values, np.ones(width) / width, "valid")
        axes.plot(np.arange(len(smooth)) + width - 1, smooth, label=f"mean of {width}")
    for i, (name, level) in enumerate((lines or {}).items()):
        axes.axhline(level, color=f"C{i + 1}", linestyle="--", label=name)
    axes.set(xlabel="batch", ylabel="training loss")
    axes.legend()
    return figure


def tiles(images: Any, columns: int, title: str) -> Any:
    """Images (N, H, W) or (N, H, W, 3) in a grid, each from its least to its largest value."""
    a = np.asarray(images, np.float32)
    axis = tuple(range(1, a.ndim))
    low, high = a.min(axis, keepdims=True), a.max(axis, keepdims=True)
    a = (a - low) / np.maximum(high - low, 1e-12)
    n, h, w, *colours = a.shape
    rows = -(-n // columns)
    sheet = np.ones((rows * (h + 1), columns * (w + 1), *colours), np.float32)
    for i, image in enumerate(a):
        y, x = i // columns * (h + 1), i % columns * (w + 1)
        sheet[y : y + h, x : x + w] = image
    figure, (axes,) = panel(title, size=(7.0, 7.0 * rows * (h + 1) / (columns * (w + 1)) + 0.5))
    axes.imshow(sheet, cmap="gray", vmin=0.0, vmax=1.0)
    axes.set_axis_off()
    return figure


def regions(
    predict: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray, names: Sequence[str],
    axes_names: Sequence[str], title: str,
) -> Any:  # fmt: skip
    """The class that predict gives to each point of the plane around the samples x (N, 2), and the
    samples with their classes y."""
    figure, (axes,) = panel(title)
    low, high = x.min(0), x.max(0)
    margin = 0.1 * (high - low)
    across, up = (np.linspace(a, b, 200) for a, b in zip(low - margin, high + margin, strict=True))
    grid = np.stack(np.meshgrid(across, up), -1)
    found = predict(grid.reshape(-1, 2)).reshape(grid.shape[:2])
    levels = np.arange(len(names) + 1) - 0.5
    colours = [f"C{i}" for i in range(len(names))]
    axes.contourf(across, up, found, levels=levels, colors=colours, alpha=0.25)
    for i, name in enumerate(names):
        axes.scatter(*x[y == i].T, color=colours[i], s=14, label=name)
    axes.set(xlabel=axes_names[0], ylabel=axes_names[1])
    axes.legend()
    return figure
