"""Classic mistakes with the complete message: the operation, both shapes with the axis, the path of
the module and a repair where one is obvious; and the user's line as a note."""

import textwrap
import traceback
import warnings
from pathlib import Path

import pytest

import tilegrad as tg
from tilegrad import autograd, errors, kernels

F, nn = tg.nn.functional, tg.nn

pytestmark = pytest.mark.skipif(
    not hasattr(kernels.host, "isa"), reason="the messages are those of the extension"
)


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    return f"{__file__}:{next(i for i, s in enumerate(lines, 1) if s.endswith(text))}"


def x23(**options):
    return tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], **options)


def leaf():
    return x23(requires_grad=True)


def image(*shape):
    return tg.ones(*(shape or (2, 3, 8, 8)))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(4 * 13 * 13, 10)

    def forward(self, x):
        return self.head(self.features(x))


def loss_of(target):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return F.mse_loss(x23(), target)


def in_backward():
    y = (x23(requires_grad=True) * 2.0).exp()
    y.register_hook(lambda g: g @ g)
    y.sum().backward()


MISTAKES = [
    (lambda: x23() + tg.ones(4), errors.ShapeError,
     "add: shapes do not broadcast: input (2, 3), other (4,) differ at axis -1 (3 and 4)"),
    (lambda: x23() * tg.ones(2), errors.ShapeError,
     "mul: shapes do not broadcast: input (2, 3), other (2,) differ at axis -1 (3 and 2); "
     "other.unsqueeze(-1) would fit"),
    (lambda: x23() - tg.ones(3, 2), errors.ShapeError,
     "sub: shapes do not broadcast: input (2, 3), other (3, 2) differ at axis -2 (2 and 3)"),
    (lambda: tg.ones(4, 1, 3) / tg.ones(4, 2, 5), errors.ShapeError,
     "div: shapes do not broadcast: input (4, 1, 3), other (4, 2, 5) differ at axis -1 (3 "
     "and 5)"),
    (lambda: x23() < tg.ones(4), errors.ShapeError,
     "lt: shapes do not broadcast: input (2, 3), other (4,) differ at axis -1 (3 and 4)"),
    (lambda: x23().add_(tg.ones(4)), errors.ShapeError,
     "add: other of shape (4,) does not broadcast to (2, 3), which it is written into"),
    (lambda: tg.where(x23() > 0, tg.ones(4), 0.0), errors.ShapeError,
     "where: shapes do not broadcast: condition (2, 3), input (4,), other () differ at axis "
     "-1 (3 and 4)"),
    (lambda: tg.where(x23(), 1.0, 2.0), errors.DTypeError,
     "where: condition must be bool, got float32"),
    (lambda: x23() & 1, errors.DTypeError,
     "bitwise_and: not defined for float32"),
    (lambda: tg.tensor([1]) // tg.tensor([0]), errors.ZeroDivisionError,
     "floor_divide: division of int64 by zero: other contains 0"),
    (lambda: tg.tensor([2, 3]) ** tg.tensor([1, -1]), errors.ValueError,
     "pow: int64 has no negative powers, but other contains one; use floats"),
    (lambda: tg.maximum(x23(), tg.ones(2, 2)), errors.ShapeError,
     "maximum: shapes do not broadcast: input (2, 3), other (2, 2) differ at axis -1 (3 and "
     "2)"),
    (lambda: x23() @ x23(), errors.ShapeError,
     "matmul: axis -1 of input (2, 3) has 3, but axis -2 of other (2, 3) has 2; other.mT "
     "would fit"),
    (lambda: tg.ones(3, 2) @ tg.ones(4, 3), errors.ShapeError,
     "matmul: axis -1 of input (3, 2) has 2, but axis -2 of other (4, 3) has 4"),
    (lambda: x23() @ tg.ones(4, 5), errors.ShapeError,
     "matmul: axis -1 of input (2, 3) has 3, but axis -2 of other (4, 5) has 4"),
    (lambda: x23() @ tg.ones(2), errors.ShapeError,
     "matmul: axis -1 of input (2, 3) has 3, but axis -1 of other (2,) has 2"),
    (lambda: tg.ones(2) @ tg.ones(3), errors.ShapeError,
     "matmul: axis -1 of input (2,) has 2, but axis -1 of other (3,) has 3"),
    (lambda: tg.ones(3) @ x23(), errors.ShapeError,
     "matmul: axis -1 of input (3,) has 3, but axis -2 of other (2, 3) has 2"),
    (lambda: x23() @ 2.0, errors.ShapeError,
     "matmul: expects at least 1 dimension, got input (2, 3) and other ()"),
    (lambda: tg.mm(x23(), x23()), errors.ShapeError,
     "mm: axis -1 of input (2, 3) has 3, but axis -2 of mat2 (2, 3) has 2; mat2.mT would fit"),
    (lambda: tg.mm(x23(), tg.ones(3)), errors.ShapeError,
     "mm: expects tensors of 2 and 2 dimensions, got input of shape (2, 3) and a second "
     "operand of shape (3,)"),
    (lambda: tg.bmm(tg.ones(2, 3, 4), tg.ones(2, 5, 6)), errors.ShapeError,
     "bmm: axis -1 of input (2, 3, 4) has 4, but axis -2 of mat2 (2, 5, 6) has 5"),
    (lambda: tg.bmm(tg.ones(2, 3, 4), tg.ones(3, 4, 5)), errors.ShapeError,
     "bmm: input holds 2 matrices (shape (2, 3, 4)), but mat2 holds 3 (shape (3, 4, 5))"),
    (lambda: tg.mv(x23(), tg.ones(2)), errors.ShapeError,
     "mv: axis -1 of input (2, 3) has 3, but axis -1 of vec (2,) has 2"),
    (lambda: tg.dot(tg.ones(2), tg.ones(3)), errors.ShapeError,
     "dot: axis -1 of input (2,) has 2, but axis -1 of tensor (3,) has 3"),
    (lambda: tg.ones(2, 3, 4) @ tg.ones(3, 4, 5), errors.ShapeError,
     "matmul: batch axis -3 of input (2, 3, 4) and other (3, 4, 5) does not broadcast: 2 and"
     " 3"),
    (lambda: F.linear(x23(), tg.ones(4, 5)), errors.ShapeError,
     "linear: weight (4, 5) expects 5 features, but axis -1 of input (2, 3) has 3; "
     "in_features=3 would fit"),
    (lambda: F.linear(image(2, 4, 5, 5), tg.ones(10, 100)), errors.ShapeError,
     "linear: weight (10, 100) expects 100 features, but axis -1 of input (2, 4, 5, 5) has "
     "5; input.flatten(1) would fit"),
    (lambda: F.linear(x23(), tg.ones(4, 3), tg.ones(3)), errors.ShapeError,
     "linear: bias must have shape (4,), got (3,)"),
    (lambda: nn.Linear(5, 4)(x23()), errors.ShapeError,
     "in Linear: linear: weight (4, 5) expects 5 features, but axis -1 of input (2, 3) has "
     "3; in_features=3 would fit"),
    (lambda: nn.Sequential(nn.ReLU(), nn.Linear(144, 10))(image(1, 4, 6, 6)), errors.ShapeError,
     "in Sequential.1 (Linear): linear: weight (10, 144) expects 144 features, but axis -1 "
     "of input (1, 4, 6, 6) has 6; input.flatten(1) would fit"),
    (lambda: Net()(image(2, 1, 28, 28)), errors.ShapeError,
     "in Net.head (Linear): linear: weight (10, 676) expects 676 features, but axis -1 of "
     "input (2, 4, 13, 13) has 13; input.flatten(1) would fit"),
    (lambda: Net()(image(2, 3, 28, 28)), errors.ShapeError,
     "in Net.features.0 (Conv2d): conv2d: weight (4, 1, 3, 3) expects 1 input channels in "
     "each of groups=1, but axis 1 of input (2, 3, 28, 28) has 3; in_channels=3 would fit"),
    (lambda: nn.Conv2d(3, 4, 3)(image(1, 2, 8, 8)), errors.ShapeError,
     "in Conv2d: conv2d: weight (4, 3, 3, 3) expects 3 input channels in each of groups=1, "
     "but axis 1 of input (1, 2, 8, 8) has 2; in_channels=2 would fit"),
    (lambda: nn.Conv2d(3, 4, 3)(image(1, 8, 8, 3)), errors.ShapeError,
     "in Conv2d: conv2d: weight (4, 3, 3, 3) expects 3 input channels in each of groups=1, "
     "but axis 1 of input (1, 8, 8, 3) has 8; channels seem to be last: input.movedim(-1, 1)"
     " would fit"),
    (lambda: F.conv2d(image(), image(4, 3, 3, 3), groups=2), errors.ShapeError,
     "conv2d: weight (4, 3, 3, 3) expects 3 input channels in each of groups=2, but axis 1 "
     "of input (2, 3, 8, 8) has 3"),
    (lambda: F.conv2d(image(), image(4, 3, 9, 9)), errors.ShapeError,
     "conv2d: a kernel of 9 with dilation 1 does not fit the padded input of 8 (input 8, "
     "padding (0, 0))"),
    (lambda: F.conv2d(x23(), image(4, 3, 3, 3)), errors.ShapeError,
     "conv2d: input must have 4 dimensions (samples, channels, 2 spatial), or 3 without "
     "samples, got shape (2, 3)"),
    (lambda: F.conv2d(image(), image(4, 3, 3, 3), tg.ones(3)), errors.ShapeError,
     "conv2d: bias must have shape (4,), got (3,)"),
    (lambda: F.conv2d(image(), image(4, 3, 3, 3), stride=0), errors.ValueError,
     "conv2d: stride must be at least 1, got (0, 0)"),
    (lambda: F.conv2d(image(), image(4, 3, 3, 3), padding="full"), errors.ValueError,
     "conv2d: padding must be ints, 'same' or 'valid', got 'full'"),
    (lambda: F.conv1d(tg.ones(1, 1, 4).long(), tg.ones(1, 1, 3).long()), errors.DTypeError,
     "conv1d: input must be floating, got int64"),
    (lambda: F.max_pool2d(image(), 9), errors.ShapeError,
     "max_pool2d: kernel (9, 9) with dilation (1, 1) is larger than the input (8, 8) with "
     "padding (0, 0)"),
    (lambda: F.avg_pool2d(image(), 2, padding=2), errors.ValueError,
     "avg_pool2d: padding (2, 2) must be at most half of kernel (2, 2)"),
    (lambda: F.batch_norm(image(), tg.ones(4), tg.ones(4)), errors.ShapeError,
     "batch_norm: running_mean expects shape (3,), got (4,) for input (2, 3, 8, 8)"),
    (lambda: F.layer_norm(x23(), (4,)), errors.ShapeError,
     "layer_norm: input of shape (2, 3) does not end in (4,)"),
    (lambda: F.group_norm(image(), 2), errors.ShapeError,
     "group_norm: 3 channels do not divide into 2 groups"),
    (lambda: F.mse_loss(x23(), tg.ones(2, 3), reduction="max"), errors.ValueError,
     "mse_loss: reduction must be 'mean', 'sum' or 'none', got 'max'"),
    (lambda: loss_of(tg.ones(4)), errors.ShapeError,
     "mse_loss: shapes do not broadcast: input (2, 3), target (4,) differ at axis -1 (3 and "
     "4)"),
    (lambda: F.cross_entropy(x23(), tg.tensor([0, 3])), errors.IndexError,
     "cross_entropy: target 3 at position 1 is outside [0, 3) and is not ignore_index (-100)"),
    (lambda: F.cross_entropy(x23(), tg.tensor([0, 1, 2])), errors.ShapeError,
     "cross_entropy: target of shape (3,) does not fit input of shape (2, 3); expected (N, "
     "...) for input (N, C, ...)"),
    (lambda: F.nll_loss(x23(), tg.ones(2)), errors.DTypeError,
     "nll_loss: target must hold class indices (int64), got float32"),
    (lambda: F.embedding(tg.tensor([9]), x23()), errors.IndexError,
     "embedding: index 9 is outside [0, 2)"),
    (lambda: F.dropout(x23(), 1.5), errors.ValueError,
     "dropout: p must lie in [0, 1], got 1.5"),
    (lambda: x23().reshape(4, 2), errors.ShapeError,
     "reshape: 6 elements of shape (2, 3) do not fit into shape (4, 2)"),
    (lambda: x23().t().view(6), errors.ShapeError,
     "view: shape (3, 2) with strides (1, 3) cannot be seen as (6,) without a copy; use "
     "reshape()"),
    (lambda: x23().expand(2, 4), errors.ShapeError,
     "expand: shape (2, 3) does not broadcast to (2, 4)"),
    (lambda: x23().transpose(0, 2), errors.IndexError,
     "transpose: dim 2 is out of range for a tensor of 2 dimensions"),
    (lambda: x23().permute(0, 0), errors.ValueError,
     "permute: (0, 0) is not an order of 2 axes"),
    (lambda: x23().squeeze("a"), errors.DTypeError,
     "squeeze: dim must be an int, got str"),
    (lambda: x23().split([1, 1], 1), errors.ShapeError,
     "split: sections [1, 1] do not add up to axis 1 of length 3"),
    (lambda: tg.cat([x23(), tg.ones(3, 2)]), errors.ShapeError,
     "cat: tensor 1 has shape (3, 2), which differs from (2, 3) off dim 0"),
    (lambda: tg.stack([x23(), tg.ones(3)]), errors.ShapeError,
     "stack: tensor 1 has shape (3,), but the first has (2, 3)"),
    (lambda: x23().sum(2), errors.IndexError,
     "sum: dim 2 is out of range for a tensor of 2 dimensions"),
    (lambda: x23().sum((0, -2)), errors.ValueError,
     "sum: dim (0, -2) names an axis twice"),
    (lambda: tg.zeros(0, 3).max(), errors.ValueError,
     "max: cannot reduce over an empty axis, axis 0 of x of shape (0, 3)"),
    (lambda: x23()[2], errors.IndexError,
     "index: index 2 is out of bounds for axis 0 with size 2; the tensor has shape (2, 3)"),
    (lambda: x23()[[0, 2]], errors.IndexError,
     "index: index 2 is out of range for size 2 (the tensor has shape (2, 3))"),
    (lambda: x23()[0, 0, 0], errors.IndexError,
     "index: too many indices for array: array is 2-dimensional, but 3 were indexed; the "
     "tensor has shape (2, 3)"),
    (lambda: x23().__setitem__(5, 1.0), errors.IndexError,
     "setitem: index 5 is out of bounds for axis 0 with size 2; the tensor has shape (2, 3)"),
    (lambda: x23().__setitem__(0, tg.ones(4)), errors.ShapeError,
     "setitem: a value of shape (4,) does not broadcast to the indexed shape (3,)"),
    (lambda: x23().__setitem__(([0, 5],), 1.0), errors.IndexError,
     "setitem: index 5 is out of range for size 2 (the tensor has shape (2, 3))"),
    (lambda: x23().index_put_((tg.tensor([0, 5]),), tg.tensor(1.0)), errors.IndexError,
     "index_put_: index 5 is out of range for size 2 (the tensor has shape (2, 3))"),
    (lambda: tg.index_put(x23(), (tg.tensor([0, 1]),), tg.ones(4)), errors.ShapeError,
     "index_put: a value of shape (4,) does not broadcast to the indexed shape (2, 3)"),
    (lambda: x23()[tg.ones(3) > 0], errors.IndexError,
     "index: a mask of shape (3,) does not fit axes 0 to 1 of shape (2, 3)"),
    (lambda: x23().gather(1, tg.tensor([[7]])), errors.IndexError,
     "gather: index 7 is out of range for size 3"),
    (lambda: x23().index_select(0, tg.tensor([-3])), errors.IndexError,
     "index_select: index -3 is out of range for size 2"),
    (lambda: tg.nonzero("a"), errors.DTypeError,
     "nonzero: input must be a tensor, array or number, got str"),
    (lambda: tg.ones(2**62, 8), errors.MemoryError,
     "ones: output shape (4611686018427387904, 8) overflows 2^63 bytes"),
    (lambda: tg.zeros(2, -1), errors.ShapeError,
     "zeros: negative size in shape (2, -1)"),
    (lambda: tg.normal(tg.ones(2), tg.ones(3)), errors.ShapeError,
     "normal: mean (2,) and std (3,) do not broadcast"),
    (lambda: tg.tensor([1]).add_(0.5), errors.DTypeError,
     "add_: the result has dtype float32, which the tensor of int64 cannot hold"),
    (lambda: tg.tensor([1]).requires_grad_(), errors.GradientError,
     "requires_grad_: expects a floating tensor, this one is int64"),
    (lambda: (leaf() * 2).backward(), errors.GradientError,
     "backward: a gradient must be given for an output of shape (2, 3); only an output of "
     "one element has an implicit gradient of 1"),
    (lambda: x23().sum().backward(), errors.GradientError,
     "backward: a tensor of shape () does not require grad and was not computed from one "
     "that does"),
    (lambda: autograd.backward(1), errors.DTypeError,
     "backward: expects tensors, got int"),
    (lambda: (leaf() * 2).backward(tg.ones(3)), errors.GradientError,
     "backward: the gradient has shape (3,) and dtype float32, but the output has shape (2, "
     "3) and dtype float32"),
    (lambda: autograd.grad(leaf().sum(), leaf()), errors.GradientError,
     "grad: input 0 of shape (2, 3) was not used to compute the outputs; pass "
     "allow_unused=True to get None for it"),
    (lambda: autograd.grad(leaf().sum(), x23()), errors.GradientError,
     "grad: input 0 of shape (2, 3) does not require grad"),
    (lambda: leaf().add_(1), errors.GradientError,
     "add_: a leaf that requires grad cannot be changed in place while operations are "
     "recorded; use no_grad()"),
    (lambda: leaf().__setitem__(0, 1.0), errors.GradientError,
     "setitem: a leaf that requires grad cannot be changed in place while operations are "
     "recorded; use no_grad()"),
    (lambda: leaf().numpy(), errors.GradientError,
     "numpy: the tensor requires grad; call detach() first"),
    (lambda: (leaf() * 1).requires_grad_(False), errors.GradientError,
     "requires_grad_: a tensor that was computed cannot stop requiring grad; use detach()"),
    (lambda: bool(x23()), errors.ValueError,
     "bool: a tensor of shape (2, 3) has no truth value; use any() or all()"),
    (lambda: x23().item(), errors.ValueError,
     "item: expects one element, the tensor has shape (2, 3)"),
    (lambda: in_backward(), errors.ShapeError,
     "matmul: axis -1 of input (2, 3) has 3, but axis -2 of other (2, 3) has 2; other.mT "
     "would fit"),
]  # fmt: skip


