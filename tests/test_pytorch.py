"""tilegrad beside PyTorch itself, where that is installed: what docs/from_pytorch.toml calls the
same takes the same arguments and gives the same values, dtypes and gradients.

Where PyTorch raises, tilegrad may do more; the tables below name everything else that differs.
"""

import inspect
import itertools
import math
import re

import numpy as np
import pytest
from beside_pytorch import TABLE, beside, pair, pytorch_of, torch
from pytorch_calls import IMAGES, LOSSES, MAKE, ONE, PRODUCTS, REFUSED, TWO, calls

import tilegrad as tg
from tilegrad import cases

pytestmark = pytest.mark.filterwarnings("ignore")

ELEMENTWISE = {n: f for n, f in tg.ops.elementwise.METHODS.items() if not n.startswith("__")}
SAME = {(key, name) for key in TABLE for name in TABLE[key].get("same", ())}
FUNCTIONS = {name for key, name in SAME if key in ("tilegrad", "nn.functional")}
METHODS = {name for key, name in SAME if key == "Tensor"}
DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()


# --- signatures -----------------------------------------------------------------------------------
# What holds everywhere and what only PyTorch's own machinery passes.
LEFT_OUT = {
    "out",
    "dtype",
    "layout",
    "pin_memory",
    "memory_format",
    "names",
    "implicit",
    "_stacklevel",
}


KNOWN = {
    **dict.fromkeys(("nan_to_num", "nan_to_num_"), "nan=None is 0.0 there"),
    **dict.fromkeys(
        ("CosineEmbeddingLoss", "HingeEmbeddingLoss", "MarginRankingLoss"),
        "margin=None is the default of the function",
    ),
    **dict.fromkeys(
        ("Transformer", "TransformerEncoderLayer", "TransformerDecoderLayer"),
        "activation is relu by its name",
    ),
    **dict.fromkeys(
        ("fractional_max_pool2d", "fractional_max_pool3d"), "_random_samples, in the documentation"
    ),
    "Hardtanh": "min_value and max_value are deprecated",
    "tensorsolve": "B, in the documentation",
    "polygamma": "the schema has the tensor second, the method first",
}
"""Where a signature is another and its documented meaning the same."""


def forms(key, name, fn):
    """The signatures of a function of PyTorch: (name, default, keyword only) per argument."""
    try:
        params = inspect.signature(fn).parameters.values()
        if not any(p.kind is p.VAR_POSITIONAL for p in params):
            return [[(p.name, p.default, p.kind is p.KEYWORD_ONLY) for p in params]]
    except (TypeError, ValueError):
        pass
    out = []
    name = f"linalg_{name}" if key == "linalg" else name
    for s in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
        if any(a.is_out or "Dimname" in str(a.type) or str(a.type) == "str" for a in s.arguments):
            continue
        default = [a.default_value if a.has_default_value() else inspect.Parameter.empty
                   for a in s.arguments]  # fmt: skip
        args = zip(s.arguments, default, strict=True)
        out.append([(a.name, d, a.kwarg_only) for a, d in args])
    return out


def misfit(mine, form, method):
    """What of one of PyTorch's signatures tilegrad's does not take, or None."""
    params = list(mine.parameters.values())
    positional = [p for p in params if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in params)
    form = [a for a in form if a[0] not in LEFT_OUT]
    for i, (name, default, keyword) in enumerate(a for a in form):
        name = "input" if name == "self" else name
        if keyword:
            if name not in mine.parameters and not any(p.kind is p.VAR_KEYWORD for p in params):
                return f"no {name}="
            p = mine.parameters.get(name)
        elif i < len(positional):
            p = positional[i]
            parts = p.name == "indices_or_sections" and name in (
                *p.name.split("_or_"),
                f"tensor_{p.name}",
            )
            if p.name != name and not parts and not (i == 0 and method):
                return f"argument {i} is {p.name}, not {name}"
        elif takes_any:
            continue
        else:
            return f"no argument {name}"
        if p is None or default is inspect.Parameter.empty or p.default is p.empty:
            continue
        plain = default[0] if isinstance(default, list) and len(set(default)) == 1 else default
        given = list(p.default) if isinstance(p.default, tuple) else p.default
        same = plain in (p.default, given) or (plain in ([], None) and p.default in ((), None))
        if not same and not isinstance(plain, torch._C.Generator):
            return f"{name}={p.default}, not {plain}"
    return None


