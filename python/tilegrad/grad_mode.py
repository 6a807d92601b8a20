"""Whether what a thread computes is recorded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any


class _Mode(threading.local):
    enabled = True
    levels: tuple[int, ...] = ()  # of forward mode, outermost first


mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded."""
    return mode.enabled


def _switch(value: bool) -> None:
    mode.enabled = value


class set_grad_enabled:
    """Switches recording for this thread; a context manager, or a plain call.

    >>> with set_grad_enabled(False):
    ...     is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        self.before, self.mode = is_grad_enabled(), bool(mode)
        _switch(self.mode)

    def __enter__(self) -> None:
        _switch(self.mode)

    def __exit__(self, *exc: object) -> None:
        _switch(self.before)


class no_grad:
    """Nothing inside is recorded; context manager and decorator, also without parentheses.

    >>> with no_grad():
    ...     is_grad_enabled()
    False
    """

    _value = False

    def __new__(cls, orig_func: Callable | None = None) -> Any:
        self = object.__new__(cls)
        return self if orig_func is None else self(orig_func)

    def __enter__(self) -> None:
        self.before, mode.enabled = mode.enabled, self._value

    def __exit__(self, *exc: object) -> None:
        mode.enabled = self.before

    def __call__(self, fn: Callable) -> Callable:
        @wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return fn(*args, **kwargs)

        return wrapped


class enable_grad(no_grad):
    """Everything inside is recorded, also within no_grad; context manager and decorator."""

    _value = True


def inference_mode(mode: Any = True) -> Any:
    """no_grad, also without parentheses; with mode False, enable_grad.

    >>> with inference_mode():
    ...     is_grad_enabled()
    False
    """
    if isinstance(mode, bool):
        return no_grad() if mode else enable_grad()
    if not callable(mode):
        raise TypeError(f"inference_mode: mode must be a bool, got {mode!r}")
    return no_grad(mode)
