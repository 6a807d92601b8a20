"""The C++ core: memory pool, threads, instruction sets, fork, denormals, size checks."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import kernels

cpu = pytest.importorskip("tilegrad._cpu")
ONE = np.ones((), np.float32)


def in_child(code, **env):
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture
def threads():
    before = cpu.num_threads()
    yield cpu.set_num_threads
    cpu.set_num_threads(before)


def test_pool_reuses_and_releases():
    cpu.empty_cache()
    a = cpu.full((1 << 20,), np.dtype("f4"), ONE)
    assert a.ctypes.data % 64 == 0 and a.flags.owndata
    address, used = a.ctypes.data, cpu.memory_stats()["in_use"]
    del a
    assert cpu.memory_stats()["in_use"] <= used - (4 << 20)
    b = cpu.full((1 << 20,), np.dtype("f4"), ONE)
    if not os.environ.get("TILEGRAD_SANITIZED"):
        assert b.ctypes.data == address
    del b
    cached = cpu.memory_stats()["cached"]
    assert cpu.empty_cache() == cached and cpu.memory_stats()["cached"] == 0


def test_arrays_outlive_and_cross_threads():
    made = []
    t = threading.Thread(target=lambda: made.append(cpu.full((1000,), np.dtype("f4"), ONE)))
    t.start()
    t.join()
    assert made.pop().sum() == 1000
    a = cpu.full((3,), np.dtype("f4"), ONE)
    a.resize(5, refcheck=False)  # NumPy reallocates through the pool
    assert a.tolist()[:3] == [1, 1, 1]


def test_peak_memory():
    cpu.reset_peak_memory()
    before = cpu.memory_stats()["peak"]
    cpu.full((1 << 18,), np.dtype("f8"), np.ones(()))
    assert cpu.memory_stats()["peak"] >= before + (2 << 20)


@pytest.mark.parametrize(
    "shape", [(2**62,), (2**31, 2**31, 4), (2**40,), (10**6, 10**6, 10**6)], ids=str
)
def test_too_large_raises_before_touching(shape):
    with pytest.raises(MemoryError, match=r"^full|^zeros"):
        tg.zeros(shape)
    assert tg.zeros(2).tolist() == [0, 0]


def test_negative_size():
    with pytest.raises(ValueError, match=r"zeros: negative size in shape \(2, -1\)"):
        tg.zeros(2, -1)


@pytest.mark.parametrize("n", [1, 2, 3, 64])
def test_threads_give_the_same_result(threads, n):
    threads(n)
    assert cpu.num_threads() == n
    x = np.random.default_rng(0).standard_normal((700, 301)).astype("f4")
    np.testing.assert_array_equal(cpu.copy(x.T, "C"), x.T)
    np.testing.assert_array_equal(cpu.copy(x[::-2, ::3], "K"), x[::-2, ::3])


def test_two_python_threads_at_once(threads):
    threads(2)
    x = np.random.default_rng(0).standard_normal((500, 501)).astype("f4")
    bad = []

    def work():
        for _ in range(50):
            if not np.array_equal(cpu.copy(x.T, "C"), x.T):
                bad.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not bad


def test_fork_after_kernels_ran(threads):
    threads(2)
    x = np.ones((1000, 1000), np.float32)
    cpu.copy(x)
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            os._exit(0 if cpu.copy(x).sum() == x.size else 1)
        assert os.waitpid(pid, 0)[1] == 0


def test_environment_sets_threads_and_isa():
    code = "import tilegrad._cpu as c; print(c.num_threads(), c.isa())"
    last = cpu.isas()[-1]
    assert in_child(code, TILEGRAD_NUM_THREADS="3", TILEGRAD_CPU_ISA=last) == f"3 {last}"
    assert in_child(code, TILEGRAD_NUM_THREADS="no").split()[0] != "no"


def test_threads_follow_affinity():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import tilegrad._cpu as c; print(c.num_threads())"
    )
    assert in_child(code, TILEGRAD_NUM_THREADS="") == "1"


def test_unknown_isa():
    with pytest.raises(ValueError, match="unknown instruction set 'sse9'"):
        cpu.set_isa("sse9")


def test_reference_runs_the_library():
    code = (
        "import tilegrad as tg; x = tg.tensor([3.0], requires_grad=True)\n"
        "(x * x).backward(); print(x.grad.item(), tg.kernels.host.__name__)"
    )
    out = in_child(code, TILEGRAD_KERNELS="reference")
    assert out == "6.0 tilegrad.kernels.reference"


def test_denormals_are_flushed_inside_kernels_only():
    tiny = np.full(64, 1e-42, np.float32)
    with kernels.use("cpu") as k:
        add = k.binary(0, tiny, tiny)
        assert (add == 0).all()
        assert (k.copy(tiny) == tiny).all()
    assert np.float32(1e-42) * np.float32(2) != 0  # the caller's mode is restored


def test_foreign_arrays_are_refused_by_name():
    for bad in (np.zeros(3, ">f4"), np.zeros(3, "c8"), np.zeros(3, object), [1.0]):
        with pytest.raises((TypeError, ValueError), match=r"^copy: x"):
            cpu.copy(bad)
    with pytest.raises(ValueError, match="dst is read-only"):
        frozen = np.zeros(3)
        frozen.flags.writeable = False
        cpu.copy_into(frozen, np.zeros(3))


def test_copy_into_overlapping_memory():
    a = np.arange(10.0)
    cpu.copy_into(a[1:], a[:-1])
    assert a.tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    b = np.arange(6.0)
    cpu.copy_into(b, b[::-1])
    assert b.tolist() == [5, 4, 3, 2, 1, 0]
