"""The operations, one file per family: public function, derivative rule, Tensor methods.

Importing this package attaches operators and methods to Tensor.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from ..tensor import Tensor

LATER = frozenset("activation composite ctc distance loss margin resample windows".split())
"""The modules that publish in ``nn.functional`` only and are loaded with it."""

FAMILIES = tuple(
    importlib.import_module(f"{__name__}.{m.name}")
    for m in pkgutil.iter_modules(__path__)
    if m.name != "rules" and m.name not in LATER
)
"""The modules of this package that publish functions (``__all__``) and methods (``METHODS``)."""

PUBLIC: dict[str, Any] = {}
for _module in FAMILIES:
    for _name in getattr(_module, "__all__", ()):
        PUBLIC[_name] = getattr(_module, _name)
    for _name, _method in getattr(_module, "METHODS", {}).items():
        setattr(Tensor, _name, _method)
globals().update(PUBLIC)
__all__ = [*PUBLIC]
