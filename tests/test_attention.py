"""Attention: the kernels against the reference, the layers against their formulas and PyTorch's
numbers, and what is refused."""

import itertools
import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors
from tilegrad.kernels import reference
from tilegrad.testing import assert_close

cpu = pytest.importorskip("tilegrad._cpu")
F, nn = tg.nn.functional, tg.nn
SHAPES = [
    (2, 3, 5, 7, 4, 6), (1, 1, 1, 1, 1, 1), (2, 2, 130, 70, 16, 16), (1, 2, 64, 200, 8, 8),
    (2, 1, 0, 3, 4, 4), (2, 1, 3, 0, 4, 4), (0, 1, 3, 2, 4, 4), (1, 1, 3, 2, 4, 0),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_kernels(shape, dtype, isa):
    b, h, t, s, d, e = shape
    rng = np.random.default_rng(0)

    def values(*size):
        return rng.standard_normal(size).astype(dtype)

    seen = np.where(rng.random((t, s)) < 0.4, -np.inf, 0.5).astype(dtype)
    stretched = np.broadcast_to(seen, (b, h, t, s))
    for causal, mask in itertools.product((False, True), (None, stretched, stretched.copy())):
        q, k = values(b, t, h, d).transpose(0, 2, 1, 3), values(b, h, s, d)
        v, g = values(b, s, h, e).transpose(0, 2, 1, 3), values(b, h, t, e)
        for stream in ((), (0.4, 7, 2**32 - 3), (1.0, 7, 0)):
            args = (q, k, v, mask, 0.3, causal, *stream)
            y = cpu.attention(*args)
            assert_close(y, reference.attention(*args), reduction_length=8 * (s + d))
            for actual, expected in zip(
                cpu.attention_grad(g, *args), reference.attention_grad(g, *args), strict=True
            ):
                assert_close(actual, expected, reduction_length=32 * (s + d))
            if stream == ():
                assert (cpu.attention(*args, 0.0, 5, 9) == y).all()


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 2, 67, 130), (3, 1, 3, 1)], ids=str)
def test_dropped_are_those_of_the_dropout_kernel(shape, dtype, isa):
    b, h, t, s = shape
    q, k, v = np.zeros((b, h, t, 1), dtype), np.zeros((b, h, s, 1), dtype), np.eye(s, dtype=dtype)
    v = np.broadcast_to(v, (b, h, s, s))  # so that y is the matrix of probabilities
    for causal in (False, True):
        stream = (0.3, 11, 2**64 - 2)
        p = cpu.attention(q, k, v, None, 1.0, causal)
        y = cpu.attention(q, k, v, None, 1.0, causal, *stream)
        expected = cpu.dropout(np.ascontiguousarray(p), *stream)
        assert ((y == 0) == (expected == 0)).all()
        assert_close(y, expected, reduction_length=2)


def test_kernels_refuse():
    x = np.zeros((1, 1, 2, 2), "f")
    for p in (-0.1, 1.5, np.nan):
        for kernel, args in ((cpu.attention, (x,) * 3), (cpu.attention_grad, (x,) * 4)):
            with pytest.raises(errors.ValueError, match=r"expected p in \[0, 1\]"):
                kernel(*args, None, 1.0, False, p, 0, 0)
    q, k, v = (np.zeros((2, 3, n, 4), "f") for n in (5, 7, 7))
    for args, error, words in (
        ((q[0], k, v, None), errors.ShapeError, r"q expects shape \(B, H, T, D\)"),
        ((q, k[..., :3], v, None), errors.ShapeError, "k of shape .* does not fit q"),
        ((q, k, v[:, :, :6], None), errors.ShapeError, "v of shape"),
        ((q, k, v.astype("d"), None), errors.DTypeError, "v has dtype float64"),
        ((q, k, v, np.zeros((5, 7), "f")), errors.ShapeError, "mask of shape"),
        ((q.astype(int), k, v, None), errors.DTypeError, "must be floating"),
    ):
        with pytest.raises(error, match=words):
            cpu.attention(*args, 1.0, False)
        with pytest.raises(error, match=words):
            cpu.attention_grad(q, *args, 1.0, False)


def test_threads_give_the_same_bits():
    x, before, results = tg.randn(3, 2, 150, 16), tg.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            tg.set_num_threads(n)
            q = x.clone().requires_grad_()
            tg.manual_seed(0)
            for p in (0.0, 0.3):
                y = F.scaled_dot_product_attention(q, q, q, dropout_p=p, is_causal=True)
                y.square().sum().backward()
            results.append((y.detach().numpy().tobytes(), q.grad.numpy().tobytes()))
    finally:
        tg.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("p", [0.0, 0.1])
def test_scores_are_not_stored(p):
    x = tg.randn(1, 1, 4096, 8).requires_grad_()
    layer = nn.TransformerEncoderLayer(8, 1, 8, p, batch_first=True)
    for step in (
        lambda: F.scaled_dot_product_attention(x, x, x, dropout_p=p),
        lambda: layer(x[0]),
    ):
        tg.reset_peak_memory()
        before = tg.memory_stats()["peak"]
        step().sum().backward()
        assert tg.memory_stats()["peak"] - before < 4096 * 4096 * 4 // 4


