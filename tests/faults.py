"""The faults of ``mutation.py``: what is planted, one at a time, in derivatives.

In the sources of ``ops/`` (functions reached from a rule, and helpers that nothing else uses): one
node of the syntax tree replaced. In the rules: a gradient, or a saved value, replaced. In gradient
kernels: the arguments or the result of one kernel replaced. See DeMillo, Lipton and Sayward, "Hints
on Test Data Selection", 1978, and the operators of Offutt et al., 1996.
"""

import ast
import builtins
import gc
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tilegrad as tg
from tilegrad import tape
from tilegrad.kernels import contract
from tilegrad.ops import rules
from tilegrad.tensor import Tensor

OPS = Path(tg.__file__).parent / "ops"
PATHS = ("vjp", "fused")
"""The members of a rule that are derivatives."""


@dataclass(frozen=True)
class Fault:
    """One fault. ``reaches`` is what a test must run through to notice it (see Trace in
    mutation.py); ``plant`` brings it in, for the rest of the life of the process."""

    kind: str
    where: str
    before: str
    after: str
    reaches: tuple
    plant: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.where}: {self.before} -> {self.after} ({self.kind})"


# --- the functions that make up the derivatives ---------------------------------------------------
def _reachable():
    """The functions of ops/ held by the rules: directly, or by functions held by them."""
    found, queue = {}, [getattr(r, p) for r in rules.RULES.values() for p in PATHS]
    while queue:
        f = queue.pop()
        if isinstance(f, (tuple, list)):
            queue += f
        elif isinstance(f, types.FunctionType) and id(f) not in found:
            if Path(f.__code__.co_filename).parent == OPS:
                found[id(f)] = f
                queue += [c.cell_contents for c in f.__closure__ or ()]
    return list(found.values())


class Source:
    """One file of ops/: its tree, and which node a code object was compiled from."""

    def __init__(self, path):
        self.path, self.text = str(path), path.read_text()
        self.tree = ast.parse(self.text)
        self.nodes = list(ast.walk(self.tree))
        self.functions = {}
        for i, n in enumerate(self.nodes):
            if isinstance(n, (ast.FunctionDef, ast.Lambda)):
                self.functions.setdefault(n.lineno, []).append(i)

    def index_of(self, code):
        """The place in ``nodes`` of the function with this code, or None."""
        lambdas = code.co_name == "<lambda>"
        places = [p for p in code.co_positions() if p[2] is not None and p[3] != p[2]]
        for i in self.functions.get(code.co_firstlineno, ()):
            n = self.nodes[i]
            if not lambdas and getattr(n, "name", None) == code.co_name:
                return i
            if lambdas and isinstance(n, ast.Lambda) and places:
                a, z = (
                    (n.body.lineno, n.body.col_offset),
                    (n.body.end_lineno, n.body.end_col_offset),
                )
                if all(a <= (p[0], p[2]) and (p[1], p[3]) <= z for p in places):
                    return i
        return None

    def mutant(self, index, function, make):
        """The code of the function at that index with the node at ``index`` replaced."""
        tree = ast.parse(self.text)
        nodes = list(ast.walk(tree))
        _Replace(nodes[index], make(nodes[index])).visit(tree)
        queue = [compile(ast.fix_missing_locations(tree), self.path, "exec")]
        while queue:
            code = queue.pop()
            if self.index_of(code) == function:
                return code
            queue += [c for c in code.co_consts if isinstance(c, types.CodeType)]
        raise LookupError(f"{self.path}: no code for node {function}")


class _Replace(ast.NodeTransformer):
    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        if node is not self.old:
            return self.generic_visit(node)
        # The old node stays, unreachable, so that the function closes over the same names.
        if isinstance(node, ast.stmt):
            new = ast.If(ast.Constant(0), [node], [])
        else:
            new = ast.IfExp(ast.Constant(1), self.new, node)
        return ast.copy_location(new, node)


