"""Writes the tables of docs/kernels.md (from the contract) and docs/ops.md (from the case tables);
``--check`` only compares."""

import re
import sys
from pathlib import Path

from tilegrad import cases
from tilegrad.kernels import contract

DOCS = Path(__file__).parent.parent / "docs"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"


def kernels() -> list[str]:
    """One row per entry of the contract; marks of Markdown in the texts are escaped."""
    rows = ["| kernel | arguments | results | dtypes | |", "|---|---|---|---|---|"]
    for k in contract.KERNELS:
        doc = re.sub(r"([|*\[\]])", r"\\\1", k.doc)
        rows.append(f"| `{k.name}` | `{k.args}` | `{k.out}` | {k.dtypes} | {doc} |")
    return rows


COLUMNS = "forward vjp jvp second_order bfloat16 float16 float32 float64 CPU GPU".split()


def ops() -> list[str]:
    """One row per op of the case tables, in alphabetical order."""
    tables: dict[str, list[cases.Case]] = {}
    for c in cases.all_cases():
        tables.setdefault(c.op, []).append(c)
    rows = ["| op | rows | " + " | ".join(COLUMNS).replace("_", " ") + " |"]
    rows.append("|---" * (len(COLUMNS) + 2) + "|")
    return rows + [op_row(op, tables[op]) for op in sorted(tables)]


def op_row(op: str, rows: list[cases.Case]) -> str:
    """What the tests show of one op: what at least one of its rows is run with."""
    tested = [c for c in rows if not c.bench]
    slopes = [c for c in tested if c.differentiable]
    floating = any(a.kind in ("float", "distinct") for c in tested for a in c.inputs)
    half = floating and any(c.half for c in tested)
    full = floating or not any(c.inputs for c in tested)
    second = any(c.second for c in slopes)
    marks = [True, bool(slopes), bool(slopes), second, half, half, full, full, True, False]
    return f"| `{op}` | {len(tested)} | " + " | ".join("x" if m else "" for m in marks) + " |"


PAGES = {"kernels.md": kernels, "ops.md": ops}


def renewed(name: str) -> str:
    """The text of a page with its table renewed."""
    head, rest = (DOCS / name).read_text().split(START)
    return head + START + "\n".join(PAGES[name]()) + "\n" + END + rest.split(END)[1]


if __name__ == "__main__":
    stale = [name for name in PAGES if renewed(name) != (DOCS / name).read_text()]
    if "--check" in sys.argv:
        sys.exit(f"out of date: {stale}; run python tools/tables.py" if stale else 0)
    for name in stale:
        (DOCS / name).write_text(renewed(name))
