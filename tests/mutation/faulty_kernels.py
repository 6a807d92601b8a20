"""Faults in the compiled gradient kernels: the arguments or the result of one kernel replaced."""

from functools import partial

import numpy as np
from faults import Fault

from tilegrad import kernels
from tilegrad.kernels import contract

GRADIENTS = {
    "max_pool_grad": 1, "max_pool_gather": 1, "avg_pool_grad": 1, "adaptive_avg_pool_grad": 1,
    "conv_grad_input": 1, "conv_grad_weight": 1, "batch_norm_grad": 4, "layer_norm_grad": 3,
    "group_norm_grad": 3, "softmax_grad": 1, "log_softmax_grad": 1, "cross_entropy_grad": 1,
    "scatter_add": 1, "take_grad": 1, "pad_grad": 1,
}  # fmt: skip
"""The kernels that serve derivatives, and how many arrays they return."""


# --- any array ------------------------------------------------------------------------------------
def _like(a, values):
    out = np.empty_like(a)
    out[...] = values
    return out


def _without(a, index):
    b = _like(a, a)
    if all(a.shape):
        b[index] = 0
    return b


ARRAYS = {
    "zeroed gradient": ("0 g", lambda a: np.zeros_like(a)),
    "wrong scale": ("1.01 g", lambda a: _like(a, a.astype(np.float64) * 1.01)),
    "wrong sign": ("-g", lambda a: -a),
    "last element lost": ("g without its last element", lambda a: _without(a, (-1,) * a.ndim)),
    "off by one": ("g shifted by one", lambda a: np.roll(a, 1, -1) if a.ndim else a),
    "first branch only": ("g of the first sample alone",
                          lambda a: _without(a, slice(1, None)) if a.ndim else a),
}  # fmt: skip


# --- one kernel -----------------------------------------------------------------------------------
def _argument(i, change):
    """The kernel called with one argument changed (None stays)."""

    def faulty(kernel, *args):
        args = list(args)
        args[i] = None if args[i] is None else change(args[i])
        return kernel(*args)

    return faulty


def _exchanged(kernel, *args):
    gx, gw, gb, *rest = kernel(*args)
    return gx, gb, gw, *rest


def _wider(padding):
    """Windows one further to the left, where there is padding to move."""
    return tuple((b - 1, a + 1) if b else (b + 1, a - 1) if a else (b, a) for b, a in padding)


def _kept(add, *args):
    """max_pool_grad, scatter_add and take_grad without their sum: the last of equal places wins."""
    if len(args) == 3:  # max_pool_grad(g, indices, spatial)
        g, index, spatial = args
        y = np.zeros((*g.shape[:2], int(np.prod(spatial))), g.dtype)
        np.put_along_axis(y, index.reshape(*g.shape[:2], -1), g.reshape(*g.shape[:2], -1), 2)
        return y.reshape(*g.shape[:2], *spatial)
    if isinstance(args[0], tuple):  # scatter_add(shape, index, src, axis)
        shape, index, src, axis = args
        y, at = np.zeros(shape, src.dtype), list(np.indices(index.shape, sparse=True))
        at[axis] = index
        y[tuple(at)] = src
        return y
    g, index, axis, size = args  # take_grad
    shape = (*g.shape[:axis], size, *g.shape[axis + index.ndim :])
    y = np.zeros(shape, g.dtype)
    y[(slice(None),) * axis + (index,)] = g
    return y


def _ignored_rows_count(kernel, g, x, lse, target, weight, ignore, smoothing, by):
    return kernel(g, x, lse, np.where(target == ignore, 0, target), weight, ignore, smoothing, by)


def _no_onehot(kernel, g, x, lse, target, weight, ignore, smoothing, by):
    g = g[:, None] if by is None else g / by
    return _like(x, (g * np.exp(x - lse[:, None])) * (target != ignore)[:, None])


def _kink(op, g, v, *params, kernel):
    return np.where(v == 0, g, kernel(op, g, v, *params))


