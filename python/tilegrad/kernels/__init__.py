"""Which module serves an array. ``of(x)`` is the only way to reach a kernel.

``TILEGRAD_KERNELS=reference`` runs the whole library on the NumPy reference.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import dtypes
from ..errors import DeviceError
from ..recording import epoch

_MODULES = {"cpu": "tilegrad._cpu", "reference": "tilegrad.kernels.reference"}


def _load(name: str) -> Any:
    if name not in _MODULES:
        raise DeviceError(f"TILEGRAD_KERNELS: expects one of {sorted(_MODULES)}, got {name!r}")
    return importlib.import_module(_MODULES[name])


host = _load(os.environ.get("TILEGRAD_KERNELS", "cpu"))
_REAL = frozenset(dtypes.ALL) - frozenset(dtypes.COMPLEX)


def of(array: Any) -> Any:
    """The module whose kernels take this array."""
    try:
        return host if array.dtype in _REAL else for_dtype(array.dtype)
    except AttributeError:
        raise DeviceError(f"no kernels for arrays of type {type(array).__name__}") from None


def for_dtype(dtype: np.dtype) -> Any:
    """The module whose kernels take arrays of this dtype: NumPy serves the complex ones."""
    return importlib.import_module("tilegrad.kernels.complexes") if dtype.kind == "c" else host


@contextmanager
def use(name: str) -> Iterator[Any]:
    """Serves arrays on the host from ``"cpu"`` or ``"reference"`` inside the with block."""
    global host
    before, host = host, _load(name)
    epoch[0] += 1
    try:
        yield host
    finally:
        host = before
        epoch[0] += 1
