"""Random tensors by counters (Philox4x32-10): a seed names the whole stream, whatever the number
of threads. Every call takes the next blocks of its generator's stream."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import dtypes, kernels
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..generator import Generator, default_generator
from ..tensor import Tensor, check_device
from .create import _shape
from .index import extreme
from .rules import as_operand, convert, linear, number, promote, record, scalar, sizes_of
from .shape import broadcast_shapes, expand

_new = Tensor._new


def manual_seed(seed: int) -> Generator:
    """Seeds the default generator with the integer seed; returns the generator.

    >>> import tilegrad as tg
    >>> tg.manual_seed(0).initial_seed()
    0
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seeds the default generator with a number nobody can foresee, and returns that.

    >>> import tilegrad as tg
    >>> tg.seed() == tg.initial_seed()
    True
    """
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator.

    >>> import tilegrad as tg
    >>> _ = tg.manual_seed(5)
    >>> tg.initial_seed()
    5
    """
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator, as 16 uint8.

    >>> import tilegrad as tg
    >>> state = tg.get_rng_state()
    >>> x = tg.rand(3)
    >>> tg.set_rng_state(state)
    >>> bool((x == tg.rand(3)).all())
    True
    """
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Makes the default generator go on from new_state, which get_rng_state returned.

    >>> import tilegrad as tg
    >>> tg.set_rng_state(tg.get_rng_state())
    """
    default_generator.set_state(new_state)


def _draw(
    kernel: str, shape: tuple[int, ...], dtype: Any, generator: Generator | None, *args: Any
) -> Any:
    """An array from one of the contract's random kernels; dtype None for integers."""
    words = 2 if dtype is None or dtype == dtypes.float64 else 1
    count = math.prod(shape)
    if kernel == "random_normal":
        count += count % 2  # Box-Muller takes pairs
    stream = (generator or default_generator).take(words * count)
    if dtype is not None:
        args = (dtype, *args)
    return getattr(kernels.host, kernel)(shape, *args, *stream)


def _floating(op: str, dtype: Any) -> np.dtype:
    d = dtypes.get_default_dtype() if dtype is None else dtypes.dtype(dtype)
    if not dtypes.is_floating(d):
        raise DTypeError(f"{op}: expects a floating dtype, got {d}")
    return d


def _result(array: Any, requires_grad: bool) -> Tensor:
    x = _new(array)
    return x.requires_grad_() if requires_grad else x


