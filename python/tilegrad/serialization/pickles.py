"""The part of Python's pickle format that describes data, read without executing anything.

A pickle is a program for a machine with a stack. This machine knows the instructions that make
numbers, strings and containers, and instead of importing what a pickle names it looks the name up
in a table of its caller: a name that is not there ends the reading. What it builds may take no more
memory than a multiple of the file. Source: the comments of CPython's ``pickletools``.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

FREE, GROWTH = 1 << 26, 16
"""What a pickle builds may take FREE bytes and GROWTH times the file's size."""


class Refused(ValueError):
    """The file is whole, but what it holds is no data."""


@dataclass(frozen=True)
class Maker:
    """A name a pickle may call; build gets the machine and the arguments, and makes something new
    of their size at most, or charges the machine for more before."""

    name: str
    build: Callable[..., Any]


@dataclass(frozen=True)
class Name:
    """A name that stands for itself, like a class of storages; value is what the caller knows."""

    name: str
    value: Any


_CONSTANTS: dict[int, Any] = {ord("N"): None, 0x88: True, 0x89: False, ord(")"): ()}
_FRESH: dict[int, Any] = {ord("}"): dict, ord("]"): list, 0x8F: set}
_NUMBERS = {ord("K"): "<B", ord("M"): "<H", ord("J"): "<i", ord("G"): ">d"}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_PUT = {ord("q"): "<B", ord("r"): "<I"}
_GET = {ord("h"): "<B", ord("j"): "<I"}


def _text(raw: bytes) -> str:
    return raw.decode()


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


_SIZED: dict[int, tuple[str, Callable[[bytes], Any]]] = {
    0x8C: ("<B", _text), ord("X"): ("<I", _text), 0x8D: ("<Q", _text), ord("U"): ("<B", _text),
    ord("T"): ("<I", _text), ord("C"): ("<B", bytes), ord("B"): ("<I", bytes),
    0x8E: ("<Q", bytes), 0x8A: ("<B", _long), 0x8B: ("<I", _long),
}  # fmt: skip
_KEYS = (str, int, float, complex, bool, bytes, type(None))


def key(x: Any) -> Any:
    """x as a key of a dict: a plain value or a short tuple of such. Others can hide a hash that
    takes for ever, or is computed by deep recursion."""
    for y in x if type(x) is tuple and len(x) <= 16 else (x,):
        if type(y) not in _KEYS or (type(y) is int and y.bit_length() > 64):
            raise ValueError(f"the pickle has a key of {type(x).__name__}")
    return x


