"""The handle that every register_hook returns."""

from __future__ import annotations

import itertools
from collections.abc import Callable

next_key = itertools.count(1).__next__
"""Keys of hooks, in order of registration."""


class Handle:
    """Removes a hook. ``remove()`` may be called more than once; also a context manager."""

    def __init__(self, hooks: dict[int, Callable], key: int) -> None:
        self.hooks, self.key = hooks, key

    def remove(self) -> None:
        """Takes the hook away."""
        self.hooks.pop(self.key, None)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()
