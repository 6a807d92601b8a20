"""Tensors joined, widened and turned round: cat, stack, pad, roll, flip."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from .. import kernels
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .rules import as_operand, axes_of, axis_of, explicit, linear, promote, record, scalar
from .shape import reshape, unsqueeze
from .slicing import getitem, narrow


def _tensors(op: str, tensors: Any) -> list[Tensor]:
    """A sequence of tensors, promoted to one dtype."""
    if isinstance(tensors, Tensor) or not hasattr(tensors, "__iter__"):
        raise DTypeError(f"{op}: expects a sequence of tensors, got {type(tensors).__name__}")
    parts = list(tensors)
    if not parts:
        raise TgValueError(f"{op}: expects at least one tensor, got none")
    return promote(op, *parts)


def _cat_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> list:
    axis, sizes = params
    grads, start = [], 0
    for wanted, n in zip(need, sizes, strict=True):
        grads.append(narrow(g, axis, start, n) if wanted else None)
        start += n
    return grads


CAT = explicit("cat", _cat_vjp)


def cat(tensors: Any, dim: int = 0, *, axis: int | None = None) -> Tensor:
    """The tensors one after the other along an existing axis.

    tensors: a sequence of tensors that differ in shape along dim (also called axis) only; they are
    promoted to one dtype. Raises ShapeError, ValueError for an empty sequence.

    >>> import tilegrad as tg
    >>> tg.cat([tg.tensor([1, 2]), tg.tensor([3])])
    tensor([1, 2, 3])
    """
    parts = _tensors("cat", tensors)
    # As in PyTorch, empty tensors of one dimension join anything.
    if builtins.any(t.ndim != 1 for t in parts):
        parts = [t for t in parts if t.shape != (0,)] or parts[:1]
    first = parts[0]
    if first.ndim == 0:
        raise ShapeError("cat: tensors without dimensions cannot be joined; use stack()")
    axis = axis_of(dim if axis is None else axis, first.ndim, "cat")
    rest = (*first.shape[:axis], *first.shape[axis + 1 :])
    for n, t in enumerate(parts):
        if t.ndim != first.ndim or (*t.shape[:axis], *t.shape[axis + 1 :]) != rest:
            raise ShapeError(
                f"cat: tensor {n} has shape {t.shape}, which differs from {first.shape} off dim"
                f" {axis}"
            )
    a = kernels.of(first._array).concatenate([t._array for t in parts], axis)
    return record(CAT, a, parts, (axis, [t.shape[axis] for t in parts]))


concat = concatenate = cat


def stack(tensors: Any, dim: int = 0, *, axis: int | None = None) -> Tensor:
    """The tensors, all of one shape, along a new axis at dim (also called axis).

    >>> import tilegrad as tg
    >>> tg.stack([tg.tensor([1, 2]), tg.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    parts = _tensors("stack", tensors)
    for n, t in enumerate(parts):
        if t.shape != parts[0].shape:
            raise ShapeError(
                f"stack: tensor {n} has shape {t.shape}, but the first has {parts[0].shape}"
            )
    axis = axis_of(dim if axis is None else axis, parts[0].ndim + 1, "stack")
    return cat([unsqueeze(t, axis) for t in parts], axis)


def _at_least_1d(op: str, tensors: Any) -> list[Tensor]:
    """A sequence of tensors, those without dimensions as vectors, then promoted to one dtype."""
    if not isinstance(tensors, Tensor) and hasattr(tensors, "__iter__"):
        tensors = [t if t.ndim else reshape(t, 1) for t in (as_operand(t, op) for t in tensors)]
    return _tensors(op, tensors)


def hstack(tensors: Any) -> Tensor:
    """The tensors joined along the second axis, or along the first if they have one.

    >>> import tilegrad as tg
    >>> tg.hstack([tg.tensor([1, 2]), tg.tensor([3])])
    tensor([1, 2, 3])
    """
    parts = _at_least_1d("hstack", tensors)
    return cat(parts, 0 if parts[0].ndim == 1 else 1)


def vstack(tensors: Any) -> Tensor:
    """The tensors joined along the first axis; those of one dimension are rows.

    >>> import tilegrad as tg
    >>> tg.vstack([tg.tensor([1, 2]), tg.tensor([3, 4])])
    tensor([[1, 2],
            [3, 4]])
    """
    parts = _at_least_1d("vstack", tensors)
    return cat([unsqueeze(t, 0) if t.ndim == 1 else t for t in parts])


# --- padding --------------------------------------------------------------------------------------
def _padded(x: Tensor, widths: tuple, mode: str, value: Any) -> Tensor:
    v = scalar(value, x.dtype, "pad")._array
    y = kernels.of(x._array).pad(x._array, widths, mode, v)
    return record(PAD, y, (x,), (widths, mode))


def _pad_back(g: Tensor, params: Any, shape: Any) -> Tensor:
    return record(PAD_GRAD, kernels.of(g._array).pad_grad(g._array, *params), (g,), params)


PAD = linear("pad", _pad_back)
PAD_GRAD = linear("pad_grad", lambda g, params, shape: _padded(g, params[0], params[1], 0))


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Tensor:
    """input widened: pad is (before, after) of the last axis, then of the one before it, and so on.

    mode: "constant" (with value, 0 unless given; negative widths crop), "reflect" (without the
    edge; widths below the size), "replicate" or "circular" (widths up to the size). Raises
    ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> from tilegrad.nn.functional import pad
    >>> pad(tg.tensor([1, 2, 3]), (2, 1), mode="reflect")
    tensor([3, 2, 1, 2, 3, 2])
    """
    input, sides = as_operand(input, "pad"), [int(n) for n in pad]
    if len(sides) % 2 or len(sides) > 2 * input.ndim:
        raise ShapeError(
            f"pad: expects pairs for at most {input.ndim} axes of shape {input.shape}, got {sides}"
        )
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise TgValueError(
            f"pad: mode must be constant, reflect, replicate or circular, got {mode!r}"
        )
    if value is not None and mode != "constant":
        raise TgValueError(f"pad: a value is for mode constant only, got mode {mode!r}")
    widths = [(0, 0)] * (input.ndim - len(sides) // 2)
    widths += list(zip(sides[0::2], sides[1::2], strict=True))[::-1]
    crop = []
    for n, (before, after) in zip(input.shape, widths, strict=True):
        if n + before + after < 0 or (mode != "constant" and builtins.min(before, after) < 0):
            raise ShapeError(f"pad: {mode} padding {(before, after)} of an axis of length {n}")
        crop.append(slice(builtins.max(-before, 0), n - builtins.max(-after, 0)))
    if mode == "circular":
        return _wrapped(input, widths)
    if builtins.min(sides, default=0) < 0:
        input = getitem(input, tuple(crop))
    grown = tuple((builtins.max(b, 0), builtins.max(a, 0)) for b, a in widths)
    return _padded(input, grown, mode, 0 if value is None else value)


def _wrapped(x: Tensor, widths: list[tuple[int, int]]) -> Tensor:
    for axis, (before, after) in enumerate(widths):
        n = x.shape[axis]
        if builtins.max(before, after) > n:
            raise ShapeError(f"pad: circular padding {(before, after)} of an axis of length {n}")
        if before or after:
            x = cat([narrow(x, axis, n - before, before), x, narrow(x, axis, 0, after)], axis)
    return x


# --- turning round --------------------------------------------------------------------------------
def _rolled(x: Tensor, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
    return record(ROLL, kernels.of(x._array).roll(x._array, shifts, axes), (x,), (shifts, axes))


ROLL = linear("roll", lambda g, p, shape: _rolled(g, tuple(-s for s in p[0]), p[1]))


def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """The elements moved on by shifts along dims; those that leave come in again at the start.

    shifts, dims: ints, or sequences of equal length. Without dims the flattened tensor is rolled.

    >>> import tilegrad as tg
    >>> tg.roll(tg.tensor([1, 2, 3]), 1)
    tensor([3, 1, 2])
    """
    x = as_operand(input, "roll")
    by = tuple(int(s) for s in (shifts if isinstance(shifts, (tuple, list)) else (shifts,)))
    if dims is None:
        if len(by) != 1:
            raise TgValueError(f"roll: {len(by)} shifts need as many dims")
        return reshape(_rolled(reshape(x, -1), by, (0,)), x.shape)
    named = dims if isinstance(dims, (tuple, list)) else (dims,)
    axes = tuple(axis_of(d, x.ndim, "roll") for d in named)
    if len(axes) != len(by):
        raise TgValueError(f"roll: expects as many shifts as dims, got {len(by)} and {len(axes)}")
    return _rolled(x, by, axes) if x.ndim else x


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A view with the order of the elements reversed along dims (ints or one sequence).

    >>> import tilegrad as tg
    >>> tg.flip(tg.tensor([[1, 2], [3, 4]]), (1,))
    tensor([[2, 1],
            [4, 3]])
    """
    named = dims[0] if len(dims) == 1 and isinstance(dims[0], (tuple, list)) else dims
    axes = axes_of(tuple(named), input.ndim, "flip")
    backwards = slice(None, None, -1)
    return getitem(input, tuple(backwards if i in axes else slice(None) for i in range(input.ndim)))


def fliplr(input: Tensor) -> Tensor:
    """flip along the second axis.

    >>> import tilegrad as tg
    >>> tg.fliplr(tg.tensor([[1, 2]]))
    tensor([[2, 1]])
    """
    return flip(input, 1)


def flipud(input: Tensor) -> Tensor:
    """flip along the first axis.

    >>> import tilegrad as tg
    >>> tg.flipud(tg.tensor([1, 2]))
    tensor([2, 1])
    """
    return flip(input, 0)


METHODS: dict[str, Any] = {f.__name__: f for f in (roll, flip, fliplr, flipud)}

FUNCTIONAL = ("pad",)
"""What ``tilegrad.nn.functional`` publishes from here."""

__all__ = [
    "cat", "concat", "concatenate", "flip", "fliplr", "flipud", "hstack", "roll", "stack", "vstack",
]  # fmt: skip
