"""Recipes for handwritten digits: MNIST, or the small ones that come with scikit-learn."""

from __future__ import annotations

from typing import Any

from .. import data, models, nn
from ..demo.figure import draw
from ..demo.lenet import lenet5
from ..demo.run import load_digits
from ..nn import functional as F
from ..train import accuracy
from .recipe import Options, Published, Recipe, Result, Task, error_percent, predict

MNIST = "a folder with the four MNIST files (without: the digits of scikit-learn)"


def digits(options: Options, path: Any) -> tuple[Any, Any, str]:
    """Images and labels to learn from and to test, and a line about them; options["limit"]: how
    many to learn from, 0 for all."""
    train, test, name = load_digits(path)
    n = options["limit"] or len(train)
    train = data.TensorDataset(*(t[:n] for t in train.tensors))
    about = f"{name}: {len(train):,} to learn from, {len(test):,} to test"
    return train.tensors, test.tensors, about


def picture(result: Result, samples: Any, weights: Any, title: str, shown: Any) -> Any:
    """The four-part picture of a classifier; shown: the images as they are drawn."""
    x, y = samples
    logits = predict(result.model, x).numpy()
    return draw(result.losses, logits, y.numpy(), shown, weights, title)


def _mlp(options: Options, facts: dict[str, Any]) -> nn.Module:
    return models.mlp(784, options["hidden"], 10)


def _dropout(options: Options, facts: dict[str, Any]) -> nn.Module:
    h, layers = options["hidden"], [nn.Flatten(), nn.Dropout(0.2)]
    for n in (784, h, h):
        layers += [nn.Linear(n, h), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(h, 10))


def _lenet(options: Options, facts: dict[str, Any]) -> nn.Module:
    return lenet5(options["variant"])


def _prepare(options: Options, path: Any) -> Task:
    train, test, about = digits(options, path)
    move = data.transforms.RandomCrop(28, padding=options["shift"]) if "shift" in options else None

    def measure(model: Any) -> dict[str, float]:
        return {"test error": error_percent(model, test)}

    def pictures(result: Result) -> dict[str, Any]:
        first = next(m for m in result.model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
        w = first.weight.numpy(force=True)[:12]
        w = w if w.ndim == 4 else w.reshape(-1, 1, 28, 28)
        title = f"{result.figures['test error']:.2f} % of {len(test[1]):,} test images wrong"
        return {"digits.png": picture(result, test, w, title, test[0].numpy()[:, 0])}

    return Task(
        data.ImageDataset(train[0], train[1], transform=move), F.cross_entropy, measure, about,
        metrics={"accuracy": accuracy}, pictures=pictures,
    )  # fmt: skip


_QUICK = {"epochs": 1, "limit": 640}
RECIPES = (
    Recipe(
        "mlp", "one hidden layer of 800 units on MNIST", "%",
        (Published("1.6 %", "Simard, Steinkraus and Platt, Best practices for convolutional neural "
                   "networks, 2003", "as many units; more passes"),),
        MNIST,
        {"epochs": 20, "lr": 0.05, "batch": 64, "hidden": 800, "weight_decay": 1e-4, "limit": 0},
        {**_QUICK, "hidden": 64}, _mlp, _prepare,
    ),
    Recipe(
        "dropout", "three hidden layers of 1024 units with dropout on MNIST", "%",
        (
            Published("0.79 %", "Srivastava, Improving neural networks with dropout, 2013",
                      "there the weights begin as those of a deep Boltzmann machine"),
            Published("1.25 %", "Srivastava et al., Dropout, 2014, table 2",
                      "the same three layers of ReLU; more passes"),
        ),
        MNIST,
        {"epochs": 30, "lr": 0.05, "batch": 128, "hidden": 1024, "weight_decay": 0.0, "limit": 0},
        {**_QUICK, "hidden": 64}, _dropout, _prepare,
    ),
    Recipe(
        "lenet5", "LeNet-5 on MNIST, with images shifted by up to a pixel", "%",
        (
            Published("0.45 %", "Goodfellow et al., Maxout networks, 2013",
                      "there three convolutional layers of maxout units with dropout"),
            Published("0.95 %", "LeCun et al., Gradient-based learning, 1998",
                      "LeNet-5 itself without distortions; 0.8 % with them"),
        ),
        MNIST,
        {"epochs": 5, "lr": 0.05, "batch": 64, "weight_decay": 1e-4, "shift": 1,
         "variant": "modern", "limit": 0},
        _QUICK, _lenet, _prepare,
    ),
)  # fmt: skip
