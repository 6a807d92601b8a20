"""Functions that take functions and return their derivatives, of any order and in both modes.

They nest: ``grad(grad(f))``, ``jvp`` inside ``grad`` and the other way round, and what they return
can be differentiated again by ``backward`` wherever something outside of them requires a gradient.
Names and arguments are those of ``torch.func``; ``value_and_grad`` is JAX's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import dtypes, tape
from .autograd import conj
from .errors import DTypeError, ShapeError
from .errors import ValueError as TgValueError
from .forward import alias, cut, dual, finish, has_past, new_level, settled, tangent_of
from .grad_mode import enable_grad, mode
from .ops.join import stack
from .ops.rules import zeros
from .ops.shape import movedim, reshape
from .tensor import Tensor

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "hvp", "jacfwd", "jacrev", "jvp",
    "value_and_grad", "vjp", "vmap",
]  # fmt: skip


# --- structures of tensors ------------------------------------------------------------------------
def leaves(tree: Any) -> list[Any]:
    """What nested tuples, lists and dicts hold, from left to right."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        return [tree]
    return [x for branch in tree for x in leaves(branch)]


def rebuilt(tree: Any, values: Sequence[Any]) -> Any:
    """tree with its leaves replaced, from left to right."""
    return _rebuild(tree, iter(values))


def _rebuild(tree: Any, values: Any) -> Any:
    if isinstance(tree, dict):
        return type(tree)((k, _rebuild(v, values)) for k, v in tree.items())
    if isinstance(tree, (tuple, list)):
        branches = [_rebuild(v, values) for v in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else type(tree)(branches)
    return next(values)


def shape_of(tree: Any) -> Any:
    """The structure around the leaves, to be compared."""
    if isinstance(tree, dict):
        return {k: shape_of(v) for k, v in tree.items()}, list(tree)
    return [shape_of(v) for v in tree] if isinstance(tree, (tuple, list)) else None


def _alike(op: str, what: str, a: Any, b: Any) -> None:
    if shape_of(a) != shape_of(b):
        raise ShapeError(f"{op}: {what} differ in their structure")


def _differentiable(op: str, tree: Any) -> list[Tensor]:
    xs = leaves(tree)
    fits = dtypes.is_floating if op.startswith("jac") else dtypes.is_differentiable
    for x in xs:
        if not isinstance(x, Tensor) or not fits(x.dtype):
            what = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
            raise DTypeError(f"{op}: can differentiate in floating tensors alone, got {what}")
    return xs


def _outputs(op: str, tree: Any) -> list[Tensor]:
    ys = leaves(tree)
    for y in ys:
        if not isinstance(y, Tensor):
            raise DTypeError(f"{op}: func must return tensors, got {type(y).__name__}")
        if op.startswith("jac") and y.dtype.kind == "c":
            raise DTypeError(f"{op}: func must return real tensors, got {y.dtype}; view_as_real()")
    return ys


def _chosen(op: str, argnums: int | Sequence[int], args: tuple[Any, ...]) -> list[int]:
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)
    for n in numbers:
        if not -len(args) <= n < len(args):
            raise TgValueError(f"{op}: argnums {argnums} for {len(args)} positional arguments")
    chosen = [n % len(args) for n in numbers]
    if len(set(chosen)) != len(chosen):
        raise TgValueError(f"{op}: argnums {argnums} names an argument twice")
    return chosen