NUMBERED = [f"{i}-{m[2].partition(':')[0]}" for i, m in enumerate(MISTAKES)]
INSIDE = {
    "Net": "return self.head(self.features(x))",
    "loss_of": "return F.mse_loss(x23(), target)",
    "in_backward": "y.register_hook(lambda g: g @ g)",
}
"""Where the user's innermost line is not that of the row."""


@pytest.mark.parametrize("call, error, message", MISTAKES, ids=NUMBERED)
def test_complete_message(call, error, message):
    with pytest.raises(errors.TilegradError) as caught:
        call()
    assert (type(caught.value), str(caught.value)) == (error, message)
    first = call.__code__.co_names[0]
    own = f"{__file__}:{call.__code__.co_firstlineno}"
    assert caught.value.where == (line_of(INSIDE[first]) if first in INSIDE else own)
    assert caught.value.__notes__[0] == f"at {caught.value.where}"


def test_there_are_enough():
    assert len(MISTAKES) >= 60


# --- where ----------------------------------------------------------------------------------------
def test_the_line_is_that_of_the_user_also_inside_of_a_module():
    with pytest.raises(errors.ShapeError) as caught:
        Net()(tg.ones(1, 1, 28, 28))
    assert caught.value.where == line_of("return self.head(self.features(x))")
    assert caught.value.__notes__ == [f"at {caught.value.where}"]
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.rstrip().endswith(f"at {caught.value.where}")


