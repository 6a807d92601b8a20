"""Activations made of other ops: rectifiers, shrinkages, gates and projections.

Each follows the derivative PyTorch chooses at a kink; NaN stays NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import dtypes, kernels
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..kernels import contract
from ..tensor import Tensor
from . import unary
from .binary import logical_and, where
from .classification import softmax
from .random import rand
from .reduce import amax, argmax
from .reduce import any as any_
from .reduce import sum as sum_
from .rules import as_operand, axis_of, convert, elementwise, number, record
from .shape import reshape, unflatten
from .slicing import narrow


def floating(op: str, input: Any) -> Any:
    """The operand as a tensor; DTypeError unless it is floating."""
    x = as_operand(input, op)
    if not dtypes.is_floating(x.dtype):
        raise DTypeError(f"{op}: input must be floating, got {x.dtype}")
    return x


def into(input: Any, y: Tensor, inplace: bool) -> Tensor:
    """y, or input with the values of y written into it; while recorded, input becomes y."""
    if not inplace:
        return y
    if input.dtype == y.dtype and not input._writable("copy_", (y,)):
        return input._rebind(y)
    return input.copy_(y)


# --- piecewise linear -----------------------------------------------------------------------------
_CLAMP = contract.UNARY.index("clamp")
HARDTANH = elementwise(
    "hardtanh", lambda t, x, y, low, high: t * logical_and(x > low, x < high), saves=(0,)
)


def _limited(x: Tensor, low: float, high: float) -> Any:
    """clamp, with derivative zero at the limits themselves."""
    y = kernels.of(x._array).unary(_CLAMP, x._array, low, high)
    return record(HARDTANH, y, (x,), (low, high))


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x limited to [min_val, max_val], element by element; the derivative is 1 strictly inside.

    input: floating, any shape. Raises ValueError unless min_val <= max_val, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.hardtanh(tg.tensor([-2.0, 0.5, 3.0]))
    tensor([-1. ,  0.5,  1. ])
    """
    low, high = number(min_val, "hardtanh", "min_val"), number(max_val, "hardtanh", "max_val")
    if not low <= high:
        raise TgValueError(f"hardtanh: expects min_val <= max_val, got {min_val} and {max_val}")
    return into(input, _limited(floating("hardtanh", input), low, high), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6). Source: Krizhevsky, Convolutional deep belief networks, 2010.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.relu6(tg.tensor([-1.0, 4.0, 9.0]))
    tensor([0., 4., 6.])
    """
    return into(input, _limited(floating("relu6", input), 0.0, 6.0), inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6: a piecewise linear sigmoid. Source: Courbariaux et al., 2015.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.hardsigmoid(tg.tensor([-4.0, 0.0, 4.0]))
    tensor([0. , 0.5, 1. ])
    """
    x = floating("hardsigmoid", input)
    return into(input, _limited(x + 3.0, 0.0, 6.0) / 6.0, inplace)


