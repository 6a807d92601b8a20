"""The clock, the gate in front of it, the report and its schema."""

import copy
import importlib.util
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import bench, cases, kernels, nn
from tilegrad.bench import kernel_calls, run
from tilegrad.bench.report import busy, machine
from tilegrad.bench.timing import Timing, measure, verdict
from tilegrad.cases import Arg, Case
from tilegrad.errors import DataError, PackageError
from tilegrad.kernels import contract


def wait(seconds):
    def f():
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    return f


# --- timing ---------------------------------------------------------------------------------------
def test_times_are_those_of_the_work():
    slow, fast = measure([wait(4e-3), wait(2e-4)], budget=0.1)
    assert 4e-3 <= slow.low <= slow.median <= slow.high
    assert 2e-4 <= fast.median < slow.median
    assert slow.calls == 1 <= fast.calls and slow.samples == fast.samples >= 5
    assert verdict(fast, slow) == "faster" and verdict(slow, fast) == "slower"


def test_candidates_take_turns():
    order = []
    measure([lambda: order.append(0) or wait(2e-3)(), lambda: order.append(1) or wait(2e-3)()],
            budget=0.0, min_samples=4)  # fmt: skip
    assert order[-8:] == [0, 1, 1, 0, 0, 1, 1, 0]


def test_limits_of_measuring():
    t0 = time.perf_counter()
    (t,) = measure([wait(1e-3)], budget=10.0, max_samples=6)
    assert t.samples == 6 and time.perf_counter() - t0 < 5.0
    (t,) = measure([wait(2e-2)], budget=0.0, min_samples=3)
    assert t.samples == 3
    with pytest.raises(ZeroDivisionError):
        measure([lambda: 1 / 0])
    import gc

    assert gc.isenabled()


def test_quartiles_and_verdicts():
    t = bench.timing._summary([5.0, 1.0, 2.0, 3.0, 4.0], 7)
    assert t == Timing(3.0, 2.0, 4.0, 5, 7) and t.iqr == 2.0
    assert verdict(Timing(1, 0.9, 1.5, 5, 1), Timing(2, 1.4, 2.1, 5, 1)) == "undecided"


# --- kernel calls ---------------------------------------------------------------------------------
def step():
    x = tg.randn(4, 2, 6, 6)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(108, 5))
    nn.functional.cross_entropy(model(x), tg.tensor([0, 1, 2, 3])).backward()
    return model


def test_recording():
    step()
    with bench.recording() as calls:
        step()
    before = len(calls)
    step()
    assert len(calls) == before and kernels.host.__name__.startswith("tilegrad")
    by_name = {c.name: c for c in calls}
    conv = by_name["conv"]
    assert conv.label() == "conv (4, 2, 6, 6) (3, 2, 3, 3) (3,)"
    assert conv.flops() == 2 * 4 * 3 * 36 * 2 * 9
    grad = by_name["conv_grad_weight"]
    assert grad.flops() == conv.flops() and grad.terms(np.zeros((3, 2, 3, 3))) == 4 * 36
    assert by_name["linear"].flops() == 2 * 4 * 108 * 5
    assert any(c.label().startswith("relu_grad (") for c in calls)
    for c in calls:
        for a in c.args:
            assert not isinstance(a, np.ndarray) or a.base is None or a.flags.owndata


def test_flops_of_every_product():
    z = np.zeros
    for call, flops in (
        (("matmul", z((5, 1, 2, 3)), z((4, 3, 7))), 2 * 20 * 2 * 3 * 7),
        (("conv", z((2, 4, 9)), z((6, 2, 3)), None, (2,), ((1, 0),), (2,), 2), 2 * 2 * 3 * 36),
        (("conv_grad_input", z((2, 6, 3)), z((6, 2, 3)), (9,), (2,), ((1, 0),), (2,), 2),
         2 * 2 * 3 * 36),
        (("conv_grad_weight", z((2, 6, 3)), z((2, 4, 9)), (3,), (2,), ((1, 0),), (2,), 2),
         2 * 2 * 3 * 36),
        (("unary", 0, z(5)), 0),
    ):  # fmt: skip
        assert kernel_calls.Call(call[0], call[1:]).flops() == flops


def test_comparison_against_the_reference():
    with bench.recording() as calls:
        step()
    rows = bench.compare(calls, budget=0.0)
    assert sum(r.calls for r in rows) == len(calls)
    for r in rows:
        assert r.correct and r.time.median > 0 and r.reference.median > 0, r.label
        assert "/s" in r.speed


