"""Functions that a module calls around its forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import GradientError
from ..function import Function
from ..hooks import Handle, next_key
from ..tensor import Tensor


class Hooks:
    """The part of Module that keeps and calls hooks."""

    _forward_hooks: dict[int, Any]
    _forward_pre_hooks: dict[int, Any]
    _backward: dict[int, Any]
    forward: Callable[..., Any]

    def _call_with_hooks(self, args: tuple, kwargs: dict) -> Any:
        for hook, with_kwargs in list(self._forward_pre_hooks.values()):
            if with_kwargs:
                replaced = hook(self, args, kwargs)
                if replaced is not None:
                    args, kwargs = replaced
            else:
                replaced = hook(self, args)
                if replaced is not None:
                    args = replaced if isinstance(replaced, tuple) else (replaced,)
        watch = Boundary(self) if self._backward else None
        if watch:
            args = watch.enter(args)
        y = self.forward(*args, **kwargs)
        for hook, with_kwargs in list(self._forward_hooks.values()):
            replaced = hook(self, args, kwargs, y) if with_kwargs else hook(self, args, y)
            y = y if replaced is None else replaced
        return watch.leave(y) if watch else y

    def register_forward_pre_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Calls hook(module, args) before forward; what it returns, unless None, replaces args.
        with_kwargs: hook(module, args, kwargs), which may return (args, kwargs)."""
        return _add_hook(self._forward_pre_hooks, hook, with_kwargs, prepend)

    def register_forward_hook(
        self, hook: Callable, *, prepend: bool = False, with_kwargs: bool = False
    ) -> Handle:
        """Calls hook(module, args, output) after forward; what it returns, unless None, replaces
        the output. with_kwargs: hook(module, args, kwargs, output)."""
        return _add_hook(self._forward_hooks, hook, with_kwargs, prepend)

    def register_full_backward_hook(self, hook: Callable, prepend: bool = False) -> Handle:
        """Calls hook(module, grad_input, grad_output) when the gradients of the module's inputs are
        known, tuples with None for what has none; what it returns, unless None, replaces
        grad_input. The module's positional tensors count as inputs; where none requires grad, the
        hook is called with the gradients of its outputs."""
        return _add_hook(self._backward, hook, False, prepend)

    def register_full_backward_pre_hook(self, hook: Callable, prepend: bool = False) -> Handle:
        """Calls hook(module, grad_output) before gradients pass through the module; what it
        returns, unless None, replaces grad_output."""
        return _add_hook(self._backward, hook, True, prepend)


def _add_hook(table: dict, hook: Callable, with_kwargs: bool, prepend: bool) -> Handle:
    key = next_key()
    table[key] = (hook, with_kwargs)
    if prepend:
        for other in [k for k in table if k != key]:
            table[other] = table.pop(other)
    return Handle(table, key)


# --- backward -------------------------------------------------------------------------------------
class _Edge(Function):
    """The identity, whose gradients a function sees and may replace."""

    @staticmethod
    def forward(ctx: Any, watcher: Callable, *tensors: Tensor) -> Any:
        ctx.watcher = watcher
        ctx.set_materialize_grads(False)
        return tuple(t.detach() for t in tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, *ctx.watcher(gradients))


class Boundary:
    """The inputs and outputs of one call of a module, for its backward hooks."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.hooks = list(module._backward.values())
        self.grad_output: tuple[Any, ...] = ()
        self.places: list[int] = []
        self.count = 0

    def _through(self, watcher: Callable, values: tuple[Any, ...]) -> tuple[tuple, list[int]]:
        at = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
        if not at:
            return values, at
        out = list(values)
        for i, y in zip(at, _Edge.apply(watcher, *[values[i] for i in at]), strict=True):
            out[i] = y
        return tuple(out), at

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments as forward gets them."""
        self.count = len(args)
        args, self.places = self._through(self._inputs, args)
        return args

    def leave(self, y: Any) -> Any:
        """The output as the caller gets it."""
        single = isinstance(y, Tensor)
        if not single and not isinstance(y, tuple):
            raise GradientError(
                f"backward hooks of {type(self.module).__name__}: forward must return a tensor or "
                f"a tuple, got {type(y).__name__}"
            )
        values = (y,) if single else y
        self.outputs = len(values)
        found, self.leaving = self._through(self._outputs, values)
        return found[0] if single else found

    def _spread(self, gradients: Any, places: list[int], count: int) -> tuple[Any, ...]:
        out: list[Any] = [None] * count
        for i, g in zip(places, gradients, strict=True):
            out[i] = g
        return tuple(out)

    def _outputs(self, gradients: Any) -> Any:
        known = self._spread(gradients, self.leaving, self.outputs)
        for hook, before in self.hooks:
            if before:
                known = _replaced("grad_output", hook(self.module, known), known)
        self.grad_output = known
        if not self.places:
            self._call_hooks((None,) * self.count)
        return [known[i] for i in self.leaving]

    def _inputs(self, gradients: Any) -> Any:
        known = self._call_hooks(self._spread(gradients, self.places, self.count))
        return [known[i] for i in self.places]

    def _call_hooks(self, known: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook, before in self.hooks:
            if not before:
                replaced = hook(self.module, known, self.grad_output)
                if self.places:
                    known = _replaced("grad_input", replaced, known)
        return known


def _replaced(what: str, replaced: Any, known: tuple[Any, ...]) -> tuple[Any, ...]:
    if replaced is None:
        return known
    out = replaced if isinstance(replaced, tuple) else (replaced,)
    if len(out) != len(known):
        raise GradientError(
            f"backward hook: returned {len(out)} gradients, {what} has {len(known)}"
        )
    return out
