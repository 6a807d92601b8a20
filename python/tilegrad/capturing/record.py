"""A capture in progress."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from .. import kernels
from ..errors import CaptureError, user_line
from ..tensor import Tensor
from .signature import flatten


class Step:
    """A recorded step of an optimizer for one list of parameters: its numbers are read anew."""

    def __init__(
        self, at: int, kernel: Any, optimizer: Any, group: Any, batch: Any, lists: Any,
        settings: Any, new: Any,
    ) -> None:  # fmt: skip
        self.at, self.kernel, self.optimizer, self.group = at, kernel, optimizer, group
        self.batch, self.lists, self.settings, self.new = batch, lists, settings, new
        self.states, self.names = optimizer.state, optimizer._arrays(group)
        self.params = [p for p, _ in batch]
        self.own = [*map(self.states.get, self.params)]
        self.values = [*group.values()]
        self.size = len(group["params"])

    def refresh(self, core: Any) -> bool:
        """Brings the numbers up to date; False where the step would be another one."""
        o, group = self.optimizer, self.group
        if o.state is not self.states or [*map(o.state.get, self.params)] != self.own:
            return False
        if not self.new and [*group.values()] == self.values and len(group["params"]) == self.size:
            return True
        self.values = [*group.values()]
        if len(group["params"]) != self.size or o._arrays(group) != self.names:
            return False
        counts_of = type(o)._counts
        counts = [counts_of(s) for _, s in self.batch]
        if counts.count(counts[0]) != len(counts):
            return False
        settings, self.new = o._settings(group, counts[0])
        if settings != self.settings:
            core.set_numbers(self.at, self.kernel, (*self.lists, *settings))
            self.settings = settings
        return True


class Recording:
    """A capture in progress."""

    def __init__(self, strict: bool) -> None:
        self.thread, self.paused, self.strict = threading.get_ident(), False, strict
        kernels.host.tensor_type(Tensor)
        self.core = kernels.host.Plan()
        self.error: CaptureError | None = None
        self.leaves: dict[int, tuple[Tensor, str, Any]] = {}  # leaf, state at the start, gradient
        self.changed: list[Any] = []
        self.writes_outside = False
        self.generators: dict[Any, tuple[int, int]] = {}
        self.steps: list[Step] = []
        self.calls: list[tuple[int, Callable[[], Any], list[Any]]] = []
        self.settled = True

    # What recording.py passes on.
    def refuse(self, error: CaptureError) -> None:
        if self.strict:
            raise error
        self.error = self.error or error
        self.paused = True
        self.core.pause(True)

    def touch(self, leaf: Tensor, replaced: bool = False) -> None:
        if id(leaf) not in self.leaves:
            had = "any" if replaced else "none" if leaf._grad is None else "one"
            self.leaves[id(leaf)] = (leaf, had, leaf._grad)

    def written(self, t: Tensor) -> None:
        self.changed.append(weakref.ref(t))
        if t._array.dtype.kind == "c" or self.core.buffer_of(t._array) < 0:
            self.writes_outside = True

    def drawn(self, generator: Any, key: int, offset: int) -> None:
        self.generators.setdefault(generator, (key, offset))

    def step(
        self, optimizer: Any, group: Any, batch: Any, begun: bool, kernel: Any, lists: Any,
        settings: Any, new: Any,
    ) -> None:  # fmt: skip
        if begun:
            self.settled = False
            return
        empty: list[Any] = [None if a is None else [] for a in lists]
        at = len(self.core) - 1
        self.steps.append(Step(at, kernel, optimizer, group, batch, empty, settings, new))

    def step_of(self, optimizer: Any, closure: Any) -> bool:
        """Whether the step was made here, in Python, as every replay will make it."""
        if closure is not None:
            self.refuse(CaptureError("capture: a closure decides in Python how often it is called"))
            return False
        for group in optimizer.param_groups:
            for p in group["params"]:
                self.touch(p)
        if not optimizer._in_python:
            return False
        self.call(type(optimizer).step, optimizer, (), {})
        return True

    def call(self, method: Callable, owner: Any, args: Any, kwargs: Any) -> Any:
        """Calls a method without recording it, and has replays call it at this place."""
        tensors: list[Any] = []
        flatten((args, kwargs), tensors)
        if any(isinstance(t, Tensor) for t in tensors):
            self.refuse(CaptureError(
                f"capture: {type(owner).__name__}.{method.__name__} works in Python on a tensor"
            ))  # fmt: skip
        at = len(self.core)
        grads = [(leaf, leaf._grad) for leaf, *_ in self.leaves.values()]
        self.paused = True
        self.core.pause(True)
        try:
            return method(owner, *args, **kwargs)
        finally:
            self.paused = self.error is not None
            self.core.pause(self.paused)
            self.calls.append((at, lambda: method(owner, *args, **kwargs), grads))

    def around(self, kernel: Callable, call: Any) -> Any:
        """Names the kernel call for messages and explain()."""
        if threading.get_ident() == self.thread and not self.paused:
            self.core.label(call.op(), user_line(1))
        return kernel(*call.args)
