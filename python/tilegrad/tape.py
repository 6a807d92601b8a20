"""The tape and the backward pass. Names no op.

A Tensor owns its node; a node owns its parent nodes and saved arrays, never Tensors; only a leaf's
node knows its Tensor, weakly. So there are no reference cycles, and memory is released by reference
counting alone. Everything here is iterative: the depth of a graph is limited by memory only.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

from .errors import GradientError

if TYPE_CHECKING:
    from .tensor import Tensor

_sequence = count(1).__next__


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

    params: Any
    saved: Any
    checks: list[tuple[list[int], int, int]]

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.seq = _sequence()
        self.rule: Rule | None = None
        self.parents: tuple[Node | None, ...] = ()
        self.hooks: dict[int, Callable] | None = None
        self.leaf: Any = None

    def __repr__(self) -> str:
        return f"<{self.rule.name if self.rule else 'leaf'}>"

    @property
    def name(self) -> str:
        return self.rule.name if self.rule else "leaf"


def attach(out: Tensor, rule: Rule, inputs: Sequence[Tensor | None], params: Any) -> Tensor:
    """Makes out the result of rule on inputs; the caller knows that one of them has a node."""
    array = out._array
    node = Node(array.shape)
    node.rule = rule
    node.params = params
    node.parents = tuple([None if t is None else t._node for t in inputs])
    saved: list[Any] = [None] * (len(inputs) + 1)
    checks = []
    for i in rule.saves:
        t = out if i < 0 else inputs[i]
        if t is not None:
            saved[i] = t._array
            cell = t._version
            if cell is None:
                cell = t._version = [0]
            checks.append((cell, cell[0], i))
    node.saved = saved
    node.checks = checks
    out._node = node
    return out


def _check_saved(node: Node) -> None:
    if node.saved is None:
        raise GradientError(
            f"backward: {node.name} was already differentiated and its saved values are freed; "
            "pass retain_graph=True to the first backward to go through it again"
        )
    for cell, version, i in node.checks:
        if cell[0] != version:
            what = "output" if i < 0 else f"input {i}"
            raise GradientError(
                f"backward: the {what} of {node.name} (shape "
                f"{node.saved[i].shape}) was changed in place after it was saved: "
                f"version {cell[0]}, expected {version}; clone it before the change"
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
    if leaf.grad is not None:
        leaf.grad = leaf.grad + g
    elif create_graph:
        leaf.grad = g
    else:
        # The gradient becomes the leaf's own only if nobody else can see its memory; the counts
        # are those of this frame, the caller's, and getrefcount itself.
        array = g._array
        shared = sys.getrefcount(g) > 3 or sys.getrefcount(array) > 3 or array.base is not None
        leaf.grad = g.clone() if shared or array.dtype != leaf._array.dtype else g
    if node.hooks:
        for key, hook in list(node.hooks.items()):
            if key < 0:  # post-accumulate hooks have negative keys
                hook(leaf)


def run(
    roots: Sequence[tuple[Node, Tensor]],
    targets: Sequence[Node] | None,
    retain_graph: bool,
    create_graph: bool,
) -> dict[Node, Tensor]:
    """Propagates gradients from roots. targets None: accumulates into the leaves' ``.grad``;
    otherwise returns the gradients of the targets and touches nothing else."""
    from .tensor import Tensor

    make = Tensor._new
    needed = None if targets is None else _leading_to([n for n, _ in roots], targets)
    wanted = frozenset(targets or ())
    found: dict[Node, Tensor] = {}
    grads: dict[Node, Tensor] = {}
    heap: list[tuple[int, Node]] = []

    def add(node: Node, g: Tensor) -> None:
        before = grads.get(node)
        if before is None:
            heappush(heap, (-node.seq, node))
            grads[node] = g
        else:
            grads[node] = before + g

    with set_grad_enabled(create_graph):
        for node, g in roots:
            if needed is None or node in needed:
                add(node, g)
        while heap:
            node = heappop(heap)[1]
            g = grads.pop(node)
            if node.hooks:
                for key, hook in list(node.hooks.items()):
                    if key >= 0:
                        replaced = hook(g)
                        g = g if replaced is None else replaced
            if node in wanted:
                found[node] = g
            rule = node.rule
            if rule is None:
                if targets is None:
                    _accumulate(node, g, create_graph)
                continue
            parents = node.parents
            if needed is None:
                need = [p is not None for p in parents]
            else:
                need = [p in needed for p in parents]
                if True not in need:
                    continue
            if node.saved is None or node.checks:
                _check_saved(node)
            if create_graph:
                values = [
                    None if a is None else make(a, p)
                    for a, p in zip(node.saved, (*parents, node), strict=True)
                ]
            else:
                values = [None if a is None else make(a) for a in node.saved]
            out = values.pop()
            shapes = [None if p is None else p.shape for p in parents]
            results = rule.vjp(g, need, values, out, node.params, shapes)
            if not retain_graph:
                node.saved = None
            del values, out, g
            for p, r in zip(parents, results, strict=True):
                if r is not None and p is not None and (needed is None or p in needed):
                    add(p, r)
            del results, r
    return found
