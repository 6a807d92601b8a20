"""Pictures of graphs, and the origin of a NaN."""

import re
import threading
from pathlib import Path

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import errors, kernels, tape
from tilegrad.nn import functional as F


def mlp():
    return tg.nn.Sequential(tg.nn.Linear(3, 4), tg.nn.ReLU(), tg.nn.Linear(4, 2))


# --- graph ----------------------------------------------------------------------------------------
def drawn(g):
    """The edges between the texts of boxes."""
    return {(g.boxes[a].lines, g.boxes[b].lines) for a, b in g.edges}


def test_graph_of_a_model():
    m = mlp()
    g = tg.graph(m(tg.ones(5, 3)).sum(), m)
    assert drawn(g) == {
        (("data", "(5, 3) float32"), ("linear", "(5, 4)")),
        (("0.weight", "(4, 3) float32"), ("linear", "(5, 4)")),
        (("0.bias", "(4,) float32"), ("linear", "(5, 4)")),
        (("linear", "(5, 4)"), ("relu", "(5, 4) float32")),
        (("relu", "(5, 4) float32"), ("linear", "(5, 2)")),
        (("2.weight", "(2, 4) float32"), ("linear", "(5, 2)")),
        (("2.bias", "(2,) float32"), ("linear", "(5, 2)")),
        (("linear", "(5, 2)"), ("sum", "() float32")),
    }
    assert g.hidden == 0 and repr(g) == "<Graph of 9 boxes and 8 edges>"


def test_graph_of_the_page():
    page = (Path(__file__).parent.parent / "docs" / "diagnostics.md").read_text()
    model = tg.nn.Linear(3, 1)
    loss = model(tg.ones(4, 3)).square().sum()
    assert tg.graph(loss, model)._repr_markdown_() in page


def test_graph_shares_nodes_and_keeps_double_edges():
    x = tg.tensor([2.0], requires_grad=True)
    y = x.exp()
    g = tg.graph([y * y, y], {"x": x, "y": y})
    assert [box.lines for box in g.boxes] == [
        ("mul", "(1,) float32"), ("y", "exp", "(1,) float32"), ("x", "(1,) float32"),
    ]  # fmt: skip
    assert sorted(g.edges) == [(1, 0), (1, 0), (2, 1)]


def test_graph_text_is_well_formed():
    x = tg.tensor([2.0], requires_grad=True)
    g = tg.graph(x.exp(), {'a "b" \\': x})
    dot, mermaid = g.dot(), g.mermaid()
    assert r'[label="a \"b\" \\\n(1,) float32", ' in dot and dot.count("{") == dot.count("}") == 1
    assert '"a #quot;b#quot; \\<br/>(1,) float32"' in mermaid
    shown = g._repr_mimebundle_()
    assert shown["text/vnd.mermaid"] == mermaid
    assert shown["text/markdown"] == f"```mermaid\n{mermaid}\n```"


def test_graph_of_any_depth():
    y = tg.tensor([1.0], requires_grad=True)
    for _ in range(100_000):
        y = -y
    g = tg.graph(y, max_nodes=20)
    assert len(g.boxes) == 21 and g.hidden == 99_981
    assert g.boxes[-1].lines == ("99981 more nodes are not drawn (max_nodes=20)",)
    assert re.search(r"n20\[/\"99981 more", g.mermaid()) and "shape=note" in g.dot()


