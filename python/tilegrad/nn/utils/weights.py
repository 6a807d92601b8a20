"""Parameters as one vector, and weights made of other parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ... import ops
from ...errors import ShapeError
from ...errors import ValueError as TgValueError
from ...grad_mode import no_grad
from ...tensor import Tensor
from ..module import Module
from ..parameter import Parameter


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other, as one vector.

    >>> import tilegrad as tg
    >>> tg.nn.utils.parameters_to_vector(tg.nn.Linear(3, 2).parameters()).shape
    (8,)
    """
    return ops.cat([ops.reshape(p, -1) for p in parameters])


@no_grad()
def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Copies the elements of vec into the parameters, in order.

    Raises ShapeError unless vec has as many elements as they.

    >>> import tilegrad as tg
    >>> layer = tg.nn.Linear(1, 2)
    >>> tg.nn.utils.vector_to_parameters(tg.tensor([1.0, 2.0, 3.0, 4.0]), layer.parameters())
    >>> layer.bias.tolist()
    [3.0, 4.0]
    """
    listed: list[Any] = list(parameters)
    total = sum(p.numel() for p in listed)
    if vec.shape != (total,):
        raise ShapeError(f"vector_to_parameters: expects vec of shape ({total},), got {vec.shape}")
    begin = 0
    for p in listed:
        p.copy_(vec[begin : begin + p.numel()].reshape(p.shape))  # type: ignore[index]
        begin += p.numel()


def skip_init(module_cls: type, *args: Any, **kwargs: Any) -> Any:
    """module_cls(*args, **kwargs) whose parameters are left uninitialised: no numbers are drawn.

    Raises TypeError for a class that is no Module.

    >>> import tilegrad as tg
    >>> tg.nn.utils.skip_init(tg.nn.Linear, 3, 2).weight.shape
    (2, 3)
    """
    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise TypeError(f"skip_init: expects a subclass of Module, got {module_cls!r}")
    plain = type(module_cls.__name__, (module_cls,), {"reset_parameters": lambda self: None})
    layer = plain(*args, **kwargs)
    layer.__class__ = module_cls
    return layer


# --- weights made of others -----------------------------------------------------------------------
def _rows(w: Any, dim: int) -> Any:
    """w as a matrix whose rows run along dim."""
    return ops.reshape(ops.movedim(w, dim, 0), (w.shape[dim], -1))


def _norm_except(v: Any, dim: int | None) -> Any:
    axes = tuple(range(v.ndim)) if dim is None else tuple(i for i in range(v.ndim) if i != dim)
    return ops.norm(v, 2, axes, True)


def _taken(op: str, module: Module, name: str) -> Any:
    """The parameter of a name, no longer registered."""
    w = module._parameters.get(name)
    if w is None:
        raise TgValueError(f"{op}: {type(module).__name__} has no parameter {name!r}")
    return w


class _Made:
    """Before every call gives a module the attribute of a name, computed from its parameters; an
    object of a class, so that modules can be copied and pickled."""

    kind = ""

    def __init__(self, name: str, axis: int | None) -> None:
        self.name, self.axis = name, axis

    def __call__(self, layer: Any, args: Any = ()) -> None:
        object.__setattr__(layer, self.name, self.value(layer))

    def value(self, layer: Any) -> Any:
        raise NotImplementedError

    def of(self, module: Module) -> Module:
        """Begins with a module, and returns it."""
        handle = module.register_forward_pre_hook(self)
        module.__dict__.setdefault("_computed", {})[self.name] = (self, handle)
        self(module)
        return module


def _made_plain(op: str, module: Module, name: str, kind: str, parts: tuple[str, ...]) -> Module:
    """Registers the attribute of a name as a parameter of the value it has."""
    made = module.__dict__.get("_computed", {})
    if name not in made or made[name][0].kind != kind:
        raise TgValueError(f"{op}: {name!r} of {type(module).__name__} has no {kind}")
    maker, handle = made.pop(name)
    with no_grad():
        value = maker.value(module).detach()
    handle.remove()
    del module.__dict__[name]
    for part in parts:
        delattr(module, name + part)
    module.register_parameter(name, Parameter(value))
    return module


class _WeightNorm(_Made):
    kind = "weight_norm"

    def value(self, layer: Any) -> Any:
        direction = getattr(layer, self.name + "_v")
        return direction * (getattr(layer, self.name + "_g") / _norm_except(direction, self.axis))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Replaces a parameter by its length name_g and direction name_v: w = g v / |v|, the norm over
    all axes but dim (all for None). Returns module. Source: Salimans and Kingma, 2016.

    >>> import tilegrad as tg
    >>> m = tg.nn.utils.weight_norm(tg.nn.Linear(3, 2))
    >>> sorted(m.state_dict())
    ['bias', 'weight_g', 'weight_v']
    """
    w = _taken("weight_norm", module, name)
    axis = None if dim is None or dim == -1 else dim % w.ndim
    with no_grad():
        g, v = _norm_except(w, axis).clone(), w.clone()
    del module._parameters[name]
    module.register_parameter(name + "_g", Parameter(g))
    module.register_parameter(name + "_v", Parameter(v))
    return _WeightNorm(name, axis).of(module)


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Undoes weight_norm: the parameter comes back with its present value. Returns module.

    >>> import tilegrad as tg
    >>> m = tg.nn.utils.weight_norm(tg.nn.Linear(3, 2))
    >>> sorted(tg.nn.utils.remove_weight_norm(m).state_dict())
    ['bias', 'weight']
    """
    return _made_plain("remove_weight_norm", module, name, "weight_norm", ("_g", "_v"))


class _SpectralNorm(_Made):
    kind = "spectral_norm"
    axis: int
    iterations = 1
    eps = 1e-12

    def unit(self, t: Any) -> Any:
        return t / ops.clamp(ops.norm(t), self.eps)

    def value(self, layer: Any) -> Any:
        name = self.name
        weight = getattr(layer, name + "_orig")
        matrix = _rows(weight, self.axis)
        if layer.training:
            with no_grad():
                left, right = getattr(layer, name + "_u"), getattr(layer, name + "_v")
                for _ in range(self.iterations):
                    right = self.unit(ops.mv(matrix.T, left))
                    left = self.unit(ops.mv(matrix, right))
                # New buffers: those of the call before may be saved for its backward pass.
                setattr(layer, name + "_u", left)
                setattr(layer, name + "_v", right)
        left, right = getattr(layer, name + "_u"), getattr(layer, name + "_v")
        return weight / ops.dot(left, ops.mv(matrix, right))


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divides a parameter, kept as name_orig, by its largest singular value, which follows by
    n_power_iterations of the power method per call in training. Returns module.

    dim: the axis of outputs (0; 1 for transposed convolutions, unless given). Source: Miyato et
    al., 2018.

    >>> import tilegrad as tg
    >>> m = tg.nn.utils.spectral_norm(tg.nn.Linear(3, 2))
    >>> sorted(m.state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    if n_power_iterations < 1:
        raise TgValueError(
            f"spectral_norm: n_power_iterations must be at least 1, got {n_power_iterations}"
        )
    w = _taken("spectral_norm", module, name)
    axis = (1 if "Transpose" in type(module).__name__ else 0) if dim is None else dim

    maker = _SpectralNorm(name, axis)
    maker.iterations, maker.eps = n_power_iterations, eps
    with no_grad():
        m = _rows(w, axis)
        u, v = (maker.unit(ops.randn(n).to(w.dtype)) for n in m.shape)  # type: ignore[attr-defined]
    del module._parameters[name]
    module.register_parameter(name + "_orig", w)
    module.register_buffer(name + "_u", u)
    module.register_buffer(name + "_v", v)
    return maker.of(module)


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Undoes spectral_norm: the parameter comes back with its present value. Returns module.

    >>> import tilegrad as tg
    >>> m = tg.nn.utils.spectral_norm(tg.nn.Linear(3, 2))
    >>> sorted(tg.nn.utils.remove_spectral_norm(m).state_dict())
    ['bias', 'weight']
    """
    parts = ("_orig", "_u", "_v")
    return _made_plain("remove_spectral_norm", module, name, "spectral_norm", parts)


__all__ = [
    "parameters_to_vector", "remove_spectral_norm",
    "remove_weight_norm", "skip_init", "spectral_norm", "vector_to_parameters", "weight_norm",
]  # fmt: skip
