"""Checkpoints, the demonstration, and the promise that the same seed gives the same weights."""

import json
import os
import signal
import threading

import numpy as np
import pytest
from exact import assert_same, weights

import tilegrad as tg
from tilegrad import data, demo, kernels, nn, optim, train
from tilegrad.errors import DataError, DTypeError, StateError
from tilegrad.errors import FileNotFoundError as TgFileNotFoundError
from tilegrad.testing import assert_close
from tilegrad.train import checkpoint, load_checkpoint, save_checkpoint


class Blobs:
    """Two classes on a line, a small model, and everything a run needs."""

    def __init__(self, seed=0):
        tg.manual_seed(seed)
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 40)
        points = rng.standard_normal((40, 2)) * 0.3 + 2 * labels[:, None]
        points = points.astype(np.float32)
        self.set = data.TensorDataset(tg.from_numpy(points), tg.from_numpy(labels))
        self.loader = data.DataLoader(self.set, 8, shuffle=True, generator=seed)
        self.model = nn.Sequential(
            nn.Linear(2, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.1), nn.Linear(6, 2)
        )
        self.optimizer = optim.Adam(self.model.parameters(), lr=0.02)
        self.scheduler = optim.lr_scheduler.ExponentialLR(self.optimizer, 0.98)

    def fit(self, epochs):
        cross_entropy = nn.functional.cross_entropy
        train.Trainer(self.model, cross_entropy, self.optimizer, self.scheduler).fit(
            self.loader, epochs
        )

    def parts(self):
        return self.model, self.optimizer, self.scheduler


# --- checkpoints ----------------------------------------------------------------------------------
def test_a_resumed_run_is_the_same_run_bit_for_bit(tmp_path):
    whole = Blobs()
    whole.fit(4)
    first = Blobs()
    first.fit(2)
    save_checkpoint(
        tmp_path, *first.parts(), epoch=2, seed=0, info={"note": "halfway"},
        generator=first.loader.generator,
    )  # fmt: skip
    second = Blobs(seed=99)
    second.fit(1)
    found = load_checkpoint(tmp_path, *second.parts(), generator=second.loader.generator)
    assert (found.epoch, found.seed, found.info) == (2, 0, {"note": "halfway"})
    assert_same(weights(second.model), weights(first.model))
    second.fit(2)
    assert_same(weights(second.model), weights(whole.model))


def test_a_checkpoint_is_one_json_and_one_tensor_file(tmp_path):
    run = Blobs()
    others = {"tensors-mine.safetensors", ".notes.tmp"}  # stay, and what a killed run left goes
    for name in (*others, f"tensors-{'0' * 16}.safetensors", ".checkpoint.json.12.tmp"):
        (tmp_path / name).write_bytes(b"")
    for _ in range(3):
        run.fit(1)
        path = save_checkpoint(tmp_path, *run.parts())
    assert others < {p.name for p in tmp_path.iterdir()}
    names = sorted({p.name for p in tmp_path.iterdir()} - others)
    assert path == tmp_path / "checkpoint.json" and len(names) == 2
    content = json.loads(path.read_text())
    assert names[1] == content["tensors"]["file"] and content["optimizer"]["class"] == "Adam"
    assert content["optimizer"]["state"]["0"] == {"step": 15}
    raw = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert b"pickle" not in raw and not raw.startswith(b"\x80")


def test_a_failed_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    run = Blobs()
    save_checkpoint(tmp_path, run.model, epoch=1)
    before = weights(run.model)
    run.fit(1)
    write = checkpoint.write_whole

    def failing(path, content):
        if path.name == checkpoint.JSON_NAME:
            raise OSError("disk full")
        write(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", failing)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, run.model, epoch=2)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path, run.model).epoch == 1
    assert_same(weights(run.model), before)

    def cut(file):
        raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(OSError, match="power cut"):
        save_checkpoint(tmp_path, run.model, epoch=3)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path, run.model).epoch == 1
    assert not list(tmp_path.glob(".*"))


def test_loading_names_what_differs_and_changes_nothing(tmp_path):
    run = Blobs()
    run.fit(1)
    save_checkpoint(tmp_path, *run.parts())
    other = Blobs(1)
    before = weights(other.model)
    bigger = nn.Sequential(nn.Linear(2, 7))
    with pytest.raises(
        StateError, match=r"(?s)unexpected +1.weight.*\n.*0.weight .*\(7, 2\).*\(6, 2\)"
    ):
        load_checkpoint(tmp_path, bigger)
    with pytest.raises(StateError, match="has the optimizer Adam, expected SGD"):
        load_checkpoint(tmp_path, other.model, optim.SGD(other.model.parameters()))
    step = optim.lr_scheduler.StepLR(other.optimizer, 1)
    with pytest.raises(StateError, match="has the scheduler ExponentialLR, expected StepLR"):
        load_checkpoint(tmp_path, other.model, other.optimizer, step)
    fewer = optim.Adam(list(other.model.parameters())[:2])
    with pytest.raises(StateError, match="groups of"):
        load_checkpoint(tmp_path, other.model, fewer)
    assert_same(weights(other.model), before)
    state = tg.get_rng_state().tolist()
    load_checkpoint(tmp_path, other.model, restore_random_state=False)
    assert tg.get_rng_state().tolist() == state


