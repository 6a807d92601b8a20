"""capture: a function of tensors recorded once and run again without Python."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from . import dtypes, kernels, recording, tape
from .bench.kernel_calls import surrounding
from .device import get_precision
from .errors import CaptureError, user_line, warn_user
from .grad_mode import mode, no_grad
from .nn.module import Module
from .ops import rules
from .tensor import Tensor

_new = rules._new
_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.dtype, np.generic)
_MOST = 8
"""Plans kept for one signature: they differ in which gradients there were at the start."""


# --- structures of arguments and results ----------------------------------------------------------
def _leaves(x: Any, out: list[Any]) -> Any:
    """Appends the leaves of nested tuples, lists and dicts to out; returns the structure."""
    kind = type(x)
    if kind is tuple or kind is list or (isinstance(x, tuple) and hasattr(x, "_fields")):
        return kind, tuple([_leaves(v, out) for v in x])
    if isinstance(x, dict):
        return kind, tuple(x), tuple([_leaves(v, out) for v in x.values()])
    out.append(x)
    return None


def _built(tree: Any, leaves: Iterator[Any]) -> Any:
    """The structure with its leaves."""
    if tree is None:
        return next(leaves)
    if len(tree) == 3:
        values = [_built(t, leaves) for t in tree[2]]
        return tree[0](zip(tree[1], values, strict=True))
    values = [_built(t, leaves) for t in tree[1]]
    return tree[0](*values) if hasattr(tree[0], "_fields") else tree[0](values)


def _described(x: Any) -> Any:
    """What of an argument the plan depends on, as a hashable key."""
    if isinstance(x, Tensor):
        a = x._array
        return a.dtype, a.shape, a.strides, x._node is None, a.flags.writeable
    if isinstance(x, _PLAIN):
        return type(x), x
    if isinstance(x, np.ndarray):
        raise CaptureError("capture: an argument is a NumPy array; pass a tensor")
    return type(x), id(x)


# --- what a function refers to --------------------------------------------------------------------
def _functions(fn: Any) -> Iterator[FunctionType]:
    """The Python functions a call of fn may run that are not tilegrad's: itself, and those found
    in its variables."""
    stack, seen = [fn], set()
    while stack:
        f = stack.pop()
        if isinstance(f, Captured):
            f = f.fn
        while hasattr(f, "func") and hasattr(f, "keywords"):  # functools.partial
            stack.extend(f.args)
            f = f.func
        f = getattr(f, "__func__", f)
        if not isinstance(f, FunctionType) or f in seen or len(seen) > 200:
            continue
        if (f.__module__ or "").partition(".")[0] in ("tilegrad", "numpy"):
            continue
        seen.add(f)
        yield f
        stack.extend(v for *_, v in _variables(f) if callable(v) and not isinstance(v, type))


def _variables(f: FunctionType) -> list[tuple[Any, Any, Any]]:
    """Where (a closure's cell, or a dict and a key) f finds its free variables, and what is there;
    modules, classes and built-in functions are left out."""
    found: list[tuple[Any, Any, Any]] = []
    for cell in f.__closure__ or ():
        try:
            found.append((cell, None, cell.cell_contents))
        except ValueError:  # not assigned yet
            continue
    codes = [f.__code__]
    while codes:
        code = codes.pop()
        codes.extend(c for c in code.co_consts if hasattr(c, "co_names"))
        found += [
            (f.__globals__, n, f.__globals__[n]) for n in code.co_names if n in f.__globals__
        ]
    skipped = (ModuleType, type, BuiltinFunctionType)
    return [v for v in found if not isinstance(v[2], skipped)]


def _modules(fn: Any, variables: list[Any], arguments: list[Any]) -> list[Module]:
    """The modules a call may use, each once."""
    roots = [v for *_, v in variables] + arguments + [fn, getattr(fn, "__self__", None)]
    found: dict[int, Module] = {}
    for root in roots:
        if isinstance(root, Module):
            for m in root.modules():
                found[id(m)] = m
        elif isinstance(root, (list, tuple)):
            for r in root:
                if isinstance(r, Module):
                    found.update((id(m), m) for m in r.modules())
    return list(found.values())


def _state(modules: list[Module]) -> tuple[Any, ...]:
    """What a plan depends on besides tensors: settings, and the attributes of modules."""
    settings: list[Any] = [dtypes.get_default_dtype(), get_precision(), kernels.host.isa()]
    for m in modules:
        for name, value in m.__dict__.items():
            if name in ("_parameters", "_buffers", "_modules"):
                settings.append(tuple([(k, id(v)) for k, v in value.items()]))
            elif isinstance(value, (bool, int, float, str, tuple, type(None))):
                settings.append((name, value))
            else:
                settings.append((name, id(value), len(value) if hasattr(value, "__len__") else 0))
    return tuple(settings)


# --- recording --------------------------------------------------------------------------------------
class _Step:
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


class _Recording:
    """A capture in progress."""

    def __init__(self, strict: bool) -> None:
        self.thread, self.paused, self.strict = threading.get_ident(), False, strict
        kernels.host.tensor_type(Tensor)
        self.core = kernels.host.Plan()
        self.error: CaptureError | None = None
        self.leaves: dict[int, tuple[Tensor, str, Any]] = {}  # leaf, state at the start, gradient
        self.changed: list[Any] = []
        self.generators: dict[Any, tuple[int, int]] = {}
        self.steps: list[_Step] = []
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

    def drawn(self, generator: Any, key: int, offset: int) -> None:
        self.generators.setdefault(generator, (key, offset))

    def step(
        self, optimizer: Any, group: Any, batch: Any, begun: bool, kernel: Any, lists: Any,
        settings: Any, new: Any,
    ) -> None:  # fmt: skip
        if begun:
            self.settled = False
            return
        empty = [None if a is None else [] for a in lists]
        at = len(self.core) - 1
        self.steps.append(_Step(at, kernel, optimizer, group, batch, empty, settings, new))

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
        _leaves((args, kwargs), tensors)
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
            self.core.label(_name(call), user_line(1))
        return kernel(*call.args)


def _name(call: Any) -> str:
    from .kernels import contract

    ops = {"unary": contract.UNARY, "binary": contract.BINARY, "reduce": contract.REDUCE}
    table = ops.get(call.name)
    return f"{table[call.args[0]]}" if table else call.name


def _known(variables: list[Any], modules: list[Module], rec: _Recording) -> list[Tensor]:
    """The tensors a step most likely reads: parameters, buffers, states, and what variables hold."""
    found: dict[int, Any] = {}
    for m in modules:
        for t in (*m._parameters.values(), *m._buffers.values()):
            found[id(t)] = t
    for step in rec.steps:
        for p, state in step.batch:
            found.update((id(t), t) for t in (p, *state.values()))
    for _, _, value in variables:
        many = value if isinstance(value, (list, tuple)) else [value]
        found.update((id(t), t) for t in many)
    return [t for t in found.values() if isinstance(t, Tensor)]


class _Plan:
    """What was recorded for one signature, ready to run again."""

    def __init__(
        self, rec: _Recording, leaves: list[Any], result: Any, variables: list[Any],
        modules: list[Module],
    ) -> None:  # fmt: skip
        self.core = core = rec.core
        self.valid, self.nested = True, False
        self.enabled, self.epoch = mode.enabled, recording.epoch[0]
        tensors = [(i, x) for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        self.arguments: dict[int, int] = {}
        for i, x in tensors:
            self.arguments.setdefault(id(x), i)
        self.outputs: list[Any] = []
        self.places: dict[int, int] = {}  # id of an array: its place among the outputs
        flat: list[Any] = []
        self.tree = _leaves(result, flat)
        self.results = [self._result(x) for x in flat]
        alone = self.tree is None and self.results[0][0] == "output"
        self.only = self.results[0][1] if alone else None
        self.calls = [
            (at, fn, [(self._weak_leaf(p), self._gradient(g)) for p, g in grads])
            for at, fn, grads in rec.calls
        ]
        touched = rec.leaves.values()
        grads = [
            (*self._leaf(p), *self._gradient(p._grad))
            for p, had, g in touched if had == "any" or p._grad is not g
        ]  # fmt: skip
        self.steps = rec.steps
        used = [(g, key, start, (g._offset - start) % 2**64)
                for g, (key, start) in rec.generators.items()]  # fmt: skip
        self.streams = [(g, 4 * blocks) for g, _, _, blocks in used]
        sources: list[Any] = [(x._array, i, None, False, x._node is not None) for i, x in tensors]
        sources += [
            (g._array, self.arguments.get(id(p), -1), p, True, False)
            for p, had, g in touched if had == "one"
        ]  # fmt: skip
        known = _known(variables, modules, rec)
        arrays = [t._array for t in [*(x for _, x in tensors), *known]] + [a[0] for a in sources]
        arrays += rules._scalars.values()
        if not core.covered([a for a in arrays if a.dtype.kind != "c"]):
            known = [t for t in gc.get_objects() if isinstance(t, Tensor)]
        alive = [t for t in known if id(t) not in self.arguments and t._array.dtype.kind != "c"
                 and core.buffer_of(t._array) < 0]  # fmt: skip
        sources += [(t._array, -1, t, False, t._node is not None) for t in alive]
        sources += [(a, -1, None, False, False) for a in rules._scalars.values() if a.dtype.kind != "c"]
        made = {core.buffer_of(a) for a in self.outputs}
        self.escaped = [where for index, *where in core.alive() if index not in made]
        if self.escaped:
            return
        changed = [
            t for r in rec.changed if (t := r()) is not None and core.buffer_of(t._array) < 0
        ]
        found = core.finish(sources, self.outputs, [u[1:] for u in used], variables)
        changed += [p for step in rec.steps for p, _ in step.batch]
        core.expect(
            len(leaves),
            [(i, x) for i, x in enumerate(leaves) if not isinstance(x, Tensor)],
            [(i, self.arguments[id(x)]) for i, x in tensors if self.arguments[id(x)] != i],
            [(*self._leaf(p), had == "none") for p, had, _ in touched if had != "any"],
            grads, [self._leaf(t) for t in changed],
        )  # fmt: skip
        used_tensors = {id(t): t for i in found if (t := sources[i][2]) is not None}
        used_tensors.update((id(t), t) for t in [*changed, *(p for p, *_ in touched)])
        self.watched = [
            weakref.ref(t, self._gone) for k, t in used_tensors.items() if k not in self.arguments
        ]
        del self.outputs

    def _leaf(self, p: Tensor) -> tuple[int, Any]:
        """The number of an argument, or -1 and the tensor."""
        i = self.arguments.get(id(p), -1)
        return i, None if i >= 0 else p

    def _weak_leaf(self, p: Tensor) -> tuple[int, Any]:
        return self.arguments.get(id(p), -1), weakref.ref(p)

    def _gone(self, ref: Any) -> None:
        self.valid = False

    def _place(self, array: Any) -> int:
        """Of an array that a recorded call made, among the outputs."""
        if id(array) not in self.places:
            self.places[id(array)] = len(self.outputs)
            self.outputs.append(array)
        return self.places[id(array)]

    def _result(self, x: Any) -> tuple[str, Any]:
        if isinstance(x, np.ndarray):
            raise CaptureError("capture: the function returns a NumPy array; return the tensor")
        if not isinstance(x, Tensor):
            return "same", x
        if id(x) in self.arguments:
            return "argument", self.arguments[id(x)]
        node = x._node
        if node is not None and node.rule is not None and node.saved is not None:
            raise CaptureError(
                "capture: the function returns a tensor that requires grad and was not "
                "differentiated; call backward() inside, or compute it under no_grad()"
            )
        if self.core.buffer_of(x._array) >= 0:
            x._node = None  # the graph is used up, and a replay makes none
            return "output", self._place(x._array)
        if x._share is not None or node is not None and node.rule is not None:
            raise CaptureError("capture: the function returns a view of a tensor from outside")
        return "same", x

    def _gradient(self, g: Any) -> tuple[int, Any]:
        """The place of an output and None, or -1 and a tensor from outside or None."""
        if g is None or self.core.buffer_of(g._array) < 0:
            return -1, g
        return self._place(g._array), None

    # --- running ----------------------------------------------------------------------------------
    def replay(self, args: tuple[Any, ...]) -> Any:
        """The result, or NotImplemented where something is not as it was."""
        core = self.core
        if not core.bind(args):
            return NotImplemented
        for step in self.steps:
            if not step.refresh(core):
                return NotImplemented
        for i, (g, words) in enumerate(self.streams):
            core.set_stream(i, *g.take(words))
        try:
            tensors = self._with_calls(args) if self.calls else core.replay(args)
        except Exception as e:
            where = core.failed()
            if where is not None:
                e.add_note(f"in a replay, at {where[0]} of {where[1]}")
            raise
        for step in self.steps:
            if step.new:
                for _, state in step.batch:
                    state.update(step.new)
        if self.only is not None:
            return tensors[self.only]
        return _built(self.tree, self._values(tensors, args))

    def _with_calls(self, args: tuple[Any, ...]) -> Any:
        """As core.replay, with calls of Python in between."""
        core, begin = self.core, 0
        arrays = core.outputs()
        for at, fn, grads in self.calls:
            core.run(begin, at)
            begin = at
            for (i, leaf), (place, other) in grads:
                p = args[i] if i >= 0 else leaf()
                p._grad = other if place < 0 else _new(arrays[place])
            fn()
        core.run(begin, -1)
        return core.finished(args, arrays)

    def _values(self, tensors: list[Any], args: Any) -> Iterator[Any]:
        for kind, x in self.results:
            yield tensors[x] if kind == "output" else args[x] if kind == "argument" else x


class Captured:
    """What ``capture`` returns: call it as the function."""

    def __init__(self, fn: Callable, fallback: bool) -> None:
        self.fn, self.fallback = fn, fallback
        self._run = no_grad(fn.__call__) if isinstance(fn, Module) else fn
        self._plans: dict[Any, list[_Plan] | None] = {}
        self._last: _Plan | None = None
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
            tree = _leaves((args, kwargs), leaves)
            variables = [v for f in _functions(self.fn) for v in _variables(f)]
            modules = _modules(self.fn, variables, leaves)
            key = (tree, tuple([_described(x) for x in leaves]), mode.enabled, _state(modules))
            plans = self._plans.setdefault(key, [])
            if plans is None:
                return self._run(*args, **kwargs)
            plans[:] = [p for p in plans if p.valid]
            for plan in plans:
                result = plan.replay(tuple(leaves))
                if result is not NotImplemented:
                    self._keep(plan, kwargs)
                    return result
            try:
                return self._record(key, plans, leaves, variables, modules, args, kwargs)
            except CaptureError as e:
                if not self.fallback:
                    raise
                self._plans[key] = None
                warn_user(f"{e.args[0]}; it runs without being captured", UserWarning)
                return self._result
        finally:
            self._lock.release()

    def _keep(self, plan: _Plan, kwargs: Any) -> None:
        plan.epoch = recording.epoch[0]
        if not plan.nested:
            self._last = plan

    def _record(
        self, key: Any, plans: list[_Plan], leaves: list[Any], variables: list[Any],
        modules: list[Module], args: Any, kwargs: Any,
    ) -> Any:  # fmt: skip
        rec = _Recording(strict=not self.fallback)
        numbers = random.getstate(), np.random.get_state()[1].tobytes()
        recording.captures.append(rec)
        try:
            with surrounding(rec.around):
                rec.core.begin()
                self._result = result = self._run(*args, **kwargs)
        finally:
            rec.core.end()
            recording.captures.remove(rec)
        if rec.error is not None:
            raise rec.error
        for line in rec.core.foreign():
            raise CaptureError(
                f"capture: at {line} NumPy makes an array, which would not be made again; use "
                "operations of tilegrad, or pass it as an argument"
            )
        if numbers != (random.getstate(), np.random.get_state()[1].tobytes()):
            raise CaptureError("capture: the function draws from a random stream of Python or NumPy")
        for where, name, value in variables:
            now = where.cell_contents if name is None else where.get(name)
            if now is not value:
                raise CaptureError(
                    f"capture: the function assigns {name or 'a variable of its closure'}, which a "
                    "replay would not repeat"
                )
        self._tries += 1
        changes = key[-1] != _state(modules)
        if rec.settled and not changes:
            plan = _Plan(rec, leaves, result, variables, modules)
            if not plan.escaped:
                plan.nested = bool(kwargs) or len(args) != len(leaves)
                plans.insert(0, plan)
                del plans[_MOST:]
                self._tries = 0
                self._keep(plan, kwargs)
                return result
            if self._tries > 2:
                name, line = plan.escaped[0]
                raise CaptureError(
                    f"capture: the result of {name} at {line} is kept after the call, where a replay "
                    "would not put it; return it, or write it in place with copy_()"
                )
        elif self._tries > 2 and changes:
            raise CaptureError("capture: the function changes an attribute of a module at every call")
        return result

    def explain(self) -> str:
        """The plan used last, as a table: op, shapes, where its result lies, the user's line.

        >>> import tilegrad as tg
        >>> double = tg.capture(lambda x: x * 2.0)
        >>> _ = double(tg.ones(3))
        >>> print(double.explain().splitlines()[0])
        1 calls, 0 bytes of memory for intermediate results
        """
        plan = self._last
        if plan is None:
            return "nothing was captured yet"
        rows = plan.core.describe()
        lines = [
            f"{len(rows)} calls, {plan.core.memory_bytes()} bytes of memory for intermediate results"
        ]
        for name, line, operands, _, seconds in rows:
            shapes = " ".join(f"{t}{list(shape)}@{where}" for t, shape, where in operands)
            lines.append(f"{name:24} {seconds * 1e6:9.2f} us  {shapes}  {line}")
        return "\n".join(lines)


def capture(fn: Callable, *, fallback: bool = False) -> Captured:
    """fn, recorded at its first call and replayed without Python later.

    fn: a function of tensors (and of numbers, strings, modules, and tuples, lists and dicts of
    them) that may compute gradients and step optimizers; or a Module, which is run under no_grad.
    The first call with arguments of new shapes, dtypes, strides, numbers or training flags runs fn
    as it is; later ones run the recorded kernels alone, with the same bits. Numbers in
    ``param_groups`` are read at every call, random numbers are fresh ones, parameters, states of
    optimizers and running estimates change in place, ``.grad`` ends as fn would leave it.

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
    return Captured(fn, fallback)
