"""Convolution in three directions under every instruction set and algorithm: small integers, so
that no bit may differ from the reference."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from exact import rng

import tilegrad as tg
from tilegrad import _cpu as cpu
from tilegrad import errors
from tilegrad.cases.conv import LAYERS
from tilegrad.kernels import contract
from tilegrad.kernels import reference as ref

HALVES = [np.dtype(ml_dtypes.bfloat16), np.dtype("e")]
FLOATS = [np.dtype(c) for c in "fd"] + HALVES
# name: x, w, stride, padding, dilation, groups
CASES = {
    "first_layer": ((2, 1, 28, 28), (6, 1, 5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    "second_layer": ((3, 6, 14, 14), (16, 6, 5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "kernel_covers_input": ((4, 16, 5, 5), (20, 16, 5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "pointwise_1x1": ((2, 40, 5, 6), (36, 40, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "pointwise_groups": ((2, 6, 5, 6), (9, 2, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 3),
    "pointwise_strided_wide": ((3, 40, 5, 8), (36, 40, 1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1), 1),
    "pointwise_volume": ((2, 6, 3, 5, 4), (8, 3, 1, 1, 1), (2, 1, 2), ((0, 0),) * 3, (1,) * 3, 2),
    "pointwise_strided": ((2, 7, 5, 6), (9, 7, 1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1),
    "3x3_channel_tail": ((1, 17, 9, 11), (19, 17, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "two_blocks_of_channels": ((1, 70, 9, 9), (30, 70, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "several_boxes": ((1, 8, 100, 90), (8, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "small_images": ((7, 20, 4, 4), (50, 20, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "small_volumes": ((3, 40, 3, 4, 3), (48, 40, 2, 2, 2), (1,) * 3, ((1, 1),) * 3, (1,) * 3, 1),
    "one_small_volume": ((1, 40, 3, 4, 3), (48, 40, 2, 2, 2), (1,) * 3, ((1, 0),) * 3, (1,) * 3, 1),
    "long_rows": ((1, 30, 3, 700), (4, 30, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "3x3_large": ((2, 40, 30, 33), (48, 40, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "3x3_large_strided": ((2, 40, 32, 31), (48, 40, 3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    "5x5_large": ((2, 40, 19, 20), (48, 40, 5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 1),
    "strided": ((2, 5, 11, 12), (7, 5, 3, 3), (2, 3), ((1, 1), (1, 1)), (1, 1), 1),
    "stride_over_kernel": ((2, 3, 9, 9), (4, 3, 2, 2), (5, 7), ((0, 0), (0, 0)), (1, 1), 1),
    "dilated": ((2, 3, 13, 12), (4, 3, 3, 3), (1, 1), ((2, 2), (2, 2)), (2, 3), 1),
    "dilated_strided": ((2, 3, 13, 12), (4, 3, 3, 2), (2, 2), ((2, 1), (0, 2)), (3, 2), 1),
    "dilated_far": ((1, 2, 6, 6), (3, 2, 2, 2), (1, 1), ((500, 500), (500, 500)), (999, 999), 1),
    "grouped": ((2, 6, 8, 8), (8, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
    "depthwise": ((2, 20, 9, 10), (20, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 20),
    "depthwise_volume": ((2, 3, 4, 5, 6), (3, 1, 3, 1, 3), (1,) * 3, ((1, 1), (0, 0), (1, 1)),
                         (1,) * 3, 3),
    "depthwise_5x5": ((2, 4, 7, 20), (4, 1, 5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), 4),
    "depthwise_dilated": ((2, 4, 7, 20), (4, 1, 3, 3), (1, 1), ((2, 2), (3, 3)), (2, 3), 4),
    "depthwise_multiplier": ((2, 6, 9, 10), (18, 1, 3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1), 6),
    "kernel_smaller_than_padding": (
        (2, 3, 2, 2), (4, 3, 2, 2), (1, 1), ((3, 3), (3, 3)), (1, 1), 1),
    "asymmetric_padding": ((2, 3, 7, 8), (4, 3, 3, 2), (1, 1), ((0, 3), (2, 1)), (1, 1), 1),
    "empty_batch": ((0, 3, 5, 5), (4, 3, 3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "no_input_channels": ((2, 0, 5, 5), (4, 0, 3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "no_output_channels": ((2, 3, 5, 5), (0, 3, 3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "only_padding": ((2, 3, 0, 5), (2, 3, 3, 3), (1, 1), ((2, 2), (0, 0)), (1, 1), 1),
    "1d": ((2, 3, 40), (5, 3, 7), (1,), ((3, 3),), (1,), 1),
    "1d_strided": ((2, 3, 40), (5, 3, 7), (3,), ((3, 1),), (2,), 1),
    "1d_long": ((1, 2, 3000), (3, 2, 9), (1,), ((4, 4),), (1,), 1),
    "3d": ((2, 3, 5, 6, 7), (4, 3, 3, 3, 3), (1, 1, 1), ((1, 1),) * 3, (1, 1, 1), 1),
    "3d_all": ((2, 4, 6, 7, 8), (6, 2, 2, 3, 2), (2, 1, 2), ((1, 0), (0, 1), (2, 1)), (1, 2, 1), 2),
    "next_to_nothing": ((1, 1, 3, 3), (1, 1, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
}  # fmt: skip
ALGORITHMS = ["", "direct", "output_lanes", "patches", "plain", "winograd_2x3", "depthwise"]
# F(m x m, r x r) by name: taps, and how many times the error of the direct sums is allowed. Direct
# gradients of the weight add up lanes apart and are hard to follow; winograd_2x5, which does not
# where positions are few, is refused there.
WINOGRAD = {
    "winograd_2x3": (3, (2, 2, 3)),
    "winograd_4x3": (3, (5, 5, 8)),
    "winograd_2x5": (5, (5, 5, 12)),
    "winograd_4x3_by_2": (3, (5, 7, 8)),
}


def applies(algorithm, case, dtype):
    """Whether a forced algorithm has anything to do with a case."""
    xs, ws, stride, _, dilation, groups = CASES[case]
    if algorithm.startswith("winograd"):
        taps = (WINOGRAD[algorithm][0],) * 2
        return dtype != np.float64 and ws[2:] == taps and stride == (1, 1) and max(dilation) <= 8
    if algorithm in ("output_lanes", "patches"):  # others than float32 and 64 are the formula's
        return dtype.itemsize >= 4 and np.prod(xs) * ws[0] * np.prod(ws[2:]) <= 3e6
    if algorithm == "depthwise":
        return dtype != np.float64 and ws[1] == 1 and groups > 1
    return algorithm != "plain" or np.prod(xs) * ws[0] * np.prod(ws[2:]) <= 3e5


@pytest.fixture(params=cpu.isas())
def isa(request):
    before = cpu.isa()
    cpu.set_isa(request.param)
    yield
    cpu.set_isa(before)


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    cpu._force_conv(request.param)
    tg.set_precision("highest")  # not every bit survives what "high" allows
    yield request.param
    tg.set_precision("high")
    cpu._force_conv("")


def numbers(dtype, shape):
    return rng.integers(-2, 3, shape).astype(dtype)


def layouts(x):
    """NCHW, channels_last, gapped, reversed."""
    gapped = np.zeros([2 * n for n in x.shape], x.dtype)[
        tuple(slice(None, None, 2) for _ in x.shape)
    ]
    gapped[...] = x
    flip = tuple(slice(None, None, -1) for _ in x.shape)
    return [x, np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1), gapped, x[flip].copy()[flip]]


def same(a, b):
    assert isinstance(a, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_three_directions(case, dtype, isa, algorithm):
    xs, ws, *window = CASES[case]
    if not applies(algorithm, case, dtype):
        pytest.skip("does not apply, or is the formula itself and slow")
    x, w, bias = numbers(dtype, xs), numbers(dtype, ws), numbers(dtype, (ws[0], 2))[:, 1]
    y = ref.conv(x, w, bias, *window)
    g = numbers(dtype, y.shape)
    gx = ref.conv_grad_input(g, w, xs[2:], *window)
    gw = ref.conv_grad_weight(g, x, ws[2:], *window)
    for x2, w2, g2 in itertools.islice(zip(*map(layouts, (x, w, g)), strict=True), 4):
        same(cpu.conv(x2, w2, bias, *window), y)
        same(cpu.conv_grad_input(g2, w2, xs[2:], *window), gx)
        same(cpu.conv_grad_weight(g2, x2, ws[2:], *window), gw)


@pytest.mark.parametrize("impl", contract.CONV)
def test_impl(impl, isa):
    """The algorithm of this name gives the numbers of the reference or says what it needs."""
    taken = np.zeros(3, int)
    exact = impl not in ("winograd_4x3", "winograd_2x5", "winograd_4x3_by_2")
    for xs, ws, *window in CASES.values():
        x, w = numbers(np.dtype("f"), xs), numbers(np.dtype("f"), ws)
        y = ref.conv(x, w, None, *window)
        if not x.size or not w.size or (impl == "plain" and y.size * np.prod(ws[1:]) > 3e5):
            continue
        g = numbers(np.dtype("f"), y.shape)
        for i, (name, *args) in enumerate((
            ("conv", x, w, None), ("conv_grad_input", g, w, xs[2:]),
            ("conv_grad_weight", g, x, ws[2:]),
        )):  # fmt: skip
            try:
                result = getattr(cpu, name)(*args, *window, impl=impl)
            except errors.ValueError as e:
                assert f": impl='{impl}' does not apply: it needs " in str(e)
                continue
            expected = getattr(ref, name)(*args, *window)
            limit = 0 if exact else 1e-5 * np.abs(expected).max(initial=1)
            np.testing.assert_allclose(result, expected, rtol=0, atol=limit)
            taken[i] += 1
    assert taken.min() >= (len(CASES) // 2 if impl in ("plain", "direct") else 1)


def test_memory_order_follows_the_input():
    x, w = (np.ones(s, "f") for s in ((2, 6, 7, 8), (9, 6, 3, 3)))
    window = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    last = layouts(x)[1]
    for a, channels_last in ((x, False), (last, True)):
        y = cpu.conv(a, w, None, *window)
        g = layouts(y)[channels_last]
        gx = cpu.conv_grad_input(g, w, (7, 8), *window)
        for r in (y, gx):
            assert (r.strides[1] == 4) == channels_last
            assert r.flags.c_contiguous == (not channels_last)


def test_non_finite_values_stay_where_they_are():
    x, w, g = np.ones((1, 2, 9, 9), "f"), np.ones((3, 2, 3, 3), "f"), np.ones((1, 3, 9, 9), "f")
    window = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    x[0, 0, 4, 4], g[0, 1, 0, 0], x[0, 1, 8, 8] = np.inf, np.nan, np.nan
    for a, b in (
        (cpu.conv(x, w, None, *window), ref.conv(x, w, None, *window)),
        (cpu.conv_grad_input(g, w, (9, 9), *window), ref.conv_grad_input(g, w, (9, 9), *window)),
        (cpu.conv_grad_weight(g, x, (3, 3), *window), ref.conv_grad_weight(g, x, (3, 3), *window)),
    ):
        same(a, b)


@pytest.mark.parametrize("dtype", [np.dtype("f"), *HALVES], ids=str)
def test_threads_do_not_change_bits(dtype):
    before = cpu.num_threads()
    names = ("second_layer", "two_blocks_of_channels", "several_boxes", "strided", "depthwise",
             "3d_all", "pointwise_1x1", "kernel_covers_input", "small_images", "small_volumes",
             "3x3_large", "3x3_large_strided", "5x5_large")  # fmt: skip
    chunks = (3, 18, 60, 44), (20, 18, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    for xs, ws, *window in (*(CASES[name] for name in names), chunks):
        x, w = (rng.standard_normal(s).astype(dtype) for s in (xs, ws))
        results = []
        for threads in (1, 2, 5):
            cpu.set_num_threads(threads)
            y = cpu.conv(x, w, None, *window)
            results.append([
                y.tobytes(),
                cpu.conv_grad_input(y, w, xs[2:], *window).tobytes(),
                cpu.conv_grad_weight(y, x, ws[2:], *window).tobytes(),
            ])  # fmt: skip
        cpu.set_num_threads(before)
        assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("case", [
    "3x3_large", "5x5_large", "strided", "first_layer", "depthwise", "pointwise_1x1", "1d_strided",
    "pointwise_strided_wide", "small_images", "kernel_covers_input", "one_small_volume",
])  # fmt: skip
def test_half_types_are_rounded_once(case, dtype, isa):
    """Sums in float32, then one rounding: half a unit of the last place from what float64 sums."""
    xs, ws, *window = CASES[case]
    x, w = (rng.standard_normal(s).astype(dtype) for s in (xs, ws))
    y = ref.conv(x.astype("d"), w.astype("d"), None, *window)
    g = rng.standard_normal(y.shape).astype(dtype)
    exact = [
        y,
        ref.conv_grad_input(g.astype("d"), w.astype("d"), xs[2:], *window),
        ref.conv_grad_weight(g.astype("d"), x.astype("d"), ws[2:], *window),
    ]
    half_unit = float(ml_dtypes.finfo(dtype).eps) / 2
    for last in (False, True):
        a, b = (layouts(v)[last] for v in (x, g))
        ours = [
            cpu.conv(a, w, None, *window),
            cpu.conv_grad_input(b, w, xs[2:], *window),
            cpu.conv_grad_weight(b, a, ws[2:], *window),
        ]
        for e, r in zip(exact, ours, strict=True):
            assert r.dtype == dtype
            error = np.abs(r.astype("d") - e)
            assert (error <= half_unit * np.abs(e) + 5e-6 * np.abs(e).max()).all()


WINOGRAD_CASES = {
    "small": ((2, 16, 8, 8), (12, 16), 1, 1, 1),
    "tails": ((1, 5, 19, 23), (7, 5), 1, 1, 1),
    "no_padding": ((2, 33, 13, 6), (18, 33), 0, 1, 1),
    "much_padding": ((1, 9, 30, 71), (33, 9), 3, 1, 1),
    "several_blocks": ((3, 40, 64, 60), (48, 40), 1, 1, 1),
    "several_chunks": ((3, 18, 60, 44), (20, 18), 1, 1, 1),
    "many_channels": ((1, 300, 12, 12), (130, 300), 1, 1, 1),
    "grouped": ((2, 24, 10, 10), (36, 12), 1, 1, 2),
    "dilated": ((2, 18, 15, 13), (20, 18), 2, 2, 1),
}  # fmt: skip


@pytest.mark.parametrize("layout", [0, 1], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("name", WINOGRAD)
@pytest.mark.parametrize("case", WINOGRAD_CASES)
def test_winograd_errors(case, name, layout, isa):
    """Root mean squares against float64, in units of the error of the direct sums."""
    taps, limits = WINOGRAD[name]
    xs, ws, padding, dilation, groups = WINOGRAD_CASES[case]
    x, w = (rng.standard_normal(s).astype("f") for s in (xs, (*ws, taps, taps)))
    bias = rng.standard_normal(ws[0]).astype("f")
    stride = (2, 2) if name.endswith("by_2") else (1, 1)
    if stride != (1, 1) and dilation != 1:
        pytest.skip("does not apply")
    window = stride, ((padding, padding + taps // 4),) * 2, (dilation,) * 2, groups
    g = rng.standard_normal(cpu.conv(x, w, None, *window).shape).astype("f")

    def three(dtype, algorithm):
        a, b, c, d = (v.astype(dtype) for v in (x, w, bias, g))
        cpu._force_conv(algorithm)
        try:
            return [
                cpu.conv(layouts(a)[layout], b, c, *window),
                cpu.conv_grad_input(layouts(d)[layout], b, xs[2:], *window),
                cpu.conv_grad_weight(layouts(d)[layout], layouts(a)[layout], w.shape[2:], *window),
            ]
        finally:
            cpu._force_conv("")

    exact, direct, ours = three("d", "direct"), three("f", "direct"), three("f", name)
    for e, d, a, limit in zip(exact, direct, ours, limits, strict=True):
        scale = np.sqrt(np.mean(e**2))
        error, unit = (np.sqrt(np.mean((v - e) ** 2)) / scale for v in (a, d))
        assert 0 < error <= limit * unit


def test_few_positions_refuse_the_gradient_of_5x5():
    window = (1, 1), ((2, 2), (2, 2)), (1, 1), 1
    for size, refused in ((20, True), (40, False)):
        x = rng.standard_normal((1, 64, size, size)).astype("f")
        chosen = cpu.conv_grad_weight(x, x, (5, 5), *window).tobytes()
        cpu._force_conv("direct")
        direct = cpu.conv_grad_weight(x, x, (5, 5), *window).tobytes()
        cpu._force_conv("")
        assert (chosen == direct) == refused


def test_precision_chooses():
    """Winograd's algorithm is taken unless set_precision says otherwise."""
    x, w = (rng.standard_normal(s).astype("f") for s in ((1, 64, 28, 28), (64, 64, 3, 3)))
    window = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
    results = {}
    for name in ("winograd_4x3", "direct"):
        cpu._force_conv(name)
        results[name] = cpu.conv(x, w, None, *window)
    cpu._force_conv("")
    assert results["winograd_4x3"].tobytes() != results["direct"].tobytes()
    assert tg.get_precision() == "high"
    same(cpu.conv(x, w, None, *window), results["winograd_4x3"])
    tg.set_precision("highest")
    try:
        assert tg.get_precision() == "highest"
        same(cpu.conv(x, w, None, *window), results["direct"])
    finally:
        tg.set_precision("high")
    with pytest.raises(errors.ValueError, match='set_precision: expects "high" or "highest", got'):
        tg.set_precision("low")