_HARDSWISH = elementwise(
    "hardswish",
    lambda t, x, y: t * where(x <= -3, 0.0, where(x >= 3, 1.0, x / 3.0 + 0.5)),
    saves=(0,),
)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * relu6(x + 3) / 6. Source: Howard et al., MobileNetV3, 2019.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.hardswish(tg.tensor([-4.0, 3.0, 4.0]))
    tensor([-0.,  3.,  4.])
    """
    x = floating("hardswish", input)
    fixed = x.detach()
    y = fixed * (_limited(fixed + 3.0, 0.0, 6.0) / 6.0)
    return into(input, record(_HARDSWISH, y._array, (x,)), inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value, element by element.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.threshold(tg.tensor([-1.0, 0.5]), 0.1, 20.0)
    tensor([20. ,  0.5])
    """
    x = floating("threshold", input)
    low, other = number(threshold, "threshold", "threshold"), number(value, "threshold", "value")
    return into(input, where(x <= low, other, x), inplace)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0: the step of a hard threshold (Donoho and Johnstone, 1994).

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.hardshrink(tg.tensor([-1.0, 0.25, 2.0]))
    tensor([-1.,  0.,  2.])
    """
    x, limit = floating("hardshrink", input), number(lambd, "hardshrink", "lambd")
    return where(logical_and(x >= -limit, x <= limit), 0.0, x)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x - lambd where x > lambd, x + lambd where x < -lambd, else 0: the proximal map of lambd |x|
    (Donoho and Johnstone, 1994).

    input: floating, any shape. Raises ValueError for a negative lambd, DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.softshrink(tg.tensor([-1.0, 0.25, 2.0]))
    tensor([-0.5,  0. ,  1.5])
    """
    x, limit = floating("softshrink", input), number(lambd, "softshrink", "lambd")
    if not limit >= 0:
        raise TgValueError(f"softshrink: lambd must be at least 0, got {lambd}")
    inside = logical_and(x >= -limit, x <= limit)
    return where(inside, 0.0, where(x > 0, x - limit, x + limit))


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight * x.

    input: (N, C, ...), floating; weight: one value, or C. Raises ShapeError, DTypeError. Source: He
    et al., Delving deep into rectifiers, 2015.

    >>> import tilegrad as tg
    >>> tg.nn.functional.prelu(tg.tensor([[-4.0, 2.0]]), tg.tensor([0.25]))
    tensor([[-1.,  2.]])
    """
    x, w = floating("prelu", input), as_operand(weight, "prelu")
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.ndim > 1 or w._array.size not in (1, channels):
        raise ShapeError(
            f"prelu: weight expects 1 or {channels} values for input of shape {x.shape}, got shape "
            f"{w.shape}"
        )
    a = reshape(convert(w, x.dtype), (-1,) + (1,) * (x.ndim - 2) if x.ndim > 1 else (1,) * x.ndim)
    return where(x > 0, x, a * x)


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """x where x > 0, else a * x: a is drawn from [lower, upper) per element in training, and is
    (lower + upper) / 2 otherwise.

    input: floating, any shape. Raises ValueError unless lower <= upper, DTypeError. Source: Xu et
    al., Empirical evaluation of rectified activations, 2015.

    >>> import tilegrad as tg
    >>> tg.nn.functional.rrelu(tg.tensor([-4.0, 2.0]), 0.25, 0.75)
    tensor([-2.,  2.])
    """
    x = floating("rrelu", input)
    low, high = number(lower, "rrelu", "lower"), number(upper, "rrelu", "upper")
    if not low <= high:
        raise TgValueError(f"rrelu: expects lower <= upper, got {lower} and {upper}")
    if not training:
        return into(input, unary.leaky_relu(x, (low + high) / 2), inplace)
    slope: Any = rand(x.shape, dtype=x.dtype)
    return into(input, where(x > 0, x, x * (slope * (high - low) + low)), inplace)


# --- exponential ----------------------------------------------------------------------------------
def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (e**(x / alpha) - 1).

    input: floating, any shape. Raises ValueError for alpha 0, DTypeError. Source: Barron, 2017.

    >>> import tilegrad as tg
    >>> tg.nn.functional.celu(tg.tensor([0.0, 2.0]), 0.5)
    tensor([0., 2.])
    """
    x, a = floating("celu", input), number(alpha, "celu", "alpha")
    if a == 0:
        raise TgValueError("celu: alpha must not be 0")
    negative: Any = where(x > 0, 0.0, x)
    return into(input, where(x > 0, x, unary.expm1(negative / a) * a), inplace)


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """1.0507 * elu(x, 1.6733): keeps mean 0 and variance 1. Source: Klambauer et al., 2017.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.selu(tg.tensor([0.0, 1.0]))
    tensor([0.    , 1.0507])
    """
    x = floating("selu", input)
    return into(input, unary.elu(x, _SELU_ALPHA) * _SELU_SCALE, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(ln(1 + e**x)). Source: Misra, 2019.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.mish(tg.tensor([0.0, 1.0]))
    tensor([0.    , 0.8651])
    """
    x = floating("mish", input)
    return into(input, x * unary.tanh(unary.softplus(x)), inplace)


def logsigmoid(input: Tensor) -> Tensor:
    """ln(1 / (1 + e**-x)), without overflow.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.logsigmoid(tg.tensor([0.0, -100.0]))
    tensor([  -0.6931, -100.    ])
    """
    return -unary.softplus(-floating("logsigmoid", input), 1.0, 40.0)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|). Source: Turian, Bergstra and Bengio, 2009.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.softsign(tg.tensor([-1.0, 3.0]))
    tensor([-0.5 ,  0.75])
    """
    x = floating("softsign", input)
    return x / (unary.abs(x) + 1.0)


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x).

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.tanhshrink(tg.tensor([0.0, 1.0]))
    tensor([0.    , 0.2384])
    """
    x = floating("tanhshrink", input)
    return x - unary.tanh(x)


def gaussian(input: Tensor) -> Tensor:
    """e**(-x * x): the unit of a radial basis network. Source: Broomhead and Lowe, 1988.

    input: floating, any shape. Raises DTypeError.

    >>> import tilegrad as tg
    >>> tg.nn.functional.gaussian(tg.tensor([0.0, 1.0]))
    tensor([1.    , 0.3679])
    """
    x = floating("gaussian", input)
    return unary.exp(-(x * x))


# --- along an axis --------------------------------------------------------------------------------
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), a and b the halves of input along dim.

    input: floating, with an even size along dim. Raises ShapeError, IndexError, DTypeError. Source:
    Dauphin et al., Language modeling with gated convolutional networks, 2016.

    >>> import tilegrad as tg
    >>> tg.nn.functional.glu(tg.tensor([4.0, 0.0]))
    tensor([2.])
    """
    x = floating("glu", input)
    axis = axis_of(dim, x.ndim, "glu")
    if x.ndim == 0 or x.shape[axis] % 2:
        raise ShapeError(f"glu: expects an even size along dim {dim}, got shape {x.shape}")
    half = x.shape[axis] // 2
    first: Any = narrow(x, axis, 0, half)
    return first * unary.sigmoid(narrow(x, axis, half, half))