def test_a_wrong_kernel_gets_no_speed(monkeypatch):
    class Wrong:
        def __getattr__(self, name):
            target = getattr(true, name)
            if name != "matmul":
                return target
            return lambda a, b: target(a, b) * np.float32(1.01)

    with bench.recording() as calls:
        tg.matmul(tg.randn(8, 8), tg.randn(8, 8))
    true = kernels.host
    monkeypatch.setattr(kernels, "host", Wrong())
    (row,) = [r for r in bench.compare(calls, budget=0.0) if "matmul" in r.label]
    assert not row.correct and row.speed == "WRONG" and row.error == pytest.approx(0.01, rel=0.1)


def test_a_certain_classifier_is_not_called_wrong():
    """The loss of a certain prediction is a small difference of large terms."""
    x = tg.zeros(4, 10)
    x[:, 3] = 17.3
    x = (x + tg.rand(4, 10)).requires_grad_()
    with bench.recording() as calls:
        nn.functional.cross_entropy(x, tg.tensor([3, 3, 3, 3])).backward()
    assert all(r.correct for r in bench.compare(calls, budget=0.0))
    assert next(c for c in calls if c.name == "cross_entropy").floor() > 17


def test_differences():
    d = kernel_calls.difference
    a = np.array([1.0, np.nan, np.inf, 4.0])
    assert d(a, a) == 0.0
    assert d(np.array([1.0, np.nan, np.inf, 4.4]), a) == pytest.approx(0.1)
    assert d(np.array([1.0]), np.array([np.nan])) == math.inf
    assert d(np.array([np.inf]), np.array([1.0])) == math.inf
    assert d(np.zeros(2), np.zeros(3)) == d(np.zeros(2), np.zeros(2, np.float32)) == math.inf
    assert d(np.array([1e-3]), np.array([2e-3])) == pytest.approx(0.5)
    assert d(np.array([1e-3]), np.array([2e-3]), 1.0) == pytest.approx(1e-3)
    assert d(np.zeros(0), np.zeros(0)) == 0.0


# --- case rows ------------------------------------------------------------------------------------
CASE = Case("tiny", "exp", (Arg((50,)),), bench=True, flops=50.0, bytes=400.0)


def test_a_row_of_the_report():
    row = bench.run_case("elementwise", CASE, budget=0.0)
    assert row["correct"] and row["shapes"] == [[50]] and row["dtype"] == "float32"
    ours = row["candidates"]["tilegrad"]
    assert ours["gbytes"] == pytest.approx(400.0 / ours["seconds"] / 1e9)
    assert ours["low"] <= ours["seconds"] <= ours["high"]
    assert set(row["candidates"]) == {"tilegrad", "reference"}
    bench.validate(bench.report([row]))


def test_a_wrong_case_gets_no_speed():
    wrong = copy.copy(CASE)
    calls = []

    def sometimes(x):
        calls.append(1)
        y = tg.exp(x)
        return y if kernels.host.__name__.endswith("reference") and len(calls) > 1 else y * 1.001

    object.__setattr__(wrong, "call", sometimes)
    row = bench.run_case("elementwise", wrong, budget=0.0)
    assert not row["correct"] and row["error"] == pytest.approx(1e-3, rel=0.1)
    assert all(c["seconds"] is None for c in row["candidates"].values())
    bench.validate(bench.report([row]))


def test_selection():
    chosen = list(bench.select("elementwise/exp"))
    assert chosen and all(f == "elementwise" and c.op.startswith("exp") for f, c in chosen)
    assert all(c.bench for _, c in bench.select())
    assert list(bench.select("no such row")) == []


def test_peers():
    if importlib.util.find_spec("torch") is None:
        with pytest.raises(PackageError, match="PyTorch, which is not installed"):
            bench.run_case("elementwise", CASE, peers=("torch",), budget=0.0)
    else:
        for dtype in ("float32", "float64", "float16", "bfloat16"):
            row = bench.run_case("elementwise", CASE, dtype=dtype, peers=("torch",), budget=0.0)
            assert row["correct"] and row["candidates"]["torch"]["seconds"] > 0
    assert run.PEERS == ("torch",)


def test_the_schema_refuses():
    good = bench.report([bench.run_case("elementwise", CASE, budget=0.0)])
    bench.validate(good)
    row = good["rows"][0]

    def changed(**changes):
        return {**good, **changes}

    stopped = {**row, "correct": False}
    for bad, text in (
        ([], "report must be an object, got list"),
        (changed(schema=2), "report.schema is 2, expected 1"),
        (changed(extra=1), r"differing: \['extra'\]"),
        (changed(machine={}), "report.machine must have the keys"),
        (changed(rows=[{**row, "flops": "many"}]), r"rows\[0\].flops has the wrong type str"),
        (changed(rows=[{**row, "error": True}]), r"rows\[0\].error has the wrong type bool"),
        (changed(rows=[{**row, "candidates": {}}]), r"rows\[0\].candidates is empty"),
        (changed(rows=[stopped]), "is not correct, but tilegrad has a speed"),
    ):
        with pytest.raises(DataError, match=text):
            bench.validate(bad)
    assert set(machine()) == set(good["machine"])