def spaces(key):
    mine, theirs = tg, torch
    if key == "Tensor":
        return tg.Tensor, torch.Tensor
    if key != "tilegrad":
        modules = [part for part in key.split(".") if part[0].islower()]
        __import__(".".join(["torch", *modules]))
        for part in key.split("."):
            mine, theirs = getattr(mine, part), getattr(theirs, part)
    return mine, theirs


@pytest.mark.parametrize(("key", "name"), sorted(SAME), ids=".".join)
def test_signature(key, name):
    ours, pytorchs = spaces(key)
    if name == "is_grad_enabled":
        pytorchs = torch
    mine, theirs = getattr(ours, name), getattr(pytorchs, name)
    assert callable(mine) == callable(theirs) or name in "bool".split() or not callable(theirs)
    if not callable(mine) or isinstance(mine, np.dtype):
        return
    all_forms = forms(key, name, theirs)
    method = inspect.isclass(ours) or key == "linalg"  # whose first argument is A, or x
    found = [misfit(inspect.signature(mine), form, method) for form in all_forms]
    assert not found or None in found or name in KNOWN, f"{inspect.signature(mine)}: {found}"


# --- the case tables ------------------------------------------------------------------------------
ROWS_OF_OURS = """
zeros_like-bools ones_like-bools to-other_dtype: dtypes by their names
clone-channels_last: memory formats are strings
arange-nothing gather-negative index_copy-two_rows index_fill-one_number index_put-accumulate
prod-outer_axes logsumexp-everything logsumexp-zero_dim: PyTorch refuses such arguments
scatter_add-repeated: PyTorch has no gradient for a src longer than index
sum-nothing_reduced: dim=() is no axis here, as in NumPy, and every axis there
rrelu-drawn gumbel_softmax-relaxed gumbel_softmax-hard fractional_max_pool2d-ratio
fractional_max_pool2d-size alpha_dropout-training feature_alpha_dropout-training
poisson-rates scaled_dot_product_attention-dropout scaled_dot_product_attention-dropout_causal
scaled_dot_product_attention-dropout_added_mask
scaled_dot_product_attention-dropout_one_leading_axis
scaled_dot_product_attention-dropout_mask_with_gradient: drawn, from another stream
masked_scatter-nothing cov-weights repeat_interleave-counts: NumPy arrays or lists for tensors
cummax-empty cummin-empty: PyTorch refuses the gradient of nothing
logcumsumexp-infinite_start: PyTorch's gradient of what is -inf so far is NaN
"""


ROUNDED = """
hardsigmoid-piece_1 celu-piece_0 digamma-strided digamma-zero_dim digamma-negative
polygamma-trigamma
""".split()
"""Where PyTorch is in float64 nearer to float32, and SciPy and the formulas agree with tilegrad."""

CASES = [
    c for family, table in cases.load().items() for c in table
    if family != "random" and not c.bench and c.op in FUNCTIONS | METHODS
    and str(c) not in re.split(r"[\s:]+", ROWS_OF_OURS)
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, dtype, monkeypatch):
    assert tg.nn.functional  # imported before PyTorch takes the name
    arrays = case.arrays(dtype)
    pairs = [(tg.from_numpy(a), torch.from_numpy(np.array(a))) for a in arrays]
    theirs = pytorch_of(case, monkeypatch)
    least = 1e-7 if str(case) in ROUNDED and dtype == "float64" else 0.0
    run, grad = case.function(), case.differentiable
    assert beside(case, run, theirs, pairs, grad, case.reduction, least)


