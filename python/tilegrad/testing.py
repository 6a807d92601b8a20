"""What a test of a kernel or a gradient needs: a tolerance, a comparison, a gradient check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import autograd, dtypes
from .tensor import Tensor

_EPS = {dtypes.float16: 2.0**-10, dtypes.bfloat16: 2.0**-7, dtypes.float32: 2.0**-23,
        dtypes.float64: 2.0**-52}  # fmt: skip


def tol(dtype: Any, reduction_length: int = 1) -> float:
    """The tolerance, relative to the scale of the values, of a sum of that many rounded terms.

    Errors of a well-ordered sum grow like the square root of its length; four ulps are granted to
    the functions applied on the way. Zero for integers and bool.

    >>> tol("float64", 100) < tol("float32") < tol("float16")
    True
    """
    eps = _EPS.get(dtypes.real_of(dtypes.dtype(dtype)), 0.0)
    return eps * (4.0 + 2.0 * float(max(reduction_length, 1)) ** 0.5)


def assert_close(
    actual: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    reduction_length: int = 1,
    what: str = "",
) -> None:
    """Raises AssertionError unless shapes, dtypes and values agree; NaN equals NaN.

    The default tolerance is ``tol(dtype, reduction_length)`` times the largest finite magnitude
    expected (at least 1). The message names the first bad index, both values and the worst error.
    """
    a, b = _array(actual), _array(expected)
    head = f"{what}: " if what else ""
    if a.shape != b.shape:
        raise AssertionError(f"{head}shape {a.shape}, expected {b.shape}")
    if a.dtype != b.dtype:
        raise AssertionError(f"{head}dtype {a.dtype}, expected {b.dtype}")
    if a.size == 0:
        return
    t = tol(a.dtype, reduction_length)
    wide = np.complex128 if a.dtype.kind == "c" else np.float64 if a.dtype in _EPS else a.dtype
    x, y = a.astype(wide), b.astype(wide)
    if wide is not np.float64 and wide is not np.complex128:
        bad = x != y
        error = np.abs(x.astype(np.float64) - y.astype(np.float64))
        limit = np.zeros(x.shape)
    else:
        finite = np.abs(y[np.isfinite(y)])
        scale = max(float(finite.max()) if finite.size else 1.0, 1.0)
        with np.errstate(invalid="ignore"):
            limit = (t * scale if atol is None else atol) + (rtol or 0.0) * np.abs(y)
            error = np.abs(x - y)
            same = (x == y) | (np.isnan(x) & np.isnan(y))
            bad = ~same & ~(error <= limit)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        worst = np.nanmax(np.where(bad, error, 0.0))
        raise AssertionError(
            f"{head}{int(bad.sum())} of {a.size} elements differ; first at {at}: {a[at]} is not "
            f"{b[at]}; largest error {worst:.3g}"
        )


def _array(x: Any) -> np.ndarray:
    return x._value("assert_close") if isinstance(x, Tensor) else np.asarray(x)


def _outputs(y: Any) -> list[Tensor]:
    ys = list(y) if isinstance(y, (tuple, list)) else [y]
    return [t for t in ys if t is not None and dtypes.is_differentiable(t.dtype)]


def _random(rng: np.random.Generator, like: Tensor) -> np.ndarray:
    """Normal numbers of the shape of like; complex beside complex ones."""
    a = np.asarray(rng.standard_normal(like.shape))
    return a if like.dtype.kind != "c" else np.asarray(a + 1j * rng.standard_normal(like.shape))


def gradcheck(
    func: Callable,
    inputs: Sequence[Any],
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    seed: int = 0,
    directions: int = 2,
    second_order: bool = False,
) -> None:
    """Raises AssertionError unless the gradient of func is its slope.

    func takes the inputs (tensors or plain values) and returns a tensor or several; float64 and
    complex128 inputs that require grad are checked. The check is directional: for random directions
    v and random cotangents u, <u, (f(x + eps v) - f(x - eps v)) / 2 eps> must equal <grad of
    <u, f(x)>, v>, where <a, b> is the real part of sum(conj(a) b), to rtol of the
    larger side plus rounding. second_order checks the gradient of the gradient as well, with fresh
    cotangents for both passes. Method: Griewank and Walther, Evaluating Derivatives.

    >>> import tilegrad as tg
    >>> x = tg.tensor([0.3, 0.7], dtype=tg.float64, requires_grad=True)
    >>> gradcheck(lambda x: x.sin() * x, [x], second_order=True)
    """
    rng = np.random.default_rng(seed)
    for number in range(directions):
        _check_direction(func, list(inputs), eps, rtol, rng, f"order 1, direction {number}")
    if second_order:
        leaves = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
        cotangents = [Tensor._new(_random(rng, y)) for y in _outputs(func(*inputs))]

        def first(*args: Any) -> list[Tensor]:
            # The cotangents are inputs too: the gradient is linear in them, and that is checked.
            xs, us = list(args[: len(inputs)]), list(args[len(inputs) :])
            ys = _outputs(func(*xs))
            grads = autograd.grad(
                ys, [xs[i] for i in leaves], us, create_graph=True, allow_unused=True
            )
            return [g for g in grads if g is not None]

        with_cotangents = [*inputs, *[u.requires_grad_() for u in cotangents]]
        for number in range(directions):
            _check_direction(
                first, with_cotangents, eps, rtol * 10, rng, f"order 2, direction {number}"
            )


def _check_direction(
    func: Callable, inputs: list, eps: float, rtol: float, rng: np.random.Generator, what: str
) -> None:
    leaves = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.requires_grad]
    for i in leaves:
        if inputs[i].dtype not in (dtypes.float64, dtypes.complex128):
            raise AssertionError(
                f"gradcheck: input {i} must be float64 or complex128, got {inputs[i].dtype}"
            )
    xs = list(inputs)
    for i in leaves:
        xs[i] = inputs[i].detach().clone().requires_grad_()
    ys = _outputs(func(*xs))
    us = [_random(rng, y) for y in ys]
    vs = {i: _random(rng, inputs[i]) for i in leaves}
    live = [(y, Tensor._new(u)) for y, u in zip(ys, us, strict=True) if y.requires_grad]
    slope = 0.0
    if live:
        grads = autograd.grad(
            [y for y, _ in live], [xs[i] for i in leaves], [u for _, u in live], allow_unused=True
        )
        for i, g in zip(leaves, grads, strict=True):
            if g is not None:
                if g.shape != xs[i].shape or g.dtype != xs[i].dtype:
                    raise AssertionError(
                        f"gradcheck ({what}): gradient {i} has shape {g.shape}, dtype {g.dtype}, "
                        f"the input {xs[i].shape} and {xs[i].dtype}"
                    )
                slope += float(np.vdot(g.numpy(force=True), vs[i]).real)

    def moved(sign: float) -> list[np.ndarray]:
        points = list(inputs)
        for i in leaves:
            a = np.asarray(inputs[i].numpy(force=True) + sign * eps * vs[i])
            points[i] = Tensor._new(a).requires_grad_()
        return [y.numpy(force=True) for y in _outputs(func(*points))]

    up, down = moved(1.0), moved(-1.0)
    numeric = 0.0
    noise = 0.0
    for u, p, m in zip(us, up, down, strict=True):
        numeric += float(np.vdot(u, p - m).real) / (2.0 * eps)
        noise += float(np.sum(np.abs(u) * (np.abs(p) + np.abs(m)))) * 2.0**-50 / eps
    limit = rtol * max(abs(slope), abs(numeric)) + noise + 1e-9
    if not abs(slope - numeric) <= limit:
        raise AssertionError(
            f"gradcheck ({what}): the gradient predicts a slope of {slope:.12g}, differences give "
            f"{numeric:.12g} (allowed difference {limit:.3g})"
        )
