"""The profiler: its rows add up, name the right lines and agree with the allocator."""

import inspect
import json
import math
import time

import pytest

import tilegrad as tg
from tilegrad import kernels
from tilegrad.demo.lenet import lenet5
from tilegrad.diagnostics.profiler import OVERHEAD, roof

needs_pool = pytest.mark.skipif(not hasattr(kernels.host, "memory_stats"), reason="no pool")


def here(offset=0):
    """``file:line`` of the caller, offset lines further down."""
    frame = inspect.currentframe().f_back
    return f"{__file__}:{frame.f_lineno + offset}"


def find(p, op, backward=False):
    return [r for r in p.rows if r.op == op and r.backward is backward]


def test_a_training_step_of_lenet():
    model = lenet5()
    optimizer = tg.optim.SGD(model.parameters(), lr=0.01)
    x, y = tg.randn(32, 1, 28, 28), tg.randint(0, 10, (32,))
    steps = 5
    profile = tg.profile()
    began = time.perf_counter()
    with profile as p:
        inside = time.perf_counter()
        for _ in range(steps):
            loss = tg.nn.functional.cross_entropy(model(x), y)
            forward = here(-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            update = here(-1)
        inside = time.perf_counter() - inside
    wall = time.perf_counter() - began
    assert math.isclose(sum(r.seconds for r in p.rows), p.seconds, rel_tol=1e-9)
    assert inside - 1e-6 < p.seconds < wall + 1e-6
    assert p.rows[-1].op == OVERHEAD and 0 < p.rows[-1].seconds < wall
    assert all(r.seconds > 0 for r in p.rows)
    convs, grads, linears = (
        sorted(find(p, *what), key=lambda r: r.module)
        for what in (("conv",), ("conv_grad_weight", True), ("linear",))
    )
    (sgd,) = find(p, "sgd_step")
    layers = {type(m): [] for m in model.modules()}
    for name, m in model.named_modules():
        layers[type(m)].append(f"{type(model).__name__}.{name}")
    assert [r.module for r in convs] == [r.module for r in grads] == layers[tg.nn.Conv2d]
    assert [r.module for r in linears] == layers[tg.nn.Linear]
    assert sgd.module == ""
    assert [r.calls for r in (*convs, *grads, *linears, sgd)] == [steps] * 8
    assert {r.where for r in (*convs, *grads, *linears)} == {forward} and sgd.where == update
    flops = [steps * 2 * 32 * n for n in (6 * 25 * 28 * 28, 16 * 6 * 25 * 10 * 10)]
    assert [r.flops for r in convs] == [r.flops for r in grads] == flops
    sizes = (400 * 120, 120 * 84, 84 * 10)
    assert [r.flops for r in linears] == [steps * 2 * 32 * n for n in sizes]
    assert [r.made for r in convs] == [steps * 4 * 32 * n for n in (6 * 28 * 28, 16 * 10 * 10)]


def test_what_takes_long_comes_first():
    x = tg.ones(1500, 1500)
    with tg.profile() as p:
        y = x @ x
        product = here(-1)
        y[0].sum()
        time.sleep(0.02)
    top = p.rows[0]
    assert (top.op, top.where, top.calls, top.backward) == ("matmul", product, 1, False)
    assert top.rate == top.flops / top.seconds and top.flops == 2 * 1500**3
    assert p.rows[-1].op == OVERHEAD and p.rows[-1].seconds >= 0.02


def test_a_planted_waste_is_named():
    x = tg.ones(64, 200_000)
    with tg.profile() as p:
        small = x[:, :1000] * 2.0
        for _ in range(3):
            wasted = x.double()
            line = here(-1)
            small = small + wasted[:, :1000].float()
    assert (p.rows[0].op, p.rows[0].where, p.rows[0].calls) == ("cast", line, 3)
    assert p.rows[0].made == 3 * 8 * x.numel()


def work():
    a = tg.ones(1000, 1000)
    b = a * 2.0
    del a
    c = b * 3.0
    return (b + c).sum()


@needs_pool
def test_memory_agrees_with_the_allocator():
    with tg.no_grad():
        work()
        before = tg.memory_stats()["in_use"]
        tg.reset_peak_memory()
        work()
        expected = tg.memory_stats()["peak"]
        with tg.profile() as p:
            work()
    assert p.peak == pytest.approx(expected, rel=0.02)
    assert sum(n for _, n in p.owners) == p.peak
    first = work.__code__.co_firstlineno
    held = {int(w.rpartition(":")[2]): n for w, n in p.owners if w.startswith(__file__)}
    assert held == {first + 2: 4_000_000, first + 4: 4_000_000, first + 5: 4_000_004}
    owners = dict(p.owners)  # the rest: 2 MiB pages, and what other tests left
    rest = p.peak - sum(held.values()) - owners.get("working space", 0)
    assert rest - before < 3 * 2**21 and dict(p.owners)["from before, and rounding"] == rest


@needs_pool
def test_working_space_is_no_ones_line():
    x, w = tg.randn(4, 32, 40, 40), tg.randn(32, 32, 5, 5)
    with tg.profile() as p:
        tg.nn.functional.conv2d(x, w)
        line = here(-1)
    assert dict(p.owners)[line] == 4 * 4 * 32 * 36 * 36
    assert dict(p.owners).get("working space", 0) > 0


def test_shown():
    x = tg.ones(300, 300, requires_grad=True)
    with tg.profile() as p:
        (x @ x).sum().backward()
    lines = str(p).splitlines()
    assert lines[0].split() == "op line module calls ms time speed of roof made".split()
    assert any(
        s.startswith("matmul") and "test_profile.py:" in s and " backward " in s and "GFLOP/s" in s
        for s in lines
    )
    for start in (OVERHEAD, "together", "roof, measured once"):
        assert len([s for s in lines if s.startswith(start)]) == 1
    assert lines[-1].startswith("peak memory ") is (p.peak is not None)
    assert (
        str(p) == p.table() and len(p.table(limit=1).splitlines()) == len(lines) - len(p.rows) + 3
    )
    data = json.loads(p.json())
    assert data["seconds"] == p.seconds and len(data["rows"]) == len(p.rows)
    assert data["roof"] == roof()._asdict() and roof() is roof()
    assert sum(r["seconds"] for r in data["rows"]) == pytest.approx(p.seconds)


def test_the_roof_is_that_of_large_work():
    x = tg.ones(1024, 1024)
    with tg.profile() as p:
        for _ in range(5):
            x @ x
    (row,) = find(p, "matmul")
    assert 0.1 < row.rate / roof().flops < 3.0


def test_modules_are_followed_and_let_go():
    plain = tg.nn.Module.__call__
    model = tg.nn.Sequential(tg.nn.Linear(4, 3), tg.nn.Sequential(tg.nn.Linear(3, 2)))
    with pytest.raises(ZeroDivisionError), tg.profile() as p:
        model(tg.ones(5, 4)).sum()
        tg.ones(2, 2) @ tg.ones(2, 2)
        raise ZeroDivisionError
    assert tg.nn.Module.__call__ is plain
    found = {(r.op, r.module) for r in p.rows if r.flops}
    assert found == {("linear", "Sequential.0"), ("linear", "Sequential.1.0"), ("matmul", "")}
    assert "Sequential.1.0" in p.table()
