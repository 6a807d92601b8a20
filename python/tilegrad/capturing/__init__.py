"""capture: a function of tensors recorded once and run again without Python."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np

from .. import kernels, recording, tape
from ..bench.kernel_calls import surrounding
from ..errors import CaptureError, warn_user
from ..grad_mode import mode, no_grad
from ..nn.module import Module
from .plan import Plan, collide
from .record import Recording
from .signature import (
    attributes_of,
    described,
    flatten,
    functions_of,
    modules_of,
    state_of,
    variables_of,
)

_MOST = 8
"""Plans kept for one signature: they differ in which gradients there were at the start."""


def _drawn() -> Any:
    """The states of the random streams of Python and NumPy."""
    state: Any = np.random.get_state()
    return random.getstate(), state[1].tobytes(), state[2:]


def _check(rec: Recording, drawn: Any, variables: list[Any]) -> None:
    """Raises CaptureError for what the function did in Python that a replay would not do."""
    if rec.error is not None:
        raise rec.error
    if rec.core.error():
        raise CaptureError(rec.core.error())
    for line in rec.core.foreign():
        raise CaptureError(
            f"capture: at {line} NumPy makes an array, which would not be made again; use "
            "operations of tilegrad, or pass it as an argument"
        )
    if drawn != _drawn():
        raise CaptureError("capture: the function draws from a random stream of Python or NumPy")
    for where, name, value in variables:
        now = where.cell_contents if name is None else where.get(name)
        if now is not value:
            raise CaptureError(
                f"capture: the function assigns {name or 'a variable of its closure'}, which a "
                "replay would not repeat"
            )


_SIGNATURES = 64
"""Signatures whose plans are kept; the oldest goes first."""
_READY = 4
"""Plans, of those used last, that keep weights made ready; others make them again."""


class Captured:
    """What ``capture`` returns: call it as the function."""

    def __init__(self, fn: Callable, fallback: bool, fold: bool) -> None:
        self._captured_function, self.fallback = fn, fallback
        self._run = no_grad(fn.__call__) if isinstance(fn, Module) else fn
        self._no_grad, self.fold = self._run is not fn, fold
        self._plans: dict[Any, list[Plan] | None] = {}
        self._last: Plan | None = None
        self._ready: list[Plan] = []
        self._lock = threading.Lock()
        self._tries = 0
        for name in ("__name__", "__doc__", "__qualname__", "__module__"):
            if hasattr(fn, name):
                setattr(self, name, getattr(fn, name))

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        return self if owner is None else MethodType(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plan = self._last
        if (
            plan is not None and not kwargs and plan.valid and plan.epoch == recording.epoch[0]
            and mode.enabled is plan.enabled and not recording.captures and not tape.watchers
            and not mode.levels and self._lock.acquire(False)
        ):  # fmt: skip
            try:
                result = plan.replay(args)
            finally:
                self._lock.release()
            if result is not NotImplemented:
                return result
        return self._slow(args, kwargs)

    def _slow(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Looks for the plan among all, or makes one."""
        plain = not hasattr(kernels.host, "Plan")
        if plain or recording.current() is not None or mode.levels or tape.watchers:
            return self._run(*args, **kwargs)
        if not self._lock.acquire(False):  # another thread is in it
            return self._run(*args, **kwargs)
        try:
            leaves: list[Any] = []
            tree = flatten((args, kwargs), leaves)
            variables = [v for f in functions_of(self._captured_function) for v in variables_of(f)]
            own = getattr(self._captured_function, "__self__", None)
            variables += attributes_of([v for *_, v in variables] + leaves + [own])
            modules = modules_of(self._captured_function, variables, leaves)
            enabled = mode.enabled and not self._no_grad
            key = (tree, tuple([described(x) for x in leaves]), enabled, state_of(modules))
            plans = self._plans.setdefault(key, [])
            if len(self._plans) > _SIGNATURES:
                del self._plans[next(iter(self._plans))]
            if plans is None:
                return self._run(*args, **kwargs)
            plans[:] = [p for p in plans if p.valid]
            if any(p.writes for p in plans) and collide(leaves):
                return self._run(*args, **kwargs)
            for plan in plans:
                result = plan.replay(tuple(leaves))
                if result is not NotImplemented:
                    self._keep(plan, kwargs)
                    return result
            return self._record(key, plans, leaves, variables, modules, args, kwargs)
        finally:
            self._lock.release()

    def _keep(self, plan: Plan, kwargs: Any) -> None:
        plan.epoch, plan.enabled = recording.epoch[0], mode.enabled
        if not plan.nested:
            self._last = plan
        if plan.core.kept_bytes():
            before = [p for p in self._ready if p is not plan]
            self._ready = [plan, *(p for p in before if p.valid)][:_READY]
            for old in before:
                if old not in self._ready:
                    old.core.forget()

    def _record(
        self, key: Any, plans: list[Plan], leaves: list[Any], variables: list[Any],
        modules: list[Module], args: Any, kwargs: Any,
    ) -> Any:  # fmt: skip
        rec = Recording(strict=not self.fallback)
        drawn = _drawn()
        recording.captures.append(rec)
        try:
            with surrounding(rec.around):
                rec.core.begin(rec.strict)
                result = self._run(*args, **kwargs)
        finally:
            rec.core.end()
            recording.captures.remove(rec)
        try:
            _check(rec, drawn, variables)
            self._tries += 1
            changes = key[-1] != state_of(modules)
            plan = None
            if rec.settled:
                inference = self.fold and self._no_grad
                plan = Plan(rec, leaves, result, variables, modules, inference)
            if plan is not None and not changes and not plan.escaped:
                plan.nested = bool(kwargs) or len(args) != len(leaves)
                plans.insert(0, plan)
                del plans[_MOST:]
                self._tries = 0
                self._keep(plan, kwargs)
            elif self._tries > 2 and changes:
                raise CaptureError(
                    "capture: the function changes an attribute of a module at every call"
                )
            elif self._tries > 2 and plan is not None:
                name, line = plan.escaped[0]
                raise CaptureError(
                    f"capture: the result of {name} at {line} is kept after the call, where a "
                    "replay would not put it; return it, or write it in place with copy_()"
                )
        except CaptureError as e:
            if not self.fallback:
                raise
            self._plans[key] = None
            warn_user(f"{e.args[0]}; it runs without being captured", UserWarning)
        return result

    def explain(self, *args: Any) -> str:
        """The plan used last, as a table: op, algorithm where there are several, time, shapes and
        where they lie, the user's line.

        args: makes one more call with these arguments, and shows what each part of it took; a chain
        of element-wise calls shows its time at the first of them.

        >>> import tilegrad as tg
        >>> double = tg.capture(lambda x: x * 2.0)
        >>> _ = double(tg.ones(3))
        >>> print(double.explain().splitlines()[0])
        1 calls, 0 bytes for intermediate results
        """
        plan = self._last
        if plan is None:
            return "nothing was captured yet"
        if args:
            plan.core.time(True)
            self(*args)
            plan.core.time(False)
        rows = plan.core.describe()
        lines = [f"{len(rows)} calls, {plan.core.memory_bytes()} bytes for intermediate results"]
        dropped, folded = plan.core.left_out()
        if dropped or folded:
            lines[0] += f"; {dropped} calls nobody needs left out, {folded} folded into others"
        if plan.core.kept_bytes():
            lines[0] += f", {plan.core.kept_bytes()} bytes of weights made ready"
        for name, line, operands, _, seconds, algorithm in rows:
            shapes = " ".join(f"{t}{list(shape)}@{where}" for t, shape, where in operands)
            time = f"{seconds * 1e6:9.2f} us" if args else ""
            lines.append(f"{name:24} {algorithm:12} {time}  {shapes}  {line}")
        return "\n".join(lines)


