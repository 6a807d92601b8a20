"""New tensors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..device import check_device
from ..errors import DTypeError, ShapeError, renamed
from ..errors import MemoryError as TgMemoryError
from ..errors import ValueError as TgValueError
from ..recording import constants
from ..tensor import Tensor, tensor
from .rules import as_operand, linear, number, record, scalar, sizes_of

_new = Tensor._new


def _shape(op: str, sizes: tuple[Any, ...], size: Any = None) -> tuple[int, ...]:
    if size is not None:
        if sizes:
            raise TypeError(f"{op}() got multiple values for argument 'size'")
        sizes = (size,)
    shape = sizes_of(sizes, op)
    if any(n < 0 for n in shape):
        raise ShapeError(f"{op}: negative size in shape {shape}")
    if any(n >= 2**63 for n in shape):
        raise TgMemoryError(f"{op}: shape {shape} overflows 2^63 bytes")
    return shape


def _full(op: str, size: tuple, value: Any, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    check_device(device)
    d = dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype)
    shape = _shape(op, size)
    try:
        x = _new(kernels.for_dtype(d).full(shape, d, scalar(value, d, op)._array))
    except (ShapeError, TgMemoryError) as e:
        raise renamed(e, op) from None
    return x.requires_grad_() if requires_grad else x


def sized(name: str, data: tuple[Any, ...], dtype: Any) -> Tensor:
    """What Tensor(*data) makes: zeros of the sizes in data, or a copy of the one sequence, array or
    tensor there."""
    if len(data) == 1 and not isinstance(data[0], (int, float, complex, np.number)):
        return tensor(data[0], dtype=dtype)
    if any(isinstance(n, (bool, float, complex)) for n in data):
        raise TypeError(f"{name}: expects sizes or one sequence of data, got {data}")
    return _full(name, data or (0,), 0, dtype, None, False)


def zeros(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of zeros. sizes: ints or one tuple, also by the name size; dtype: the default
    floating dtype unless given.

    Raises ShapeError for negative sizes, MemoryError when the machine has not enough memory.

    >>> import tilegrad as tg
    >>> tg.zeros(2)
    tensor([0., 0.])
    """
    return _full("zeros", _shape("zeros", sizes, size), 0, dtype, device, requires_grad)