# --- element by element: every dtype, every pair of dtypes, special values ------------------------
FLOATS = [-2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 100.0]
EXTREMES = [-0.0, math.inf, -math.inf, math.nan]
SCALARS = [True, False, 0, 1, 2, 3, -3, 2.5, -0.5, 0.0, 2.0, math.nan]
TESTED = {
    n
    for k in ("tilegrad", "Tensor", "nn.functional")
    for n in {*TABLE[k]["same"], *TABLE[k]["differs"]}
}


def arity(name):
    params = inspect.signature(ELEMENTWISE[name]).parameters.values()
    return sum(p.default is p.empty for p in params)


MORE = {"clamp", "clamp_", "clip", "clip_", "cumsum_", "cumprod_", "polygamma_"}
"""What needs further arguments, or a number second: these are in pytorch_calls.py."""
UNARY = sorted(n for n in ELEMENTWISE if n in TESTED - MORE and arity(n) == 1)
BINARY = sorted(n for n in ELEMENTWISE if n in TESTED - MORE and arity(n) == 2)
NO_GRADIENT = set(
    """eq_ ne_ not_equal_ lt_ le_ gt_ ge_ less_ less_equal_ greater_ greater_equal_ logical_and_
    logical_or_ logical_xor_ logical_not_ nextafter_""".split()
)
"""Where only values are compared: constants here, while PyTorch records something, or refuses."""


def values(dtype, name=""):
    if dtype == "bool":
        return [0.0, 1.0]
    if "float" not in dtype:
        return [0, 1, 2, 3, 5, 7, 100] + [-1, -2, -7] * (dtype != "uint8")
    special = {"gelu": [], "silu": EXTREMES[:1], "pow": EXTREMES[3:], "sign": EXTREMES[:3]}
    special |= {"float_power": EXTREMES[3:], "digamma": EXTREMES[1:]}
    pole = "digamma" in name  # at 0 and the negative integers, where rounding decides
    finite = [v for v in FLOATS if not pole or v > 0 or v % 1]
    return finite + special.get(name.rstrip("_"), EXTREMES)


def ways(name):
    """As a function, as a method, and (given an in-place method) on a copy."""
    out = []
    if not name.endswith("_"):
        for mine, theirs in ((tg, torch), (tg.nn.functional, torch.nn.functional)):
            if hasattr(mine, name) and hasattr(theirs, name):
                out.append((getattr(mine, name), getattr(theirs, name)))
    if name in METHODS or name in TABLE["Tensor"]["differs"]:

        def method(x, *args):
            return getattr(x.clone(), name)(*args)

        out.append((method, method))
    return out


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    ran = 0
    for mine, theirs in ways(name):
        for dtype in DTYPES:
            if name.startswith("sign") and dtype == "bool":
                continue
            v = values(dtype, name)
            for x in (v, v[1], [], [[]], [v, v[::-1]]):
                finite = "64" in dtype and not {*EXTREMES[1:]} & {*np.ravel(x)}
                finite = finite and name not in NO_GRADIENT
                least = 1e-9 if name == "digamma_" else 0.0  # as in ROUNDED
                both = [pair(x, dtype)]
                ran += beside((name, dtype), mine, theirs, both, finite, least=least)
    assert ran


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    """Broadcasting, promotion of every pair of dtypes, numbers, and the gradient at ties."""
    ran = 0
    divides = re.search("divide|remainder|mod|div", name)
    for mine, theirs in ways(name):
        for d, e in itertools.product(DTYPES, DTYPES):
            a, b = np.meshgrid(values(d, name), values(e, name))
            if "shift" in name:
                b = np.clip(b, 0, 6)
            if "float" not in e:
                b = np.where(b == 0, 1, b) if divides else np.abs(b) % 4 if "pow" in name else b
            shapes = ((a, b), (a, b[1, 0]), (a[0, 1], b), (a[0, 1], b[1, 1]), (a[:0], b[1, 1]))
            for x, y in shapes:
                ran += beside((name, d, e), mine, theirs, [pair(x, d), pair(y, e)], False)
        for dtype, one in itertools.product(DTYPES, (False, True)):
            x = values(dtype, name)[1] if one else values(dtype, name)
            for s in SCALARS:
                if (
                    (dtype == "uint8" and s < 0)
                    or (divides and not s)
                    or ("shift" in name and s < 0)
                ):
                    continue

                def fixed(fn, s=s):
                    return lambda t: fn(t, s)

                ran += beside((name, dtype, s), fixed(mine), fixed(theirs), [pair(x, dtype)], False)
        a, b = np.meshgrid(FLOATS, FLOATS)
        both = [pair(a, "float64"), pair(b, "float64")]
        beside(name, mine, theirs, both, name not in NO_GRADIENT)
    assert ran


