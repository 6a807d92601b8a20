"""What was recorded for one signature, ready to run again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .. import kernels, recording
from ..errors import CaptureError
from ..grad_mode import mode
from ..nn.module import Module
from ..ops import rules
from ..tensor import Tensor
from .record import Recording
from .signature import flatten, rebuilt

_new = rules._new


def likely(variables: list[Any], modules: list[Module], rec: Recording) -> list[Tensor]:
    """The tensors a step most likely reads: of modules, optimizers and variables."""
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


def _overlap(a: Tensor, b: Tensor) -> bool:
    return a is not b and bool(np.may_share_memory(a._array, b._array))


def collide(args: Any) -> bool:
    """Whether arguments share memory that were apart when a function was recorded that writes."""
    tensors = [x for x in args if isinstance(x, Tensor)]
    return any(_overlap(a, b) for i, a in enumerate(tensors) for b in tensors[:i])


def _sharing(arguments: list[Tensor], known: list[Tensor]) -> set[int]:
    """The ids of arguments whose memory is that of another argument, or of a tensor the function
    reaches otherwise: a plan cannot tell which of them was read, and is for these alone."""
    reached = {id(t) for t in known}
    return {
        id(x)
        for x in arguments
        if id(x) in reached or any(_overlap(x, y) for y in (*arguments, *known))
    }


def _geometry(array: Any) -> tuple[Any, ...]:
    return array.dtype, array.shape, array.strides


class Plan:
    """What was recorded for one signature, ready to run again."""

    def __init__(
        self, rec: Recording, leaves: list[Any], result: Any, variables: list[Any],
        modules: list[Module], inference: bool,
    ) -> None:  # fmt: skip
        self.core = core = rec.core
        self.valid, self.nested = True, False
        self.enabled, self.epoch = mode.enabled, recording.epoch[0]
        tensors = [(i, x) for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        self.arguments: dict[int, int] = {}
        for i, x in tensors:
            self.arguments.setdefault(id(x), i)
        known = likely(variables, modules, rec)
        fixed = _sharing([x for _, x in tensors], [*known, *(p for p, *_ in rec.leaves.values())])
        self.outputs: list[Any] = []
        self.places: dict[int, int] = {}  # id of an array: its place among the outputs
        flat: list[Any] = []
        self.tree = flatten(result, flat)
        outside = [*(x for _, x in tensors), *known]
        self.bases: list[tuple[Any, Any]] = []
        self.results = [self._result(x, outside) for x in flat]
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
        arrays = [t._array for t in [*(x for _, x in tensors), *known]] + [a[0] for a in sources]
        arrays += rules._scalars.values()
        if not core.covered([a for a in arrays if a.dtype.kind != "c"]):
            known = [t for t in gc.get_objects() if isinstance(t, Tensor)]
        alive = [t for t in known if id(t) not in self.arguments and t._array.dtype.kind != "c"
                 and core.buffer_of(t._array) < 0]  # fmt: skip
        sources += [(t._array, -1, t, False, t._node is not None) for t in alive]
        sources += [
            (a, -1, None, False, False) for a in rules._scalars.values() if a.dtype.kind != "c"
        ]
        made = {core.buffer_of(a) for a in self.outputs}
        self.escaped = [where for index, *where in core.alive() if index not in made]
        if self.escaped:
            return
        changed = [
            t for r in rec.changed if (t := r()) is not None and core.buffer_of(t._array) < 0
        ]
        cuts = [at for at, *_ in self.calls]
        inference = inference and not (rec.writes_outside or rec.steps or rec.calls or grads)
        found = core.finish(
            sources, self.outputs, [u[1:] for u in used], variables, cuts, inference
        )
        self.writes = any(id(t) in self.arguments for t in changed)
        changed += [p for step in rec.steps for p, _ in step.batch]
        core.expect(
            len(leaves),
            [(i, x) for i, x in enumerate(leaves) if not isinstance(x, Tensor) or id(x) in fixed],
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

    def _result(self, x: Any, outside: list[Tensor]) -> tuple[str, Any]:
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
        if any(x is t for t in outside) or (x._share is None and (not node or node.rule is None)):
            return "same", x
        if node is None:
            low, high = byte_bounds(x._array)
            for t in outside:
                first, end = byte_bounds(t._array)
                if t._share is x._share and first <= low and high <= end:
                    return "view", self._view_of(x._array, t)
        raise CaptureError("capture: the function returns a view of a tensor from outside")

    def _view_of(self, array: Any, t: Tensor) -> tuple[Any, ...]:
        """The number of an argument or a weak tensor, and how the array lies on its own."""
        i, base = self.arguments.get(id(t), -1), t._array
        if i < 0:
            self.bases.append((weakref.ref(t, self._gone), _geometry(base)))
        offset = array.ctypes.data - base.ctypes.data
        return i, weakref.ref(t), (*_geometry(array), offset, array.flags.writeable)

    def _gradient(self, g: Any) -> tuple[int, Any]:
        """The place of an output and None, or -1 and a tensor from outside or None."""
        if g is None or self.core.buffer_of(g._array) < 0:
            return -1, g
        return self._place(g._array), None

    # --- running ----------------------------------------------------------------------------------
    def replay(self, args: tuple[Any, ...]) -> Any:
        """The result, or NotImplemented where something is not as it was."""
        core = self.core
        if not core.bind(args) or (self.writes and collide(args)):
            return NotImplemented
        for ref, lies in self.bases:
            if (t := ref()) is None or _geometry(t._array) != lies:
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
        return rebuilt(self.tree, self._values(tensors, args))

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
            if kind == "view":
                i, ref, lies = x
                base = args[i] if i >= 0 else ref()
                yield base._view(kernels.host._view_at(base._array, *lies))
            else:
                yield tensors[x] if kind == "output" else args[x] if kind == "argument" else x