def test_errors_in_the_backward_pass_name_the_rule_and_the_call():
    x = leaf()
    y = x * x
    x.detach().add_(1)
    with pytest.raises(errors.GradientError) as caught:
        y.sum().backward()  # here
    assert caught.value.where == line_of("y.sum().backward()  # here")
    assert caught.value.__notes__ == [
        f"at {caught.value.where}", "in the backward pass, at mul of shape (2, 3)",
    ]  # fmt: skip


def test_errors_of_hooks_name_the_rule_too():
    y = leaf().exp()
    y.register_hook(lambda g: {}["missing"])
    with pytest.raises(KeyError) as caught:
        y.sum().backward()
    assert caught.value.__notes__ == ["in the backward pass, at exp of shape (2, 3)"]


def test_standard_library_in_between():
    import copy

    with pytest.raises(errors.GradientError) as caught:
        copy.deepcopy([leaf() * 1])  # deep
    assert caught.value.where == line_of("copy.deepcopy([leaf() * 1])  # deep")


def test_an_error_survives_pickling():
    import pickle

    with pytest.raises(errors.ShapeError) as caught:
        x23() + tg.ones(4)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.where == caught.value.where
    assert again.__notes__ == caught.value.__notes__


# --- a graph that grows ---------------------------------------------------------------------------
def train(steps, body):
    w = tg.tensor([1.0], requires_grad=True)
    total = tg.tensor(0.0)
    for _ in range(steps):
        total = body(total, (w * 2.0).sum())
    return total