class Machine:
    """Runs pickles of data from byte ``at`` on, one at each call of ``run``.

    names: what may be named, by module and name; persistent: what a persistent id stands for.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        names: Mapping[tuple[str, str], Any],
        persistent: Callable[[Any], Any],
        file_size: int,
    ) -> None:
        self.data, self.at, self.names, self.persistent = data, 0, names, persistent
        self.left = FREE + GROWTH * file_size
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    # --- parts ------------------------------------------------------------------------------------
    def charge(self, count: int) -> None:
        """Notes that count bytes of memory are about to be taken, or raises ValueError."""
        self.left -= count
        if self.left < 0:
            raise ValueError("the pickle builds far more than the file holds")

    def new(self, x: Any) -> Any:
        """x, just built."""
        self.charge(sys.getsizeof(x))
        return x

    def take(self, count: int) -> bytes:
        """The next count bytes."""
        if count > len(self.data) - self.at:
            raise ValueError("the pickle is truncated")
        self.at += count
        return bytes(self.data[self.at - count : self.at])

    def number(self, form: str) -> Any:
        """The next number in the notation of struct."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """The text up to the end of the line."""
        for end in range(self.at, min(self.at + 1000, len(self.data))):
            if self.data[end] == 10:
                return self.take(end + 1 - self.at)[:-1].decode()
        raise ValueError("the pickle has a name without an end")

    def pop(self, kinds: tuple[type, ...] | None = None) -> Any:
        """The top of the stack, of one of these kinds."""
        if not self.stack:
            raise ValueError("the pickle takes more from its stack than it holds")
        if kinds and type(self.stack[-1]) not in kinds:
            raise ValueError(f"the pickle uses a {type(self.stack[-1]).__name__} as another kind")
        return self.stack.pop()

    def top(self, kinds: tuple[type, ...]) -> Any:
        """As pop; it stays."""
        self.stack.append(self.pop(kinds))
        return self.stack[-1]

    def marked(self) -> list[Any]:
        """What lies above the last mark."""
        if not self.marks:
            raise ValueError("the pickle lacks a mark")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def find(self, module: str, name: str) -> Any:
        """What the table has under a name."""
        if (module, name) not in self.names:
            raise Refused(
                f"names {module}.{name}: only tensors, numbers, strings and containers of them are "
                "read, and nothing is executed"
            )
        return self.names[module, name]

    # --- the machine ------------------------------------------------------------------------------
    def run(self) -> Any:
        """What the next pickle describes. Raises ValueError where it is damaged, Refused (a
        ValueError) where it describes more than data."""
        self.stack, self.marks, self.memo = [], [], {}
        while (op := self.number("<B")) != ord("."):
            self.step(op)
        out = self.pop()
        if self.stack or self.marks:
            raise ValueError("the pickle ends in the middle")
        self.check_plain(out)
        return out

    def step(self, op: int) -> None:
        """One instruction."""
        push = self.stack.append
        if op in _CONSTANTS:
            push(_CONSTANTS[op])
        elif op in _FRESH:
            push(self.new(_FRESH[op]()))
        elif op in _NUMBERS:
            push(self.number(_NUMBERS[op]))
        elif op in _SIZED:
            form, convert = _SIZED[op]
            push(self.new(convert(self.take(self.number(form)))))
        elif op in _TUPLES:
            push(self.new(tuple(self.pop() for _ in range(_TUPLES[op]))[::-1]))
        elif op in _GET:
            number = self.number(_GET[op])
            if number not in self.memo:
                raise ValueError(f"the pickle recalls {number}, which it never kept")
            push(self.memo[number])
        elif op in _PUT or op == 0x94:
            number = len(self.memo) if op == 0x94 else self.number(_PUT[op])
            push(self.pop())
            self.charge(100)
            self.memo[number] = self.stack[-1]
        elif op == ord("("):
            self.charge(64)
            self.marks.append(self.stack)
            self.stack = []
        elif op == ord("t"):
            whole = tuple(self.marked())  # puts another stack in place
            self.stack.append(self.new(whole))
        elif op in b"ae":
            items = [self.pop()] if op == ord("a") else self.marked()
            self.charge(8 * len(items))
            self.top((list,)).extend(items)
        elif op in b"su":
            items = [self.pop(), self.pop()][::-1] if op == ord("s") else self.marked()
            if len(items) % 2:
                raise ValueError("the pickle has a key without a value")
            self.charge(32 * len(items))
            self.top((dict, OrderedDict)).update(
                (key(k), v) for k, v in zip(*[iter(items)] * 2, strict=True)
            )
        elif op == 0x90:
            items = self.marked()
            self.charge(64 * len(items))
            self.top((set,)).update(map(key, items))
        elif op == ord("c"):
            push(self.find(self.line(), self.line()))
        elif op == 0x93:
            name, module = self.pop((str,)), self.pop((str,))
            push(self.find(module, name))
        elif op == ord("R"):
            args, maker = self.pop((tuple,)), self.pop((Maker,))
            push(self.new(maker.build(self, *args)))
        elif op == ord("Q"):
            push(self.persistent(self.pop()))
        elif op == ord("b"):  # the state of an OrderedDict: attributes like _metadata
            self.pop((dict, OrderedDict))
            self.top((OrderedDict,))
        elif op == 0x80:
            if self.number("<B") > 5:
                raise ValueError("the pickle is of a protocol above 5")
        elif op == 0x95:
            self.take(8)
        else:
            raise Refused(f"has the pickle instruction {bytes([op])!r}, which describes no data")

    def check_plain(self, x: Any) -> None:
        """Raises Refused where names or storages themselves are left in what was built."""
        seen, queue = {id(x)}, [x]
        while queue:
            x = queue.pop()
            parts: Any = ()
            if type(x) in (list, tuple, set):
                parts = x
            elif type(x) in (dict, OrderedDict, Counter):
                parts = x.values()
            elif not isinstance(x, self.plain):
                raise Refused(f"holds {getattr(x, 'name', type(x).__name__)} itself, no tensor")
            for y in parts:
                if type(y) not in _KEYS and id(y) not in seen:
                    seen.add(id(y))
                    queue.append(y)

    plain: tuple[type, ...] = _KEYS


# --- the names of the standard library that make data ---------------------------------------------
def _ordered(m: Machine, pairs: Any = ()) -> OrderedDict[Any, Any]:
    if type(pairs) not in (list, tuple):
        raise ValueError("the pickle has an OrderedDict of no pairs")
    m.charge(8 * len(pairs))  # reading them takes time, also where their keys are the same
    if any(type(p) not in (list, tuple) or len(p) != 2 for p in pairs):
        raise ValueError("the pickle has an OrderedDict of no pairs")
    return OrderedDict((key(k), v) for k, v in pairs)


def _counter(m: Machine, counts: Any = None) -> Counter[Any]:
    if type(counts) is dict:
        m.charge(8 * len(counts))
    if type(counts) is not dict or not all(type(n) is int for n in counts.values()):
        raise ValueError("the pickle has a Counter of no counts")
    return Counter(counts)


def _set(m: Machine, items: Any = ()) -> set[Any]:
    if type(items) not in (list, tuple):
        raise ValueError("the pickle has a set of no items")
    m.charge(8 * len(items))
    return set(map(key, items))


def _encode(m: Machine, text: Any, encoding: Any = None) -> bytes:
    if type(text) is not str or type(encoding) is not str or encoding != "latin1":
        raise ValueError("the pickle encodes no text as latin1")
    return text.encode("latin1")


def _complex(m: Machine, real: Any, imag: Any) -> complex:
    if type(real) is not float or type(imag) is not float:
        raise ValueError("the pickle has a complex number of no floats")
    return complex(real, imag)


STANDARD: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Maker("collections.OrderedDict", _ordered),
    ("collections", "Counter"): Maker("collections.Counter", _counter),
    ("_codecs", "encode"): Maker("_codecs.encode", _encode),
    **{
        (module, name): Maker(f"builtins.{name}", build)
        for module in ("builtins", "__builtin__")
        for name, build in (("set", _set), ("complex", _complex))
    },
}
