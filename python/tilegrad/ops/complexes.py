"""Complex numbers: made, taken apart and conjugated.

Inside the tape a cotangent g of z stands for the linear map dL = Re(g dz), so g = dL/dx - i dL/dy.
With it the rules of analytic functions, products and linear maps are those of real numbers, without
a conjugate. PyTorch's gradient is the conjugate, dL/dx + i dL/dy, the direction of steepest ascent;
cotangents and gradients are conjugated where they enter and leave the tape (``autograd``,
``func``, hooks, ``Function``). Source: Hirose (ed.), Complex-Valued Neural Networks, 2013,
chapter 4 (CR calculus).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from .binary import eq, where
from .elementwise import METHODS as _ATTACHED
from .elementwise import add_inplace
from .join import stack
from .rules import (
    as_operand,
    cast,
    elementwise,
    explicit,
    linear,
    promote,
    record,
    record_view,
)
from .shape import broadcast_tensors, transpose
from .unary import cos, sin


def _is_complex(input: Tensor) -> bool:
    """Whether the dtype is complex."""
    return input._array.dtype.kind == "c"


def _require(op: str, x: Any) -> Tensor:
    x = as_operand(x, op)
    if not _is_complex(x):
        raise DTypeError(f"{op}: expects a complex tensor, got {x.dtype}")
    return x


# --- making ---------------------------------------------------------------------------------------
def _complex_vjp(g: Tensor, need: Any, inputs: Any, out: Any, params: Any, nodes: Any) -> tuple:
    # Re(g (dx + i dy))
    return real(g) if need[0] else None, -imag(g) if need[1] else None


COMPLEX = explicit("complex", _complex_vjp)


def complex(real: Any, imag: Any) -> Tensor:
    """real + i imag, element by element, with broadcasting.

    real, imag: both float32 (the result is complex64) or both float64 (complex128). Raises
    DTypeError otherwise, ShapeError when the shapes do not broadcast.

    >>> import tilegrad as tg
    >>> tg.complex(tg.tensor([1.0]), tg.tensor([2.0]))
    tensor([1.+2.j], dtype=complex64)
    """
    a, b = as_operand(real, "complex"), as_operand(imag, "complex")
    d = dtypes.complex_of(a.dtype)
    if a.dtype != b.dtype or d == a.dtype or _is_complex(a):
        raise DTypeError(
            f"complex: expects real and imag of one dtype, float32 or float64, got {a.dtype} and "
            f"{b.dtype}"
        )
    a, b = broadcast_tensors(a, b)
    y = np.empty(a.shape, d)
    y.real, y.imag = a._array, b._array
    return record(COMPLEX, y, (a, b))


def polar(abs: Any, angle: Any) -> Tensor:
    """abs * e**(i angle), element by element, with broadcasting.

    abs, angle: both float32 or both float64. Raises DTypeError, ShapeError.

    >>> import tilegrad as tg
    >>> tg.polar(tg.tensor([2.0]), tg.tensor([0.0]))
    tensor([2.+0.j], dtype=complex64)
    """
    r, phi = as_operand(abs, "polar"), as_operand(angle, "polar")
    if r.dtype != phi.dtype or r.dtype not in (dtypes.float32, dtypes.float64):
        raise DTypeError(
            f"polar: expects abs and angle of one dtype, float32 or float64, got {r.dtype} and "
            f"{phi.dtype}"
        )
    return complex(r * cos(phi), r * sin(phi))


VIEW_AS_COMPLEX = linear("view_as_complex", lambda g, p, s: stack([real(g), -imag(g)], -1))
VIEW_AS_REAL = linear("view_as_real", lambda g, p, s: complex(g[..., 0], -g[..., 1]))


def view_as_complex(input: Tensor) -> Tensor:
    """The view of pairs (..., 2) as complex numbers (...).

    input: float32 or float64; the two parts must lie side by side in memory. Raises DTypeError,
    ShapeError.

    >>> import tilegrad as tg
    >>> tg.view_as_complex(tg.tensor([[1.0, 2.0]]))
    tensor([1.+2.j], dtype=complex64)
    """
    x = as_operand(input, "view_as_complex")
    d = dtypes.complex_of(x.dtype)
    if d == x.dtype:
        raise DTypeError(f"view_as_complex: expects float32 or float64, got {x.dtype}")
    a = x._array
    if not a.ndim or a.shape[-1] != 2 or (a.size and a.strides[-1] != a.itemsize):
        raise ShapeError(
            f"view_as_complex: expects pairs side by side in a last axis of length 2, got shape "
            f"{x.shape} with strides {x.stride()}"
        )
    pairs = a.view(d)[..., 0] if a.size else np.empty(a.shape[:-1], d)
    return record_view(VIEW_AS_COMPLEX, pairs, x)


def view_as_real(input: Tensor) -> Tensor:
    """The view of complex numbers (...) as pairs of real and imaginary parts (..., 2).

    Raises DTypeError for real dtypes.

    >>> import tilegrad as tg
    >>> tg.view_as_real(tg.tensor([1 + 2j]))
    tensor([[1., 2.]])
    """
    x = _require("view_as_real", input)
    return record_view(VIEW_AS_REAL, x._array[..., None].view(dtypes.real_of(x.dtype)), x)


# --- parts ----------------------------------------------------------------------------------------
REAL = linear("real", lambda g, dtype, shape: cast(g, dtype))
IMAG = linear("imag", lambda g, dtype, shape: cast(g, dtype) * -1j)
CONJ = linear("conj", lambda g, params, shape: conj(g))


def real(input: Tensor) -> Tensor:
    """The real parts, as a view; a real tensor is its own.

    >>> import tilegrad as tg
    >>> tg.real(tg.tensor([1 + 2j]))
    tensor([1.])
    """
    x = as_operand(input, "real")
    return record_view(REAL, x._array.real, x, x.dtype) if _is_complex(x) else x


def imag(input: Tensor) -> Tensor:
    """The imaginary parts, as a view. Raises DTypeError for real dtypes.

    >>> import tilegrad as tg
    >>> tg.imag(tg.tensor([1 + 2j]))
    tensor([2.])
    """
    x = _require("imag", input)
    return record_view(IMAG, x._array.imag, x, x.dtype)


def conj(input: Tensor) -> Tensor:
    """The complex conjugates, in memory of their own; a real tensor is its own.

    >>> import tilegrad as tg
    >>> tg.conj(tg.tensor([1 + 2j]))
    tensor([1.-2.j], dtype=complex64)
    """
    x = as_operand(input, "conj")
    return record(CONJ, np.asarray(np.conjugate(x._array)), (x,)) if _is_complex(x) else x


conj_physical = conj


def resolve_conj(input: Tensor) -> Tensor:
    """The tensor itself: conjugates are always computed at once.

    >>> import tilegrad as tg
    >>> tg.resolve_conj(tg.tensor([1 + 2j]).conj())
    tensor([1.-2.j], dtype=complex64)
    """
    return input


def resolve_neg(input: Tensor) -> Tensor:
    """The tensor itself: negatives are always computed at once.

    >>> import tilegrad as tg
    >>> tg.resolve_neg(tg.tensor([1.0]))
    tensor([1.])
    """
    return input


def is_conj(input: Tensor) -> bool:
    """False: no tensor is a conjugate still to be computed.

    >>> import tilegrad as tg
    >>> tg.is_conj(tg.tensor([1j]).conj())
    False
    """
    return False


def _angle_slope(g: Tensor, z: Tensor, y: Any) -> Tensor:
    """d angle = Re(-i dz / z), and zero at the origin."""
    origin = eq(z, 0)
    return where(origin, 0.0, g * -1j / where(origin, 1.0, z))


ABS = explicit(
    "abs_complex",
    lambda g, need, inputs, out, params, nodes: (g * conj(sgn_complex(inputs[0])),),
    saves=(0,),
)
ANGLE = explicit(
    "angle",
    lambda g, need, inputs, out, params, nodes: (_angle_slope(g, inputs[0], out),),
    saves=(0,),
)


def abs_complex(x: Tensor) -> Tensor:
    """|z|; the gradient at the origin is zero."""
    return record(ABS, np.asarray(np.abs(x._array)), (x,))


def sgn_complex(x: Tensor) -> Tensor:
    """z / |z|, and 0 at the origin."""
    origin = eq(x, 0)
    return where(origin, 0.0, x / where(origin, 1.0, abs_complex(x)))


ANGLE_OF_REAL = elementwise("angle_of_real", None)


def angle(input: Any) -> Tensor:
    """The angle of complex numbers, in (-pi, pi]; of real ones 0, or pi below 0, with gradient 0.

    Integers and bool are converted to the default floating dtype. The gradient at 0 is 0.

    >>> import tilegrad as tg
    >>> tg.angle(tg.tensor([1j, -1.0]))
    tensor([1.5708, 3.1416])
    """
    (x,) = promote("angle", input, floating=True)
    a = x._array
    if _is_complex(x):
        return record(ANGLE, np.asarray(np.angle(a)), (x,))
    y = np.where(np.isnan(a), a, np.where(a < 0, np.pi, 0.0).astype(a.dtype))
    return record(ANGLE_OF_REAL, y, (x,))


def adjoint(input: Tensor) -> Tensor:
    """The conjugates of the matrices (..., m, n), transposed; of real ones a view.

    >>> import tilegrad as tg
    >>> tg.adjoint(tg.zeros(2, 3)).shape
    (3, 2)
    """
    if input.ndim < 2:
        raise ShapeError(f"adjoint: expects at least 2 dimensions, got shape {input.shape}")
    return conj(transpose(input, -2, -1))


def _h(input: Tensor) -> Tensor:
    """The adjoint of one matrix."""
    if input.ndim not in (0, 2):
        raise ShapeError(f"H: expects a matrix, got shape {input.shape}")
    return adjoint(input) if input.ndim else conj(input)


METHODS: dict[str, Any] = {
    f.__name__: f for f in (adjoint, angle, conj, is_conj, resolve_conj, resolve_neg)
}
METHODS.update(
    conj_physical=conj, real=property(real), imag=property(imag), H=property(_h),
    is_complex=_is_complex, mH=property(adjoint),
)  # fmt: skip
add_inplace("conj_physical_", conj)
METHODS["conj_physical_"] = _ATTACHED.pop("conj_physical_")

__all__ = [
    "adjoint", "angle", "complex", "conj", "conj_physical", "imag", "is_conj", "polar", "real",
    "resolve_conj", "resolve_neg", "view_as_complex", "view_as_real",
]  # fmt: skip
