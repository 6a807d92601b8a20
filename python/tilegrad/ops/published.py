"""What stands between a caller and an op: the first argument checked, NumPy's names of arguments.

Ops call each other as their modules define them, and pay nothing for it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .rules import as_operand

_Function = TypeVar("_Function", bound=Callable)
NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


def needs_tensor(fn: Any) -> bool:
    """Whether the first argument of a function is annotated as a tensor and nothing else."""
    first = fn.__code__.co_varnames[: fn.__code__.co_argcount][:1]
    return bool(first) and fn.__annotations__.get(*first) in ("Tensor", Tensor)


def _other_names(fn: Any) -> dict[str, str]:
    """The other names of arguments that fn does not take itself."""
    code = getattr(fn, "__wrapped__", fn).__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if "dim" not in names or "axis" in names:
        return {}
    return {a: b for a, b in NUMPY_NAMES.items() if b in names}


def published(fn: Any, check: bool = False) -> Any:
    """fn with axis and keepdims as other names of its dim and keepdim, as PyTorch has them.

    check: its first argument, too, which a Tensor method cannot get wrong: an array or a number is
    made a tensor where fn needs one.
    """
    others = _other_names(fn)
    if not (check or others):
        return fn
    name, needed = fn.__code__.co_varnames[0], check and needs_tensor(fn)

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            for a, b in others.items():
                if a in kwargs:
                    if b in kwargs:
                        raise TgValueError(
                            f"{fn.__name__}: {b} and {a} are two names for one argument; give one"
                        )
                    kwargs[b] = kwargs.pop(a)
        if check:
            if args:
                x = args[0]
                if x.__class__ is not Tensor:
                    y = as_operand(x, fn.__name__, name)
                    return fn(y if needed else x, *args[1:], **kwargs)
            elif name in kwargs:
                y = as_operand(kwargs[name], fn.__name__, name)
                kwargs[name] = y if needed else kwargs[name]
        return fn(*args, **kwargs)

    functools.update_wrapper(call, fn)
    if others:
        call.__signature__ = _with_others(fn, others)  # type: ignore[attr-defined]
    return call


def checked(fn: _Function) -> _Function:
    """fn as published, its first argument checked."""
    return published(fn, True)  # type: ignore[no-any-return]


def _with_others(fn: Callable, others: dict[str, str]) -> inspect.Signature:
    spec = inspect.signature(fn)
    given = [
        inspect.Parameter(a, inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Any")
        for a in others
    ]
    return spec.replace(parameters=[*spec.parameters.values(), *given])
