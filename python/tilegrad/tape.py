"""The tape and the backward pass. Names no op.

A Tensor owns its node; a node owns its parent nodes and saved arrays, never Tensors; only a leaf's
node knows its Tensor, weakly. So there are no reference cycles, and memory is released by reference
counting alone. Everything here is iterative: the depth of a graph is limited by memory only.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from heapq import heappop, heappush
from itertools import count
from sys import getrefcount
from typing import TYPE_CHECKING, Any

from . import kernels
from .errors import GradientError

if TYPE_CHECKING:
    from .tensor import Tensor

_sequence = count(1).__next__
new_tensor: Any = None  # Tensor._new, set by the module that defines it


class _Mode(threading.local):
    enabled = True


mode = _Mode()


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded."""
    return mode.enabled


class set_grad_enabled:
    """Switches recording for this thread; a context manager, or a plain call.

    >>> with set_grad_enabled(False):
    ...     is_grad_enabled()
    False
    """

    def __init__(self, enabled: bool) -> None:
        self.before, mode.enabled = mode.enabled, bool(enabled)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        mode.enabled = self.before


class no_grad:
    """Nothing inside is recorded; context manager and decorator.

    >>> with no_grad():
    ...     is_grad_enabled()
    False
    """

    _value = False

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


class Rule:
    """How one op is differentiated.

    ``saves`` names what the node keeps: indices of inputs, and -1 for the output. ``vjp(g, needed,
    inputs, out, params, shapes)`` returns one gradient (or None) per input; what is not saved
    arrives as None, ``shapes`` are those of the inputs that carry a node.
    """

    __slots__ = ("name", "saves", "vjp")

    def __init__(self, name: str, saves: tuple[int, ...], vjp: Callable) -> None:
        self.name, self.saves, self.vjp = name, saves, vjp


class Node:
    """One recorded operation, or a leaf (rule None)."""

    __slots__ = (
        "__weakref__", "checks", "hooks", "leaf", "params", "parents", "rule", "saved", "seq",
        "shape",
    )  # fmt: skip

    shape: tuple[int, ...]
    seq: int
    rule: Rule | None
    parents: Sequence[Node | None]
    params: Any
    saved: Any
    checks: Sequence[tuple[list[int], int, int]]
    hooks: dict[int, Callable] | None
    leaf: Any

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def name(self) -> str:
        return self.rule.name if self.rule else "leaf"


def make_leaf(t: Tensor) -> None:
    """Gives t a node of its own, which knows it weakly."""
    node = Node()
    node.shape = t._array.shape
    node.seq = _sequence()
    node.rule = node.hooks = None
    node.parents = ()
    node.leaf = weakref.ref(t)
    t._node = node


def attach(out: Tensor, rule: Rule, inputs: Sequence[Tensor | None], params: Any) -> Tensor:
    """Makes out the result of rule on inputs; the caller knows that one of them has a node."""
    node = Node()
    node.shape = out._array.shape
    node.seq = _sequence()
    node.rule = rule
    node.params = params
    node.hooks = None
    node.parents = [None if t is None else t._node for t in inputs]
    node.saved = saved = [None] * (len(inputs) + 1)
    node.checks = checks = []
    for i in rule.saves:
        t = out if i < 0 else inputs[i]
        if t is not None:
            saved[i] = t._array
            cell = t._version
            if cell is None:
                cell = t._version = [0]
            checks.append((cell, cell[0], i))
    out._node = node
    return out


def _fail_freed(node: Node) -> None:
    raise GradientError(
        f"backward: {node.name} was already differentiated and its saved values are freed; "
        "pass retain_graph=True to the first backward to go through it again"
    )


def _fail_changed(node: Node, version: int, expected: int, i: int) -> None:
    what = "output" if i < 0 else f"input {i}"
    raise GradientError(
        f"backward: the {what} of {node.name} (shape {node.saved[i].shape}) was changed in place "
        f"after it was saved: version {version}, expected {expected}; clone it before the change"
    )