def capture(fn: Callable, *, fallback: bool = False, fold: bool = True) -> Captured:
    """fn, recorded at its first call and replayed without Python later.

    fn: a function of tensors (and of numbers, strings, modules, and tuples, lists and dicts of
    them) that may compute gradients and step optimizers; or a Module, which is run under no_grad.
    The first call with arguments of new shapes, dtypes, strides, numbers or training flags runs fn
    as it is; later ones run the recorded kernels alone, with the same bits. Numbers in
    ``param_groups`` are read at every call, random numbers are fresh ones, parameters, states of
    optimizers and running estimates change in place, ``.grad`` ends as fn would leave it.

    fold: in a Module, batch norms in eval mode become part of the layers before them, which rounds
    differently, and weights are made ready for their kernels once for every change of them.

    fallback: run a function that cannot be captured as it is, with one warning. Otherwise
    CaptureError names the line: values given to Python (``item()``, ``if tensor``), NumPy, tensors
    kept elsewhere than in the result, ``.grad``, or memory that existed before.

    >>> import tilegrad as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = tg.optim.SGD([w], lr=0.5)
    >>> @tg.capture
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = (w * x).sum()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> [step(tg.ones(2)).item() for _ in range(3)]
    [3.0, 2.0, 1.0]
    """
    if not callable(fn):
        raise TypeError(f"capture: fn must be callable, got {type(fn).__name__}")
    return Captured(fn, fallback, fold)
