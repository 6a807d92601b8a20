"""The command and the examples: output, files and exit codes, in processes of their own where
needed."""

import io
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tilegrad as tg
from tilegrad import bench, cli, data, demo, kernels, train
from tilegrad.kernels import contract

COMPILED = not kernels.host.__name__.endswith("reference")


def run(capsys, *args):
    code = cli.main(args)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def threads():
    before = kernels.host.num_threads() if COMPILED else 1
    yield
    if COMPILED:
        kernels.host.set_num_threads(before)


@pytest.fixture
def mnist(tmp_path):
    """A folder in the form of MNIST: the bundled digits, 320 to learn from and 80 to test."""
    for train_set, part, count in ((True, "train", 320), (False, "t10k", 80)):
        images, labels = data.digits(train_set, enlarge=True).tensors
        raw = (images.numpy()[:count, 0] * 255).astype(np.uint8)
        data.write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", raw)
        labels = labels.numpy()[:count].astype(np.uint8)
        data.write_idx(tmp_path / f"{part}-labels-idx1-ubyte", labels)
    return tmp_path


def test_info(capsys):
    code, out, _ = run(capsys, "info")
    assert code == 0
    for part in (tg.__version__, kernels.host.__name__, "numpy", "rich", "processor"):
        assert part in out
    if COMPILED:
        assert kernels.host.isa() in out and f"threads        {kernels.host.num_threads()}" in out


def test_arguments(capsys):
    for args in ([], ["trian"], ["demo", "--variant", "2020"], ["demo", "--epochs", "0"]):
        with pytest.raises(SystemExit) as e:
            cli.main(args)
        assert e.value.code == 2
    with pytest.raises(SystemExit) as e:
        cli.main(["--version"])
    assert e.value.code == 0
    assert tg.__version__ in capsys.readouterr().out


def test_demo(capsys, mnist, tmp_path, threads):
    out_folder = tmp_path / "out"
    code, out, err = run(
        capsys, "demo", "--data", str(mnist), "--epochs", "2", "--save", str(out_folder),
        "--variant", "1998", "--seed", "5", "--batch-size", "32", "--threads", "1",
    )  # fmt: skip
    assert code == 0, err
    assert "LeNet-5 (1998) on MNIST in" in out and "320 images to learn from, 80 to test" in out
    assert "epoch 2/2  100 %" in out and "test accuracy" in out and "images/s" in out
    for kernel in ("conv (32, 1, 28, 28)", "conv_grad_weight", "avg_pool", "avg_pool_grad", "tanh",
                   "linear (32, 400)", "cross_entropy_grad", "sgd_step"):  # fmt: skip
        assert kernel in out
    assert "WRONG" not in out
    assert (out_folder / "lenet5.png").stat().st_size > 10_000
    test = data.MNIST(mnist, train=False).tensors
    model = demo.lenet5("1998")
    found = train.load_checkpoint(out_folder, model)
    assert found.epoch == 2 and found.seed == 5 and found.info["variant"] == "1998"
    accuracy = float(out.split("test accuracy ")[1].split(" %")[0]) / 100
    again = train.accuracy(model.eval()(test[0]), test[1])
    assert again == pytest.approx(accuracy, abs=1e-4)


def test_demo_without_optional_packages(capsys, mnist, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(demo.table, "show", lambda *args: True)
    code, out, _ = run(
        capsys, "demo", "--data", str(mnist), "--epochs", "1", "--save", str(tmp_path / "o")
    )
    assert code == 0 and "no picture: figure: matplotlib is needed" in out


def test_demo_says_what_is_missing(capsys, tmp_path):
    code, _, err = run(capsys, "demo", "--data", str(tmp_path))
    assert code == 1 and "neither train-images-idx3-ubyte nor" in err and "Traceback" not in err


def test_interrupted_demo_leaves_a_checkpoint(mnist, tmp_path):
    out = tmp_path / "out"
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tilegrad", "demo", "--data", str(mnist), "--epochs", "1000",
         "--save", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
    )  # fmt: skip
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("epoch 2/"):
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, "".join(lines) + rest
    assert "interrupted in epoch" in rest and str(out / "checkpoint.json") in rest
    model = demo.lenet5()
    found = train.load_checkpoint(out, model)
    assert found.epoch >= 2 and found.info["epochs"] == 1000
    assert all(np.isfinite(p.numpy(force=True)).all() for p in model.parameters())


