"""A table of a model's layers: shapes, units, parameters, multiply-adds, connections."""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

from .. import ops
from ..errors import ShapeError
from ..grad_mode import no_grad
from ..tensor import Tensor
from .bilinear import Bilinear
from .conv import _Conv, _Transposed
from .linear import Linear
from .module import Module


class Row(NamedTuple):
    """One call of one layer; all counts but ``parameters`` are for one sample."""

    path: str
    layer: str
    shape: tuple[int, ...]
    units: int
    parameters: int
    multiply_adds: int
    connections: int


class Summary(NamedTuple):
    """What ``summary`` returns: the rows, and their sums as properties; ``str`` gives the table."""

    rows: tuple[Row, ...]
    input_units: int
    parameters: int
    trainable: int

    @property
    def units(self) -> int:
        """The outputs of all layers with connections; the input's are ``input_units``."""
        return sum(r.units for r in self.rows if r.connections)

    @property
    def multiply_adds(self) -> int:
        """The products of weights and inputs."""
        return sum(r.multiply_adds for r in self.rows)

    @property
    def connections(self) -> int:
        """The multiply-adds, and one more per unit with a bias."""
        return sum(r.connections for r in self.rows)

    def __str__(self) -> str:
        head = ("layer", "output shape", "units", "parameters", "multiply-adds", "connections")
        lines: list[tuple[str, ...]] = [head]
        for r in self.rows:
            name = f"{r.path} ({r.layer})" if r.path else r.layer
            lines.append((name, str(r.shape), *(f"{n:,}" for n in r[3:])))
        sums = (self.units, self.parameters, self.multiply_adds, self.connections)
        lines.append(("total", "", *(f"{n:,}" for n in sums)))
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        text = []
        for line in lines:
            cells = [c.ljust(w) if i < 2 else c.rjust(w)
                     for i, (c, w) in enumerate(zip(line, widths, strict=True))]  # fmt: skip
            text.append("  ".join(cells).rstrip())
        rule = "-" * max(map(len, text))
        return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])


def _multiply_adds(layer: Any, inputs: tuple, out: Tensor) -> int:
    """For the whole batch. A layer of one's own may say so in a method multiply_adds(input,
    output)."""
    if hasattr(layer, "multiply_adds"):
        return int(layer.multiply_adds(*inputs, out))
    size = math.prod(out.shape)
    if isinstance(layer, _Transposed):
        return math.prod(inputs[0].shape) * math.prod(layer.weight.shape[1:])
    if isinstance(layer, (_Conv, Linear, Bilinear)):
        return size * math.prod(layer.weight.shape[1:])
    return 0


def _first(y: Any) -> Any:
    while isinstance(y, (tuple, list)) and y:
        y = y[0]
    return y


def summary(module: Module, input_size: Any, dtype: Any = None) -> Summary:
    """The layers that a call of module runs through, in order, on zeros of the given shape.

    module: is called once in evaluation mode, and left in the mode it was in. input_size: the shape
    of the input with its batch axis, or a list of shapes for several inputs. dtype: of the input;
    by default that of the first parameter. Multiply-adds are counted for convolutions, Linear,
    Bilinear and layers with a method ``multiply_adds(input, output)``, as recurrent layers and
    attention have; a parameter that several layers share counts at the first. The first axis of
    every output counts as that of the samples: build such layers with batch_first. Raises what the
    module raises, ShapeError.

    >>> import tilegrad as tg
    >>> s = tg.nn.summary(tg.nn.Sequential(tg.nn.Linear(784, 256), tg.nn.ReLU()), (1, 784))
    >>> s.parameters, s.multiply_adds, s.units
    (200960, 200704, 256)
    >>> print(tg.nn.summary(tg.nn.Linear(3, 2), (1, 3)))
    layer   output shape  units  parameters  multiply-adds  connections
    -------------------------------------------------------------------
    Linear  (1, 2)            2           8              6            8
    -------------------------------------------------------------------
    total                     2           8              6            8
    """
    shapes = input_size if isinstance(input_size, list) else [input_size]
    if not all(isinstance(s, (tuple, list)) and s and all(n > 0 for n in s) for s in shapes):
        raise ShapeError(f"summary: input_size expects shapes with a batch axis, got {input_size}")
    own = list(module.parameters())
    kind = dtype or (own[0].dtype if own else None)
    inputs = [ops.zeros(tuple(s), dtype=kind) for s in shapes]
    rows: list[Row] = []
    seen: set[int] = set()
    names = {m: path for path, m in module.named_modules()}

    def note(layer: Module, args: tuple, kwargs: dict, out: Any) -> None:
        y = _first(out)
        if not isinstance(y, Tensor) or not y.ndim:
            return
        fresh = {id(p): p for p in layer.parameters(recurse=False) if id(p) not in seen}
        seen.update(fresh)
        batch, size = y.shape[0] or 1, math.prod(y.shape)
        given = inspect.signature(layer.forward).bind(*args, **kwargs).args
        products = _multiply_adds(layer, given, y)
        bias = getattr(layer, "bias", None)
        biased = products and bias is not None and bias is not False
        rows.append(
            Row(
                names[layer], type(layer).__name__, y.shape, size // batch,
                sum(math.prod(p.shape) for p in fresh.values()), products // batch,
                (products + size * bool(biased)) // batch,
            )
        )  # fmt: skip

    leaves = [m for m in names if not any(True for _ in m.children()) or m._parameters]
    handles = [m.register_forward_hook(note, with_kwargs=True) for m in leaves]
    modes = {m: m.training for m in names}
    try:
        with no_grad():
            module.eval()
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for m, training in modes.items():
            m.training = training
    unique = {id(p): p for p in own}.values()
    counts = [(math.prod(p.shape), p.requires_grad) for p in unique]
    return Summary(
        tuple(rows),
        sum(math.prod(s[1:]) for s in shapes),
        sum(n for n, _ in counts),
        sum(n for n, learns in counts if learns),
    )
