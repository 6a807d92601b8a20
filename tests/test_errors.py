"""Classic mistakes: each raises the class a caller would catch, before anything is written, with a
message that names the operation, the argument, what was expected and what came."""

import builtins
import copy
import pickle

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import autograd, errors

F = tg.nn.functional
HUGE = 2**62


def x23(**options):
    return tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], **options)


def leaf():
    return x23(requires_grad=True)


def ints(*values):
    return tg.tensor(list(values))


def image(*shape):
    return tg.ones(*(shape or (2, 3, 8, 8)))


MAKING = [
    ("ragged", lambda: tg.tensor([[1], [1, 2]]), errors.ShapeError, "tensor", "lengths"),
    ("text", lambda: tg.tensor(["a"]), errors.DTypeError, "tensor", "numbers", "str"),
    ("object", lambda: tg.tensor([object()]), errors.DTypeError, "tensor", "numbers", "object"),
    ("int_range", lambda: tg.tensor([2**63]), errors.ValueError, "tensor", "int64"),
    ("dates", lambda: tg.tensor([1], dtype="datetime64[s]"), errors.DTypeError, "datetime64"),
    ("unknown_dtype", lambda: tg.zeros(2, dtype="quark"), errors.DTypeError, "quark"),
    ("device", lambda: tg.zeros(2, device="cuda"), errors.DeviceError, "'cuda'", "'cpu'"),
    ("negative_size", lambda: tg.zeros(2, -1), errors.ShapeError, "zeros", "negative", "(2, -1)"),
    ("float_size", lambda: tg.zeros(2.5), errors.DTypeError, "zeros", "ints", "2.5"),
    ("overflowing_size", lambda: tg.ones(HUGE, 8), errors.MemoryError, "ones", str(HUGE)),
    ("beyond_int64", lambda: tg.zeros(2**70), errors.MemoryError, "zeros", str(2**70)),
    ("beyond_memory", lambda: tg.zeros(2**45), errors.MemoryError, "zeros", str(2**47), "bytes"),
    ("long_range", lambda: tg.arange(2**60), errors.MemoryError, "arange", str(2**60)),
    ("large_eye", lambda: tg.eye(2**40), errors.MemoryError, "eye", str(2**80)),
    ("many_steps", lambda: tg.linspace(0, 1, 2**60), errors.MemoryError, "linspace"),
    ("step_zero", lambda: tg.arange(0, 5, 0), errors.ValueError, "arange", "step 0", "0 to 5"),
    ("fill_text", lambda: tg.full((2,), "a"), errors.DTypeError, "number", "str"),
    ("list_as_array", lambda: tg.from_numpy([1]), TypeError, "from_numpy", "ndarray", "list"),
    ("normal_std", lambda: tg.normal(0.0, -1.0, (2,)), errors.ValueError, "normal", "std", "-1.0"),
    ("normal_shapes", lambda: tg.normal(tg.ones(2), tg.ones(3)), errors.ShapeError, "(2,)", "(3,)"),
    ("random_dtype", lambda: tg.rand(2, dtype=tg.int64), errors.DTypeError, "rand", "int64"),
    ("random_range", lambda: tg.randint(5, 5, (2,)), errors.ValueError, "randint", "[5, 5)"),
    ("int_default", lambda: tg.set_default_dtype("int8"), errors.DTypeError, "int8", "floating"),
]

