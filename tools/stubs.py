"""Writes the type stubs of what is attached at import time, from the live signatures.

Operators, Tensor methods and most public functions are made from tables, which a type checker
cannot follow. ``python tools/stubs.py`` writes their stubs beside the sources; ``--check`` only
says whether they are up to date (a test does the same).
"""

from __future__ import annotations

import ast
import builtins
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import tilegrad
from tilegrad import ops

PACKAGE = Path(tilegrad.__file__).parent
IMPORTS = {
    "Any": "typing",
    "Callable": "collections.abc",
    "Iterable": "collections.abc",
    "Iterator": "collections.abc",
    "Mapping": "collections.abc",
    "ModuleType": "types",
    "Sequence": "collections.abc",
}
RESULTS = {
    "Frexp": "elementary",
    "ValuesIndices": "reduce",
    "MinMax": "sorting",
    "Histogram": "statistics",
}
"""The named tuples that functions return, and where they are defined."""
WIDTH = 100
NOTE = "# Written by tools/stubs.py from the live signatures; do not edit."
OVERRIDES = {"__eq__", "__ne__"}  # of object's, which return bool


class _Qualify(ast.NodeTransformer):
    """``int`` becomes ``builtins.int`` where the scope has a function of that name."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.taken and hasattr(builtins, node.id):
            return ast.Attribute(ast.Name("builtins"), node.id)
        return node


def _default(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value)
    return repr(value) if value is None or isinstance(value, (bool, int, float)) else "..."


class Stub:
    """The text of one stub: definitions, and the imports that their annotations need."""

    def __init__(self, head: list[str], taken: set[str]) -> None:
        self.head, self.qualify = head, _Qualify(taken)
        self.used: set[str] = set()
        self.lines: list[str] = []

    def annotation(self, a: Any) -> str:
        if a is inspect.Parameter.empty:
            a = "Any"
        text = a if isinstance(a, str) else getattr(a, "__name__", str(a))
        tree = self.qualify.visit(ast.parse(text, mode="eval"))
        self.used |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        return ast.unparse(tree)

    def parameters(self, signature: inspect.Signature, method: bool) -> list[str]:
        out = []
        star = slash = False
        for i, p in enumerate(signature.parameters.values()):
            if p.name.startswith("_"):  # a closure's value, not an argument
                continue
            if method and i == 0:
                out.append("self")
                continue
            slash |= p.kind is p.POSITIONAL_ONLY
            if slash and p.kind is not p.POSITIONAL_ONLY:
                out.append("/")
                slash = False
            if p.kind is p.KEYWORD_ONLY and not star:
                out.append("*")
            star |= p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
            mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
            text = f"{mark}{p.name}: {self.annotation(p.annotation)}"
            if p.default is not p.empty:
                text += f" = {_default(p.default)}"
            out.append(text)
        if slash:
            out.append("/")
        return out

    def define(self, name: str, fn: Any, indent: str = "") -> None:
        """One function, method or property."""
        if isinstance(fn, property):
            self.lines.append(f"{indent}@property")
            fn = fn.fget
        signature = inspect.signature(fn)
        parameters = self.parameters(signature, bool(indent))
        returns = self.annotation(signature.return_annotation)
        ignore = "  # type: ignore[override]" if name in OVERRIDES else ""
        head, tail = f"{indent}def {name}(", f") -> {returns}: ...{ignore}"
        inner = indent + "    "
        if len(head + ", ".join(parameters) + tail) <= WIDTH:
            self.lines.append(head + ", ".join(parameters) + tail)
        elif len(inner + ", ".join(parameters)) <= WIDTH:
            self.lines += [head, inner + ", ".join(parameters), indent + tail]
        else:
            self.lines += [head, *[f"{inner}{p}," for p in parameters], indent + tail]

    def imports(self) -> list[str]:
        """The import lines, in the order of the style check."""
        unknown = self.used - {
            *IMPORTS,
            "builtins",
            "np",
            "Generator",
            "Tensor",
            *RESULTS,
            *dir(builtins),
        }
        if unknown:
            raise SystemExit(f"stubs: no import is known for the names {sorted(unknown)}")
        modules: dict[str, list[str]] = {}
        for name in sorted(self.used & IMPORTS.keys()):
            modules.setdefault(IMPORTS[name], []).append(name)
        lines = ["import builtins"] if "builtins" in self.used else []
        lines += [f"from {m} import {', '.join(names)}" for m, names in sorted(modules.items())]
        return [*lines, "", *(["import numpy as np", ""] if "np" in self.used else [])]

    def text(self) -> str:
        return "\n".join([NOTE, "", *self.imports(), *self.head, *self.lines, ""])


def functions() -> str:
    """The stub of ``tilegrad.ops``: every public function; aliases as assignments."""
    names = ["FAMILIES: tuple[ModuleType, ...]", "PUBLIC: dict[str, Any]"]
    classes = [
        "from ..generator import Generator",
        "from ..tensor import Tensor",
        *[f"from .{file} import {name}" for name, file in RESULTS.items()],
    ]
    stub = Stub([*classes, "", *names], set(ops.PUBLIC))
    stub.used |= {"Any", "ModuleType"}
    constants, aliases = [], []
    for name, value in sorted(ops.PUBLIC.items()):
        if not callable(value):
            constants.append(f"{name}: {type(value).__name__}")
        elif value.__name__ != name and ops.PUBLIC.get(value.__name__) is value:
            aliases.append(f"{name} = {value.__name__}")
        else:
            stub.define(name, value)
    stub.lines = [*constants, "", *stub.lines, "", *aliases]
    return stub.text()


def methods() -> str:
    """The stub of ``tilegrad._methods``: the base class with what is attached to Tensor."""
    table: dict[str, Any] = {}
    for family in ops.FAMILIES:
        table.update({n: vars(tilegrad.Tensor)[n] for n in getattr(family, "METHODS", {})})
    classes = [
        "from .generator import Generator",
        *[f"from .ops.{file} import {name}" for name, file in RESULTS.items()],
        "from .tensor import Tensor",
    ]
    stub = Stub([*classes, "", "class Methods:"], set(table))
    for name in sorted(table):
        stub.define(name, table[name], "    ")
    return stub.text()


FILES = {PACKAGE / "ops" / "__init__.pyi": functions, PACKAGE / "_methods.pyi": methods}


def main() -> int:
    stale = [f for f, make in FILES.items() if not f.exists() or f.read_text() != make()]
    if "--check" in sys.argv:
        print("\n".join(f"{f} is out of date: run python tools/stubs.py" for f in stale))
        return bool(stale)
    for f in stale:
        f.write_text(FILES[f]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
