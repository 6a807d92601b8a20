"""The base of the optimizers whose step is one kernel for many parameters."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, ClassVar

import numpy as np

from .. import kernels
from ..tensor import Tensor
from .optimizer import Optimizer

_EMPTY: dict[str, Any] = {}


def stateless(state: dict[str, Any]) -> None:
    """The counts of an optimizer that counts nothing."""


class Fused(Optimizer):
    """Steps all parameters of a group that share a dtype and their counts in one kernel call.

    A subclass names its kernel and the arrays of the state in the kernel's order, and gives the
    numbers of a step. Nothing of the state changes before the kernel has succeeded.
    """

    _kernel: ClassVar[str]
    _names: ClassVar[tuple[str, ...]] = ()
    _counts: ClassVar[Any] = itemgetter("step")
    """The numbers in the state of a parameter: parameters that differ in them step apart."""
    _decoupled: ClassVar[bool] = False

    def _arrays(self, group: dict[str, Any]) -> tuple[str | None, ...]:
        """The names of the arrays of the state; None where the kernel is to do without."""
        return self._names

    def _initial(self, group: dict[str, Any]) -> dict[str, Any]:
        """The counts before the first step, and what arrays that do not begin at zero begin at."""
        return {"step": 0}

    def _numbers(self, group: dict[str, Any], counts: Any, first: bool) -> tuple[Any, ...]:
        """The numbers of the kernel, and last the new counts; first: the state has just begun."""
        raise NotImplementedError

    def _update(self, group: dict[str, Any]) -> None:
        names = self._arrays(group)
        present = [n for n in names if n is not None]
        batches: dict[Any, list[tuple[Tensor, dict[str, Any], Any]]] = {}
        get, counts_of = self.state.get, type(self)._counts
        for p in group["params"]:
            grad = p._grad
            if grad is None:
                continue
            state, first = get(p, _EMPTY), False
            try:
                row = (p._array, grad._array, *[state[n]._array for n in present])
                counts = counts_of(state)
            except KeyError:
                state, first = self._begun(p, group, present, state), True
                row = (p._array, grad._array, *[state[n]._array for n in present])
                counts = counts_of(state)
            key = (row[0].dtype, counts, first)
            if key in batches:
                batches[key].append((p, state, row))
            else:
                batches[key] = [(p, state, row)]
        for (_, counts, first), batch in batches.items():
            *numbers, new = self._numbers(group, counts, first)
            params, grads, *arrays = (
                [*column] for column in zip(*[row for _, _, row in batch], strict=True)
            )
            lists = iter(arrays)
            getattr(kernels.of(params[0]), self._kernel)(
                params, grads, *[n and next(lists) for n in names], *numbers,
                group.get("weight_decay", 0.0),
                group.get("decoupled_weight_decay", self._decoupled),
                group.get("maximize", False), group.get("l1_decay", 0.0),
            )  # fmt: skip
            for p, state, _ in batch:
                cell = p._version
                if cell is not None:
                    cell[0] += 1
                if new:
                    state.update(new)
                if first:
                    self.state[p].update(state)

    def _begun(
        self, p: Tensor, group: dict[str, Any], names: list[str], state: dict[str, Any]
    ) -> dict[str, Any]:
        """The state with what the kernel needs; arrays lie in memory as the parameter does."""
        values = {**self._initial(group), **dict.fromkeys(names, 0.0), **self._initial(group)}
        begun = {k: _filled(p._array, v) if k in names else v for k, v in values.items()}
        return {**begun, **state}


def _filled(like: Any, value: float) -> Tensor:
    module, x = kernels.of(like), np.asarray(value, like.dtype)
    if like.flags.c_contiguous:
        return Tensor._new(module.full(like.shape, like.dtype, x))
    out = module.copy(like, "K")
    module.copy_into(out, x)
    return Tensor._new(out)
