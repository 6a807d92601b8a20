"""The mutation score's own test: it catches planted faults of several kinds, lets those pass that
change nothing, and refuses to count when the tests fail by themselves."""

import subprocess
import sys
from pathlib import Path

import pytest

from tilegrad import kernels

pytestmark = pytest.mark.skipif(
    kernels.host.__name__ != "tilegrad._cpu", reason="faults are planted in the extension"
)
HERE = Path(__file__).parent
TESTS = [str(HERE / "test_ops.py"), "-k", "softmax-last or max_pool2d-lenet or mul-broadcast_row"]
CAUGHT = [
    "_softmax_vjp: g * out -> g (missing factor)",
    "elementwise.vjp: sum_to(t, shape) -> t (missing broadcast reduction)",
    "rule mul fused: gradients 0, 1 -> gradients 1, 0 (wrong operand)",
    "rule mul saves: input 0, checked -> input 0, not checked (stale saved value)",
    "kernel softmax_grad: as written -> axis - 1 (wrong axis)",
    "kernel max_pool_grad: as written -> places moved by one (off by one)",
    "_scatter: record(SCATTER, y, (g, indices)) -> _mutant_new(y) (cut tape)",
]


def score(*arguments):
    command = [sys.executable, str(HERE / "mutation"), "--jobs", "1", *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def test_faults_are_caught():
    only = [word for text in CAUGHT for word in ("--only", text)]
    code, out = score(*only, "--", *TESTS)
    assert (code, f"caught/planted = {len(CAUGHT)}/{len(CAUGHT)} = 100.0 %" in out) == (0, True), (
        out
    )


def test_what_changes_nothing_is_not_caught():
    code, out = score("--equivalent", "--only", "_mul_fused", "--", *TESTS)
    assert (code, "survived: ops/binary.py" in out, "caught/planted = 0/2" in out) == (
        0, True, True
    ), out  # fmt: skip


def test_failing_tests_are_refused(tmp_path):
    bad = tmp_path / "test_bad.py"
    bad.write_text("def test_bad():\n    assert False\n")
    code, out = score("--", str(bad))
    assert (code, "without a fault these fail" in out) == (2, True), out