_NORMS = ("batch_norm_grad", "layer_norm_grad", "group_norm_grad")
_flip_taps = partial(np.flip, axis=-1)
_SPECIAL = [
    *[(k, "stale saved value", "mean of zeros", _argument(3, np.zeros_like)) for k in _NORMS],
    *[(k, "wrong scale", "1.01 of the spread", _argument(4, lambda a: a * a.dtype.type(1.01)))
      for k in _NORMS],
    *[(k, "missing factor", "weight of ones", _argument(2, np.ones_like)) for k in _NORMS],
    *[(k, "wrong operand", "gbias for gweight", _exchanged) for k in _NORMS],
    ("batch_norm_grad", "wrong constant", "eps + 0.01", _argument(5, lambda e: e + 0.01)),
    *[(k, "off by one", "padding moved by one", _argument(4, _wider))
      for k in ("conv_grad_input", "conv_grad_weight", "avg_pool_grad")],
    ("conv_grad_input", "off by one", "w without its last tap",
     _argument(1, lambda w: _without(w, (..., -1)))),
    ("conv_grad_input", "swapped operands", "taps of w in reverse", _argument(1, _flip_taps)),
    ("conv_grad_input", "wrong axis", "outputs of w in reverse",
     _argument(1, partial(np.flip, axis=0))),
    ("conv_grad_weight", "off by one", "x without its last column",
     _argument(1, lambda x: _without(x, (..., -1)))),
    ("conv_grad_weight", "off by one", "g without its last column",
     _argument(0, lambda g: _without(g, (..., -1)))),
    ("conv_grad_weight", "missing reduction", "the first sample alone",
     _argument(0, lambda g: _without(g, slice(1, None)))),
    ("conv_grad_weight", "swapped operands", "taps in reverse",
     lambda k, *a: _like(y := k(*a), np.flip(y, -1))),
    ("max_pool_grad", "off by one", "places moved by one",
     lambda k, g, i, s: k(g, (i + 1) % max(int(np.prod(s)), 1), s)),
    ("max_pool_gather", "off by one", "places moved by one",
     lambda k, x, i: k(x, (i + 1) % max(int(np.prod(x.shape[2:])), 1))),
    *[(k, "missing reduction", "the last of equal places wins", _kept)
      for k in ("max_pool_grad", "scatter_add", "take_grad")],
    ("avg_pool_grad", "wrong flag", "count_include_pad turned", _argument(6, lambda b: not b)),
    ("avg_pool_grad", "missing factor", "divisor_override ignored", _argument(7, lambda d: 0)),
    *[(k, "missing term", "no sum", f) for k, f in (
        ("softmax_grad", lambda k, g, y, axis: _like(g, g * y)),
        ("log_softmax_grad", lambda k, g, y, axis: _like(g, g)))],
    *[(k, "wrong axis", "axis - 1", lambda k, g, y, axis: k(g, y, (axis - 1) % g.ndim))
      for k in ("softmax_grad", "log_softmax_grad")],
    *[(k, "swapped operands", "g and y exchanged", lambda k, g, y, axis: k(y, g, axis))
      for k in ("softmax_grad", "log_softmax_grad")],
    ("cross_entropy_grad", "missing factor", "weight ignored", _argument(4, lambda w: None)),
    ("cross_entropy_grad", "missing term", "smoothing ignored", _argument(6, lambda s: 0.0)),
    ("cross_entropy_grad", "missing term", "targets ignored", _no_onehot),
    ("cross_entropy_grad", "first branch only", "ignored rows count", _ignored_rows_count),
    ("cross_entropy_grad", "missing factor", "mean not divided", _argument(7, np.ones_like)),
    ("cross_entropy_grad", "stale saved value", "logsumexp + 0.01",
     _argument(2, lambda a: a + a.dtype.type(0.01))),
    ("scatter_add", "off by one", "index moved by one",
     lambda k, shape, i, src, axis: k(shape, (i + 1) % max(shape[axis], 1), src, axis)),
    ("take_grad", "off by one", "index moved by one",
     lambda k, g, i, axis, size: k(g, (i + 1) % max(size, 1), axis, size)),
    ("pad_grad", "first branch only", "mode constant", _argument(2, lambda m: "constant")),
    ("pad_grad", "off by one", "padding moved by one", _argument(1, _wider)),
]  # fmt: skip
_SLOPES = [
    ("relu", "wrong condition", "slope 1 at zero", _kink),
    ("leaky_relu", "wrong condition", "slope 1 at zero", _kink),
    *[(op, "missing factor", "parameters ignored",
       lambda i, g, v, *params, kernel: kernel(i, g, v, *[1.0] * len(params)))
      for op in ("leaky_relu", "elu")],
    ("softplus", "missing factor", "beta ignored",
     lambda i, g, v, b, h, kernel: kernel(i, g, v, 1.0, h)),
    ("softplus", "first branch only", "threshold ignored",
     lambda i, g, v, b, h, kernel: kernel(i, g, v, b, 1e9)),
    *[(op, "first branch only", "negative v as positive",
       lambda i, g, v, *params, kernel: kernel(i, g, abs(v), *params))
      for op in contract.UNARY_GRAD],
    *[(op, "swapped operands", "g and v exchanged",
       lambda i, g, v, *params, kernel: kernel(i, v, g, *params)) for op in contract.UNARY_GRAD],
]  # fmt: skip


def _plant(name, faulty):
    def plant():
        kernel = getattr(kernels.host, name)
        setattr(kernels.host, name, partial(faulty, kernel))

    return plant


def _plant_op(op, faulty):
    def plant():
        kernel = kernels.host.unary_grad

        def choose(i, *args):
            return faulty(i, *args, kernel=kernel) if i == op else kernel(i, *args)

        kernels.host.unary_grad = choose

    return plant


def _on_output(n, i, f):
    def faulty(kernel, *args):
        if n == 1:
            return f(kernel(*args))
        out = list(kernel(*args))
        out[i] = None if out[i] is None else f(out[i])
        return tuple(out)

    return faulty


def _slope(f):
    return lambda i, g, v, *params, kernel: f(kernel(i, g, v, *params))


def in_kernels():
    for name, n in GRADIENTS.items():
        for i in range(n):
            what = "result" if n == 1 else f"result {i}"
            for kind, (after, f) in ARRAYS.items():
                yield Fault(kind, f"kernel {name}", what, after, ("kernel", name),
                            _plant(name, _on_output(n, i, f)))  # fmt: skip
    for name, kind, after, faulty in _SPECIAL:
        yield Fault(kind, f"kernel {name}", "as written", after, ("kernel", name),
                    _plant(name, faulty))  # fmt: skip
    slopes = [
        (op, kind, after, _slope(f))
        for op in contract.UNARY_GRAD
        for kind, (after, f) in ARRAYS.items()
    ]
    for op, kind, after, faulty in slopes + _SLOPES:
        i = contract.UNARY_GRAD.index(op)
        yield Fault(kind, f"kernel unary_grad {op}", "as written", after,
                    ("kernel", "unary_grad", i), _plant_op(i, faulty))  # fmt: skip
