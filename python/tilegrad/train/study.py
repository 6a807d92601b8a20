"""What a trained model does, as numbers: confusions, outputs of its layers, the loss around its
weights, its decisions in the plane, its error by width. ``plots`` draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..generator import Generator
from ..grad_mode import no_grad
from ..nn.module import Module
from ..tensor import Tensor, as_tensor, from_numpy
from .trainer import Trainer


def _array(x: Any) -> np.ndarray:
    return x.numpy(force=True) if isinstance(x, Tensor) else np.asarray(x)


def confusion_matrix(labels: Any, predicted: Any, classes: int | None = None) -> np.ndarray:
    """Entry (i, j): how many samples of class i were taken for class j.

    labels, predicted: class indices (N,); classes: how many there are, all that occur if not given.
    Raises ShapeError for other shapes, ValueError for indices outside 0 to classes - 1.

    >>> confusion_matrix([0, 1, 1], [0, 1, 0])
    array([[1, 0],
           [1, 1]])
    """
    true, taken = _array(labels).astype(np.int64), _array(predicted).astype(np.int64)
    if true.ndim != 1 or true.shape != taken.shape:
        raise ShapeError(
            f"confusion_matrix: expects class indices (N,) twice, got shapes {true.shape} and "
            f"{taken.shape}"
        )
    both = np.concatenate([true, taken])
    n = classes or int(both.max(initial=0)) + 1
    if both.min(initial=0) < 0 or both.max(initial=0) >= n:
        raise TgValueError(
            f"confusion_matrix: class indices must lie in 0 to {n - 1}, got {both.min()} to "
            f"{both.max()}"
        )
    counts = np.zeros((n, n), np.int64)
    np.add.at(counts, (true, taken), 1)
    return counts


@no_grad()
def layer_outputs(model: Module, *inputs: Any) -> dict[str, Tensor]:
    """The outputs of all layers without children, by path, for these inputs in evaluation mode.

    >>> import tilegrad as tg
    >>> net = tg.nn.Sequential(tg.nn.Linear(2, 3), tg.nn.ReLU())
    >>> {name: tuple(t.shape) for name, t in layer_outputs(net, tg.ones(4, 2)).items()}
    {'0': (4, 3), '1': (4, 3)}
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, args: Any, out: Any) -> None:
            if isinstance(out, Tensor):
                found[name] = out.clone()  # a layer after it may work in place

        return hook

    leaves = [(name, m) for name, m in model.named_modules() if not [*m.children()]]
    handles = [m.register_forward_hook(keep(name)) for name, m in leaves]
    training = model.training
    model.eval()
    try:
        model(*inputs)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return found


class Surface(NamedTuple):
    """Losses (steps, steps): row i, column j at the weights moved by steps[i] times the first and
    steps[j] times the second direction."""

    steps: np.ndarray
    losses: np.ndarray


@no_grad()
def loss_surface(
    trainer: Trainer, data: Any, span: float = 1.0, steps: int = 11, seed: int = 0
) -> Surface:
    """The loss of a trainer's model on data, at weights moved by up to span along two random
    directions; the weights are put back.

    Each filter of a direction has the norm of that filter of the weights; biases and the
    parameters of normalisation (one axis) are not moved. Source: Li et al. (2018), "Visualizing
    the loss landscape of neural nets", section 4.
    """
    stream = Generator().manual_seed(seed)
    params: list[Any] = [p for p in trainer.model.parameters() if p.ndim > 1]
    start = [p.detach().clone() for p in params]
    directions = [[_like_filters(w, stream) for w in start] for _ in range(2)]
    places = np.linspace(-span, span, steps)
    losses = np.empty((steps, steps))
    try:
        for i, a in enumerate(places.tolist()):
            for j, b in enumerate(places.tolist()):
                for p, w, u, v in zip(params, start, *directions, strict=True):
                    p.copy_(w + a * u + b * v)
                losses[i, j] = trainer.evaluate(data)["loss"]
    finally:
        for p, w in zip(params, start, strict=True):
            p.copy_(w)
    return Surface(places, losses)


def _like_filters(w: Any, stream: Generator) -> Any:
    d = ops.randn(*w.shape, generator=stream).to(w.dtype)
    axes = tuple(range(1, w.ndim))
    length = d.square().sum(axes, keepdim=True).sqrt()
    return d * (w.square().sum(axes, keepdim=True).sqrt() / length)


class Decisions(NamedTuple):
    """Classes (steps, steps) at the points (x[j], y[i])."""

    x: np.ndarray
    y: np.ndarray
    classes: np.ndarray


@no_grad()
def decision_grid(
    predict: Callable[[Any], Any], points: Any, steps: int = 100, margin: float = 0.5
) -> Decisions:
    """The classes that predict gives in a grid over the points (N, 2) and a margin around them.

    predict: from points (M, 2), float32, to outputs (M, C), whose largest counts, or (M, 1) or
    (M,), whose sign counts: a model or ``trainer.predict``. Raises ShapeError for other points.

    >>> import tilegrad as tg
    >>> decision_grid(lambda p: p[:, :1], tg.tensor([[-1.0, 0.0], [1.0, 0.0]]), 4).classes[0]
    array([0, 0, 1, 1])
    """
    at = _array(points)
    if at.ndim != 2 or at.shape[1] != 2:
        raise ShapeError(f"decision_grid: expects points (N, 2), got shape {at.shape}")
    low, high = at.min(0) - margin, at.max(0) + margin
    xs, ys = (np.linspace(low[i], high[i], steps) for i in range(2))
    grid = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2).astype(np.float32)
    out = _array(as_tensor(predict(from_numpy(grid)))).reshape(len(grid), -1)
    classes = out.argmax(1) if out.shape[1] > 1 else (out[:, 0] > 0).astype(np.int64)
    return Decisions(xs, ys, classes.reshape(steps, steps))


def double_descent(
    make: Callable[[int], Trainer],
    widths: Iterable[int],
    data: Any,
    test: Any,
    epochs: int,
    batch_size: int = 32,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Trains a new model for each width, from the same seed; returns for each its width, its number
    of trained parameters, the loss and metrics on data, and those on test as test_....

    make(width) returns a Trainer. The test error falls, rises where the parameters are just enough
    to fit data, and falls again. Sources: Belkin et al. (2019), "Reconciling modern
    machine-learning practice and the classical bias-variance trade-off"; Nakkiran et al. (2019),
    "Deep double descent".
    """
    rows = []
    for width in widths:
        ops.manual_seed(seed)
        trainer = make(width)
        trainer.fit(data, epochs, batch_size=batch_size)
        count = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
        row = {"width": width, "parameters": count, **trainer.evaluate(data)}
        rows.append({**row, **{f"test_{k}": v for k, v in trainer.evaluate(test).items()}})
    return rows
