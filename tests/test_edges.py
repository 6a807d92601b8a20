"""Edges whose answers are known without a reference: what PyTorch, or mathematics, gives there."""

import math

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors
from tilegrad.testing import assert_close

INF = math.inf


def evaluate(text, x=((1.0, 2.0), (4.0, 8.0)), requires_grad=False):
    x = tg.tensor(x, requires_grad=requires_grad)
    names = {"tg": tg, "x": x, "i": tg.tensor([1, 2]), "z": tg.tensor(3.0), "INF": INF}
    return x, eval(text, names)


VALUES = [
    # dim 0 and -1 of a tensor without dimensions
    ("z.sum(0)", 3.0, "float32"),
    ("z.amax(-1, keepdim=True)", 3.0, "float32"),
    ("z.max(0).indices", 0, "int64"),
    ("z.logsumexp(0)", 3.0, "float32"),
    ("z.norm(INF, 0, True)", 3.0, "float32"),
    ("z.movedim(0, -1)", 3.0, "float32"),
    # the dtype asked for
    ("i.sum(dtype='int32')", 3, "int32"),
    ("i.prod(dtype='int8')", 2, "int8"),
    ("i.cumsum(0, dtype='int16')", [1, 3], "int16"),
    ("i ** 2.0", [1.0, 4.0], "float32"),
    ("i ** 2", [1, 4], "int64"),
    ("tg.tensor([True]).square()", [1], "int64"),
    ("tg.tensor([False, True]) ** False", [True, True], "bool"),
    ("tg.hstack([tg.tensor(1.0, dtype='float64'), tg.tensor([2.0])])", [1.0, 2.0], "float64"),
    ("tg.arange(1.5, dtype='int64')", [0], "int64"),
    ("tg.logsumexp(i - i, 0)", math.log(2.0), "float32"),
    # unbiased in the place of dim, and after it
    ("x.var(1, False)", [0.25, 4.0], "float32"),
    ("x.var(False)", 7.1875, "float32"),
    ("x.std(1, False, True)", [[0.5], [2.0]], "float32"),
    ("tg.var_mean(x, 0, False)[1]", [2.5, 5.0], "float32"),
    ("tg.std_mean(x, axis=1, keepdims=True)[1]", [[1.5], [6.0]], "float32"),
    # without overflow, and with infinities
    ("tg.hypot(tg.tensor([3e30, INF, 0.0]), tg.tensor([4e30, -INF, 0.0]))", [5e30, INF, 0.0],
     "float32"),
    ("tg.tensor([300.0, 400.0], dtype='float16').norm()", 500.0, "float16"),
    # axis beside dim
    ("x.argmax(axis=0)", [1, 1], "int64"),
    ("x.argmin(axis=1, keepdims=True)", [[0], [0]], "int64"),
    ("x.max(axis=1).values", [2.0, 8.0], "float32"),
    ("x.cumsum(axis=1)", [[1.0, 3.0], [4.0, 12.0]], "float32"),
    ("x.cumprod(axis=0)", [[1.0, 2.0], [4.0, 16.0]], "float32"),
    ("(x > 3).any(axis=1, keepdims=True)", [[False], [True]], "bool"),
    ("(x > 3).all(axis=1)", [False, True], "bool"),
    ("(x * 0).softmax(axis=1)", [[0.5, 0.5], [0.5, 0.5]], "float32"),
    ("tg.log_softmax(x * 0, axis=0).exp()", [[0.5, 0.5], [0.5, 0.5]], "float32"),
    ("tg.count_nonzero(x - 1, axis=0)", [1, 2], "int64"),
    ("tg.cat([i, i], axis=0)", [1, 2, 1, 2], "int64"),
    ("tg.stack([i, i], axis=1)", [[1, 1], [2, 2]], "int64"),
    ("i.unsqueeze(axis=0).squeeze(axis=0)", [1, 2], "int64"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value", "dtype"), VALUES)
def test_value(text, value, dtype):
    _, y = evaluate(text)
    assert_close(y, np.array(value, dtype))


GRADIENTS = [  # of the sum, at x
    ("x.std()", [2.0, 2.0], [0.0, 0.0]),
    ("x.norm(3)", [0.0, 0.0], [0.0, 0.0]),
    ("x.norm(0.5)", [0.0, 4.0], [0.0, 1.0]),
    ("tg.atan2(x, x)", [0.0], [0.0]),
    ("x.clamp(tg.tensor(-1.0), tg.tensor(1.0))", [-1.0, 0.5, 1.0, 2.0], [1.0, 1.0, 1.0, 0.0]),
    ("tg.tensor(0.5).clamp(max=x)", [0.5, 0.25, 1.0], [0.0, 1.0, 0.0]),
    ("tg.div(z, x, rounding_mode='trunc')", [0.0, 2.0], [0.0, 0.0]),
    ("tg.tensor(0.0) ** x", [2.0, -1.0], [0.0, -INF]),
]


@pytest.mark.parametrize(("text", "x", "gradient"), GRADIENTS)
def test_gradient(text, x, gradient):
    x, y = evaluate(text, x, requires_grad=True)
    y.sum().backward()
    assert_close(x.grad, np.array(gradient, np.float32))


def test_alpha_is_multiplied_in_the_promoted_dtype():
    a, b = tg.tensor([1.0], dtype=tg.float64), tg.tensor([0.1])
    assert tg.sub(a, b, alpha=3).item() == 1.0 - np.float64(np.float32(0.1)) * 3


def test_chunks_of_nothing():
    assert [x.shape for x in tg.zeros(0, 2).chunk(3)] == [(0, 2)] * 3


def test_hooks_run_when_inputs_are_named():
    x = tg.tensor([2.0], requires_grad=True)
    seen = []
    x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
    (x * x).sum().backward(inputs=[x])
    assert seen == [4.0]


def test_switches_as_bare_decorators():
    @tg.no_grad
    def inner():
        return tg.is_grad_enabled()

    assert not inner()
    assert tg.enable_grad(tg.is_grad_enabled)()
    with tg.set_grad_enabled(mode=False):
        assert not tg.is_grad_enabled()


REFUSED = [
    ("tg.tensor([1, 2**63])", errors.ValueError, "an integer is out of range for int64"),
    ("tg.tensor([[1, 2], [2**63, -1]])", errors.ValueError, "out of range for int64"),
    ("tg.tensor(INF, dtype='int64')", errors.ValueError, "tensor: inf is out of range for int64"),
    ("tg.tensor([1.0, float('nan')], dtype='int8')", errors.ValueError, "nan is out of range"),
    ("tg.tensor(1e10, dtype='int32')", errors.ValueError, "10000000000.0 is out of .* int32"),
    ("tg.tensor([-1], dtype='uint8')", errors.ValueError, "-1 is out of range for uint8"),
    ("x.sum(0, axis=0)", errors.ValueError, "sum: dim and axis are two names"),
    ("x.cumsum()", TypeError, "cumsum: dim must be an int, got NoneType"),
    ("x.sum(True)", TypeError, "sum: dim must be an int, got bool"),
    (
        "x.norm('spectral')",
        errors.ValueError,
        "norm: p is a number, 'fro', 'nuc' or None, got 'spectral'",
    ),
]


@pytest.mark.parametrize(("text", "error", "message"), REFUSED)
def test_refused(text, error, message):
    with pytest.raises(error, match=message):
        evaluate(text)


SETTINGS = [  # what makes no sense, and how that is said
    ("nn.Linear(-1, 2)", "Linear: in_features must be at least 0, got -1"),
    ("nn.Linear(2, -3)", "Linear: out_features must be at least 0, got -3"),
    ("nn.Linear(2.5, 3)", "Linear: in_features expects an int, got 2.5"),
    ("nn.Linear('a', 3)", "Linear: in_features expects an int, got 'a'"),
    ("nn.Conv1d(-3, 4, 1)", "Conv1d: in_channels must be at least 0, got -3"),
    ("nn.Conv2d(3, 4, 0)", "Conv2d: kernel_size must be at least 1, got 0"),
    ("nn.Conv2d(3, 4, (3, -1))", r"Conv2d: kernel_size must be at least 1, got \(3, -1\)"),
    ("nn.Conv2d(3, 4, 3, stride=0)", "Conv2d: stride must be at least 1, got 0"),
    ("nn.Conv2d(3, 4, 3, stride=1.5)", "Conv2d: stride expects an int or 2 of them, got 1.5"),
    ("nn.Conv2d(3, 4, 3, padding=-1)", "Conv2d: padding must be at least 0, got -1"),
    ("nn.Conv3d(3, 4, 3, dilation=0)", "Conv3d: dilation must be at least 1, got 0"),
    ("nn.Conv2d(3, 3, 3, groups=0)", "Conv2d: groups must be at least 1, got 0"),
    ("nn.ConvTranspose2d(3, 3, 3, output_padding=-1)",
     "ConvTranspose2d: output_padding must be at least 0, got -1"),
    ("nn.MaxPool2d(0)", "MaxPool2d: kernel_size must be at least 1, got 0"),
    ("nn.MaxPool1d(2, stride=0)", "MaxPool1d: stride must be at least 1, got 0"),
    ("nn.MaxPool3d((2, 2))", r"MaxPool3d: kernel_size expects an int or 3 of them, got \(2, 2\)"),
    ("nn.AvgPool2d(2, padding=-1)", "AvgPool2d: padding must be at least 0, got -1"),
    ("nn.AvgPool2d(2, divisor_override=0)", "AvgPool2d: divisor_override must not be 0"),
    ("nn.AdaptiveAvgPool2d((-1, None))", "AdaptiveAvgPool2d: output_size must be .* 0, got -1"),
    ("nn.BatchNorm2d(-1)", "BatchNorm2d: num_features must be at least 0, got -1"),
    ("nn.BatchNorm1d(3, eps=-1e-5)", "BatchNorm1d: eps must be at least 0, got -1e-05"),
    ("nn.BatchNorm1d(3, momentum=1.5)", r"BatchNorm1d: momentum must lie in \[0, 1\], got 1.5"),
    ("nn.LayerNorm((3, -1))", "LayerNorm: normalized_shape must be at least 0, got -1"),
    ("nn.LayerNorm(3, eps=None)", r"LayerNorm: eps must be a number, got None \(NoneType\)"),
    ("nn.GroupNorm(0, 4)", "GroupNorm: num_groups must be at least 1, got 0"),
    ("nn.Embedding(-1, 4)", "Embedding: num_embeddings must be at least 0, got -1"),
    ("nn.Dropout(-0.1)", r"Dropout: p must lie in \[0, 1\], got -0.1"),
    ("nn.Dropout('half')", r"Dropout: p must be a number, got 'half' \(str\)"),
    ("nn.GELU('fast')", "GELU: approximate must be 'none' or 'tanh', got 'fast'"),
    ("nn.ELU('a')", "ELU: alpha must be a number, got 'a'"),
    ("nn.CrossEntropyLoss(label_smoothing=2)", r"label_smoothing must lie in \[0, 1\], got 2"),
    ("optim.SGD(ps, lr=-1)", "SGD: lr must be at least 0, got -1"),
    ("optim.SGD(ps, lr='a')", "SGD: lr must be a number, got 'a'"),
    ("optim.SGD(ps, momentum=-1)", "SGD: momentum must be at least 0, got -1"),
    ("optim.Adam(ps, eps=-1)", "Adam: eps must be at least 0, got -1"),
    ("optim.Adam(ps, betas=0.9)", "Adam: betas expects two numbers, got 0.9"),
    ("optim.AdamW(ps, weight_decay=-1)", "AdamW: weight_decay must be at least 0, got -1"),
    ("utils.data.DataLoader([1], batch_size=0)", "DataLoader: batch_size must be .* 1, got 0"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), SETTINGS)
def test_nonsense_settings_are_named(text, message):
    with pytest.raises(errors.TilegradError, match=message):
        eval(text, {**vars(tg), "nn": tg.nn, "optim": tg.optim, "utils": tg.utils, "ps": PARAMS})


PARAMS = [tg.zeros(2, requires_grad=True)]

FAILING = [  # changes in place that must leave x, of shape (2, 3), as it was
    "x.add_(tg.zeros(4))", "x.add_(tg.zeros(5, 2, 3))", "x.mul_(tg.zeros(3, 2))", "x.sub_('a')",
    "x.div_(tg.zeros(4), rounding_mode='floor')", "x.clamp_()", "x.clamp_(tg.zeros(4))",
    "x.copy_(tg.zeros(4, 3))", "x.lerp_(tg.zeros(4), 0.5)", "x.atan2_(tg.zeros(4, 2, 3))",
    "x.masked_fill_(tg.ones(4) > 0, 1)", "x.masked_fill_(tg.ones(2, 2, 3) > 0, 1)",
    "x.index_add_(0, tg.tensor([5]), tg.zeros(1, 3))",
    "x.index_copy_(1, tg.tensor([0]), tg.zeros(4, 4))",
    "x.scatter_add_(0, tg.tensor([[9]]), tg.zeros(1, 1))",
    "x.index_put_((tg.tensor([7]),), tg.zeros(3))",
    "x.__setitem__(0, tg.zeros(4))", "x.__setitem__([0, 5], 1.0)",
    "x.__setitem__([0], tg.zeros(7))",
    "x.__iadd__(tg.zeros(4))", "x.__imul__(None)", "x.uniform_(2, 1)", "x.normal_(0, -1)",
    "x.bernoulli_(2.0)", "x.relu_().add_(tg.zeros(9))",
]  # fmt: skip


def changes(x):
    """How often the storage was changed in place."""
    return 0 if x._version is None else x._version[0]


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("text", FAILING)
def test_a_failing_change_in_place_changes_nothing(text, recorded):
    leaf = tg.rand(2, 3, requires_grad=recorded)
    x = leaf * 1.0
    alias = None if recorded else x.detach()  # which shares the count of changes
    kept = x.numpy(force=True).copy()
    if text.startswith("x.relu_()"):
        x.relu_()
        text = text.replace(".relu_()", "")
    node, version = x._node, changes(x)
    with pytest.raises((ValueError, TypeError, IndexError, RuntimeError)):
        eval(text, {"tg": tg, "x": x})
    assert x.shape == (2, 3) and x._node is node
    assert changes(x) == version
    np.testing.assert_array_equal(x.numpy(force=True), kept)
    if recorded:
        (x * x).sum().backward()
        assert_close(leaf.grad, 2 * kept)
    else:
        assert alias is not None and changes(alias) == version


def test_a_change_in_place_that_fails_does_not_spoil_saved_values():
    w = tg.rand(3, requires_grad=True)
    x = tg.rand(3)
    y = (w * x).sum()
    with pytest.raises(errors.ShapeError):
        x.add_(tg.zeros(4))
    y.backward()
    assert_close(w.grad, x)
    z = (w * x).sum()
    x.add_(1.0)
    with pytest.raises(errors.GradientError, match="changed"):
        z.backward()


def test_a_failing_step_changes_no_state():
    x = tg.rand(4, 3, 5, 5)
    norm = tg.nn.BatchNorm2d(3)
    with pytest.raises(errors.ShapeError):
        norm(x[:, :2])
    assert norm.num_batches_tracked.item() == 0
    assert norm.running_mean.tolist() == [0.0] * 3
    norm(x)
    assert norm.num_batches_tracked.item() == 1


@pytest.mark.parametrize(
    ("eps", "want"),
    [(None, [math.inf, math.inf, math.nan, math.nan, math.nan, 4.0]),
     (0.0, [math.inf, math.inf, 0.0, 0.0, math.nan, 4.0]),
     (0.1, [0.0, 0.0, 0.0, 0.0, math.nan, 4.0])],
)  # fmt: skip
def test_gradient_of_logit_at_the_ends_and_outside(eps, want):
    """As in PyTorch 2.13.0."""
    x = tg.tensor([0.0, 1.0, -1.0, 2.0, math.nan, 0.5], requires_grad=True)
    tg.logit(x, eps).backward(tg.ones(6))
    np.testing.assert_array_equal(x.grad.numpy(), np.float32(want))


def test_gradient_of_hardswish_at_its_limits():
    """As in PyTorch 2.13.0."""
    x = tg.tensor([math.inf, -math.inf, 3.0, -3.0, 0.0, 1.5], requires_grad=True)
    tg.nn.functional.hardswish(x).backward(tg.ones(6))
    assert x.grad.tolist() == [1.0, 0.0, 1.0, 0.0, 0.5, 1.0]
