"""The kernel contract: every kernel a device module must bind, and nothing else.

A kernel takes and returns arrays and plain parameters; it knows no Tensor and no gradient. Dtypes
are already promoted when a kernel is called: operands of one call share a dtype unless a row says
otherwise. Inputs may have any strides; outputs are fresh arrays unless a row says ``in place``.
Element-wise and reduction kernels are one entry each with an op id, an index into the tuples below.
"""

from typing import NamedTuple

UNARY = (
    "neg abs sign square reciprocal sqrt rsqrt exp exp2 expm1 log log2 log10 log1p "
    "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc "
    "floor ceil trunc round sigmoid relu leaky_relu elu softplus gelu silu clamp bitwise_not"
).split()
"""y = f(x; p0, p1), same dtype. leaky_relu(p0 = slope), elu(p0 = alpha), softplus(p0 = beta,
p1 = threshold), clamp(p0 = low, p1 = high; NaN stays). Integers: neg abs sign square floor ceil
trunc round relu clamp bitwise_not; bool: bitwise_not."""

UNARY_BOOL = "isnan isinf isfinite logical_not signbit".split()
"""y = f(x) with bool output, any dtype."""

UNARY_GRAD = "relu leaky_relu elu softplus gelu silu sigmoid tanh".split()
"""gx = g * f'(x). The saved v is the output y for relu, sigmoid and tanh, else the input x."""

BINARY = (
    "add sub mul div floor_divide remainder fmod pow maximum minimum atan2 logaddexp copysign "
    "bitwise_and bitwise_or bitwise_xor left_shift right_shift"
).split()
"""y = f(a, b) with broadcasting, same dtype. div and atan2, logaddexp, copysign: floating only.
floor_divide and remainder follow Python's sign rule, fmod C's. maximum and minimum propagate NaN.
Integer division by zero raises ZeroDivisionError. Integer arithmetic wraps."""

COMPARE = "eq ne lt le gt ge logical_and logical_or logical_xor".split()
"""y = f(a, b) with broadcasting and bool output."""

RECURRENT = "tanh relu lstm gru".split()
"""h' = f(gates + w h). lstm: input, forget, cell, output gates; gru: reset, update, new, the reset
gate multiplies the hidden sum of new (with its bias) as in cuDNN."""

REDUCE = "sum prod max min any all".split()
"""sum and prod of integers and bool give int64 (uint64 stays uint64); max and min propagate NaN and
raise ValueError over nothing; any and all give bool."""

MATMUL = "naive rows blocked dot few_rows in_place packed".split()
"""What impl of matmul selects, from the formula up; see docs/kernels.md. A way that does not apply
to the operands raises ValueError. The empty impl is the choice of the module."""

CONV = (
    "plain direct output_lanes depthwise winograd_4x3_by_2 winograd_2x5 winograd_2x3 winograd_4x3 "
    "patches pointwise covering"
).split()
"""What impl of conv, conv_grad_input and conv_grad_weight selects, likewise."""

ARG_REDUCE = "argmax argmin".split()
CUMULATIVE = "cumsum cumprod".split()


class Kernel(NamedTuple):
    name: str
    args: str
    out: str
    dtypes: str
    doc: str


def _k(name, args, out, dtypes, doc):
    return Kernel(name, args, out, dtypes, " ".join(doc.split()))


def _step(name, states, numbers, doc):
    args = f"params, grads, {states}, {numbers}, weight_decay, decoupled, maximize, l1_decay"
    return _k(f"{name}_step", args, "None", "float", doc)