class _Recording:
    """A call of func on fresh aliases of the chosen arguments, ready to be pulled back through."""

    def __init__(
        self, op: str, func: Callable, argnums: int | Sequence[int], has_aux: bool,
        args: tuple[Any, ...], kwargs: dict[str, Any],
    ) -> None:  # fmt: skip
        numbers = _chosen(op, argnums, args)
        inputs = [args[n] for n in numbers]
        self.tree = inputs[0] if isinstance(argnums, int) else tuple(inputs)
        self.outer = mode.enabled
        with enable_grad():
            self.xs = [alias(x) for x in _differentiable(op, self.tree)]
            fresh = rebuilt(inputs, self.xs)
            called = list(args)
            for n, x in zip(numbers, fresh, strict=True):
                called[n] = x
            result = func(*called, **kwargs)
        self.aux = None
        if has_aux:
            if not isinstance(result, tuple) or len(result) != 2:
                raise TgValueError(f"{op}: with has_aux, func must return (output, aux)")
            result, self.aux = result
        self.output = result
        self.ys = _outputs(op, result)
        self.roots = [y._node for y in self.ys]
        # Recorded again only if someone outside could ask for it.
        own = [x._node for x in self.xs if x._node is not None]
        self.watched = self.outer and has_past([n for n in self.roots if n is not None], own)

    def pull(self, cotangents: Sequence[Tensor], keep: bool) -> list[Tensor]:
        """The gradients of the inputs for one cotangent per output."""
        starts = [(n, g) for n, g in zip(self.roots, cotangents, strict=True) if n is not None]
        targets: Any = [x._node for x in self.xs]
        again = self.watched or any(g._node is not None for _, g in starts)
        found = tape.run(
            [n for n, _ in starts], [conj(g) for _, g in starts], targets, keep or again, again
        )
        return [
            conj(found[n], again) if n in found else zeros(x.shape, x.dtype)
            for n, x in zip(targets, self.xs, strict=True)
        ]

    def value(self) -> Any:
        """The output as the caller may see it: without our recording, unless it is watched."""
        return self.output if self.watched else rebuilt(self.output, [cut(y) for y in self.ys])

    def other(self) -> Any:
        """The auxiliary output, without our recording unless it is watched."""
        if self.watched:
            return self.aux
        return rebuilt(self.aux, [cut(x) if isinstance(x, Tensor) else x for x in leaves(self.aux)])

    def close(self) -> None:
        """Nothing will be pulled back through this call any more."""
        for x in self.xs:
            finish(x)


