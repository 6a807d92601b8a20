"""Sums of products: einsum and the products named after BLAS, all on one matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from .. import dtypes
from ..errors import DTypeError, ShapeError
from ..errors import ValueError as TgValueError
from ..tensor import Tensor
from .binary import add, eq, mul, pow, sub, where
from .complexes import conj
from .diagonals import diagonal
from .elementwise import add_inplace
from .matmul import bmm, dot, matmul, mm, mv, outer
from .moments import norm
from .reduce import amax, sum
from .rules import as_operand, axis_of, promote
from .shape import permute, reshape, unsqueeze
from .unary import abs

Term = tuple[Tensor, list[Any]]
"""A tensor and the label of each of its axes: a letter, or a number for an axis of the dots."""


# --- einsum ---------------------------------------------------------------------------------------
def _labels(text: str, dots: int, most: int) -> list[Any]:
    """The labels of one operand; the dots stand for the axes most - dots, ... most - 1."""
    head, found, tail = text.partition("...")
    letters = (head + tail).replace(".", "?")
    bad = [c for c in letters if not (c.isalpha() and c.isascii())]
    if bad:
        raise TgValueError(f"einsum: {bad[0]!r} in {text!r} is neither a letter nor part of ...")
    return [*head, *(range(most - dots, most) if found else ()), *tail]


def _parse(equation: str, tensors: Sequence[Tensor]) -> tuple[list[list[Any]], list[Any]]:
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(tensors):
        raise TgValueError(
            f"einsum: {equation!r} is about {len(texts)} operands, got {len(tensors)}"
        )
    dots = []
    for text, x in zip(texts, tensors, strict=True):
        n = len(text.replace("...", "", 1))
        if n > x.ndim or ("..." not in text and n != x.ndim):
            raise ShapeError(f"einsum: {text!r} does not name the axes of shape {x.shape}")
        dots.append(x.ndim - n if "..." in text else 0)
    most = max(dots)
    inputs = [_labels(text, n, most) for text, n in zip(texts, dots, strict=True)]
    every = [label for labels in inputs for label in labels]
    if not arrow:
        letters = {c for c in every if isinstance(c, str)}
        return inputs, [*range(most), *sorted(c for c in letters if every.count(c) == 1)]
    out = _labels(right, most, most)
    for c in out:
        if out.count(c) > 1:
            raise TgValueError(f"einsum: {c!r} stands twice in the output of {equation!r}")
        if c not in every and isinstance(c, str):
            raise TgValueError(f"einsum: {c!r} in the output of {equation!r} is of no operand")
    return inputs, out


def _lists_as_equation(args: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """``(x, [0, 1], y, [1, 2], [0, 2])`` as an equation and its operands."""

    def text(labels: Any) -> str:
        out = ""
        for n in labels:
            if n is not Ellipsis and not 0 <= n < 52:
                raise TgValueError(f"einsum: labels must lie in [0, 52), got {n}")
            out += "..." if n is Ellipsis else chr(n + 65 if n < 26 else n + 71)
        return out

    pairs = len(args) // 2
    left = ",".join(text(labels) for labels in args[1 : 2 * pairs : 2])
    arrow = "->" + text(args[-1]) if len(args) % 2 else ""
    return left + arrow, list(args[0 : 2 * pairs : 2])


def _without_repeats(term: Term) -> Term:
    """Labels that stand twice become one: the diagonal."""
    x, labels = term
    for c in list(dict.fromkeys(labels)):
        while labels.count(c) > 1:
            i = labels.index(c)
            j = labels.index(c, i + 1)
            if x.shape[i] != x.shape[j]:
                raise ShapeError(f"einsum: axes {c!r} have lengths {x.shape[i]} and {x.shape[j]}")
            x = diagonal(x, 0, i, j)
            labels = [*labels[:i], *labels[i + 1 : j], *labels[j + 1 :], c]
    return x, labels


def _sum_out(term: Term, keep: set[Any]) -> Term:
    x, labels = term
    gone = tuple(i for i, c in enumerate(labels) if c not in keep)
    return (sum(x, gone), [c for c in labels if c in keep]) if gone else term


def _pair(a: Term, b: Term, keep: set[Any]) -> Term:
    """The product of two terms, summed over what is not to be kept."""
    (x, p), (y, q) = _sum_out(a, keep | set(b[1])), _sum_out(b, keep | set(a[1]))
    both = [c for c in p if c in q and c in keep]
    inner = [c for c in p if c in q and c not in keep]
    rows, columns = [c for c in p if c not in q], [c for c in q if c not in p]
    out = [*both, *rows, *columns]
    x = permute(x, [p.index(c) for c in (*both, *rows, *inner)])
    y = permute(y, [q.index(c) for c in (*both, *inner, *columns)])
    if not inner:
        for _ in columns:
            x = unsqueeze(x, x.ndim)
        for i in range(len(rows)):
            y = unsqueeze(y, len(both) + i)
        return mul(x, y), out
    n = len(both)
    lead, m = x.shape[:n], x.shape[n : n + len(rows)]
    k, right = math.prod(x.shape[n + len(rows) :]), y.shape[n + len(inner) :]
    flat = (math.prod(lead),) if n else ()
    z = matmul(reshape(x, (*flat, math.prod(m), k)), reshape(y, (*flat, k, math.prod(right))))
    return reshape(z, (*lead, *m, *right)), out


def _next_pair(terms: list[Term], keep: set[Any], sizes: dict[Any, int]) -> tuple[int, int]:
    """The pair whose product takes the fewest multiplications, the first of equals."""
    best, at = math.inf, (0, 1)
    for i in range(len(terms)):
        for j in range(i + 1, len(terms)):
            cost = math.prod(sizes[c] for c in {*terms[i][1], *terms[j][1]})
            if cost < best:
                best, at = cost, (i, j)
    return at


def einsum(equation: Any, *operands: Any) -> Tensor:
    """The sum of products that the equation names, as ``"ij,jk->ik"`` names a matrix product.

    equation: for each of the operands the labels of its axes, letters, or ... for axes that
    broadcast; after ``->`` those of the result. Labels that the result does not have are summed
    over; one that stands twice in an operand means its diagonal. Without ``->`` the result has the
    axes of ... and the labels that occur once, in alphabetical order. Axes of length 1 broadcast.
    ``einsum(x, [0, 1], y, [1, 2], [0, 2])`` is the form with lists. Three operands and more are
    multiplied in pairs, cheapest first. Raises ValueError, ShapeError, DTypeError for bool.

    >>> import tilegrad as tg
    >>> tg.einsum("ij,j->i", tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([1.0, 10.0]))
    tensor([21., 43.])
    """
    if not isinstance(equation, str):
        if not (operands and isinstance(operands[0], (tuple, list))):
            kind = type(equation).__name__
            raise DTypeError(f"einsum: expects an equation, or tensors and lists, got {kind}")
        equation, given = _lists_as_equation((equation, *operands))
    else:
        one = len(operands) == 1 and isinstance(operands[0], (tuple, list))
        given = list(operands[0] if one else operands)
    if not given:
        raise TgValueError("einsum: expects at least one operand")
    tensors = promote("einsum", *given)
    if tensors[0].dtype == dtypes.bool_:
        raise DTypeError("einsum: expects numbers, got bool")
    inputs, out = _parse(equation, tensors)
    terms = [_without_repeats(t) for t in zip(tensors, inputs, strict=True)]
    sizes: dict[Any, int] = {}
    for x, labels in terms:
        for c, n in zip(labels, x.shape, strict=True):
            have = sizes.setdefault(c, n)
            if n != have and 1 not in (n, have):
                raise ShapeError(f"einsum: axes {c!r} of {equation!r} have lengths {have} and {n}")
            sizes[c] = n if have == 1 else have
    for at, (x, labels) in enumerate(terms):  # axes that broadcast are left away
        kept = [i for i, c in enumerate(labels) if x.shape[i] == sizes[c]]
        if len(kept) < len(labels):
            terms[at] = reshape(x, tuple([x.shape[i] for i in kept])), [labels[i] for i in kept]
    while len(terms) > 1:
        i, j = _next_pair(terms, set(out), sizes)
        b, a = terms.pop(j), terms.pop(i)
        keep = set(out).union(*[labels for _, labels in terms])
        terms.append(_pair(a, b, keep))
    x, labels = _sum_out(terms[0], set(out))
    return permute(x, [labels.index(c) for c in out])


def tensordot(a: Any, b: Any, dims: Any = 2) -> Tensor:
    """The sum of products over axes of a and as many of b; the others stay, a's first.

    dims: a number n (the last n axes of a, the first n of b), or two lists of axes. Raises
    ShapeError when their lengths differ.

    >>> import tilegrad as tg
    >>> tg.tensordot(tg.ones(2, 3, 4), tg.ones(3, 4, 5)).shape
    (2, 5)
    """
    x, y = promote("tensordot", a, b)
    dims = dims.tolist() if isinstance(dims, Tensor) else dims
    if isinstance(dims, int):
        if not 0 <= dims <= min(x.ndim, y.ndim):
            raise TgValueError(f"tensordot: dims {dims} for shapes {x.shape} and {y.shape}")
        p, q = tuple(range(x.ndim - dims, x.ndim)), tuple(range(dims))
    else:
        if len(dims) != 2:
            raise TgValueError(f"tensordot: dims must be a number or two lists, got {dims}")
        p, q = (tuple(d) if isinstance(d, (tuple, list)) else (d,) for d in dims)
        p = tuple(axis_of(d, x.ndim, "tensordot") for d in p)
        q = tuple(axis_of(d, y.ndim, "tensordot") for d in q)
        if len(set(p)) < len(p) or len(set(q)) < len(q):
            raise TgValueError(f"tensordot: dims {dims} name an axis twice")
    if [x.shape[d] for d in p] != [y.shape[d] for d in q]:
        raise ShapeError(f"tensordot: axes {p} of {x.shape} do not fit axes {q} of {y.shape}")
    left = [*range(x.ndim)]
    right: list[Any] = [x.ndim + i for i in range(y.ndim)]
    for i, j in zip(p, q, strict=True):
        right[j] = i
    keep = {c for c in left if c not in p} | {c for i, c in enumerate(right) if i not in q}
    return _pair((x, left), (y, right), keep)[0]


# --- products by name -----------------------------------------------------------------------------
def inner(input: Any, other: Any) -> Tensor:
    """The sum of products over the last axis of both; a number multiplies.

    >>> import tilegrad as tg
    >>> tg.inner(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    tensor(11.)
    """
    a, b = promote("inner", input, other)
    if a.ndim == 0 or b.ndim == 0:
        return mul(a, b)
    if a.shape[-1] != b.shape[-1]:
        raise ShapeError(f"inner: the last axes of {a.shape} and {b.shape} differ")
    return tensordot(a, b, ([-1], [-1]))


def vdot(input: Any, other: Any) -> Tensor:
    """The dot product with the complex conjugates of input.

    >>> import tilegrad as tg
    >>> tg.vdot(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    tensor(11.)
    """
    return dot(conj(input), other)


def kron(input: Any, other: Any) -> Tensor:
    """The Kronecker product: every element of input times all of other, as blocks.

    >>> import tilegrad as tg
    >>> tg.kron(tg.tensor([1, 10]), tg.tensor([1, 2]))
    tensor([ 1,  2, 10, 20])
    """
    a, b = promote("kron", input, other)
    n = max(a.ndim, b.ndim)
    p = (1,) * (n - a.ndim) + a.shape
    q = (1,) * (n - b.ndim) + b.shape
    x = reshape(a, tuple([k for m in p for k in (m, 1)]))
    y = reshape(b, tuple([k for m in q for k in (1, m)]))
    return reshape(mul(x, y), tuple([s * t for s, t in zip(p, q, strict=True)]))


def _added(input: Any, product: Tensor, beta: Any, alpha: Any, op: str) -> Tensor:
    x = as_operand(input, op)
    y = product if alpha == 1 else mul(product, alpha)
    if beta == 0:  # what input holds, NaN too, does not count
        lead = product.ndim - x.ndim
        fits = lead >= 0 and all(
            n in (1, m) for n, m in zip(x.shape, product.shape[lead:], strict=True)
        )
        if not fits:
            raise ShapeError(f"{op}: input {x.shape} does not broadcast to {product.shape}")
        return y
    z = add(x if beta == 1 else mul(x, beta), y)
    if z.shape != product.shape:
        raise ShapeError(f"{op}: input {x.shape} does not broadcast to {product.shape}")
    return z


def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2): (m, k) @ (k, n), input broadcasts to (m, n).

    With beta 0, input is not read. Raises ShapeError.

    >>> import tilegrad as tg
    >>> tg.addmm(tg.zeros(1), tg.ones(1, 2), tg.ones(2, 2), alpha=3)
    tensor([[6., 6.]])
    """
    return _added(input, mm(mat1, mat2), beta, alpha, "addmm")


def addmv(input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec): (m, k) @ (k,), input broadcasts to (m,); as addmm.

    >>> import tilegrad as tg
    >>> tg.addmv(tg.ones(2), tg.ones(2, 3), tg.ones(3))
    tensor([4., 4.])
    """
    return _added(input, mv(mat, vec), beta, alpha, "addmv")


def addr(input: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2): (m,) and (n,), input broadcasts; as addmm.

    >>> import tilegrad as tg
    >>> tg.addr(tg.zeros(1), tg.tensor([1.0, 2.0]), tg.tensor([3.0]))
    tensor([[3.],
            [6.]])
    """
    return _added(input, outer(vec1, vec2), beta, alpha, "addr")


def baddbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * bmm(batch1, batch2), input broadcasts; as addmm.

    >>> import tilegrad as tg
    >>> tg.baddbmm(tg.zeros(1), tg.ones(2, 1, 3), tg.ones(2, 3, 1)).shape
    (2, 1, 1)
    """
    return _added(input, bmm(batch1, batch2), beta, alpha, "baddbmm")


def addbmm(input: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * the sum of bmm(batch1, batch2) over the batch; as addmm.

    >>> import tilegrad as tg
    >>> tg.addbmm(tg.zeros(1), tg.ones(2, 1, 3), tg.ones(2, 3, 1))
    tensor([[6.]])
    """
    return _added(input, sum(bmm(batch1, batch2), 0), beta, alpha, "addbmm")


def chain_matmul(*matrices: Any) -> Tensor:
    """The product of the matrices, in the order of multiplication that costs least.

    Raises ValueError for none, ShapeError unless all are matrices that fit.

    Source: Cormen et al., Introduction to Algorithms, 15.2.

    >>> import tilegrad as tg
    >>> tg.chain_matmul(tg.ones(2, 3), tg.ones(3, 4), tg.ones(4, 1)).shape
    (2, 1)
    """
    if not matrices:
        raise TgValueError("chain_matmul: expects at least one matrix")
    parts = promote("chain_matmul", *matrices)
    for x in parts:
        if x.ndim != 2:
            raise ShapeError(f"chain_matmul: expects matrices, got shape {x.shape}")
    return chain(parts, "chain_matmul")


def chain(parts: Sequence[Tensor], op: str) -> Tensor:
    """The product of matrices, by the cheapest order."""
    n = len(parts)
    for a, b in pairwise(parts):
        if a.shape[1] != b.shape[0]:
            raise ShapeError(f"{op}: shapes {a.shape} and {b.shape} do not fit")
    sizes = [parts[0].shape[0], *[x.shape[1] for x in parts]]
    cost = [[0] * n for _ in range(n)]
    cut = [[0] * n for _ in range(n)]
    for width in range(1, n):
        for i in range(n - width):
            j = i + width
            cost[i][j], cut[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return parts[i]
        k = cut[i][j]
        return mm(product(i, k), product(k + 1, j))

    return product(0, n - 1)


# --- distances ------------------------------------------------------------------------------------
def cdist(
    x1: Any, x2: Any, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """The p-norm distances between the rows of x1 (..., m, k) and x2 (..., n, k): (..., m, n).

    p: in [0, inf]; 0 counts the coordinates that differ. compute_mode is accepted; distances are
    always taken from differences, which does not cancel. The gradient at distance 0 is 0. Raises
    ShapeError, ValueError for a negative p.

    >>> import tilegrad as tg
    >>> tg.cdist(tg.tensor([[0.0, 0.0]]), tg.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    a, b = promote("cdist", x1, x2, floating=True)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1]:
        raise ShapeError(f"cdist: expects (..., m, k) and (..., n, k), got {a.shape} and {b.shape}")
    if not p >= 0:
        raise TgValueError(f"cdist: p must not be negative, got {p}")
    return _distance(sub(unsqueeze(a, -2), unsqueeze(b, -3)), float(p))


def _distance(d: Tensor, p: float) -> Tensor:
    if p in (0.0, 1.0, 2.0):
        return norm(d, p, -1)
    if p == math.inf:
        return amax(abs(d), -1) if d.shape[-1] else sum(d, -1)
    zero = eq(d, 0)
    total = sum(where(zero, 0.0, pow(abs(where(zero, 1.0, d)), p)), -1)
    same = eq(total, 0)
    return where(same, 0.0, pow(where(same, 1.0, total), 1.0 / p))


def dist(input: Any, other: Any, p: float = 2) -> Tensor:
    """The p-norm of input - other, all elements taken as one vector; p as for norm.

    >>> import tilegrad as tg
    >>> tg.dist(tg.tensor([0.0, 0.0]), tg.tensor([3.0, 4.0]))
    tensor(5.)
    """
    a, b = promote("dist", input, other, floating=True)
    return norm(sub(a, b), p)


ger = outer
_INPLACE = (addbmm, addmm, addmv, addr, baddbmm)
METHODS: dict[str, Any] = {f.__name__: f for f in (*_INPLACE, dist, inner, kron, vdot)}
METHODS["ger"] = outer
for _fn in _INPLACE:
    add_inplace(_fn.__name__ + "_", _fn)

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "cdist", "chain_matmul", "dist", "einsum", "ger",
    "inner", "kron", "tensordot", "vdot",
]  # fmt: skip
