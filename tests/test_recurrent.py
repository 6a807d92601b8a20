"""RNN, LSTM and GRU: the kernels against the reference, the layers against their cells, against
PyTorch's numbers, and sequences of different lengths."""

import itertools

import ml_dtypes
import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors
from tilegrad.kernels import contract, reference
from tilegrad.nn.utils import rnn
from tilegrad.testing import assert_close

cpu = pytest.importorskip("tilegrad._cpu")
# Steps, samples, features, units; the last has weights that meet the input in one product.
SHAPES = [
    (5, 3, 2, 7), (1, 1, 1, 1), (4, 2, 5, 33), (0, 2, 2, 3), (3, 0, 2, 4), (3, 2, 0, 4),
    (7, 64, 3, 40), (2, 3, 300, 90),
]  # fmt: skip
LAYERS = {"RNN": tg.nn.RNN, "LSTM": tg.nn.LSTM, "GRU": tg.nn.GRU}
CELLS = {"RNN": tg.nn.RNNCell, "LSTM": tg.nn.LSTMCell, "GRU": tg.nn.GRUCell}


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("kind", contract.RECURRENT)
def test_kernels(kind, dtype, isa):
    op, gates_per_unit = contract.RECURRENT.index(kind), {"lstm": 4, "gru": 3}.get(kind, 1)
    rng = np.random.default_rng(0)

    def values(*shape):
        return (rng.standard_normal(shape) * 0.5).astype(dtype)

    def compare(actual, expected, length):
        for a, e in zip(actual, expected, strict=True):
            assert (a is None) == (e is None)
            if a is not None:
                assert_close(a, e, reduction_length=length)

    flags = [False, True]
    for (t, n, features, h), reverse, some in itertools.product(SHAPES, flags, flags):
        x, h0 = values(t, n, features), values(n, h)
        w_in, b_in = values(gates_per_unit * h, features), values(gates_per_unit * h)
        w = values(gates_per_unit * h, h) / np.asarray(h**0.5, dtype)  # errors must not grow
        c0 = values(n, h) if kind == "lstm" else None
        bias = values(gates_per_unit * h) if kind == "gru" else None
        lengths = rng.integers(0, t + 1, n) if some else None
        b_in = None if some else b_in
        args = (op, x[::-1], w_in, b_in, h0.T.copy().T, c0, w, bias, lengths, reverse)
        expected = reference.recurrent(*args)
        compare(cpu.recurrent(*args), expected, 8 * (h + features) * max(t, 1))
        gh, gc = values(t, n, h), values(n, h) if kind == "lstm" else None
        args = (op, gh, gc, *expected, h0, c0, w, lengths, reverse)
        compare(cpu.recurrent_grad(*args), reference.recurrent_grad(*args), 32 * h * max(t, 1))


def test_kernels_refuse():
    z = np.zeros
    good = [2, z((3, 2, 5), "f"), z((8, 5), "f"), z(8, "f"), z((2, 2), "f"), z((2, 2), "f"),
            z((8, 2), "f"), None, None, False]  # fmt: skip
    cpu.recurrent(*good)
    for at, value, error, words in (
        (0, 9, errors.ValueError, "unknown op 9"),
        (1, z((3, 10), "f"), errors.ShapeError, r"x expects shape \(T, N, ...\), got \(3, 10\)"),
        (1, z((3, 2, 5), int), errors.DTypeError, "must be floating"),
        (2, z((8, 6), "f"), errors.ShapeError, r"w_in expects shape \(8, 5\), got \(8, 6\)"),
        (3, z(9, "f"), errors.ShapeError, r"b_in expects shape \(8,\), got \(9,\)"),
        (4, z((1, 2), "f"), errors.ShapeError, r"h0 expects shape \(2, 2\), got \(1, 2\)"),
        (4, z((2, 2)), errors.DTypeError, "h0 has dtype float64"),
        (5, None, errors.ValueError, "c0 is for the LSTM"),
        (6, z((9, 2), "f"), errors.ShapeError, r"w expects shape \(4 H, H\)"),
        (7, z(8, "f"), errors.ValueError, "bias is for the GRU"),
        (8, z(3, int), errors.ShapeError, "lengths expects 2 int64"),
        (8, z(2, "i4"), errors.ShapeError, "lengths expects 2 int64"),
    ):
        args = list(good)
        args[at] = value
        with pytest.raises(error, match=words):
            cpu.recurrent(*args)


