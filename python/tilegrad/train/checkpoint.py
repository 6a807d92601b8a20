"""Checkpoints: tensors as safetensors, everything else as JSON. Nothing is ever pickled.

A checkpoint is a folder with ``checkpoint.json`` and the tensor file that it names. The tensor file
is complete on disk before the JSON file is exchanged, in one step, for one that names it: whatever
happens in between, the folder holds a whole checkpoint, the old one or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, StateError, TilegradError
from ..errors import FileNotFoundError as TgFileNotFoundError
from ..generator import default_generator
from ..nn.module import Module
from ..ops.join import stack
from ..serialization import DAMAGE, pack, pairs_once, unpack, write_whole
from ..tensor import Tensor, from_numpy

FORMAT = 1
JSON_NAME = "checkpoint.json"
_TENSORS = r"tensors-[0-9a-f]{16}\.safetensors"
_OWN = re.compile(rf"{_TENSORS}|\.({_TENSORS}|checkpoint\.json)\.[0-9]+\.tmp")


@dataclass
class Checkpoint:
    """What ``load_checkpoint`` found beside model, optimizer and scheduler."""

    epoch: int = 0
    seed: int | None = None
    info: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Tensor] = field(default_factory=dict)


def save_tensors(path: str | os.PathLike[str], tensors: dict[str, Any]) -> None:
    """Writes tensors or arrays by name as one safetensors file, whole or not at all.

    Raises DTypeError for element types the format lacks.
    """
    write_whole(Path(path), pack(tensors))


def load_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Raises FileNotFoundError, DataError when the file is damaged.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise TgFileNotFoundError(f"load_tensors: there is no file {str(path)!r}") from None
    return unpack(data, str(path))[0]


def save_checkpoint(
    folder: str | os.PathLike[str],
    model: Module,
    optimizer: Any = None,
    scheduler: Any = None,
    *,
    epoch: int = 0,
    seed: int | None = None,
    info: dict[str, Any] | None = None,
    generator: Any = None,
    extra: dict[str, Any] | None = None,
) -> Path:
    """Saves weights, optimizer, schedule and random states; returns the path of the JSON file.

    epoch: how many epochs are finished; info: anything JSON holds; generator: a Generator (that of
    the loader, say) to be saved along with the default one; extra: more tensors, by name. An older
    checkpoint in the folder is replaced, in one step.
    """
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Any] = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors.update({f"extra.{k}": v for k, v in (extra or {}).items()})
    content: dict[str, Any] = {
        "format": FORMAT,
        "epoch": int(epoch),
        "seed": seed,
        "info": info or {},
        "random_state": _random_state(None),
    }
    if generator is not None:
        content["generator_state"] = _random_state(generator)
    if optimizer is not None:
        state = optimizer.state_dict()
        plain: dict[str, Any] = {}
        for number, entries in state["state"].items():
            for k, v in entries.items():
                if isinstance(v, list) and v and isinstance(v[0], Tensor):
                    v = stack(v)
                if isinstance(v, Tensor):
                    tensors[f"optimizer.{number}.{k}"] = v
                else:
                    plain.setdefault(str(number), {})[k] = v
        content["optimizer"] = {
            "class": type(optimizer).__name__,
            "param_groups": state["param_groups"],
            "state": plain,
        }
    if scheduler is not None:
        content["scheduler"] = {
            "class": type(scheduler).__name__, "state": scheduler.state_dict()
        }  # fmt: skip
    packed = pack(tensors)
    digest = hashlib.sha256(packed).hexdigest()
    content["tensors"] = {"file": f"tensors-{digest[:16]}.safetensors", "sha256": digest}
    text = json.dumps(content, indent=1)
    write_whole(home / content["tensors"]["file"], packed)
    write_whole(home / JSON_NAME, text.encode())
    # Also what a process left that was killed while it wrote.
    for old in [*home.iterdir()]:
        if old.name != content["tensors"]["file"] and _OWN.fullmatch(old.name):
            old.unlink(missing_ok=True)
    return home / JSON_NAME


def load_checkpoint(
    folder: str | os.PathLike[str],
    model: Module,
    optimizer: Any = None,
    scheduler: Any = None,
    *,
    generator: Any = None,
    restore_random_state: bool = True,
) -> Checkpoint:
    """Restores what ``save_checkpoint`` saved; all of it or, on an error, nothing of the model.

    Raises FileNotFoundError, DataError when a file is damaged, StateError when names, shapes or the
    kinds of optimizer and scheduler differ.
    """
    home = Path(folder)
    content = content_of(home)
    path = home / content["tensors"]["file"]
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TgFileNotFoundError(f"load_checkpoint: there is no file {str(path)!r}") from None
    digest = hashlib.sha256(data).hexdigest()
    expected = content["tensors"].get("sha256")
    if digest != expected:
        raise DataError(
            f"load_checkpoint: {str(path)!r} is damaged: sha256 {digest}, expected {expected}"
        )
    tensors, _ = unpack(data, str(path))
    weights, extra = (
        {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
        for part in ("model.", "extra.")
    )
    for what, thing in (("optimizer", optimizer), ("scheduler", scheduler)):
        if thing is not None:
            entry = content.get(what)
            saved = entry.get("class", "none") if isinstance(entry, dict) else "none"
            if saved != type(thing).__name__:
                raise StateError(
                    f"load_checkpoint: {str(home)!r} has the {what} {saved}, expected "
                    f"{type(thing).__name__}"
                )
    states = []
    if restore_random_state:
        states.append((default_generator, _parsed_state(content["random_state"], "random_state")))
        if generator is not None:
            state = _parsed_state(content.get("generator_state"), "generator_state")
            states.append((generator, state))
    before = {k: v.clone() for k, v in model.state_dict().items()}  # type: ignore[attr-defined]
    model.load_state_dict(weights)
    try:
        if optimizer is not None:
            optimizer.load_state_dict(_optimizer_state(content["optimizer"], tensors))
        if scheduler is not None:
            scheduler.load_state_dict(content["scheduler"]["state"])
    except Exception as e:
        model.load_state_dict(before)
        if isinstance(e, TilegradError) or not isinstance(e, DAMAGE):
            raise
        raise DataError(f"load_checkpoint: {str(home)!r} is damaged: {e!r}") from None
    for stream, state in states:
        stream.set_state(state)
    return Checkpoint(content["epoch"], content["seed"], content["info"], extra)


def content_of(home: Path) -> dict[str, Any]:
    """The JSON of a checkpoint. Raises as load_checkpoint."""
    path = home / JSON_NAME
    try:
        content = json.loads(path.read_bytes().decode(), object_pairs_hook=pairs_once)
    except FileNotFoundError:
        raise TgFileNotFoundError(f"load_checkpoint: there is no file {str(path)!r}") from None
    except (ValueError, RecursionError) as e:
        raise DataError(f"load_checkpoint: {str(path)!r} is damaged: {e}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise DataError(f"load_checkpoint: {str(path)!r} has format {found!r}, expected {FORMAT}")
    needed = {"epoch": int, "info": dict, "random_state": str, "seed": object, "tensors": dict}
    for key, kind in needed.items():
        if not isinstance(content.get(key, ...), kind) or key not in content:
            raise DataError(f"load_checkpoint: {str(path)!r} lacks a valid {key!r}")
    name = content["tensors"].get("file")
    if not isinstance(name, str) or not re.fullmatch(_TENSORS, name):
        raise DataError(f"load_checkpoint: {str(path)!r} names no tensor file beside it: {name!r}")
    return content


def _optimizer_state(saved: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(n): dict(s) for n, s in saved["state"].items()}
    for key, t in tensors.items():
        if key.startswith("optimizer."):
            _, number, name = key.split(".", 2)
            state.setdefault(int(number), {})[name] = t
    return {"state": state, "param_groups": saved["param_groups"]}


def _random_state(generator: Any) -> str:
    g = default_generator if generator is None else generator
    return g.get_state().numpy().tobytes().hex()


def _parsed_state(text: Any, name: str) -> Tensor:
    try:
        raw = bytes.fromhex(text)
    except (TypeError, ValueError):
        raw = b""
    if len(raw) != 16:
        raise DataError(f"load_checkpoint: {name} must be 16 bytes in hexadecimal, got {text!r}")
    return from_numpy(np.frombuffer(bytearray(raw), np.uint8))