# --- reverse mode ---------------------------------------------------------------------------------
def vjp(func: Callable, *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(func(*primals), f) where f(cotangents) is the vector-Jacobian product.

    primals: floating tensors, or nested tuples, lists and dicts of them. cotangents: of the
    structure, shapes and dtypes of the output; f returns a tuple with the gradient of every primal
    and may be called repeatedly. has_aux: func returns (output, aux), and aux is the third result.
    Raises DTypeError, ShapeError.

    >>> import tilegrad as tg
    >>> y, pull = tg.func.vjp(lambda x: x * x, tg.tensor([1.0, 3.0]))
    >>> pull(tg.tensor([1.0, 0.5]))
    (tensor([2., 3.]),)
    """
    done = _Recording("vjp", func, tuple(range(len(primals))), has_aux, primals, {})

    def pull(cotangents: Any) -> Any:
        gs = leaves(cotangents)
        if len(gs) == len(done.ys):
            _alike("vjp", "cotangents and outputs", cotangents, done.output)
        if len(gs) != len(done.ys):
            raise ShapeError(f"vjp: {len(done.ys)} outputs, but {len(gs)} cotangents")
        for y, g in zip(done.ys, gs, strict=True):
            if g.shape != y.shape or g.dtype != y.dtype:
                raise ShapeError(
                    f"vjp: the cotangent has shape {g.shape} and dtype {g.dtype}, but the output "
                    f"has shape {y.shape} and dtype {y.dtype}"
                )
        return rebuilt(done.tree, done.pull(gs, True))

    return (done.value(), pull, done.other()) if has_aux else (done.value(), pull)


def _gradient(
    op: str, func: Callable, argnums: Any, has_aux: bool, args: tuple, kwargs: dict
) -> tuple[Any, _Recording]:
    done = _Recording(op, func, argnums, has_aux, args, kwargs)
    if len(done.ys) != 1 or done.ys[0]._array.size != 1:
        shapes = [y.shape for y in done.ys]
        raise ShapeError(f"{op}: func must return one element, got shapes {shapes}; use jacrev")
    (y,) = done.ys
    if not dtypes.is_floating(y.dtype):
        raise DTypeError(f"{op}: func must return a floating tensor, got {y.dtype}")
    gradients = done.pull([y.new_ones(y.shape)], False)
    done.close()
    return rebuilt(done.tree, gradients), done


def grad(func: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable:
    """The function that computes the gradient of func, which returns a tensor of one element.

    argnums: the positional arguments to differentiate in (floating tensors or nested structures of
    them); the gradient has their structure, a tuple of several. has_aux: func returns (output,
    aux), and (gradient, aux) is returned. Raises DTypeError, and ShapeError when the output is no
    scalar.

    >>> import tilegrad as tg
    >>> tg.func.grad(tg.func.grad(lambda x: x**3))(tg.tensor(2.0))
    tensor(12.)
    """

    def gradient(*args: Any, **kwargs: Any) -> Any:
        g, done = _gradient("grad", func, argnums, has_aux, args, kwargs)
        return (g, done.other()) if has_aux else g

    return gradient


def value_and_grad(
    func: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable:
    """As grad, but the function returns (output, gradient), or ((output, aux), gradient).

    >>> import tilegrad as tg
    >>> tg.func.value_and_grad(lambda x: x**3)(tg.tensor(2.0))
    (tensor(8.), tensor(12.))
    """

    def both(*args: Any, **kwargs: Any) -> Any:
        g, done = _gradient("value_and_grad", func, argnums, has_aux, args, kwargs)
        return ((done.value(), done.other()), g) if has_aux else (done.value(), g)

    return both


def grad_and_value(
    func: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Callable:
    """As value_and_grad with the two results the other way round, as in PyTorch.

    >>> import tilegrad as tg
    >>> tg.func.grad_and_value(lambda x: x**3)(tg.tensor(2.0))
    (tensor(12.), tensor(8.))
    """
    both = value_and_grad(func, argnums, has_aux)
    return lambda *args, **kwargs: both(*args, **kwargs)[::-1]


# --- forward mode ---------------------------------------------------------------------------------
def jvp(func: Callable, primals: Any, tangents: Any, *, has_aux: bool = False) -> tuple[Any, ...]:
    """(func(*primals), the Jacobian of func times tangents), by forward mode: nothing is stored.

    primals: a tuple of floating tensors or nested structures of them; tangents: the same with equal
    shapes and dtypes. What runs under no_grad inside func counts as constant. has_aux: func returns
    (output, aux), and aux is the third result. Raises DTypeError, ShapeError.

    >>> import tilegrad as tg
    >>> tg.func.jvp(lambda x: x.sin(), (tg.tensor(0.0),), (tg.tensor(2.0),))
    (tensor(0.), tensor(2.))
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise DTypeError("jvp: primals and tangents must be tuples, one entry per argument")
    xs, ts = _differentiable("jvp", primals), _differentiable("jvp", tangents)
    if len(xs) != len(ts):
        raise ShapeError(f"jvp: {len(xs)} primals, but {len(ts)} tangents")
    for x, t in zip(xs, ts, strict=True):
        if x.shape != t.shape or x.dtype != t.dtype:
            raise ShapeError(
                f"jvp: the tangent has shape {t.shape} and dtype {t.dtype}, but the primal has "
                f"shape {x.shape} and dtype {x.dtype}"
            )
    for i, (p, t) in enumerate(zip(primals, tangents, strict=True)):
        _alike("jvp", f"primal {i} and its tangent", p, t)
    recorded = mode.enabled
    with new_level() as level, enable_grad():
        if not recorded:
            xs, ts = [x.detach() for x in xs], [t.detach() for t in ts]
        duals = [dual(x, t, level) for x, t in zip(xs, ts, strict=True)]
        result = func(*rebuilt(tuple(primals), duals))
    aux: Any = None
    if has_aux:
        if not isinstance(result, tuple) or len(result) != 2:
            raise TgValueError("jvp: with has_aux, func must return (output, aux)")
        result, aux = result
        aux = rebuilt(aux, [settled(x) if isinstance(x, Tensor) else x for x in leaves(aux)])
    ys = _outputs("jvp", result)
    pushed = []
    for y in ys:
        moved = tangent_of(y, level)
        pushed.append(zeros(y.shape, y.dtype) if moved is None else settled(moved))
    value, push = rebuilt(result, [settled(y) for y in ys]), rebuilt(result, pushed)
    return (value, push, aux) if has_aux else (value, push)


# --- Jacobians ------------------------------------------------------------------------------------
def _units(x: Tensor) -> Any:
    """The unit vectors of the space of x, one by one."""
    for i in range(x._array.size):
        unit = zeros(x.shape, x.dtype)
        unit._array.reshape(-1)[i] = 1
        yield unit


def _stacked(rows: list[Tensor], like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """One result per element of ``like`` as a tensor of the shape of like, then ``shape``."""
    if not rows:
        return zeros((*like.shape, *shape), like.dtype)
    return reshape(stack(rows), (*like.shape, *shape))


def jacrev(func: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable:
    """The function that computes the Jacobian of func by reverse mode, one pass per output element.

    The result has shape (*output, *input). For several outputs or inputs, the structure of the
    outputs holds that of the inputs. Arguments and errors as for grad. Prefer it where there are
    fewer outputs than inputs.

    >>> import tilegrad as tg
    >>> tg.func.jacrev(lambda x: x * x)(tg.tensor([1.0, 3.0]))
    tensor([[2., 0.],
            [0., 6.]])
    """

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        done = _Recording("jacrev", func, argnums, has_aux, args, kwargs)
        blocks = []
        for i, y in enumerate(done.ys):
            cotangents = [zeros(z.shape, z.dtype) for z in done.ys]
            rows = []
            for unit in _units(y):
                cotangents[i] = unit
                rows.append(done.pull(cotangents, True))
            columns = [_stacked([r[j] for r in rows], y, x.shape) for j, x in enumerate(done.xs)]
            blocks.append(rebuilt(done.tree, columns))
        done.close()
        result = rebuilt(done.output, blocks)
        return (result, done.other()) if has_aux else result

    return jacobian


def jacfwd(func: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable:
    """As jacrev, by forward mode: one pass per input element, nothing stored. Prefer it where there
    are fewer inputs than outputs.

    >>> import tilegrad as tg
    >>> tg.func.jacfwd(lambda x: tg.stack([x.sin(), x.cos()]))(tg.tensor(0.0))
    tensor([1., 0.])
    """

    def jacobian(*args: Any, **kwargs: Any) -> Any:
        numbers = _chosen("jacfwd", argnums, args)
        inputs = tuple(args[n] for n in numbers)
        xs = _differentiable("jacfwd", inputs)

        def chosen(*values: Any) -> Any:
            called = list(args)
            for n, v in zip(numbers, values, strict=True):
                called[n] = v
            return func(*called, **kwargs)

        columns: list[list[list[Tensor]]] = []  # per input, per element, per output
        result: Any = None
        aux: Any = None
        for j, x in enumerate(xs):
            tangents = [zeros(z.shape, z.dtype) for z in xs]
            pushed = []
            for unit in _units(x):
                tangents[j] = unit
                result, push, *rest = jvp(
                    chosen, inputs, rebuilt(inputs, tangents), has_aux=has_aux
                )
                aux = rest[0] if rest else None
                pushed.append(leaves(push))
            columns.append(pushed)
        if result is None:
            result = func(*args, **kwargs)
            result, aux = result if has_aux else (result, None)
        tree = inputs[0] if isinstance(argnums, int) else inputs
        blocks = []
        for i, y in enumerate(_outputs("jacfwd", result)):
            per_input = []
            for x, pushed in zip(xs, columns, strict=True):
                block = _stacked([p[i] for p in pushed], x, y.shape)
                axes = tuple(range(x.ndim))
                per_input.append(movedim(block, axes, tuple(n - x.ndim for n in axes)))
            blocks.append(rebuilt(tree, per_input))
        result = rebuilt(result, blocks)
        return (result, aux) if has_aux else result

    return jacobian


def hessian(func: Callable, argnums: int | Sequence[int] = 0) -> Callable:
    """The function that computes the second derivatives of func: reverse mode, forward over it.

    Shape (*output, *input, *input) for one argument. Arguments and errors as for jacrev.

    >>> import tilegrad as tg
    >>> tg.func.hessian(lambda x: x.prod())(tg.tensor([2.0, 5.0]))
    tensor([[0., 1.],
            [1., 0.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)


def hvp(func: Callable, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """(gradient, Hessian times tangents) of func, which returns one element: forward over reverse,
    about the price of two gradients. primals, tangents: tuples, as for jvp; so are both results.

    >>> import tilegrad as tg
    >>> x, v = tg.tensor([1.0, 2.0]), tg.tensor([1.0, 0.0])
    >>> tg.func.hvp(lambda x: (x**3).sum(), (x,), (v,))[1]
    (tensor([6., 0.]),)
    """
    return jvp(grad(func, tuple(range(len(primals)))), primals, tangents)


# --- batches, modules -----------------------------------------------------------------------------
def vmap(func: Callable, in_dims: Any = 0, out_dims: int = 0) -> Callable:
    """The function that applies func to every slice of its arguments and stacks the results.

    in_dims: the axis of every positional argument that is sliced (None: passed whole), one int for
    all or a tuple; out_dims: the new axis of the results. Structures are sliced leaf by leaf.
    Every op is called once per slice: it saves the writing, not the time. Gradients pass.
    Raises ValueError without a sliced argument, ShapeError when their lengths differ.

    >>> import tilegrad as tg
    >>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.func.vmap(tg.dot)(x, x)
    tensor([ 5., 25.])
    """

    def mapped(*args: Any, **kwargs: Any) -> Any:
        dims = list(in_dims) if isinstance(in_dims, (tuple, list)) else [in_dims] * len(args)
        if len(dims) != len(args):
            raise TgValueError(f"vmap: {len(dims)} in_dims for {len(args)} arguments")
        sliced = [(x, d) for a, d in zip(args, dims, strict=True) if d is not None
                  for x in leaves(a)]  # fmt: skip
        lengths = {x.shape[d] for x, d in sliced}
        if not lengths:
            raise TgValueError("vmap: in_dims slices no argument")
        if len(lengths) > 1:
            raise ShapeError(f"vmap: the sliced axes have different lengths {sorted(lengths)}")
        (length,) = lengths
        if length == 0:
            raise ShapeError("vmap: the sliced axis is empty, so the result has no known shape")
        results = []
        for i in range(length):
            one = [
                a if d is None else rebuilt(a, [movedim(x, d, 0)[i] for x in leaves(a)])
                for a, d in zip(args, dims, strict=True)
            ]
            results.append(func(*one, **kwargs))
        columns = zip(*[_outputs("vmap", r) for r in results], strict=True)
        return rebuilt(results[0], [stack(list(c), out_dims) for c in columns])

    return mapped


def functional_call(
    module: Any, parameters: dict[str, Tensor], args: Any, kwargs: Any = None
) -> Any:
    """module(*args, **kwargs) with the named parameters and buffers replaced for this call.

    parameters: tensors by the names of named_parameters() and named_buffers(); those not given
    stay. args: a tuple, or the only argument. Raises ValueError for an unknown name.

    >>> import tilegrad as tg
    >>> net = tg.nn.Linear(2, 1, bias=False)
    >>> tg.func.functional_call(net, {"weight": tg.ones(1, 2)}, tg.tensor([3.0, 4.0]))
    tensor([7.])
    """
    replaced = []
    try:
        for path, value in parameters.items():
            *parents, name = path.split(".")
            owner = module
            for p in parents:
                owner = owner._modules.get(p) if owner is not None else None
            tables = [] if owner is None else [owner._parameters, owner._buffers]
            table = next((t for t in tables if name in t), None)
            if table is None:
                raise TgValueError(f"functional_call: no parameter or buffer is named {path!r}")
            replaced.append((table, name, table[name]))
            table[name] = value
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))
    finally:
        for table, name, value in reversed(replaced):
            table[name] = value
