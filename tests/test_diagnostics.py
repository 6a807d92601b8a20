"""Pictures of graphs."""

import re
from pathlib import Path

import pytest

import tilegrad as tg
from tilegrad import errors


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
