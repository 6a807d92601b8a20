"""What a recipe is, and how one is run: ``tilegrad train`` in Python."""

from __future__ import annotations

import difflib
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import data as datasets
from .. import kernels, nn, ops, optim
from ..bench.report import processor
from ..demo.run import interruptible
from ..errors import DataError, PackageError
from ..errors import ValueError as TgValueError
from ..generator import Generator
from ..serialization import write_whole
from ..train import Progress, Trainer, accuracy, load_checkpoint, save_checkpoint
from ..train.checkpoint import JSON_NAME, content_of

Options = dict[str, Any]
"""The settings of a run by name; every recipe has epochs, lr, batch and seed."""


@dataclass(frozen=True)
class Published:
    """A figure to stand beside, where it is from, and how its setting differs from the recipe's."""

    figure: str
    source: str
    setting: str


@dataclass
class Task:
    """What a recipe makes of its data and options.

    train and loss: as for a Trainer. about: a line on the data. facts: JSON; what else
    ``Recipe.build`` must know to make the model. measure(model): numbers by name, the first one the
    figure of the recipe. pictures(result): figures by file name. remarks(result): lines to
    print.
    optimizer: of the parameters, by default SGD with momentum. The rate rises and falls in one
    cycle, unless constant.
    """

    train: Any
    loss: Callable[[Any, Any], Any]
    measure: Callable[[Any], dict[str, float]]
    about: str
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    optimizer: Callable[[Any], Any] | None = None
    constant: bool = False
    pictures: Callable[[Result], dict[str, Any]] = lambda result: {}
    remarks: Callable[[Result], list[str]] = lambda result: []
    callback: Callable[[Progress], None] = lambda progress: None


@dataclass(frozen=True)
class Recipe:
    """A model, its data and how it is trained.

    options: the defaults; quick: those of a trial run of seconds. build(options, facts): the model,
    untrained. prepare(options, path): the Task. data: what path must be, for messages.
    """

    name: str
    summary: str
    unit: str
    published: tuple[Published, ...]
    data: str
    options: Options
    quick: Options
    build: Callable[[Options, dict[str, Any]], nn.Module]
    prepare: Callable[[Options, Any], Task]

    def settings(self, overrides: dict[str, Any], quick: bool = False) -> Options:
        """The options with some of them changed; text is read as the type of the default.

        Whole numbers are at least 1; seed, limit, sample, shift and those whose default is 0, at
        least 0. Raises ValueError for names the recipe does not have, and values that do not fit.
        """
        out = {**self.options, **(self.quick if quick else {})}
        for name, value in overrides.items():
            if name not in out:
                raise TgValueError(
                    f"{self.name}: there is no option {name!r}{nearest(name, out)}; it has "
                    f"{', '.join(out)}"
                )
            kind = type(out[name])
            try:
                out[name] = kind(value)
                fits = kind is str or isinstance(value, str) or out[name] == value
            except (ValueError, TypeError, OverflowError):
                fits = False
            if not fits or (kind is float and not math.isfinite(out[name])):
                raise TgValueError(f"{self.name}: {name} must be {_KINDS[kind]}, got {value!r}")
        for name, value in out.items():
            least = 0 if name in _FROM_0 or self.options[name] == 0 else 1
            if isinstance(value, int) and value < least:
                raise TgValueError(f"{self.name}: {name} must be at least {least}, got {value}")
        return out


_KINDS: dict[type, str] = {int: "a whole number", float: "a finite number", str: "text"}
_FROM_0 = ("seed", "limit", "sample", "shift")
RECIPES: dict[str, Recipe] = {}


def add(*recipes: Recipe) -> None:
    """Makes recipes known by name."""
    for recipe in recipes:
        recipe.options.setdefault("seed", 0)
        RECIPES[recipe.name] = recipe


def nearest(name: str, names: Any) -> str:
    """ "; did you mean ...?" where one of the names is close, else nothing."""
    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def recipe(name: str) -> Recipe:
    """The recipe of this name. Raises ValueError, with the nearest name there is."""
    if name not in RECIPES:
        raise TgValueError(
            f"there is no recipe {name!r}{nearest(name, RECIPES)}; there are {', '.join(RECIPES)}"
        )
    return RECIPES[name]


