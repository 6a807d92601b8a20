"""Modules made of modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import index as as_index
from typing import Any

from ..errors import IndexError as TgIndexError
from .module import Module


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
    are Sequentials that share the modules.

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
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]
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
