"""The type of ``Tensor.size``."""

from __future__ import annotations

from typing import Any


class Size(int):
    """The number of elements, an int that is also callable: ``x.size`` and ``x.size()``."""

    _shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        """The shape, or its entry dim."""
        return self._shape if dim is None else self._shape[dim]