# Threads share the samples of the first, and the units of the second, whose weight is large.
@pytest.mark.parametrize("samples,columns,units", [(70, 24, 40), (8, 16, 256)])
@pytest.mark.parametrize("name", LAYERS)
def test_threads_give_the_same_bits(name, samples, columns, units):
    layer, x = LAYERS[name](columns, units), tg.randn(8, samples, columns)
    before, results = tg.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            tg.set_num_threads(n)
            layer.zero_grad()
            y, _ = layer(x)
            y.square().sum().backward()
            results.append([y.detach().numpy().tobytes()])
            results[-1] += [p.grad.numpy().tobytes() for p in layer.parameters()]
    finally:
        tg.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_its_cell_repeated(name, bias):
    tg.manual_seed(0)
    layer = LAYERS[name](3, 4, num_layers=2, bidirectional=True, bias=bias).to(tg.float64)
    x = tg.randn(5, 2, 3, dtype=tg.float64)
    h0 = tg.randn(4, 2, 4, dtype=tg.float64)
    state = (h0, h0 * 0.5) if name == "LSTM" else h0
    y, last = layer(x, state)
    sequence, ends = list(x), []
    for level in range(2):
        halves = []
        for d, suffix in enumerate(("", "_reverse")):
            cell = CELLS[name](len(sequence[0][0]), 4, bias=bias).to(tg.float64)
            for p, v in cell.named_parameters():
                with tg.no_grad():
                    v.copy_(getattr(layer, f"{p}_l{level}{suffix}"))
            i = 2 * level + d
            s, states = (h0[i], h0[i] * 0.5) if name == "LSTM" else h0[i], []
            for part in sequence[::-1] if d else sequence:
                s = cell(part, s)
                states.append(s[0] if name == "LSTM" else s)
            halves.append(states[::-1] if d else states)
            ends.append(s)
        sequence = [tg.cat([a, b], 1) for a, b in zip(*halves, strict=True)]
    assert_close(y.detach(), tg.stack(sequence).detach(), reduction_length=16)
    if name == "LSTM":
        assert_close(last[1].detach(), tg.stack([c for _, c in ends]).detach(), reduction_length=16)
        last, ends = last[0], [h for h, _ in ends]
    assert_close(last.detach(), tg.stack(ends).detach(), reduction_length=16)


# Of a layer(2, 2) whose weights are cos(0), cos(1), ... in the order of parameters(), on x =
# sin(0), sin(1), ... of shape (3, 1, 2): the last state, and the gradient of the sum of all states
# in x. PyTorch 2.13.0, float64.
PYTORCH = {
    "RNN": ([-0.988437412395, -0.326273584987],
             [-0.201843520371, -0.246578226819, 1.822776718315,
              0.956772093369, -0.348854671225, -0.872181037013]),
    "LSTM": ([0.062274810774, 0.279661040133],
             [-0.089720605411, -0.59758297466, 0.034498790461,
              -0.276203432838, 0.040163932609, -0.116278005735]),
    "GRU": ([-0.311967252005, -0.347997529651],
             [0.044356362781, 0.295168623647, -0.041630147256,
              0.084382358399, -0.723968061583, -0.107678947662]),
}  # fmt: skip


def from_cosine(layer):
    start = 0
    with tg.no_grad():
        for p in layer.parameters():
            values = np.cos(np.arange(start, start + p.numel())).reshape(p.shape)
            p.copy_(tg.from_numpy(values))
            start += p.numel()


