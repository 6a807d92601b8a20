"""The workers of a DataLoader: the same batches from any of them, errors, ends, resumption."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import data
from tilegrad.errors import StateError, WorkerError
from tilegrad.errors import ValueError as TgValueError

KINDS = [("processes", 0), ("processes", 1), ("processes", 3), ("threads", 1), ("threads", 3)]


class Noisy(data.Dataset):
    """Samples with random numbers in them."""

    def __len__(self):
        return 23

    def __getitem__(self, i):
        return {"i": i, "noise": tg.rand(3), "name": str(i), "array": np.full((i % 3, 2), i)[:1]}


def noisy_collate(samples):
    return [(s["i"], s["noise"].tolist(), s["name"], s["array"].tolist()) for s in samples]


class Numbers(data.IterableDataset):
    """A stream that shares itself out among the workers, with random numbers in it."""

    def __iter__(self):
        info = data.get_worker_info()
        share, step = (info.id, info.num_workers) if info else (0, 1)
        for i in range(share, 11, step):
            yield i, tg.rand(1)


class Failing(data.Dataset):
    """Fails at position 5 in the way it is told."""

    def __init__(self, fail):
        self.fail = fail

    def __len__(self):
        return 8

    def __getitem__(self, i):
        if i == 5:
            return self.fail()
        return i


def loader(workers="processes", n=0, **options):
    options = {"shuffle": True, "collate_fn": noisy_collate, **options}
    return data.DataLoader(Noisy(), 4, num_workers=n, workers=workers, **options)


def two_passes(*args, **options):
    """The batches of two passes, beside a program that draws random numbers too."""
    tg.manual_seed(3)
    batches, own = loader(*args, **options), []
    found = []
    for _ in range(2):
        for b in batches:
            own.append(tg.rand(1).item())
            found.append(b)
    return found, own


# --- the same batches -----------------------------------------------------------------------------
@pytest.mark.parametrize(("workers", "n"), KINDS[1:])
@pytest.mark.parametrize("options", [{}, {"persistent_workers": True, "prefetch_factor": 5}])
def test_any_workers_give_the_same_batches(workers, n, options):
    expected = two_passes()
    assert two_passes(workers, n, **options) == expected
    assert len(expected[0]) == 12 and expected[0][:6] != expected[0][6:]
    for some in (expected[0][:6], expected[0][6:]):
        assert sorted(i for batch in some for i, *_ in batch) == list(range(23))
    noise = [tuple(x) for batch in expected[0] for _, x, *_ in batch]
    assert len(set(noise)) == 46  # no two samples, no two passes


def test_spawned_workers_give_the_same_batches():
    assert two_passes("processes", 1, multiprocessing_context="spawn") == two_passes()


def test_generators_of_processes_are_seeded():
    def draw(i):
        return random.random(), np.random.random()

    def run(n):
        tg.manual_seed(1)
        d = data.Subset([0] * 9, range(9))
        return [draw for (draw,) in data.DataLoader(d, num_workers=n, collate_fn=list_of(draw))]

    assert run(1) == run(3)
    assert len(set(run(1))) == 9


def list_of(fn):
    return lambda samples: [fn(s) for s in samples]


@pytest.mark.parametrize(("workers", "n"), KINDS)
def test_batches_arrive_as_they_left(workers, n):
    samples = [
        {
            "half": tg.full((2, 3), float(i), dtype=tg.bfloat16),
            "large": np.full((300 * i + 1, 50), i, np.float32),
            "empty": tg.zeros(0, 4),
            "turned": tg.arange(6).reshape(2, 3).t(),
            "leaf": tg.tensor([1.0], requires_grad=True),
            "rest": [None, "text", {"k": (1, 2.5)}],
        }
        for i in range(6)
    ]
    found = list(data.DataLoader(samples, None, num_workers=n, workers=workers))
    assert len(found) == 6
    for a, b in zip(found, samples, strict=True):
        assert a["half"].dtype == tg.bfloat16 and a["half"].tolist() == b["half"].tolist()
        np.testing.assert_array_equal(a["large"], b["large"])
        a["large"] += 1  # the receiver's own
        assert a["empty"].shape == (0, 4) and a["turned"].tolist() == b["turned"].tolist()
        assert a["leaf"].requires_grad and a["rest"] == b["rest"]


@pytest.mark.parametrize(("workers", "n"), KINDS)
def test_streams(workers, n):
    stream = data.DataLoader(Numbers(), 2, num_workers=n, workers=workers)
    for _ in range(2):
        numbers = [i for x, _ in stream for i in x.tolist()]
        assert sorted(numbers) == list(range(11))
    if n < 2:
        assert numbers == list(range(11))


@pytest.mark.parametrize(("workers", "n"), KINDS[1:])
def test_worker_info_and_init(workers, n):
    seen = []

    class Asking(data.Dataset):
        def __len__(self):
            return 6

        def __getitem__(self, i):
            info = data.get_worker_info()
            return info.id, info.num_workers, info.dataset is self, seen.copy(), info.seed

    rows = list(data.DataLoader(Asking(), None, num_workers=n, workers=workers,
                                worker_init_fn=seen.append))  # fmt: skip
    assert [r[:3] for r in rows] == [(i % n, n, True) for i in range(6)]
    assert all(r[0] in r[3] for r in rows) and len({r[4] for r in rows}) == 6
    assert data.get_worker_info() is None
    if workers == "processes":
        assert seen == [] and all(r[3] == [r[0]] for r in rows)


@pytest.mark.skipif(not hasattr(tg.kernels.host, "num_threads"), reason="no threads")
def test_a_worker_process_uses_one_thread():
    rows = list(data.DataLoader(range(3), None, num_workers=1, collate_fn=threads))
    assert rows == [1, 1, 1]


def threads(_):
    return tg.get_num_threads()


def test_loading_is_ahead():
    asked = []

    class Watched(data.Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, i):
            asked.append(i)
            return i

    it = iter(data.DataLoader(Watched(), 2, num_workers=2, workers="threads", prefetch_factor=3))
    assert next(it).tolist() == [0, 1]
    until = time.monotonic() + 60
    while len(asked) < 14 and time.monotonic() < until:  # one batch given, six ahead
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(asked) == list(range(14))


# --- errors ---------------------------------------------------------------------------------------
def fail_key():
    raise KeyError("five")


class Unsendable(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def fail_unsendable():
    raise Unsendable(1, 2)


def fail_exit():
    os._exit(7)


def fail_kill():
    os.kill(os.getpid(), signal.SIGKILL)


def fail_lock():
    return threading.Lock()


def fail_slow():
    time.sleep(600)


@pytest.mark.parametrize(("workers", "n"), KINDS)
def test_an_error_arrives_with_its_traceback(workers, n):
    with pytest.raises(KeyError, match="five") as e:
        list(data.DataLoader(Failing(fail_key), 2, num_workers=n, workers=workers))
    if workers == "processes" and n:
        (note,) = e.value.__notes__
        assert f"raised in worker {2 % n} (process" in note
        assert "in fail_key" in note and 'raise KeyError("five")' in note
    else:
        assert "fail_key" in [f.name for f in e.traceback]


def test_what_cannot_be_sent():
    with pytest.raises(WorkerError, match="Unsendable in a worker: 1 and 2") as e:
        list(data.DataLoader(Failing(fail_unsendable), None, num_workers=1))
    assert "in fail_unsendable" in e.value.__notes__[-1]
    with pytest.raises(TypeError, match="cannot pickle"):
        list(data.DataLoader(Failing(fail_lock), None, num_workers=1))


def test_the_death_of_a_worker_is_told():
    with pytest.raises(WorkerError, match=r"worker 1 \(process \d+\) died: exit 7"):
        list(data.DataLoader(Failing(fail_exit), None, num_workers=2))
    with pytest.raises(WorkerError, match=r"worker 1 \(process \d+\) died: killed by signal 9"):
        list(data.DataLoader(Failing(fail_kill), None, num_workers=2))


def children():
    return {
        int(line.split()[0])
        for line in subprocess.run(
            ["ps", "-o", "pid=,comm=", "--ppid", str(os.getpid())], capture_output=True, text=True
        ).stdout.splitlines()
        if "ps" not in line.split()[1]
    }


def test_no_process_is_left():
    before = children()
    it = iter(data.DataLoader(Noisy(), 2, num_workers=2, collate_fn=noisy_collate))
    next(it)
    assert len(children() - before) == 2
    del it
    assert children() - before == set()
    with pytest.raises(WorkerError, match=r"worker 0 .* gave no batch in 0.2 s"):
        list(data.DataLoader(Failing(fail_slow), None, sampler=[5], num_workers=1, timeout=0.2))
    assert children() - before == set()
    keeping = loader(n=2, persistent_workers=True)
    list(keeping)
    kept = children() - before
    list(keeping)
    assert children() - before == kept and len(kept) == 2
    del keeping
    gc.collect()
    assert children() - before == set()


def test_persistent_workers_come_anew_after_an_error():
    flag = threading.Event()

    def fail():
        return flag.is_set() or fail_key()

    d = Failing(fail)
    for n, workers in ((2, "processes"), (2, "threads")):
        flag.clear()
        keeping = data.DataLoader(d, None, num_workers=n, workers=workers, persistent_workers=True)
        before = children()
        with pytest.raises(KeyError):
            list(keeping)
        assert children() == before
        flag.set()
        assert list(keeping) == [0, 1, 2, 3, 4, True, 6, 7]
        if workers == "processes":
            os.kill(next(iter(children() - before)), signal.SIGKILL)
            with pytest.raises(WorkerError, match="killed by signal 9"):
                list(keeping)
            assert list(keeping) == [0, 1, 2, 3, 4, True, 6, 7]


def test_persistent_workers_serve_one_pass():
    keeping = loader(n=2, persistent_workers=True)
    first = iter(keeping)
    next(first)
    second = iter(keeping)
    with pytest.raises(WorkerError, match="persistent and serve a later pass"):
        next(first)
    assert len(list(second)) == 6 and len(list(keeping)) == 6


PROGRAM = """
import os, sys, time
from tilegrad import data

