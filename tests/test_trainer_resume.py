"""A run that is killed and resumed ends with the same bits as one that is not."""

import copy
import json
import subprocess
import sys

import pytest

import tilegrad as tg
from tilegrad import train
from tilegrad.errors import DataError, StateError

PROGRAM = '''
import json, os, random, signal, sys, time
from pathlib import Path
import numpy as np
import tilegrad as tg
from tilegrad import data, nn, optim, train
from tilegrad.nn import functional as F


class Own:
    """An iterable of batches that is no DataLoader."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self):
        return 6

    def __iter__(self):
        order = random.sample(range(44), 44)
        for at in range(0, 44, 8):
            yield self.dataset[order[at : at + 8]]


def fit(folder, kind):
    """A run with random numbers of every kind: weights, order, dropout, noise of Python and NumPy;
    returns all that must be the same in the end."""
    tg.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    x, y = tg.randn(44, 3), tg.randint(0, 2, (44,))
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.Linear(5, 2))
    stream = tg.Generator().manual_seed(1)
    whole = data.TensorDataset(x, y)
    if kind == "weighted":  # positions are drawn with replacement
        sampler = data.WeightedRandomSampler(tg.arange(44) + 1.0, 44, generator=stream)
        loader = data.DataLoader(whole, 8, sampler=sampler)
    elif kind == "own":
        loader = Own(whole)
    else:
        workers = 2 if kind == "workers" else 0
        loader = data.DataLoader(whole, 8, shuffle=True, generator=stream, num_workers=workers)
    optimizer = optim.Adam(model.parameters(), lr=0.02, amsgrad=True)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=40)
    options = {"accumulate": 2, "precision": "float16"} if kind == "accumulated" else {}
    trainer = train.Trainer(
        model, F.cross_entropy, optimizer, scheduler, {"accuracy": train.accuracy}, clip=1.0,
        **options,
    )
    history = trainer.fit(
        loader, 3, validation=(x, y), patience=2, checkpoint=folder, checkpoint_every=1,
        transform=lambda x: x + random.gauss(0.0, 0.1) + float(np.random.normal(0.0, 0.1)),
    )
    p, state = trainer.state, optimizer.state_dict()
    tensors = {**model.state_dict()}
    for i, entries in state["state"].items():
        tensors.update({f"{i}.{k}": v for k, v in entries.items() if isinstance(v, tg.Tensor)})
    return json.dumps([
        {k: v.numpy().tobytes().hex() for k, v in tensors.items()},
        [s["step"] for s in state["state"].values()], state["param_groups"][0]["lr"],
        scheduler.state_dict(), tg.get_rng_state().tolist(), stream.get_state().tolist(),
        random.getstate(), [str(s) for s in np.random.get_state()], p.losses, p.steps, p.skipped,
        p.total_seen, [{k: v for k, v in row.items() if k != "seconds"} for row in history],
        trainer.steps.scale and vars(trainer.steps.scale),
    ])


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def child(folder, kind, deadly=0):
    """A process that runs fit; killed at the start of the deadly-th call that writes, if any."""
    pid = os.fork()
    if pid:
        return pid
    calls = 0

    def dangerous(fn):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == deadly:
                die()
            return fn(*args, **kwargs)
        return call

    code = 1
    try:
        os.fsync = lambda file: None  # slow, and only power cuts need it
        for owner, name in ((os, "fsync"), (os, "replace"), (os, "open"), (Path, "unlink")):
            setattr(owner, name, dangerous(getattr(owner, name)))
        end = fit(folder, kind)
        Path(folder, "end").write_text(end)
        code = 0
    finally:
        os._exit(code)


def wait(pid):
    """Whether the process ran to its end; not so if it was killed."""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == 0
    return True
'''

AT_RANDOM = """
whole = Path(sys.argv[1])
begin = time.monotonic()
assert wait(child(whole / "whole", KIND))
alone = min(time.monotonic() - begin, 1.0)
expected = (whole / "whole" / "end").read_text()
moments, kills, runs = random.Random(0), 0, 0
while kills < 2:
    folder, before, runs = whole / str(runs), kills, runs + 1
    while True:
        pid = child(folder, KIND)
        time.sleep(moments.uniform(0.05, 0.6) * alone)
        os.kill(pid, signal.SIGKILL)
        if wait(pid):
            break
        kills += 1
        alone *= 1.1  # or a machine that got busy would never get anywhere
    assert (folder / "end").read_text() == expected, runs
    assert [p.name for p in folder.iterdir() if p.name.endswith(".tmp")] == []
    if kills == before:
        alone *= 0.5
print(kills)
"""

