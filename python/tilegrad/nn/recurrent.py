"""RNN, LSTM and GRU: layers over sequences, and their cells."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor, from_numpy
from . import functional as F
from . import init
from .linear import empty_parameter
from .module import Module
from .recurrent_function import GATES, Recurrent
from .utils import rnn


def _matching(name: str, what: str, x: Any, shape: tuple[int, ...], like: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or x.shape != shape:
        got = x.shape if isinstance(x, Tensor) else type(x).__name__
        raise ShapeError(f"{name}: {what} expects shape {shape}, got {got}")
    if x.dtype != like.dtype:
        raise DTypeError(f"{name}: {what} has dtype {x.dtype}, but input has {like.dtype}")
    return x


class _Recurrent(Module):
    """What layers and cells share: the sizes, and parameters uniform in +-1/sqrt(hidden_size)."""

    kind: str
    input_size: int
    hidden_size: int
    bias: bool
    _directions = 1

    def _sizes(self, input_size: int, hidden_size: int, bias: bool) -> None:
        name = type(self).__name__
        for what, n in (("input_size", input_size), ("hidden_size", hidden_size)):
            if not isinstance(n, int) or n < 1:
                raise TgValueError(f"{name}: {what} must be a positive int, got {n!r}")
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bool(bias)

    def _weights(self, suffix: str, columns: int, device: Any, dtype: Any) -> None:
        rows = GATES[self.kind] * self.hidden_size
        for what, shape in (
            ("weight_ih", (rows, columns)), ("weight_hh", (rows, self.hidden_size)),
            ("bias_ih", (rows,)), ("bias_hh", (rows,)),
        ):  # fmt: skip
            p = None
            if self.bias or len(shape) == 2:
                p = empty_parameter(self, *shape, device=device, dtype=dtype)
            if p is not None or not suffix:
                self.register_parameter(what + suffix, p)

    def reset_parameters(self) -> None:
        """Draws new values."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _run(
        self, suffix: str, reverse: bool, lengths: Any, x: Tensor, h: Tensor, c: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        own = self._parameters
        w, u = own["weight_ih" + suffix], own["weight_hh" + suffix]
        b, v = own.get("bias_ih" + suffix), own.get("bias_hh" + suffix)
        if self.training and w is None:
            raise TgValueError(f"{type(self).__name__}: weight_ih{suffix} is missing")
        out = Recurrent.apply(self.kind, reverse, lengths, x, h, c, w, u, b, v)
        return out if isinstance(out, tuple) else (out, None)

    def multiply_adds(self, *args: Any) -> int:
        """Every weight once per step and sample; args: of the call, and last the output."""
        steps = math.prod(args[-1].shape) // (self.hidden_size * self._directions)
        weights = [p for p in self.parameters() if p.ndim == 2]
        return steps * sum(math.prod(p.shape) for p in weights)