def describe(chosen: Recipe) -> str:
    """Summary, data, published figures and options of a recipe, for the list."""
    lines = [f"{chosen.name:<18}{chosen.summary}", f"data: {chosen.data}"]
    lines += [f"published: {p.figure} ({p.source}; {p.setting})" for p in chosen.published]
    lines.append("options: " + ", ".join(f"{k}={v}" for k, v in chosen.options.items()))
    return ("\n" + 18 * " ").join(lines)


@dataclass
class Result:
    """How a run ended: the numbers it measured, its losses by batch, its seconds of training, and
    where the Trainer stood, with the metrics of every epoch."""

    figures: dict[str, float]
    losses: list[float]
    seconds: float
    model: nn.Module
    state: Progress
    stopped: bool = False


def run(
    name: str, data: Any = None, out: Any = None, overrides: dict[str, Any] | None = None,
    quick: bool = False, resume: bool = False,
) -> Result:  # fmt: skip
    """Trains a recipe, prints its figure beside the published ones, and saves pictures and a
    checkpoint in the folder out, train_NAME by default.

    data: the file or folder with the data of the recipe; None for those that bring their own.
    overrides: options by name. quick: small enough for a trial in seconds. resume: the state of the
    run is kept in out/run, and a run whose state is there goes on from it, with the same options.
    The same options give the same weights, bit for bit, interrupted or not. Raises ValueError, also
    where the run in out/run has other options, FileNotFoundError, DataError, PackageError, and
    OSError where out cannot be written, before the training.

    >>> result = run("mlp", overrides={"epochs": 1}, quick=True)  # doctest: +ELLIPSIS
    mlp: one hidden layer of 800 units on MNIST
    ...
    >>> sorted(result.figures), load("train_mlp")[1]["recipe"]
    (['test error'], 'mlp')
    """
    chosen = recipe(name)
    options = chosen.settings(overrides or {}, quick)
    folder = Path(out if out is not None else f"train_{name}")
    task = chosen.prepare(options, data)
    ops.manual_seed(options["seed"])
    model = chosen.build(options, task.facts)
    state = folder / "run" if resume else None
    if state is not None:
        _check_same(state, {"recipe": name, "options": options, "facts": task.facts})
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):  # what cannot be written must not be known at the end
        pass
    _print_head(chosen, task, options, model)
    trainer, stopped = _fit(model, task, options, state)
    p = trainer.state
    ops.manual_seed(options["seed"])
    figures = task.measure(model)
    info = {"recipe": name, "options": options, "facts": task.facts, "figures": figures}
    result = Result(figures, list(p.losses), p.seconds, model, p, stopped)
    _print_end(chosen, task, result, p.epoch + p.batch / max(p.batches, 1), quick)
    path = save_checkpoint(folder, model, epoch=p.epoch, seed=options["seed"], info=info)
    print(f"checkpoint: {path}")
    try:
        for file, figure in task.pictures(result).items():
            figure.savefig(folder / file, dpi=120)
            print(f"picture: {folder / file}")
    except PackageError as e:
        print(f"no picture: {e}")
    return result


def load(folder: Any) -> tuple[nn.Module, dict[str, Any]]:
    """The trained model of a folder that ``run`` wrote, in evaluation mode, and what was saved with
    it: recipe, options, facts and figures.

    Raises FileNotFoundError, DataError, ValueError.
    """
    info = content_of(Path(folder))["info"]
    if not {"recipe", "options", "facts"} <= set(info):
        raise DataError(f"load: {str(folder)!r} was not written by a recipe")
    chosen = recipe(info["recipe"])
    model = chosen.build(chosen.settings(info["options"]), info["facts"])
    load_checkpoint(folder, model, restore_random_state=False)
    return model.eval(), info


def _check_same(state: Path, settings: dict[str, Any]) -> None:
    """Records what the run in the folder state is of; raises ValueError where one that began there
    is of something else."""
    file = state / "recipe.json"
    if (state / JSON_NAME).exists():
        try:
            begun = json.loads(file.read_bytes())
            old = {"recipe": begun["recipe"], **begun["options"], "data": begun["facts"]}
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise DataError(f"run: {str(file)!r} does not say what its run is of: {e!r}") from None
        new = {"recipe": settings["recipe"], **settings["options"], "data": settings["facts"]}
        differ = [k for k in dict.fromkeys([*old, *new]) if old.get(k) != new.get(k)]
        if differ:
            pairs = [
                f"{k} (not the same)" if k == "data" else f"{k}={old.get(k)}, not {new.get(k)}"
                for k in differ
            ]
            raise TgValueError(
                f"run: {str(state)!r} has a run with {'; '.join(pairs)}: go on with the same "
                "options, or name another folder"
            )
        return
    state.mkdir(parents=True, exist_ok=True)
    (state / "ended").unlink(missing_ok=True)
    write_whole(file, json.dumps(settings, indent=1).encode())


