"""Convolution as a user calls it: arguments, errors, the tape."""

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors
from tilegrad.testing import gradcheck

ONES = tg.ones
ERRORS = {
    "channels": (
        lambda: tg.conv2d(ONES(8, 5, 32, 32), ONES(4, 3, 3, 3), groups=2), errors.ShapeError,
        "conv2d: weight (4, 3, 3, 3) expects 3 input channels in each of groups=2, but axis 1 of "
        "input (8, 5, 32, 32) has 5"),
    "rank": (
        lambda: tg.conv2d(ONES(8, 5), ONES(4, 5, 3, 3)), errors.ShapeError,
        "conv2d: input must have 4 dimensions (samples, channels, 2 spatial), or 3 without "
        "samples, got shape (8, 5)"),
    "weight rank": (
        lambda: tg.conv1d(ONES(8, 5, 3), ONES(4, 5)), errors.ShapeError,
        "conv1d: weight must have 3 dimensions, got shape (4, 5)"),
    "stride count": (
        lambda: tg.conv2d(ONES(1, 1, 5, 5), ONES(1, 1, 3, 3), stride=(1, 2, 3)), errors.ValueError,
        "conv2d: stride expects an int or 2 of them, got (1, 2, 3)"),
    "stride type": (
        lambda: tg.conv2d(ONES(1, 1, 5, 5), ONES(1, 1, 3, 3), stride=1.5), errors.DTypeError,
        "conv2d: stride expects an int or 2 of them, got 1.5"),
    "padding name": (
        lambda: tg.conv2d(ONES(1, 1, 5, 5), ONES(1, 1, 3, 3), padding="full"), errors.ValueError,
        "conv2d: padding must be ints, 'same' or 'valid', got 'full'"),
    "same with stride": (
        lambda: tg.conv2d(ONES(1, 1, 5, 5), ONES(1, 1, 3, 3), stride=2, padding="same"),
        errors.ValueError, "conv2d: padding 'same' needs stride 1, got (2, 2)"),
    "huge padding": (
        lambda: tg.conv1d(ONES(1, 1, 5), ONES(1, 1, 3), padding=2**63), errors.ShapeError,
        "conv1d: padding 9223372036854775808 does not fit 64 bits"),
    "integers": (
        lambda: tg.conv1d(ONES(1, 1, 5, dtype=tg.int64), ONES(1, 1, 3, dtype=tg.int64)),
        errors.DTypeError, "conv1d: input must be floating, got int64"),
    "output padding": (
        lambda: tg.conv_transpose1d(ONES(1, 1, 5), ONES(1, 1, 3), output_padding=1),
        errors.ValueError,
        "conv_transpose1d: output_padding must be at least 0 and less than stride (1,), got (1,)"),
    "transposed channels": (
        lambda: tg.conv_transpose1d(ONES(1, 2, 5), ONES(3, 1, 3)), errors.ShapeError,
        "conv_transpose1d: weight expects 3 input channels (shape (3, 1, 3)), but input has shape "
        "(1, 2, 5)"),
    "nothing left": (
        lambda: tg.conv_transpose1d(ONES(1, 1, 2), ONES(1, 1, 3), padding=2), errors.ShapeError,
        "conv_transpose1d: input of shape (1, 1, 2) with weight (1, 1, 3), stride (1,) and padding "
        "((2, 2),) would give the spatial shape (0,)"),
    "named padding": (
        lambda: tg.conv_transpose1d(ONES(1, 1, 2), ONES(1, 1, 3), padding="same"),
        errors.ValueError, "conv_transpose1d: padding must be ints, got 'same'"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    call, kind, message = ERRORS[name]
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_third_order():
    """The adjoints are ops with rules of their own: derivatives of derivatives of derivatives."""
    rng = np.random.default_rng(0)
    x, w = (tg.tensor(rng.standard_normal(s)).requires_grad_() for s in ((1, 2, 6), (2, 1, 3)))

    def slope(x, w):
        y = tg.conv1d(x, w, stride=2, padding=1, groups=2)
        u = tg.ones(y.shape, dtype=y.dtype)
        gx, gw = tg.autograd.grad([y * y * y], [x, w], [u], create_graph=True)
        return tg.dot(gx.flatten(), gx.flatten()) + tg.dot(gw.flatten(), gw.flatten())

    gradcheck(slope, [x, w], second_order=True)


def test_arguments_in_any_form():
    x, w = tg.randn(1, 2, 6, 7), tg.randn(3, 2, 3, 3)
    a = tg.conv2d(x, w, stride=[2, 2], padding=(1, 1), dilation=np.int64(1))
    b = tg.conv2d(x.numpy(), w, stride=2, padding=((1, 1), (1, 1)))
    np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert tg.conv2d(x, w.double()).dtype == tg.float64


def test_transpose_inverts_the_shape():
    for size in range(5, 12):
        x, w = tg.randn(1, 2, size), tg.randn(3, 2, 4)
        y = tg.conv1d(x, w, stride=3, padding=1)
        back = tg.conv_transpose1d(y, w, stride=3, padding=1, output_padding=(size - 2) % 3)
        assert back.shape == x.shape
