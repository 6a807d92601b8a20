"""Module: the base of layers and models."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import dtypes, kernels
from ..errors import DTypeError, StateError
from ..grad_mode import no_grad
from ..ops.shape import asked_dtype
from ..recording import captures, constants, epoch, touch
from ..tensor import Tensor, as_tensor
from .module_hooks import Hooks
from .parameter import Buffer, Parameter
from .state import differences, uncounted


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict(strict=False)`` did not match."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module(Hooks):
    """Base class of layers and models: assign Parameters and Modules as attributes in ``__init__``
    (after ``super().__init__()``), compute in ``forward``, and call the object.

    An error raised inside ``forward`` keeps its class; its message begins with the path of the
    layer, as in ``in Net.features.0 (Conv2d): conv2d: ...``.

    >>> import tilegrad as tg
    >>> class Scale(tg.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = tg.nn.Parameter(tg.tensor([2.0]))
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale()(tg.tensor([1.0, 3.0])).tolist()
    [2.0, 6.0]
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _modules={},
            _transient=set(),
            _forward_hooks={},
            _forward_pre_hooks={},
            _backward={},
        )

    # --- calling ----------------------------------------------------------------------------------
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; to be defined by every subclass."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._forward_hooks or self._forward_pre_hooks or self._backward:
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as e:
            _locate(self, e)
            raise

    # --- registration -----------------------------------------------------------------------------
    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if getattr(self, name, self) is not value:
            epoch[0] += 1
        tables = (own.get("_parameters"), own.get("_modules"), own.get("_buffers"))
        if isinstance(value, (Parameter, Module)):
            if tables[0] is None:
                raise AttributeError(
                    f"{type(self).__name__}.{name}: call super().__init__() before assigning "
                    "parameters or modules"
                )
            table: Any = tables[isinstance(value, Module)]
            self._forget(name, table)
            table[name] = value
        elif isinstance(value, Buffer) and tables[2] is not None:
            self._forget(name, tables[2])
            tables[2][name] = value
            if not value.persistent:
                self._transient.add(name)
        elif tables[0] is not None and name in tables[0]:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name}: expects a Parameter or None, got "
                    f"{type(value).__name__}"
                )
            tables[0][name] = None
        elif tables[1] is not None and name in tables[1]:
            if value is not None:
                raise TypeError(
                    f"{type(self).__name__}.{name}: expects a Module or None, got "
                    f"{type(value).__name__}"
                )
            tables[1][name] = None
        elif tables[2] is not None and name in tables[2]:
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"{type(self).__name__}.{name}: expects a Tensor or None, got "
                    f"{type(value).__name__}"
                )
            tables[2][name] = value
        else:
            object.__setattr__(self, name, value)

    def _forget(self, name: str, keep: Any = None) -> None:
        """Removes a name, but from the table keep, where its place among the others stays."""
        for table in (self.__dict__, self._parameters, self._buffers, self._modules):
            if table is not keep:
                table.pop(name, None)
        self._transient.discard(name)

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not in the instance dictionary. Unpickling asks before __init__.
        own = self.__dict__
        if "_parameters" in own:
            for table in (own["_parameters"], own["_modules"], own["_buffers"]):
                if name in table:
                    return table[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        epoch[0] += 1
        if any(name in t for t in (self._parameters, self._buffers, self._modules)):
            self._forget(name)
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._parameters, *self._buffers, *self._modules})

    def _check_name(self, what: str, name: Any) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise TypeError(f"{what}: a name is a non-empty string without dots, got {name!r}")
        known = any(name in t for t in (self._parameters, self._buffers, self._modules))
        if not known and hasattr(self, name):
            raise AttributeError(f"{what}: {type(self).__name__} already has an attribute {name!r}")

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Adds a parameter under a name; None reserves the name."""
        self._check_name("register_parameter", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"register_parameter: {name!r} expects a Parameter or None, got "
                f"{type(param).__name__}"
            )
        self._forget(name, self._parameters)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Adds a tensor that is no parameter; persistent: whether it belongs to the state_dict."""
        self._check_name("register_buffer", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"register_buffer: {name!r} expects a Tensor or None, got {type(tensor).__name__}"
            )
        self._forget(name, self._buffers)
        self._buffers[name] = tensor
        if not persistent:
            self._transient.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Adds a child under a name."""
        self._check_name("add_module", name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"add_module: {name!r} expects a Module or None, got {type(module).__name__}"
            )
        self._forget(name, self._modules)
        self._modules[name] = module

    register_module = add_module

    # --- walking ----------------------------------------------------------------------------------
    def named_modules(
        self, memo: set | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Every module of the tree with its path, this one first (as prefix), each object once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """Every module of the tree, this one first; each object once, unless asked otherwise."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct children with their names, each object once."""
        seen = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """The direct children."""
        return (m for _, m in self.named_children())

    def _named(self, table: str, prefix: str, recurse: bool, once: bool) -> Iterator:
        seen = set()
        tree = self.named_modules(prefix=prefix, remove_duplicate=once)
        for path, module in tree if recurse else [(prefix, self)]:
            for name, value in getattr(module, table).items():
                if value is not None and not (once and id(value) in seen):
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its path, each object once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, each object once."""
        return (p for _, p in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Every buffer with its path, each object once."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Every buffer, each object once."""
        return (b for _, b in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as ``"features.0"``; AttributeError where there is none."""
        module: Any = self
        for name in target.split(".") if target else ():
            child = module._modules.get(name)
            if child is None:
                raise AttributeError(
                    f"get_submodule: {type(module).__name__} has no child {name!r}"
                )
            module = child
        return module

    def apply(self, fn: Callable[[Module], None]) -> Module:
        """Calls fn on every module of the tree, children first; returns self."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # --- modes and dtypes -------------------------------------------------------------------------
    def train(self, mode: bool = True) -> Module:
        """Sets the training mode of the whole tree (dropout, batch norm); returns self."""
        for module in self.modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """As train(False)."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Whether the parameters learn; returns self."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients of the parameters, or fills them with zeros."""
        zero_grads(self.parameters(), set_to_none)

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> Module:
        """Replaces the storage of every parameter, its gradient and every buffer, in place."""
        done: dict[int, Tensor] = {}
        with no_grad():
            for module in self.modules():
                for p in module._parameters.values():
                    if p is not None and id(p) not in done:
                        done[id(p)] = p
                        grad, p.grad = p.grad, None
                        p.data = fn(p)
                        p.grad = None if grad is None else fn(grad)
                for name, b in module._buffers.items():
                    if b is not None:
                        module._buffers[name] = done.setdefault(id(b), fn(b))
        return self

    def to(
        self, *args: Any, dtype: Any = None, device: Any = None, memory_format: Any = None
    ) -> Module:
        """Converts floating parameters and buffers to a dtype, device or memory format, in place.

        Positional arguments are a dtype, a device, or a tensor to take both from.
        """
        d = asked_dtype(args, dtype, device)
        if d is not None and not dtypes.is_floating(d):
            raise DTypeError(f"Module.to: expects a floating dtype, got {d}")

        def convert(t: Any) -> Tensor:
            t = t.to(d) if d is not None and t.is_floating_point() else t
            ranks = {"channels_last": (4,), "channels_last_3d": (5,)}
            if memory_format and t.ndim in ranks.get(memory_format, (t.ndim,)):
                t = t.contiguous(memory_format)
            return t

        return self._apply(convert)

    def float(self) -> Module:
        """Floating parameters and buffers as float32."""
        return self.to(dtypes.float32)

    def double(self) -> Module:
        """Floating parameters and buffers as float64."""
        return self.to(dtypes.float64)

    def half(self) -> Module:
        """Floating parameters and buffers as float16."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Module:
        """Floating parameters and buffers as bfloat16."""
        return self.to(dtypes.bfloat16)

    def cpu(self) -> Module:
        """Parameters and buffers on the CPU."""
        return self.to("cpu")

    # --- state ------------------------------------------------------------------------------------
    def _state(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        for path, module in self.named_modules(prefix=prefix.rstrip("."), remove_duplicate=False):
            own: list[tuple[str, Tensor | None]] = [*module._parameters.items()]
            own += [(n, b) for n, b in module._buffers.items() if n not in module._transient]
            for name, t in own:
                if t is not None:
                    yield f"{path}.{name}" if path else name, t

    def state_dict(self, *, prefix: str = "", keep_vars: bool = False) -> dict[str, Tensor]:
        """Every parameter and persistent buffer by its path; the tensors share storage with the
        module. keep_vars: the objects themselves instead of detached tensors."""
        return OrderedDict((k, t if keep_vars else t.detach()) for k, t in self._state(prefix))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copies a state into the parameters and buffers; all of it or, on an error, nothing.

        state_dict: tensors or arrays by path; strict: whether missing and unexpected names are
        errors; assign: take the tensors themselves instead of copying. Returns the missing and the
        unexpected names; the ``num_batches_tracked`` of a batch norm, which old files lack, is not
        missing where its estimates are there. Raises StateError with a table of every missing,
        unexpected and differing entry, and the repair where the names differ by a prefix such as
        ``module.``.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"load_state_dict: expects a mapping, got {type(state_dict).__name__}")
        own = dict(self._state())
        missing = [k for k in own if k not in state_dict and not uncounted(k, state_dict)]
        unexpected = [k for k in state_dict if k not in own]
        rows: list[tuple[str, Any]] = []
        if strict:
            rows = [("missing", k) for k in missing] + [("unexpected", k) for k in unexpected]
        loaded: list[tuple[Tensor, Tensor]] = []
        for k, target in own.items():
            if k in state_dict:
                try:
                    source = as_tensor(state_dict[k])
                except (TypeError, ValueError):
                    rows.append(("no tensor", k))
                    continue
                kinds = dtypes.category(source.dtype), dtypes.category(target.dtype)
                if source.shape != target.shape:
                    rows.append(("other shape", k))
                elif kinds[0] > kinds[1] or (assign and kinds[0] != kinds[1]):
                    rows.append(("other dtype", k))
                loaded.append((target, source))
        if rows:
            raise StateError(differences(type(self).__name__, rows, own, state_dict))
        with no_grad():
            for target, source in loaded:
                if assign:
                    target.data = source
                else:
                    target.copy_(source)  # type: ignore[attr-defined]
        return IncompatibleKeys(missing, unexpected)

    # --- display and copies -----------------------------------------------------------------------
    def extra_repr(self) -> str:
        """What ``repr`` shows in the parentheses of a layer."""
        return ""

    def __getstate__(self) -> dict[str, Any]:
        made = self.__dict__.get("_computed", ())  # attributes that nn.utils computes
        return {k: v for k, v in self.__dict__.items() if k not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__.setdefault("_backward", {})
        mode = state.get("training")
        for maker, _ in state.get("_computed", {}).values():
            self.__dict__["training"] = False  # estimates stay as they are
            maker(self)
            self.__dict__["training"] = mode

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._modules.items()
        ]
        if not lines:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}({extra}\n  " + "\n  ".join(lines) + "\n)"


@constants
def zero_grads(parameters: Any, set_to_none: bool) -> None:
    """Forgets gradients, or fills them with zeros."""
    for p in parameters:
        if captures:
            touch(p, set_to_none)
        g = p._grad
        if set_to_none or g is None:
            p._grad = None
        elif g._node is None and g._array.flags.writeable:
            kernels.of(g._array).copy_into(g._array, np.zeros((), g._array.dtype))
            g._written()
        else:
            p._grad = p.new_zeros(p.shape)


def _locate(module: Module, error: Exception) -> None:
    """Puts the path of the failing layer in front of the message. Each level of the call stack
    rewrites what the level below wrote, so that the path begins at the outermost module."""
    if len(error.args) != 1 or not isinstance(error.args[0], str) or isinstance(error, KeyError):
        return
    inner, path, kind, message = getattr(error, "_tilegrad_at", (module, "", "", error.args[0]))
    if inner is not module:
        name = next((n for n, m in module.named_modules() if m is inner), "?")
        path = f"{name}.{path}" if path else name
    kind = kind or type(module).__name__
    where = f"{type(module).__name__}.{path} ({kind})" if path else kind
    error.args = (f"in {where}: {message}",)
    error._tilegrad_at = (module, path, kind, message)  # type: ignore[attr-defined]
