"""Recipes for small colour images: CIFAR-10."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import models, nn
from ..data import CIFAR10, ImageDataset, transforms
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..nn import functional as F
from ..tensor import from_numpy
from ..train import accuracy
from .digits import picture
from .recipe import Options, Published, Recipe, Result, Task, error_percent

CIFAR = (
    "the folder of the Python version, or images in train/CLASS/ and test/CLASS/ of a folder or a "
    "zip file"
)


def cifar10(path: Any) -> tuple[CIFAR10, CIFAR10]:
    """The training and the test set."""
    if path is None:
        raise TgFileNotFoundError(f"CIFAR-10: name {CIFAR} with --data")
    root = Path(path)
    archives = sorted(root.glob("*.zip")) if root.is_dir() else []
    if len(archives) == 1 and not (root / "train").is_dir():
        root = archives[0]
    return CIFAR10(root), CIFAR10(root, train=False)


def _prepare(options: Options, path: Any) -> Task:
    both = cifar10(path)
    (x, y), (test_x, test_y) = ([t.numpy() for t in part.tensors] for part in both)
    names = both[0].classes
    order = np.random.default_rng(options["seed"]).permutation(len(x))
    order = order[: options["limit"] or len(x)]
    x, y = x[order], y[order]
    mean, spread = x.mean((0, 2, 3)) / 255.0, x.std((0, 2, 3)) / 255.0
    size = options["crop"]
    crop = transforms.RandomCrop(size, padding=4 if size == 32 else None)
    same = transforms.Normalize(mean, spread)
    moved = transforms.Compose([crop, transforms.RandomHorizontalFlip(), same])
    train = ImageDataset(from_numpy(x), from_numpy(y), names, moved)
    inside = transforms.Compose([transforms.CenterCrop(size), same])
    test = (inside(from_numpy(test_x)), from_numpy(test_y))

    def measure(model: Any) -> dict[str, float]:
        return {"test error": error_percent(model, test)}

    def pictures(result: Result) -> dict[str, Any]:
        model = result.model
        first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
        w = first.weight.numpy(force=True)[:12]
        title = f"{result.figures['test error']:.2f} % wrong; classes: " + ", ".join(
            f"{i} {n}" for i, n in enumerate(names)
        )
        shown = test_x.transpose(0, 2, 3, 1)
        return {"images.png": picture(result, test, w, title, shown)}

    about = f"CIFAR-10 in {path}: {len(x):,} images to learn from, {len(test_x):,} to test"
    return Task(
        train, F.cross_entropy, measure, about, metrics={"accuracy": accuracy}, pictures=pictures
    )


def _options(**more: Any) -> Options:
    return {"epochs": 20, "lr": 0.1, "batch": 128, "weight_decay": 1e-4, "limit": 0, "crop": 32,
            **more}  # fmt: skip


_QUICK = {"epochs": 1, "limit": 128, "batch": 32}
_PASSES = "there about 164 passes with three learning rates; one cycle here"
RECIPES = (
    Recipe(
        "resnet20", "a residual network of 20 layers on CIFAR-10", "%",
        (Published("8.75 %", "He et al., Deep residual learning, 2015, table 6", _PASSES),),
        CIFAR, _options(), _QUICK, lambda options, facts: models.resnet20(), _prepare,
    ),
    Recipe(
        "highway", "a highway network of 13 layers on CIFAR-10", "%",
        (Published("10.82 %", "Srivastava et al., Training very deep networks, 2015, table 2",
                   "there 11 layers, 236,000 parameters"),),
        CIFAR, _options(lr=0.02), _QUICK, lambda options, facts: models.HighwayNet(), _prepare,
    ),
    Recipe(
        "inception", "a small Inception network on CIFAR-10", "%",
        (Published("10.95 %", "Zhang et al., Understanding deep learning requires rethinking "
                   "generalization, 2016, table 1", "there crops without mirroring, with weight "
                   "decay; more passes"),),
        CIFAR, _options(crop=28), _QUICK, lambda options, facts: models.SmallInception(), _prepare,
    ),
)  # fmt: skip