class _Cycle(optim.lr_scheduler.OneCycleLR):
    """Behind its last step the straight line down would pass 0."""

    def get_lr(self) -> list[float]:
        return [max(lr, 0.0) for lr in super().get_lr()]


def _fit(
    model: nn.Module, task: Task, options: Options, state: Path | None
) -> tuple[Trainer, bool]:
    stream = Generator().manual_seed(options["seed"])
    train = task.train
    if isinstance(train, tuple):
        train = datasets.TensorDataset(*train)
    loader = datasets.DataLoader(train, options["batch"], shuffle=True, generator=stream)
    make = task.optimizer or (
        lambda params: optim.SGD(
            params, options["lr"], momentum=0.9, nesterov=True,
            weight_decay=options.get("weight_decay", 0.0),
        )
    )  # fmt: skip
    optimizer = make([p for p in model.parameters() if p.requires_grad])
    schedule = None
    if not task.constant:
        schedule = _Cycle(
            optimizer, options["lr"], options["epochs"] * len(loader), pct_start=0.2,
            anneal_strategy="linear", cycle_momentum=False,
        )  # fmt: skip
    progress = True if options["epochs"] <= 50 else None  # else only on a terminal
    trainer = Trainer(model, task.loss, optimizer, schedule, task.metrics, progress=progress)
    ended = None if state is None else state / "ended"
    epochs, by_itself = options["epochs"], False
    if ended is not None and ended.exists():  # by the recipe itself: its end is only restored
        epochs = content_of(ended.parent)["epoch"]
    with interruptible() as asked:

        def callback(p: Progress) -> None:
            nonlocal by_itself
            task.callback(p)
            by_itself = p.stop
            p.stop = p.stop or asked.is_set()

        trainer.fit(loader, epochs, callback=callback, checkpoint=state)
        if ended is not None and by_itself:
            ended.touch()
    return trainer, asked.is_set()


def _print_head(chosen: Recipe, task: Task, options: Options, model: nn.Module) -> None:
    host = kernels.host
    where = f"{host.isa()}, {host.num_threads()} threads" if hasattr(host, "isa") else "NumPy"
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    print(f"{chosen.name}: {chosen.summary}")
    print(f"{task.about}; {count:,} parameters")
    print(f"{processor()}; kernels: {where}")
    print("options: " + ", ".join(f"{k}={v}" for k, v in options.items()), flush=True)


def _print_end(chosen: Recipe, task: Task, result: Result, epochs: float, quick: bool) -> None:
    head = "stopped early" if result.stopped else "a trial run" if quick else "trained"
    print(f"{head}: {epochs:.4g} epochs, {result.seconds:.1f} s")
    rows = [(name, f"{value:.4g}", "", "") for name, value in result.figures.items()]
    rows[0] = (rows[0][0], f"{rows[0][1]} {chosen.unit}", "", "")
    rows[1:1] = [("published", p.figure, p.source, p.setting) for p in chosen.published]
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    for name, figure, source, setting in rows:
        print(f"  {name:<{first}}  {figure:<{second}}  {source}".rstrip())
        if setting:
            print(f"  {'':<{first}}  {'':<{second}}  ({setting})")
    for line in task.remarks(result):
        print(line)


def error_percent(model: nn.Module, samples: Any) -> float:
    """The percentage of samples (x, class) whose largest output is that of another class."""
    x, y = samples
    return 100.0 * (1.0 - accuracy(predict(model, x), y))


def predict(model: nn.Module, x: Any, batch: int = 500) -> Any:
    """The outputs of the model in evaluation mode."""
    still = optim.SGD(model.parameters(), lr=0.0)
    return Trainer(model, nn.functional.cross_entropy, still).predict(x, batch)