AT_EVERY_WRITE = """
whole = Path(sys.argv[1])
assert wait(child(whole / "whole", KIND))
expected = (whole / "whole" / "end").read_text()
kills = 0
for deadly in range(1, 1000, STEP):
    folder = whole / str(deadly)
    if wait(child(folder, KIND, deadly)):
        break
    kills += 1
    assert wait(child(folder, KIND))
    assert (folder / "end").read_text() == expected, deadly
    assert [p.name for p in folder.iterdir() if p.name.endswith(".tmp")] == []
print(kills)
"""


def run(program, folder, kind, step=1):
    program = program.replace("KIND", repr(kind)).replace("STEP", str(step))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("kind", ["weighted", "accumulated", "own", "workers"])
def test_killed_at_random_moments(kind, tmp_path):
    assert run(AT_RANDOM, tmp_path, kind) >= 2


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_every_write(step, tmp_path):
    """A checkpoint takes 11 such calls: in steps of 13, each of them is met once."""
    assert run(AT_EVERY_WRITE, tmp_path, "accumulated", step) > 100 // step


def test_a_checkpoint_of_something_else(tmp_path):
    model = tg.nn.Linear(2, 2)
    trainer = train.Trainer(model, tg.nn.functional.mse_loss, tg.optim.SGD(model.parameters()))
    data = tg.ones(4, 2), tg.ones(4, 2)
    train.save_checkpoint(tmp_path, model, trainer.optimizer)
    with pytest.raises(StateError, match="is not one of a Trainer"):
        trainer.fit(data, 1, checkpoint=tmp_path)
    assert len(trainer.fit(data, 1, checkpoint=tmp_path, resume=False)) == 1
    path = tmp_path / "checkpoint.json"
    good = json.loads(path.read_text())
    weights = model.weight.tolist()
    ours, twister, plain = good["info"]["trainer"]["now"]
    for name, value in (
        ("now", [1]), ("now", None), ("loader", 3), ("batch", ...), ("batch", 1.5), ("batch", -1),
        ("batch", 10**30), ("sums", [1]), ("history", 3), ("history", [{"loss": "x"}]),
        ("seconds", 10**400), ("scale", [1]), ("loader", {"start": [10**30]}), ("begin", [1, 2]),
        # NumPy itself takes any position, and reads there.
        ("now", [ours, [*twister[:2], 2**31 - 1, *twister[3:]], plain]),
        ("begin", [ours, [*twister[:2], -(2**31), *twister[3:]], plain]),
        ("now", [ours, [twister[0], "00", *twister[2:]], plain]),
        ("now", [ours, [*twister[:4], "x"], plain]),
        ("now", [ours, twister, [*plain[:2], "x"]]),
        ("now", [ours, twister, [3, "ff" * 2500, None]]),
        ("now", [["00"], twister, plain]),
    ):  # fmt: skip
        content = copy.deepcopy(good)
        content["info"]["trainer"][name] = value
        if value is ...:
            del content["info"]["trainer"][name]
        path.write_text(json.dumps(content))
        with tg.no_grad():
            model.weight.fill_(7)
        with pytest.raises(DataError, match="is damaged"):
            trainer.fit(data, 2, checkpoint=tmp_path)
        assert model.weight.tolist() == [[7, 7]] * 2, "nothing is overwritten"
    path.write_text(json.dumps(good))
    trainer.fit(data, 1, checkpoint=tmp_path)
    assert model.weight.tolist() == weights


def test_a_finished_run_restores_its_end(tmp_path):
    """Also one that early stopping ended: the best weights come back, nothing is trained."""
    x, y = tg.randn(20, 2), tg.randn(20, 1)
    values = iter([3.0, 1.0, 2.0, 2.0])
    ends = []
    for _ in range(2):
        model = tg.nn.Linear(2, 1)
        trainer = train.Trainer(
            model, tg.nn.functional.mse_loss, tg.optim.SGD(model.parameters()),
            metrics={"made_up": lambda out, y: next(values)},
        )  # fmt: skip
        history = trainer.fit(
            [(x, y)], 10, patience=2, monitor="made_up", mode="min", checkpoint=tmp_path
        )
        ends.append((history, trainer.state.losses, model.weight.tolist(), model.bias.tolist()))
    assert ends[0] == ends[1] and len(ends[0][0]) == 4
