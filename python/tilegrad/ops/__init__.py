"""The operations, one file per family: public function, derivative rule, Tensor methods.

Importing this package attaches operators and methods to Tensor.
"""

from __future__ import annotations

import importlib
import pkgutil
from inspect import isfunction
from typing import Any

from ..tensor import Tensor
from .published import needs_tensor, published

LATER = frozenset("activation composite ctc distance loss margin resample windows".split())
"""The modules that publish in ``nn.functional`` only and are loaded with it."""

FAMILIES = tuple(
    importlib.import_module(f"{__name__}.{m.name}")
    for m in pkgutil.iter_modules(__path__)
    if m.name not in ("rules", "published") and m.name not in LATER
)
"""The modules of this package that publish functions (``__all__``) and methods (``METHODS``)."""

COMPOSED = frozenset(
    """addbmm addcdiv addcmul addmm addmv addr allclose aminmax argwhere baddbmm bucketize clamp
    clamp_max clamp_min corrcoef ger inverse ldexp lerp msort mvlgamma pinverse std std_mean
    trapezoid var_mean vdot
    """.split()
)
"""What begins with another op, whose name a wrong first argument would raise."""

PUBLIC: dict[str, Any] = {}
_published: dict[Any, Any] = {}
for _module in FAMILIES:
    for _name in getattr(_module, "__all__", ()):
        _fn = getattr(_module, _name)
        if isfunction(_fn) and _fn not in _published:
            _check = needs_tensor(_fn) or _fn.__name__ in COMPOSED
            _published[_fn] = published(_fn, _check)
        PUBLIC[_name] = _published.get(_fn, _fn) if isfunction(_fn) else _fn
    for _name, _method in getattr(_module, "METHODS", {}).items():
        setattr(Tensor, _name, published(_method) if isfunction(_method) else _method)
globals().update(PUBLIC)
__all__ = [*PUBLIC]
