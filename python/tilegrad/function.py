"""An op of one's own: a forward and a backward, as in PyTorch."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from . import tape
from .autograd import conj
from .dtypes import is_differentiable, real_of
from .errors import GradientError
from .forward import transposed
from .grad_mode import enable_grad, mode, no_grad
from .ops.rules import cast, zeros
from .tape import Node, Rule
from .tensor import Tensor


class Bundle:
    """The gradients (or tangents) of several outputs, by their numbers; missing ones are zero."""

    __slots__ = ("parts",)

    def __init__(self, parts: dict[int, Tensor]) -> None:
        self.parts = parts

    def __add__(self, other: Bundle) -> Bundle:
        parts = dict(self.parts)
        for i, g in other.parts.items():
            parts[i] = parts[i] + g if i in parts else g
        return Bundle(parts)


class Context:
    """What forward hands to backward. Attributes of any name may be set.

    needs_input_grad: one bool per argument of apply. saved_tensors: what save_for_backward kept.
    """

    needs_input_grad: tuple[bool, ...] = ()

    def __init__(self) -> None:
        self._kept: tuple[Tensor | None, ...] = ()
        self._sources: list[tuple[str, Any]] = []
        self._constant: set[int] = set()
        self._materialize = True
        self._saved: tuple[Any, ...] | None = None

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps arguments, outputs or other tensors for backward; changes in place are noticed."""
        self._kept = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The kept tensors, in order. Raises GradientError outside backward and jvp."""
        if self._saved is None:
            raise GradientError("saved_tensors: only to be read inside backward or jvp")
        return self._saved

    def mark_non_differentiable(self, *outputs: Tensor) -> None:
        """Says that these outputs carry no gradient."""
        self._constant = {id(y) for y in outputs}

    def set_materialize_grads(self, value: bool) -> None:
        """Whether backward gets zeros (the default) or None for outputs that were not used."""
        self._materialize = bool(value)


class _Recorded:
    """The params of a recorded call: its class, context, and what the outputs look like."""

    __slots__ = ("arrays", "cls", "context", "dtypes", "hub", "like")

    def __init__(
        self, cls: type[Function], context: Context, xs: Sequence[Any], ys: Sequence[Tensor]
    ) -> None:
        self.cls, self.context = cls, context
        self.dtypes: list[Any] = [None if x is None else x.dtype for x in xs]
        self.like = [(y.shape, y.dtype) for y in ys]
        self.hub: Any = None
        self.arrays: dict[int, Any] = {}  # of the outputs that are saved, with their versions

    def open(self, inputs: Sequence[Tensor | None], plain: bool) -> Context:
        """The context with saved_tensors rebuilt, so that backward can be recorded."""
        values: list[Any] = []
        for kind, what in self.context._sources:
            if kind == "input":
                values.append(inputs[what])
            elif kind == "output":
                array, cell = self.arrays[what]
                y = tape.new_tensor(array)
                y._version = cell
                values.append(y if plain else _pick(y, self.cls, self.hub(), what))
            else:
                values.append(what)
        self.context._saved = tuple(values)
        return self.context

    def inside(self, r: Tensor, i: int) -> Tensor:
        """The gradient r of argument i as the tape has it, in the dtype of the argument: as in
        PyTorch a real one takes the real part."""
        d = self.dtypes[i] or real_of(r.dtype)
        return conj(cast(r, d)) if d.kind == "c" else cast(r, d)

    def cotangents(self, g: Bundle) -> list[Tensor | None]:
        fill = self.context._materialize
        return [
            conj(g.parts[i]) if i in g.parts else zeros(*like) if fill else None
            for i, like in enumerate(self.like)
        ]


def _pick(y: Tensor, cls: type[Function], hub: Node, i: int) -> Tensor:
    """Makes y the i-th output of the recorded call."""
    source = tape.new_tensor(y._array, hub)
    return tape.attach(y, cls._rules()[1], (source,), (hub,), i)


def _vjp(
    g: Bundle, need: Any, inputs: Any, out: Any, params: _Recorded, nodes: Sequence[Any]
) -> list[Tensor | None]:
    context, name = params.open(inputs, not mode.enabled), params.cls.__name__
    try:
        results = params.cls.backward(context, *params.cotangents(g))
    finally:
        context._saved = None
    found = list(results) if isinstance(results, (tuple, list)) else [results]
    if len(found) != len(nodes):
        raise GradientError(
            f"{name}.backward: returned {len(found)} gradients for {len(nodes)} arguments of "
            "forward"
        )
    for i, (r, node) in enumerate(zip(found, nodes, strict=True)):
        if r is None or node is None:
            continue
        if not isinstance(r, Tensor) or r.shape != node.shape:
            what = f"a tensor of shape {r.shape}" if isinstance(r, Tensor) else type(r).__name__
            raise GradientError(
                f"{name}.backward: gradient {i} must be a tensor of shape {node.shape}, got {what}"
            )
        found[i] = params.inside(r, i)
    return found


def _jvp(tangents: Any, inputs: Any, out: Any, params: _Recorded) -> Bundle:
    context, cls = params.open(inputs, False), params.cls
    try:
        if cls.jvp is not Function.jvp:
            results = cls.jvp(context, *tangents)
            ts = results if isinstance(results, (tuple, list)) else [results]
            return Bundle({i: t for i, t in enumerate(ts) if t is not None})
        us = [zeros(*like) for like in params.like]
        with enable_grad():
            for u in us:
                tape.make_leaf(u)
            results = cls.backward(context, *map(conj, us))
            results = results if isinstance(results, (tuple, list)) else [results]
            found = [None if r is None else params.inside(r, i) for i, r in enumerate(results)]
        recorded = any(t is not None and t._node is not None for t in (*inputs, *tangents))
        for r, t in zip(found, tangents, strict=True):
            if r is not None and t is not None and r._node is None:
                raise GradientError(
                    f"{cls.__name__}: backward is not written with recorded ops, so it gives no "
                    "tangents; define a static method jvp"
                )
        ts = transposed(us, found, tangents, recorded)
        return Bundle({i: t for i, t in enumerate(ts) if t is not None})
    finally:
        context._saved = None


class Function:
    """A differentiable operation with a rule of its own.

    Subclasses define the static methods ``forward(ctx, *args)``, which returns a tensor or a tuple,
    and ``backward(ctx, *gradients)``, which gets one gradient per output and returns one (or None)
    per argument of forward; written with tilegrad ops it can be differentiated again. Instead of
    taking ctx, forward may leave it to ``setup_context(ctx, inputs, output)``. ``jvp(ctx,
    *tangents)``, optional, returns one tangent per output; without it the transpose of backward
    serves. Call ``apply``. Raises GradientError for gradients of wrong number, type or shape.

    >>> import tilegrad as tg
    >>> class Cube(tg.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * x * x * 3.0
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad
    tensor(12.)
    """

    @staticmethod
    def forward(*args: Any) -> Any:
        """The outputs; to be defined by every subclass."""
        raise NotImplementedError("Function: define a static method forward")

    @staticmethod
    def setup_context(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
        """Fills ctx after a forward that does not take it."""

    @staticmethod
    def backward(ctx: Context, *gradients: Any) -> Any:
        """The gradients of the arguments; to be defined by every subclass."""
        raise GradientError("Function: define a static method backward")

    @staticmethod
    def jvp(ctx: Context, *tangents: Any) -> Any:
        """The tangents of the outputs."""
        raise NotImplementedError

    @classmethod
    def _rules(cls) -> tuple[Rule, Rule]:
        """How the gradients of all outputs lead to the inputs, and how one output joins them."""
        rules = cls.__dict__.get("_own_rules")
        if rules is None:
            rules = (
                Rule(cls.__name__, (), _vjp, jvp=_jvp),
                Rule(
                    cls.__name__,
                    (),
                    lambda g, need, inputs, out, i, nodes: (Bundle({i: g}),),
                    jvp=lambda ts, inputs, out, i: ts[0].parts.get(i, zeros(out.shape, out.dtype)),
                ),
            )
            cls._own_rules = rules  # type: ignore[attr-defined]
        return rules

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Runs forward, unrecorded, and records the call where an argument requires grad."""
        context = Context()
        inputs = [a if isinstance(a, Tensor) else None for a in args]
        parents = [None if t is None else t._node for t in inputs]
        context.needs_input_grad = tuple(n is not None for n in parents)
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args)
                cls.setup_context(context, args, result)
            else:
                result = cls.forward(context, *args)
        if not mode.enabled or not any(context.needs_input_grad):
            return result
        outputs = list(result) if isinstance(result, (tuple, list)) else [result]
        ys = [y for y in outputs if isinstance(y, Tensor)]
        if not ys:
            raise GradientError(f"{cls.__name__}.forward: returned no tensor")
        recorded = _record(cls, context, inputs, parents, ys)
        done = iter(recorded)
        outputs = [next(done) if isinstance(y, Tensor) else y for y in outputs]
        return tuple(outputs) if isinstance(result, (tuple, list)) else outputs[0]


