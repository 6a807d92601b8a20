"""What a captured call depends on: its arguments, and what the function refers to."""

from __future__ import annotations

from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..device import get_precision
from ..errors import CaptureError
from ..nn.module import Module
from ..tensor import Tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.dtype, np.generic)
"""Arguments that count by value; all others but tensors count by identity."""


# --- structures of arguments and results ----------------------------------------------------------
def flatten(x: Any, out: list[Any]) -> Any:
    """Appends the leaves of nested tuples, lists and dicts to out; returns the structure."""
    kind = type(x)
    if kind is tuple or kind is list or (isinstance(x, tuple) and hasattr(x, "_fields")):
        return kind, tuple([flatten(v, out) for v in x])
    if isinstance(x, dict):
        return kind, tuple(x), tuple([flatten(v, out) for v in x.values()])
    out.append(x)
    return None


def rebuilt(tree: Any, leaves: Iterator[Any]) -> Any:
    """The structure with its leaves."""
    if tree is None:
        return next(leaves)
    if len(tree) == 3:
        values = [rebuilt(t, leaves) for t in tree[2]]
        return tree[0](zip(tree[1], values, strict=True))
    values = [rebuilt(t, leaves) for t in tree[1]]
    return tree[0](*values) if hasattr(tree[0], "_fields") else tree[0](values)


def described(x: Any) -> Any:
    """What of an argument the plan depends on, as a hashable key."""
    if isinstance(x, Tensor):
        a = x._array
        return a.dtype, a.shape, a.strides, x._node is None, a.flags.writeable
    if isinstance(x, PLAIN):
        return type(x), x
    if isinstance(x, np.ndarray):
        raise CaptureError("capture: an argument is a NumPy array; pass a tensor")
    return type(x), id(x)


# --- what a function refers to --------------------------------------------------------------------
def functions_of(fn: Any) -> Iterator[FunctionType]:
    """The Python functions a call of fn may run: itself, and those found in its variables. Of
    tilegrad's own only closures count: they may hold a user's functions and modules."""
    stack: list[Any] = [fn]
    seen: set[FunctionType] = set()
    while stack:
        f = stack.pop()
        f = getattr(f, "_captured_function", f)
        if isinstance(f, Module):
            stack.extend(type(m).forward for m in f.modules())
            continue
        while hasattr(f, "func") and hasattr(f, "keywords"):  # functools.partial
            stack.extend(f.args)
            f = f.func
        f = getattr(f, "__func__", f)
        if not isinstance(f, FunctionType) or f in seen or len(seen) > 200:
            continue
        if _is_library(f.__module__) and "<locals>" not in f.__qualname__:
            continue
        seen.add(f)
        yield f
        stack.extend(v for *_, v in variables_of(f) if callable(v) and not isinstance(v, type))


def variables_of(f: FunctionType) -> list[tuple[Any, Any, Any]]:
    """Where (a closure's cell, or a dict and a key) f finds its free variables, and what is there;
    modules, classes and built-in functions are left out."""
    found: list[tuple[Any, Any, Any]] = []
    for cell in f.__closure__ or ():
        try:
            found.append((cell, None, cell.cell_contents))
        except ValueError:  # not assigned yet
            continue
    codes = [f.__code__]
    while codes:
        code = codes.pop()
        codes.extend(c for c in code.co_consts if hasattr(c, "co_names"))
        found += [(f.__globals__, n, f.__globals__[n]) for n in code.co_names if n in f.__globals__]
    skipped = (ModuleType, type, BuiltinFunctionType)
    return [v for v in found if not isinstance(v[2], skipped)]


def attributes_of(roots: list[Any]) -> list[tuple[Any, Any, Any]]:
    """As variables_of, for the entries of dicts and the attributes of a user's own objects."""
    found: list[tuple[Any, Any, Any]] = []
    for root in roots:
        own = root if type(root) is dict else getattr(root, "__dict__", None)
        if type(own) is not dict or (_is_library(type(root).__module__) and own is not root):
            continue
        if isinstance(root, (Module, FunctionType, type)):
            continue
        kinds = (*PLAIN, Tensor, Module, FunctionType)
        found += [(own, k, v) for k, v in [*own.items()][:100] if isinstance(v, kinds)]
    return found


def _is_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in ("tilegrad", "numpy")


def modules_of(fn: Any, variables: list[Any], arguments: list[Any]) -> list[Module]:
    """The modules a call may use, each once."""
    roots = [v for *_, v in variables] + arguments + [fn, getattr(fn, "__self__", None)]
    found: dict[int, Module] = {}
    for root in roots:
        if isinstance(root, Module):
            for m in root.modules():
                found[id(m)] = m
        elif isinstance(root, (list, tuple)):
            for r in root:
                if isinstance(r, Module):
                    found.update((id(m), m) for m in r.modules())
    return list(found.values())


def state_of(modules: list[Module]) -> tuple[Any, ...]:
    """What a plan depends on besides tensors: settings, and the attributes of modules."""
    settings: list[Any] = [dtypes.get_default_dtype(), get_precision(), kernels.host.isa()]
    for m in modules:
        for name, value in m.__dict__.items():
            if name in ("_parameters", "_buffers", "_modules"):
                settings.append(tuple([(k, id(v)) for k, v in value.items()]))
            elif isinstance(value, (bool, int, float, str, tuple, type(None))) and _hashable(value):
                settings.append((name, value))
            else:
                settings.append((name, id(value), len(value) if hasattr(value, "__len__") else 0))
    return tuple(settings)


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:  # a tuple of lists
        return False
    return True