class RNNBase(_Recurrent):
    """The frame of RNN, LSTM and GRU."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self._sizes(input_size, hidden_size, bias)
        if not isinstance(num_layers, int) or num_layers < 1:
            raise TgValueError(f"{name}: num_layers must be a positive int, got {num_layers!r}")
        if not 0.0 <= dropout <= 1.0:
            raise TgValueError(f"{name}: dropout must lie in [0, 1], got {dropout}")
        self.num_layers, self.batch_first = num_layers, batch_first
        self._directions = 2 if bidirectional else 1
        self.dropout, self.bidirectional = float(dropout), bidirectional
        for layer in range(num_layers):
            columns = input_size if layer == 0 else hidden_size * self._directions
            for suffix in self._suffixes(layer):
                self._weights(suffix, columns, device, dtype)
        self.reset_parameters()

    def flatten_parameters(self) -> None:
        """Does nothing: the kernels read the weights where they lie."""

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self._directions]

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        name = type(self).__name__
        packed = isinstance(input, rnn.PackedSequence)
        lengths = None
        if packed:
            x = rnn.padded(input)
            lengths = from_numpy(input.lengths())
        else:
            x = input
        if x.ndim not in (2, 3) or (packed and x.ndim != 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: input expects (T, N, {self.input_size}), (N, T, {self.input_size}) with "
                f"batch_first, or (T, {self.input_size}); got {x.shape}"
            )
        single = x.ndim == 2
        if single:
            x = x.unsqueeze(1)
        elif self.batch_first and not packed:
            x = x.transpose(0, 1)
        if x.shape[0] == 0:
            raise ShapeError(f"{name}: input has no steps, shape {input.shape}")
        order = input.sorted_indices if packed else None
        h0, c0 = self._initial(name, x, hx, single, order)
        x, hs, cs = self._layers(x, lengths, h0, c0)
        back = input.unsorted_indices if packed else None
        states = [ops.stack(s) for s in (hs, cs) if s]
        if back is not None:
            states = [ops.index_select(s, 1, back) for s in states]
        if single:
            x, states = x.squeeze(1), [s.squeeze(1) for s in states]
        elif self.batch_first and not packed:
            x = x.transpose(0, 1)
        y = rnn.packed_like(input, x) if packed else x
        return y, (states[0] if len(states) == 1 else tuple(states))

    def _initial(
        self, name: str, x: Tensor, hx: Any, single: bool, order: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor | None]]:
        """The first states of every layer and direction, (N, H) each."""
        rows = self.num_layers * self._directions
        shape = (rows, x.shape[1], self.hidden_size)
        lstm = self.kind == "lstm"
        if hx is None:
            zero = ops.zeros(*shape[1:], dtype=x.dtype)
            return [zero] * rows, [zero if lstm else None] * rows
        if lstm != isinstance(hx, (tuple, list)) or (lstm and len(hx) != 2):
            what = "a pair (h_0, c_0)" if lstm else "a tensor h_0"
            raise DTypeError(f"{name}: hx expects {what}, got {type(hx).__name__}")
        states = []
        for what, s in zip(("h_0", "c_0"), hx if lstm else (hx,), strict=False):
            s = _matching(name, what, s, shape[:1] + shape[2:] if single else shape, x)
            s = s.unsqueeze(1) if single else s
            states.append(s if order is None else ops.index_select(s, 1, order))
        h = [states[0][i] for i in range(rows)]
        return h, [states[1][i] if lstm else None for i in range(rows)]

    def _layers(
        self, x: Tensor, lengths: Tensor | None, h0: list[Tensor], c0: list[Tensor | None]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        hs: list[Tensor] = []
        cs: list[Tensor] = []
        for layer in range(self.num_layers):
            outputs = []
            for d, suffix in enumerate(self._suffixes(layer)):
                i = layer * self._directions + d
                y, c = self._run(suffix, d == 1, lengths, x, h0[i], c0[i])
                hs.append(y[0 if d else -1])
                if c is not None:
                    cs.append(c)
                outputs.append(y)
            x = outputs[0] if len(outputs) == 1 else ops.cat(outputs, 2)
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, hs, cs

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in (
            ("num_layers", 1), ("bias", True), ("batch_first", False), ("dropout", 0.0),
            ("bidirectional", False),
        ):  # fmt: skip
            if getattr(self, name) != default:
                parts.append(f"{name}={getattr(self, name)}")
        return ", ".join(parts)


class RNN(RNNBase):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), in every layer, step after step (Elman, 1990).

    RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False,
    dropout=0.0, bidirectional=False). input: (T, N, input_size), (N, T, input_size) with
    batch_first, (T, input_size), or a PackedSequence; h_0: (layers * directions, N, hidden_size),
    zeros unless given. Returns the states of the last layer of all steps and the last states of all
    layers. nonlinearity: "tanh" or "relu". dropout: between layers, in training. Raises ShapeError,
    DTypeError, ValueError.

    >>> import tilegrad as tg
    >>> y, h = tg.nn.RNN(3, 4, 2)(tg.zeros(5, 1, 3))
    >>> y.shape, h.shape
    ((5, 1, 4), (2, 1, 4))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise TgValueError(f"RNN: nonlinearity is 'tanh' or 'relu', got {nonlinearity!r}")
        self.__dict__["kind"] = self.__dict__["nonlinearity"] = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device,
            dtype,
        )  # fmt: skip


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000).

    i, f, o = sigmoid(...), g = tanh(...) of W_ih x + b_ih + W_hh h + b_hh; c' = f c + i g;
    h' = o tanh(c'). Arguments as for RNN without nonlinearity; the state is the pair (h_0, c_0), as
    is the last one, (h_n, c_n). Rows of the weights: i, f, g, o.

    >>> import tilegrad as tg
    >>> y, (h, c) = tg.nn.LSTM(3, 4, batch_first=True, bidirectional=True)(tg.zeros(2, 5, 3))
    >>> y.shape, c.shape
    ((2, 5, 8), (2, 2, 4))
    """

    kind = "lstm"


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014): r, z = sigmoid(...),
    n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h' = (1 - z) n + z h. Arguments and results as for
    RNN without nonlinearity. Rows of the weights: r, z, n.

    >>> import tilegrad as tg
    >>> y, h = tg.nn.GRU(3, 4)(tg.zeros(5, 1, 3))
    >>> y.shape, h.shape
    ((5, 1, 4), (1, 1, 4))
    """

    kind = "gru"


# --- cells ----------------------------------------------------------------------------------------
class _Cell(_Recurrent):
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self._sizes(input_size, hidden_size, bias)
        self._weights("", input_size, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        name, lstm = type(self).__name__, self.kind == "lstm"
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: input expects (N, {self.input_size}) or ({self.input_size},), got "
                f"{input.shape}"
            )
        shape = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            zero = ops.zeros(*shape, dtype=input.dtype)
            hx = (zero, zero) if lstm else zero
        states = hx if lstm else (hx,)
        if not isinstance(states, (tuple, list)) or len(states) != 1 + lstm:
            raise DTypeError(f"{name}: hx expects a pair (h, c), got {type(hx).__name__}")
        single = input.ndim == 1
        given = [_matching(name, "hx", s, shape, input) for s in states]
        x, given = (input[None], [s[None] for s in given]) if single else (input, given)
        h, c = self._run("", False, None, x[None], given[0], given[1] if lstm else None)
        h = h[0]
        if single:
            h, c = h[0], c if c is None else c[0]
        return (h, c) if lstm else h

    def extra_repr(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{bias}"


class RNNCell(_Cell):
    """One step of RNN: input (N, input_size) and h (N, hidden_size), zeros unless given, to h';
    both also without N. nonlinearity: "tanh" or "relu". Raises ShapeError, DTypeError, ValueError.

    >>> import tilegrad as tg
    >>> tg.nn.RNNCell(3, 4)(tg.zeros(2, 3)).shape
    (2, 4)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise TgValueError(f"RNNCell: nonlinearity is 'tanh' or 'relu', got {nonlinearity!r}")
        self.__dict__["kind"] = self.__dict__["nonlinearity"] = nonlinearity
        super().__init__(input_size, hidden_size, bias, device, dtype)


class LSTMCell(_Cell):
    """One step of LSTM: input (N, input_size) and the pair (h, c) to (h', c').

    >>> import tilegrad as tg
    >>> h, c = tg.nn.LSTMCell(3, 4)(tg.zeros(2, 3))
    >>> c.shape
    (2, 4)
    """

    kind = "lstm"


class GRUCell(_Cell):
    """One step of GRU: input (N, input_size) and h (N, hidden_size) to h'.

    >>> import tilegrad as tg
    >>> tg.nn.GRUCell(3, 4)(tg.zeros(2, 3)).shape
    (2, 4)
    """

    kind = "gru"