class Sources:
    """Every function of ops/ that belongs to derivatives alone, with its live copies."""

    def __init__(self):
        self.files = {str(p): Source(p) for p in sorted(OPS.glob("*.py"))}
        self.live = {}  # (file, node) -> functions
        for f in gc.get_objects():
            if isinstance(f, types.FunctionType) and f.__code__.co_filename in self.files:
                key = self.key(f.__code__)
                if key is not None:
                    self.live.setdefault(key, []).append(f)
        chosen = {k for k in (self.key(f.__code__) for f in _reachable()) if k is not None}
        self.keys = sorted(self._with_helpers(chosen))

    def key(self, code):
        source = self.files.get(code.co_filename)
        index = None if source is None else source.index_of(code)
        return None if index is None else (code.co_filename, index)

    def _with_helpers(self, chosen):
        """chosen, and the functions of modules that are named inside these alone."""
        uses = {}  # name -> (file, node that names it)
        for path, source in self.files.items():
            public = _strings(source, "__all__")
            for n in source.nodes:
                if isinstance(n, ast.Name):
                    uses.setdefault(n.id, []).append((path, n))
                elif isinstance(n, ast.ImportFrom):
                    # Known by another name there: counted as used outside derivatives.
                    for a in (a for a in n.names if a.asname):
                        uses.setdefault(a.name, []).append((path, n))
            for name in public:
                uses.setdefault(name, []).append((path, source.tree))
        tops = [
            (path, source, node)
            for path, source in self.files.items()
            for node in source.tree.body
            if isinstance(node, ast.FunctionDef)
        ]
        while True:
            functions = [self.files[p].nodes[i] for p, i in chosen]
            covered = {id(n) for f in functions for n in ast.walk(f)}
            more = set()
            for path, source, node in tops:
                own = {id(n) for n in ast.walk(node)}
                private = node.name.startswith("_") and not _imported(self.files, path, node.name)
                named = [
                    n for p, n in uses.get(node.name, ())
                    if id(n) not in own and (p == path or not private)
                ]  # fmt: skip
                if named and all(id(n) in covered for n in named):
                    more.add((path, source.nodes.index(node)))
            if more <= chosen:
                return chosen
            chosen |= more


def _imported(files, path, name):
    """Whether another file imports the name from this one."""
    module = Path(path).stem
    return any(
        isinstance(n, ast.ImportFrom) and n.module == module and name in {a.name for a in n.names}
        for source in files.values()
        for n in source.nodes
    )


def _strings(source, name):
    for n in source.tree.body:
        if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == name:
            return {c.value for c in ast.walk(n.value) if isinstance(c, ast.Constant)}
    return set()


# --- faults in the syntax tree --------------------------------------------------------------------
def _call(name, *args):
    return ast.Call(ast.Name(name, ast.Load()), list(args), [])


def _binop(op):
    return lambda n: ast.BinOp(n.left, op(), n.right)


def _compare(op):
    return lambda n: ast.Compare(n.left, [op()], n.comparators)


def _swapped(a, b):
    def make(n):
        args = list(n.args)
        args[a], args[b] = args[b], args[a]
        return ast.Call(n.func, args, n.keywords)

    return make


_TURNED = {
    ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Lt: [ast.LtE, ast.Gt], ast.Gt: [ast.GtE, ast.Lt],
    ast.LtE: [ast.Lt, ast.GtE], ast.GtE: [ast.Gt, ast.LtE], ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In],
}  # fmt: skip
_FUNCTIONS = set(contract.UNARY)
_STEPS = set(
    "reshape flip transpose permute unsqueeze spread convert expand narrow _rows sum sum_ mean "
    "mean_ _erase".split()
)
_ALIKE = set("_product matmul _weight_grad _input_grad _correlate better".split())


def _number(n):
    return isinstance(n, ast.Constant)


def _of_binop(n):
    left, right = lambda n: n.left, lambda n: n.right
    if isinstance(n.op, ast.Add):
        yield "wrong sign", _binop(ast.Sub)
        yield "missing term", left
        yield "missing term", right
    elif isinstance(n.op, ast.Sub):
        yield "wrong sign", _binop(ast.Add)
        yield "missing term", left
        yield "missing term", lambda n: ast.UnaryOp(ast.USub(), n.right)
        yield "swapped operands", lambda n: ast.BinOp(n.right, ast.Sub(), n.left)
    elif isinstance(n.op, ast.Mult):
        if not _number(n.left):
            yield "missing factor", left
        if not _number(n.right):
            yield "missing factor", right
    elif isinstance(n.op, ast.Div):
        yield "missing factor", left
        yield "swapped operands", lambda n: ast.BinOp(n.right, ast.Div(), n.left)


