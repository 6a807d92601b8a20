"""Recipes for models of characters, on a text the user names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from .. import models, nn, ops, optim
from ..errors import DataError
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..generator import Generator
from ..nn import functional as F
from ..tensor import from_numpy
from ..train import plots
from .recipe import Options, Published, Recipe, Result, Task, predict


def read(path: Any) -> str:
    """The text of a file, or of all .txt and .md files in a folder in the order of their names.

    Raises FileNotFoundError, and DataError where more than a tenth of a file is no UTF-8.
    """
    if path is None:
        raise TgFileNotFoundError("text: name a text file, or a folder of them, with --data")
    home = Path(path)
    files = sorted((*home.rglob("*.txt"), *home.rglob("*.md"))) if home.is_dir() else [home]
    try:
        texts = [f.read_text(encoding="utf-8", errors="replace") for f in files]
    except FileNotFoundError:
        raise TgFileNotFoundError(f"text: there is no file {str(path)!r}") from None
    for file, text in zip(files, texts, strict=True):
        if 10 * (text.count("\ufffd") + text.count("\0")) > len(text):
            raise DataError(f"text: {str(file)!r} is no text in UTF-8")
    return "\n".join(texts)


def baselines(train: np.ndarray, test: np.ndarray, size: int) -> dict[str, float]:
    """Bits per character of test (N,) under the frequencies of characters and of pairs in train,
    one added to every count; characters are below size."""
    one = np.bincount(train, minlength=size) + 1.0
    two = np.bincount(train[:-1] * size + train[1:], minlength=size * size) + 1.0
    pairs = two.reshape(size, size) / two.reshape(size, size).sum(1, keepdims=True)
    return {
        "single characters": float(-np.log2(one / one.sum())[test].mean()),
        "pairs": float(-np.log2(pairs)[test[:-1], test[1:]].mean()),
    }


def _loss(out: Any, y: Any) -> Any:
    return F.cross_entropy(ops.flatten(out, 0, 1), ops.flatten(y))


def _windows(ids: np.ndarray, context: int) -> tuple[Any, Any]:
    """Pieces (N, context) one after the other, and the same one character on."""
    n = (len(ids) - 1) // context
    ends = (ids[: n * context], ids[1 : n * context + 1])
    x, y = (from_numpy(np.ascontiguousarray(a.reshape(n, context))) for a in ends)
    return x, y


def _bits(model: Any, samples: tuple[Any, Any]) -> float:
    x, y = samples
    total = sum(
        _loss(predict(model, x[i : i + 64]), y[i : i + 64]).item() * len(x[i : i + 64])
        for i in range(0, len(x), 64)
    )
    return total / len(x) / math.log(2.0)


def _prepare(options: Options, path: Any) -> Task:
    text = read(path)
    text = text[: options["limit"] or len(text)]
    vocabulary = sorted(set(text))
    code = {c: i for i, c in enumerate(vocabulary)}
    ids = np.array([code[c] for c in text], np.int64)
    cut = len(ids) * 9 // 10
    context = options["context"]
    if len(ids) - cut <= context:
        raise DataError(
            f"text: {len(ids)} characters are too few for a context of {context}: the last tenth "
            "is the test set"
        )
    train, test = _windows(ids[:cut], context), _windows(ids[cut:], context)
    simple = baselines(ids[:cut], ids[cut:], len(vocabulary))

    def measure(model: Any) -> dict[str, float]:
        return {"test text": _bits(model, test), **simple}

    def remarks(result: Result) -> list[str]:
        model: Any = result.model
        stream = Generator().manual_seed(options["seed"])
        begin = from_numpy(ids[cut : cut + 1])
        drawn = model.sample(begin, options["sample"], 0.8, stream)
        return ["sample:", "".join(vocabulary[i] for i in drawn.tolist())]

    def draw(result: Result) -> dict[str, Any]:
        figure = plots.batch_losses(result.losses)
        (axes,) = figure.axes
        for i, (name, bits) in enumerate(simple.items()):
            axes.axhline(bits * math.log(2.0), color=f"C{i + 1}", linestyle="--", label=name)
        axes.set(ylabel="nats per character")
        axes.legend()
        return {"loss.png": figure}

    def adam(params: Any) -> Any:
        return optim.AdamW(params, lr=options["lr"], weight_decay=0.01)

    about = f"{path}: {cut:,} characters to learn from, {len(ids) - cut:,} to test, " \
            f"{len(vocabulary)} different ones"  # fmt: skip
    return Task(
        train, _loss, measure, about, {"vocabulary": "".join(vocabulary)}, optimizer=adam,
        pictures=draw, remarks=remarks,
    )  # fmt: skip


def _lstm(options: Options, facts: dict[str, Any]) -> nn.Module:
    n = len(facts["vocabulary"])
    return models.CharLSTM(
        n, options["width"], options["layers"], options["dropout"], options["context"]
    )


def _transformer(options: Options, facts: dict[str, Any]) -> nn.Module:
    n = len(facts["vocabulary"])
    return models.CharTransformer(
        n, options["width"], options["layers"], options["heads"], options["dropout"],
        options["context"],
    )  # fmt: skip


_OPTIONS = {"epochs": 10, "batch": 32, "width": 128, "layers": 2, "dropout": 0.0, "limit": 0,
            "sample": 300}  # fmt: skip
_QUICK = {"epochs": 1, "limit": 20_000, "width": 32, "layers": 1, "context": 32, "sample": 100}
_DATA = "a text file, or a folder of .txt and .md files"
RECIPES = (
    Recipe(
        "char_lstm", "an LSTM that reads a text character by character", "bits per character",
        (Published("1.67", "Graves, Generating sequences with recurrent neural networks, 2013",
                   "another text: 96 MB of Wikipedia; seven layers of 700 units"),),
        _DATA, {**_OPTIONS, "lr": 0.005, "context": 64}, _QUICK, _lstm, _prepare,
    ),
    Recipe(
        "char_transformer", "a transformer that reads a text character by character",
        "bits per character",
        (Published("1.06", "Al-Rfou et al., Character-level language modeling with deeper "
                   "self-attention, 2018", "another text: 90 MB of Wikipedia; 64 layers, 235 "
                   "million parameters"),),
        _DATA, {**_OPTIONS, "lr": 0.002, "context": 128, "heads": 4}, _QUICK,
        _transformer, _prepare,
    ),
)  # fmt: skip
