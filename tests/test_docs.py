"""What is written is true: every example runs, every named symbol and link exists, and the list of
what is as in PyTorch agrees with the library."""

import ast
import builtins
import doctest
import importlib
import inspect
import operator
import pkgutil
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import tilegrad as tg
from tilegrad.ops import rules
from tilegrad.recipes import recipe

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules():
    """Every Python module of the package."""
    yield tg
    for m in pkgutil.walk_packages(tg.__path__, "tilegrad."):
        if not m.name.rpartition(".")[2].startswith("_"):
            yield importlib.import_module(m.name)


def documented():
    """(name, docstring, globals) of everything reachable from the package's modules and Tensor."""
    seen = set()
    for module in modules():
        visible = {k: v for k, v in vars(module).items() if not hasattr(builtins, k)}
        for name, value in [("", module), *vars(module).items()]:
            members = [(name, value)]
            if inspect.isclass(value):
                members += [(f"{name}.{k}", v) for k, v in vars(value).items()]
            for label, member in members:
                member = inspect.unwrap(getattr(member, "fget", member))
                ours = str(getattr(member, "__module__", "")).startswith("tilegrad")
                if not (ours or member is module):
                    continue
                doc = member.__doc__ or ""
                if ">>>" in doc and (label, doc) not in seen:
                    seen.add((label, doc))
                    yield f"{module.__name__}.{label}".rstrip("."), doc, visible


def check_examples(text, name, names, file=None, line=0):
    """Runs the ``>>>`` examples of text in the dict names."""
    test = doctest.DocTestParser().get_doctest(text, names, name, file, line)
    out = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    runner.run(test, out=out.append, clear_globs=False)
    assert runner.failures == 0, "".join(out)


DOCUMENTED = {name: (doc, names) for name, doc, names in documented()}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_docstring_example(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    doc, names = DOCUMENTED[name]
    check_examples(doc, name, dict(names))


def blocks(page):
    """(first line, language, file quoted or "", text) of every fenced block."""
    out, start, head = [], None, ""
    lines = page.read_text().splitlines()
    for i, line in enumerate(lines):
        if line.lstrip().startswith("```"):
            if start is None:
                start, head = i + 1, line.strip().strip("`")
            else:
                language, _, file = head.partition(" ")
                text = textwrap.dedent("\n".join(lines[start:i]) + "\n")
                out.append((start + 1, language, file, text))
                start = None
    assert start is None, f"{page}: a block is not closed"
    return out


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page(page, tmp_path, monkeypatch):
    """The python blocks of a page run from top to bottom in one namespace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rules, "RULES", dict(rules.RULES))
    monkeypatch.setattr(recipe, "RECIPES", dict(recipe.RECIPES))
    names = {"__name__": "page"}
    for line, language, file, text in blocks(page):
        if language != "python" or file:
            continue
        if ">>>" in text:
            check_examples(text, page.name, names, str(page), line)
        else:
            exec(compile("\n" * (line - 1) + text, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_quoted_sources(page):
    """A block that names a file stands in that file, but for white space."""
    for line, _, file, text in blocks(page):
        if file:
            assert "".join(text.split()) in "".join((ROOT / file).read_text().split()), line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_targets(page):
    """Relative links lead to files; every ``make`` target named exists."""
    text = page.read_text()
    prose = re.sub(r"`[^`\n]*`", "", text)
    for link in re.findall(r"(?<!\\)\]\(([^)#]+)[^)]*\)", prose):
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.M))
    assert named <= targets, f"{page.name} names {named - targets}"


def symbols(file):
    """The names a source file defines."""
    text = file.read_text()
    if file.suffix != ".py":
        text = re.sub(r"//.*", "", text)
        return set(re.findall(r"\b[A-Za-z_]\w*\b", text))
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
            names |= {f"{node.name}.{n.name}" for n in node.body if hasattr(n, "name")}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_named_symbols_exist(page):
    """``path/to/file::symbol`` names a file of the repository that defines the symbol."""
    missing = []
    for path, symbol in re.findall(r"`([\w./-]+\.\w+)::([\w.]+)`", page.read_text()):
        file = ROOT / path
        if not file.exists() or symbol not in symbols(file):
            missing.append(f"{path}::{symbol}")
    assert not missing


def test_the_trip_names_symbols():
    assert (ROOT / "docs" / "trip.md").read_text().count("::") > 20


def test_the_tables_are_those_of_the_contract_and_the_cases():
    check = [sys.executable, ROOT / "tools" / "tables.py", "--check"]
    r = subprocess.run(check, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr


# --- docs/from_pytorch.toml -----------------------------------------------------------------------
PYTORCH = tomllib.loads((ROOT / "docs" / "from_pytorch.toml").read_text())


def namespace(key):
    if key == "tilegrad":
        return tg
    if key == "Tensor":
        return tg.Tensor
    return operator.attrgetter(key)(tg)


def public(key):
    """The public names of a namespace; modules count only where they are listed."""
    space = namespace(key)
    listed = getattr(space, "__all__", None) if key != "tilegrad" else None
    names = listed if listed is not None else [n for n in dir(space) if not n.startswith("_")]
    return {n for n in names if not isinstance(getattr(space, n), ModuleType)}


@pytest.mark.parametrize("key", PYTORCH)
def test_from_pytorch(key):
    table = PYTORCH[key]
    assert set(table) <= {"same", "differs", "own", "absent", "why"}
    space = namespace(key)
    present = [*table.get("same", ()), *table.get("differs", ()), *table.get("own", ())]
    absent = table.get("absent", [])
    names = present + absent
    assert len(set(names)) == len(names), {n for n in names if names.count(n) > 1}
    assert [n for n in present if not hasattr(space, n)] == [], "listed, but not in tilegrad"
    assert [n for n in absent if hasattr(space, n)] == [], "listed as absent, but in tilegrad"
    assert public(key) - set(present) == set(), "in tilegrad, but not listed"
    assert all(len(how) > 10 for how in table.get("differs", {}).values()), "say how"
    assert set(table.get("why", {})) <= set(absent), "a reason for what is not absent"
    assert all(len(why) > 5 for why in table.get("why", {}).values()), "say why"
    for name in re.findall(r"\btilegrad((?:\.\w+)+)", " ".join(table.get("why", {}).values())):
        operator.attrgetter(name[1:])(tg)