def test_a_query_that_sees_nothing():
    x = tg.randn(2, 3, 4).requires_grad_()
    mask = tg.tensor([[True, False, True], [False, False, False], [True, True, True]])
    for dropout in (0.0, 1e-12):
        y = F.scaled_dot_product_attention(x, x, x, mask, dropout_p=dropout)
        assert (y[:, 1] == 0).all() and y.isfinite().all()
        x.grad = None
        y.sum().backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("kind", ["plain", "causal", "mask", "self"])
def test_dropout_fused_and_composite_agree(kind, isa):
    """Of an added mask of zeros that requires grad, the composite is taken."""
    shape, wide = (2, 3, 69, 4), (2, 69, 36)
    xs = [tg.randn(*shape, dtype=tg.float64).requires_grad_() for _ in range(3)]
    seen = tg.rand(69, 69) < 0.6
    bias = tg.zeros(69, 69, dtype=tg.float64)
    if kind == "causal":
        bias = tg.nn.Transformer.generate_square_subsequent_mask(69, dtype=tg.float64)
    elif kind == "mask":
        bias = tg.where(seen, bias, -math.inf)
    elif kind == "self":
        xs = [tg.randn(*wide, dtype=tg.float64).requires_grad_()]

    def attend(composite):
        mask = bias.clone().requires_grad_() if composite else seen if kind == "mask" else None
        causal = kind == "causal" and not composite
        tg.manual_seed(5)
        if kind == "self":
            y = tg.ops.attention.self_attention(xs[0], 3, 0, mask, 0.3, causal)
        else:
            y = F.scaled_dot_product_attention(*xs, mask, 0.3, causal)
        g = tg.cos(tg.arange(float(y.numel()), dtype=tg.float64)).reshape(y.shape)
        first = tg.autograd.grad((y * g).sum(), xs, retain_graph=True)
        again = tg.autograd.grad((y * g).sum(), xs, create_graph=True)
        second = tg.autograd.grad(sum(a.square().sum() for a in again), xs)
        return [y.detach(), *first, *[a.detach() for a in again], *second], tg.get_rng_state()

    (fused, state), (composite, other) = attend(False), attend(True)
    assert (state == other).all()
    for a, b in zip(fused, composite, strict=True):
        assert_close(a, b, reduction_length=4000)


def test_dropout():
    tg.manual_seed(3)
    x = tg.ones(1, 400, 4)
    y = F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)
    assert abs(y.mean().item() - 1.0) < 0.02 and y.var().item() > 0
    layer = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
    assert not (layer(x, x, x)[0] == layer(x, x, x)[0]).all()
    layer.eval()
    assert (layer(x, x, x)[0] == layer(x, x, x)[0]).all()


def cosines(module):
    start = 0
    with tg.no_grad():
        for p in module.parameters():
            values = 0.5 * np.cos(np.arange(start, start + p.numel()))
            p.copy_(tg.from_numpy(values.reshape(p.shape)))
            start += p.numel()
    return module


def sines(*shape):
    n = math.prod(shape)
    return tg.from_numpy(np.sin(np.arange(float(n))).reshape(shape)).requires_grad_()


# Parameters 0.5 cos(0), 0.5 cos(1), ..., inputs sin(0), sin(1), ...: the last output row, and the
# last row of the gradient of the sum of squares in the source. PyTorch 2.13.0, float64.
PYTORCH = {
    "attention": (
        [0.0265247442, -0.1917983222, 0.1872282424, -1.0771332795],
        [-0.2176656936, 0.1596642535, 0.3901996222, 0.2619872578],
    ),
    "encoder_norm_first": (
        [-0.4430020735, 0.0506578149, 1.0119757188, -0.1688083166],
        [-0.913788161, 0.2676392331, 2.0146727858, -0.4668775706],
    ),
    "transformer": (
        [0.6828429195, 0.2806163365, 0.0234725717, -0.3203656986],
        [-0.0006176715, -0.0001630455, -0.0003718768, 0.0006617572],
    ),
}


@pytest.mark.parametrize("name", PYTORCH)
def test_pytorch_numbers(name):
    source, target = sines(4, 1, 4), sines(3, 1, 4)
    causal = nn.Transformer.generate_square_subsequent_mask(3, dtype=tg.float64)
    y = {
        "attention": lambda: cosines(nn.MultiheadAttention(4, 2).to(tg.float64))(
            target, source, source)[0],
        "encoder_norm_first": lambda: cosines(nn.TransformerEncoderLayer(
            4, 2, 6, 0.0, "gelu", norm_first=True).to(tg.float64))(source),
        "transformer": lambda: cosines(nn.Transformer(4, 2, 1, 1, 6, 0.0).to(tg.float64))(
            source, target, tgt_mask=causal),
    }[name]()  # fmt: skip
    y.square().sum().backward()
    state, slope = PYTORCH[name]
    np.testing.assert_allclose(y[-1, 0].numpy(force=True), state, atol=1e-9)
    np.testing.assert_allclose(source.grad[-1, 0].numpy(), slope, atol=1e-9)


