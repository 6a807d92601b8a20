"""Modules made of modules or parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from operator import index as as_index
from typing import Any

from ..errors import IndexError as TgIndexError
from ..tensor import Tensor
from .module import Module
from .norm import fuses
from .parameter import Parameter


class _Numbered(Module):
    """Children in order, reached by position."""

    def _children(self, what: str, modules: Iterable[Any]) -> list[Module]:
        out = list(modules)
        for m in out:
            if not isinstance(m, Module):
                raise TypeError(f"{type(self).__name__}.{what}: expects modules, got {m!r}")
        return out

    def _renumber(self, modules: Iterable[Module]) -> None:
        children = list(modules)
        self._modules.clear()
        self._modules.update((str(i), m) for i, m in enumerate(children))

    def _name(self, i: Any) -> str:
        n = len(self._modules)
        at = as_index(i)
        if not -n <= at < n:
            raise TgIndexError(f"{type(self).__name__}: index {at} is out of range for {n} modules")
        return list(self._modules)[at]

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return self._slice(list(self._modules.items())[i])
        return self._modules[self._name(i)]

    def _slice(self, items: list) -> Any:
        raise NotImplementedError

    def __setitem__(self, i: Any, module: Module) -> None:
        name = self._name(i)
        (self._modules[name],) = self._children("__setitem__", [module])

    def __delitem__(self, i: Any) -> None:
        names = list(self._modules)[i] if isinstance(i, slice) else [self._name(i)]
        for name in names:
            del self._modules[name]
        if all(name.isdecimal() for name in self._modules):
            self._renumber(self)

    def pop(self, key: int) -> Any:
        """Removes the module at a position and returns it."""
        module = self[key]
        del self[key]
        return module

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))

    def append(self, module: Module) -> Any:
        """Adds a module at the end; returns self."""
        self.add_module(str(len(self)), *self._children("append", [module]))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Adds modules at the end; returns self."""
        for m in self._children("extend", modules):
            self.append(m)
        return self

    def insert(self, index: int, module: Module) -> Any:
        """Adds a module before a position; returns self."""
        children = list(self)
        children[index:index] = self._children("insert", [module])
        self._renumber(children)
        return self

    def __iadd__(self, modules: Iterable[Module]) -> Any:
        return self.extend(modules)


class Sequential(_Numbered):
    """Calls its modules one after the other; made from modules or one OrderedDict of them. Slices
    are Sequentials that share the modules. A batch norm and the ReLU behind it are one kernel,
    unless one of them has hooks.

    >>> import tilegrad as tg
    >>> model = tg.nn.Sequential(tg.nn.Flatten(), tg.nn.ReLU())
    >>> model(tg.tensor([[[-1.0, 2.0]]])).tolist()
    [[0.0, 2.0]]
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, module in args[0].items():
                self.add_module(name, module)
        else:
            for i, module in enumerate(args):
                self.add_module(str(i), module)

    def forward(self, input: Any) -> Any:
        modules: list[Any] = list(self._modules.values())
        while modules:
            module = modules.pop(0)
            if modules and fuses(module, modules[0]):
                input = module(input, relu=True)
                modules.pop(0)
            else:
                input = module(input)
        return input

    def _slice(self, items: list) -> Sequential:
        return Sequential(OrderedDict(items))

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*chain(self, other))


class ModuleList(_Numbered):
    """A list of modules that registers them. Calling it is not defined.

    >>> import tilegrad as tg
    >>> len(tg.nn.ModuleList([tg.nn.ReLU(), tg.nn.Tanh()]))
    2
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def _slice(self, items: list) -> ModuleList:
        return ModuleList(m for _, m in items)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, other))


# --- by name --------------------------------------------------------------------------------------
def _pairs(what: str, values: Any) -> list[tuple[str, Any]]:
    """The items of a mapping or of an iterable of pairs."""
    if isinstance(values, (Mapping, ModuleDict, ParameterDict)):
        return [(k, values[k]) for k in values.keys()]
    out = list(values)
    if not all(isinstance(p, (tuple, list)) and len(p) == 2 for p in out):
        raise TypeError(f"{what}: expects a mapping or pairs of a name and a value")
    return [(k, v) for k, v in out]


class _Named(Module):
    """What ModuleDict and ParameterDict share: the methods of a dict, in order of insertion."""

    _table = ""

    def _own(self) -> dict[str, Any]:
        return getattr(self, self._table)

    def __getitem__(self, key: str) -> Any:
        return self._own()[key]

    def __delitem__(self, key: str) -> None:
        del self._own()[key]

    def __len__(self) -> int:
        return len(self._own())

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._own()))

    def __contains__(self, key: Any) -> bool:
        return key in self._own()

    def __setitem__(self, key: str, value: Any) -> None:
        raise NotImplementedError

    def clear(self) -> None:
        """Removes everything."""
        self._own().clear()

    def pop(self, key: str) -> Any:
        """Removes a name and returns what it stood for."""
        return self._own().pop(key)

    def keys(self) -> Any:
        """The names."""
        return self._own().keys()

    def items(self) -> Any:
        """The pairs of a name and what it stands for."""
        return self._own().items()

    def values(self) -> Any:
        """What the names stand for."""
        return self._own().values()

    def update(self, values: Any) -> None:
        """Adds or replaces from a mapping or from pairs."""
        for key, value in _pairs(f"{type(self).__name__}.update", values):
            self[key] = value


class ModuleDict(_Named):
    """A dict of modules that registers them. Calling it is not defined.

    >>> import tilegrad as tg
    >>> choices = tg.nn.ModuleDict({"relu": tg.nn.ReLU(), "tanh": tg.nn.Tanh()})
    >>> list(choices), choices["tanh"]
    (['relu', 'tanh'], Tanh())
    """

    _table = "_modules"

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        self.update(modules or ())

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)


def _parameter(value: Any) -> Parameter:
    return value if isinstance(value, Parameter) else Parameter(value)


class ParameterDict(_Named):
    """A dict of parameters that registers them; tensors become parameters.

    >>> import tilegrad as tg
    >>> p = tg.nn.ParameterDict({"scale": tg.ones(2)})
    >>> [name for name, _ in p.named_parameters()]
    ['scale']
    """

    _table = "_parameters"

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self.update(parameters or ())

    def __setitem__(self, key: str, value: Any) -> None:
        self.register_parameter(key, _parameter(value))

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, which is added where it is missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The parameter of a name, or default."""
        return self[key] if key in self else default


class ParameterList(Module):
    """A list of parameters that registers them; tensors become parameters.

    >>> import tilegrad as tg
    >>> p = tg.nn.ParameterList([tg.ones(2), tg.zeros(3)])
    >>> len(p), p[-1].shape
    (2, (3,))
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self.extend(values or ())

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._parameters.values()))

    def _name(self, i: Any) -> str:
        n, at = len(self), as_index(i)
        if not -n <= at < n:
            raise TgIndexError(f"ParameterList: index {at} is out of range for {n} parameters")
        return str(at % n)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return ParameterList(list(self)[i])
        return self._parameters[self._name(i)]

    def __setitem__(self, i: Any, value: Any) -> None:
        self._parameters[self._name(i)] = _parameter(value)

    def append(self, value: Any) -> ParameterList:
        """Adds a parameter at the end; returns self."""
        self.register_parameter(str(len(self)), _parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> ParameterList:
        """Adds parameters at the end; returns self."""
        if isinstance(values, Tensor) or not isinstance(values, Iterable):
            raise TypeError(f"ParameterList.extend: expects an iterable, got {type(values)}")
        for value in values:
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> ParameterList:
        return self.extend(values)
