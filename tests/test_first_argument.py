"""Every public function, called with what none takes: a TypeError that names the function."""

import inspect
import warnings

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors

FUNCTIONS = {
    f"{space}.{name}": getattr(module, name)
    for space, module in (("tg", tg), ("F", tg.nn.functional), ("linalg", tg.linalg))
    for name in dir(module)
    if not name.startswith("_")
    and inspect.isfunction(getattr(module, name))
    and any(p.kind <= p.VAR_POSITIONAL
            for p in inspect.signature(getattr(module, name)).parameters.values())
}  # fmt: skip


class Thing:
    """No tensor, array, number, text or sequence."""


TAKEN = {  # what some functions do take
    "tg.is_tensor": (Thing, type(None), str, list),
    "tg.finfo": (type(None),),
    "tg.set_cpu_isa": (str,),
    "tg.set_float32_matmul_precision": (str,),
    "tg.set_precision": (str,),
    "tg.set_printoptions": (type(None),),
    "tg.use_deterministic_algorithms": (Thing, type(None), str, list),  # without effect
    "tg.set_default_device": (Thing, type(None), str, list),  # a DeviceError, or the default
    "tg.einsum": (str,),
    **dict.fromkeys(
        """tg.as_tensor tg.asarray
        tg.tensor tg.atleast_1d tg.atleast_2d tg.atleast_3d tg.cartesian_prod tg.cat
        tg.column_stack tg.concat tg.concatenate tg.dstack tg.hstack tg.meshgrid tg.row_stack
        tg.stack tg.vstack tg.bincount tg.unravel_index F.embedding
        F.embedding_bag F.one_hot linalg.multi_dot tg.chain_matmul tg.block_diag
        """.split(),
        (list,),
    ),
}  # fmt: skip
UNDER_ANOTHER_NAME = {
    **dict.fromkeys(("tg.as_tensor", "tg.asarray"), "tensor"),
    **dict.fromkeys(("tg.finfo", "tg.iinfo", "tg.set_default_dtype", "tg.can_cast"), "dtype"),
    "tg.cartesian_prod": "meshgrid",
}


WRONG = [Thing(), None, "text", [1.5, 2.5]]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: type(w).__name__)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_wrong_first_argument_raises_a_type_error(name, wrong):
    fn = FUNCTIONS[name]
    if isinstance(wrong, TAKEN.get(name, ())):
        return
    rest = [p for p in inspect.signature(fn).parameters.values() if p.kind < p.VAR_POSITIONAL][1:]
    args = [tg.tensor(0.5) if p.default is p.empty else p.default for p in rest]
    named = {
        p.name: "float32" if p.name == "dtype" else False
        for p in inspect.signature(fn).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.default is p.empty
    }
    with warnings.catch_warnings(), pytest.raises(TypeError) as e:
        warnings.simplefilter("ignore")
        fn(wrong, *args, **named)
    message = str(e.value)
    assert UNDER_ANOTHER_NAME.get(name, fn.__name__) in message.partition(":")[0], message
    if name == "tg.randint":  # its message is the signature
        return
    got = [type(wrong).__name__, repr(wrong), *(["1.5", "float"] if wrong == [1.5, 2.5] else [])]
    assert any(g in message for g in got), message


def test_views_take_arrays_and_numbers():
    a = np.arange(6.0).reshape(2, 3)
    assert tg.reshape(a, 3, 2).tolist() == a.reshape(3, 2).tolist()
    assert tg.transpose(input=a, dim0=0, dim1=1).shape == (3, 2)
    assert tg.flip(a, (0,)).tolist() == a[::-1].tolist()
    assert tg.zeros_like(3.0).shape == ()
    assert tg.numel(a) == 6
    with pytest.raises(errors.DTypeError, match="reshape: input must be a tensor, array or number"):
        tg.reshape(input=[1.0], shape=(1,))


# --- axis and keepdims ----------------------------------------------------------------------------
X = np.array([[3.0, 1.0, 2.0], [5.0, 6.0, 4.0]])
AXES = [  # PyTorch 2.13 takes axis= (and keepdims=) in each of these
    *(f"{name}(x, {{0}}=1, {{1}}=True)"
      for name in "median nanmedian mode nansum nanmean aminmax amax sum std argmax".split()),
    *(f"{name}(x, {{0}}=1)"
      for name in """sort argsort cummax cummin logcumsumexp diff unbind cumsum softmax cumprod
      """.split()),
    "topk(x, 2, {0}=0)", "kthvalue(x, 1, {0}=0, {1}=True)", "chunk(x, 2, {0}=0)",
    "quantile(x, 0.5, {0}=0, {1}=True)", "nanquantile(x, 0.5, {0}=0)",
    "index_select(x, {0}=1, index=i)", "narrow(x, {0}=1, start=0, length=1)",
    "select(x, {0}=0, index=1)", "gather(x, {0}=1, index=i[None])",
    "index_add(x, {0}=0, index=i, source=x)", "index_copy(x, {0}=0, index=i, source=x)",
    "index_fill(x, {0}=0, index=i, value=1.0)", "scatter(x, {0}=1, index=i[None], src=x)",
    "scatter_add(x, {0}=1, index=i[None], src=x)", "repeat_interleave(x, 2, {0}=1)",
    "tensor_split(x, 2, {0}=1)", "unflatten(x, {0}=1, sizes=(1, 3))", "trapezoid(x, {0}=0)",
]  # fmt: skip


@pytest.mark.parametrize("text", AXES)
def test_axis_is_another_name_of_dim(text):
    def value(text):
        names = {"x": tg.tensor(X), "i": tg.tensor([1, 0]), "tg": tg}
        y = eval(text, names)
        return [t.tolist() for t in y] if isinstance(y, tuple) else y.tolist()

    as_function, as_method = "tg." + text, "x." + text.replace("(x, ", "(", 1)
    expected = value(as_function.format("dim", "keepdim"))
    assert value(as_function.format("axis", "keepdims")) == expected
    if hasattr(tg.Tensor, text.partition("(")[0]):
        assert value(as_method.format("axis", "keepdims")) == expected
    with pytest.raises(errors.ValueError, match="two names for one argument"):
        value(as_function.format("dim=1, axis", "keepdim"))


def test_axis_is_in_the_signature():
    assert "axis" in inspect.signature(tg.sort).parameters
    assert "axis" in inspect.signature(tg.Tensor.index_add_).parameters
    x = tg.zeros(2, 3)
    assert x.index_fill_(axis=1, index=tg.tensor([0]), value=1.0).sum().item() == 2.0
