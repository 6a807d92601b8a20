"""Functions and layers against numbers that PyTorch computed (tests/pytorch_reference.json)."""

import json

import pytest
from pytorch_reference import FILE, ROWS, evaluate

import tilegrad as tg

# PyTorch itself rounds some constants of its float64 kernels to float32 (1/6 in hardsigmoid).
CLOSE = {"rel": 1e-7, "abs": 1e-8}
STORED = json.loads(FILE.read_text())


def test_the_file_holds_every_row():
    assert list(STORED["rows"]) == [row[0] + json.dumps(row[1]) for row in ROWS]
    assert STORED["source"] == "PyTorch 2.13.0"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_same_numbers(row):
    shapes, value, slopes = STORED["rows"][row[0] + json.dumps(row[1])]
    got = evaluate(tg, tg.from_numpy, row)
    assert got[0] == shapes
    assert got[1] == pytest.approx(value, **CLOSE)
    assert got[2] == pytest.approx(slopes, **CLOSE)
