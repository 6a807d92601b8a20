"""Tensor: one array and what differentiation needs. Operators and most methods are attached by
``tilegrad.ops``."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import autograd, dtypes, kernels, recording, tape
from .device import CPU, check_device, device
from .errors import GradientError, ShapeError
from .errors import ValueError as TgValueError
from .hooks import Handle, next_key
from .host import host_array, printed
from .size import Size

if TYPE_CHECKING:
    from ._methods import Methods  # a stub alone: what tilegrad.ops attaches
else:
    Methods = object


class Share:
    """Held by the tensors that view one storage, so that they can be counted."""

    __slots__ = ()


class Tensor(Methods):
    """A multi-dimensional array that records what is done with it.

    Tensor(data) copies data (nested sequences, arrays, tensors) into the default floating dtype,
    Tensor(2, 3) is zeros of that shape; ``tilegrad.tensor`` keeps the dtype of data.

    >>> import tilegrad as tg
    >>> x = tg.Tensor([[1, 2], [3, 4]])
    >>> x.shape, x.dtype
    ((2, 2), dtype('float32'))
    """

    __slots__ = ("__weakref__", "_array", "_grad", "_node", "_share", "_version")
    __array_ufunc__ = None  # NumPy's operators hand over to ours
    __array_priority__ = 1000

    _array: Any
    _node: tape.Node | None
    _grad: Any
    _version: list[int] | None
    _share: Share | None

    def __new__(cls, *data: Any) -> Any:
        from .ops.create import sized  # imports this file

        return sized("Tensor", data, dtypes.get_default_dtype())

    @classmethod
    def _new(cls, array: Any, node: tape.Node | None = None) -> Tensor:
        return _new(array, node, cls)

    def _view(self, array: Any) -> Tensor:
        """A tensor without a node on an array that views this tensor's storage."""
        t = _new(array)
        cell = self._cell()
        if self._share is None:
            self._share = Share()
        t._version, t._share = cell, self._share
        return t

    def _cell(self) -> list[int]:
        """The version of the storage, shared by all that watch it."""
        if self._version is None:
            self._version = [0]
        return self._version

    # --- what it is -------------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self._array.shape

    @property
    def size(self) -> Size:
        """The number of elements; called, the shape (``x.size()``) or one axis (``x.size(0)``)."""
        n = Size(self._array.size)
        n._shape = self._array.shape
        return n

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def dtype(self) -> np.dtype:
        """The element type."""
        return self._array.dtype

    @property
    def device(self) -> device:
        """Where the storage lives."""
        return CPU

    def dim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    @property
    def nbytes(self) -> int:
        """The size of the elements in bytes."""
        return self._array.nbytes

    @property
    def itemsize(self) -> int:
        """The size of one element in bytes."""
        return self._array.itemsize

    def element_size(self) -> int:
        """The size of one element in bytes."""
        return self._array.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """The steps between neighbours along each axis, in elements."""
        s = tuple(n // self._array.itemsize for n in self._array.strides)
        return s if dim is None else s[dim]

    def is_floating_point(self) -> bool:
        """Whether the dtype is floating."""
        return dtypes.is_floating(self._array.dtype)

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array.ctypes.data

    # --- differentiation --------------------------------------------------------------------------
    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this tensor."""
        return self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Starts (or, for a leaf, ends) the recording of operations on this tensor; in place."""
        if not requires_grad:
            if self._node is not None and self._node.rule is not None:
                raise GradientError(
                    "requires_grad_: a tensor that was computed cannot stop requiring grad; "
                    "use detach()"
                )
            self._node = None
        elif self._node is None:
            if not dtypes.is_differentiable(self._array.dtype):
                raise GradientError(
                    f"requires_grad_: expects a floating tensor, this one is {self.dtype}"
                )
            tape.make_leaf(self)
            if self._array.dtype.kind == "c":  # what arrives leaves the tape
                self._node.hooks = {0: autograd.conj}  # type: ignore[attr-defined]
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user rather than computed."""
        return self._node is None or self._node.rule is None

    @property
    def grad_fn(self) -> tape.Node | None:
        """The recorded operation that made it, or None."""
        return None if self.is_leaf else self._node

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by ``backward``, of the same shape and dtype, or None."""
        if recording.captures:
            recording.touch(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise GradientError(f"grad: expects a tensor or None, got {type(value).__name__}")
            if value.shape != self.shape or value.dtype != self.dtype:
                raise GradientError(
                    f"grad: expects shape {self.shape} and dtype {self.dtype}, got {value.shape} "
                    f"and {value.dtype}"
                )
        if recording.captures:
            recording.touch(self, True)
        self._grad = value

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Accumulates gradients into the leaves this tensor was computed from.

        gradient: the cotangent, same shape and dtype; may be omitted for one element. The other
        arguments and the errors are those of ``tilegrad.autograd.backward``.

        >>> import tilegrad as tg
        >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad
        tensor([2., 4.])
        """
        if inputs is not None:
            autograd.backward(self, gradient, retain_graph, create_graph, inputs)
            return
        node, g = autograd.root(self, gradient)
        keep = create_graph if retain_graph is None else retain_graph
        tape.run((node,), (g,), None, keep, create_graph)

    def detach(self) -> Tensor:
        """A tensor on the same storage that is cut from the graph; in-place changes are seen and
        counted through both."""
        return self._view(self._array)

    def detach_(self) -> Tensor:
        """Cuts this tensor from the graph, in place."""
        self._node = None
        return self

    @property
    def data(self) -> Tensor:
        """As detach(). Assigning replaces the storage."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if value.shape != self.shape and self._node is not None:
            raise ShapeError(f"data: expects shape {self.shape}, got {value.shape}")
        other = value._view(value._array)
        self._array, self._version, self._share = other._array, other._version, other._share

    def _add_hook(self, hook: Callable, sign: int) -> Handle:
        if self._node is None:
            raise GradientError("register_hook: the tensor does not require grad")
        if self._node.hooks is None:
            self._node.hooks = {}
        hooks = self._node.hooks
        if sign > 0 and self._array.dtype.kind == "c" and not self.is_leaf:
            hook = autograd.outside(hook)
        key = sign * next_key()
        hooks[key] = hook
        return Handle(hooks, key)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """Calls hook(grad) when the gradient of this tensor is complete; what it returns, unless
        None, replaces the gradient. Raises GradientError without requires_grad."""
        return self._add_hook(hook, 1)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> Handle:
        """Calls hook(self) after ``.grad`` of this leaf was updated."""
        if not self.is_leaf:
            raise GradientError("register_post_accumulate_grad_hook: only leaves have .grad")
        return self._add_hook(hook, -1)

    def retain_grad(self) -> None:
        """Makes ``backward`` keep the gradient of this computed tensor in ``.grad``."""
        if self.is_leaf:
            return
        me = weakref.ref(self)

        def keep(g: Tensor) -> None:
            t = me()
            if t is not None:
                t._grad = g if t._grad is None else t._grad + g

        self.register_hook(keep)

    # --- changing in place ------------------------------------------------------------------------
    def _writable(self, what: str, sources: tuple[Any, ...]) -> bool:
        """Whether an in-place change may write into the storage (and then calls ``_written``);
        False: compute a new array and ``_rebind``. Raises where either would be wrong."""
        recorded = tape.mode.enabled and (
            self._node is not None
            or any(isinstance(t, Tensor) and t._node is not None for t in sources)
        )
        if not recorded:
            if not self._array.flags.writeable:
                raise TgValueError(f"{what}: the tensor's memory is read-only")
            return True
        if self._node is not None and self._node.rule is None:
            raise GradientError(
                f"{what}: a leaf that requires grad cannot be changed in place while operations "
                "are recorded; use no_grad()"
            )
        if self._share is not None and sys.getrefcount(self._share) > 2:
            raise GradientError(
                f"{what}: this tensor shares storage with another one, so a recorded in-place "
                "change would not be seen there; write through the base, or clone() first"
            )
        return False

    def _written(self) -> Tensor:
        """Counts a change of the storage, once it has succeeded."""
        if recording.captures:
            recording.written(self)
        if self._version is not None:
            self._version[0] += 1
        return self

    def _rebind(self, other: Tensor) -> Tensor:
        """Becomes other: the result of a recorded in-place change."""
        if not other._array.ndim:
            tape.count_growth(self._node, other._node)
        self._array, self._node = other._array, other._node
        self._version, self._share = other._version, other._share
        return self

    # --- leaving the graph ------------------------------------------------------------------------
    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The array itself, without a copy. A tensor that requires grad must be detached first, or
        force given.

        >>> import tilegrad as tg
        >>> tg.tensor([1, 2]).numpy()
        array([1, 2])
        """
        if self._node is not None and not force:
            raise GradientError("numpy: the tensor requires grad; call detach() first")
        return recording.exported(self)._value("numpy()")

    def _value(self, what: str) -> Any:  # for Python to read, which a captured step must not do
        if recording.captures:
            recording.read(what)
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        if self._node is not None:
            raise BufferError("__dlpack__: the tensor requires grad; call detach() first")
        return recording.exported(self)._value("__dlpack__").__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers (a number for a 0-d tensor)."""
        return self._value("tolist()").tolist()

    def item(self) -> Any:
        """The only element as a Python number; ValueError unless there is exactly one."""
        if self._array.size != 1:
            raise TgValueError(f"item: expects one element, the tensor has shape {self.shape}")
        return self._value("item()").item()

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise TgValueError(
                f"bool: a tensor of shape {self.shape} has no truth value; use any() or all()"
            )
        return bool(self._value("bool()").item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        if self._array.dtype.kind not in "iu" or self._array.size != 1:
            raise TypeError("only a tensor of one integer can be an index")
        return int(self._value("int()").item())

    def __len__(self) -> int:
        if self._array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._array.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    __hash__ = object.__hash__

    def __format__(self, spec: str) -> str:
        if self._array.size == 1 and self._array.ndim == 0:
            return format(self.item(), spec)
        return format(repr(self), spec)

    def __repr__(self) -> str:
        notes = []
        if self.dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_):
            notes.append(f"dtype={self.dtype}")
        if self._node is not None:
            leaf = self._node.rule is None
            notes.append("requires_grad=True" if leaf else f"grad_fn={self._node!r}")
        return printed(self._value("repr()"), notes)

    # --- copying ----------------------------------------------------------------------------------
    def __deepcopy__(self, memo: dict) -> Any:
        if not self.is_leaf:
            raise GradientError("deepcopy: only leaves can be copied; detach() the tensor first")
        t = type(self)._new(kernels.of(self._array).copy(self._array))
        memo[id(self)] = t
        if self._node is not None:
            t.requires_grad_()
        if self._grad is not None:
            t._grad = self._grad.__deepcopy__(memo)
        return t

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self.is_leaf:
            raise GradientError("pickle: only leaves can be pickled; detach() the tensor first")
        return _rebuild, (type(self), self._array, self.requires_grad)


_allocate = object.__new__


def _new(array: Any, node: tape.Node | None = None, cls: type[Tensor] = Tensor) -> Tensor:
    """Tensor._new, without the cost of a class method."""
    t: Any = _allocate(cls)
    t._array = array
    t._node = node
    t._grad = t._version = t._share = None
    return t


tape.new_tensor = _new


def _rebuild(cls: type[Tensor], array: Any, requires_grad: bool) -> Tensor:
    return cls._new(array).requires_grad_(requires_grad)


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of data.

    data: a number, nested sequences, an array or a tensor. dtype: that of data where it has one;
    else the default floating dtype for floats, int64 for integers, bool for booleans.
    Raises ShapeError for ragged sequences, DTypeError for elements tensors do not hold.

    >>> import tilegrad as tg
    >>> tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    check_device(device)
    a = host_array(data, dtype)
    t = Tensor._new(kernels.of(a).copy(a, "C"))
    return t.requires_grad_() if requires_grad else t


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares memory with a NumPy array.

    Arrays of foreign byte order or alignment are copied. Raises DTypeError for dtypes that tensors
    do not hold.

    >>> import numpy as np, tilegrad as tg
    >>> a = np.zeros(2)
    >>> t = tg.from_numpy(a)
    >>> a[0] = 5
    >>> t
    tensor([5., 0.], dtype=float64)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expects a numpy.ndarray, got {type(array).__name__}")
    return recording.exported(Tensor._new(host_array(array)))


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """data as a tensor, sharing memory where that is possible.

    >>> import tilegrad as tg
    >>> tg.as_tensor([1, 2])
    tensor([1, 2])
    """
    check_device(device)
    if isinstance(data, Tensor):
        d = data.dtype if dtype is None else dtypes.dtype(dtype)
        return data if d == data.dtype else data.to(d)
    return recording.exported(Tensor._new(host_array(data, dtype)))
