"""tilegrad: tensors, automatic differentiation, hand-written kernels. ``import tilegrad as tg``."""

import builtins as _builtins
import importlib as _importlib
from math import e as e
from math import inf as inf
from math import nan as nan
from math import pi as pi
from typing import TYPE_CHECKING as _TYPE_CHECKING

from numpy import dtype as dtype

from . import autograd as autograd
from . import errors as errors
from .autograd import enable_grad as enable_grad
from .autograd import inference_mode as inference_mode
from .autograd import is_grad_enabled as is_grad_enabled
from .autograd import no_grad as no_grad
from .autograd import set_grad_enabled as set_grad_enabled
from .device import cpu_isas as cpu_isas
from .device import device as device
from .device import empty_cache as empty_cache
from .device import get_cpu_isa as get_cpu_isa
from .device import get_default_device as get_default_device
from .device import get_num_threads as get_num_threads
from .device import get_precision as get_precision
from .device import memory_stats as memory_stats
from .device import reset_peak_memory as reset_peak_memory
from .device import set_cpu_isa as set_cpu_isa
from .device import set_default_device as set_default_device
from .device import set_num_threads as set_num_threads
from .device import set_precision as set_precision
from .dtypes import bfloat16 as bfloat16
from .dtypes import bool_ as bool  # noqa: F401
from .dtypes import complex64 as complex64
from .dtypes import complex128 as complex128
from .dtypes import finfo as finfo
from .dtypes import float16 as float16
from .dtypes import float32 as float32
from .dtypes import float64 as float64
from .dtypes import get_default_dtype as get_default_dtype
from .dtypes import iinfo as iinfo
from .dtypes import int8 as int8
from .dtypes import int16 as int16
from .dtypes import int32 as int32
from .dtypes import int64 as int64
from .dtypes import promote_types as promote_types
from .dtypes import set_default_dtype as set_default_dtype
from .dtypes import uint8 as uint8
from .dtypes import uint16 as uint16
from .dtypes import uint32 as uint32
from .dtypes import uint64 as uint64
from .generator import Generator as Generator
from .generator import default_generator as default_generator
from .interop import Size as Size
from .interop import are_deterministic_algorithms_enabled as are_deterministic_algorithms_enabled
from .interop import asarray as asarray
from .interop import can_cast as can_cast
from .interop import from_dlpack as from_dlpack
from .interop import frombuffer as frombuffer
from .interop import get_float32_matmul_precision as get_float32_matmul_precision
from .interop import range as range
from .interop import set_float32_matmul_precision as set_float32_matmul_precision
from .interop import set_printoptions as set_printoptions
from .interop import use_deterministic_algorithms as use_deterministic_algorithms
from .ops import *  # noqa: F403
from .ops.published import checked as _checked
from .ops.rules import result_type as result_type
from .tensor import Tensor as Tensor
from .tensor import as_tensor as as_tensor
from .tensor import from_numpy as from_numpy
from .tensor import tensor as tensor
from .typed import BFloat16Tensor as BFloat16Tensor
from .typed import BoolTensor as BoolTensor
from .typed import ByteTensor as ByteTensor
from .typed import CharTensor as CharTensor
from .typed import DoubleTensor as DoubleTensor
from .typed import FloatTensor as FloatTensor
from .typed import HalfTensor as HalfTensor
from .typed import IntTensor as IntTensor
from .typed import LongTensor as LongTensor
from .typed import ShortTensor as ShortTensor

if _TYPE_CHECKING:
    from . import accelerator as accelerator
    from . import backends as backends
    from . import bench as bench
    from . import cases as cases
    from . import cuda as cuda
    from . import data as data
    from . import demo as demo
    from . import diagnostics as diagnostics
    from . import distributions as distributions
    from . import fft as fft
    from . import func as func
    from . import linalg as linalg
    from . import models as models
    from . import nn as nn
    from . import optim as optim
    from . import recipes as recipes
    from . import special as special
    from . import testing as testing
    from . import train as train
    from . import utils as utils
    from .diagnostics import graph as graph
    from .diagnostics import profile as profile
    from .diagnostics import trace_nonfinite as trace_nonfinite
    from .func import vmap as vmap
    from .serialization import load as load
    from .serialization import save as save

float, double, half, int, long = float32, float64, float16, int32, int64
cfloat, cdouble = complex64, complex128
short = int16
newaxis, memory_format = None, str
__version__ = "0.1.0"


def is_tensor(obj: object) -> _builtins.bool:
    """Whether obj is a Tensor.

    >>> import tilegrad as tg
    >>> tg.is_tensor(tg.zeros(1))
    True
    """
    return isinstance(obj, Tensor)


@_checked
def numel(input: Tensor) -> _builtins.int:
    """The number of elements of input.

    >>> import tilegrad as tg
    >>> tg.numel(tg.zeros(2, 3))
    6
    """
    return input.numel()


@_checked
def is_floating_point(input: Tensor) -> _builtins.bool:
    """Whether the dtype of input is floating.

    >>> import tilegrad as tg
    >>> tg.is_floating_point(tg.tensor([1]))
    False
    """
    return input.is_floating_point()


@_checked
def is_complex(input: Tensor) -> _builtins.bool:
    """Whether the dtype of input is complex.

    >>> import tilegrad as tg
    >>> tg.is_complex(tg.zeros(2))
    False
    """
    return input.is_complex()


@_checked
def is_nonzero(input: Tensor) -> _builtins.bool:
    """Whether the only element of input is not zero. Raises ValueError for several.

    >>> import tilegrad as tg
    >>> tg.is_nonzero(tg.tensor([2.0]))
    True
    """
    return input.item() != 0  # type: ignore[no-any-return]


# Imported when first used: they cost more time than everything above.
_LATER = frozenset(
    "accelerator backends bench cases cuda data demo diagnostics distributions fft func linalg "
    "models nn optim recipes special testing train utils".split()
)
_HOMES = {
    **dict.fromkeys(["graph", "profile", "trace_nonfinite"], "diagnostics"),
    **dict.fromkeys(["Captured", "capture"], "capturing"),
    **dict.fromkeys(["load", "save"], "serialization"),
    "vmap": "func",
}


def __getattr__(name: str) -> object:
    if name in _LATER:
        return _importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(_importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
