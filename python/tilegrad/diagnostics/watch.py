"""What the tracer and the profiler share: every kernel call of a thread with the place it serves.

The module of kernels is replaced and ``tape.watchers`` filled for the length of a with block; code
outside of one never comes here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from threading import get_ident
from typing import Any, NamedTuple

from .. import kernels, tape
from ..bench.kernel_calls import Call, surrounding
from ..errors import user_frame
from ..nn.module import Module
from ..tensor import Tensor

_RUN = tape.run.__code__


class Place(NamedTuple):
    """The line of the user's program that a kernel call serves: in the backward pass, ``where`` is
    the line of the forward op whose ``rule`` runs ("" where the block did not see it), and
    ``called`` the line that asked for the gradients ("" in the forward pass). ``module``: the path
    of the layer whose forward it is or was, where the watch follows them."""

    where: str
    rule: str = ""
    called: str = ""
    module: str = ""


class Watch:
    """A context manager that hands each kernel call of its thread to ``around(kernel, call)``."""

    def __init__(self) -> None:
        self._rules: dict[tuple[tape.Rule, str, str], tape.Rule] = {}
        self._rule: tuple[str, str, str] | None = None  # name, line, module of the rule that runs
        self._thread = 0
        self._layer = ""  # the path of the module whose forward runs

    def around(self, kernel: Callable, call: Call) -> Any:
        """What happens in place of a kernel call."""
        raise NotImplementedError

    def recorded(self, out: Tensor, inputs: Sequence[Tensor | None]) -> None:
        """Called for each op that is put on the tape."""

    def _start(self) -> None:
        self._thread = get_ident()
        self._kernels = kernels.host  # the module itself, also inside of another watch
        while hasattr(self._kernels, "_module"):
            self._kernels = self._kernels._module
        self._stack = ExitStack()
        self._stack.enter_context(surrounding(self._call))
        tape.watchers.append(self._note)
        self._stack.callback(tape.watchers.remove, self._note)

    def _stop(self) -> None:
        self._stack.close()

    def _call(self, kernel: Callable, call: Call) -> Any:
        return self.around(kernel, call) if get_ident() == self._thread else kernel(*call.args)

    def _note(self, out: Tensor, inputs: Sequence[Tensor | None], params: Any) -> None:
        if get_ident() != self._thread or out._node is None:
            return
        self.recorded(out, inputs)
        node: Any = out._node
        key = (node.rule, self.place().where, self._layer)
        rule = self._rules.get(key)
        if rule is None:
            rule = self._rules[key] = self._announced(*key)
        node.rule = rule

    def _follow_modules(self) -> None:
        """Knows from here on in which module's forward an op runs."""
        plain = Module.__call__
        paths: dict[int, str] = {}

        def call(module: Module, *args: Any, **kwargs: Any) -> Any:
            if get_ident() != self._thread:
                return plain(module, *args, **kwargs)
            before = self._layer
            if not before:
                root = type(module).__name__
                paths.clear()
                for name, m in module.named_modules():
                    paths[id(m)] = f"{root}.{name}" if name else root
            self._layer = paths.get(id(module), type(module).__name__)
            try:
                return plain(module, *args, **kwargs)
            finally:
                self._layer = before

        Module.__call__ = call  # type: ignore[method-assign, assignment]
        self._stack.callback(setattr, Module, "__call__", plain)

    def _announced(self, rule: tape.Rule, where: str, module: str) -> tape.Rule:
        """The rule, which says that it runs and for which line."""

        def announce(function: Callable) -> Callable:
            def announced(*args: Any) -> Any:
                before, self._rule = self._rule, own
                try:
                    return function(*args)
                finally:
                    self._rule = before

            return announced

        own = (rule.name, where, module)
        out = copy.copy(rule)
        out.vjp = announce(rule.vjp)
        if rule.fused is not None:
            out.fused = announce(rule.fused)
        return out

    def place(self) -> Place:
        """The place of the call that is being made."""
        frame, backward = user_frame(2, _RUN)
        line = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""
        if self._rule is not None:
            return Place(self._rule[1], self._rule[0], line, self._rule[2])
        return Place("", "", line) if backward else Place(line, module=self._layer)
