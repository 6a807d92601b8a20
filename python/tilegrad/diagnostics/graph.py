"""Pictures of a recorded graph, as text in the languages of Graphviz and Mermaid."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import GradientError
from ..errors import ValueError as TgValueError
from ..tape import Node, reachable
from ..tensor import Tensor


class Box(NamedTuple):
    """One box of a picture: "op", "leaf", "data" (an input that needs no gradient) or "note"."""

    kind: str
    lines: tuple[str, ...]


_DOT = {
    "op": 'shape=box, style=rounded',
    "leaf": 'shape=box, style="filled", fillcolor="#d5e8d4"',
    "data": 'shape=box, style="filled", fillcolor="#eeeeee"',
    "note": "shape=note",
}  # fmt: skip
_MERMAID = {
    "op": ("(", ")", ""),
    "leaf": ("[", "]", ":::leaf"),
    "data": ("[", "]", ":::data"),
    "note": ("[/", "/]", ""),
}


class Graph:
    """What ``tilegrad.graph`` returns: ``boxes``, and ``edges`` as pairs of their numbers in the
    direction of the computation. Notebooks show it."""

    def __init__(self, boxes: Sequence[Box], edges: Sequence[tuple[int, int]], hidden: int) -> None:
        self.boxes, self.edges, self.hidden = list(boxes), list(edges), hidden

    def dot(self) -> str:
        """The picture for Graphviz (``dot -Tsvg``)."""
        lines = ["digraph tilegrad {", "  rankdir=TB;"]
        for i, box in enumerate(self.boxes):
            text = "\\n".join(s.replace("\\", "\\\\").replace('"', '\\"') for s in box.lines)
            lines.append(f'  n{i} [label="{text}", {_DOT[box.kind]}];')
        lines += [f"  n{a} -> n{b};" for a, b in self.edges]
        return "\n".join([*lines, "}"])

    def mermaid(self) -> str:
        """The picture for Mermaid, which GitHub and notebooks draw."""
        lines = ["flowchart TD"]
        for i, box in enumerate(self.boxes):
            left, right, style = _MERMAID[box.kind]
            text = "<br/>".join(s.replace('"', "#quot;") for s in box.lines)
            lines.append(f'  n{i}{left}"{text}"{right}{style}')
        lines += [f"  n{a} --> n{b}" for a, b in self.edges]
        lines += ["  classDef leaf fill:#d5e8d4", "  classDef data fill:#eeeeee"]
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        return f"```mermaid\n{self.mermaid()}\n```"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/vnd.mermaid": self.mermaid(),
            "text/markdown": self._repr_markdown_(),
            "text/plain": repr(self),
        }

    def __repr__(self) -> str:
        drawn = sum(box.kind != "note" for box in self.boxes)
        hidden = f", {self.hidden} nodes not drawn" if self.hidden else ""
        return f"<Graph of {drawn} boxes and {len(self.edges)} edges{hidden}>"


def graph(outputs: Any, names: Any = None, max_nodes: int = 500) -> Graph:
    """The recorded graph that ends in outputs, as a picture.

    outputs: a tensor or several that require grad. names: a Module, whose parameters are drawn with
    their names, or a dict of names to tensors. An op shows its name, shape and (where it kept an
    array) dtype; an input that needs no gradient is drawn where the op kept it. Only the max_nodes
    nodes nearest to the outputs are drawn, and a note says how many are missing; any depth works.
    Raises GradientError where nothing was recorded, ValueError unless max_nodes is at least 1.

    >>> import tilegrad as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> print(tg.graph((w * 3.0).sum(), {"w": w}).mermaid())
    flowchart TD
      n0("sum<br/>() float32")
      n1("mul<br/>(2,)")
      n2["data<br/>() float32"]:::data
      n3["w<br/>(2,) float32"]:::leaf
      n2 --> n1
      n1 --> n0
      n3 --> n1
      classDef leaf fill:#d5e8d4
      classDef data fill:#eeeeee
    """
    if max_nodes < 1:
        raise TgValueError(f"graph: max_nodes must be at least 1, got {max_nodes}")
    ys = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    for y in ys:
        if not isinstance(y, Tensor) or y._node is None:
            what = f"shape {y.shape}" if isinstance(y, Tensor) else f"type {type(y).__name__}"
            raise GradientError(
                f"graph: expects tensors whose computation was recorded, got one of {what} that "
                "does not require grad"
            )
    known = _known(names)
    roots: list[Any] = [y._node for y in ys]
    dtypes = {id(y._node): str(y.dtype) for y in ys}
    total = len(reachable(roots))
    numbers: dict[Node, int] = {}
    boxes: list[Box] = []
    edges: list[tuple[int, int]] = []
    waiting: deque[tuple[Node, int | None]] = deque((n, None) for n in dict.fromkeys(roots))
    while waiting:  # nearest first, so that a limit keeps what is near
        node, to = waiting.popleft()
        number = numbers.get(node)
        if number is None:
            if len(numbers) == max_nodes:
                continue
            number = numbers[node] = len(boxes)
            boxes.append(_box(node, known, dtypes))
            for i, parent in enumerate(node.parents):
                kept = node.saved[i] if node.saved is not None else None
                if parent is not None:
                    waiting.append((parent, number))
                    if kept is not None:
                        dtypes[id(parent)] = str(kept.dtype)
                elif kept is not None:
                    edges.append((len(boxes), number))
                    boxes.append(Box("data", ("data", f"{kept.shape} {kept.dtype}")))
        if to is not None:
            edges.append((number, to))
    hidden = total - len(numbers)
    if hidden:
        text = f"{hidden} more nodes are not drawn (max_nodes={max_nodes})"
        boxes.append(Box("note", (text,)))
    return Graph(boxes, edges, hidden)


def _known(names: Any) -> dict[Node, str]:
    if names is None:
        return {}
    pairs = names if isinstance(names, Mapping) else dict(names.named_parameters())
    return {t._node: name for name, t in pairs.items() if t._node is not None}


def _box(node: Node, names: Mapping[Node, str], dtypes: Mapping[int, str]) -> Box:
    if node.rule is None:
        leaf = node.leaf()
        shape = f"{node.shape} {leaf.dtype}" if leaf is not None else f"{node.shape}"
        return Box("leaf", (names.get(node, "leaf"), shape))
    own = node.saved[-1] if node.saved is not None else None  # the output, where it was kept
    dtype = dtypes.get(id(node)) or (str(own.dtype) if own is not None else "")
    lines = (node.name, f"{node.shape} {dtype}".rstrip())
    return Box("op", (names[node], *lines) if node in names else lines)