@pytest.mark.parametrize("name", LAYERS)
def test_pytorch_numbers(name):
    layer = LAYERS[name](2, 2).to(tg.float64)
    from_cosine(layer)
    x = tg.from_numpy(np.sin(np.arange(6.0)).reshape(3, 1, 2)).requires_grad_()
    y, _ = layer(x)
    y.sum().backward()
    state, slope = PYTORCH[name]
    np.testing.assert_allclose(y[-1].numpy(force=True).ravel(), state, atol=1e-10)
    np.testing.assert_allclose(x.grad.numpy().ravel(), slope, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_lengths(name):
    """A packed batch equals its sequences run one by one, states and gradients."""
    tg.manual_seed(0)
    layer = LAYERS[name](3, 4, num_layers=2, bidirectional=True).to(tg.float64)
    parts = [tg.randn(n, 3, dtype=tg.float64).requires_grad_() for n in (2, 5, 3)]
    packed = rnn.pack_sequence(parts, enforce_sorted=False)
    y, last = layer(packed)
    whole, lengths = rnn.pad_packed_sequence(y, padding_value=7.0)
    assert lengths.tolist() == [2, 5, 3] and whole.shape == (5, 3, 8)
    assert (whole[2:, 0] == 7.0).all()
    whole.sum().backward()
    together = [p.grad.numpy().copy() for p in [*parts, *layer.parameters()]]
    for p in [*parts, *layer.parameters()]:
        p.grad = None
    for i, x in enumerate(parts):
        alone, end = layer(x)
        assert_close(whole[: len(x), i].detach(), alone.detach(), reduction_length=16)
        for a, b in zip(last, end, strict=True) if name == "LSTM" else ((last, end),):
            assert_close(a[:, i].detach(), b.detach(), reduction_length=16)
        alone.sum().backward()
    for a, p in zip(together, [*parts, *layer.parameters()], strict=True):
        assert_close(a, p.grad, reduction_length=64)


def test_padding_and_packing():
    a, b = tg.tensor([1.0, 2.0, 3.0]), tg.tensor([4.0])
    assert rnn.pad_sequence([a, b], padding_side="left").tolist() == [[1, 0], [2, 0], [3, 4]]
    packed = rnn.pack_sequence([b, a], enforce_sorted=False)
    assert packed.data.tolist() == [1, 4, 2, 3] and packed.batch_sizes.tolist() == [2, 1, 1]
    assert packed.sorted_indices.tolist() == [1, 0] and packed.unsorted_indices.tolist() == [1, 0]
    x, n = rnn.pad_packed_sequence(packed, total_length=4)
    assert x.shape == (4, 2) and n.tolist() == [1, 3] and x[:, 0].tolist() == [4, 0, 0, 0]
    assert [t.tolist() for t in rnn.unpad_sequence(x, n)] == [[4], [1, 2, 3]]
    for call, error, words in (
        (lambda: rnn.pack_sequence([b, a]), errors.ValueError, "lengths must descend"),
        (lambda: rnn.pack_padded_sequence(x, [1]), errors.ShapeError, "one int per sequence"),
        (lambda: rnn.pack_padded_sequence(x, [5, 1]), errors.ValueError, r"lie in \[1, 4\]"),
        (lambda: rnn.pad_packed_sequence(packed, total_length=2), errors.ValueError, "total_len"),
        (lambda: rnn.pad_sequence([]), errors.ValueError, "at least one"),
        (lambda: rnn.pad_sequence([a, tg.ones(2, 2)]), errors.ShapeError, "differ behind"),
        (lambda: rnn.pack_sequence([1]), errors.DTypeError, "list of tensors"),
    ):
        with pytest.raises(error, match=words):
            call()


def test_arguments():
    layer = tg.nn.LSTM(3, 4, batch_first=True, dropout=0.5, num_layers=2)
    assert str(layer) == "LSTM(3, 4, num_layers=2, batch_first=True, dropout=0.5)"
    assert [n for n, _ in layer.named_parameters()][:4] == [
        "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0",
    ]  # fmt: skip
    x = tg.zeros(2, 5, 3)
    layer(x)
    for call, error, words in (
        (lambda: layer(tg.zeros(2, 5, 4)), errors.ShapeError, r"LSTM: input expects \(T, N, 3\)"),
        (lambda: layer(tg.zeros(2, 0, 3)), errors.ShapeError, "no steps"),
        (lambda: layer(x, tg.zeros(2, 2, 4)), errors.DTypeError, r"a pair \(h_0, c_0\)"),
        (
            lambda: layer(x, (tg.zeros(1, 2, 4),) * 2),
            errors.ShapeError,
            r"h_0 expects shape \(2",
        ),
        (
            lambda: layer(x, (tg.zeros(2, 2, 4, dtype=tg.float64),) * 2),
            errors.DTypeError,
            "float64",
        ),
        (lambda: tg.nn.GRU(3, 0), errors.ValueError, "GRU: hidden_size must be a positive int"),
        (lambda: tg.nn.GRU(3, 4, 0), errors.ValueError, "num_layers"),
        (lambda: tg.nn.GRU(3, 4, dropout=2), errors.ValueError, "dropout"),
        (lambda: tg.nn.RNN(3, 4, nonlinearity="sin"), errors.ValueError, "nonlinearity"),
        (lambda: tg.nn.RNNCell(3, 4, nonlinearity="sin"), errors.ValueError, "nonlinearity"),
        (lambda: tg.nn.GRUCell(3, 4)(tg.zeros(2, 2)), errors.ShapeError, r"GRUCell: input expects"),
        (lambda: tg.nn.LSTMCell(3, 4)(tg.zeros(2, 3), tg.zeros(2, 4)), errors.DTypeError, "a pair"),
    ):
        with pytest.raises(error, match=words):
            call()