KERNELS = [
    # --- element-wise
    _k("unary", "op, x, p0=0.0, p1=0.0", "y", "all", "UNARY[op]; layout of x kept."),
    _k("unary_bool", "op, x", "y: bool", "all", "UNARY_BOOL[op]."),
    _k("unary_grad", "op, g, v, p0=0.0, p1=0.0", "gx", "float", "UNARY_GRAD[op]; g, v broadcast."),
    _k("binary", "op, a, b", "y", "all", "BINARY[op], broadcasting, layout of the inputs kept."),
    _k("binary_into", "op, a, b, out", "None", "all", "In place: out[...] = BINARY[op](a, b)."),
    _k("compare", "op, a, b", "y: bool", "all", "COMPARE[op], broadcasting."),
    _k("where", "cond: bool, a, b", "y", "all", "cond ? a : b, broadcasting three ways."),
    _k(
        "cast",
        "x, dtype",
        "y: dtype",
        "all",
        "Value conversion to a fresh array, layout kept. Float to integer truncates; NaN and values"
        " out of range give the integer's minimum, as x86 does; to bool: x != 0.",
    ),
    _k("copy", "x, order='K'", "y", "all", "Fresh copy; order 'C' (row major) or 'K' (as x)."),
    _k(
        "copy_into",
        "dst, src",
        "None",
        "all",
        "In place: dst[...] = src, broadcasting, same dtype.",
    ),
    _k("full", "shape, dtype, value", "y", "all", "Row-major array filled with one value."),
    # --- reductions
    _k(
        "reduce",
        "op, x, axes, keepdims",
        "y",
        "all",
        "REDUCE[op] over the sorted, non-negative tuple axes (empty tuple: over nothing).",
    ),
    _k(
        "arg_reduce",
        "op, x, axis, keepdims",
        "y: int64",
        "real",
        "First index of the extreme along one axis; NaN counts as the extreme; empty axis raises.",
    ),
    _k(
        "moments",
        "x, axes",
        "mean, var",
        "float",
        "Mean and biased variance (two passes) over axes, which are kept as size 1.",
    ),
    _k("cumulative", "op, x, axis", "y", "all", "CUMULATIVE[op]; integers and bool give int64."),
    # --- matmul
    _k(
        "matmul",
        "a, b, impl=''",
        "y",
        "all but bool",
        "(..., m, k) @ (..., k, n) -> (..., m, n); both at least 2-d, batch dims broadcast.",
    ),
    _k(
        "linear",
        "x, w, bias",
        "y",
        "float",
        "x (..., k), w (n, k), bias (n,) or None -> x @ w.T + bias.",
    ),
    # --- convolution: x (N, C, *in), w (O, C/groups, *k); spatial tuples of length 1, 2 or 3.
    #     padding is a tuple of (before, after) pairs
    _k(
        "conv",
        "x, w, bias, stride, padding, dilation, groups, impl=''",
        "y",
        "float",
        "Cross-correlation, 1-d to 3-d; bias (O,) or None; y (N, O, *out).",
    ),
    _k(
        "conv_grad_input",
        "g, w, in_spatial, stride, padding, dilation, groups, impl=''",
        "gx",
        "float",
        "Adjoint of conv in x: g (N, O, *out) -> (N, C, *in_spatial). Also transposed convolution.",
    ),
    _k(
        "conv_grad_weight",
        "g, x, kernel, stride, padding, dilation, groups, impl=''",
        "gw",
        "float",
        "Adjoint of conv in w: -> (O, C/groups, *kernel).",
    ),
    # --- pooling: x (N, C, *in), 1 to 3 spatial dims; padding pairs as for conv
    _k(
        "max_pool",
        "x, kernel, stride, padding, dilation, ceil_mode",
        "y, indices: uint16 | int32 | int64",
        "real",
        "First maximum of each window, NaN wins; indices are flat within a channel's input plane,"
        " of the narrowest type that counts it.",
    ),
    _k(
        "max_pool_grad",
        "g, indices, in_spatial",
        "gx",
        "float",
        "Adds g (N, C, *out) at indices into zeros (N, C, *in_spatial), output order.",
    ),
    _k(
        "max_pool_gather", "x, indices", "y", "real", "y[n, c, o] = x[n, c].flat[indices[n, c, o]]."
    ),
    _k(
        "avg_pool",
        "x, kernel, stride, padding, ceil_mode, count_include_pad, divisor",
        "y",
        "float",
        "Window mean; divisor 0 means the window's own count.",
    ),
    _k(
        "avg_pool_grad",
        "g, in_spatial, kernel, stride, padding, ceil_mode, count_include_pad, divisor",
        "gx",
        "float",
        "Adjoint of avg_pool.",
    ),
    _k(
        "adaptive_avg_pool",
        "x, out_spatial",
        "y",
        "float",
        "Window i covers floor(i*in/out) to ceil((i+1)*in/out).",
    ),
    _k("adaptive_avg_pool_grad", "g, in_spatial", "gx", "float", "Adjoint of adaptive_avg_pool."),
    _k("adaptive_max_pool", "x, out_spatial", "y, indices", "real", "As max_pool."),
    # --- normalisation: statistics are over every axis but 1 (batch) or per (n, group)
    _k(
        "batch_norm",
        "x, weight, bias, mean, var, eps, residual=None, relu=False",
        "y",
        "float",
        "y = (x - mean) / sqrt(var + eps) * weight + bias per channel (axis 1); both may be None."
        " residual, like x, is added; relu: negative values become 0.",
    ),
    _k(
        "batch_norm_grad",
        "g, x, weight, mean, var, eps, y=None, residual=False",
        "gx, gweight, gbias, gresidual",
        "float",
        "Gradient of training batch norm, where mean and var are those of x. y: the output of a"
        " relu; where it is not positive, g counts as 0. gresidual, what counts of g, is None"
        " unless asked for.",
    ),
    _k(
        "layer_norm",
        "x, weight, bias, ndim, eps",
        "y, mean, rstd",
        "float",
        "Over the last ndim axes; mean and rstd keep the leading shape.",
    ),
    _k(
        "layer_norm_grad",
        "g, x, weight, mean, rstd, ndim",
        "gx, gweight, gbias",
        "float",
        "Gradient of layer_norm; gweight and gbias are None when weight is None.",
    ),
    _k(
        "group_norm",
        "x, weight, bias, groups, eps",
        "y, mean, rstd",
        "float",
        "x (N, C, ...); mean and rstd (N, groups); weight, bias (C,) or None.",
    ),
    _k(
        "group_norm_grad",
        "g, x, weight, mean, rstd, groups",
        "gx, gweight, gbias",
        "float",
        "Gradient of group_norm; gweight and gbias are None when weight is None.",
    ),
    # --- softmax family
    _k("softmax", "x, axis", "y", "float", "Shifted by the maximum."),
    _k("log_softmax", "x, axis", "y", "float", "x - logsumexp(x)."),
    _k("softmax_grad", "g, y, axis", "gx", "float", "y * (g - sum(g * y))."),
    _k("log_softmax_grad", "g, y, axis", "gx", "float", "g - exp(y) * sum(g)."),
    _k("logsumexp", "x, axes, keepdims", "y", "float", "Over the sorted tuple axes."),
    _k(
        "cross_entropy",
        "x, target: int64, weight, ignore_index, smoothing, reduction='none'",
        "loss, lse, total_weight: float64",
        "float",
        "x (N, C); target (N,); weight (C,) or None. loss (N,), zero where ignored; lse (N,) is"
        " logsumexp of each row. Targets outside [0, C) except ignore_index raise IndexError."
        " reduction 'mean' or 'sum': loss () is the sum divided by total_weight (), that of the"
        " rows that count or 1; else total_weight is None.",
    ),
    _k(
        "cross_entropy_grad",
        "g, x, lse, target, weight, ignore_index, smoothing, total_weight=None",
        "gx",
        "float",
        "g (N,) -> (N, C). With total_weight, g () is divided by it for every row.",
    ),
    # --- attention: q (B, H, T, D), k (B, H, S, D), v (B, H, S, E), mask (B, H, T, S) or None
    _k(
        "attention",
        "q, k, v, mask, scale, causal, p=0.0, key=0, offset=0",
        "y",
        "float",
        "dropout(softmax(scale q k^T + mask), p, key, offset) v; causal: query i sees keys 0 to i."
        " A query that sees nothing gives zeros.",
    ),
    _k(
        "attention_grad",
        "g, q, k, v, mask, scale, causal, p=0.0, key=0, offset=0",
        "gq, gk, gv",
        "float",
        "Of attention.",
    ),
    # --- recurrent layers over whole sequences; T steps, N samples, H units, G gates
    _k(
        "recurrent",
        "op, x, w_in, b_in, h0, c0, w, bias, lengths: int64, reverse",
        "h, c, saved",
        "float",
        "x (T, N, I), w_in (G H, I), b_in (G H,) or None, h0 (N, H), w (G H, H), lengths (N,) or"
        " None: from step lengths[n] on sample n keeps its state. bias (G H,) of the hidden sums:"
        " gru only; c0, c: lstm only, else None. h, c (T, N, H). saved (T, N, 4 H) is for the"
        " gradient, None for tanh, relu.",
    ),
    _k(
        "recurrent_grad",
        "op, gh, gc, h, c, saved, h0, c0, w, lengths: int64, reverse",
        "ggates, ghidden, gh0, gc0",
        "float",
        "gc (N, H) or None: gradient of the last c. ghidden: gradient of the hidden sums where they"
        " differ from ggates (gru), else None.",
    ),
    # --- indexing: index values may be negative; out of range raises IndexError
    _k(
        "gather",
        "x, index: int64, axis",
        "y",
        "all",
        "y[i][j] = x[index[i][j]][j], as torch.gather.",
    ),
    _k(
        "scatter_add",
        "shape, index: int64, src, axis",
        "y",
        "number",
        "Adjoint of gather: zeros(shape) with src added along axis, in index order.",
    ),
    _k(
        "take",
        "x, index: int64, axis",
        "y",
        "all",
        "x.shape[:axis] + index.shape + x.shape[axis + 1:].",
    ),
    _k(
        "take_grad",
        "g, index: int64, axis, size",
        "gx",
        "number",
        "Adjoint of take; axis has length size; equal indices add in index order.",
    ),
    _k(
        "put",
        "x, index: int64, src, accumulate",
        "None",
        "number",
        "In place on row-major x: x.flat[index] = src, or += in index order.",
    ),
    _k(
        "nonzero", "x", "index: int64 (ndim, count)", "all", "Row-major order of the true elements."
    ),
    _k("concatenate", "arrays, axis", "y", "all", "Along an existing axis."),
    _k(
        "pad",
        "x, widths, mode, value",
        "y",
        "all",
        "widths: (before, after) per axis, >= 0; mode constant, reflect or replicate.",
    ),
    _k("pad_grad", "g, widths, mode", "gx", "float", "Adjoint of pad."),
    _k("roll", "x, shifts, axes", "y", "all", "Circular shift; tuples of equal length."),
    # --- random numbers: Philox4x32-10; key is the 64-bit seed, offset the 64-bit counter of the
    #     first block of four 32-bit words; output element i uses word i (float32) of the stream
    _k(
        "random_uniform",
        "shape, dtype, key, offset",
        "y",
        "float",
        "[0, 1): float32 from 24 bits of one word, float64 from 53 bits of two words.",
    ),
    _k(
        "random_normal",
        "shape, dtype, key, offset",
        "y",
        "float",
        "Box-Muller on pairs of uniforms of the same stream.",
    ),
    _k(
        "random_int",
        "shape, low, high, key, offset",
        "y: int64",
        "int64",
        "low + floor(u64 * (high - low) / 2**64), two words each.",
    ),
    _k(
        "dropout",
        "x, p, key, offset",
        "y",
        "float",
        "x / (1 - p) where the uniform of the row-major element index is >= p, else 0.",
    ),
    # --- optimizers: in place on lists of arrays of one dtype; array i of every list has the shape
    #     of params[i]; an absent list is None. What is written shares no memory with anything else
    _step(
        "sgd",
        "momentum_buffers",
        "lr, momentum, dampening, nesterov, first",
        "torch.optim.SGD's update; momentum_buffers None without momentum, set to g if first.",
    ),
    _step(
        "adam",
        "exp_avgs, exp_avg_sqs, max_exp_avg_sqs",
        "lr, beta1, beta2, eps, step",
        "torch.optim.Adam's, AdamW's if decoupled; max_exp_avg_sqs None without amsgrad.",
    ),
    _step(
        "rmsprop",
        "square_avgs, grad_avgs, momentum_buffers",
        "lr, alpha, eps, momentum",
        "grad_avgs None unless centered, momentum_buffers None without momentum.",
    ),
    _step("adagrad", "sums", "lr, lr_decay, eps, step", "Steps begin at 1 everywhere."),
    _step("adadelta", "square_avgs, acc_deltas", "lr, rho, eps", "Zeiler, 2012."),
    _step(
        "adamax", "exp_avgs, exp_infs", "lr, beta1, beta2, eps, step", "Adam by the infinity norm."
    ),
    _step(
        "nadam",
        "exp_avgs, exp_avg_sqs",
        "lr, beta1, beta2, eps, mu, mu_next, mu_product, step",
        "mu_product: of all mu up to this step's.",
    ),
    _step("radam", "exp_avgs, exp_avg_sqs", "lr, beta1, beta2, eps, step", "Liu et al., 2020."),
    _step(
        "asgd",
        "axs",
        "lr, lambd, eta, mu",
        "eta: the rate; mu: the share of the parameter in its average, 1 starts it.",
    ),
    _step(
        "rprop",
        "prevs, step_sizes",
        "lr, shrink, grow, low, high",
        "Steps change by shrink or grow, within low and high.",
    ),
    _step("lion", "exp_avgs", "lr, beta1, beta2", "Chen et al., 2023."),
    _k(
        "total_norm",
        "arrays, power",
        "y: float64",
        "float",
        "Of all arrays, one dtype, as one vector, summed in float64; power 2 or inf (NaN stays).",
    ),
    _k(
        "scale_all",
        "arrays, total, limit",
        "None",
        "float",
        "In place: each array times min(1, limit / (total + 1e-6)), total a 0-d array.",
    ),
]
"""Every entry of a device module, in the order of the families."""

NAMES = tuple(k.name for k in KERNELS)