SHAPES = [
    ("broadcast", lambda: x23() + tg.ones(4), errors.ShapeError, "add", "(2, 3)", "(4,)"),
    ("compare", lambda: x23() < tg.ones(4), errors.ShapeError, "lt", "(2, 3)", "(4,)"),
    ("where", lambda: tg.where(x23() > 0, tg.ones(4), 0.0), errors.ShapeError, "where", "(4,)"),
    ("expand", lambda: x23().expand(2, 4), errors.ShapeError, "expand", "(2, 3)", "(2, 4)"),
    ("reshape", lambda: x23().reshape(4, 2), errors.ShapeError, "reshape", "6", "(2, 3)", "(4, 2)"),
    ("two_unknown", lambda: x23().reshape(-1, -1), errors.ShapeError, "reshape", "(-1, -1)"),
    ("view", lambda: x23().t().view(6), errors.ShapeError, "view", "(3, 2)", "reshape()"),
    ("permute", lambda: x23().permute(0, 0), errors.ValueError, "permute", "(0, 0)", "2 axes"),
    ("no_such_dim", lambda: x23().transpose(0, 2), errors.IndexError, "transpose", "dim 2", "2"),
    ("dim_text", lambda: x23().squeeze("a"), errors.DTypeError, "squeeze", "dim", "int", "str"),
    ("split", lambda: x23().split([1, 1], 1), errors.ShapeError, "split", "[1, 1]", "3"),
    ("chunk", lambda: x23().chunk(0), errors.ValueError, "chunk", "chunks", "1", "0"),
    ("tril", lambda: tg.tril(tg.ones(3)), errors.ShapeError, "tril", "2 dimensions", "(3,)"),
    ("cat", lambda: tg.cat([x23(), tg.ones(3, 2)]), errors.ShapeError, "cat", "(2, 3)", "(3, 2)"),
    ("cat_nothing", lambda: tg.cat([]), errors.ValueError, "cat", "at least one"),
    ("stack", lambda: tg.stack([x23(), tg.ones(3)]), errors.ShapeError, "stack", "(2, 3)", "(3,)"),
    ("matmul", lambda: x23() @ x23(), errors.ShapeError, "matmul", "3", "(2, 3)", "2"),
    ("matmul_batch", lambda: tg.ones(2, 3, 4) @ tg.ones(3, 4, 5), errors.ShapeError, "matmul",
     "(2, 3, 4)", "(3, 4, 5)"),
    ("matmul_number", lambda: x23() @ 2.0, errors.ShapeError, "matmul"),
    ("mm_rank", lambda: tg.mm(x23(), tg.ones(3)), errors.ShapeError, "mm", "(3,)"),
    ("linear", lambda: F.linear(x23(), tg.ones(4, 5)), errors.ShapeError, "linear", "5", "3"),
    ("reduce_dim", lambda: x23().sum(2), errors.IndexError, "sum", "dim 2", "2 dimensions"),
    ("dim_twice", lambda: x23().sum((0, -2)), errors.ValueError, "sum", "twice"),
    ("max_of_nothing", lambda: tg.zeros(0, 3).max(), errors.ValueError, "max", "(0, 3)"),
    ("argmax_of_nothing", lambda: tg.zeros(0).argmax(), errors.ValueError, "argmax", "(0,)"),
    ("too_many_dims", lambda: tg.ones(*[1] * 70), errors.ShapeError, "70", "16"),
]  # fmt: skip