@pytest.mark.skipif(kernels.host.__name__.endswith("reference"), reason="has no ways")
def test_the_ladder(monkeypatch):
    threads = kernels.host.num_threads()
    product = Case("product", "matmul", (Arg((20, 30)), Arg((30, 40))), bench=True)
    layer = Case("layer", "conv2d", (Arg((2, 16, 9, 9)), Arg((16, 16, 3, 3))), bench=True)
    for case, names in ((product, contract.MATMUL), (layer, contract.CONV)):
        first, *rungs = bench.ladder(case, budget=0.0)
        assert first.impl == "registers" and first.gflops > 0 and first.share == 1
        ways = [r for r in rungs if r.impl]
        assert [r.impl for r in ways] == list(names)
        for r in rungs:
            assert bool(r.why) != (r.gflops > 0) and r.share == pytest.approx(
                r.gflops / first.gflops / r.threads
            )
        assert {r.threads for r in rungs if not r.impl} == {1, threads}
        assert kernels.host.num_threads() == threads
    why = {r.impl: r.why for r in bench.ladder(layer, dtype="float64", budget=0.0)}
    assert (
        why["winograd_2x3"] == "needs 3 x 3 taps, strides of 1 and no float64" and not why["direct"]
    )
    assert list(bench.ladder(CASE, budget=0.0)) == []
    monkeypatch.setattr(bench.ladder.__globals__["reference"], "matmul", lambda a, b: 2 * (a @ b))
    assert all("WRONG" in r.why for r in bench.ladder(product, budget=0.0) if r.impl == "naive")


def test_a_busy_machine_is_named(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (9.5, 0.0, 0.0))
    assert "load 9.5 on 2 cores" in busy()
    monkeypatch.setattr("os.getloadavg", lambda: (1.5, 9.0, 9.0))
    assert busy() == ""


# --- recorded comparisons -------------------------------------------------------------------------
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("results/*.json")), ids=lambda p: p.stem)
def test_recorded_results_have_one_format(path):
    data = json.loads(path.read_text())
    assert (
        {"machine", "versions", "rows"} <= set(data) <= {"machine", "versions", "rows", "summary"}
    )
    assert {"processor", "isa", "cores"} <= set(data["machine"]) and "" not in data["versions"]
    seen = {(row["row"], row["threads"]) for row in data["rows"]}
    assert 0 < len(seen) == len(data["rows"])
    for row in data["rows"]:
        assert row["threads"] >= 1 and "tilegrad" in row["seconds"]
        for s in row["seconds"].values():
            assert 0 < s["low"] <= s["median"] <= s["high"]
        if "ratio" in row:
            r = row["ratio"]
            assert r["peer"] in row["seconds"] and 0 < r["low"] <= r["median"] <= r["high"]


def test_intervals_of_ratios():
    spec = importlib.util.spec_from_file_location("turns", BENCHMARKS / "turns.py")
    turns = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(turns)
    for rounds, outside in ((3, 0), (7, 0), (9, 1), (12, 2)):  # 95 % by the sign test
        r = turns._interval([1.0] * rounds, [float(i) for i in range(rounds, 0, -1)])
        assert (r["low"], r["high"]) == (1.0 + outside, rounds - outside)
        assert r["median"] == (rounds + 1) / 2


# --- check ----------------------------------------------------------------------------------------
def test_check_reports_families(monkeypatch):
    def doubled(x):
        return tg.exp(x) * (1.0 if kernels.host.__name__.endswith("reference") else 1.5)

    def raising(x):
        raise ValueError("no")

    small = [
        Case("good", "exp", (Arg((5,)),)),
        Case("large", "exp", (Arg((5,)),), bench=True),
        Case("bad", "exp", (Arg((5,)),), call=raising),
    ]
    monkeypatch.setattr(cases, "load", lambda: {"some": small})
    (outcome,) = bench.check(("float64",))
    assert (outcome.family, outcome.rows) == ("some", 2)
    isas = list(getattr(kernels.host, "isas", lambda: [""])())
    assert list(outcome.worst) == isas and max(outcome.worst.values()) <= 1.0
    failures = [f"{isa} exp-bad float64: ValueError: no".lstrip() for isa in isas]
    assert outcome.failures == failures
    if not kernels.host.__name__.endswith("reference"):
        error = bench.check.__globals__["check_case"](
            Case("off", "exp", (Arg((5,)),), call=doubled), "float64"
        )
        assert error > 1e6