def rand(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform random numbers in [0, 1). sizes: ints or one tuple, also by the name size.

    dtype: floating, the default one unless given. Raises DTypeError, ShapeError.

    >>> import tilegrad as tg
    >>> tg.rand(2, 3).shape
    (2, 3)
    """
    check_device(device)
    d = _floating("rand", dtype)
    return _result(
        _draw("random_uniform", _shape("rand", sizes, size), d, generator), requires_grad
    )


def randn(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal random numbers of mean 0 and variance 1; sizes, size and dtype as for rand.

    >>> import tilegrad as tg
    >>> tg.randn(2, 3).shape
    (2, 3)
    """
    check_device(device)
    d = _floating("randn", dtype)
    return _result(
        _draw("random_normal", _shape("randn", sizes, size), d, generator), requires_grad
    )


def randint(
    *args: Any,
    generator: Generator | None = None,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    **named: Any,
) -> Tensor:
    """``randint(low=0, high, size)``: uniform random integers in [low, high).

    dtype: int64 unless given. Raises ValueError unless low < high.

    >>> import tilegrad as tg
    >>> tg.randint(5, (2, 3)).shape
    (2, 3)
    """
    check_device(device)
    given = dict(
        zip(("high", "size") if len(args) < 3 else ("low", "high", "size"), args, strict=False)
    )
    bounds = {"low": 0, **given, **named}
    if len(args) > 3 or set(bounds) != {"low", "high", "size"} or set(given) & set(named):
        raise TypeError("randint() takes (low=0, high, size)")
    return _result(
        _integers("randint", bounds["low"], bounds["high"], bounds["size"], dtype, generator),
        requires_grad,
    )


def _integers(op: str, low: Any, high: Any, size: Any, dtype: Any, generator: Any) -> Any:
    low, high = int(low), int(high)
    d = dtypes.int64 if dtype is None else dtypes.dtype(dtype)
    if not -(2**63) <= low < high < 2**63:
        raise TgValueError(f"{op}: expects low < high within int64, got [{low}, {high})")
    a = _draw("random_int", _shape(op, (size,)), None, generator, low, high)
    return convert(_new(a), d)._array


def _like(name: str, fn: Callable) -> Callable:
    def like(
        input: Tensor, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Tensor:
        d = input.dtype if dtype is None else dtype
        return fn(input.shape, dtype=d, device=device, requires_grad=requires_grad)

    like.__name__ = like.__qualname__ = name
    like.__doc__ = (
        f"As ``{name[:-5]}``, with the shape and (unless given) the dtype of input.\n\n"
        f"    >>> import tilegrad as tg\n    >>> tg.{name}(tg.zeros(2)).shape\n    (2,)\n"
    )
    return like


rand_like, randn_like = _like("rand_like", rand), _like("randn_like", randn)


def randint_like(
    input: Tensor, low: int, high: int | None = None, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """As ``randint(low, high)`` (or ``randint(0, low)``), with the shape and dtype of input.

    >>> import tilegrad as tg
    >>> tg.randint_like(tg.zeros(2), 5).dtype
    dtype('float32')
    """
    bounds = (0, low) if high is None else (low, high)
    d = input.dtype if dtype is None else dtype
    return randint(*bounds, input.shape, dtype=d, device=device)


def randperm(
    n: int, *, generator: Generator | None = None, dtype: Any = None, device: Any = None
) -> Tensor:
    """The numbers 0 to n - 1 in random order; int64 unless dtype is given.

    >>> import tilegrad as tg
    >>> sorted(tg.randperm(4).tolist())
    [0, 1, 2, 3]
    """
    check_device(device)
    (n,) = sizes_of((n,), "randperm")
    if n < 0:
        raise TgValueError(f"randperm: n must not be negative, got {n}")
    # 64 random bits per element: their order is a uniform permutation (ties do not happen).
    keys = _draw("random_int", (n,), None, generator, -(2**63), 2**63 - 1)
    order = np.argsort(keys, kind="stable")
    return convert(_new(order), dtypes.int64 if dtype is None else dtypes.dtype(dtype))


def normal(
    mean: Any,
    std: Any = 1.0,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: Any = None,
) -> Tensor:
    """Normal random numbers: mean and std are numbers with a size, or tensors that broadcast.

    Raises ValueError for a negative std, ShapeError when the tensors do not broadcast.

    >>> import tilegrad as tg
    >>> tg.normal(0.0, 2.0, (3,)).shape
    (3,)
    """
    if size is None:
        m, s = promote("normal", mean, std, floating=True)
        try:
            shape = broadcast_shapes(m.shape, s.shape)
        except ShapeError:
            raise ShapeError(f"normal: mean {m.shape} and std {s.shape} do not broadcast") from None
        return randn(shape, generator=generator, dtype=m.dtype) * s + m
    if not number(std, "normal", "std") >= 0:
        raise TgValueError(f"normal: expects std >= 0, got {std}")
    return randn(size, generator=generator, dtype=dtype) * std + mean


def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that each element of input gives (or p for all), else 0.

    The result has the shape and dtype of input; no gradient passes. Raises ValueError when a
    probability is outside [0, 1].

    >>> import tilegrad as tg
    >>> tg.bernoulli(tg.tensor([0.0, 1.0]))
    tensor([0., 1.])
    """
    x = as_operand(input, "bernoulli")
    odds = x.detach() if p is None else as_operand(p, "bernoulli").detach()
    (odds,) = promote("bernoulli", odds, floating=True)
    if odds._array.size and not (extreme("min", odds) >= 0 and extreme("max", odds) <= 1):
        raise TgValueError("bernoulli: probabilities must lie in [0, 1]")
    # float32 has 24 bits to compare, float64 53: the half types would round the odds.
    d = dtypes.float64 if odds.dtype == dtypes.float64 else dtypes.float32
    u = _new(_draw("random_uniform", x.shape, d, generator))
    return convert(u < convert(odds, d), x.dtype)  # type: ignore[operator]


# --- dropout --------------------------------------------------------------------------------------
def dropped(x: Tensor, p: float, key: int, offset: int) -> Tensor:
    """dropout with the numbers of a stream from an offset on."""
    y = kernels.of(x._array).dropout(x._array, p, key, offset)
    return record(DROPOUT, y, (x,), (p, key, offset))


# Linear, and its own transpose: the gradient draws the same numbers again.
DROPOUT = linear("dropout", lambda g, params, shape: dropped(g, *params))


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element zero with probability p, else divided by 1 - p; input itself unless training.

    Raises ValueError when p is outside [0, 1], DTypeError when input is not floating.

    >>> import tilegrad as tg
    >>> from tilegrad.nn.functional import dropout
    >>> dropout(tg.ones(3), 0.0)
    tensor([1., 1., 1.])
    """
    p = _probability("dropout", p)
    input = y = as_operand(input, "dropout")
    if training and p > 0:
        _floating("dropout", input.dtype)
        y = dropped(input, p, *default_generator.take(input._array.size))
    return _into("dropout", input, y) if inplace and y is not input else y


def _probability(op: str, p: Any) -> float:
    p = number(p, op, "p")
    if not 0 <= p <= 1:
        raise TgValueError(f"{op}: p must lie in [0, 1], got {p}")
    return p


def _channel_dropout(ndim: int) -> Callable:
    name = f"dropout{ndim}d"

    def fn(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        input = as_operand(input, name)
        if input.ndim not in (ndim + 1, ndim + 2):
            raise ShapeError(f"{name}: expects {ndim} spatial axes, got shape {input.shape}")
        p_ = _probability(name, p)
        if not training or p_ == 0:
            return input
        shape = (*input.shape[:-ndim], *[1] * ndim)
        ones = scalar(1, _floating(name, input.dtype))
        y = input * dropout(expand(ones, shape).clone(), p_)  # type: ignore[operator,attr-defined]
        return _into(name, input, y) if inplace else y

    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = (
        f"As dropout, for whole channels: input ([N,] C and {ndim} spatial axes).\n\n"
        f"    >>> import tilegrad as tg\n    >>> from tilegrad.nn.functional import {name}\n"
        f"    >>> {name}(tg.ones({', '.join('2' * (ndim + 2))}), training=False).shape\n"
        f"    ({', '.join('2' * (ndim + 2))})\n"
    )
    return fn


dropout1d, dropout2d, dropout3d = _channel_dropout(1), _channel_dropout(2), _channel_dropout(3)


# --- in place -------------------------------------------------------------------------------------
def _into(op: str, x: Tensor, y: Tensor) -> Tensor:
    """y's values written into x, or, where that must be recorded, x bound to y."""
    if not x._writable(op, (y,)):
        return x._rebind(y)
    kernels.of(x._array).copy_into(x._array, y._array)
    return x._written()


def uniform_(
    input: Tensor, a: float = 0, b: float = 1, *, generator: Generator | None = None
) -> Tensor:
    """Filled with uniform random numbers in [a, b); returns the tensor.

    >>> import tilegrad as tg
    >>> tg.zeros(2).uniform_(1, 2).min().item() >= 1
    True
    """
    if not a <= b:
        raise TgValueError(f"uniform_: expects a <= b, got [{a}, {b})")
    u = rand(input.shape, generator=generator, dtype=_floating("uniform_", input.dtype))
    return _into("uniform_", input, u if (a, b) == (0, 1) else u * (b - a) + a)


def normal_(
    input: Tensor, mean: float = 0, std: float = 1, *, generator: Generator | None = None
) -> Tensor:
    """Filled with normal random numbers; returns the tensor.

    >>> import tilegrad as tg
    >>> tg.zeros(2).normal_().shape
    (2,)
    """
    if not std >= 0:
        raise TgValueError(f"normal_: expects std >= 0, got {std}")
    z = randn(input.shape, generator=generator, dtype=_floating("normal_", input.dtype))
    return _into("normal_", input, z if (mean, std) == (0, 1) else z * std + mean)


def random_(
    input: Tensor, low: int, high: int | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Filled with random integers in [low, high), or [0, low); returns the tensor.

    >>> import tilegrad as tg
    >>> tg.zeros(2).random_(1)
    tensor([0., 0.])
    """
    bounds = (0, low) if high is None else (low, high)
    a = _integers("random_", *bounds, input.shape, input.dtype, generator)
    return _into("random_", input, _new(a))


def bernoulli_(input: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Filled with ones with probability p, else zeros; returns the tensor.

    >>> import tilegrad as tg
    >>> tg.zeros(2).bernoulli_(1.0)
    tensor([1., 1.])
    """
    return _into("bernoulli_", input, bernoulli(input.detach(), p, generator=generator))


METHODS: dict[str, Any] = {
    f.__name__: f for f in (bernoulli, bernoulli_, normal_, random_, uniform_)
}

FUNCTIONAL = ("dropout", "dropout1d", "dropout2d", "dropout3d")
"""What ``tilegrad.nn.functional`` publishes from here."""

__all__ = [
    "bernoulli", "get_rng_state", "initial_seed", "manual_seed",
    "normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
    "seed", "set_rng_state",
]  # fmt: skip
