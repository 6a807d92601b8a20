"""The tape and the backward pass. Names no op.

A Tensor owns its node; a node owns its parent nodes and saved arrays, never Tensors; only a leaf's
node knows its Tensor, weakly. So there are no reference cycles, and memory is released by reference
counting alone. Everything here is iterative: the depth of a graph is limited by memory only.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from sys import getrefcount
from typing import TYPE_CHECKING, Any

from . import kernels
from .errors import GradientError, GrowingGraphWarning, warn_user
from .grad_mode import mode
from .recording import captures, touch

if TYPE_CHECKING:
    from .tensor import Tensor

next_seq = count(1).__next__
new_tensor: Any = None  # Tensor._new, set by the module that defines it
watchers: list[Callable] = []
"""Called as watcher(out, inputs, params) after each op is recorded; empty in ordinary use."""


class Rule:
    """How one op is differentiated.

    ``saves`` names what the node keeps: indices of inputs, and -1 for the output. ``vjp(g, needed,
    inputs, out, params, nodes)`` returns one gradient (or None) per input, written as tilegrad ops;
    what is not saved arrives as None, ``nodes`` are those of the inputs, for their shapes.
    ``fused(g, needed, saved, params, nodes)`` gets the saved arrays as they are (the output last)
    and runs in its place when the pass itself is not recorded. ``jvp(tangents, inputs, out,
    params)`` is the forward mode; None: the transpose of vjp serves.
    """

    __slots__ = ("fused", "jvp", "name", "saves", "vjp")

    def __init__(
        self,
        name: str,
        saves: tuple[int, ...],
        vjp: Callable,
        fused: Callable | None = None,
        jvp: Callable | None = None,
    ) -> None:
        self.name, self.saves, self.vjp, self.fused, self.jvp = name, saves, vjp, fused, jvp


CONSTANT = Rule("constant", (), lambda *args: ())
"""Of a node without a past: what carries tangents in forward mode and nothing else."""


class Node:
    """One recorded operation, or a leaf (rule None)."""

    __slots__ = (
        "__weakref__", "again", "checks", "hooks", "leaf", "params", "parents", "rule", "saved",
        "seq", "shape", "tangents",
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
    tangents: dict[int, Any]  # set in forward mode alone
    again: Callable[[], None]  # set where saved was not kept (utils.checkpoint) and can come back

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def name(self) -> str:
        return self.rule.name if self.rule else "leaf"


def make_leaf(t: Tensor) -> None:
    """Gives t a node of its own, which knows it weakly."""
    node = Node()
    node.shape = t._array.shape
    node.seq = next_seq()
    node.rule = node.hooks = None
    node.parents = ()
    node.leaf = weakref.ref(t)
    t._node = node


def attach(
    out: Tensor,
    rule: Rule,
    inputs: Sequence[Tensor | None],
    parents: Sequence[Node | None],
    params: Any = None,
) -> Tensor:
    """Makes out the result of rule on inputs, whose nodes are parents; one at least is no None."""
    node = Node()
    node.shape = out._array.shape
    node.seq = next_seq()
    node.rule = rule
    node.params = params
    node.hooks = None
    node.parents = parents
    node.saved = saved = [None] * (len(parents) + 1)
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
    if watchers:
        for watcher in tuple(watchers):  # another thread may take its own away meanwhile
            watcher(out, inputs, params)
    return out


def saved_again(node: Node) -> Any:
    """What node saved, computed once more. Raises GradientError where it was freed by a pass."""
    while node.saved is None:
        again = getattr(node, "again", None)
        if again is None:
            raise GradientError(
                f"backward: {node.name} was already differentiated and its saved values are freed; "
                "pass retain_graph=True to the first backward to go through it again"
            )
        again()
    return node.saved


def _fail_changed(node: Node, version: int, expected: int, i: int) -> None:
    what = "output" if i < 0 else f"input {i}"
    raise GradientError(
        f"backward: the {what} of {node.name} (shape {node.saved[i].shape}) was changed in place "
        f"after it was saved: version {version}, expected {expected}; clone it before the change"
    )


_growth: weakref.WeakKeyDictionary[Node, int] = weakref.WeakKeyDictionary()
LONG = 1000
"""So many recorded in-place changes of one scalar are taken for a mistake."""


def count_growth(before: Node | None, after: Node | None) -> None:
    """Warns once about ``total += loss``, which keeps the graphs of all steps."""
    if after is None:
        return
    n = _growth.pop(before, 0) + 1 if before is not None else 1
    _growth[after] = n
    if n == LONG:
        warn_user(
            f"a scalar that is recorded was changed in place {LONG} times, as by `total += loss`: "
            "it keeps the graph of every step alive; add loss.item(), or loss.detach()",
            GrowingGraphWarning,
        )


def reachable(roots: Iterable[Node]) -> list[Node]:
    """The nodes that roots were computed from, and roots, oldest first."""
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
    for node in reachable(roots):
        if node not in needed and any(p in needed for p in node.parents):
            needed.add(node)
    return needed


def _accumulate(node: Node, g: Tensor, create_graph: bool) -> None:
    leaf = node.leaf()
    if leaf is None:
        return
    if captures:
        touch(leaf)
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


def _composite(node: Node, g: Tensor, need: Sequence[Any], saved: list, recorded: bool) -> Any:
    """The gradients of the inputs by the rule that is written as ops."""
    make, parents = new_tensor, node.parents
    values: list[Any]
    if recorded:
        owners = [*parents, node]
        values = [None if a is None else make(a, p) for a, p in zip(saved, owners, strict=True)]
        for cell, _, i in node.checks:  # what saves them again notices changes in place too
            values[i]._version = cell
    else:
        values = [None if a is None else make(a) for a in saved]
    out = values.pop()
    return node.rule.vjp(g, need, values, out, node.params, parents)  # type: ignore[union-attr]


def run(
    roots: Sequence[Node],
    cotangents: Sequence[Tensor],
    targets: Sequence[Node] | None,
    retain_graph: bool,
    create_graph: bool,
) -> dict[Node, Tensor]:
    """Propagates cotangents from roots. targets None: accumulates into the leaves' ``.grad``;
    otherwise returns the gradients of the targets and touches nothing else."""
    # Everything on a path to a target; None: every node.
    needed = None if targets is None else _leading_to(roots, targets)
    found: dict[Node, Tensor] = {}
    # What waits: leaves at the end, the others newest first (a use of a value is newer than it).
    leaves: dict[Node, Tensor] = {}
    grads: dict[Node, Tensor] = {}
    heap: list[tuple[int, Node]] = []
    if watchers and mode.levels:
        create_graph = True
    recorded = mode.enabled
    mode.enabled = create_graph
    try:
        node: Any
        g: Any
        parents: Any = roots
        results: Any = cotangents
        need: Any = roots if needed is None else [n in needed for n in roots]
        while True:
            # Hands out what the last rule gave; the first waiting node is kept at hand.
            node = g = None
            for i, p in enumerate(parents):
                if need[i] and (r := results[i]) is not None:
                    if p.rule is None:
                        leaves[p] = leaves[p] + r if p in leaves else r
                    elif p is node:
                        g = g + r
                    elif (before := grads.get(p)) is not None:
                        grads[p] = before + r
                    elif node is None and not heap:
                        node, g = p, r
                    else:
                        grads[p] = r
                        heappush(heap, (-p.seq, p))
            # Nothing here may keep a gradient alive that a leaf could take over.
            results = r = before = p = None
            if heap:
                if node is not None:
                    grads[node] = g
                    heappush(heap, (-node.seq, node))
                node = heappop(heap)[1]
                g = grads.pop(node)
            elif node is None:
                break
            if node.hooks:
                g = _call_hooks(node, g)
            if targets is not None and node in targets:
                found[node] = g
            parents = node.parents
            if needed is None:
                need = parents
                if not parents:
                    continue
            else:
                need = [p in needed for p in parents]
                if True not in need:
                    parents = ()
                    continue
            saved = node.saved
            if saved is None:
                saved = saved_again(node)
            for cell, version, i in node.checks:
                if cell[0] != version:
                    _fail_changed(node, cell[0], version, i)
            fused = node.rule.fused
            if fused is None or create_graph:
                results = _composite(node, g, need, saved, create_graph)
            else:
                results = fused(g, need, saved, node.params, parents)
            if not retain_graph:
                node.saved = None
            saved = None
        while leaves:
            node, g = leaves.popitem()
            if node.hooks:
                g = _call_hooks(node, g)
            if targets is None:
                _accumulate(node, g, create_graph)
            elif node in targets:
                found[node] = g
    except Exception as e:
        if node is not None:
            e.add_note(f"in the backward pass, at {node.name} of shape {node.shape}")
        raise
    finally:
        mode.enabled = recorded
    return found
