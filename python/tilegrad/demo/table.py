"""The kernels of one training step, each held against the NumPy reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .. import nn
from ..bench.kernel_calls import Call, Row, compare, recording
from ..bench.report import busy


@dataclass
class Line:
    """One line of the table: products by shape, all other kernels by name."""

    kernel: str
    calls: int = 0
    seconds: float = 0.0
    reference: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    error: float = 0.0
    correct: bool = True

    def add(self, row: Row) -> None:
        """Adds all calls of a row."""
        self.calls += row.calls
        self.seconds += row.calls * row.time.median
        self.reference += row.calls * row.reference.median
        self.flops += row.calls * row.flops
        self.bytes += row.calls * row.bytes
        self.error = max(self.error, row.error)
        self.correct = self.correct and row.correct

    def cells(self) -> tuple[str, ...]:
        """What the table shows; a wrong result has no speed."""
        if not self.correct:
            return (self.kernel, str(self.calls), "-", "WRONG", "-", "-", f"{self.error:.1e}")
        amount, unit = (self.flops, "GFLOP/s") if self.flops else (self.bytes, "GB/s")
        return (
            self.kernel,
            str(self.calls),
            f"{self.seconds * 1e6:,.1f}",
            f"{amount / self.seconds / 1e9:.1f} {unit}",
            f"{self.reference * 1e6:,.1f}",
            f"{self.reference / self.seconds:.1f}x",
            f"{self.error:.1e}",
        )


def record_step(model: nn.Module, optimizer: Any, x: Any, y: Any) -> list[Call]:
    """The kernel calls of one training step; the step is taken."""
    with recording() as calls:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return calls


def lines(rows: list[Row]) -> list[Line]:
    """The rows, those of kernels that move memory added up."""
    out: dict[str, Line] = {}
    for row in rows:
        name = row.label if row.flops else row.label.partition(" ")[0]
        out.setdefault(name, Line(name)).add(row)
    return list(out.values())


def show(calls: list[Call], images: int, budget: float = 0.05) -> bool:
    """Prints the table; returns whether every result was right."""
    found = lines(compare(calls, budget=budget))
    head = ("kernel and shapes", "calls", "us", "speed", "NumPy us", "ratio", "error")
    body = [line.cells() for line in found]
    widths = [max(len(cells[i]) for cells in [head, *body]) for i in range(len(head))]
    print(f"\nThe kernels of one training step on {images} images (medians):")
    for cells in [head, *body]:
        first, *rest = cells
        print("  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]))
    ours, theirs = sum(i.seconds for i in found), sum(i.reference for i in found)
    print(f"together {ours * 1e3:.2f} ms, NumPy {theirs * 1e3:.2f} ms")
    if warning := busy():
        print(f"note: {warning}")
    return all(line.correct for line in found)
