"""Recompute instead of store."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from threading import get_ident
from typing import Any

from .. import tape
from ..errors import GradientError
from ..func import leaves
from ..generator import default_generator
from ..grad_mode import enable_grad, mode
from ..tape import Node
from ..tensor import Tensor

__all__ = ["checkpoint"]


def _recorded(function: Callable, args: tuple, kwargs: dict) -> tuple[Any, list[Node]]:
    """The result of the call, and the nodes it recorded, in order."""
    nodes: list[Node] = []
    me, levels = get_ident(), mode.levels  # not the tangents of forward mode, at outer levels

    def watch(out: Tensor, inputs: Any, params: Any) -> None:
        if get_ident() == me and mode.levels == levels and out._node is not None:
            nodes.append(out._node)

    tape.watchers.append(watch)
    try:
        return function(*args, **kwargs), nodes
    finally:
        tape.watchers.remove(watch)


def checkpoint(
    function: Callable,
    *args: Any,
    use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """function(*args, **kwargs) that keeps none of its intermediate values: the backward pass calls
    function again when it needs them. Same result and gradients, for one more forward pass.

    function must compute the same again; random numbers of the default generator are repeated when
    preserve_rng_state. Gradients of any order pass, also to tensors that function closes over.
    use_reentrant is accepted for PyTorch's sake and has no meaning. What function closes over must
    not change before the backward pass. Raises GradientError when the second call records other
    operations than the first, or an argument is changed in place by function or after it.
    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.

    >>> import tilegrad as tg
    >>> from tilegrad.utils.checkpoint import checkpoint
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> checkpoint(lambda x: x.exp().sin().sum(), x).backward()
    >>> x.grad.shape
    (2,)
    """
    if not mode.enabled:
        return function(*args, **kwargs)
    state = default_generator.get_state() if preserve_rng_state else None
    tensors = [t for t in leaves([args, kwargs]) if isinstance(t, Tensor)]
    given = [(t, t._array, t._cell(), t._cell()[0]) for t in tensors]
    result, nodes = _recorded(function, args, kwargs)
    forgotten = [weakref.ref(n) for n in nodes]
    name = getattr(function, "__qualname__", type(function).__name__)
    if any(t._array is not array or cell[0] != version for t, array, cell, version in given):
        raise GradientError(f"checkpoint: {name} changes an argument in place")

    def again() -> None:
        if any(cell[0] != version for _, _, cell, version in given):
            raise GradientError(f"checkpoint: an argument of {name} was changed in place since")
        now = default_generator.get_state()
        if state is not None:
            default_generator.set_state(state)
        try:
            with enable_grad():
                _, fresh = _recorded(function, args, kwargs)
        finally:
            if state is not None:
                default_generator.set_state(now)
        if [n.name for n in fresh] != names:
            raise GradientError(
                f"checkpoint: {name} recorded {len(fresh)} operations when called again, "
                f"{len(names)} or others before; it must compute the same every time"
            )
        for ref, new in zip(forgotten, fresh, strict=True):
            old = ref()
            if old is not None and hasattr(old, "again"):
                _hand_over(old, new)

    names = [n.name for n in nodes]
    for n in nodes:
        n.saved = None
        n.again = again
    return result


def _hand_over(old: Node, new: Node) -> None:
    if new.saved is not None:
        old.saved = new.saved
        del old.again
        return

    def later() -> None:  # a checkpoint within a checkpoint
        old.saved = tape.saved_again(new)
        del old.again

    old.again = later