def test_weights_and_fused_agree():
    layer = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True).to(tg.float64)
    x, m = tg.randn(5, 3, 8, dtype=tg.float64), tg.randn(5, 5, dtype=tg.float64)
    ignored = tg.tensor([[False] * 4 + [True]] * 3)
    for mask, padding in itertools.product((None, m, m > 0), (None, ignored)):
        y, p = layer(x, x, x, padding, attn_mask=mask)
        z, none = layer(x, x, x, padding, attn_mask=mask, need_weights=False)
        assert none is None and p.shape == (3, 5, 7)
        assert_close(p.sum(-1).detach(), tg.ones(3, 5, dtype=tg.float64), reduction_length=16)
        assert_close(y.detach(), z.detach(), reduction_length=32)
        if padding is not None:
            assert (p[:, :, 4] == 0).all()
    assert layer(x, x, x, average_attn_weights=False)[1].shape == (3, 2, 5, 7)


def test_positions():
    table = nn.SinusoidalPositions(6, 10)(tg.zeros(1, 10, 6))[0]
    for position, i in itertools.product((0, 3, 9), range(3)):
        angle = position / 10000 ** (2 * i / 6)
        assert abs(table[position, 2 * i].item() - math.sin(angle)) < 1e-6
        assert abs(table[position, 2 * i + 1].item() - math.cos(angle)) < 1e-6
    learned = nn.LearnedPositions(4, 8)
    learned(tg.zeros(2, 3, 4)).sum().backward()
    assert learned.weight.grad[:3].tolist() == [[2] * 4] * 3 and learned.weight.grad[3:].sum() == 0
    rotary = nn.RotaryPositions(8)
    q, k = tg.randn(8, dtype=tg.float64), tg.randn(8, dtype=tg.float64)
    a, b = rotary(q.expand(1, 1, 20, 8)), rotary(k.expand(1, 1, 20, 8))
    products = (a[0, 0] @ b[0, 0].t()).numpy()
    for shift in range(-5, 6):  # only the distance matters
        diagonal = np.diagonal(products, shift)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-12)
    for call, words in (
        (lambda: nn.RotaryPositions(7), "even"),
        (lambda: nn.SinusoidalPositions(5), "even"),
        (lambda: learned(tg.zeros(1, 9, 4)), r"at most 8 positions .* \(1, 9, 4\)"),
    ):
        with pytest.raises(errors.TilegradError, match=words):
            call()


def test_mistakes_are_named():
    x, layer = tg.zeros(2, 5, 8), nn.MultiheadAttention(8, 2, batch_first=True)
    attend = F.scaled_dot_product_attention
    flag = tg.ones(5, 5) > 0
    for call, error, words in (
        (lambda: attend(x, x[..., :4], x), errors.ShapeError, r"\(2, 5, 8\), key \(2, 5, 4\)"),
        (lambda: attend(x, tg.zeros(3, 5, 8), x), errors.ShapeError, "leading axes of query"),
        (lambda: attend(x[0, 0], x, x), errors.ShapeError, "query expects at least 2 dim"),
        (lambda: attend(x, x.to(tg.float64), x), errors.DTypeError, "one floating dtype"),
        (lambda: attend(x, x, x, flag[:4]), errors.ShapeError, r"attn_mask of shape \(4, 5\)"),
        (lambda: attend(x, x, x, tg.ones(5, 5, dtype=tg.int64)), errors.DTypeError, "int64"),
        (lambda: attend(x, x, x, flag, is_causal=True), errors.ValueError, "not both"),
        (lambda: attend(x, x, x, dropout_p=1.5), errors.ValueError, "dropout_p"),
        (lambda: attend(tg.zeros(1, 3, 5, 8), *[tg.zeros(1, 2, 5, 8)] * 2, enable_gqa=True),
         errors.ShapeError, "must be a multiple"),
        (lambda: nn.MultiheadAttention(8, 3), errors.ValueError, "does not divide into 3 heads"),
        (lambda: nn.MultiheadAttention(8, 2, -1.0), errors.ValueError, "dropout"),
        (lambda: layer(x[..., :4], x, x), errors.ShapeError, "query expects 3 dim"),
        (lambda: layer(x, x[:1], x[:1]), errors.ShapeError, "differ in their batch"),
        (lambda: layer(x, x, x, tg.zeros(2, 4)), errors.ShapeError, "key_padding_mask expects"),
        (lambda: layer(x, x, x, is_causal=True), errors.ValueError, "must be given"),
        (lambda: nn.TransformerEncoderLayer(8, 2, activation="sin"), errors.ValueError, "'sin'"),
    ):  # fmt: skip
        with pytest.raises(error, match=words):
            call()
