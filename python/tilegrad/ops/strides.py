"""Views by strides, sums back to a shape, lengths of slices."""

from __future__ import annotations

import math
from operator import index
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .binary import add, mul, true_divide, where
from .index import _add_slices
from .moments import norm
from .reduce import sum as sum_
from .rules import as_operand, axis_of, constant, linear, number, record_view, sizes_of
from .shape import broadcast_shapes, reshape


# --- strides --------------------------------------------------------------------------------------
def _positions(size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> np.ndarray:
    """Where each element of the view lies among the flat elements."""
    at = np.full(size, offset, np.int64)
    for axis, (n, step) in enumerate(zip(size, stride, strict=True)):
        at += (np.arange(n) * step).reshape([-1 if i == axis else 1 for i in range(len(size))])
    return at


def _as_strided_back(g: Tensor, params: Any, shape: tuple[int, ...]) -> Tensor:
    at = constant(_positions(*params).reshape(-1))
    return reshape(_add_slices(reshape(g, -1), at, 0, math.prod(shape)), shape)


AS_STRIDED = linear("as_strided", _as_strided_back)


def _apart(size: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether no two elements of the view are surely one: each stride passes over the axes of
    smaller ones."""
    reach = 0
    for step, n in sorted((s, n) for s, n in zip(stride, size, strict=True) if n > 1):
        if step <= reach:
            return False
        reach += step * (n - 1)
    return True


def as_strided(input: Tensor, size: Any, stride: Any, storage_offset: int | None = None) -> Tensor:
    """A view of the given size whose neighbours along axis i lie stride[i] elements apart, from
    element storage_offset (0 unless given) of the flat input on.

    input: row-major (contiguous), else ShapeError: its own elements are the storage, so that no
    view can leave it. stride: not negative. Where elements of the view coincide it cannot be
    written into, and their gradients add. Raises ShapeError, ValueError for what lies outside.

    >>> import tilegrad as tg
    >>> tg.as_strided(tg.arange(5), (3, 3), (1, 1)).tolist()
    [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    """
    op = "as_strided"
    a = input._array
    shape, steps = sizes_of((size,), op), sizes_of((stride,), op)
    offset = 0 if storage_offset is None else index(storage_offset)
    if not a.flags.c_contiguous:
        raise ShapeError(f"{op}: input must be contiguous, its strides are {input.stride()}")
    if len(shape) != len(steps) or any(n < 0 for n in shape):
        raise ShapeError(f"{op}: size {shape} and stride {steps} do not describe a view")
    last = offset + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
    if offset < 0 or any(s < 0 for s in steps) or (0 not in shape and last >= a.size):
        raise TgValueError(
            f"{op}: size {shape}, stride {steps} and offset {offset} lead outside of the "
            f"{a.size} elements of input"
        )
    if 0 in shape or a.size == 0:
        offset = 0
    flat = a.reshape(-1)[offset:]
    y = np.lib.stride_tricks.as_strided(
        flat, shape, [s * a.itemsize for s in steps], writeable=_apart(shape, steps)
    )
    return record_view(AS_STRIDED, y, input, (shape, steps, offset))


def sum_to_size(input: Tensor, *size: Any) -> Tensor:
    """input summed over the axes along which size would be stretched to its shape.

    size: ints or one tuple. Raises ShapeError where size does not broadcast to input's shape.

    >>> import tilegrad as tg
    >>> tg.ones(2, 3).sum_to_size(1, 3)
    tensor([[2., 2., 2.]])
    """
    shape = sizes_of(size, "sum_to_size")
    if len(shape) > input.ndim or broadcast_shapes(shape, input.shape) != input.shape:
        raise ShapeError(f"sum_to_size: {shape} does not broadcast to {input.shape}")
    lead = input.ndim - len(shape)
    axes = [i for i, n in enumerate(input.shape) if i < lead or shape[i - lead] != n]
    return reshape(sum_(input, axes, True), shape) if axes else input


# --- lengths --------------------------------------------------------------------------------------
def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Tensor:
    """Every slice along dim whose p-norm is above maxnorm, shortened to that.

    input: floating, at least 2 dimensions; p: above 0, maxnorm: at least 0. Raises DTypeError,
    ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.renorm(tg.tensor([[3.0, 4.0], [0.3, 0.4]]), 2, 0, 1.0)
    tensor([[0.6, 0.8],
            [0.3, 0.4]])
    """
    x = as_operand(input, "renorm")
    if not x.is_floating_point():
        raise DTypeError(f"renorm: expects a floating tensor, got {x.dtype}")
    if x.ndim < 2:
        raise ShapeError(f"renorm: expects at least 2 dimensions, got shape {x.shape}")
    order, limit = number(p, "renorm", "p"), number(maxnorm, "renorm", "maxnorm", 0.0)
    if not order > 0:
        raise TgValueError(f"renorm: p must be above 0, got {p}")
    axis = axis_of(dim, x.ndim, "renorm")
    size = norm(x, order, tuple(i for i in range(x.ndim) if i != axis), True)
    long = size > limit  # type: ignore[operator]
    factor = where(long, true_divide(limit, add(size, 1e-7)), 1.0)
    return mul(x, factor)


METHODS: dict[str, Any] = {f.__name__: f for f in (as_strided, renorm, sum_to_size)}

__all__ = ["as_strided", "renorm"]