def test_bench(capsys, tmp_path, monkeypatch, threads):
    path = tmp_path / "report.json"
    code, out, _ = run(
        capsys, "bench", "elementwise/relu", "--budget", "0", "--json", str(path), "--threads", "1"
    )
    assert code == 0 and "elementwise/relu-large  tilegrad" in out and "reference" in out
    assert "1 threads" in out
    content = json.loads(path.read_text())
    bench.validate(content)
    assert [r["op"] for r in content["rows"]] == ["relu"]
    assert content["machine"]["threads"] == 1
    code, _, err = run(capsys, "bench", "nothing-like-this")
    assert code == 1 and "no row matches 'nothing-like-this'" in err


@pytest.mark.skipif(not COMPILED, reason="the reference has no ways")
def test_ladder(capsys, threads):
    code, out, _ = run(capsys, "bench", "square_64", "--ladder", "--budget", "0", "--threads", "1")
    head, columns, *rows = out.splitlines()
    assert code == 0 and head.startswith("matmul/matmul-square_64  float32, ")
    assert columns.split() == ["impl", "threads", "GFLOP/s", "of", "registers"]
    names = [r.split()[0] for r in rows]
    assert names == ["registers", *contract.MATMUL, "(chosen)"]
    by_name = dict(zip(names, rows, strict=True))
    assert by_name["registers"].endswith("100.0%")
    why = "-  needs at most 3 rows of input and contiguous rows of other"
    assert by_name["few_rows"].endswith(why)
    code, _, err = run(capsys, "bench", "elementwise/relu", "--ladder")
    assert code == 1 and "no product or convolution in 'elementwise/relu'" in err


def test_bench_of_a_wrong_kernel(capsys, monkeypatch):
    row = next(iter(bench.select("elementwise/relu")))
    wrong = bench.run_case(*row, budget=0.0)
    wrong.update(correct=False, error=0.5)
    monkeypatch.setattr(bench, "run_case", lambda *args, **options: wrong)
    code, out, _ = run(capsys, "bench", "elementwise/relu")
    assert code == 1 and "WRONG: error 0.5" in out and "us" not in out.split("WRONG")[1]


def test_check(capsys, monkeypatch):
    family = bench.check.__globals__["Outcome"]
    monkeypatch.setattr(bench, "check", lambda: iter([family("good", 7, {"avx2": 0.5}, [])]))
    code, out, _ = run(capsys, "check")
    assert code == 0 and "good" in out and out.rstrip().endswith("ok")
    bad = [
        family("good", 7, {"avx2": 0.5}, []),
        family("bad", 3, {"avx2": 9.0}, ["exp-row float32: error 9"]),
    ]
    monkeypatch.setattr(bench, "check", lambda: iter(bad))
    code, out, _ = run(capsys, "check")
    assert code == 1 and "1 FAILED" in out and "exp-row float32: error 9" in out


@pytest.mark.slow
def test_check_of_every_family(capsys):
    code, out, _ = run(capsys, "check")
    assert code == 0, out


