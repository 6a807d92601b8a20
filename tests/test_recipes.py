"""The recipes of ``tilegrad train``: what they print and save, and the errors of the command."""

import io
import re
import signal
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import cli, data, demo, recipes
from tilegrad.errors import DataError, FileNotFoundError
from tilegrad.errors import ValueError as TgValueError
from tilegrad.recipes import tables, text

IMAGES = ("resnet20", "highway", "inception")
TEXTS = ("char_lstm", "char_transformer")
REBUILT = ["loss.png", "rebuilt.png"]
PICTURES = {
    "perceptron": ["boundary.png"], "logistic": ["loss.png"], "iris_mlp": ["regions.png"],
    "mcycle": ["curve.png"], "denoising": ["filters.png", *REBUILT],
    "sparse": ["filters.png", *REBUILT], "vae": ["drawn.png", *REBUILT],
    **{name: ["digits.png"] for name in ("mlp", "dropout", "lenet5")},
    **{name: ["images.png"] for name in IMAGES}, **{name: ["loss.png"] for name in TEXTS},
}  # fmt: skip
LINE = "the quick brown fox jumps over the lazy dog; "


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small data of every kind, in the forms the recipes read."""
    home = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for part, count in (("train", 200), ("t10k", 50)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 80, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):  # a bar whose place is the class
            image[2 * label + 3 : 2 * label + 6] = 220
        data.write_idx(home / f"{part}-images-idx3-ubyte", images)
        data.write_idx(home / f"{part}-labels-idx1-ubyte", labels)
    names = ["Sepal.Length", "Sepal.Width", "Petal.Length", "Petal.Width", "Species"]
    rows = [",".join(["rownames", *names])]
    for c, species in enumerate(("one", "three", "two")):
        for x in rng.normal(3.0 + 2.0 * np.arange(4) * (c - 1), 0.4, (20, 4)):
            rows.append(",".join([str(len(rows)), *(f"{v:.2f}" for v in x), species]))
    (home / "iris.csv").write_text("\n".join(rows))
    t = np.linspace(2.0, 55.0, 60)
    accel = -100 * np.exp(-(((t - 20) / 6) ** 2)) + rng.normal(0, 5, 60)
    pairs = [f"{i},{a:.1f},{b:.1f}" for i, (a, b) in enumerate(zip(t, accel, strict=True))]
    (home / "mcycle.csv").write_text("rownames,times,accel\n" + "\n".join(pairs))
    (home / "text.txt").write_text(LINE * 100)
    image = pytest.importorskip("PIL.Image")
    with zipfile.ZipFile(home / "cifar.zip", "w") as archive:
        for part, count in (("train", 4), ("test", 2)):
            for c, name in enumerate(data.cifar.CIFAR10_CLASSES):
                for i in range(count):
                    pixels = rng.integers(0, 60, (32, 32, 3)).astype(np.uint8)
                    pixels[3 * c : 3 * c + 3] += np.uint8(150)
                    file = io.BytesIO()
                    image.fromarray(pixels).save(file, "PNG")
                    archive.writestr(f"{part}/{name}/{i}.png", file.getvalue())
    return home


def path_of(name, folder):
    file = "cifar.zip" if name in IMAGES else "text.txt" if name in TEXTS else ""
    return folder / file


def test_every_recipe_is_tried():
    assert set(PICTURES) == set(recipes.RECIPES)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_recipe(name, folder, tmp_path, capsys):
    """A trial run prints its figure beside the published ones; its checkpoint gives the same
    figures, bit for bit; the pictures are there."""
    path, out = path_of(name, folder), tmp_path / "out"
    assert cli.main(["train", name, "--data", str(path), "--out", str(out), "--quick"]) == 0
    printed = capsys.readouterr().out
    chosen = recipes.RECIPES[name]
    assert all(p.source in printed and p.figure in printed for p in chosen.published)
    assert re.search(r"epochs, \d+\.\d s", printed) and "parameters" in printed
    pictures = sorted(out.glob("*.png"))
    assert [p.name for p in pictures] == PICTURES[name]
    assert all(p.read_bytes()[:4] == b"\x89PNG" and p.stat().st_size > 3000 for p in pictures)
    model, info = recipes.load(out)
    assert info["recipe"] == name and not model.training
    task = chosen.prepare(info["options"], path)
    tg.manual_seed(info["options"]["seed"])
    assert task.measure(model) == info["figures"]
    first = next(iter(info["figures"]))
    assert f"{first}" in printed and f"{info['figures'][first]:.4g} {chosen.unit}" in printed


def test_the_seed_decides(folder, tmp_path):
    runs = [
        recipes.run("lenet5", folder, tmp_path, {"seed": seed}, quick=True) for seed in (1, 1, 2)
    ]
    hashes = [demo.weights_hash(r.model) for r in runs]
    assert hashes[0] == hashes[1] != hashes[2]
    assert runs[0].losses == runs[1].losses and runs[0].losses != runs[2].losses


def test_recipes_learn(folder, tmp_path, capsys):
    """Well below what guessing gives, on data where that is easy."""
    run = recipes.run
    for name, more, most in (
        ("logistic", {"epochs": 30}, 5.0), ("iris_mlp", {"epochs": 100}, 10.0),
        ("mlp", {"epochs": 10, "hidden": 32, "batch": 16}, 10.0),
    ):  # fmt: skip
        assert run(name, folder, tmp_path, more).figures["test error"] < most
    assert run("mcycle", folder, tmp_path, {"epochs": 500}).figures["variance explained"] > 90
    more = {"epochs": 25, "context": 16, "batch": 8}
    bits = run("char_lstm", folder / "text.txt", tmp_path, more, quick=True).figures
    assert bits["test text"] < bits["pairs"] < bits["single characters"]
    sample = capsys.readouterr().out.split("sample:\n")[1].split("\ncheckpoint")[0]
    assert len(sample) == 101 and set(sample) <= set(LINE)


# --- the perceptron -------------------------------------------------------------------------------
def test_the_perceptron_keeps_its_bound(folder, tmp_path, capsys):
    result = recipes.run("perceptron", folder, tmp_path)
    assert result.figures == {"rows on the wrong side": 0.0}
    mistakes, bound = re.search(
        r"(\d+) mistakes on the way; .* = ([\d.]+) \(Novikoff", capsys.readouterr().out
    ).groups()
    assert 0 < int(mistakes) <= float(bound)


def test_the_perceptron_goes_on(folder, tmp_path, capsys, monkeypatch):
    """Resumed after its end it makes no step more, and knows its mistakes, those before Ctrl-C
    too."""

    def once(*args, resume=True):
        result = recipes.run("perceptron", folder, *args, resume=resume)
        lines = capsys.readouterr().out.splitlines()
        return result, [
            line for line in lines if "mistakes on the way" in line or "epochs, " in line
        ]

    whole, lines = once(tmp_path / "a", {"batch": 7}, resume=False)
    chosen = recipes.RECIPES["perceptron"]

    def prepare(options, path):
        task = chosen.prepare(options, path)
        mine = task.callback

        def callback(p):
            mine(p)
            if p.steps == 2:
                signal.raise_signal(signal.SIGINT)

        task.callback = callback
        return task

    with monkeypatch.context() as patch:
        patch.setitem(recipes.RECIPES, "perceptron", replace(chosen, prepare=prepare))
        assert once(tmp_path / "b", {"batch": 7})[0].stopped
    for _ in range(3):
        result, printed = once(tmp_path / "b", {"batch": 7})
        assert printed[1:] == lines[1:] and printed[0].split(", ")[0] == lines[0].split(", ")[0]
        assert demo.weights_hash(result.model) == demo.weights_hash(whole.model)
        assert result.losses == whole.losses and not result.stopped


def test_the_loss_of_the_perceptron_is_its_rule():
    x = tg.tensor([[1.0, 2.0], [3.0, -1.0], [0.5, 0.5]])
    y = tg.tensor([1.0, 1.0, -1.0])
    w = tg.tensor([[0.1, -0.4]], requires_grad=True)
    score = x @ w.t()
    for i in range(3):
        w.grad = None
        tables._mistaken(score[i : i + 1], y[i : i + 1]).backward(retain_graph=True)
        wrong = score[i].item() * y[i].item() <= 0
        assert wrong == (i == 0)
        np.testing.assert_array_equal(w.grad.numpy()[0], -y[i].item() * x[i].numpy() * wrong)


def test_the_largest_margin():
    """Of points on both sides of the axes the closest pair decides; none where they mix."""
    x = np.array([[2.0, 0.0], [5.0, 3.0], [-1.0, 0.0], [-4.0, -3.0]])
    y = np.array([1.0, 1.0, -1.0, -1.0])
    assert tables.largest_margin(x, y) == pytest.approx(1.0, rel=1e-6)
    assert tables.largest_margin(x, np.array([1.0, -1.0, 1.0, -1.0])) <= 0


# --- text -----------------------------------------------------------------------------------------
def test_baselines():
    train, test = np.array([0, 1, 0, 1, 0]), np.array([1, 0, 0])
    found = text.baselines(train, test, 2)
    p0, p1 = 4 / 7, 3 / 7
    assert found["single characters"] == pytest.approx(-np.log2([p1, p0, p0]).mean())
    assert found["pairs"] == pytest.approx(-np.log2([3 / 4, 1 / 4]).mean())


def test_texts(tmp_path):
    (tmp_path / "b.md").write_text("second")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "c.py").write_text("no text")
    assert text.read(tmp_path) == "first\nsecond"
    (tmp_path / "d.txt").write_bytes("a déjà vu".encode("latin-1") * 2 + b" and more" * 3)
    assert text.read(tmp_path).count("\ufffd") == 4  # now and then a character is lost
    (tmp_path / "d.txt").unlink()
    raw = np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8).tobytes()
    for content in (raw, "short".encode("utf-16")):
        (tmp_path / "book.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"text: .*book\.gz' is no text in UTF-8"):
            text.read(tmp_path / "book.gz")
    with pytest.raises(DataError, match="text: 12 characters are too few for a context of 64"):
        recipes.run("char_lstm", tmp_path, tmp_path)


# --- options and errors ---------------------------------------------------------------------------
def test_the_list(capsys):
    assert cli.main(["train"]) == 0
    out = capsys.readouterr().out
    for r in recipes.RECIPES.values():
        assert f"\n{r.name:<17} {r.summary}\n" in out
        assert all(f"published: {p.figure} ({p.source}; " in out for p in r.published)


def test_options():
    chosen = recipes.RECIPES["mlp"]
    got = chosen.settings({"epochs": "3", "lr": "0.5", "hidden": 7})
    assert (got["epochs"], got["lr"], got["hidden"], got["batch"]) == (3, 0.5, 7, 64)
    assert chosen.settings({}, quick=True)["hidden"] == 64
    assert chosen.settings({"hidden": 5}, quick=True)["hidden"] == 5
    assert chosen.settings({"hidden": 5.0, "lr": 1, "limit": 0})["hidden"] == 5
    for name, value in (("hidden", 2.7), ("hidden", None), ("epochs", np.inf), ("lr", np.nan)):
        with pytest.raises(TgValueError, match=f"mlp: {name} must be a .* number, got"):
            chosen.settings({name: value})


def test_options_stand_anywhere(folder, tmp_path, capsys):
    args = ["train", "mlp", "hidden=9", "--epochs", "1", "limit=90", "--quick"]
    named = ["--data", str(folder), "batch=30", "--out", str(tmp_path)]
    assert cli.main([*args, *named]) == 0
    assert "epochs=1, lr=0.05, batch=30, hidden=9, " in capsys.readouterr().out
    assert recipes.load(tmp_path)[1]["options"]["limit"] == 90
    with pytest.raises(SystemExit):
        cli.main([*args, "--epoch-count", "3"])
    with pytest.raises(SystemExit):
        cli.main(["info", "limit=3"])
    assert "unrecognized arguments: limit=3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args, message",
    [
        (["lenet"], "there is no recipe 'lenet'; did you mean 'lenet5'?; there are perceptron, "),
        (["mlp", "hiden=3"], "mlp: there is no option 'hiden'; did you mean 'hidden'?; it has "),
        (["mlp", "hidden=three"], "mlp: hidden must be a whole number, got 'three'"),
        (["mlp", "lr=fast"], "mlp: lr must be a finite number, got 'fast'"),
        (["mlp", "lr=nan"], "mlp: lr must be a finite number, got 'nan'"),
        (["dropout", "weight_decay=inf"], "weight_decay must be a finite number, got 'inf'"),
        (["mlp", "hidden=0"], "mlp: hidden must be at least 1, got 0"),
        (["vae", "latent=-2"], "vae: latent must be at least 1, got -2"),
        (["lenet5", "shift=-1"], "lenet5: shift must be at least 0, got -1"),
        (["mlp", "--seed", "-1"], "mlp: seed must be at least 0, got -1"),
        (["mlp", "epochs=0"], "mlp: epochs must be at least 1, got 0"),
        (["mlp", "limit=-1"], "mlp: limit must be at least 0, got -1"),
        (["mlp", "hidden"], "expected OPTION=VALUE, got 'hidden'"),
        (["mlp", "--data", "/nowhere"], "MNIST: neither train-images-idx3-ubyte nor"),
        (["mcycle"], "mcycle: name the file"),
        (["logistic", "--data", "/nowhere.csv"], "there is no file '/nowhere.csv'"),
        (["char_lstm"], "text: name a text file"),
        (["char_lstm", "--data", "/nowhere.txt"], "text: there is no file '/nowhere.txt'"),
        (["resnet20"], "CIFAR-10: name"),
        (["resnet20", "--data", "/nowhere.zip"], "'/nowhere.zip'"),
        (["lenet5", "variant=2020"], "variant must be one of"),
    ],
)
def test_errors(args, message, capsys, tmp_path):
    assert cli.main(["train", *args, "--out", str(tmp_path / "out"), "--quick"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("tilegrad train: ") and message in err
    assert not (tmp_path / "out").exists()


def test_without_matplotlib(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    recipes.run("logistic", folder, tmp_path, quick=True)
    assert "no picture: figure: matplotlib is needed" in capsys.readouterr().out
    assert recipes.load(tmp_path)[1]["recipe"] == "logistic"


@pytest.fixture
def interrupted(monkeypatch):
    """Ctrl-C in the second epoch of logistic."""
    chosen = recipes.RECIPES["logistic"]

    def prepare(options, path):
        task = chosen.prepare(options, path)
        task.callback = lambda p: p.steps == 5 and signal.raise_signal(signal.SIGINT)
        return task

    with monkeypatch.context() as patch:
        patch.setitem(recipes.RECIPES, "logistic", replace(chosen, prepare=prepare))
        yield patch


def test_interrupted(folder, tmp_path, capsys, interrupted):
    """The running batch is finished; what there is is measured and saved. With --resume another run
    goes on, and ends like one never interrupted."""
    args = ["train", "logistic", "--data", str(folder), "--quick"]
    out = ["--out", str(tmp_path / "a"), "--resume"]
    assert cli.main([*args, *out]) == 130
    assert "stopped early: 1.25 epochs" in capsys.readouterr().out
    model, info = recipes.load(tmp_path / "a")
    assert info["figures"]["test error"] >= 0 and model.weight.abs().sum().item() > 0
    early = demo.weights_hash(model)
    interrupted.undo()
    ends = []
    for more in (out, out, ["--out", str(tmp_path / "b")]):  # goes on; has ended; never stopped
        assert cli.main([*args, *more]) == 0
        ends.append(demo.weights_hash(recipes.load(more[1])[0]))
    assert ends[0] == ends[1] == ends[2] != early
    assert not (tmp_path / "b" / "run").exists()


def test_resume_with_other_options(folder, tmp_path, capsys, interrupted):
    """A run goes on with the options it began with only; its record stays as it was."""
    args = ["train", "logistic", "--data", str(folder), "--quick", "--resume"]
    assert cli.main([*args, "--out", str(tmp_path)]) == 130
    interrupted.undo()
    before = (tmp_path / "checkpoint.json").read_bytes()
    capsys.readouterr()
    for more, words in (
        (["lr=0.5", "--seed", "1"], "a run with lr=0.1, not 0.5; seed=0, not 1: go on with the"),
        (["--epochs", "6"], "a run with epochs=5, not 6: go on"),
    ):
        assert cli.main([*args, *more, "--out", str(tmp_path)]) == 1
        assert words in capsys.readouterr().err
    with pytest.raises(TgValueError, match="recipe=logistic, not iris_mlp; hidden=None, not 10"):
        recipes.run("iris_mlp", folder, tmp_path, {"batch": 10, "lr": 0.1}, True, resume=True)
    assert (tmp_path / "checkpoint.json").read_bytes() == before
    (tmp_path / "run" / "recipe.json").unlink()
    with pytest.raises(DataError, match="does not say what its run is of"):
        recipes.run("logistic", folder, tmp_path, quick=True, resume=True)


def test_an_output_folder_that_cannot_be_written(folder, tmp_path, capsys, monkeypatch):
    """It is known before the training; what fails at the end comes behind the figures."""
    (tmp_path / "file").write_text("")
    args = ["train", "logistic", "--data", str(folder), "--quick", "--out"]
    for out in (tmp_path / "file", tmp_path / "file" / "in"):
        assert cli.main([*args, str(out)]) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        assert printed.err.startswith("tilegrad train: ") and str(out) in printed.err

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(recipes.recipe, "save_checkpoint", full)
    assert cli.main([*args, str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "test error" in printed.out and "No space left on device" in printed.err


def test_load_refuses(folder, tmp_path):
    with pytest.raises(FileNotFoundError):
        recipes.load(tmp_path)
    tg.train.save_checkpoint(tmp_path, tg.nn.Linear(2, 2))
    with pytest.raises(DataError, match="was not written by a recipe"):
        recipes.load(tmp_path)
    with pytest.raises(TgValueError, match="there is no recipe"):
        info = {"recipe": "none", "options": {}, "facts": {}}
        tg.train.save_checkpoint(tmp_path, tg.nn.Linear(2, 2), info=info)
        recipes.load(tmp_path)