def _of_call(n):
    f = n.func
    name = f.id if isinstance(f, ast.Name) else f.attr if isinstance(f, ast.Attribute) else ""
    method = isinstance(f, ast.Attribute) and not n.args
    if name == "sum_to":
        yield "missing broadcast reduction", lambda n: n.args[0]
        yield "missing broadcast reduction", lambda n: _call("_mutant_first", *n.args)
    elif name == "where":
        yield "swapped operands", _swapped(1, 2)
        for i in (1, 2):
            if not _number(n.args[i]):
                yield "first branch only", lambda n, i=i: n.args[i]
    elif name in ("record", "record_view"):
        yield "cut tape", lambda n: _call("_mutant_new", n.args[1])
    elif name in _FUNCTIONS and (method or len(n.args) == 1):
        yield "missing function", lambda n: n.args[0] if n.args else n.func.value
    elif name in _STEPS:
        bare = isinstance(f, ast.Name)
        yield "missing step", lambda n: n.args[0] if bare else n.func.value
    elif name in _ALIKE and len(n.args) > 1:
        yield "swapped operands", _swapped(0, 1)
    for i, arg in enumerate(n.args):
        if isinstance(arg, ast.Name) and arg.id in ("axis", "axes", "dim"):
            yield "wrong axis", lambda n, i=i: _axis_moved(n, i)


def _axis_moved(n, i):
    args, old = list(n.args), n.args[i]
    if old.id == "axes":
        args[i] = ast.Subscript(old, ast.Slice(ast.Constant(1)), ast.Load())
    else:
        args[i] = ast.BinOp(old, ast.Sub(), ast.Constant(1))
    return ast.Call(n.func, args, n.keywords)


def _of_constant(n):
    v = n.value
    if isinstance(v, bool):
        yield "wrong flag", lambda n: ast.Constant(not n.value)
    elif isinstance(v, int):
        yield "wrong index", lambda n: ast.Constant(n.value + 1)
    elif isinstance(v, float):
        yield "wrong constant", lambda n: ast.Constant(n.value * 1.1 if n.value else 1.0)


def _of(n, names):
    """(kind, replacement) for one node; names: the arguments of the function it stands in."""
    if isinstance(n, ast.BinOp):
        yield from _of_binop(n)
    elif isinstance(n, ast.Call):
        yield from _of_call(n)
    elif isinstance(n, ast.Constant):
        yield from _of_constant(n)
    elif isinstance(n, ast.UnaryOp) and not _number(n.operand):
        if isinstance(n.op, ast.USub):
            yield "wrong sign", lambda n: n.operand
        else:
            yield "wrong condition", lambda n: n.operand
    elif isinstance(n, ast.Compare) and len(n.ops) == 1:
        for op in _TURNED[type(n.ops[0])]:
            yield "wrong condition", _compare(op)
    elif isinstance(n, ast.BoolOp):
        other = ast.Or if isinstance(n.op, ast.And) else ast.And
        yield "wrong condition", lambda n: ast.BoolOp(other(), n.values)
    elif isinstance(n, ast.IfExp):
        yield "first branch only", lambda n: n.body
        yield "first branch only", lambda n: n.orelse
    elif isinstance(n, (ast.AugAssign, ast.Expr)) and not _number(n.value):
        yield "missing step", lambda n: ast.Pass()
    elif isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Slice):
        yield "missing step", lambda n: n.value
    elif isinstance(n, ast.Name) and n.id in ("a", "b") and names == ["t", "a", "b", "y"]:
        other = "b" if n.id == "a" else "a"
        yield "swapped operands", lambda n: ast.Name(other, ast.Load())


def _sites(source, function):
    """Indices of the nodes of a function's body that may be replaced, and of its conditions."""
    node = source.nodes[function]
    body = [node.body] if isinstance(node, ast.Lambda) else node.body
    inside, queue = [], list(body)
    while queue:
        n = queue.pop()
        if isinstance(n, (ast.FunctionDef, ast.Lambda, ast.Raise, ast.JoinedStr, ast.Assert)):
            continue
        inside.append(n)
        for field, value in ast.iter_fields(n):
            if field != "annotation":
                queue += [v for v in (value if isinstance(value, list) else [value])
                          if isinstance(v, ast.AST)]  # fmt: skip
    ids = {id(n): i for i, n in enumerate(source.nodes)}
    return sorted(ids[id(n)] for n in inside)


def _of_conditions(n):
    """The tests of if statements, which are not expressions of their own."""
    if isinstance(n, ast.If):
        yield True
        yield False


def in_sources(sources):
    for path, function in sources.keys:
        source = sources.files[path]
        node = source.nodes[function]
        names = [a.arg for a in node.args.args]
        for i in _sites(source, function):
            n = source.nodes[i]
            for kind, make in _of(n, names):
                yield _in_source(sources, (path, function), i, kind, make)
            for constant in _of_conditions(n):
                test = source.nodes.index(n.test)
                make = lambda n, c=constant: ast.Constant(c)  # noqa: E731
                yield _in_source(sources, (path, function), test, "first branch only", make)


