"""Recipes for autoencoders, on handwritten digits."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import models, nn, ops, optim
from ..data import TensorDataset
from ..grad_mode import no_grad
from ..nn import functional as F
from ..tensor import Tensor
from ..train import Trainer, plots
from .digits import MNIST, digits
from .recipe import Options, Published, Recipe, Result, Task, error_percent, predict


def tiles(images: Any, columns: int, title: str) -> Any:
    """Images (N, H, W) in one grid, each from its least to its largest value."""
    a = np.asarray(images, np.float32)
    low, high = a.min((1, 2), keepdims=True), a.max((1, 2), keepdims=True)
    a = (a - low) / np.maximum(high - low, 1e-12)
    n, h, w = a.shape
    rows = -(-n // columns)
    sheet = np.ones((rows * (h + 1), columns * (w + 1)), np.float32)
    for i, image in enumerate(a):
        y, x = i // columns * (h + 1), i % columns * (w + 1)
        sheet[y : y + h, x : x + w] = image
    figure = plots.new_figure(7.0, 7.0 * rows * (h + 1) / (columns * (w + 1)) + 0.5)
    axes = figure.subplots()
    axes.set(title=title)
    axes.imshow(sheet, cmap="gray", vmin=0.0, vmax=1.0)
    axes.set_axis_off()
    return figure


def _cross_entropy(out: Any, x: Any) -> Any:
    """Of the reconstruction: the sum over the pixels, the mean over the images, in nats."""
    return F.binary_cross_entropy_with_logits(
        out[0], ops.flatten(x, 1), reduction="sum"
    ) / len(x)  # type: ignore[operator]  # fmt: skip


def _linear_error(train: tuple[Any, Any], test: tuple[Any, Any], epochs: int) -> float:
    """The test error in percent of a softmax regression on what does not change any more."""
    ops.manual_seed(0)
    model = nn.Linear(train[0].shape[1], 10)
    optimizer = optim.Adam(model.parameters(), lr=0.002)
    Trainer(model, F.cross_entropy, optimizer).fit(TensorDataset(*train), epochs, batch_size=100)
    return error_percent(model, test)


def _prepare(options: Options, path: Any) -> Task:
    train, test, about = digits(options, path)

    def loss(out: Any, x: Any) -> Any:
        if "beta" not in options:
            return _cross_entropy(out, x)
        far: Any = ops.sigmoid(out[0]) - ops.flatten(x, 1)  # type: ignore[operator]
        return 0.5 * ops.sum(far * far) / len(x) + options["beta"] * models.sparsity(
            out[1], options["sparsity"]
        )

    def measure(model: Any) -> dict[str, float]:
        passes = options["classifier_epochs"]
        (x, y), (test_x, test_y) = train, test
        with no_grad():
            codes = model.encode(x), model.encode(test_x)
        rebuilt = ops.sigmoid(predict(model, test_x)[0])
        far = rebuilt - ops.flatten(test_x, 1)  # type: ignore[operator]
        return {
            "test error from codes": _linear_error((codes[0], y), (codes[1], test_y), passes),
            "test error from pixels": _linear_error(
                (ops.flatten(x, 1), y), (ops.flatten(test_x, 1), test_y), passes
            ),
            "mean activation": ops.mean(codes[1]).item(),
            "mean square error of a pixel": ops.mean(far * far).item(),  # type: ignore[operator]
        }

    def draw(result: Result) -> dict[str, Any]:
        model: Any = result.model
        x = test[0][:32]
        seen = x
        if model.noise:
            seen = x * (ops.rand_like(x) >= model.noise)
        rebuilt = ops.sigmoid(predict(model, seen)[0]).numpy().reshape(-1, 28, 28)
        stages = (x.numpy()[:, 0], seen.numpy()[:, 0], rebuilt)
        rows = [a[i : i + 16] for i in (0, 16) for a in stages]
        weights = model.encoder.weight.numpy(force=True)[:100].reshape(-1, 28, 28)
        title = "digits, what the network sees of them, what it makes of that"
        return {
            "filters.png": tiles(weights, 10, "weights of hidden units"),
            "rebuilt.png": tiles([image for row in rows for image in row], 16, title),
            "loss.png": plots.batch_losses(result.losses),
        }

    def adam(params: Any) -> Any:
        decay = options.get("weight_decay", 0.0)
        return optim.Adam(params, lr=options["lr"], weight_decay=decay)

    return Task((train[0], train[0]), loss, measure, about, optimizer=adam, pictures=draw)


def _denoising(options: Options, facts: dict[str, Any]) -> nn.Module:
    return models.Autoencoder(784, options["hidden"], options["noise"])


def _sparse(options: Options, facts: dict[str, Any]) -> nn.Module:
    return models.Autoencoder(784, options["hidden"])


def _variational(options: Options, facts: dict[str, Any]) -> nn.Module:
    return models.VariationalAutoencoder(784, options["hidden"], options["latent"])


def _prepare_variational(options: Options, path: Any) -> Task:
    train, test, about = digits(options, path)
    ops.manual_seed(options["seed"])
    x, test_x = ops.bernoulli(train[0]), ops.bernoulli(test[0])

    def measure(model: Any) -> dict[str, float]:
        out = predict(model, test_x)
        bound = models.negative_bound(out, test_x).item()
        return {"bound of the test set": bound, "of that the code": bound - _of_pixels(out, test_x)}

    def _of_pixels(out: Any, x: Tensor) -> float:
        return _cross_entropy(out, x).item()

    def draw(result: Result) -> dict[str, Any]:
        model: Any = result.model
        drawn = ops.sigmoid(model.decoder(ops.randn(100, options["latent"])))
        images = drawn.numpy(force=True).reshape(-1, 28, 28)
        out = ops.sigmoid(predict(model, test_x[:32])[0]).numpy().reshape(-1, 28, 28)
        rows = [a[i : i + 16] for i in (0, 16) for a in (test_x.numpy()[:32, 0], out)]
        return {
            "drawn.png": tiles(images, 10, "digits drawn by the network"),
            "rebuilt.png": tiles([i for r in rows for i in r], 16, "digits, and rebuilt"),
            "loss.png": plots.batch_losses(result.losses),
        }

    def adam(params: Any) -> Any:
        return optim.Adam(params, lr=options["lr"])

    return Task(
        (x, x), models.negative_bound, measure, f"{about}; pixels drawn as 0 or 1 once",
        optimizer=adam, pictures=draw,
    )  # fmt: skip


_QUICK = {"epochs": 1, "limit": 640, "hidden": 32}
RECIPES = (
    Recipe(
        "denoising", "a denoising autoencoder on MNIST", "%",
        (Published("2.80 %", "Vincent et al., Extracting and composing robust features, 2008, "
                   "table 1 (basic)", "there three layers, trained further on the classes, 10,000 "
                   "images; here a linear classifier on one layer"),),
        MNIST,
        {"epochs": 20, "lr": 0.002, "batch": 100, "hidden": 500, "noise": 0.25, "limit": 0,
         "classifier_epochs": 10},
        {**_QUICK, "classifier_epochs": 1}, _denoising, _prepare,
    ),
    Recipe(
        "sparse", "a sparse autoencoder on MNIST", "%",
        (Published("about 2 %", "Stanford UFLDL tutorial, self-taught learning, 2011",
                   "there five digits, 200 units learnt from the other five, about 4 % from the "
                   "pixels; here ten digits"),),
        MNIST,
        {"epochs": 20, "lr": 0.002, "batch": 100, "hidden": 196, "sparsity": 0.1, "beta": 3.0,
         "weight_decay": 1e-5, "limit": 0, "classifier_epochs": 10},
        {**_QUICK, "classifier_epochs": 1}, _sparse, _prepare,
    ),
    Recipe(
        "vae", "a variational autoencoder on MNIST", "nats",
        (
            Published("about 100", "Kingma and Welling, Auto-encoding variational Bayes, 2013, "
                      "figure 2 (20 dimensions)", "read off the figure; many more passes"),
            Published("86.8", "Burda et al., Importance weighted autoencoders, 2015, table 1",
                      "there two hidden layers, 50 dimensions, 3280 passes, pixels drawn anew in "
                      "every pass, here once, and an estimate of the likelihood, which is less "
                      "than the bound"),
        ),
        MNIST,
        {"epochs": 30, "lr": 0.001, "batch": 100, "hidden": 500, "latent": 20, "limit": 0},
        _QUICK, _variational, _prepare_variational,
    ),
)  # fmt: skip
