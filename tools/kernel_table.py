"""Writes the table of kernels in docs/kernels.md from the contract; ``--check`` only compares."""

import re
import sys
from pathlib import Path

from tilegrad.kernels import contract

PAGE = Path(__file__).parent.parent / "docs" / "kernels.md"
START, END = "<!-- table -->\n", "<!-- end of table -->\n"


def table() -> str:
    """One row per entry; marks of Markdown in the texts are escaped."""
    rows = ["| kernel | arguments | results | dtypes | |", "|---|---|---|---|---|"]
    for k in contract.KERNELS:
        doc = re.sub(r"([|*\[\]])", r"\\\1", k.doc)
        rows.append(f"| `{k.name}` | `{k.args}` | `{k.out}` | {k.dtypes} | {doc} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """The page with its table renewed."""
    text = PAGE.read_text()
    head, rest = text.split(START)
    return head + START + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    stale = page() != PAGE.read_text()
    if "--check" in sys.argv:
        sys.exit("docs/kernels.md is out of date: run python tools/kernel_table.py" if stale else 0)
    PAGE.write_text(page())
