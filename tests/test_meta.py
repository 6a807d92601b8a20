"""The promises of the layout: contract and modules agree, every op is documented, has cases and a
derivative, layers import downwards only, files stay short."""

import ast
import inspect
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import tilegrad as tg
from tilegrad import _cpu, autograd, cases, kernels, ops, tape
from tilegrad.kernels import contract, reference
from tilegrad.nn import functional as F
from tilegrad.ops import rules

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "python" / "tilegrad"
CASES = [c for c in cases.all_cases() if not c.bench]
FUNCTIONS = {name: getattr(F, name) for name in F.__all__}
FUNCTIONS.update({name: fn for name, fn in ops.PUBLIC.items() if callable(fn)})


RUNTIME = {
    "num_threads", "set_num_threads", "isa", "isas", "set_isa", "empty_cache", "memory_stats",
    "reset_peak_memory", "Plan", "tensor_type", "ops", "reduce_ops", "arg_reduce_ops",
    "cumulative_ops",
}  # fmt: skip
"""What the extension binds beside the contract."""


def names_of(args):
    """The argument names of a contract row: ``x, dtype=...: note`` -> [x, dtype]."""
    return [re.match(r"\w+", a.strip())[0] for a in args.split(",")]


# --- contract and modules -------------------------------------------------------------------------
def test_the_reference_implements_the_contract():
    assert sorted(reference.__all__) == sorted(contract.NAMES)
    for k in contract.KERNELS:
        assert list(inspect.signature(getattr(reference, k.name)).parameters) == names_of(k.args)


def test_the_extension_implements_the_contract():
    bound = {n for n in dir(_cpu) if not n.startswith("_")}
    assert bound - RUNTIME == set(contract.NAMES)
    assert bound >= RUNTIME
    for k in contract.KERNELS:
        head = getattr(_cpu, k.name).__doc__.split("->")[0]
        assert re.findall(r"(\w+): ", head) == names_of(k.args), k.name


def test_op_ids_mean_the_same():
    for name, names in _cpu.ops().items():
        assert names == getattr(contract, name), name
    assert set(_cpu.ops()) == {"UNARY", "UNARY_BOOL", "UNARY_GRAD", "BINARY", "COMPARE"}
    assert _cpu.reduce_ops() == contract.REDUCE
    assert _cpu.arg_reduce_ops() == contract.ARG_REDUCE
    assert _cpu.cumulative_ops() == contract.CUMULATIVE


# --- public ops -----------------------------------------------------------------------------------
COMMON = {
    "input", "other", "dtype", "device", "requires_grad", "generator", "axis", "keepdim",
    "keepdims", "inplace", "args", "kwargs", "named", "options",
}  # fmt: skip
"""Arguments that mean the same everywhere."""


def explained(name, seen=frozenset()):
    """The text of a docstring and of the ones it refers to (``as conv2d``)."""
    text = (inspect.getdoc(FUNCTIONS[name]) or "").split(">>>")[0]
    seen = seen | {name}
    others = set(re.findall(r"(?:\b[Aa]s (?:for )?|`\(?)`*(\w+)", text)) & set(FUNCTIONS) - seen
    return text + "".join(explained(other, seen) for other in sorted(others))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_op_is_documented(name):
    fn = FUNCTIONS[name]
    doc, text = inspect.getdoc(fn) or "", explained(name)
    assert ">>> import tilegrad as tg" in doc, "an example a reader can paste"
    assert len(text) > 20
    for parameter in inspect.signature(fn).parameters:
        if parameter not in COMMON:
            assert re.search(rf"\b{parameter}\b", text), f"{parameter} is not explained"


ROWS = {c.op for c in cases.all_cases()}
NO_ROWS = {
    "broadcast_shapes": "takes and returns tuples",
    **dict.fromkeys(
        ("seed", "initial_seed", "manual_seed", "get_rng_state", "set_rng_state"),
        "the state of the generator: tests/test_random.py",
    ),
}


def test_every_op_has_cases():
    covered = {id(FUNCTIONS[op]) for op in ROWS if op in FUNCTIONS}
    missing = {n for n, fn in FUNCTIONS.items() if id(fn) not in covered}
    assert missing == set(NO_ROWS)


def test_names_of_cases_are_unique():
    names = [str(c) for c in cases.all_cases()]
    assert len(set(names)) == len(names), {n for n in names if names.count(n) > 1}