def _reachable(roots: Iterable[Node]) -> list[Node]:
    seen = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(p for p in node.parents if p is not None)
    return sorted(seen, key=lambda n: n.seq)


def _leading_to(roots: Iterable[Node], targets: Iterable[Node]) -> set[Node]:
    """The nodes on a path from a root to a target."""
    needed = set(targets)
    for node in _reachable(roots):
        if node not in needed and any(p in needed for p in node.parents):
            needed.add(node)
    return needed


def _accumulate(node: Node, g: Tensor, create_graph: bool) -> None:
    leaf = node.leaf()
    if leaf is None:
        return
    before = leaf._grad
    if before is not None:
        leaf.grad = before + g
    elif create_graph:
        leaf.grad = g
    else:
        # The gradient becomes the leaf's own only if nobody else can see its memory; the counts
        # are those of this frame, the caller's, and getrefcount itself.
        array = g._array
        if getrefcount(g) > 3 or getrefcount(array) > 3 or array.base is not None:
            g = new_tensor(kernels.of(array).copy(array))
        leaf._grad = g
    if node.hooks:
        for key, hook in list(node.hooks.items()):
            if key < 0:  # post-accumulate hooks have negative keys
                hook(leaf)


def _call_hooks(node: Node, g: Tensor) -> Tensor:
    for key, hook in list((node.hooks or {}).items()):
        if key >= 0:
            replaced = hook(g)
            g = g if replaced is None else replaced
    return g


def run(
    roots: Sequence[tuple[Node, Tensor]],
    targets: Sequence[Node] | None,
    retain_graph: bool,
    create_graph: bool,
) -> dict[Node, Tensor]:
    """Propagates gradients from roots. targets None: accumulates into the leaves' ``.grad``;
    otherwise returns the gradients of the targets and touches nothing else."""
    # Everything on a path to a target; None: every node.
    needed = None if targets is None else _leading_to([n for n, _ in roots], targets)
    found: dict[Node, Tensor] = {}
    grads: dict[Node, Tensor] = {}
    # The newest node first: every use of a value is newer than the value.
    heap: list[tuple[int, Node]] = []
    make = new_tensor
    recorded = mode.enabled
    mode.enabled = create_graph
    try:
        for node, g in roots:
            if needed is not None and node not in needed:
                continue
            if node in grads:
                grads[node] = grads[node] + g
            else:
                grads[node] = g
                heappush(heap, (-node.seq, node))
        while heap:
            node = heappop(heap)[1]
            g = grads.pop(node)
            if node.hooks:
                g = _call_hooks(node, g)
            if targets is not None and node in targets:
                found[node] = g
            rule = node.rule
            parents = node.parents
            if rule is None:
                if targets is None:
                    _accumulate(node, g, create_graph)
                continue
            if needed is None:
                need = [p is not None for p in parents]
            else:
                need = [p in needed for p in parents]
                if True not in need:
                    continue
            saved = node.saved
            if saved is None:
                _fail_freed(node)
            for cell, version, i in node.checks:
                if cell[0] != version:
                    _fail_changed(node, cell[0], version, i)
            if create_graph:
                owners = [*parents, node]
                values = [
                    None if a is None else make(a, p) for a, p in zip(saved, owners, strict=True)
                ]
            else:
                values = [None if a is None else make(a) for a in saved]
            shapes = [None if p is None else p.shape for p in parents]
            out = values.pop()
            results = rule.vjp(g, need, values, out, node.params, shapes)
            if not retain_graph:
                node.saved = None
            # Nothing here may keep a gradient alive that a leaf could take over.
            saved = values = out = g = None  # type: ignore[assignment]
            for i, p in enumerate(parents):
                if need[i] and (r := results[i]) is not None:
                    before = grads.get(p)  # type: ignore[arg-type]
                    if before is None:
                        heappush(heap, (-p.seq, p))  # type: ignore[union-attr, misc]
                        grads[p] = r  # type: ignore[index]
                    else:
                        grads[p] = before + r  # type: ignore[index]
            results = r = before = None
    finally:
        mode.enabled = recorded
    return found
