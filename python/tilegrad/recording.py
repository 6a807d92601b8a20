"""What a capture in progress is told by the layers below it. Nothing is told in ordinary use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import wraps
from threading import get_ident
from types import CodeType
from typing import Any, TypeVar

import numpy as np

from .errors import CaptureError, user_line

F = TypeVar("F", bound=Callable[..., Any])

captures: list[Any] = []
"""The captures in progress, of all threads: whoever has something to tell looks here first."""
epoch = [0]
"""Counts changes of what a captured function may depend on besides its arguments: attributes of
modules, default dtype, precision."""

_constant: set[CodeType] = set()
_NUMPY = os.path.dirname(np.__file__) + os.sep


def current() -> Any:
    """The capture of this thread that records, or None."""
    me = get_ident()
    for c in captures:
        if c.thread == me and not c.paused:
            return c
    return None


def constants(fn: F) -> F:
    """Of a function whose NumPy arrays depend on its arguments' shapes and numbers alone: a
    captured plan may keep them."""
    _constant.add(fn.__code__)
    return fn


def origin() -> str | None:
    """Of an array NumPy makes now: the user's line, or None where it is a constant."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_NUMPY):
        if frame.f_code.co_filename.endswith("_stride_tricks_impl.py"):
            return None  # views
        frame = frame.f_back
    for _ in range(2):
        if frame is None:
            break
        if frame.f_code in _constant:
            return None
        frame = frame.f_back
    return user_line(1) or "?"


def refuse(what: str) -> None:
    """Ends a capture of this thread: what happens next could not be repeated without Python."""
    c = current()
    if c is not None:
        c.refuse(CaptureError(f"capture: {what}"))


def read(what: str) -> None:
    """The value of a tensor goes to Python."""
    refuse(f"{what} gives a value to Python, which would not happen again in a replay")


def checking() -> bool:
    """Whether values may be looked at to refuse them: not where replays would not."""
    return not captures or current() is None


def touch(leaf: Any, replaced: bool = False) -> None:
    """The gradient of a leaf is about to be looked at, or replaced whatever it was."""
    c = current()
    if c is not None:
        c.touch(leaf, replaced)


def written(t: Any) -> None:
    """A tensor was changed in place."""
    c = current()
    if c is not None:
        c.written(t)


def exported(t: Any) -> Any:
    """Others may write into this storage from now on, uncounted: its version gets a second number,
    by which plans know that they must not keep what depends on it."""
    cell = t._cell()
    if len(cell) == 1:
        cell.append(0)
    return t


def repeated(method: F) -> F:
    """Of a method that works in Python: a replay calls it again, at the same place."""

    @wraps(method)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if captures and (c := current()) is not None:
            return c.call(method, self, args, kwargs)
        return method(self, *args, **kwargs)

    return wrapped  # type: ignore[return-value]
