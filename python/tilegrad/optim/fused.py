"""The base of the optimizers whose step is one kernel for many parameters."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, ClassVar

import numpy as np

from .. import kernels
from ..recording import captures, constants, current
from ..tensor import Tensor
from .optimizer import Optimizer


class Fused(Optimizer):
    """Steps all parameters of a group that share a dtype and their counts in one kernel call.

    A subclass names its kernel and the arrays of the state in the kernel's order, and gives the
    numbers of a step. Nothing of the state changes before the kernel has succeeded.
    """

    _in_python = False
    _kernel: ClassVar[str]
    _names: ClassVar[tuple[str, ...]] = ()
    _counts: ClassVar[Any] = itemgetter("step")
    """What the state of a parameter counts: parameters that differ in it step apart."""

    def _arrays(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        """The names of the arrays of the state; None where the kernel is to do without."""
        return self._names

    def _initial(self, group: dict[str, Any]) -> dict[str, Any]:
        """The counts before the first step."""
        return {"step": 0}

    def _fill(self, group: dict[str, Any], name: str) -> float:
        """What an array of the state begins at."""
        return 0.0

    def _numbers(self, group: dict[str, Any], counts: Any) -> tuple[Any, ...]:
        """The numbers of the kernel, and last the new counts."""
        raise NotImplementedError

    def _update(self, group: dict[str, Any]) -> None:
        get, counts_of = self.state.get, type(self)._counts
        batches: dict[Any, list[tuple[Tensor, dict[str, Any]]]] = {}
        for p in group["params"]:
            if p._grad is not None:
                state = get(p) or self._initial(group)
                key = p._array.dtype, counts_of(state)
                if key in batches:
                    batches[key].append((p, state))
                else:
                    batches[key] = [(p, state)]
        for (_, counts), batch in batches.items():
            self._together(group, counts, batch)

    def _together(
        self, group: dict[str, Any], counts: Any, batch: list[tuple[Tensor, dict[str, Any]]]
    ) -> None:
        names, begun = self._arrays(group), False
        try:
            states = [n and [s[n]._array for _, s in batch] for n in names]
        except KeyError:
            begun = True
            batch = [(p, self._begun(p, group, s)) for p, s in batch]
            states = [n and [s[n]._array for _, s in batch] for n in names]
        params = [p._array for p, _ in batch]
        settings, new = self._settings(group, counts)
        kernel = getattr(kernels.of(params[0]), self._kernel)
        kernel(params, [p._grad._array for p, _ in batch], *states, *settings)
        if captures and (c := current()) is not None:
            c.step(self, group, batch, begun, kernel, (params, params, *states), settings, new)
        for p, state in batch:
            cell = p._version
            if cell is not None:
                cell[0] += 1
            if new:
                state.update(new)
            if begun:
                self.state[p].update(state)

    def _settings(self, group: dict[str, Any], counts: Any) -> tuple[tuple[Any, ...], Any]:
        """The numbers of the kernel, and the new counts."""
        *numbers, new = self._numbers(group, counts)
        get = group.get
        return (
            *numbers, get("weight_decay", 0.0), get("decoupled_weight_decay", False),
            get("maximize", False), get("l1_decay", 0.0),
        ), new  # fmt: skip

    def _begun(self, p: Tensor, group: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """The state with every array the kernel needs."""
        names = [n for n in self._arrays(group) if n is not None and n not in state]
        return {**state, **{n: _filled(p._array, self._fill(group, n)) for n in names}}


@constants
def _filled(like: Any, value: float) -> Tensor:
    """In the memory order of the parameter."""
    module, x = kernels.of(like), np.asarray(value, like.dtype)
    if like.flags.c_contiguous:
        return Tensor._new(module.full(like.shape, like.dtype, x))
    out = module.copy(like, "K")
    module.copy_into(out, x)
    return Tensor._new(out)