def test_graph_after_backward_still_draws():
    x = tg.tensor([2.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    assert drawn(tg.graph(y)) == {
        (("leaf", "(1,) float32"), ("mul", "(1,)")),
        (("mul", "(1,)"), ("sum", "() float32")),
    }


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: tg.graph(tg.ones(2)), errors.GradientError,
         "graph: expects tensors whose computation was recorded, got one of shape (2,) that does "
         "not require grad"),
        (lambda: tg.graph([1]), errors.GradientError,
         "graph: expects tensors whose computation was recorded, got one of type int that does "
         "not require grad"),
        (lambda: tg.graph(tg.ones(2, requires_grad=True), max_nodes=0), errors.ValueError,
         "graph: max_nodes must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_graph_refuses(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


# --- trace_nonfinite ------------------------------------------------------------------------------
def t(*values, dtype=tg.float32):
    return tg.tensor(list(values), dtype=dtype, requires_grad=True)


def constant_channel():
    x = tg.ones(4, 2, 3, 3, requires_grad=True)
    return F.batch_norm(x, None, None, training=True, eps=0.0)


def masked_log(x):
    return tg.where(x > 0, x.log(), 0.0 * x)


FORWARD = [  # the op in which it is born
    ("log", lambda: t(1.0, 0.0).log()),
    ("log", lambda: t(-1.0).log()),
    ("log2", lambda: t(0.0).log2()),
    ("log10", lambda: t(0.0).log10()),
    ("log1p", lambda: t(-1.0).log1p()),
    ("sqrt", lambda: t(-1.0, 1.0).sqrt()),
    ("rsqrt", lambda: t(0.0).rsqrt()),
    ("reciprocal", lambda: t(0.0).reciprocal()),
    ("exp", lambda: t(89.0).exp()),
    ("exp", lambda: t(800.0, dtype=tg.float64).exp()),
    ("expm1", lambda: t(100.0).expm1()),
    ("sinh", lambda: t(100.0).sinh()),
    ("acos", lambda: t(2.0).acos()),
    ("atanh", lambda: t(1.0).atanh()),
    ("div", lambda: t(1.0) / t(0.0)),
    ("div", lambda: t(0.0) / t(0.0)),
    ("div", lambda: 1 / t(0.0, 1.0)),
    ("sqrt", lambda: t(-1.0) ** 0.5),
    ("pow", lambda: t(-1.0) ** 0.3),
    ("pow", lambda: t(0.0) ** -1.0),
    ("pow", lambda: t(1e30) ** 2.5),
    ("square", lambda: t(1e30).square()),
    ("mul", lambda: t(1e30) * t(1e30)),
    ("add", lambda: t(3e38) + t(3e38)),
    ("fmod", lambda: tg.fmod(t(1.0), t(0.0))),
    ("matmul", lambda: tg.ones(2, 2) * 1e30 @ (tg.ones(2, 2) * 1e30)),
    ("linear", lambda: F.linear(tg.ones(1, 2), tg.full((2, 2), 3e38))),
    ("conv", lambda: F.conv1d(tg.ones(1, 1, 3), tg.full((1, 1, 3), 3e38))),
    ("sum", lambda: t(3e38, 3e38).sum()),
    ("div", lambda: tg.zeros(0, requires_grad=True).mean()),
    ("prod", lambda: t(1e20, 1e20).prod()),
    ("cumprod", lambda: t(1e20, 1e20).cumprod(0)),
    ("cast", lambda: t(70000.0).half()),
    ("div", lambda: tg.tensor([1, 0]) / 0),
    ("batch_norm", constant_channel),
    ("mul", lambda: t(1e30).mul_(1e30)),
    ("log", lambda: masked_log(t(0.0, 1.0))),
]
BACKWARD = [  # the op, and the rule whose derivative it serves
    ("div", "sqrt", lambda: t(0.0).sqrt()),
    ("div", "sqrt", lambda: t(0.0) ** 0.5),
    ("div", "log", lambda: t(1e-45).log()),
    ("pow", "pow", lambda: t(0.0) ** 0.3),
    ("div", "div", lambda: t(1.0) / t(1e-30)),
    ("mul", "mul", lambda: t(1e-20) * 1e20 * 1e20),
    ("mul", "reciprocal", lambda: t(1e-20).reciprocal()),
    ("mul", "rsqrt", lambda: t(1e-30).rsqrt()),
    ("rsqrt", "asin", lambda: t(1.0).asin()),
    ("rsqrt", "acos", lambda: t(1.0).acos()),
]
"""Finite forward, not finite backward."""


@pytest.mark.parametrize("op, plant", FORWARD, ids=[f"{i}-{r[0]}" for i, r in enumerate(FORWARD)])
def test_birth_in_the_forward_pass(op, plant):
    with tg.no_grad() if op == "mul" else tg.enable_grad():
        with pytest.raises(errors.NonFiniteError) as caught, tg.trace_nonfinite():
            plant()
    r = caught.value.record
    line = masked_log.__code__.co_firstlineno + 1 if "masked_log" in plant.__code__.co_names else (
        plant.__code__.co_firstlineno + 2 * (plant is constant_channel)
    )  # fmt: skip
    assert (r.op, r.born, r.rule, r.called) == (op, True, "", "")
    assert r.where == caught.value.where == f"{__file__}:{line}"
    assert all(i.nan == i.inf == 0 for i in r.inputs) and r.inputs
    assert sum(o.nan + o.inf for o in r.outputs) > 0
    assert str(caught.value).startswith(f"{op}: ") and str(line) in str(caught.value)


@pytest.mark.parametrize("op, rule, plant", BACKWARD, ids=[r[1] + r[0] for r in BACKWARD])
def test_birth_in_the_backward_pass(op, rule, plant):
    with pytest.raises(errors.NonFiniteError) as caught, tg.trace_nonfinite():
        y = plant()
        if y.numel() != 1 or not np.isfinite(y.tolist()).all():
            pytest.fail("not finite forward")
        y.sum().backward()
    r = caught.value.record
    assert (r.op, r.born, r.rule) == (op, True, rule)
    assert r.where == f"{__file__}:{plant.__code__.co_firstlineno}"
    assert r.called == caught.value.where == f"{__file__}:{int(r.called.split(':')[-1])}"
    assert (
        Path(__file__)
        .read_text()
        .splitlines()[int(r.called.split(":")[-1]) - 1]
        .endswith(".sum().backward()")
    )


def test_one_record_per_origin():
    with tg.trace_nonfinite(raises=False) as trace:
        x = t(0.0, 1.0)
        y = x.log()
        y = (y.reshape(1, 2) * 2.0)[:, :1] + y  # spreads
        (y - y).sum().backward()
        data = tg.tensor([float("nan")])
        data = data + 1.0
        t(-1.0).sqrt()
    assert [(r.op, r.born) for r in trace.records] == [
        ("log", True), ("div", True), ("copy", False), ("sqrt", True),
    ]  # fmt: skip
    assert str(trace).splitlines()[:3] == [
        f"log: inf born from finite inputs, at {trace.records[0].where}",
        "  input x (2,) float32: finite in [0, 1]",
        "  output (2,) float32: finite in [0, 0], 1 inf",
    ]


def test_infinities_may_be_meant():
    with tg.trace_nonfinite(inf=False) as trace:
        x = t(0.0, 1.0).log()
        tg.softmax(x, 0)
        with pytest.raises(errors.NonFiniteError, match="sub: NaN born from finite inputs"):
            x - x
    assert [r.op for r in trace.records] == ["sub"]


def test_values_that_were_there_before():
    x = tg.tensor([1.0, float("inf"), float("nan")])
    with pytest.raises(errors.NonFiniteError) as caught, tg.trace_nonfinite():
        x + 1.0
    assert str(caught.value).splitlines() == [
        f"add: NaN and inf came in with the data, at {caught.value.where}",
        "  input a (3,) float32: finite in [1, 1], 1 NaN, 1 inf",
        "  input b () float32: finite in [1, 1]",
        "  output (3,) float32: finite in [2, 2], 1 NaN, 1 inf",
    ]


def test_a_graph_recorded_before_is_traced():
    y = t(0.0).sqrt().sum()
    with pytest.raises(errors.NonFiniteError) as caught, tg.trace_nonfinite():
        y.backward()
    r = caught.value.record
    assert (r.op, r.where, r.rule) == ("div", "", "") and r.called == caught.value.where


def test_the_path_of_the_module_leads():
    m = mlp()
    with tg.no_grad():
        m[2].weight.fill_(3e38)
    with pytest.raises(errors.NonFiniteError) as caught, tg.trace_nonfinite():
        m(tg.full((1, 3), 100.0))
    assert str(caught.value).startswith("in Sequential.2 (Linear): linear: inf born from finite")


def test_in_place_operands_are_shown_as_they_were():
    x = tg.full((2,), 3e38)
    with tg.trace_nonfinite(raises=False) as trace:
        x.add_(x)
    (r,) = trace.records
    assert r.born and [i.max for i in r.inputs[:2]] == pytest.approx([3e38, 3e38], rel=1e-6)


def test_ops_in_numpy_alone_are_seen():
    from tilegrad.ops.rules import record
    from tilegrad.tape import Rule

    x = t(1.0, 2.0)
    with tg.trace_nonfinite(raises=False) as trace:
        record(Rule("mine", (), lambda *a: (a[0],)), np.array([np.nan, 1.0], "f4"), (x,))
    assert [(r.op, r.born) for r in trace.records] == [("mine", True)]


@pytest.mark.parametrize("tool", [tg.trace_nonfinite, tg.profile])
def test_nothing_is_left_behind(tool):
    host = kernels.host
    x = t(1.0, 2.0)
    with tool():
        assert kernels.host is not host
        y = (x * x).sum()
        other = []
        thread = threading.Thread(target=lambda: other.append(tg.zeros(1).log()))
        thread.start()
        thread.join()
        with tool():
            (x * 3.0).sum().backward()
    assert kernels.host is host and tape.watchers == [] and len(other) == 1
    y.backward()
    assert x.grad.tolist() == [5.0, 7.0]
    with pytest.raises(KeyError), tool():
        raise KeyError
    assert kernels.host is host and tape.watchers == []
