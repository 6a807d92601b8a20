"""What is planted, one at a time, in derivatives.

In the sources of ``ops/`` (functions reached from a rule, and helpers that nothing else uses): one
node of the syntax tree replaced. In the rules: a gradient, or a saved value, replaced. In gradient
kernels: the arguments or the result of one kernel replaced. See DeMillo, Lipton and Sayward, "Hints
on Test Data Selection", 1978, and the operators of Offutt et al., 1996.
"""

import ast
import builtins
import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sources import Replace

import tilegrad as tg
from tilegrad import tape
from tilegrad.kernels import contract
from tilegrad.ops import rules
from tilegrad.tensor import Tensor


@dataclass(frozen=True)
class Fault:
    """One fault. ``reaches``: what a test must run through to notice it (see Trace). ``plant``
    brings it in, for the rest of the life of the process."""

    kind: str
    where: str
    before: str
    after: str
    reaches: tuple
    plant: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.where}: {self.before} -> {self.after} ({self.kind})"


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
            if field != "annotation" and getattr(n, "arg", "") != "strict":
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

    def plant():
        code = source.mutant(index, key[1], make)
        for f in sources.live[key]:
            f.__code__ = code

    where = f"ops/{Path(key[0]).name}:{node.lineno} {source.label(key[1])}"
    return Fault(kind, where, *_shown(source, key[1], node, make), ("code", key), plant)


def _shown(source, function, node, make):
    """The text of a node before and after; of a lone name or number, and of what the function says
    twice, that of what it stands in."""
    if isinstance(node, ast.stmt):
        return ast.unparse(node), "nothing"
    around, texts = node, source.texts(function)
    small = ast.Constant, ast.Name, ast.UnaryOp, ast.Slice
    while isinstance(around, small) or texts[ast.unparse(around)] > 1:
        above = source.parents.get(id(around))
        if not isinstance(above, ast.expr):
            break
        around = above
    copied = copy.deepcopy(around)
    same = list(ast.walk(copied))[list(ast.walk(around)).index(node)]
    changed = make(same) if same is copied else Replace(same, make(same)).visit(copied)
    return ast.unparse(around), ast.unparse(changed)


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


ZEROS = {"wrong constant": ("g + 1", lambda g: g + 1.0)}
"""Of a gradient that is zero by definition (floor, sign): scaled or shifted it stays what it is."""


def _is_zero(rule, i):
    free = getattr(rule.vjp, "__closure__", None) or ()
    held = dict(zip(rule.vjp.__code__.co_freevars, free, strict=True))
    derivatives = held["derivatives"].cell_contents if "derivatives" in held else ()
    if "first" in held:
        derivatives = (held["first"].cell_contents,)
    return i < len(derivatives) and derivatives[i] is None


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
            for kind, (after, f) in (ZEROS if _is_zero(rule, i) else RESULTS).items():
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
