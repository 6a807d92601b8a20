"""What turns a row of the formula sheets (``unary.py``, ``binary.py``) into a public function with
its docstring, its derivative rule, its Tensor method and its in-place method.

A row is a name, the formula, and the derivative as a linear map of t (a cotangent or a tangent),
written with tilegrad's own operators.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError, ShapeError
from ..grad_mode import mode
from ..kernels import contract
from ..tape import attach, new_tensor
from ..tensor import Tensor
from .rules import as_operand, constant, convert, elementwise, number, promote, record, scalar

_new: Callable[..., Tensor] = new_tensor

METHODS: dict[str, Callable] = {}

_FUSED = {name: i for i, name in enumerate(contract.UNARY_GRAD)}
_INTEGER_TOO = {"neg", "abs", "sign", "square", "floor", "ceil", "trunc", "round", "relu", "clamp"}
_COMPLEX_TOO = set(
    "neg square reciprocal sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos "
    "atan sinh cosh tanh asinh atanh sigmoid".split()
)
"""The functions of one complex variable that are analytic, so that their derivatives hold."""


def _publish(fn: Callable, name: str, doc: str, parameters: Sequence[str]) -> None:
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    params = []
    for p in parameters:
        label, _, default = p.partition("=")
        value = eval(default) if default else inspect.Parameter.empty
        params.append(
            inspect.Parameter(
                label, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=value, annotation="Any"
            )
        )
    signature = inspect.Signature(params, return_annotation="Tensor")
    fn.__signature__ = signature  # type: ignore[attr-defined]
    METHODS[name] = fn


def _alias(fn: Callable, aliases: Sequence[str]) -> None:
    for alias in aliases:
        METHODS[alias] = fn


def _example(call: str) -> str:
    return f"    >>> import tilegrad as tg\n    >>> {call}\n"


def unary(
    name: str,
    formula: str,
    derivative: Callable | None,
    saves: Sequence[int] = (0,),
    *,
    extra: Sequence[str] = (),
    source: str = "",
    example: str = "",
    aliases: Sequence[str] = (),
    of_complex: Callable | None = None,
) -> Callable:
    """One row: y = f(x). derivative(t, x, y, *extra); saves (0,) is x, (-1,) is y. of_complex: what
    takes complex tensors instead, where f is not analytic."""
    op = contract.UNARY.index(name)
    fused = None
    if name in _FUSED:
        grad_op = _FUSED[name]
        which = saves[0]

        def fused(g: Tensor, need: Any, saved: Any, params: Any, nodes: Any) -> tuple:
            a = g._array
            if params is None:
                return (_new(kernels.of(a).unary_grad(grad_op, a, saved[which])),)
            return (_new(kernels.of(a).unary_grad(grad_op, a, saved[which], *params)),)

    rule = elementwise(name, derivative, saves=saves, fused=fused)
    floating = name not in _INTEGER_TOO

    if extra:
        names = [p.partition("=")[0] for p in extra]
        defaults = [eval(p.partition("=")[2]) for p in extra]

        def fn(input: Any, *args: Any, **kwargs: Any) -> Tensor:
            values = list(args) + [
                kwargs.pop(n, d) for n, d in list(zip(names, defaults, strict=True))[len(args) :]
            ]
            if kwargs or len(values) > len(names):
                raise TypeError(f"{name}() takes input, {', '.join(names)}")
            x = real_operand(name, input, floating)
            params = tuple([number(v, name, n) for v, n in zip(values, names, strict=True)])
            return record(rule, kernels.of(x._array).unary(op, x._array, *params), (x,), params)
    else:

        def fn(input: Any) -> Tensor:  # type: ignore[misc]
            x = input
            if not isinstance(x, Tensor) or x._array.dtype.kind != "f":
                if of_complex is not None and getattr(x, "dtype", dtypes.bool_).kind == "c":
                    return of_complex(as_operand(x, name))
                x = real_operand(name, input, floating)
            a = x._array
            out = _new(kernels.of(a).unary(op, a))
            node = x._node
            return out if node is None or not mode.enabled else attach(out, rule, (x,), (node,))

    dtypes_taken = (
        "complex, " * (name in _COMPLEX_TOO)
        + "floating (integers and bool are converted to the default floating\n    dtype)"
        if floating
        else "complex, " * (name in _COMPLEX_TOO or of_complex is not None)
        + "floating or integer (bool is converted to int64)"
    )
    doc = (
        f"{formula}, element by element.\n\n"
        f"    input: any shape, {dtypes_taken}.\n"
        f"    The output has the shape and memory order of the input.\n"
        + (
            ""
            if name in _COMPLEX_TOO or of_complex
            else "    Raises DTypeError for complex input.\n"
        )
        + (f"    Source: {source}.\n\n" if source else "\n")
        + _example(example or f"tg.{name}(tg.tensor([0.5])).shape\n    (1,)")
    )
    _publish(fn, name, doc, ["input", *extra])
    _alias(fn, aliases)
    if not extra:
        add_inplace(name + "_", fn)
    return fn


def real_operand(op: str, x: Any, floating: bool) -> Tensor:
    """x as a real tensor, or a complex one where op takes those; floating: as one of a floating
    dtype."""
    if isinstance(x, Tensor):
        d = x._array.dtype
        if d in dtypes.FLOATING or (not floating and d in dtypes.INTEGER):
            return x
    (x,) = promote(op, x, floating=floating)
    if x.dtype == dtypes.bool_:
        x = convert(x, dtypes.int64)
    if x.dtype.kind == "c" and op not in _COMPLEX_TOO:
        raise DTypeError(f"{op}: expects a real tensor, got {x.dtype}")
    return x


def unary_bool(name: str, formula: str) -> Callable:
    """One row: a bool result through which no gradient passes."""
    op = contract.UNARY_BOOL.index(name)

    def fn(input: Any) -> Tensor:
        (x,) = promote(name, input)
        return constant(kernels.of(x._array).unary_bool(op, x._array))

    doc = (
        f"{formula}, element by element, as a bool tensor of the same shape.\n\n"
        "    input: any shape and real dtype. No gradient passes.\n\n"
        + _example(f"tg.{name}(tg.tensor([1.0])).dtype\n    dtype('bool')")
    )
    _publish(fn, name, doc, ["input"])
    return fn


def binary(
    name: str,
    formula: str,
    d0: Callable | None,
    d1: Callable | None,
    saves: Sequence[int] = (0, 1),
    *,
    floating: bool = False,
    dunder: str = "",
    aliases: Sequence[str] = (),
    example: str = "",
    integer: bool = False,
    fused: Callable | None = None,
) -> Callable:
    """One row: y = f(a, b) with broadcasting. d0(t, a, b, y) and d1 are the partial derivatives;
    integer: there are none, the op is for integers alone. fused: see ``tape.Rule``."""
    op = contract.BINARY.index(name)
    rule = None if integer else elementwise(name, d0, d1, saves=saves, fused=fused)

    def fn(input: Any, other: Any) -> Tensor:
        if (
            isinstance(input, Tensor)
            and isinstance(other, Tensor)
            and (d := input._array.dtype) is other._array.dtype
            and (not floating or d.kind == "f")
        ):
            a, b = input, other
        elif type(other) is float and isinstance(input, Tensor) and input._array.dtype.kind == "f":
            a, b = input, scalar(other, input._array.dtype, name)
        else:
            a, b = promote(name, input, other, floating=floating)
        x = a._array
        out = _new(kernels.of(x).binary(op, x, b._array))
        m, n = a._node, b._node
        if (m is None and n is None) or rule is None or not mode.enabled:
            return out
        return attach(out, rule, (a, b), (m, n))

    doc = (
        f"{formula}, element by element, with broadcasting and type promotion.\n\n"
        "    input, other: tensors, arrays or numbers of broadcastable shapes. The output has the\n"
        "    broadcast shape and the promoted dtype"
        + (" (floating)" if floating else "")
        + ". Raises ShapeError when the shapes do not broadcast.\n\n"
        + _example(example or f"tg.{name}(tg.tensor([3.0, 4.0]), 2.0).shape\n    (2,)")
    )
    _publish(fn, name, doc, ["input", "other"])
    _alias(fn, aliases)
    add_inplace(name + "_", fn, op)
    if dunder:
        METHODS[f"__{dunder}__"] = fn
        METHODS[f"__r{dunder}__"] = reflected(fn)
        add_inplace(f"__i{dunder}__", fn, op)
    return fn


def compare(name: str, formula: str, dunder: str = "", aliases: Sequence[str] = ()) -> Callable:
    """One row: a bool result through which no gradient passes."""
    op = contract.COMPARE.index(name)

    def fn(input: Any, other: Any) -> Tensor:
        a, b = promote(name, input, other)
        return constant(kernels.of(a._array).compare(op, a._array, b._array))

    doc = (
        f"Whether {formula}, element by element, with broadcasting, as a bool tensor.\n\n"
        "    input, other: tensors, arrays or numbers. No gradient passes. Raises ShapeError when\n"
        "    the shapes do not broadcast.\n\n"
        + _example(f"tg.{name}(tg.tensor([1, 2]), 2).dtype\n    dtype('bool')")
    )
    _publish(fn, name, doc, ["input", "other"])
    _alias(fn, aliases)
    if dunder:
        METHODS[f"__{dunder}__"] = fn
    return fn


def reflected(fn: Callable) -> Callable:
    """The method behind ``other op self`` where other is no tensor."""

    def method(self: Tensor, other: Any) -> Tensor:
        return fn(other, self)

    return method


def add_inplace(name: str, fn: Callable, op: int | None = None) -> None:
    """Attaches fn as a method that writes its result into the tensor; op is the id of the binary
    kernel that does so without a temporary."""
    base = name.rstrip("_")

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self._writable(name, args):
            value = fn(self, *args, **kwargs)
            if value.shape != self.shape:
                raise ShapeError(
                    f"{name}: the result has shape {value.shape}, the tensor {self.shape}"
                )
            _require_fit(name, value.dtype, self.dtype)
            return self._rebind(convert(value, self.dtype))
        if op is not None and len(args) == 1 and not kwargs and self.is_floating_point():
            a, b = promote(name, self, args[0])
            if a is self:
                kernels.of(a._array).binary_into(op, a._array, b._array, a._array)
                return self._written()
        value = fn(self.detach() if self._node is not None else self, *args, **kwargs)
        _require_fit(name, value.dtype, self.dtype)
        array = convert(value, self.dtype)._array
        kernels.of(self._array).copy_into(self._array, array)
        return self._written()

    method.__wrapped__ = fn  # type: ignore[attr-defined]  # its signature
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As ``{base}``, written into this tensor; returns it."
    METHODS[name] = method


def _require_fit(op: str, source: Any, target: Any) -> None:
    if dtypes.category(source) > dtypes.category(target):
        raise DTypeError(
            f"{op}: the result has dtype {source}, which the tensor of {target} cannot hold"
        )
