"""Elements picked and placed by integer tensors along one axis, and by masks.

Index values may be negative (counting from the end); one out of range raises IndexError. Gradients
of equal indices add in index order, so results are repeatable.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..errors import DTypeError, ShapeError, renamed
from ..errors import IndexError as TgIndexError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..kernels.contract import REDUCE
from ..tensor import Tensor, from_numpy, host_array
from .binary import where
from .elementwise import add_inplace
from .rules import as_operand, assigned, axis_of, constant, convert, explicit, number, record
from .shape import broadcast_shapes, broadcast_to, clone, reshape, unsqueeze
from .slicing import getitem, setitem


def as_index(index: Any) -> Tensor:
    """A tensor, array, list or number as a tensor; an empty list is one of integers."""
    if isinstance(index, Tensor):
        return index
    t = from_numpy(host_array(index))
    return convert(t, dtypes.int64) if t._array.size == 0 and isinstance(index, list) else t


def index_tensor(index: Any, op: str) -> Tensor:
    """An integer tensor, array, list or int as an int64 tensor."""
    try:
        index = as_index(index)
    except DTypeError as e:
        raise renamed(e, op) from None
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{op}: index must be of an integer dtype, got {index.dtype}")
    return convert(index, dtypes.int64)


# --- gather and scatter_add: index as large as the result -----------------------------------------
# In these rules the index is an input, so that a change in place before backward is noticed.
def gather_along(x: Tensor, index: Tensor, axis: int) -> Tensor:
    """The recorded gather; index is int64 and axis not negative."""
    y = kernels.of(x._array).gather(x._array, index._array, axis)
    return record(GATHER, y, (x, index), axis)


def _scatter(src: Tensor, index: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor:
    """Zeros of the given shape with src added at index: the transpose of gather."""
    y = kernels.of(src._array).scatter_add(shape, index._array, src._array, axis)
    return record(SCATTER, y, (src, index), axis)


def _gather_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axis: int, nodes: Any) -> Any:
    return _scatter(g, inputs[1], axis, nodes[0].shape), None


def _scatter_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axis: int, nodes: Any) -> Any:
    return gather_along(g, inputs[1], axis), None


GATHER = explicit("gather", _gather_vjp, saves=(1,))
SCATTER = explicit("scatter", _scatter_vjp, saves=(1,))


def gather(input: Tensor, dim: int, index: Any) -> Tensor:
    """``y[i][j] = input[index[i][j]][j]`` for dim 0, and so on for any dim.

    index: integers of any shape that, off dim, is no larger than input's. The output has the shape
    of index and the dtype of input. Raises IndexError, ShapeError.

    >>> import tilegrad as tg
    >>> tg.gather(tg.tensor([[1, 2], [3, 4]]), 1, tg.tensor([[0, 0], [1, 0]]))
    tensor([[1, 1],
            [4, 3]])
    """
    axis, at = axis_of(dim, input.ndim, "gather"), index_tensor(index, "gather")
    if input.ndim == 0 and at.ndim <= 1:
        return reshape(gather_along(reshape(input, 1), reshape(at, -1), 0), at.shape)
    return gather_along(input, at, axis)


def take_along_dim(input: Tensor, indices: Any, dim: int | None = None) -> Tensor:
    """As gather(dim, indices), with the other axes broadcast; without dim, from the flat input.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[30, 10, 20]])
    >>> tg.take_along_dim(x, tg.tensor([[1, 2, 0]]), 1)
    tensor([[10, 20, 30]])
    """
    at = index_tensor(indices, "take_along_dim")
    if dim is None:
        return gather_along(reshape(input, -1), reshape(at, -1), 0)
    axis = axis_of(dim, input.ndim, "take_along_dim")
    if at.ndim != input.ndim:
        raise ShapeError(
            f"take_along_dim: expects indices of {input.ndim} dimensions, got shape {at.shape}"
        )
    off_axis = [(*t.shape[:axis], 1, *t.shape[axis + 1 :]) for t in (input, at)]
    shape = list(broadcast_shapes(*off_axis))
    there, here = list(shape), list(shape)
    there[axis], here[axis] = input.shape[axis], at.shape[axis]
    return gather_along(broadcast_to(input, there), broadcast_to(at, here), axis)


def scatter_add(input: Tensor, dim: int, index: Any, src: Tensor) -> Tensor:
    """input with src added at index along dim: ``y[index[i][j]][j] += src[i][j]`` for dim 0.

    index: no larger than src, nor (off dim) than input. src: of input's dtype. Raises IndexError,
    ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.scatter_add(tg.zeros(3), 0, tg.tensor([0, 0, 2]), tg.tensor([1.0, 2.0, 3.0]))
    tensor([3., 0., 3.])
    """
    axis, at = axis_of(dim, input.ndim, "scatter_add"), index_tensor(index, "scatter_add")
    _same_dtype("scatter_add", input, "src", src)
    if at.ndim != src.ndim or any(n > m for n, m in zip(at.shape, src.shape, strict=True)):
        raise ShapeError(
            f"scatter_add: expects index no larger than src, got {at.shape} and {src.shape}"
        )
    part = getitem(src, tuple(slice(n) for n in at.shape)) if at.shape != src.shape else src
    return input + _scatter(part, at, axis, input.shape)


def _same_dtype(op: str, input: Tensor, name: str, other: Tensor) -> None:
    if not isinstance(other, Tensor) or other.dtype != input.dtype:
        got = other.dtype if isinstance(other, Tensor) else type(other).__name__
        raise DTypeError(f"{op}: expects {name} to be a tensor of {input.dtype}, got {got}")


# --- take: whole slices along one axis ------------------------------------------------------------
def take_slices(x: Tensor, index: Tensor, axis: int, op: str = "take") -> Tensor:
    """The recorded take: x.shape[:axis] + index.shape + x.shape[axis + 1:]; op is for errors."""
    try:
        y = kernels.of(x._array).take(x._array, index._array, axis)
    except TgIndexError as e:
        raise TgIndexError(str(e).replace("take", op, 1)) from None
    return record(TAKE, y, (x, index), axis)


def _add_slices(g: Tensor, index: Tensor, axis: int, size: int) -> Tensor:
    """Zeros with the slices of g added at index along an axis of length size: take's transpose."""
    y = kernels.of(g._array).take_grad(g._array, index._array, axis, size)
    return record(TAKE_GRAD, y, (g, index), axis)


