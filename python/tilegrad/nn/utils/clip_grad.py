"""Limits for the gradients of a model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ... import kernels, ops
from ...errors import GradientError
from ...errors import ValueError as TgValueError
from ...grad_mode import no_grad
from ...tensor import Tensor, tensor

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
]


def _listed(tensors: Tensor | Iterable[Tensor]) -> list[Any]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _grads(parameters: Tensor | Iterable[Tensor]) -> list[Any]:
    return [p.grad for p in _listed(parameters) if p.grad is not None]


@no_grad()
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """The norm of all tensors taken together as one vector, in the dtype of the first; 0 of none.

    norm_type: the power, or math.inf for the largest element; not 0. Half precision is summed in
    float32. Raises GradientError for a norm that is not finite, if error_if_nonfinite.

    >>> import tilegrad as tg
    >>> tg.nn.utils.get_total_norm([tg.tensor([3.0, 4.0]), tg.tensor(12.0)])
    tensor(13.)
    """
    listed = _listed(tensors)
    if not listed:
        return tensor(0.0)
    total = _norm(listed, float(norm_type))
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise GradientError(f"get_total_norm: the norm of the gradients is {total.item()}")
    return total.to(listed[0].dtype)


def _by_dtype(tensors: list[Any]) -> dict[Any, list[Any]]:
    """The arrays of the tensors in lists of one dtype."""
    lists: dict[Any, list[Any]] = {}
    for x in tensors:
        lists.setdefault(x.dtype, []).append(x._array)
    return lists


def _norm(tensors: list[Any], power: float) -> Any:
    """As a float64 tensor, or one of the sums' dtype for an unusual power."""
    if power == 0.0:
        raise TgValueError("get_total_norm: norm_type must not be 0")
    if power in (2.0, math.inf) and all(x.is_floating_point() for x in tensors):
        lists = _by_dtype(tensors).values()
        norms = [Tensor._new(kernels.of(a[0]).total_norm(a, power)) for a in lists]
        if len(norms) == 1:
            return norms[0]
        return _norm(norms, power)
    wide = [x.float() if x.itemsize < 4 else x for x in tensors if x.numel()]
    if math.isinf(power):
        return ops.stack([x.abs().min().double() for x in wide]).min() if wide else tensor(0.0)
    parts = [(x.abs() ** power).sum().double() for x in wide]
    return ops.stack(parts).sum() ** (1.0 / power) if parts else tensor(0.0)


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor
) -> None:
    """Scales the gradients, in place, by max_norm / total_norm where that is less than 1.

    >>> import tilegrad as tg
    >>> x = tg.zeros(2, requires_grad=True)
    >>> x.grad = tg.tensor([3.0, 4.0])
    >>> tg.nn.utils.clip_grads_with_norm_(x, 1.0, tg.tensor(10.0))
    >>> [round(g, 4) for g in x.grad.tolist()]
    [0.3, 0.4]
    """
    total = total_norm._array
    if total.dtype.itemsize < 4:
        total = total_norm.float()._array
    grads = [*{id(g): g for g in _grads(parameters)}.values()]
    for arrays in _by_dtype(grads).values():
        kernels.of(arrays[0]).scale_all(arrays, total, float(max_norm))
    for g in grads:
        g._written()


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scales the gradients, in place, so that the norm over all of them is at most max_norm;
    returns the norm before. Parameters without a gradient are passed over.

    Arguments and errors as for get_total_norm.

    >>> import tilegrad as tg
    >>> x = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> x.grad = tg.tensor([3.0, 4.0])
    >>> tg.nn.utils.clip_grad_norm_([x], 1.0)
    tensor(5.)
    """
    listed = _listed(parameters)
    total = get_total_norm(_grads(listed), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(listed, max_norm, total)
    return total


@no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Moves every element of the gradients, in place, into [-clip_value, clip_value]. Parameters
    without a gradient are passed over; a negative clip_value raises ValueError.

    >>> import tilegrad as tg
    >>> x = tg.zeros(3, requires_grad=True)
    >>> x.grad = tg.tensor([-3.0, 0.5, 4.0])
    >>> tg.nn.utils.clip_grad_value_([x], 1.0)
    >>> x.grad.tolist()
    [-1.0, 0.5, 1.0]
    """
    bound = float(clip_value)
    if not bound >= 0.0:
        raise TgValueError(f"clip_grad_value_: clip_value must not be negative, got {clip_value}")
    for g in _grads(parameters):
        g.clamp_(-bound, bound)


clip_grad_norm = clip_grad_norm_