def leaves(case):
    """The inputs of a case as float64 tensors that require grad where they can."""
    xs = [tg.from_numpy(a) for a in case.arrays(tg.float64)]
    return [
        x.requires_grad_() if arg.grad and x.is_floating_point() else x
        for arg, x in zip(case.inputs, xs, strict=True)
    ]


def floating(y):
    ys = y if isinstance(y, (tuple, list)) else (y,)
    return [t for t in ys if isinstance(t, tg.Tensor) and t.is_floating_point()]


CONSTANT = {
    **dict.fromkeys(
        (
            "empty_like",
            "full_like",
            "ones_like",
            "zeros_like",
            "rand_like",
            "randn_like",
            "randint_like",
        ),
        "only the shape and dtype are used",
    ),
    "bernoulli": "a draw has no derivative",
    "poisson": "a draw has no derivative",
    **dict.fromkeys(("histc", "histogram"), "counts"),
    "nextafter": "a step between neighbouring numbers",
}
"""Ops with a floating result through which no gradient passes, and why."""


@pytest.mark.parametrize("op", sorted(ROWS))
def test_no_op_cuts_the_tape(op):
    """Whatever floats comes out of floats that require grad requires grad."""
    for case in [c for c in CASES if c.op == op]:
        xs = leaves(case)
        if any(x.requires_grad for x in xs):
            cut = [t for t in floating(case.function()(*xs)) if not t.requires_grad]
            assert not cut or op in CONSTANT, f"{case}"


# --- what the cases reach -------------------------------------------------------------------------
class Counting:
    """A module of kernels that notes which of them are called, and with which op ids."""

    def __init__(self, module):
        self.module, self.called = module, set()

    def __getattr__(self, name):
        def kernel(*args):
            self.called |= {name, (name, args[0])} if args and isinstance(args[0], int) else {name}
            return member(*args)

        member = getattr(self.module, name)
        return kernel if callable(member) else member


@pytest.fixture(scope="module")
def reached():
    """The kernels called and the rules recorded by every case, by its gradient, and by the gradient
    of its gradient."""
    names, counting = set(), Counting(kernels.host)

    def spy(out, inputs, params):
        names.add(out._node.rule.name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape, "watchers", [spy])
        patch.setattr(kernels, "host", counting)
        for case in CASES:
            xs = leaves(case)
            ys = [y for y in floating(case.function()(*xs)) if y.requires_grad]
            xs = [x for x in xs if x.requires_grad]
            if not ys:
                continue
            autograd.grad(ys, xs, [tg.ones_like(y) for y in ys], True, allow_unused=True)
            us = [tg.ones_like(y).requires_grad_() for y in ys]
            gs = autograd.grad(ys, xs, us, create_graph=True, allow_unused=True)
            gs = [g for g in gs if g is not None and g.requires_grad]
            if case.second and gs:
                ones = [tg.ones_like(g).requires_grad_() for g in gs]
                autograd.grad(gs, [*xs, *us], ones, create_graph=True, allow_unused=True)
    return counting.called, names


WITHOUT_CASES = {
    "binary_into": "in place: tests/test_core.py",
}
OP_IDS = "unary unary_bool unary_grad binary compare reduce arg_reduce cumulative".split()


def test_every_kernel_is_reached(reached):
    called, _ = reached
    assert set(contract.NAMES) - called == set(WITHOUT_CASES)
    for entry in OP_IDS:
        names = getattr(contract, entry.upper())
        assert [n for i, n in enumerate(names) if (entry, i) not in called] == [], entry


def test_every_rule_is_reached(reached):
    _, names = reached
    assert set(rules.RULES) - names == set()


# --- layers ---------------------------------------------------------------------------------------
LAYERS = [
    {"errors"},
    {"recording", "size"},
    {"dtypes"},
    {"host"},
    {"kernels"},
    {"grad_mode", "hooks"},
    {"tape", "device", "cuda", "backends"},
    {"autograd", "accelerator"},
    {"tensor"},
    {"generator", "typed"},
    {"ops"},
    {"forward", "function", "interop", "serialization"},
    {"fft", "func", "linalg", "special"},
    {"functional"},
    {"testing", "cases"},
    {"nn", "optim"},
    {"utils", "data", "models", "distributions"},
    {"array_api"},
    {"bench", "check"},
    {"diagnostics", "capturing"},
    {"train"},
    {"cli", "demo", "recipes"},
    {"__main__"},
]
"""A module imports from its own layer or from those above it in this list."""