def _take_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axis: int, nodes: Any) -> Any:
    return _add_slices(g, inputs[1], axis, nodes[0].shape[axis]), None


def _take_grad_vjp(g: Tensor, need: Any, inputs: Any, out: Any, axis: int, nodes: Any) -> Any:
    return take_slices(g, inputs[1], axis), None


TAKE = explicit("take", _take_vjp, saves=(1,))
TAKE_GRAD = explicit("take_grad", _take_grad_vjp, saves=(1,))


def take(input: Tensor, index: Any) -> Tensor:
    """Elements of the flattened input, in the shape of index.

    >>> import tilegrad as tg
    >>> tg.take(tg.tensor([[1, 2], [3, 4]]), tg.tensor([3, 0]))
    tensor([4, 1])
    """
    return take_slices(reshape(input, -1), index_tensor(index, "take"), 0)


def _one_axis(op: str, input: Tensor, dim: int, index: Any) -> tuple[int, Tensor]:
    axis, at = axis_of(dim, input.ndim, op), index_tensor(index, op)
    if at.ndim > 1 or input.ndim == 0:
        raise ShapeError(
            f"{op}: expects index of one dimension and input of at least one, got {at.shape} and"
            f" {input.shape}"
        )
    return axis, reshape(at, -1)


def index_select(input: Tensor, dim: int, index: Any) -> Tensor:
    """The slices of input at index along dim, as a copy; index has one dimension.

    >>> import tilegrad as tg
    >>> tg.index_select(tg.tensor([[1, 2], [3, 4]]), 1, tg.tensor([1, 1, 0]))
    tensor([[2, 2, 1],
            [4, 4, 3]])
    """
    axis, at = _one_axis("index_select", input, dim, index)
    return take_slices(input, at, axis, "index_select")


def index_add(input: Tensor, dim: int, index: Any, source: Tensor, *, alpha: Any = 1) -> Tensor:
    """input with alpha times the slices of source added at index along dim.

    source: of input's dtype and, off dim, shape; along dim as long as index. Raises IndexError,
    ShapeError, DTypeError.

    >>> import tilegrad as tg
    >>> tg.index_add(tg.zeros(3), 0, tg.tensor([1, 1]), tg.tensor([2.0, 3.0]))
    tensor([0., 5., 0.])
    """
    axis, at = _one_axis("index_add", input, dim, index)
    _same_dtype("index_add", input, "source", source)
    expected = (*input.shape[:axis], *at.shape, *input.shape[axis + 1 :])
    if source.shape != expected:
        raise ShapeError(f"index_add: expects source of shape {expected}, got {source.shape}")
    added = _add_slices(source, at, axis, input.shape[axis])
    return input + (added if alpha == 1 else added * alpha)