def test_damaged_checkpoints(tmp_path):
    run = Blobs()
    with pytest.raises(TgFileNotFoundError, match=r"no file .*checkpoint.json"):
        load_checkpoint(tmp_path, run.model)
    path = save_checkpoint(tmp_path, run.model)
    good = json.loads(path.read_text())
    for changes, text in (
        ({"format": 9}, "has format 9, expected 1"),
        ({"epoch": "one"}, "lacks a valid 'epoch'"),
        ({"random_state": "zz"}, "16 bytes in hexadecimal, got 'zz'"),
        ({"tensors": {"file": "../x"}}, "names no tensor file beside it: '../x'"),
    ):
        path.write_text(json.dumps({**good, **changes}))
        with pytest.raises(DataError, match=text):
            load_checkpoint(tmp_path, run.model)
    path.write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        load_checkpoint(tmp_path, run.model)
    path.write_text(json.dumps(good))
    tensors = tmp_path / good["tensors"]["file"]
    raw = tensors.read_bytes()
    tensors.write_bytes(raw[:-1])
    with pytest.raises(DataError, match="is damaged: sha256"):
        load_checkpoint(tmp_path, run.model)
    tensors.unlink()
    with pytest.raises(TgFileNotFoundError, match="safetensors"):
        load_checkpoint(tmp_path, run.model)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int64", "bool"])
def test_tensor_files_keep_values_in_any_memory_order(tmp_path, dtype):
    a = tg.tensor(np.arange(12).reshape(3, 4) % 3, dtype=dtype)
    path = tmp_path / "t.safetensors"
    train.save_tensors(
        path, {"plain": a, "turned": a.t(), "cut": a[:, ::2], "zero": a[0, 0], "none": a[:0]}
    )
    got = train.load_tensors(path)
    for name, want in (
        ("plain", a), ("turned", a.t()), ("cut", a[:, ::2]), ("zero", a[0, 0]), ("none", a[:0])
    ):  # fmt: skip
        assert_close(got[name], want.contiguous(), rtol=0, atol=0, what=name)


def test_tensor_files_refuse(tmp_path):
    path = tmp_path / "t"
    with pytest.raises(DTypeError, match="'x': safetensors does not hold complex128"):
        train.save_tensors(path, {"x": np.zeros(1, np.complex128)})
    with pytest.raises(TgFileNotFoundError, match="there is no file"):
        train.load_tensors(path)
    for raw in (b"", b"\xff" * 30, b"\x10" + b"\0" * 7 + b"not json at all!"):
        path.write_bytes(raw)
        with pytest.raises(DataError, match="is damaged"):
            train.load_tensors(path)


# --- demonstration --------------------------------------------------------------------------------
def test_lenet():
    for variant in demo.lenet.VARIANTS:
        model = demo.lenet5(variant)
        assert sum(p.numel() for p in model.parameters()) == 61706
        assert model(tg.zeros(3, 1, 28, 28)).shape == (3, 10)
    with pytest.raises(ValueError, match="variant must be one of"):
        demo.lenet5("2024")


def test_shift():
    shift = demo.lenet.Shift(2, tg.Generator().manual_seed(0))
    x = tg.zeros(200, 1, 9, 9)
    x[:, :, 4, 4] = 1.0
    y = shift(x).numpy()
    assert y.shape == (200, 1, 9, 9) and (y.sum((1, 2, 3)) == 1).all()
    where = {tuple(w) for w in np.argwhere(y[:, 0])[:, 1:].tolist()}
    assert where == {(i, j) for i in range(2, 7) for j in range(2, 7)}
    assert float(x.sum()) == 200


def test_rates_rise_and_fall():
    recipe = demo.run.Recipe(lr=1.0, batch_size=1, warmup=0.25)
    f = demo.run.one_cycle(recipe, 100)
    assert [f(0), f(24), f(25), f(100)] == [0.04, 1.0, 1.0, 0.0]
    assert all(f(i) > f(i + 1) for i in range(25, 100))


def digits_run(variant, seed=3, epochs=1):
    whole = data.digits(enlarge=True)
    part = data.TensorDataset(*[t[:256] for t in whole.tensors])
    return demo.Run.prepare(part, variant, epochs, seed, 64)


@pytest.mark.parametrize("variant", demo.lenet.VARIANTS)
def test_the_same_seed_gives_the_same_weights_with_any_number_of_threads(variant):
    if not hasattr(kernels.host, "set_num_threads"):
        pytest.skip("the reference runs on one thread")
    before, hashes = kernels.host.num_threads(), []
    try:
        for n in (1, 2, 3):
            kernels.host.set_num_threads(n)
            run = digits_run(variant)
            run.train()
            hashes.append(demo.weights_hash(run.model))
    finally:
        kernels.host.set_num_threads(before)
    other = digits_run(variant, seed=4)
    other.train()
    assert hashes[0] == hashes[1] == hashes[2] != demo.weights_hash(other.model)


def test_weights_hash_sees_every_bit():
    model = demo.lenet5()
    first = demo.weights_hash(model)
    with tg.no_grad():
        w = model.output.bias
        w[3] = np.nextafter(np.float32(w[3].item()), np.float32(1))
    assert demo.weights_hash(model) != first


def test_control_c_finishes_the_batch():
    # A shell starts background jobs with the signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with demo.run.interruptible() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(1.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(1.0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_pictures(tmp_path):
    from tilegrad.demo.figure import draw, worst_mistakes

    labels = np.array([0, 1, 2, 2])
    logits = np.eye(10)[[0, 2, 1, 2]] * np.array([[1.0], [3.0], [5.0], [1.0]])
    assert worst_mistakes(logits, labels, 5).tolist() == [2, 1]
    images = np.random.default_rng(0).uniform(size=(4, 8, 8))
    figure = draw([1.0, 0.5, 0.2], logits, labels, images, images[:2, None], "title")
    figure.savefig(tmp_path / "p.png")
    raw = (tmp_path / "p.png").read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n" and len(raw) > 10_000
