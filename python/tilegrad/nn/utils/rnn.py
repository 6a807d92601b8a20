"""Sequences of different lengths in one batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import ops
from ...errors import DTypeError, ShapeError
from ...errors import ValueError as TgValueError
from ...host import host_array
from ...tensor import Tensor, from_numpy

__all__ = [
    "PackedSequence", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence",
    "pad_sequence", "unpad_sequence",
]  # fmt: skip


class PackedSequence(NamedTuple):
    """Sequences without padding: data holds the samples of step 0, then of step 1 ..., longest
    sequence first; batch_sizes says how many there are per step (int64, on the host).
    sorted_indices: where each packed sequence came from; unsorted_indices: the way back."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None

    def lengths(self) -> np.ndarray:
        """The lengths of the packed sequences, longest first."""
        sizes = host_array(self.batch_sizes)
        return (sizes[:, None] > np.arange(sizes[0])).sum(0)

    def with_data(self, data: Tensor) -> PackedSequence:
        """The same layout around other elements."""
        return self._replace(data=data)


def padded_positions(lengths: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """For lengths in descending order: for every place of (steps, N) the packed row, or their
    number where it is padding; and for every packed row its place."""
    live = np.arange(steps)[:, None] < lengths
    places = np.flatnonzero(live)
    rows = np.full(live.size, len(places))
    rows[places] = np.arange(len(places))
    return rows, places


def _flat(x: Tensor) -> Tensor:
    """(T, N, ...) as (T N, ...)."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """input (T, N, ...), or (N, T, ...) with batch_first, without its padding.

    lengths: N positive ints. enforce_sorted: they must descend; otherwise the sequences are sorted.
    Raises ShapeError, ValueError.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 0.0]])  # columns: 1 2 3 and 4 5
    >>> tg.nn.utils.rnn.pack_padded_sequence(x, [3, 2]).data
    tensor([1., 4., 2., 5., 3.])
    """
    op = "pack_padded_sequence"
    sizes = host_array(lengths)
    x = input.transpose(0, 1) if batch_first else input
    if x.ndim < 2 or sizes.shape != (x.shape[1],) or sizes.dtype.kind not in "iu":
        raise ShapeError(
            f"{op}: expects one int per sequence, got lengths of {sizes.dtype} and shape "
            f"{sizes.shape} for input of shape {input.shape}"
        )
    if len(sizes) == 0 or sizes.min() < 1 or sizes.max() > x.shape[0]:
        raise TgValueError(f"{op}: lengths must lie in [1, {x.shape[0]}], got {sizes.tolist()}")
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes.astype(np.int64), kind="stable")
        sizes = sizes[order]
        x = ops.index_select(x, 1, from_numpy(order))
    elif (np.diff(sizes) > 0).any():
        raise TgValueError(f"{op}: lengths must descend, or pass enforce_sorted=False")
    _, places = padded_positions(sizes, x.shape[0])
    data = ops.index_select(_flat(x), 0, from_numpy(places))
    batch = from_numpy((np.arange(int(sizes[0]))[:, None] < sizes).sum(1))
    if order is None:
        return PackedSequence(data, batch)
    return PackedSequence(data, batch, from_numpy(order), from_numpy(np.argsort(order)))


def padded(sequence: PackedSequence, value: float = 0.0, steps: int | None = None) -> Tensor:
    """(T, N, ...) in packed order; steps: T where it is more than the longest sequence."""
    lengths = sequence.lengths()
    steps = int(lengths[0]) if steps is None else steps
    rows, _ = padded_positions(lengths, steps)
    data = sequence.data
    filler = ops.full((1, *data.shape[1:]), value, dtype=data.dtype)
    flat = ops.index_select(ops.cat([data, filler]), 0, from_numpy(rows))
    return flat.reshape(steps, len(lengths), *data.shape[1:])


def packed_like(sequence: PackedSequence, x: Tensor) -> PackedSequence:
    """x (T, N, ...) in packed order, packed as sequence is."""
    _, places = padded_positions(sequence.lengths(), x.shape[0])
    return sequence.with_data(ops.index_select(_flat(x), 0, from_numpy(places)))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The sequences in their first order with padding, (T, N, ...) or (N, T, ...), and their
    lengths. total_length: T where it is more than the longest. Raises ValueError where it is less.

    >>> import tilegrad as tg
    >>> r = tg.nn.utils.rnn
    >>> packed = r.pack_sequence([tg.tensor([1.0, 2.0]), tg.tensor([3.0])])
    >>> r.pad_packed_sequence(packed, batch_first=True)
    (tensor([[1., 2.],
            [3., 0.]]), tensor([2, 1]))
    """
    lengths = sequence.lengths()
    if total_length is not None and total_length < lengths[0]:
        raise TgValueError(
            f"pad_packed_sequence: total_length {total_length} is less than the longest sequence, "
            f"{lengths[0]}"
        )
    x = padded(sequence, padding_value, total_length)
    if sequence.unsorted_indices is not None:
        x = ops.index_select(x, 1, sequence.unsorted_indices)
        lengths = lengths[host_array(sequence.unsorted_indices)]
    return (x.transpose(0, 1) if batch_first else x), from_numpy(lengths)


def pad_sequence(
    sequences: Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:  # fmt: skip
    """Tensors (T_i, ...) as one of (T, N, ...), or (N, T, ...), padded to the longest.

    padding_side: "right" or "left". Raises ShapeError when the other axes differ, ValueError.

    >>> import tilegrad as tg
    >>> tg.nn.utils.rnn.pad_sequence([tg.ones(2), tg.ones(1)], batch_first=True)
    tensor([[1., 1.],
            [1., 0.]])
    """
    xs = list(sequences)
    if not xs:
        raise TgValueError("pad_sequence: expects at least one sequence")
    if padding_side not in ("left", "right"):
        raise TgValueError(f"pad_sequence: padding_side is 'right' or 'left', got {padding_side!r}")
    if any(x.ndim == 0 or x.shape[1:] != xs[0].shape[1:] for x in xs):
        raise ShapeError(f"pad_sequence: shapes {[x.shape for x in xs]} differ behind axis 0")
    steps = max(x.shape[0] for x in xs)
    whole = []
    for x in xs:
        fill = ops.full((steps - x.shape[0], *x.shape[1:]), padding_value, dtype=x.dtype)
        whole.append(ops.cat([x, fill] if padding_side == "right" else [fill, x]))
    return ops.stack(whole, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Any, batch_first: bool = False
) -> list[Tensor]:
    """The inverse of pad_sequence: a list of tensors (T_i, ...).

    >>> import tilegrad as tg
    >>> tg.nn.utils.rnn.unpad_sequence(tg.ones(3, 2), [1, 3])[0]
    tensor([1.])
    """
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [x[i][: int(n)] for i, n in enumerate(host_array(lengths).tolist())]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Tensors (T_i, ...) packed. Arguments and errors as for pack_padded_sequence.

    >>> import tilegrad as tg
    >>> tg.nn.utils.rnn.pack_sequence([tg.ones(3), tg.ones(1)]).batch_sizes
    tensor([2, 1, 1])
    """
    if not all(isinstance(x, Tensor) for x in sequences):
        raise DTypeError("pack_sequence: expects a list of tensors")
    lengths = np.array([x.shape[0] for x in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, False, enforce_sorted)