def _with_slices(input: Tensor, axis: int, at: Tensor, value: Any) -> Tensor:
    y = clone(input)
    setitem(y, (slice(None),) * axis + (at,), value)
    return y


def index_copy(input: Tensor, dim: int, index: Any, source: Tensor) -> Tensor:
    """input with the slices at index along dim replaced by those of source.

    >>> import tilegrad as tg
    >>> tg.index_copy(tg.zeros(3), 0, tg.tensor([2, 0]), tg.tensor([5.0, 7.0]))
    tensor([7., 0., 5.])
    """
    axis, at = _one_axis("index_copy", input, dim, index)
    _same_dtype("index_copy", input, "source", source)
    return _with_slices(input, axis, at, source)


def index_fill(input: Tensor, dim: int, index: Any, value: Any) -> Tensor:
    """input with the slices at index along dim filled with the number value.

    >>> import tilegrad as tg
    >>> tg.index_fill(tg.zeros(3), 0, tg.tensor([0, 2]), 5)
    tensor([5., 0., 5.])
    """
    axis, at = _one_axis("index_fill", input, dim, index)
    return _with_slices(input, axis, at, value)


# --- masks ----------------------------------------------------------------------------------------
def mask_tensor(mask: Any, op: str) -> Tensor:
    """mask as a bool tensor."""
    m = as_operand(mask, op)
    if m.dtype != dtypes.bool_:
        raise DTypeError(f"{op}: mask must be bool, got {m.dtype}")
    return m


def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Where input is not zero, in row-major order, as an int64 tensor (count, ndim).

    as_tuple: one tensor of length count per axis instead (as an index would need). No gradient
    passes.

    >>> import tilegrad as tg
    >>> tg.nonzero(tg.tensor([[0, 5], [7, 0]]))
    tensor([[0, 1],
            [1, 0]])
    """
    input = as_operand(input, "nonzero")
    if as_tuple and input.ndim == 0:
        input = reshape(input, 1)
    found = kernels.of(input._array).nonzero(input._array)
    if as_tuple:
        return tuple(constant(found[i]) for i in range(input.ndim))
    return constant(found.T)


def argwhere(input: Tensor) -> Tensor:
    """The indices of the non-zero elements, a row for each; as nonzero.

    >>> import tilegrad as tg
    >>> tg.argwhere(tg.tensor([0, 5, 7]))
    tensor([[1],
            [2]])
    """
    return nonzero(input)


def masked_fill(input: Tensor, mask: Any, value: Any) -> Tensor:
    """value where mask holds, else input; mask broadcasts with input.

    value: a number or a tensor without dimensions, converted to input's dtype. Raises DTypeError
    when mask is not bool.

    >>> import tilegrad as tg
    >>> tg.masked_fill(tg.ones(2), tg.tensor([True, False]), -1)
    tensor([-1.,  1.])
    """
    v = as_operand(value, "masked_fill")
    if v.ndim:
        raise ShapeError(f"masked_fill: value must have no dimensions, got shape {v.shape}")
    if dtypes.category(v.dtype) > dtypes.category(input.dtype):
        raise DTypeError(f"masked_fill: a tensor of {input.dtype} cannot hold a value of {v.dtype}")
    v = assigned("masked_fill", value, input.dtype)
    return where(mask_tensor(mask, "masked_fill"), v, input)


def masked_select(input: Tensor, mask: Any) -> Tensor:
    """The elements where mask holds, as one dimension in row-major order; the two broadcast.

    >>> import tilegrad as tg
    >>> tg.masked_select(tg.tensor([1, 2, 3]), tg.tensor([True, False, True]))
    tensor([1, 3])
    """
    m = mask_tensor(mask, "masked_select")
    shape = broadcast_shapes(input.shape, m.shape)
    (at,) = nonzero(reshape(broadcast_to(m, shape), -1), as_tuple=True)
    return take_slices(reshape(broadcast_to(input, shape), -1), at, 0)


# --- classes and tables ---------------------------------------------------------------------------
def extreme(name: str, x: Tensor) -> Any:
    """The "min" or "max" of all elements as a Python number."""
    axes = tuple(range(x.ndim))
    return kernels.of(x._array).reduce(REDUCE.index(name), x._array, axes, False).item()


def _require_range(op: str, x: Tensor, size: int, what: str) -> None:
    """Raise IndexError unless every value is in [0, size)."""
    if x._array.size == 0:
        return
    low, high = extreme("min", x), extreme("max", x)
    if low < 0 or high >= size:
        raise TgIndexError(f"{op}: {what} {low if low < 0 else high} is outside [0, {size})")


def _embedding_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> Any:
    index, (padding, by_count) = inputs[0], params
    if by_count:
        a = index._array
        counts = np.bincount(a.reshape(-1), minlength=1)[a] if a.size else np.ones(a.shape)
        g = g * constant((1.0 / counts).astype(g.dtype)[..., None])  # type: ignore[operator]
    if padding is not None:
        g = where(unsqueeze(index == padding, -1), 0.0, g)
    return None, _add_slices(g, index, 0, nodes[1].shape[0])


EMBEDDING = explicit("embedding", _embedding_vjp, saves=(0,))


def embedding(
    input: Any,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of weight (V, D) at input (any shape of integers in [0, V)): input.shape + (D,).

    padding_idx: a row that gets no gradient. max_norm: the rows used are first shortened, in place,
    to this norm (of order norm_type). scale_grad_by_freq: the gradient of a row is divided by how
    often it is used. sparse is not supported. Raises IndexError when a value is out of range,
    ValueError.

    >>> import tilegrad as tg
    >>> from tilegrad.nn.functional import embedding
    >>> embedding(tg.tensor([2, 0]), tg.tensor([[1.0], [2.0], [3.0]]))
    tensor([[3.],
            [1.]])
    """
    at = index_tensor(input, "embedding")
    if sparse:
        raise TgValueError(f"embedding: sparse is not supported, got {sparse}")
    if weight.ndim != 2:
        raise ShapeError(f"embedding: expects weight (V, D), got shape {weight.shape}")
    rows = weight.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise TgIndexError(f"embedding: padding_idx {padding_idx} is out of range for {rows}")
        padding_idx %= rows
    _require_range("embedding", at, rows, "index")
    if max_norm is not None:
        _shorten(weight, at, number(max_norm, "embedding", "max_norm", 0.0), norm_type)
    y = kernels.of(weight._array).take(weight._array, at._array, 0)
    return record(EMBEDDING, y, (at, weight), (padding_idx, bool(scale_grad_by_freq)))


