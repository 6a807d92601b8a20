"""What a run shows and writes while it goes."""

import io
import json
import sys

import pytest

import tilegrad as tg
from tilegrad import nn, optim, train
from tilegrad.errors import PackageError
from tilegrad.train import progress


def trained(epochs, loggers=(), shown=None, **options):
    """The history of a run."""
    tg.manual_seed(0)
    x, model = tg.randn(40, 2), nn.Linear(2, 2)
    y = (x[:, 0] > 0).long()
    t = train.Trainer(
        model, nn.functional.cross_entropy, optim.SGD(model.parameters(), lr=0.1),
        metrics={"accuracy": train.accuracy}, loggers=loggers, progress=shown,
    )  # fmt: skip
    return t.fit((x, y), epochs, **options)


# --- display --------------------------------------------------------------------------------------
def test_progress_lines(capsys):
    p = train.Progress(2, 10, batch=5, seconds=2.0, seen=100, total_seen=100)
    p.sums = {"loss": 50.0, "accuracy": 90.0}
    assert p.remaining == pytest.approx(6.0) and p.rate == 50
    with progress.Plain() as show:
        show(p)
        assert capsys.readouterr().out == ""
        p.batch = 10
        show(p)
    line = capsys.readouterr().out
    assert line == "epoch 1/2  100 %  loss 0.5000  accuracy 0.9000  50 samples/s  0:02 left\n"
    import rich.progress

    with progress.Rich(rich.progress) as bar:
        bar(p)
        p.epoch, p.batch, bar.every = 1, 3, 0.0
        bar(p)
        assert [t.completed for t in bar.bar.tasks] == [3]
    assert "epoch 1/2  loss 0.5000  accuracy 0.9000" in capsys.readouterr().out


def test_a_line_per_epoch_without_a_length(capsys):
    tg.manual_seed(0)
    model, batch = nn.Linear(2, 2), (tg.randn(4, 2), tg.tensor([0, 1, 1, 0]))

    class Batches:
        def __iter__(self):
            return iter([batch, batch])

    optimizer = optim.SGD(model.parameters(), lr=0.1)
    train.Trainer(model, nn.functional.cross_entropy, optimizer, progress=True).fit(Batches(), 2)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:18] for line in lines] == ["epoch 1/2  batch 2", "epoch 2/2  batch 2"]


def test_a_terminal_line_is_rewritten():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    p = train.Progress(1, 0, batch=3, seen=1, sums={"loss": 1.0})
    with progress.Plain(stream) as show:
        show.every = 0.0
        show(p)
        p.stop = True
        show(p)
    first, _, second = stream.getvalue().partition("\r")
    assert "batch 3" in first and "--:-- left" in first and second.endswith("\n")


@pytest.mark.parametrize("wanted, lines", [(True, 3), (None, 0), (False, 0)])
def test_progress_is_shown_when_asked(wanted, lines, capsys):
    trained(3, shown=wanted)
    assert len(capsys.readouterr().out.splitlines()) == lines


# --- logs -----------------------------------------------------------------------------------------
def test_logs(tmp_path):
    files = tmp_path / "a" / "log.csv", tmp_path / "log.jsonl"
    loggers = [train.CSVLogger(files[0]), train.JSONLogger(files[1])]
    history = trained(3, loggers, validation=0.5)
    lines = [line.split(",") for line in files[0].read_text().splitlines()]
    assert lines[0] == ["epoch", *history[0]]
    for i, row in enumerate(history):
        assert [float(v) for v in lines[i + 1]] == [i + 1, *row.values()]
    rows = [json.loads(line) for line in files[1].read_text().splitlines()]
    assert rows == [{"epoch": i, **row} for i, row in enumerate(history, 1)]


def test_logs_of_a_resumed_run_have_each_epoch_once(tmp_path):
    for epochs in (2, 2, 5):
        trained(epochs, [train.CSVLogger(tmp_path / "log.csv")], checkpoint=tmp_path)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2", "3", "4", "5"]


def test_tensorboard(tmp_path, monkeypatch):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto import event_pb2

    for epochs in (2, 3):
        log = train.TensorBoardLogger(tmp_path / "events")
        history = trained(epochs, [log], validation=0.5, checkpoint=tmp_path)
        log.close()
    found, purged = {}, []
    for file in sorted((tmp_path / "events").iterdir()):
        raw = file.read_bytes()
        while raw:
            size = int.from_bytes(raw[:8], "little")
            event = event_pb2.Event.FromString(raw[12 : 12 + size])
            raw = raw[16 + size :]
            if event.HasField("session_log"):
                purged.append(event.step)
            for value in event.summary.value:
                found[value.tag, event.step] = value.simple_value
    assert purged[-1] == 3
    for i, row in enumerate(history, 1):
        assert found["loss/training", i] == pytest.approx(row["loss"])
        assert found["accuracy/validation", i] == pytest.approx(row["validation_accuracy"])
        assert found["lr", i] == pytest.approx(row["lr"])
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(PackageError, match="tensorboardX is needed: pip install tensorboardX"):
        train.TensorBoardLogger(tmp_path)