RANK = {name: i for i, layer in enumerate(LAYERS) for name in layer}


def imports(file):
    """(module of tilegrad, line) of what a file imports when it is loaded, not only for types."""
    parts = ("tilegrad", *file.relative_to(PACKAGE).with_suffix("").parts)
    package = parts[:-1]
    tree = ast.parse(file.read_text())
    queue = list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                queue += node.body
            queue += node.orelse
        elif isinstance(node, (ast.ClassDef, ast.With, ast.Try, ast.For)):
            queue += node.body
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            if module[0] == "tilegrad":
                for alias in node.names:
                    yield (*module, alias.name)[1], node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                module = alias.name.split(".")
                if module[0] == "tilegrad" and len(module) > 1:
                    yield module[1], node.lineno


def test_imports_go_down():
    wrong = []
    for file in PACKAGE.rglob("*.py"):
        own = file.relative_to(PACKAGE).with_suffix("").parts[0]
        if own == "__init__":
            continue
        for target, line in imports(file):
            if RANK[target] > RANK[own]:
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {target}")
    assert not wrong


def test_light_imports():
    """At load the package needs NumPy and ml_dtypes, and the standard library."""
    code = "import sys, numpy, ml_dtypes; a = set(sys.modules); import tilegrad; " \
           "print(*{m.partition('.')[0] for m in set(sys.modules) - a})"  # fmt: skip
    import sys

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(out.stdout.split()) - sys.stdlib_module_names <= {"tilegrad", "pybind11_builtins"}


# --- sources --------------------------------------------------------------------------------------
SUFFIXES = {".py", ".pyi", ".h", ".cpp", ".cu", ".cuh", ".sh", ".txt", ".toml", ".md", ""}


def sources():
    """The files of the repository that people write (stubs and the licence are not)."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    files = [ROOT / f for f in listed if f] or [
        f for d in ("csrc", "python", "tests", "docs", "tools") for f in (ROOT / d).rglob("*")
    ]
    for f in files:
        if f.is_file() and f.suffix in SUFFIXES and f.suffix != ".pyi" and f.name != "LICENSE":
            yield f


CODE = {".py", ".h", ".cpp", ".cu", ".cuh"}


def test_files_are_short():
    long, wide = {}, {}
    for f in sources():
        lines = f.read_text().splitlines()
        if f.suffix in CODE and len(lines) > 500:
            long[f.name] = len(lines)
        if f.suffix in CODE:
            wide.update({f"{f.name}:{i}": len(s) for i, s in enumerate(lines, 1) if len(s) > 100})
    assert (long, wide) == ({}, {})


def test_nothing_is_left_undone():
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|^\s*#\s*if 0", re.M)
    found = {
        str(f.relative_to(ROOT)): m[0] for f in sources() if (m := marks.search(f.read_text()))
    }
    assert not found


ISA = ROOT / "csrc" / "cpu" / "isa"
PLAIN = {"cstdint", "cstddef", "cstring", "immintrin.h", "arm_neon.h", "type_traits"}
"""Headers without inline functions that a linker could take from the wrong instruction set."""


def included(file, seen):
    for mark, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', file.read_text(), re.M):
        if mark == '"':
            target = ROOT / "csrc" / name
            if target not in seen:
                seen.add(target)
                yield from included(target, seen)
        else:
            yield file.name, name


def test_instruction_sets_share_no_inline_function():
    """Code built with newer instructions must not define functions that other code may link."""
    for file in ISA.glob("kernels_*.cpp"):
        bad = [(f, name) for f, name in included(file, set()) if name not in PLAIN]
        assert not bad, f"{file.name} includes {bad}"


def test_objects_of_an_instruction_set_keep_to_their_namespace():
    """In what was built here, weak symbols of a set's objects lie in the namespace of that set."""
    if not shutil.which("nm"):
        return
    for isa in ("avx2", "avx512"):
        for file in (ROOT / "build").rglob(f"isa_{isa}.dir/**/*.o"):
            out = subprocess.run(["nm", "-C", file], capture_output=True, text=True).stdout
            weak = [line[19:] for line in out.splitlines() if line[17:18] in "WVu"]
            foreign = [w for w in weak if f"tg::{isa}::" not in w]
            assert not foreign, f"{file.name}: {foreign}"