def ones(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of ones; sizes, size, dtype and errors as for zeros.

    >>> import tilegrad as tg
    >>> tg.ones(2, dtype=tg.int64)
    tensor([1, 1])
    """
    return _full("ones", _shape("ones", sizes, size), 1, dtype, device, requires_grad)


def empty(
    *sizes: Any,
    size: Any = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor whose values do not matter; sizes, size and dtype as for zeros.

    It is zero-filled: memory is never handed out as found.

    >>> import tilegrad as tg
    >>> tg.empty(2, 3).shape
    (2, 3)
    """
    return _full("empty", _shape("empty", sizes, size), 0, dtype, device, requires_grad)


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of shape size, filled with fill_value, whose dtype it takes unless one is given.

    >>> import tilegrad as tg
    >>> tg.full((2,), 7)
    tensor([7, 7])
    """
    size = sizes_of((size,), "full")
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    d = dtypes.scalar_dtype(fill_value) if dtype is None else dtype
    return _full("full", size, fill_value, d, device, requires_grad)


def _like(name: str, value: Any) -> Callable:
    def fn(
        input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        d = input.dtype if dtype is None else dtype
        return _full(name, input.shape, value, d, device, requires_grad)

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = (
        f"As ``{name[:-5]}``, with the shape and (unless given) the dtype of input.\n\n"
        f"    >>> import tilegrad as tg\n    >>> tg.{name}(tg.tensor([1, 2])).shape\n    (2,)\n"
    )
    return fn


zeros_like, ones_like, empty_like = (
    _like("zeros_like", 0),
    _like("ones_like", 1),
    _like("empty_like", 0),
)


def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor filled with fill_value, with the shape and (unless given) the dtype of input.

    >>> import tilegrad as tg
    >>> tg.full_like(tg.tensor([1, 2]), 9)
    tensor([9, 9])
    """
    d = input.dtype if dtype is None else dtype
    return _full("full_like", input.shape, fill_value, d, device, requires_grad)


def _require_memory(op: str, count: int) -> None:
    """Raises MemoryError unless count numbers fit: NumPy makes them before a kernel could check."""
    stats = getattr(kernels.host, "memory_stats", None)
    limit = stats()["memory_limit"] if stats else 2**43
    if count * 8 > limit:
        raise TgMemoryError(f"{op}: {count} elements need {count * 8} bytes, more than {limit}")


def _from_host(a: np.ndarray, dtype: Any, device: Any, requires_grad: bool) -> Tensor:
    check_device(device)
    d = a.dtype if dtype is None else dtypes.dtype(dtype)
    x = _new(np.ascontiguousarray(a.astype(d, copy=False)).reshape(a.shape))
    return x.requires_grad_() if requires_grad else x


def _whole(x: Any) -> Any:
    return int(x) if math.isfinite(x) else x


@constants
def arange(
    start: Any = 0,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... up to but not including end.

    dtype: int64 when all are ints, else the default floating dtype; an integer dtype truncates the
    three before it counts. Raises ValueError for step 0 or
    of the wrong sign.

    >>> import tilegrad as tg
    >>> tg.arange(1, 6, 2)
    tensor([1, 3, 5])
    """
    if end is None:
        start, end = 0, start
    start, end, step = (x.item() if isinstance(x, Tensor) else x for x in (start, end, step))
    for name, x in (("start", start), ("end", end), ("step", step)):
        if not isinstance(x, (int, float, np.number)):
            raise DTypeError(f"arange: {name} must be a number, got {type(x).__name__}")
    if dtype is not None and dtypes.dtype(dtype) in dtypes.INTEGER:
        start, end, step = _whole(start), _whole(end), _whole(step)
    if step == 0 or (end - start) * step < 0 or not math.isfinite(end - start):
        raise TgValueError(f"arange: step {step} does not lead from {start} to {end}")
    count = max(math.ceil((end - start) / step), 0)
    _require_memory("arange", count)
    ints = all(isinstance(x, (int, np.integer)) for x in (start, end, step))
    base = np.arange(count, dtype=np.int64)
    a = base * step + start if ints else base.astype(np.float64) * step + start
    d = dtype if dtype is not None else dtypes.int64 if ints else dtypes.get_default_dtype()
    return _from_host(a, d, device, requires_grad)


@constants
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """steps numbers from start to end, both included, at equal distances.

    >>> import tilegrad as tg
    >>> tg.linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    start, end = number(start, "linspace", "start"), number(end, "linspace", "end")
    (steps,) = sizes_of((steps,), "linspace")
    if steps < 0:
        raise TgValueError(f"linspace: steps must not be negative, got {steps}")
    _require_memory("linspace", steps)
    d = dtypes.get_default_dtype() if dtype is None else dtype
    return _from_host(np.linspace(start, end, steps), d, device, requires_grad)


def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """steps powers of base, from base**start to base**end, as linspace spaces the exponents.

    >>> import tilegrad as tg
    >>> tg.logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    start, end = number(start, "logspace", "start"), number(end, "logspace", "end")
    (steps,) = sizes_of((steps,), "logspace")
    if steps < 0:
        raise TgValueError(f"logspace: steps must not be negative, got {steps}")
    _require_memory("logspace", steps)
    d = dtypes.get_default_dtype() if dtype is None else dtype
    powers = np.float64(base) ** np.linspace(start, end, steps)
    return _from_host(powers, d, device, requires_grad)


@constants
def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """The n x m matrix with ones on its diagonal.

    >>> import tilegrad as tg
    >>> tg.eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    d = dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype)
    rows, columns = _shape("eye", (n, n if m is None else m))
    _require_memory("eye", rows * columns)
    return _from_host(np.eye(rows, columns, dtype=np.float64), d, device, requires_grad)


_TRIL = linear("tril", lambda g, k, shape: tril(g, k))
_TRIU = linear("triu", lambda g, k, shape: triu(g, k))


@constants
def _triangle(op: str, rule: Any, x: Tensor, diagonal: int, lower: bool) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(f"{op}: expects at least 2 dimensions, got shape {x.shape}")
    rows, columns = x.shape[-2:]
    keep = np.tri(rows, columns, diagonal if lower else diagonal - 1, dtype=np.bool_)
    zero = np.zeros((), x.dtype)
    a, b = (x._array, zero) if lower else (zero, x._array)
    return record(rule, kernels.of(x._array).where(keep, a, b), (x,), diagonal)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and below a diagonal of the last two axes; zero elsewhere.

    >>> import tilegrad as tg
    >>> tg.tril(tg.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """
    return _triangle("tril", _TRIL, as_operand(input, "tril"), diagonal, True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and above a diagonal of the last two axes; zero elsewhere.

    >>> import tilegrad as tg
    >>> tg.triu(tg.ones(2, 2))
    tensor([[1., 1.],
            [0., 1.]])
    """
    return _triangle("triu", _TRIU, as_operand(input, "triu"), diagonal, False)


def _new_method(name: str, fn: Callable) -> Callable:
    def method(self: Tensor, *size: Any, dtype: Any = None, **kwargs: Any) -> Tensor:
        return fn(*size, dtype=self.dtype if dtype is None else dtype, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"As ``tilegrad.{name[4:]}``, with this tensor's dtype unless one is given."
    return method


METHODS: dict[str, Any] = {"tril": tril, "triu": triu}
for _name, _fn in (("zeros", zeros), ("ones", ones), ("empty", empty), ("full", full)):
    METHODS["new_" + _name] = _new_method("new_" + _name, _fn)

__all__ = [
    "arange", "empty", "empty_like", "eye", "full", "full_like", "linspace", "logspace", "ones",
    "ones_like", "tril", "triu", "zeros", "zeros_like",
]  # fmt: skip
