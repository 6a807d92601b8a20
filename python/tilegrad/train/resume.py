"""All that a run must find again to go on with the same bits, in a checkpoint."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np

from ..dtypes import uint8
from ..errors import DataError, StateError
from ..generator import Generator, default_generator
from ..serialization import DAMAGE
from ..tensor import Tensor, from_numpy, tensor
from .checkpoint import JSON_NAME, content_of, load_checkpoint, save_checkpoint
from .progress import Progress


def generators_of(loader: Any) -> list[Generator]:
    """The default stream and those of a loader, each once."""
    sampler = getattr(loader, "sampler", None)
    batches = getattr(loader, "batch_sampler", None)
    owners = (loader, sampler, batches, getattr(batches, "sampler", None))
    found = [g for o in owners if isinstance(g := getattr(o, "generator", None), Generator)]
    return [default_generator, *{id(g): g for g in found if g is not default_generator}.values()]


def streams(loader: Any) -> list[Any]:
    """The states of all random streams a run draws from, as JSON holds them."""
    name, keys, *rest = np.random.get_state(legacy=True)
    version, state, gauss = random.getstate()
    return [
        [_hex(g.get_state().numpy()) for g in generators_of(loader)],
        [name, _hex(np.asarray(keys, "<u4")), *rest],
        [version, _hex(np.asarray(state, "<u4")), gauss],
    ]


def set_streams(loader: Any, saved: list[Any]) -> None:
    """Puts all random streams back to states that ``streams`` returned. Raises ValueError and the
    like for anything else, before any stream is set."""
    ours, twister, plain = _parsed(loader, saved)
    for g, state in zip(generators_of(loader), ours, strict=True):
        g.set_state(state)
    np.random.set_state(twister)
    random.setstate(plain)


def _parsed(loader: Any, saved: Any) -> tuple[list[Tensor], Any, Any]:
    """The states as the three kinds of generators take them. NumPy checks no position: it would
    read behind its table."""
    texts, (name, keys, at, has_gauss, held), (version, state, gauss) = saved
    ours = [from_numpy(_from_hex(text, "u1").copy()) for text in texts]
    if len(ours) != len(generators_of(loader)) or any(t.shape != (16,) for t in ours):
        raise ValueError("not the random states of this loader")
    table, whole = _from_hex(keys, "<u4"), _from_hex(state, "<u4")
    if name != "MT19937" or len(table) != 624 or not _count(at, 624) or not _count(has_gauss, 1):
        raise ValueError("no random state of NumPy")
    if version != 3 or len(whole) != 625 or whole[-1] > 624:
        raise ValueError("no random state of Python")
    if type(held) is not float or type(gauss) not in (float, type(None)):
        raise ValueError("a random state holds no number")
    twister = ("MT19937", table, at, has_gauss, held)
    return ours, twister, (3, tuple(whole.tolist()), gauss)


def _count(n: Any, most: int = 2**62) -> bool:
    return type(n) is int and 0 <= n <= most


def _number(x: Any) -> bool:
    return type(x) is float or (type(x) is int and abs(x) < 2**62)


def knows_its_place(loader: Any) -> bool:
    """Whether a loader goes on within an epoch by itself."""
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")


def _loader_state(loader: Any) -> dict[str, Any] | None:
    """As JSON holds it: the states of generators as lists."""
    if not knows_its_place(loader):
        return None
    state = loader.state_dict()
    return {k: v.tolist() if isinstance(v, Tensor) else v for k, v in state.items()}


def _hex(a: np.ndarray) -> str:
    return a.tobytes().hex()


def _from_hex(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), dtype)


_COUNTS = ("batch", "seen", "steps", "skipped", "sums", "seconds", "total_seen", "history")


def save(
    folder: Path, trainer: Any, p: Progress, loader: Any, begin: list[Any], best: dict[str, Any]
) -> None:
    """Writes the checkpoint of a run; begin: the random states at the start of the epoch, best: the
    best weights so far."""
    scale = trainer.steps.scale
    info = {
        **{name: getattr(p, name) for name in _COUNTS},
        "begin": begin,
        "loader": _loader_state(loader),
        "now": streams(loader),
        "scale": None if scale is None else [scale.value, scale.good],
    }
    extra = {f"best.{k}": v for k, v in best.items()}
    extra["losses"] = np.asarray(p.losses, np.float64)
    parts = trainer.model, trainer.optimizer, trainer.scheduler
    save_checkpoint(folder, *parts, epoch=p.epoch, info={"trainer": info}, extra=extra)


def load(folder: Path, trainer: Any, p: Progress, loader: Any) -> tuple[list[Any], dict[str, Any]]:
    """Brings trainer, p and all random streams to where the checkpoint in folder was written;
    returns what ``save`` took as begin and best, empty where there is no checkpoint."""
    if not (folder / JSON_NAME).exists():
        return [], {}
    info = content_of(folder)["info"].get("trainer")
    if not isinstance(info, dict):
        raise StateError(f"Trainer.fit: the checkpoint in {str(folder)!r} is not one of a Trainer")
    try:
        _check(info, loader)
        if info["loader"] is not None:
            state = {k: tensor(v, dtype=uint8) if isinstance(v, list) else v
                     for k, v in info["loader"].items()}  # fmt: skip
            loader.load_state_dict(state)
        parts = trainer.model, trainer.optimizer, trainer.scheduler
        found = load_checkpoint(folder, *parts)
        for name in _COUNTS:
            setattr(p, name, info[name])
        p.epoch, p.losses = found.epoch, found.extra["losses"].tolist()
        scale = trainer.steps.scale
        if scale is not None and info["scale"] is not None:
            scale.value, scale.good = info["scale"]
        set_streams(loader, info["now"])
    except DAMAGE as e:
        if isinstance(e, DataError):
            raise
        raise DataError(f"Trainer.fit: the checkpoint in {str(folder)!r} is damaged: {e!r}") from e
    best: dict[str, Tensor] = {
        k.removeprefix("best."): v for k, v in found.extra.items() if k.startswith("best.")
    }
    return info["begin"], best


def _check(info: dict[str, Any], loader: Any) -> None:
    """Raises ValueError and the like unless info is of the kinds that ``save`` wrote."""
    for name in ("batch", "seen", "steps", "skipped", "total_seen"):
        if not _count(info[name]):
            raise ValueError(f"{name} is {info[name]!r}")
    rows, scale = info["history"], info["scale"]
    if type(rows) is not list or not _number(info["seconds"]):
        raise ValueError("history or seconds")
    for row in (info["sums"], *rows):
        if type(row) is not dict or not all(map(_number, row.values())):
            raise ValueError(f"a row of numbers is {row!r:.80}")
    if scale is not None and not (len(scale) == 2 and _number(scale[0]) and _count(scale[1])):
        raise ValueError("scale")
    _parsed(loader, info["now"])
    if info["begin"] != [] or (info["batch"] and not knows_its_place(loader)):
        _parsed(loader, info["begin"])