# --- reductions -----------------------------------------------------------------------------------
REDUCTIONS = """sum mean prod amax amin any all max min argmax argmin var std norm logsumexp
count_nonzero cumsum cumprod var_mean std_mean softmax log_softmax""".split()
SHAPES = [(), (5,), (3, 4), (0,), (0, 3), (3, 0), (2, 3, 4), (1,)]
DIMS = [0, -1, 1, (0, 1), (0, -1), [0], None, 5, -3]
KEYWORDS = [{"keepdim": True}, {"dtype": "float64"}, {"dtype": "int32"}, {"correction": 0},
            {"unbiased": False}, {"p": 1}]  # fmt: skip


def arguments_of_reductions():
    yield from ((args, {}) for args in ((), (False,), (3,), ("fro",), (math.inf, 0, True)))
    yield from (((), more) for more in KEYWORDS)
    for dim in DIMS:
        yield from (((dim, *rest), {}) for rest in ((), (False,), (False, True)))
        yield from (((), {name: dim}) for name in ("dim", "axis"))
        yield from (((), {"dim": dim, **more}) for more in KEYWORDS)
        yield (), {"axis": dim, "keepdims": True}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name):
    ran = 0
    for d, shape, nan in itertools.product(DTYPES, SHAPES, (False, True)):
        count = math.prod(shape)
        if (nan and ("float" not in d or not count)) or (d == "uint8" and name in ("any", "all")):
            continue
        if not count and "softmax" in name:
            continue  # PyTorch takes integers only where there are none
        a = np.resize(np.array(values(d)[:10], float), count).reshape(shape)
        if nan:
            a.flat[count // 2] = math.nan
        for args, options in arguments_of_reductions():
            if (name == "count_nonzero" and len(args) > 1) or (name == "norm" and args == (False,)):
                continue  # the method takes any number of dims; the gradient of a count

            def call(space, method, args=args, options=options):
                options = {k: getattr(space, v) if k == "dtype" else v for k, v in options.items()}
                fn = (
                    (lambda x, *r, **o: getattr(x, name)(*r, **o))
                    if method
                    else getattr(space, name)
                )
                return lambda x: fn(x, *args, **options)

            for method in (False, True)[
                : 1 + (name in dir(torch.Tensor) and "mean" not in name[1:])
            ]:
                what = (name, d, shape, args, options)
                grad = d == "float64" and not nan
                ran += beside(what, call(tg, method), call(torch, method), [pair(a, d)], grad)
    assert ran


# --- everything else: the same program in both ----------------------------------------------------
def program(text, space, **names):
    return lambda *xs: eval(
        text, {"t": space, "F": space.nn.functional, **names}, dict(zip("xyz", xs, strict=False))
    )


def run(text, *pairs, grad=True, **names):
    mine, theirs = program(text, tg, **names), program(text, torch, **names)
    return beside(text, mine, theirs, pairs, grad)


def numbers(shape, dtype, seed=0):
    a = np.random.default_rng(seed).uniform(-3.0, 3.0, shape)
    return pair(a > 0 if dtype == "bool" else a.round() if "int" in dtype else a, dtype)


UNLIKE = [  # where tilegrad raises and PyTorch does not, as the table says
    ("masked_fill|accumulate", lambda dtype, shape: dtype == "bool"),
    ("index_fill|m[TH]", lambda dtype, shape: shape == ()),
    ("linear", lambda dtype, shape: dtype == "int64"),
]


def run_all(text, operands, grad=True):
    """At least one of the operands is taken by PyTorch."""
    grad = grad and not re.search("bernoulli|normal", text)
    ran = 0
    for shapes_and_dtypes in operands:
        if any(
            re.search(r, text) and is_so(d, s) for r, is_so in UNLIKE for s, d in shapes_and_dtypes
        ):
            continue
        pairs = [numbers(s, d, i) for i, (s, d) in enumerate(shapes_and_dtypes)]
        ran += run(text, *pairs, grad=grad and not any("16" in d for _, d in shapes_and_dtypes))
    assert ran


@pytest.mark.parametrize("text", calls(ONE))
def test_one_operand(text):
    shapes = ((3, 4), (), (0, 4), (2, 3, 4), (4,))
    dtypes = ("float32", "float64", "int64", "bool", "bfloat16")
    run_all(text, ([x] for x in itertools.product(shapes, dtypes)))


@pytest.mark.parametrize("text", calls(TWO))
def test_two_operands(text):
    shapes, dtypes = ((3, 4), (4,), ()), ("float32", "float64", "int64", "int8", "float16")
    run_all(text, itertools.product(itertools.product(shapes, dtypes), repeat=2))


@pytest.mark.parametrize("text", calls(PRODUCTS))
def test_products(text):
    shapes = ((3, 4), (4, 5), (4,), (5,), (2, 3, 4), (2, 4, 5), (0, 4), (4, 0), (0,))
    pairs = itertools.product(shapes, shapes, ("float32", "float64", "int64"))
    run_all(text, ([(s, d), (r, d)] for s, r, d in pairs))


@pytest.mark.parametrize("text", calls(IMAGES))
def test_images(text):
    shapes = ((2, 3, 6, 5), (3, 6, 5))
    run_all(text, ([x] for x in itertools.product(shapes, ("float32", "float64", "bfloat16"))))


@pytest.mark.parametrize("text", calls(MAKE))
def test_new_tensors(text):
    assert run(text)


@pytest.mark.parametrize("text", calls(REFUSED))
def test_both_refuse(text):
    for space in (torch, tg):
        with pytest.raises((ValueError, TypeError, IndexError, RuntimeError, OverflowError)):
            program(text, space)()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("text", calls(LOSSES))
def test_losses(text, reduction):
    y, z = pair([1, 0, 3], "int64"), pair([0.5, 1.0, 2.0, 0.1], "float32")
    mine = program(text, tg, m=reduction, y=y[0], z=z[0])
    theirs = program(text, torch, m=reduction, y=y[1], z=z[1])
    assert beside(text, mine, theirs, [numbers((3, 4), "float32")])


def test_backward_and_hooks():
    seen: list = []

    def keep(t):
        seen.append(t.grad.tolist())

    for space in (torch, tg):
        x = space.tensor([1.0, -2.0, 3.0], requires_grad=True)
        x.register_post_accumulate_grad_hook(keep)
        x.register_hook(lambda g: g * 2)
        y = x * x
        y.retain_grad()
        (y.sin() * x.detach()).sum().backward(retain_graph=True)
        y.backward(gradient=space.ones(3), inputs=[x])
        seen += [x.grad.tolist(), y.grad.tolist()]
    assert len(seen) == 8
    np.testing.assert_allclose(seen[:4], seen[4:], rtol=1e-6)


def test_every_name_is_called():
    """What the table calls the same is called by a test of this file."""
    text = " ".join((ONE, TWO, PRODUCTS, MAKE, IMAGES, LOSSES))
    called = {*re.findall(r"\w+", text), *UNARY, *BINARY, *REDUCTIONS, *(c.op for c in CASES)}
    assert FUNCTIONS | METHODS <= called | ELSEWHERE, sorted((FUNCTIONS | METHODS) - called)


ELSEWHERE = {"backward", "register_hook", "register_post_accumulate_grad_hook", "retain_grad"}