def softmin(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """softmax(-x) along dim; dtype and errors as for softmax.

    >>> import tilegrad as tg
    >>> tg.nn.functional.softmin(tg.tensor([0.0, 0.0]), 0)
    tensor([0.5, 0.5])
    """
    return softmax(-as_operand(input, "softmin"), dim, dtype)  # type: ignore[operator]


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """softmax((logits + noise) / tau) along dim: a relaxed draw from the classes.

    logits: floating. hard: the one-hot draw, with the gradient of the relaxed one. eps has no
    effect, as in PyTorch. Raises ValueError unless tau > 0, DTypeError. Source: Jang et al., 2016.

    >>> import tilegrad as tg
    >>> tg.nn.functional.gumbel_softmax(tg.zeros(2, 3), hard=True).sum(1)
    tensor([1., 1.])
    """
    x, t = floating("gumbel_softmax", logits), number(tau, "gumbel_softmax", "tau")
    if not t > 0:
        raise TgValueError(f"gumbel_softmax: tau must be positive, got {tau}")
    # 1 - u lies in (0, 1], so that the outer logarithm never sees ln 0.
    u: Any = rand(x.shape, dtype=dtypes.float64 if x.dtype == dtypes.float64 else dtypes.float32)
    tiny = 2.0**-100
    noise = -unary.log(-unary.log(1.0 - u) + tiny)
    y: Any = softmax((x + convert(noise, x.dtype)) / t, dim)
    if not hard:
        return y
    axis = axis_of(dim, x.ndim, "gumbel_softmax")
    with no_grad():
        classes = as_operand(_counted(x.shape, axis), "gumbel_softmax")
        one = convert(argmax(y, axis, True) == classes, x.dtype)
    return one - y.detach() + y


def _counted(shape: tuple[int, ...], axis: int) -> Any:
    """0, 1, ... along axis, broadcasting against shape."""
    from .create import arange

    return reshape(arange(shape[axis]), (-1,) + (1,) * (len(shape) - 1 - axis))


def sparsemax(input: Tensor, dim: int = -1) -> Tensor:
    """The point of the probability simplex nearest to x along dim: softmax's sparse relative.

    input: floating, at least one element along dim. Raises ShapeError, IndexError, DTypeError.
    Sources: Martins and Astudillo, From softmax to sparsemax, 2016; the support by Michelot, 1986.

    >>> import tilegrad as tg
    >>> tg.nn.functional.sparsemax(tg.tensor([1.0, 0.5, -1.0]))
    tensor([0.75, 0.25, 0.  ])
    """
    x = floating("sparsemax", input)
    axis = axis_of(dim, x.ndim, "sparsemax")
    if x.ndim == 0 or x.shape[axis] == 0:
        raise ShapeError(f"sparsemax: expects elements along dim {dim}, got shape {x.shape}")
    shifted = x - amax(x, axis, True).detach()  # type: ignore[operator]
    with no_grad():
        inside: Any = shifted.detach() >= -1.0  # what lies further below is never in the support
        while True:
            less = logical_and(inside, shifted.detach() > _level(shifted.detach(), inside, axis))
            if not any_(less != inside).item():
                break
            inside = less
    return where(inside, shifted - _level(shifted, inside, axis), 0.0)


def _level(x: Any, inside: Tensor, axis: int) -> Any:
    """The shift that makes the elements inside sum to one."""
    count = sum_(convert(inside, x.dtype), axis, True)
    return (sum_(where(inside, x, 0.0), axis, True) - 1.0) / count  # type: ignore[operator]


def maxout(input: Tensor, pool_size: int, dim: int = 1) -> Tensor:
    """The largest of every pool_size neighbours along dim.

    input: any real dtype, divisible by pool_size along dim. Ties share the gradient. Raises
    ShapeError, IndexError. Source: Goodfellow et al., Maxout networks, 2013.

    >>> import tilegrad as tg
    >>> tg.nn.functional.maxout(tg.tensor([[1.0, 4.0, 3.0, 2.0]]), 2)
    tensor([[4., 3.]])
    """
    x = as_operand(input, "maxout")
    axis = axis_of(dim, x.ndim, "maxout")
    if x.ndim == 0 or pool_size < 1 or x.shape[axis] % pool_size:
        raise ShapeError(
            f"maxout: expects a size along dim {dim} that pool_size {pool_size} divides, got shape "
            f"{x.shape}"
        )
    return amax(unflatten(x, axis, (-1, pool_size)), axis + 1)


# --- in place -------------------------------------------------------------------------------------
def _in_place(fn: Callable, name: str, rest: str, result: str) -> Callable:
    def inplace(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(input, Tensor):
            raise DTypeError(f"{name}: input must be a tensor, got {type(input).__name__}")
        return into(input, fn(input, *args, **kwargs), True)

    inplace.__name__ = inplace.__qualname__ = name
    inplace.__doc__ = (
        f"As {name[:-1]}, written into input; args and kwargs are those of it.\n\n"
        f"    >>> import tilegrad as tg\n"
        f"    >>> tg.nn.functional.{name}(tg.tensor([-2.0, 2.0]){rest})\n    tensor({result})\n"
    )
    return inplace


relu_ = _in_place(unary.relu, "relu_", "", "[0., 2.]")
elu_ = _in_place(unary.elu, "elu_", ", 0.0", "[-0.,  2.]")
leaky_relu_ = _in_place(unary.leaky_relu, "leaky_relu_", ", 0.5", "[-1.,  2.]")
hardtanh_ = _in_place(hardtanh, "hardtanh_", "", "[-1.,  1.]")
rrelu_ = _in_place(rrelu, "rrelu_", ", 0.5, 0.5", "[-1.,  2.]")
threshold_ = _in_place(threshold, "threshold_", ", 0.0, 7.0", "[7., 2.]")

FUNCTIONAL = (
    "celu", "elu_", "gaussian", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu_", "logsigmoid", "maxout", "mish", "prelu", "relu6",
    "relu_", "rrelu", "rrelu_", "selu", "softmin", "softshrink", "softsign", "sparsemax",
    "tanhshrink", "threshold", "threshold_",
)  # fmt: skip
"""What ``tilegrad.nn.functional`` publishes from here."""