def _in_source(sources, key, index, kind, make):
    source = sources.files[key[0]]
    node = source.nodes[index]
    after = "nothing" if isinstance(node, ast.stmt) else ast.unparse(make(node))

    def plant():
        code = source.mutant(index, key[1], make)
        for f in sources.live[key]:
            f.__code__ = code

    where = f"ops/{Path(key[0]).name}:{node.lineno}"
    return Fault(kind, where, ast.unparse(node), after, ("code", key), plant)


# --- faults in what a rule returns and keeps ------------------------------------------------------
def _no_last(g):
    mask = tg.ones(g.numel(), dtype=g.dtype)
    if g.numel():
        mask[-1] = 0
    return g * mask.reshape(g.shape)


RESULTS = {
    "zeroed gradient": ("0 g", lambda g: g * 0.0),
    "wrong scale": ("1.01 g", lambda g: g * 1.01),
    "wrong sign": ("-g", lambda g: -g),
    "last element lost": ("g without its last element", _no_last),
    "off by one": ("g shifted by one", lambda g: tg.roll(g, 1, -1) if g.ndim else g),
}


def _around(rule, path, change):
    """Plants change(results) around one derivative of one rule."""

    def plant():
        old = getattr(rule, path)
        setattr(rule, path, lambda *args: change(list(old(*args))))

    return plant


def _one(i, f):
    def change(results):
        results[i] = None if results[i] is None else f(results[i])
        return results

    return change


def _exchanged(i, j):
    def change(results):
        results[i], results[j] = results[j], results[i]
        return results

    return change


def in_results(operands):
    """operands: (rule name, path) -> the operands that get gradients."""
    for (name, path), which in sorted(operands.items()):
        rule = rules.RULES[name]
        reaches = ("rule", name, path)
        where = f"rule {name} {path}"
        for i in sorted(which):
            for kind, (after, f) in RESULTS.items():
                plant = _around(rule, path, _one(i, f))
                yield Fault(kind, where, f"gradient {i}", after, reaches, plant)
        if len(which) > 1:
            i, j = sorted(which)[:2]
            yield Fault("wrong operand", where, f"gradients {i}, {j}", f"gradients {j}, {i}",
                        reaches, _around(rule, path, _exchanged(i, j)))  # fmt: skip


_SAVE = "t = out if i < 0 else inputs[i]"
_CHECK = "checks.append((cell, cell[0], i))"


def _attach_with(old, new):
    def plant():
        source = ast.get_source_segment(Path(tape.__file__).read_text(), _attach())
        assert source.count(old) == 1, f"tape.attach no longer says {old}"
        code = "from __future__ import annotations\n" + source.replace(old, new)
        scope = {}
        exec(compile(code, tape.__file__, "exec"), vars(tape), scope)
        tape.attach.__code__ = scope["attach"].__code__

    return plant


def _attach():
    body = ast.parse(Path(tape.__file__).read_text()).body
    return next(n for n in body if isinstance(n, ast.FunctionDef) and n.name == "attach")


def in_saved():
    for name, rule in sorted(rules.RULES.items()):
        for i in rule.saves:
            what = "output" if i < 0 else f"input {i}"
            here = f"rule.name == {name!r} and i == {i}"
            yield Fault("stale saved value", f"rule {name} saves", f"{what}, checked",
                        f"{what}, not checked", ("rule", name, "forward"),
                        _attach_with(_CHECK, f"{here} or {_CHECK}"))  # fmt: skip
            other = (
                "inputs[0]" if i < 0 else f"inputs[{1 - i}] if len(inputs) > 1 and i < 2 else out"
            )
            yield Fault("wrong saved value", f"rule {name} saves", what,
                        other, ("rule", name, "forward"),
                        _attach_with(_SAVE, f"t = ({other}) if {here} else "
                                            f"(out if i < 0 else inputs[i])"))  # fmt: skip


# --- names the mutants use ------------------------------------------------------------------------
def _first(g, shape):
    """What sum_to would be if it took the first slice of every stretched axis."""
    lead = g.ndim - len(shape)
    g = g[(0,) * lead] if lead else g
    return g[tuple(slice(0, 1) if m == 1 else slice(None) for m in shape)] if shape else g


builtins._mutant_first = _first
builtins._mutant_new = Tensor._new