@pytest.mark.parametrize("case", LAYERS, ids=lambda c: c.name)
def test_layers(case):
    """The rows of benchmarks/conv_vs_torch.py, one image each: the output against float64, the
    gradients by the adjoint identities."""
    xs, ws = (a.shape for a in case.inputs[:2])
    xs, rank = (1, *xs[1:]), len(xs) - 2
    axes = [(case.params.get(n, d),) * rank for n, d in (("stride", 1), ("dilation", 1))]
    padding = case.params.get("padding", 0)
    window = axes[0], ((padding, padding),) * rank, axes[1], case.params.get("groups", 1)
    x, w = (rng.standard_normal(s).astype("f") for s in (xs, ws))
    y = cpu.conv(x, w, None, *window)
    g = rng.standard_normal(y.shape).astype("f")
    gx = cpu.conv_grad_input(g, w, xs[2:], *window)
    gw = cpu.conv_grad_weight(g, x, ws[2:], *window)
    exact = cpu.conv(x.astype("d"), w.astype("d"), None, *window)
    scale = 1e-5 * np.abs(exact).max()
    np.testing.assert_allclose(y, exact, rtol=0, atol=scale)
    form = float((exact * g).sum())
    bound = 1e-5 * float(np.sqrt((exact**2).sum() * (g.astype("d") ** 2).sum()))
    assert abs(float((gx.astype("d") * x).sum()) - form) <= bound
    assert abs(float((gw.astype("d") * w).sum()) - form) <= bound