def test_accumulating_recorded_losses_warns_once_with_the_line():
    source = textwrap.dedent(
        """
        def body(total, loss):
            total += loss
            return total
        """
    )
    names = {"__name__": "user"}
    exec(compile(source, "user.py", "exec"), names)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        total = train(100_000, names["body"])
    assert total.item() == 200_000.0
    (w,) = caught
    assert (w.category, w.filename, w.lineno) == (errors.GrowingGraphWarning, "user.py", 3)
    assert str(w.message) == (
        "a scalar that is recorded was changed in place 1000 times, as by `total += loss`: it "
        "keeps the graph of every step alive; add loss.item(), or loss.detach()"
    )


def test_ordinary_training_does_not_warn():
    """Warnings are errors in this suite."""

    def detached(total, loss):
        loss.backward()
        total += loss.detach()
        return total

    def numbers(total, loss):
        return float(total) + loss.item()

    def restarted(total, loss):
        for _ in range(10):
            loss += 1.0
        loss.backward()
        return total

    for body in (detached, numbers, restarted):
        train(3000, body)


def test_a_sum_that_is_used_may_be_long_but_not_endless():
    w = tg.tensor([1.0], requires_grad=True)
    total = tg.tensor(0.0)
    for _ in range(999):
        total += (w * 2.0).sum()
    total.backward()
    assert w.grad.tolist() == [1998.0]