@no_grad()
def _shorten(weight: Tensor, at: Tensor, limit: float, order: float) -> None:
    """Shortens the rows of weight at the indices to the norm limit, in place."""
    from .moments import norm

    rows = constant(np.unique(at._array))
    part = take_slices(weight, rows, 0)
    size = norm(part, order, 1, True)
    factor = limit / (size + 1e-7)  # type: ignore[operator]
    long: Any = size > limit  # type: ignore[operator]
    if long._array.any():
        setitem(weight, rows, part * where(long, factor, 1.0))  # type: ignore[operator]


def one_hot(input: Any, num_classes: int = -1) -> Tensor:
    """int64 of shape input.shape + (num_classes,): 1 at the class of each element, else 0.

    num_classes: -1 means the largest class plus one. Raises IndexError for classes outside
    [0, num_classes), ValueError where there is nothing to tell num_classes from.

    >>> import tilegrad as tg
    >>> from tilegrad.nn.functional import one_hot
    >>> one_hot(tg.tensor([1, 0]), 3)
    tensor([[0, 1, 0],
            [1, 0, 0]])
    """
    x = index_tensor(input, "one_hot")
    if num_classes == -1:
        if x._array.size == 0:
            raise TgValueError("one_hot: num_classes must be given for an empty input")
        num_classes = extreme("max", x) + 1
    if num_classes < 1:
        raise TgValueError(f"one_hot: num_classes must be at least 1, got {num_classes}")
    _require_range("one_hot", x, num_classes, "class")
    classes = np.arange(num_classes, dtype=np.int64)
    return convert(unsqueeze(x, -1) == from_numpy(classes), dtypes.int64)


METHODS: dict[str, Any] = {
    f.__name__: f
    for f in (
        argwhere, gather, index_add, index_copy, index_fill, index_select, masked_fill,
        masked_select, nonzero, scatter_add, take, take_along_dim,
    )
}  # fmt: skip
for _fn in (index_add, index_copy, index_fill, masked_fill, scatter_add):
    add_inplace(_fn.__name__ + "_", _fn)

FUNCTIONAL = ("embedding", "one_hot")
"""What ``tilegrad.nn.functional`` publishes from here."""

__all__ = [
    "argwhere", "gather", "index_add", "index_copy", "index_fill", "index_select", "masked_fill",
    "masked_select", "nonzero", "scatter_add", "take", "take_along_dim",
]  # fmt: skip
