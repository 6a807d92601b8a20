"""Views and copies: the shape, order and dtype of the elements change, not their values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..device import check_device
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor
from .rules import (
    BROADCAST,
    as_operand,
    axes_of,
    axis_of,
    cast,
    either,
    linear,
    record,
    record_view,
    sizes_of,
    stretched,
)

contiguous_format, channels_last, preserve_format = "contiguous", "channels_last", "preserve"
channels_last_3d = "channels_last_3d"
_FORMATS = (contiguous_format, channels_last, preserve_format, channels_last_3d)


# --- reshape --------------------------------------------------------------------------------------
RESHAPE = linear("reshape", lambda g, shape, s: reshape(g, s))


def _resolve(op: str, x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    n = x._array.size
    unknown = [i for i, d in enumerate(shape) if d == -1]
    rest = math.prod(d for d in shape if d != -1)
    bad = len(unknown) > 1 or any(d < -1 for d in shape)
    if not bad and unknown:
        bad = rest == 0 or n % rest != 0
        if not bad:
            shape = (*shape[: unknown[0]], n // rest, *shape[unknown[0] + 1 :])
    elif rest != n:
        bad = True
    if bad:
        raise ShapeError(f"{op}: {n} elements of shape {x.shape} do not fit into shape {shape}")
    return shape


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """The elements in row-major order, in another shape; a view where the strides allow it.

    shape: ints or one tuple; one of them may be -1 (what is left). Raises ShapeError when the
    number of elements differs.

    >>> import tilegrad as tg
    >>> tg.arange(6).reshape(2, -1).shape
    (2, 3)
    """
    target = _resolve("reshape", input, sizes_of(shape, "reshape"))
    a = input._array
    try:
        return record_view(RESHAPE, np.reshape(a, target, copy=False), input)
    except ValueError:
        y = kernels.of(a).copy(a, "C").reshape(target)
        return record(RESHAPE, y, (input,))


def view(input: Tensor, *shape: Any) -> Tensor:
    """As reshape, but never a copy; ``view(dtype)`` reinterprets the bytes. ShapeError otherwise.

    >>> import tilegrad as tg
    >>> tg.arange(6).view(3, 2).shape
    (3, 2)
    """
    if len(shape) == 1 and not isinstance(shape[0], (int, tuple, list, np.integer, Tensor)):
        d = dtypes.dtype(shape[0])
        try:
            return input._view(input._array.view(d))
        except ValueError as e:
            raise ShapeError(f"view: {input.dtype} of shape {input.shape} as {d}: {e}") from e
    target = _resolve("view", input, sizes_of(shape, "view"))
    try:
        a = np.reshape(input._array, target, copy=False)
    except ValueError:
        raise ShapeError(
            f"view: shape {input.shape} with strides {input.stride()} cannot be seen as {target} "
            "without a copy; use reshape()"
        ) from None
    return record_view(RESHAPE, a, input)


def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """reshape to the shape of other.

    >>> import tilegrad as tg
    >>> tg.arange(6).reshape_as(tg.zeros(2, 3)).shape
    (2, 3)
    """
    return reshape(input, other.shape)


def view_as(input: Tensor, other: Tensor) -> Tensor:
    """view with the shape of other.

    >>> import tilegrad as tg
    >>> tg.arange(6).view_as(tg.zeros(2, 3)).shape
    (2, 3)
    """
    return view(input, other.shape)


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes start_dim to end_dim as one.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3, 4).flatten(1).shape
    (2, 12)
    """
    if input.ndim == 0:
        return reshape(input, 1)
    first = axis_of(start_dim, input.ndim, "flatten")
    last = axis_of(end_dim, input.ndim, "flatten")
    if first > last:
        raise TgValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    s = input.shape
    return reshape(input, (*s[:first], math.prod(s[first : last + 1]), *s[last + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """The axis dim as several of the given sizes, of which one may be -1.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 12).unflatten(1, (3, -1)).shape
    (2, 3, 4)
    """
    d = axis_of(dim, input.ndim, "unflatten")
    s, n, sizes = input.shape, input.shape[d], list(sizes)
    if sizes.count(-1) == 1:
        known = math.prod(k for k in sizes if k != -1)
        sizes[sizes.index(-1)] = n // known if known else 0
    if math.prod(sizes) != n:
        raise ShapeError(f"unflatten: axis {dim} of length {n} does not split into {tuple(sizes)}")
    return reshape(input, (*s[:d], *sizes, *s[d + 1 :]))


def squeeze(input: Tensor, dim: Any = None, *, axis: Any = None) -> Tensor:
    """Without the axes of length 1: all of them, or those named by dim, also called axis (an int or
    a tuple).

    >>> import tilegrad as tg
    >>> tg.zeros(1, 2, 1).squeeze().shape
    (2,)
    """
    drop = axes_of(either("squeeze", dim, axis), input.ndim, "squeeze")
    kept = [n for i, n in enumerate(input.shape) if n != 1 or i not in drop]
    return reshape(input, tuple(kept))


def unsqueeze(input: Tensor, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """With a new axis of length 1 at dim (also called axis), counted in the result.

    >>> import tilegrad as tg
    >>> tg.zeros(2).unsqueeze(-1).shape
    (2, 1)
    """
    d = axis_of(either("unsqueeze", dim, axis), input.ndim + 1, "unsqueeze")
    return reshape(input, (*input.shape[:d], 1, *input.shape[d:]))


# --- order of the axes ----------------------------------------------------------------------------
def _permute_back(g: Tensor, axes: tuple[int, ...], shape: Any) -> Tensor:
    inverse = [0] * len(axes)
    for i, a in enumerate(axes):
        inverse[a] = i
    return permute(g, inverse)


PERMUTE = linear("permute", _permute_back)


def permute(input: Tensor, *dims: Any) -> Tensor:
    """A view with the axes in the order dims (ints or one tuple).

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3, 4).permute(2, 0, 1).shape
    (4, 2, 3)
    """
    given = sizes_of(dims, "permute")
    axes = tuple([axis_of(d, input.ndim, "permute") for d in given])
    if sorted(axes) != list(range(input.ndim)):
        raise TgValueError(f"permute: {given} is not an order of {input.ndim} axes")
    return record_view(PERMUTE, input._array.transpose(axes), input, axes)


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with the axes dim0 and dim1 exchanged.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3).transpose(0, 1).shape
    (3, 2)
    """
    n = input.ndim
    i, j = axis_of(dim0, n, "transpose"), axis_of(dim1, n, "transpose")
    axes = list(range(n))
    if n:
        axes[i], axes[j] = axes[j], axes[i]
    return permute(input, axes)


def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """A view with the axes axis0 and axis1 exchanged: transpose under NumPy's names.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3).swapaxes(0, 1).shape
    (3, 2)
    """
    return transpose(input, axis0, axis1)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and numbers stay.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3).t().shape
    (3, 2)
    """
    if input.ndim > 2:
        raise ShapeError(f"t: expects at most 2 dimensions, got shape {input.shape}")
    return _reversed_axes(input)


def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """A view with the axes source (ints or tuples) moved to destination; the others stay in order.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3, 4).movedim(0, -1).shape
    (3, 4, 2)
    """
    src = source if isinstance(source, (tuple, list)) else (source,)
    dst = destination if isinstance(destination, (tuple, list)) else (destination,)
    src = [axis_of(d, input.ndim, "movedim") for d in src]
    dst = [axis_of(d, input.ndim, "movedim") for d in dst]
    if len(set(src)) != len(src) or len(set(dst)) != len(dst) or len(src) != len(dst):
        raise TgValueError("movedim: source and destination must name as many different axes")
    order = [i for i in range(input.ndim) if i not in src]
    for d, s in sorted(zip(dst, src, strict=True)) if input.ndim else ():
        order.insert(d, s)
    return permute(input, order)


def matrix_transpose(input: Tensor) -> Tensor:
    """A view with the last two axes exchanged (``x.mT``).

    >>> import tilegrad as tg
    >>> tg.zeros(5, 2, 3).mT.shape
    (5, 3, 2)
    """
    if input.ndim < 2:
        raise ShapeError(f"mT: expects at least 2 dimensions, got shape {input.shape}")
    return transpose(input, -2, -1)


def _reversed_axes(input: Tensor) -> Tensor:
    """A view with the axes in reverse order (``x.T``)."""
    return permute(input, tuple(range(input.ndim))[::-1])


# --- broadcasting ---------------------------------------------------------------------------------
def expand(input: Tensor, *sizes: Any) -> Tensor:
    """A view with axes of length 1 stretched (stride 0) and new axes in front; -1 keeps a length.

    >>> import tilegrad as tg
    >>> tg.tensor([[1], [2]]).expand(2, 3).shape
    (2, 3)
    """
    target, have = sizes_of(sizes, "expand"), input.shape
    lead = len(target) - len(have)
    full = tuple(have[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(target))
    if (
        lead < 0
        or any(n != h and h != 1 for n, h in zip(full[lead:], have, strict=True))
        or any(n < 0 for n in full)
    ):
        raise ShapeError(f"expand: shape {have} does not broadcast to {target}")
    return record_view(BROADCAST, stretched(input._array, full), input)


def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """As expand, with the shape as one tuple size.

    >>> import tilegrad as tg
    >>> tg.broadcast_to(tg.tensor([1, 2]), (3, 2)).shape
    (3, 2)
    """
    return expand(input, tuple(size))


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """expand to the shape of other.

    >>> import tilegrad as tg
    >>> tg.tensor([1, 2]).expand_as(tg.zeros(3, 2)).shape
    (3, 2)
    """
    return expand(input, other.shape)


@constants
def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that the given shapes broadcast to.

    >>> import tilegrad as tg
    >>> tg.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    try:
        return np.broadcast_shapes(*shapes)
    except TypeError as e:
        raise DTypeError(f"broadcast_shapes: shapes must be ints and tuples of ints: {e}") from None
    except ValueError:
        raise ShapeError(f"broadcast_shapes: {shapes} do not broadcast") from None


def broadcast_tensors(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Views of the tensors, stretched to their common shape.

    >>> import tilegrad as tg
    >>> [x.shape for x in tg.broadcast_tensors(tg.zeros(2, 1), tg.zeros(3))]
    [(2, 3), (2, 3)]
    """
    given = [as_operand(x, "broadcast_tensors", "tensors") for x in tensors]
    shape = broadcast_shapes(*[x.shape for x in given])
    return tuple(expand(x, shape) for x in given)


# --- copies ---------------------------------------------------------------------------------------
CLONE = linear("clone", lambda g, params, s: g)


def clone(input: Tensor, *, memory_format: str = preserve_format) -> Tensor:
    """A copy that gradients pass through.

    memory_format: "preserve" the order of the strides, "contiguous" (row major), "channels_last".

    >>> import tilegrad as tg
    >>> x = tg.ones(2)
    >>> x.clone() is x
    False
    """
    return record(CLONE, _copy(input, memory_format, "clone"), (input,))


def _copy(x: Tensor, memory_format: str, op: str) -> Any:
    a = x._array
    if memory_format not in _FORMATS:
        raise TgValueError(f"{op}: memory_format must be one of {_FORMATS}, got {memory_format!r}")
    k = kernels.of(a)
    if memory_format == preserve_format:
        return k.copy(a)
    if memory_format == contiguous_format:
        return k.copy(a, "C")
    if a.ndim not in (4, 5):
        raise ShapeError(f"{op}: channels_last expects 4 or 5 dimensions, got shape {x.shape}")
    return np.moveaxis(k.copy(np.moveaxis(a, 1, -1), "C"), -1, 1)


def is_contiguous(input: Tensor, memory_format: str = contiguous_format) -> bool:
    """Whether the elements lie in row-major (or channels_last) order without gaps.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3).t().is_contiguous()
    False
    """
    a = input._array
    if memory_format == contiguous_format:
        return a.flags.c_contiguous
    return a.ndim in (4, 5) and np.moveaxis(a, 1, -1).flags.c_contiguous


def contiguous(input: Tensor, memory_format: str = contiguous_format) -> Tensor:
    """The tensor itself where it already has the memory order, else a copy.

    >>> import tilegrad as tg
    >>> tg.zeros(2, 3).t().contiguous().stride()
    (2, 1)
    """
    if is_contiguous(input, memory_format):
        return input
    return clone(input, memory_format=memory_format)


def asked_dtype(args: tuple[Any, ...], dtype: Any, device: Any) -> np.dtype | None:
    """The dtype that arguments of ``to`` ask for; positional ones are a dtype, a device or a tensor
    to take both from. Raises DeviceError for a device that is not served."""
    for arg in args:
        if isinstance(arg, Tensor):
            dtype = arg.dtype
        elif isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda"):
            device = arg
        elif arg is not None and not isinstance(arg, bool):
            dtype = arg
    check_device(device)
    return None if dtype is None else dtypes.dtype(dtype)


def to(
    input: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    copy: bool = False,
    memory_format: str = preserve_format,
    non_blocking: bool = False,
) -> Tensor:
    """The tensor in another dtype, device or memory format; itself where nothing changes.

    Positional arguments are a dtype, a device or a tensor to take both from. Gradients pass between
    floating and complex dtypes; of complex numbers a real dtype takes the real part. Raises
    DTypeError, DeviceError.

    >>> import tilegrad as tg
    >>> tg.tensor([1.7]).to(tg.int64)
    tensor([1])
    """
    d = asked_dtype(args, dtype, device)
    y = input if d is None else cast(input, d)
    if memory_format != preserve_format:
        return contiguous(y, memory_format)
    return clone(y) if copy and y is input else y


def type_as(input: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of other.

    >>> import tilegrad as tg
    >>> tg.tensor([1]).type_as(tg.tensor([1.0])).dtype
    dtype('float32')
    """
    return cast(input, other.dtype)


def cpu(input: Tensor) -> Tensor:
    """The tensor on the CPU.

    >>> import tilegrad as tg
    >>> tg.zeros(1).cpu().device
    device(type='cpu')
    """
    return input


def _caster(name: str, d: np.dtype) -> Callable:
    def fn(self: Tensor) -> Tensor:
        return cast(self, d)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"The tensor converted to {d}."
    return fn


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        reshape, reshape_as, view, view_as, flatten, unflatten, squeeze, unsqueeze, permute,
        transpose, swapaxes, t, movedim, expand, broadcast_to, expand_as, clone, is_contiguous,
        contiguous, to, type_as, cpu,
    )
}  # fmt: skip
METHODS.update(
    swapdims=transpose, moveaxis=movedim, ravel=flatten,
    T=property(_reversed_axes),
    mT=property(matrix_transpose),
)  # fmt: skip
for _name, _dtype in (
    ("float", dtypes.float32), ("double", dtypes.float64), ("half", dtypes.float16),
    ("bfloat16", dtypes.bfloat16), ("int", dtypes.int32), ("long", dtypes.int64),
    ("cfloat", dtypes.complex64), ("cdouble", dtypes.complex128),
    ("short", dtypes.int16), ("char", dtypes.int8), ("byte", dtypes.uint8), ("bool", dtypes.bool_),
):  # fmt: skip
    METHODS[_name] = _caster(_name, _dtype)

swapdims = transpose
moveaxis, ravel = movedim, flatten

__all__ = [
    "broadcast_shapes", "broadcast_tensors", "broadcast_to", "channels_last",
    "channels_last_3d", "clone",
    "contiguous_format", "flatten", "matrix_transpose", "moveaxis", "movedim", "permute",
    "preserve_format", "ravel", "reshape", "squeeze", "swapaxes", "swapdims", "t",
    "transpose", "unflatten", "unsqueeze",
]  # fmt: skip
