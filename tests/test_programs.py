"""Programs written for PyTorch run with only their imports changed, and give PyTorch's numbers.

A program (tests/programs/NAME.py) has ``main(device="cpu", steps=N) -> dict`` of numbers, truths
and lists of them; ``losses`` fall. NAME.json holds what PyTorch returned: where torch is installed,
``python tests/test_programs.py`` writes these files.
"""

import ast
import json
import re
import sys
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent / "programs"
LISTED = tomllib.loads((FOLDER.parents[1] / "docs" / "from_pytorch.toml").read_text())
PROGRAMS = sorted(p.stem for p in FOLDER.glob("*.py"))


def imported(name):
    """The source of a program with tilegrad in its import lines, and nowhere else."""
    text = (FOLDER / f"{name}.py").read_text()
    text = re.sub(r"^( *)import torch$", r"\1import tilegrad as torch", text, flags=re.M)
    return re.sub(r"^( *)(from|import) torch\b", r"\1\2 tilegrad", text, flags=re.M)


def run(name, text):
    """What the program returns, as JSON holds it."""
    module = types.ModuleType(f"program_{name}")
    sys.modules[module.__name__] = module  # dataclasses look there
    try:
        exec(compile(text, FOLDER / f"{name}.py", "exec"), module.__dict__)
        return json.loads(json.dumps(module.main()))
    finally:
        del sys.modules[module.__name__]


def assert_close(got, expected, where):
    """Equal structure, truths and whole numbers; numbers within float32 after a training run."""
    assert type(got) is type(expected), where
    if isinstance(got, dict):
        assert list(got) == list(expected), where
        for key in got:
            assert_close(got[key], expected[key], f"{where}[{key}]")
    elif isinstance(got, float) or (isinstance(got, list) and isinstance(got[0], float)):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=where)
    elif isinstance(got, list):
        assert len(got) == len(expected), where
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert_close(a, b, f"{where}[{i}]")
    else:
        assert got == expected, where


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name):
    """Twice the same bits, losses that fall, and the numbers that PyTorch gave."""
    results = run(name, imported(name))
    assert results == run(name, imported(name))
    losses = results.get("losses")
    if losses is not None:
        assert np.mean(losses[-len(losses) // 4 :]) < 0.9 * np.mean(losses[: len(losses) // 4 or 1])
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    assert_close(results, stored["results"], name)


def names_of(text):
    """The dotted names below torch that a program imports or writes out, aliases resolved."""
    tree, aliases, found = ast.parse(text), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {a.asname or a.name: a.name for a in node.names if a.name[:5] == "torch"}
        elif isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "torch":
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        written = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""
        root, _, rest = written.partition(".")
        if root in aliases and re.fullmatch(r"[\w.]+", written):  # no method of a result
            found.add(f"{aliases[root]}.{rest}".rstrip("."))
    return {n.removeprefix("torch.") for n in found}


SPACES = {key for key in LISTED if key not in ("tilegrad", "Tensor")}
PLACES = {"nn.parameter.Parameter": "nn.Parameter"}
"""Second addresses of a name."""


@pytest.mark.parametrize("name", PROGRAMS)
def test_names_are_listed(name):
    """Every name that a program takes from torch is same or differs in docs/from_pytorch.toml."""
    unknown = set()
    for used in names_of((FOLDER / f"{name}.py").read_text()) - {"torch"}:
        key, _, last = PLACES.get(used, used).rpartition(".")
        table = LISTED.get(key or "tilegrad", {})
        modules = used in SPACES or any(key.startswith(used + ".") for key in SPACES)
        if last not in {*table.get("same", ()), *table.get("differs", ())} and not modules:
            unknown.add(used)
    assert not unknown


@pytest.mark.filterwarnings("ignore")  # PyTorch's own
@pytest.mark.parametrize("name", PROGRAMS)
def test_beside_pytorch(name):
    """The stored numbers are those of the PyTorch that is installed."""
    pytest.importorskip("torch")
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    assert_close(run(name, (FOLDER / f"{name}.py").read_text()), stored["results"], name)


if __name__ == "__main__":
    import torch

    for program in sys.argv[1:] or PROGRAMS:
        values = run(program, (FOLDER / f"{program}.py").read_text())
        source = {"source": f"PyTorch {torch.__version__.split('+')[0]}", "results": values}
        (FOLDER / f"{program}.json").write_text(json.dumps(source, indent=1) + "\n")