DTYPES = [
    ("complex", lambda: tg.tensor([1j]).relu(), errors.DTypeError, "relu", "real", "complex64"),
    ("bits_of_floats", lambda: x23() & 1, errors.DTypeError, "bitwise_and", "float32"),
    ("condition", lambda: tg.where(x23(), 1, 2), errors.DTypeError, "where", "bool", "float32"),
    ("no_number", lambda: x23() + None, TypeError, "NoneType"),
    ("uint64", lambda: ints(1).to(tg.uint64) + ints(1), errors.DTypeError, "add", "uint64"),
    ("in_place", lambda: ints(1, 2).add_(0.5), errors.DTypeError, "add_", "float32", "int64"),
    ("int_grad", lambda: ints(1).requires_grad_(), errors.GradientError, "floating", "int64"),
    ("negative_power", lambda: ints(2) ** -1, errors.ValueError, "pow", "int64", "-1"),
    ("zero_division", lambda: ints(1) // ints(0), errors.ZeroDivisionError, "floor_divide"),
    ("parameter", lambda: F.softplus(x23(), "a"), errors.DTypeError, "softplus", "beta", "str"),
    ("number_range", lambda: ints(1).to(tg.int8) + 300, errors.ValueError, "add", "300", "int8"),
    ("rounding", lambda: tg.div(x23(), 2, rounding_mode="up"), errors.ValueError, "div", "'up'"),
    ("clamp", lambda: x23().clamp(), errors.ValueError, "clamp", "min", "max"),
    ("read_bytes", lambda: ints(1).to(tg.int8).view(tg.float64), errors.ShapeError, "view"),
    ("index_dtype", lambda: x23().gather(0, x23()), errors.DTypeError, "gather", "float32"),
    ("softmax_int", lambda: F.one_hot(x23()), errors.DTypeError, "one_hot", "float32"),
]

INDICES = [
    ("out_of_range", lambda: x23()[2], errors.IndexError, "index", "2", "(2, 3)"),
    ("too_many", lambda: x23()[0, 0, 0], errors.IndexError, "too many", "(2, 3)"),
    ("list", lambda: x23()[[0, 2]], errors.IndexError, "2"),
    ("assigned", lambda: x23().__setitem__(5, 1.0), errors.IndexError, "setitem", "5", "(2, 3)"),
    ("value_shape", lambda: x23().__setitem__(0, tg.ones(4)), errors.ShapeError, "(4,)", "(3,)"),
    ("mask_shape", lambda: x23()[tg.ones(3, dtype=tg.bool) > 0], errors.IndexError, "(3,)"),
    ("gather", lambda: x23().gather(1, ints(7).reshape(1, 1)), errors.IndexError, "gather", "7"),
    ("select", lambda: x23().index_select(0, ints(-3)), errors.IndexError, "index_select", "-3"),
    ("embedding", lambda: F.embedding(ints(9), x23()), errors.IndexError, "embedding", "9", "2"),
    ("narrow", lambda: x23().narrow(1, 2, 2), errors.IndexError, "narrow", "2", "3"),
    ("text", lambda: x23()["a"], (TypeError, builtins.IndexError), "str"),
    ("target", lambda: F.cross_entropy(x23(), ints(0, 3)), errors.IndexError, "cross_entropy",
     "3"),
]  # fmt: skip

LAYERS = [
    ("conv_rank", lambda: F.conv2d(x23(), image(4, 3, 3, 3)), errors.ShapeError, "conv2d",
     "(2, 3)"),
    ("conv_weight_rank", lambda: F.conv2d(image(), tg.ones(4, 3, 3)), errors.ShapeError, "conv2d",
     "(4, 3, 3)"),
    ("conv_channels", lambda: F.conv2d(image(), image(4, 5, 3, 3)), errors.ShapeError, "conv2d",
     "channels", "5", "3"),
    ("conv_kernel", lambda: F.conv2d(image(), image(4, 3, 9, 9)), errors.ShapeError, "conv2d",
     "9", "8"),
    ("conv_bias", lambda: F.conv2d(image(), image(4, 3, 3, 3), tg.ones(3)), errors.ShapeError,
     "conv2d", "bias", "(3,)"),
    ("conv_stride", lambda: F.conv2d(image(), image(4, 3, 3, 3), stride=0), errors.ValueError,
     "conv2d", "stride", "0"),
    ("conv_pairs", lambda: F.conv2d(image(), image(4, 3, 3, 3), stride=(1, 2, 3)),
     errors.TilegradError, "conv2d", "stride", "(1, 2, 3)"),
    ("conv_padding", lambda: F.conv2d(image(), image(4, 3, 3, 3), padding=-1), errors.ValueError,
     "conv2d", "padding", "-1"),
    ("conv_padding_word", lambda: F.conv2d(image(), image(4, 3, 3, 3), padding="full"),
     errors.ValueError, "conv2d", "padding", "'full'"),
    ("conv_same_stride", lambda: F.conv2d(image(), image(4, 3, 3, 3), stride=2, padding="same"),
     errors.ValueError, "conv2d", "same", "stride"),
    ("conv_groups", lambda: F.conv2d(image(), image(4, 3, 3, 3), groups=2), errors.ShapeError,
     "conv2d", "groups", "2"),
    ("conv_overflow", lambda: F.conv2d(image(), image(4, 3, 3, 3), padding=2**62),
     (errors.MemoryError, errors.ValueError, errors.ShapeError), "conv2d", str(2**62)),
    ("conv_dilation", lambda: F.conv2d(image(), image(4, 3, 3, 3), dilation=2**62),
     (errors.MemoryError, errors.ValueError, errors.ShapeError), "conv2d"),
    ("conv_int", lambda: F.conv2d(tg.ones(1, 1, 4, 4, dtype=tg.int64),
                                  tg.ones(1, 1, 3, 3, dtype=tg.int64)), errors.DTypeError,
     "conv2d", "int64"),
    ("pool_rank", lambda: F.max_pool2d(tg.ones(3), 2), errors.ShapeError, "max_pool2d", "(3,)"),
    ("pool_kernel", lambda: F.max_pool2d(image(), 9), errors.ShapeError, "max_pool2d", "9", "8"),
    ("pool_padding", lambda: F.avg_pool2d(image(), 2, padding=2), errors.ValueError,
     "avg_pool2d", "padding", "2"),
    ("pool_stride", lambda: F.avg_pool2d(image(), 2, stride=0), errors.ValueError, "avg_pool2d",
     "stride", "0"),
    ("norm_channels", lambda: F.batch_norm(image(), tg.ones(4), tg.ones(4)), errors.ShapeError,
     "batch_norm", "(4,)", "3"),
    ("norm_groups", lambda: F.group_norm(image(), 2), errors.ShapeError, "group_norm", "2", "3"),
    ("layer_norm", lambda: F.layer_norm(x23(), (4,)), errors.ShapeError, "layer_norm", "(4,)",
     "(2, 3)"),
    ("loss_rows", lambda: F.cross_entropy(x23(), ints(0, 1, 2)), errors.ShapeError,
     "cross_entropy", "(2, 3)", "(3,)"),
    ("loss_float_target", lambda: F.nll_loss(x23(), tg.ones(2)), errors.DTypeError, "nll_loss",
     "float32"),
    ("dropout", lambda: F.dropout(x23(), 1.5), errors.ValueError, "dropout", "1.5"),
    ("module_channels", lambda: tg.nn.Conv2d(3, 4, 3)(image(1, 2, 8, 8)), errors.ShapeError,
     "conv2d", "3", "2"),
    ("module_sizes", lambda: tg.nn.Linear(-1, 2), errors.TilegradError, "-1"),
    ("load_shapes", lambda: tg.nn.Linear(2, 3).load_state_dict(tg.nn.Linear(3, 3).state_dict()),
     errors.TilegradError, "weight", "(3, 2)", "(3, 3)"),
    ("load_keys", lambda: tg.nn.Linear(2, 3).load_state_dict({}), errors.TilegradError, "weight"),
    ("no_parameters", lambda: tg.optim.SGD([], lr=0.1), builtins.ValueError, "parameters"),
    ("learning_rate", lambda: tg.optim.SGD([leaf()], lr=-1.0), builtins.ValueError, "lr", "-1.0"),
]  # fmt: skip


def second_backward():
    y = (leaf() ** 2).sum()
    y.backward()
    y.backward()


def saved_value_changed():
    h = leaf() * 1
    y = h * h
    h.detach().add_(1)
    y.sum().backward()


GRADIENTS = [
    ("no_scalar", lambda: (leaf() * 2).backward(), errors.GradientError, "backward", "(2, 3)"),
    ("constant", lambda: x23().sum().backward(), errors.GradientError, "does not require grad"),
    ("second", second_backward, errors.GradientError, "backward", "freed", "retain_graph"),
    ("leaf", lambda: leaf().add_(1), errors.GradientError, "add_", "leaf", "no_grad()"),
    ("leaf_item", lambda: leaf().__setitem__(0, 1.0), errors.GradientError, "setitem", "leaf"),
    ("saved_value", saved_value_changed, errors.GradientError, "mul", "changed in place",
     "version 1", "expected 0"),
    ("cotangent", lambda: (leaf() * 2).backward(tg.ones(3)), errors.GradientError, "(3,)",
     "(2, 3)"),
    ("unused", lambda: autograd.grad(leaf().sum(), leaf()), errors.GradientError, "input 0",
     "allow_unused"),
    ("plain_input", lambda: autograd.grad(leaf().sum(), x23()), errors.GradientError, "input 0",
     "(2, 3)", "require grad"),
    ("counts", lambda: autograd.backward([leaf().sum()], [None, None]), errors.GradientError, "1",
     "2"),
    ("numpy", lambda: leaf().numpy(), errors.GradientError, "numpy", "detach()"),
    ("computed_flag", lambda: (leaf() * 1).requires_grad_(False), errors.GradientError,
     "detach()"),
    ("grad_shape", lambda: setattr(leaf(), "grad", tg.ones(3)), errors.GradientError, "(2, 3)",
     "(3,)"),
    ("hook", lambda: x23().register_hook(print), errors.GradientError, "register_hook"),
    ("deepcopy", lambda: copy.deepcopy(leaf() * 1), errors.GradientError, "deepcopy", "leaves"),
    ("pickle", lambda: pickle.dumps(leaf() * 1), errors.GradientError, "pickle", "leaves"),
    ("item", lambda: x23().item(), errors.ValueError, "item", "(2, 3)"),
    ("truth", lambda: bool(x23()), errors.ValueError, "bool", "(2, 3)", "any()"),
]  # fmt: skip

TABLES = {
    "making": MAKING, "shapes": SHAPES, "dtypes": DTYPES, "indices": INDICES, "layers": LAYERS,
    "gradients": GRADIENTS,
}  # fmt: skip
ROWS = [
    pytest.param(call, error, parts, id=f"{table}-{name}")
    for table, rows in TABLES.items()
    for name, call, error, *parts in rows
]


@pytest.mark.parametrize("call, error, parts", ROWS)
def test_mistake(call, error, parts):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    missing = [p for p in parts if p not in message]
    assert not missing, f"{message!r} does not say {missing}"


@pytest.mark.parametrize("name", [n for n in vars(errors) if n.endswith("Error")])
def test_classes_are_what_python_users_expect(name):
    cls = getattr(errors, name)
    assert issubclass(cls, errors.TilegradError)
    if name in vars(builtins):
        assert issubclass(cls, getattr(builtins, name))
    elif cls is not errors.TilegradError:
        assert cls.__mro__[-4] is not errors.TilegradError


UNTOUCHED = [
    ("add_", lambda x: x.add_(tg.ones(4))),
    ("mul_", lambda x: x.mul_(tg.ones(5, 2, 3))),
    ("setitem", lambda x: x.__setitem__((slice(None), 0), tg.ones(3))),
    ("copy_", lambda x: x.copy_(tg.ones(4))),
    ("index_add_", lambda x: x.index_add_(0, ints(0, 7), tg.ones(2, 3))),
    ("scatter_add_", lambda x: x.scatter_add_(0, ints(0, 9, 1).reshape(1, 3), tg.ones(1, 3))),
    ("index_put_", lambda x: x.index_put_((ints(0, 1, 5),), tg.tensor(9.0))),
    ("masked_fill_", lambda x: x.masked_fill_(tg.ones(4) > 0, 9.0)),
]


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in UNTOUCHED])
def test_nothing_is_written(call):
    x = x23()
    with pytest.raises((errors.TilegradError, builtins.IndexError)):
        call(x)
    assert x.tolist() == x23().tolist()


def test_read_only_memory():
    a = np.ones(3)
    a.flags.writeable = False
    with pytest.raises(errors.ValueError, match=r"add_.*read-only"):
        tg.from_numpy(a).add_(1)


def test_missing_data_files(tmp_path):
    from tilegrad.data import read_idx

    with pytest.raises(builtins.FileNotFoundError, match=r"missing\.idx"):
        read_idx(tmp_path / "missing.idx")
    (tmp_path / "short.idx").write_bytes(b"\0\0\x08\x03\0\0")
    with pytest.raises(errors.TilegradError, match=r"short\.idx"):
        read_idx(tmp_path / "short.idx")