def test_adjoints():
    """<g, conv(x)> = <x, grad_input(g)> = <w, grad_weight(g, x)> in float64."""
    for xs, ws, *window in CASES.values():
        x, w = rng.standard_normal(xs), rng.standard_normal(ws)
        y = cpu.conv(x, w, None, *window)
        g = rng.standard_normal(y.shape)
        gx = cpu.conv_grad_input(g, w, xs[2:], *window)
        gw = cpu.conv_grad_weight(g, x, ws[2:], *window)
        np.testing.assert_allclose((gx * x).sum(), (y * g).sum(), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose((gw * w).sum(), (y * g).sum(), rtol=1e-9, atol=1e-9)


F = np.zeros
TWO = ((1, 1), ((0, 0), (0, 0)), (1, 1))
ERRORS = {
    "impl": (
        lambda: cpu.conv(F((8, 6, 9, 9)), F((5, 6, 3, 3)), None, *TWO, 1, "fast"),
        errors.ValueError,
        "conv2d: impl must be '' or one of covering, pointwise, patches, winograd_4x3, "
        "winograd_2x3, winograd_2x5, winograd_4x3_by_2, depthwise, output_lanes, direct, plain; "
        "got 'fast'"),
    "impl that does not apply": (
        lambda: cpu.conv(F((8, 6, 9, 9)), F((5, 6, 3, 3)), None, *TWO, 1, impl="winograd_4x3"),
        errors.ValueError, "conv2d: impl='winograd_4x3' does not apply: it needs 3 x 3 taps, "
        "strides of 1 and no float64"),
    "groups": (
        lambda: cpu.conv(F((8, 5, 32, 32)), F((4, 3, 3, 3)), None, *TWO, 2), errors.ShapeError,
        "conv2d: weight (4, 3, 3, 3) expects 3 input channels in each of groups=2, but axis 1 of "
        "input (8, 5, 32, 32) has 5"),
    "groups do not divide": (
        lambda: cpu.conv(F((8, 6, 9, 9)), F((5, 3, 3, 3)), None, *TWO, 2), errors.ShapeError,
        "conv2d: groups=2 does not divide the 5 output channels of weight (5, 3, 3, 3)"),
    "rank": (
        lambda: cpu.conv(F((8, 6)), F((5, 3)), None, *TWO, 1), errors.ShapeError,
        "conv: input must have 3 to 5 dimensions (samples, channels, 1 to 3 spatial axes), got "
        "shape (8, 6)"),
    "weight rank": (
        lambda: cpu.conv(F((8, 6, 5, 5)), F((5, 6, 3)), None, *TWO, 1), errors.ShapeError,
        "conv2d: weight must have 4 dimensions, got shape (5, 6, 3)"),
    "kernel too large": (
        lambda: cpu.conv(F((1, 1, 5, 5)), F((1, 1, 7, 7)), None, *TWO, 1), errors.ShapeError,
        "conv2d: a kernel of 7 with dilation 1 does not fit the padded input of 5 (input 5, "
        "padding (0, 0))"),
    "empty kernel": (
        lambda: cpu.conv(F((1, 1, 5, 5)), F((1, 1, 0, 7)), None, *TWO, 1), errors.ShapeError,
        "conv2d: kernel sizes must be at least 1, got (0, 7)"),
    "stride": (
        lambda: cpu.conv(F((1, 1, 5)), F((1, 1, 3)), None, (0,), ((0, 0),), (1,), 1),
        errors.ValueError, "conv1d: stride must be at least 1, got (0,)"),
    "dilation": (
        lambda: cpu.conv(F((1, 1, 5)), F((1, 1, 3)), None, (1,), ((0, 0),), (-1,), 1),
        errors.ValueError, "conv1d: dilation must be at least 1, got (-1,)"),
    "padding": (
        lambda: cpu.conv(F((1, 1, 5)), F((1, 1, 3)), None, (1,), ((0, -1),), (1,), 1),
        errors.ValueError, "conv1d: padding must be at least 0, got (0, -1)"),
    "padding near 2^63": (
        lambda: cpu.conv(F((1, 1, 5)), F((1, 1, 3)), None, (1,), ((2**63 - 1, 1),), (1,), 1),
        errors.ShapeError,
        "conv1d: padding (9223372036854775807, 1) of an input of size 5 is too large"),
    "padding beyond 2^63": (
        lambda: cpu.conv(F((1, 1, 5)), F((1, 1, 3)), None, (1,), ((2**64, 1),), (1,), 1),
        errors.ShapeError, "conv1d: padding 18446744073709551616 does not fit 64 bits"),
    "output too large": (
        lambda: cpu.conv(F((1, 1, 5)), F((1, 1, 3)), None, (1,), ((2**60, 1),), (1,), 1),
        errors.MemoryError,
        "conv1d: output shape (1, 1, 1152921504606846980) overflows 2^63 bytes"),
    "stride length": (
        lambda: cpu.conv(F((1, 1, 5)), F((1, 1, 3)), None, (1, 1), ((0, 0),), (1,), 1),
        errors.ShapeError, "conv1d: stride needs 1 values, got 2"),
    "stride type": (
        lambda: cpu.conv(F((1, 1, 5)), F((1, 1, 3)), None, (1.5,), ((0, 0),), (1,), 1),
        errors.DTypeError, "conv1d: stride must be an int, got float"),
    "bias": (
        lambda: cpu.conv(F((1, 1, 5)), F((2, 1, 3)), F(3), (1,), ((0, 0),), (1,), 1),
        errors.ShapeError, "conv1d: bias must have shape (2,), got (3,)"),
    "dtype": (
        lambda: cpu.conv(F((1, 1, 5)), F((2, 1, 3), "f"), None, (1,), ((0, 0),), (1,), 1),
        errors.DTypeError, "conv1d: weight has dtype float32, but input has float64"),
    "integers": (
        lambda: cpu.conv(F((1, 1, 5), int), F((2, 1, 3), int), None, (1,), ((0, 0),), (1,), 1),
        errors.DTypeError, "conv1d: input must be floating, got int64"),
    "gradient shape": (
        lambda: cpu.conv_grad_input(F((1, 2, 4)), F((2, 1, 3)), (5,), (1,), ((0, 0),), (1,), 1),
        errors.ShapeError, "conv1d_grad_input: g must have shape (1, 2, 3), got (1, 2, 4)"),
    "gradient samples": (
        lambda: cpu.conv_grad_weight(F((2, 2, 3)), F((1, 1, 5)), (3,), (1,), ((0, 0),), (1,), 1),
        errors.ShapeError, "conv1d_grad_weight: g must have shape (1, 2, 3), got (2, 2, 3)"),
    "negative size": (
        lambda: cpu.conv_grad_input(F((1, 2, 4)), F((2, 1, 3)), (-5,), (1,), ((9, 9),), (1,), 1),
        errors.ShapeError, "conv1d_grad_input: input sizes must be at least 0, got (-5,)"),
    "stretched weight": (
        lambda: cpu.conv(F((1, 1, 5)), np.broadcast_to(F((1, 1, 1)), (1, 1, 2**50)), None, (1,),
                         ((2**50, 0),), (1,), 1), errors.MemoryError,
        "conv1d: weight of shape (1, 1, 1125899906842624) exceeds the memory of this machine"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_far_padding():
    """Padding and strides near the limit of the arithmetic: outputs 2^59 apart."""
    x, w = np.arange(1, 6, dtype="d").reshape(1, 1, 5), np.ones((1, 1, 3))
    far = 2**59 - 2
    y = cpu.conv(x, w, None, (far + 1,), ((far, far),), (1,), 1)
    np.testing.assert_array_equal(y, [[[0.0, 9.0, 0.0]]])
    y = cpu.conv(x, np.ones((1, 1, 2)), None, (1,), ((0, far),), (far,), 1)
    np.testing.assert_array_equal(y, [[[1.0, 2, 3, 4, 5]]])
    gx = cpu.conv_grad_input(y, np.ones((1, 1, 2)), (5,), (1,), ((0, far),), (far,), 1)
    np.testing.assert_array_equal(gx, x)
    gw = cpu.conv_grad_weight(y, x, (2,), (1,), ((0, far),), (far,), 1)
    np.testing.assert_array_equal(gw, [[[55.0, 0.0]]])
