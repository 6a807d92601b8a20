"""Forward mode: tangents that travel with the values (dual numbers), to any order.

A value carries its tangents on its node, one per level; each ``jvp`` under way is a level, the
outermost first. As an op is recorded, the tangent of its result is computed by the rule's ``jvp``,
or, where there is none, as the transpose of its vjp, which is linear in the cotangent. The
computation at a level sees the tangents of the levels outside of it alone, so nested derivatives
are never mixed up. A value that carries tangents and nothing else has a node without a past:
forward mode keeps nothing alive.

Source: Griewank and Walther, Evaluating Derivatives, 2008, chapter 3; Siskind and Pearlmutter,
Nesting forward-mode AD in a functional framework, 2008.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from . import tape
from .grad_mode import mode
from .ops.rules import zeros
from .tape import CONSTANT, Node, Rule
from .tensor import Tensor

FINISHED = object()
ALIAS = Rule("alias", (), lambda g, *rest: (g,), jvp=lambda ts, *rest: ts[0])
_new_level = count(1).__next__
_lock = threading.Lock()
_active = 0  # levels of all threads


@contextmanager
def new_level() -> Iterator[int]:
    """Opens the innermost level of this thread."""
    global _active
    level, before = _new_level(), mode.levels
    with _lock:
        _active += 1
        if _active == 1:
            tape.watchers.append(_propagate)
    mode.levels = (*before, level)
    try:
        yield level
    finally:
        mode.levels = before
        with _lock:
            _active -= 1
            if _active == 0:
                tape.watchers.remove(_propagate)


def _forget(node: Node) -> None:
    node.rule, node.parents, node.saved, node.checks = CONSTANT, (), [None], ()
    node.params = None


def _same(x: Tensor) -> Tensor:
    """x on the same storage, under the same watch for changes in place, and no more."""
    y = tape.new_tensor(x._array)
    y._version = x._cell()
    return y


def alias(x: Tensor) -> Tensor:
    """x on the same storage, as a value of its own: a leaf, or computed from x where x has a past;
    with the tangents of x."""
    y: Any = _same(x)
    node = x._node
    if node is None or node.rule is CONSTANT:
        tape.make_leaf(y)
        if node is not None:
            y._node.tangents = node.tangents
    else:
        tape.attach(y, ALIAS, (x,), (node,))
    return y


def dual(x: Tensor, tangent: Tensor, level: int) -> Tensor:
    """x on the same storage, with a tangent at the level."""
    y = alias(x)
    node: Any = y._node
    if node.rule is None:
        _forget(node)
    node.tangents = {**getattr(node, "tangents", {}), level: tangent}
    return y


def tangent_of(x: Tensor, level: int) -> Tensor | None:
    """The tangent of x at the level, None where it is zero."""
    if x._node is None:
        return None
    return getattr(x._node, "tangents", {}).get(level)


def primal(x: Tensor, levels: Sequence[int]) -> Tensor:
    """x as the given levels see it."""
    node = x._node
    if node is None or node.rule is not CONSTANT:
        return x
    tangents = getattr(node, "tangents", {})
    return x if any(k in tangents for k in levels) else _same(x)


def cut(x: Tensor) -> Tensor:
    """x without its past, with the tangents of the levels that are open."""
    y: Any = _same(x)
    node = x._node
    tangents = {k: t for k in mode.levels if (t := tangent_of(x, k)) is not None}
    if node is not None and tangents:
        tape.make_leaf(y)
        _forget(y._node)
        y._node.tangents = tangents
    return y


def finish(x: Tensor) -> None:
    """Says of an alias that nobody will ask for its gradient again."""
    node: Any = x._node
    if node.rule is None:
        node.params = FINISHED


def has_past(roots: Iterable[Node], but: Sequence[Node] = ()) -> bool:
    """Whether roots lead to a leaf that someone may ask the gradient of: not to finished aliases,
    and not to those in ``but``."""
    return any(
        n.rule is None and n not in but and getattr(n, "params", None) is not FINISHED
        for n in tape.reachable(roots)
    )


def settled(x: Tensor) -> Tensor:
    """x, cut where its past leads to finished aliases alone."""
    node = x._node
    return x if node is None or has_past([node]) else cut(x)


def _propagate(out: Tensor, inputs: Sequence[Tensor | None], params: Any) -> None:
    levels = mode.levels
    if not levels:
        return
    node: Any = out._node
    rule, parents = node.rule, node.parents
    past = any(p is not None and p.rule is not CONSTANT for p in parents)
    if not past:
        _forget(node)
    node.tangents = {}
    for k, level in enumerate(levels):
        tangents = [None if t is None else tangent_of(t, level) for t in inputs]
        if all(t is None for t in tangents):
            continue
        outer = levels[:k]
        values = [None if t is None else primal(t, outer) for t in inputs]
        y = out if past or node.tangents else _same(out)
        mode.levels = outer
        try:
            if rule.jvp is not None:
                t = rule.jvp(tangents, values, y, params)
            else:
                t = _transposed(rule, tangents, values, y, params, parents)
        finally:
            mode.levels = levels
        node.tangents[level] = t


def _transposed(
    rule: Rule,
    tangents: Sequence[Tensor | None],
    inputs: Sequence[Tensor | None],
    out: Tensor,
    params: Any,
    parents: Sequence[Node | None],
) -> Tensor:
    """The Jacobian times tangents: vjp maps u linearly, and this is the transpose of that map."""
    u = zeros(out.shape, out.dtype)
    tape.make_leaf(u)
    need = [t is not None for t in tangents]
    results = rule.vjp(u, need, inputs, out, params, parents)
    recorded = any(t is not None and t._node is not None for t in (*inputs, *tangents, out))
    (t,) = transposed([u], results, tangents, recorded)
    return u.detach() if t is None else t


def transposed(
    us: Sequence[Tensor],
    results: Sequence[Tensor | None],
    tangents: Sequence[Tensor | None],
    recorded: bool,
) -> list[Tensor | None]:
    """results depend linearly on the leaves us; this is the transpose of that map, at tangents."""
    pairs = [
        (r._node, t)
        for r, t in zip(results, tangents, strict=True)
        if t is not None and r is not None and r._node is not None
    ]
    targets: Any = [u._node for u in us]
    found = tape.run([n for n, _ in pairs], [t for _, t in pairs], targets, False, recorded)
    return [found.get(n) for n in targets]
