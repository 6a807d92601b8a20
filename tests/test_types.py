"""Types: the stubs are those of the live signatures, and a type checker accepts what is right."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WRONG = """
import tilegrad as tg

x: str = tg.ones(2).reshape(1, 2)
tg.ones(2).reshap(2)
tg.tanh(tg.ones(2), other=1)
x.permute
"""


def test_stubs_are_up_to_date():
    check = [sys.executable, ROOT / "tools" / "stubs.py", "--check"]
    r = subprocess.run(check, capture_output=True, text=True)
    assert r.returncode == 0, r.stdout + r.stderr


def mypy(*args):
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", *args]
    r = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr


def test_the_package_is_consistent():
    status, text = mypy()
    assert status == 0, text


def test_a_typed_program_is_accepted():
    status, text = mypy("--strict", "--follow-imports=silent", "tests/typed_example.py")
    assert status == 0, text


def test_wrong_use_is_rejected(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    status, text = mypy("--follow-imports=silent", str(file))
    assert status == 1
    lines = [int(line.split(":")[1]) for line in text.splitlines() if ": error:" in line]
    assert lines == [4, 5, 6, 7], text
