"""The sources of the derivatives: the functions of ``ops/`` that the rules are made of, their
syntax trees, and their live copies."""

import ast
import collections
import functools
import gc
import types
from pathlib import Path

import tilegrad as tg
from tilegrad.ops import rules

OPS = Path(tg.__file__).parent / "ops"
PATHS = ("vjp", "fused")
"""The members of a rule that are derivatives."""


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
        self.parents = {id(c): n for n in self.nodes for c in ast.iter_child_nodes(n)}
        self.functions = {}
        for i, n in enumerate(self.nodes):
            if isinstance(n, (ast.FunctionDef, ast.Lambda)):
                first = min([n.lineno, *(d.lineno for d in getattr(n, "decorator_list", ()))])
                self.functions.setdefault(first, []).append(i)

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

    @functools.cache  # noqa: B019  a source lives as long as the process
    def texts(self, index):
        """How often each expression occurs in a function."""
        inside = ast.walk(self.nodes[index])
        return collections.Counter(ast.unparse(n) for n in inside if isinstance(n, ast.expr))

    def label(self, index):
        """The name of a function, or of what a lambda is a part of."""
        node = self.nodes[index]
        while isinstance(self.parents[id(node)], (ast.expr, ast.keyword, ast.Assign)):
            node = self.parents[id(node)]
        named = node.targets[0] if isinstance(node, ast.Assign) else node
        if isinstance(named, ast.FunctionDef):
            above = self.parents[id(named)]
            return f"{above.name}.{named.name}" if hasattr(above, "name") else named.name
        return ast.unparse(named)

    def mutant(self, index, function, make):
        """The code of the function at that index with the node at ``index`` replaced."""
        tree = ast.parse(self.text)
        nodes = list(ast.walk(tree))
        old = nodes[index]
        # The old node stays, unreachable, so that the function closes over the same names.
        if isinstance(old, ast.stmt):
            new = ast.If(ast.Constant(0), [old], [])
        else:
            new = ast.IfExp(ast.Constant(1), make(old), old)
        Replace(old, new).visit(tree)
        queue = [compile(ast.fix_missing_locations(tree), self.path, "exec")]
        while queue:
            code = queue.pop()
            if self.index_of(code) == function:
                return code
            queue += [c for c in code.co_consts if isinstance(c, types.CodeType)]
        raise LookupError(f"{self.path}: no code for node {function}")


class Replace(ast.NodeTransformer):
    def __init__(self, old, new):
        self.old, self.new = old, new

    def visit(self, node):
        if node is not self.old:
            return self.generic_visit(node)
        return ast.copy_location(self.new, node)


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
        imported = set()  # (module, name)
        for path, source in self.files.items():
            for n in source.nodes:
                if isinstance(n, ast.Name):
                    uses.setdefault(n.id, []).append((path, n))
                elif isinstance(n, ast.ImportFrom):
                    imported |= {(n.module, a.name) for a in n.names}
                    # Known by another name there: counted as used outside derivatives.
                    for a in (a for a in n.names if a.asname):
                        uses.setdefault(a.name, []).append((path, n))
            for name in _strings(source, "__all__"):
                uses.setdefault(name, []).append((path, source.tree))
        tops = []  # functions of modules: key, nodes inside, uses of the name that count
        for path, source in self.files.items():
            for node in source.tree.body:
                if isinstance(node, ast.FunctionDef):
                    name, inside = node.name, {id(n) for n in ast.walk(node)}
                    private = name.startswith("_") and (Path(path).stem, name) not in imported
                    named = {
                        id(n) for p, n in uses.get(name, ())
                        if id(n) not in inside and (p == path or not private)
                    }  # fmt: skip
                    tops.append(((path, source.nodes.index(node)), inside, named))
        covered = {id(n) for path, i in chosen for n in ast.walk(self.files[path].nodes[i])}
        while True:
            more = [t for t in tops if t[0] not in chosen and t[2] and t[2] <= covered]
            if not more:
                return chosen
            for key, inside, _ in more:
                chosen.add(key)
                covered |= inside


def _strings(source, name):
    for n in source.tree.body:
        if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == name:
            return {c.value for c in ast.walk(n.value) if isinstance(c, ast.Constant)}
    return set()