def _record(
    cls: type[Function], context: Context, inputs: Any, parents: Any, ys: list[Tensor]
) -> list[Tensor]:
    params = _Recorded(cls, context, inputs, ys)
    # A node of its own rather than attach(): what is saved is known only now.
    hub, node = tape.new_tensor(ys[0]._array), Node()
    hub._node = node
    node.shape, node.seq = hub.shape, tape.next_seq()
    node.rule, node.parents, node.params, node.hooks = cls._rules()[0], parents, params, None
    params.hub = weakref.ref(node)
    saved, checks = [None] * (len(inputs) + 1), []
    for t in context._kept:
        if t is None:
            context._sources.append(("other", None))
            continue
        cell = t._cell()
        i = next((i for i, x in enumerate(inputs) if x is t), None)
        j = next((j for j, y in enumerate(ys) if y is t), None)
        if i is not None:
            context._sources.append(("input", i))
            saved[i] = t._array
        elif j is not None:
            context._sources.append(("output", j))
            params.arrays[j] = t._array, cell
        else:
            context._sources.append(("other", t.detach()))
        checks.append((cell, cell[0], -1 if i is None else i))
    saved[-1] = hub._array
    node.saved, node.checks = saved, checks
    context._kept = ()
    for watcher in tuple(tape.watchers):
        watcher(hub, inputs, params)
    out = []
    for i, y in enumerate(ys):
        plain = y.detach() if y._node is not None or any(y is x for x in inputs) else y
        if id(y) not in context._constant and is_differentiable(plain.dtype):
            _pick(plain, cls, node, i)
        out.append(plain)
    return out