def test_module_entry_and_closed_pipe():
    done = subprocess.run(
        [sys.executable, "-m", "tilegrad", "info"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("tilegrad")
    head = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.close()"], stdin=subprocess.PIPE
    )
    time.sleep(0.2)
    done = subprocess.run(
        [sys.executable, "-m", "tilegrad", "info"], stdout=head.stdin, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    head.stdin.close()
    head.wait()
    assert "Traceback" not in done.stderr


# --- examples -------------------------------------------------------------------------------------
EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name):
    return runpy.run_path(str(EXAMPLES / name))["main"]


def test_example_lenet(mnist, capsys):
    assert example("lenet_mnist.py")(mnist, epochs=8) > 0.6
    assert capsys.readouterr().out.count("% of the test images") == 8


def test_example_1989(mnist, tmp_path, capsys):
    curves = example("lecun1989.py")(mnist, quick=True, file=tmp_path / "curves.png")
    assert curves["base"].shape == (2, 1, 3)  # test and training set, seeds, passes
    assert (tmp_path / "curves.png").stat().st_size > 1000
    out = capsys.readouterr().out
    assert "published 4.14 %" in out and "three days" in out


def test_example_1989_modern(mnist):
    """Images of the right size, shifted by at most a pixel, and a network that learns from them."""
    parts = runpy.run_path(str(EXAMPLES / "lecun1989.py"))
    rng = np.random.default_rng(0)
    images, labels = parts["draw"](data.MNIST(mnist), 100, rng)
    assert images.shape == (100, 1, 16, 16) and len(labels) == 100
    assert images.numpy().min() == -1.0 and 0.5 < images.numpy().max() <= 1.0
    moved = parts["shifted"](images, rng).numpy()
    ways = {
        (dy, dx)
        for a, b in zip(images.numpy()[:, 0], moved[:, 0], strict=True)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if np.array_equal(np.roll(a, (dy, dx), (0, 1))[1:-1, 1:-1], b[1:-1, 1:-1])
    }
    assert len(ways) == 9
    sets = data.MNIST(mnist), data.MNIST(mnist, train=False)
    base, *_, everything = parts["VARIANTS"]
    for variant in (base, everything):
        test, seen = parts["train"](variant._replace(passes=40), *sets, 0)
        assert len(test) == 40 and test[-1] < min(40.0, test[0]) and seen[-1] < 10


@pytest.fixture(scope="module")
def small_cifar10(tmp_path_factory):
    """An archive of ten classes that differ by the direction and the colour of their stripes."""
    image = pytest.importorskip("PIL.Image")
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    rng, at = np.random.default_rng(0), np.indices((32, 32))
    path = tmp_path_factory.mktemp("cifar10") / "images.zip"
    with zipfile.ZipFile(path, "w") as z:
        for i, kind in enumerate(names):
            for part, count in (("train", 24), ("test", 10)):
                for n in range(count):
                    angle, phase = np.pi * (i % 5) / 5, rng.uniform(0, 6)
                    wave = np.sin((at[0] * np.sin(angle) + at[1] * np.cos(angle)) + phase)
                    pixels = np.full((32, 32, 3), 128.0)
                    pixels[..., i // 5] += 100 * wave
                    file = io.BytesIO()
                    image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
                    z.writestr(f"{part}/{kind}/{n:04d}.png", file.getvalue())
    return path


def test_example_transfer(small_cifar10, tmp_path, capsys):
    parts = runpy.run_path(str(EXAMPLES / "transfer_cifar10.py"))
    file = tmp_path / "eight.safetensors"
    results = parts["main"](small_cifar10, True, file)
    assert list(results) == [5, 20] and min(results[20]) > 0.7
    out = capsys.readouterr().out
    assert "8 classes: " in out and "ship and truck from 5 images each" in out
    saved = tg.load(file)
    assert len(saved["classes"]) == 8 and not set(parts["NEW"]) & set(saved["classes"])
    model = parts["transferred"](file, 2)
    trained = [k for k, p in model.named_parameters() if p.requires_grad]
    assert trained == ["14.weight", "14.bias"] and model[-1].weight.shape == (2, 96)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    data = parts["dataset"](parts["images"](small_cifar10, True, 4), parts["NEW"])
    parts["train"](model, data, 2, 4, 0.01, frozen=True)
    changed = [k for k, v in model.state_dict().items() if (v != before[k]).any()]
    assert changed == trained


def test_example_curve(tmp_path, capsys):
    x = np.linspace(0, 1, 40)
    rows = "\n".join(f"{i},{a},{np.sin(5 * a) * 80}" for i, a in enumerate(x))
    (tmp_path / "curve.csv").write_text("row,x,y\n" + rows)
    assert example("curve.py")(tmp_path / "curve.csv", steps=300) < 0.01
    assert example("curve.py")(steps=300) < 0.1
    assert "step   299:" in capsys.readouterr().out


def test_example_bayesian_search(capsys):
    example("bayesian_search.py")(quick=True)
    out = capsys.readouterr().out
    assert "random search" in out and "Gaussian process" in out and out.count("best: hidden") == 2
