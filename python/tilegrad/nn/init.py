"""Initial values, written in place; each function returns its tensor.

Sources: LeCun et al., 1998, Efficient BackProp (lecun); Glorot and Bengio, 2010 (xavier); Saxe et
al., 2014 (orthogonal); He et al., 2015 (kaiming).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes, ops
from ..errors import ShapeError
from ..errors import ValueError as TgValueError
from ..grad_mode import no_grad
from ..tensor import Tensor, from_numpy

_GAINS = {
    **dict.fromkeys(("linear", "identity", "sigmoid"), 1.0),
    **dict.fromkeys((f"conv{'_transpose' * t}{n}d" for n in (1, 2, 3) for t in (0, 1)), 1.0),
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
    # as for relu, 1 / sqrt(E f(z)**2) for a standard normal z
    "elu": 1.2451983007,
    "gelu": 1.5335304412,
    "silu": 1.6765324703,
}


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By what factor a nonlinearity shrinks the standard deviation; param: the slope of leaky_relu
    (0.01 unless given). PyTorch has no elu, gelu and silu. Raises ValueError for an unknown name.

    >>> calculate_gain("tanh")
    1.6666666666666667
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else float(param)
        return math.sqrt(2.0 / (1.0 + slope * slope))
    if nonlinearity not in _GAINS:
        raise TgValueError(f"calculate_gain: unknown nonlinearity {nonlinearity!r}")
    return _GAINS[nonlinearity]


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs and outputs one unit of a weight (out, in, *kernel) has."""
    if tensor.ndim < 2:
        raise ShapeError(f"init: fans need at least 2 dimensions, got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


@no_grad()
def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Numbers uniform in [a, b)."""
    return tensor.uniform_(a, b, generator=generator)


@no_grad()
def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Numbers from the normal distribution."""
    return tensor.normal_(mean, std, generator=generator)


@no_grad()
def constant_(tensor: Any, val: float) -> Tensor:
    """One number everywhere."""
    return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Uniform in +-gain * sqrt(6 / (fan_in + fan_out))."""
    bound = gain * math.sqrt(6.0 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fans(tensor))), generator)


def _kaiming(op: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """The standard deviation that keeps the variance through a layer with this nonlinearity."""
    if mode not in ("fan_in", "fan_out"):
        raise TgValueError(f"{op}: mode is 'fan_in' or 'fan_out', got {mode!r}")
    fan = fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Uniform in +-gain * sqrt(3 / fan); a: the slope of leaky_relu."""
    bound = math.sqrt(3.0) * _kaiming("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Normal with standard deviation gain / sqrt(fan); a: the slope of leaky_relu."""
    std = _kaiming("kaiming_normal_", tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, std, generator)


def lecun_uniform_(tensor: Tensor, generator: Any = None) -> Tensor:
    """Uniform in +-sqrt(3 / fan_in): units whose inputs have variance 1 begin with variance 1.

    >>> import tilegrad as tg
    >>> bool((lecun_uniform_(tg.empty(4, 3)).abs() <= 1).all())
    True
    """
    return kaiming_uniform_(tensor, nonlinearity="linear", generator=generator)


def lecun_normal_(tensor: Tensor, generator: Any = None) -> Tensor:
    """Normal with standard deviation 1 / sqrt(fan_in), the start of self-normalizing networks too
    (Klambauer et al., 2017).

    >>> import tilegrad as tg
    >>> lecun_normal_(tg.empty(4, 3)).shape
    (4, 3)
    """
    return kaiming_normal_(tensor, nonlinearity="linear", generator=generator)


def _below(x: float) -> float:
    """The share of the standard normal distribution below x."""
    return (1.0 + math.erf(x / math.sqrt(2.0))) / 2.0


@no_grad()
def trunc_normal_(
    tensor: Any,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Normal numbers, of which those outside [a, b] are drawn again; the bounds are absolute.

    Raises ValueError unless std > 0 and a <= b.

    >>> import tilegrad as tg
    >>> bool((trunc_normal_(tg.empty(100), std=0.5, a=-1.0, b=1.0).abs() <= 1).all())
    True
    """
    if not (std > 0.0 and math.isfinite(std) and math.isfinite(mean) and a <= b):
        raise TgValueError(
            "trunc_normal_: expects a finite mean, std > 0 and a <= b, got "
            f"mean {mean}, std {std}, a {a}, b {b}"
        )
    peak = max(a, min(mean, b))
    d = abs(peak - mean) / std
    normal = _below((b - mean) / std) - _below((a - mean) / std) > 0.3
    if not normal:
        # Proposals are uniform in the part of [a, b] whose density is above e**-50 of its largest.
        reach = std * (math.sqrt(d * d + 100.0) - d)
        a, b = max(a, peak - reach), min(b, peak + reach)
    low, high = (tensor.new_full((), v).item() for v in (a, b))
    values = tensor.new_empty(tensor.numel())
    missing = ops.arange(tensor.numel())
    while missing.numel():
        x: Any = tensor.new_empty(missing.numel())
        if normal:
            x.normal_(mean, std, generator=generator)
            good = (x >= low) & (x <= high)
        else:
            x.uniform_(low, high, generator=generator)
            chance = (((x.double() - mean) / std).square() - d * d).mul_(-0.5).exp_()
            good = ops.rand(x.shape, dtype=dtypes.float64, generator=generator) <= chance
        values[missing[good]] = x[good]
        missing = missing[~good]
    return tensor.copy_(values.reshape(tensor.shape))


@no_grad()
def eye_(tensor: Any) -> Tensor:
    """The identity matrix, as far as it goes in a matrix that is not square. Raises ShapeError.

    >>> import tilegrad as tg
    >>> eye_(tg.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: expects 2 dimensions, got shape {tensor.shape}")
    return tensor.copy_(ops.eye(*tensor.shape))


@no_grad()
def dirac_(tensor: Any, groups: int = 1) -> Tensor:
    """The weight of a convolution that hands its channels on: ones in the middle of the kernels
    (i, i), within each group. tensor (out, in / groups, *kernel) with 1 to 3 spatial dimensions.

    Raises ShapeError.

    >>> import tilegrad as tg
    >>> dirac_(tg.empty(2, 2, 3)).tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]
    """
    if tensor.ndim not in (3, 4, 5):
        raise ShapeError(f"dirac_: expects 3, 4 or 5 dimensions, got shape {tensor.shape}")
    if groups < 1 or tensor.shape[0] % groups:
        raise ShapeError(f"dirac_: {tensor.shape[0]} outputs do not divide into {groups} groups")
    tensor.zero_()
    each = tensor.shape[0] // groups
    middle = tuple(n // 2 for n in tensor.shape[2:])
    for group in range(groups):
        for i in range(min(each, tensor.shape[1])):
            tensor[(group * each + i, i, *middle)] = 1
    return tensor


@no_grad()
def orthogonal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Tensor:
    """gain times a random matrix with orthonormal rows or, where there are more rows than columns,
    columns; all dimensions but the first count as columns. Raises ShapeError.

    Drawn uniformly (Mezzadri, 2007): the QR decomposition, in float64, of normal numbers.

    >>> import tilegrad as tg
    >>> w = orthogonal_(tg.empty(2, 5))
    >>> tg.round(w @ w.T * 1000).abs()
    tensor([[1000.,    0.],
            [   0., 1000.]])
    """
    if tensor.ndim < 2:
        raise ShapeError(f"orthogonal_: expects at least 2 dimensions, got shape {tensor.shape}")
    if not tensor.numel():
        return tensor
    rows, columns = tensor.shape[0], tensor.numel() // tensor.shape[0]
    tall = (max(rows, columns), min(rows, columns))
    x = ops.randn(tall, dtype=dtypes.float64, generator=generator)
    q, r = np.linalg.qr(x.numpy())
    q = q * np.where(np.diag(r) < 0.0, -gain, gain)
    return tensor.copy_(from_numpy(q if rows >= columns else q.T).reshape(tensor.shape))


@no_grad()
def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Normal numbers, of which a share of sparsity in every column is zero (Martens, 2010).

    tensor: 2 dimensions; of n rows, ceil(sparsity * n) are zero, others in each column. Raises
    ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> (sparse_(tg.empty(4, 3), 0.5) == 0).sum(0)
    tensor([2, 2, 2])
    """
    if tensor.ndim != 2:
        raise ShapeError(f"sparse_: expects 2 dimensions, got shape {tensor.shape}")
    if not 0.0 <= sparsity <= 1.0:
        raise TgValueError(f"sparse_: sparsity lies in [0, 1], got {sparsity}")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    tensor.normal_(0.0, std, generator=generator)
    for column in range(columns):
        tensor[ops.randperm(rows, generator=generator)[:zeros], column] = 0
    return tensor


__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
    "lecun_normal_", "lecun_uniform_", "normal_", "ones_", "orthogonal_", "sparse_",
    "trunc_normal_", "uniform_", "xavier_normal_", "xavier_uniform_", "zeros_",
]  # fmt: skip