class Slow(data.Dataset):
    def __len__(self):
        return 1000
    def __getitem__(self, i):
        time.sleep(0.02)
        return os.getpid(), i

if __name__ == "__main__":
    loader = data.DataLoader(Slow(), None, num_workers=2, workers=sys.argv[1])
    pids = set()
    for pid, i in loader:
        pids.add(pid)
        if i == 5:
            print(*pids, flush=True)
"""


@pytest.mark.parametrize("workers", ["processes", "threads"])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_signals_end_everything(workers, sign, tmp_path):
    """A signal to the process group, as Ctrl-C sends it, or a kill: no hang, orphan or noise."""
    (tmp_path / "program.py").write_text(PROGRAM)
    p = subprocess.Popen(
        [sys.executable, tmp_path / "program.py", workers],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    pids = [int(n) for n in p.stdout.readline().split()]
    assert len(pids) == (2 if workers == "processes" else 1)
    (os.killpg if sign == signal.SIGINT else os.kill)(p.pid, sign)
    _, err = p.communicate(timeout=300)
    assert p.returncode == -sign
    if sign == signal.SIGINT:
        assert err.count("Traceback") == 1 and err.rstrip().endswith("KeyboardInterrupt")
    else:
        assert err == ""
    until = time.monotonic() + 300
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(alive, pids))


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"prefetch_factor": 2}, "prefetch_factor needs num_workers above 0"),
        ({"persistent_workers": True}, "persistent_workers needs num_workers above 0"),
        ({"timeout": 3}, "timeout needs num_workers above 0"),
        ({"multiprocessing_context": "fork"}, "multiprocessing_context needs num_workers above 0"),
        ({"num_workers": 1, "timeout": -1}, "timeout must not be negative, got -1"),
        ({"num_workers": 1, "prefetch_factor": 0}, "prefetch_factor must be at least 1, got 0"),
        ({"workers": "fibres"}, "workers expects 'processes' or 'threads', got 'fibres'"),
    ],
)
def test_worker_options_refused(options, text):
    with pytest.raises(TgValueError, match=text):
        data.DataLoader(range(3), **options)


# --- resumption -----------------------------------------------------------------------------------
SAMPLERS = {
    "shuffle": lambda g: {"shuffle": True, "generator": g},
    "replacement": lambda g: {"sampler": data.RandomSampler(range(23), True, 23, generator=g)},
    "apart": lambda g: {"sampler": data.RandomSampler(range(23)), "generator": g},
    "weighted": lambda g: {"sampler": data.WeightedRandomSampler([1.0] * 23, 23, generator=g)},
    "batches": lambda g: {
        "batch_sampler": data.BatchSampler(data.RandomSampler(range(23), generator=g), 4, False)
    },
}


def resumable(sampler, own, n=0, workers="processes"):
    options = SAMPLERS[sampler](tg.Generator().manual_seed(8) if own else None)
    size = {} if sampler == "batches" else {"batch_size": 4}
    return data.DataLoader(
        Noisy(), **size, collate_fn=noisy_collate, num_workers=n, workers=workers, **options
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("own", [False, True], ids=["default", "own"])
def test_a_run_resumed_anywhere_is_the_same(sampler, own, tmp_path):
    """Three passes, saved after every batch and between passes; the rest is the same each time."""
    tg.manual_seed(5)
    batches, found, states = resumable(sampler, own), [], []
    for _ in range(3):
        states.append((len(found), batches.state_dict(), tg.get_rng_state()))
        for b in batches:
            found.append((b, tg.rand(1).item()))
            states.append((len(found), batches.state_dict(), tg.get_rng_state()))
    assert len(found) == 18
    for k, (n, workers) in enumerate([(0, "processes"), (2, "threads")]):
        for done, state, rng in states[k :: 1 + 3 * k]:
            tg.manual_seed(99)
            other = resumable(sampler, own, n, workers)
            tg.save({"loader": state}, tmp_path / "state.safetensors")
            other.load_state_dict(tg.load(tmp_path / "state.safetensors")["loader"])
            tg.set_rng_state(rng)
            rest = []
            while done + len(rest) < 18:
                rest += [(b, tg.rand(1).item()) for b in other]
            assert rest == found[done:], (done, n)


@pytest.mark.parametrize(("workers", "n"), KINDS)
def test_a_stream_resumes(workers, n):
    def stream(n, workers):
        return data.DataLoader(Numbers(), 2, num_workers=n, workers=workers, collate_fn=list)

    tg.manual_seed(5)
    whole = [str(b) for b in stream(n, workers)]
    tg.manual_seed(5)
    batches = stream(n, workers)
    it = iter(batches)
    next(it), next(it)
    state = batches.state_dict()
    assert (state["epoch"], state["batch"]) == (0, 2)
    del it
    other = stream(n, workers)
    other.load_state_dict(state)
    assert [str(b) for b in other] == whole[2:]
    assert other.state_dict() == {"epoch": 1, "batch": 0, "start": None, "generator": None}


def test_an_abandoned_pass_counts():
    batches = data.DataLoader(range(10), 2, shuffle=True, generator=1)
    for _ in batches:
        break
    assert (batches.state_dict()["epoch"], batches.state_dict()["batch"]) == (0, 1)
    for _ in batches:
        break
    assert (batches.state_dict()["epoch"], batches.state_dict()["batch"]) == (1, 1)
    copy = data.DataLoader(range(10), 2, shuffle=True, generator=4)
    copy.load_state_dict(batches.state_dict())
    assert copy.state_dict()["batch"] == 1
    assert len(list(copy)) == 4 and len(list(copy)) == 5


def test_other_states_are_refused():
    batches = data.DataLoader(range(10), 2, shuffle=True, generator=1)
    it = iter(batches)
    next(it), next(it), next(it)
    state = batches.state_dict()
    before = batches.generator.get_state().tolist()
    for wrong in (
        {}, {**state, "batch": -1}, {**state, "batch": 1.5}, {**state, "start": tg.zeros(3)},
        {**state, "start": None}, {**state, "start": state["start"][:16]}, {**state, "start": 3},
        {**state, "start": state["start"][:20]}, {**state, "generator": None},
        {**state, "generator": "x"},
    ):  # fmt: skip
        with pytest.raises(StateError, match="DataLoader: not the state of such a loader"):
            batches.load_state_dict(wrong)
    assert batches.generator.get_state().tolist() == before
    short = data.DataLoader(range(4), 2, shuffle=True, generator=1)
    short.load_state_dict(state)
    with pytest.raises(StateError, match="stands at batch 3, this one is shorter"):
        iter(short)
