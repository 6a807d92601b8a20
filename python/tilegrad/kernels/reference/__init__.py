# ruff: noqa: F401
"""The kernel contract in NumPy: the specification, the tests' oracle and the benchmarks' baseline.

Written like the formula and independent of the compiled kernels; it needs NumPy alone.
"""

from tilegrad.kernels.contract import NAMES
from tilegrad.kernels.reference.attention import attention, attention_grad
from tilegrad.kernels.reference.conv import conv, conv_grad_input, conv_grad_weight
from tilegrad.kernels.reference.elementwise import (
    binary,
    binary_into,
    cast,
    compare,
    copy,
    copy_into,
    full,
    unary,
    unary_bool,
    unary_grad,
    where,
)
from tilegrad.kernels.reference.index import (
    concatenate,
    gather,
    nonzero,
    pad,
    pad_grad,
    put,
    roll,
    scatter_add,
    take,
    take_grad,
)
from tilegrad.kernels.reference.matmul import linear, matmul
from tilegrad.kernels.reference.norm import (
    batch_norm,
    batch_norm_grad,
    group_norm,
    group_norm_grad,
    layer_norm,
    layer_norm_grad,
)
from tilegrad.kernels.reference.optim import (
    adadelta_step,
    adagrad_step,
    adam_step,
    adamax_step,
    asgd_step,
    lion_step,
    nadam_step,
    radam_step,
    rmsprop_step,
    rprop_step,
    scale_all,
    sgd_step,
    total_norm,
)
from tilegrad.kernels.reference.pool import (
    adaptive_avg_pool,
    adaptive_avg_pool_grad,
    adaptive_max_pool,
    avg_pool,
    avg_pool_grad,
    max_pool,
    max_pool_gather,
    max_pool_grad,
)
from tilegrad.kernels.reference.random import dropout, random_int, random_normal, random_uniform
from tilegrad.kernels.reference.recurrent import recurrent, recurrent_grad
from tilegrad.kernels.reference.reduce import arg_reduce, cumulative, moments, reduce
from tilegrad.kernels.reference.softmax import (
    cross_entropy,
    cross_entropy_grad,
    log_softmax,
    log_softmax_grad,
    logsumexp,
    softmax,
    softmax_grad,
)

__all__ = list(NAMES)
