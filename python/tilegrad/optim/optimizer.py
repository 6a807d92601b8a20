"""Optimizer: the base of all optimizers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import deepcopy
from types import MethodType
from typing import Any, ClassVar

import numpy as np

from ..errors import StateError
from ..errors import ValueError as TgValueError
from ..grad_mode import enable_grad, no_grad
from ..hooks import Handle, next_key
from ..nn.module import zero_grads
from ..ops.rules import number
from ..recording import captures, current, refuse
from ..tensor import Tensor, as_tensor

_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "step": int, "mu_product": float, "eta": float, "mu": float,
}  # fmt: skip

_INF = float("inf")
_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        ("lr", "weight_decay", "l1_decay", "eps", "momentum", "alpha", "lr_decay", "momentum_decay",
         "initial_accumulator_value", "mu", "gamma"),
        (0.0, _INF),
    ),
    "rho": (0.0, 1.0), "d": (1.0, _INF),
}  # fmt: skip
"""Between which values a setting of this name lies, in every optimizer that has it."""


class Optimizer:
    """Holds parameters in groups of equal settings and the state of each parameter.

    params: tensors, or dicts ``{"params": tensors, setting: value, ...}`` that override defaults;
    in place of tensors pairs of a name and a tensor, as named_parameters() gives them: the names
    are the setting "param_names" of the group, and all groups have them or none.

    Every optimizer but LBFGS knows the setting "l1_decay" of a group, a decoupled L1 penalty: after
    each step the parameters move by lr * l1_decay towards zero and stay there, which leaves exact
    zeros (soft thresholding: Beck and Teboulle, 2009).

    >>> import tilegrad as tg
    >>> x = tg.tensor([1.0, 0.1], requires_grad=True)
    >>> optimizer = tg.optim.SGD([{"params": [x], "l1_decay": 1.0}], lr=0.25)
    >>> x.grad = tg.zeros(2)
    >>> optimizer.step()
    >>> x.tolist()
    [0.75, 0.0]
    """

    _in_python: ClassVar[bool] = True
    """Whether a captured step runs in Python; else its kernel calls are recorded."""
    _unbounded: tuple[str, ...] = ()  # settings of those names that mean something else here

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                f"{type(self).__name__}: params must be an iterable of tensors or dicts, got a "
                "single Tensor"
            )
        self.defaults = defaults
        self.state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[dict[str, Any]] = []
        groups = list(params)
        if not groups:
            raise TgValueError(f"{type(self).__name__}: got an empty list of parameters")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters with settings of their own, ``{"params": tensors, setting: value}``."""
        op = type(self).__name__
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(f"{op}: a parameter group is a dict with the key 'params'")
        group = {**self.defaults, **param_group}
        params = group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        named = [isinstance(p, tuple) for p in params]
        if any(named):
            if not all(named):
                raise TgValueError(
                    f"{op}: some parameters of a group have names and some have none"
                )
            group["param_names"] = [name for name, _ in params]
            params = [p for _, p in params]
        if self.param_groups and any(named) != ("param_names" in self.param_groups[0]):
            raise TgValueError(f"{op}: some groups have names of parameters and some have none")
        group["params"] = params
        held = {id(p) for g in self.param_groups for p in g["params"]}
        for p in group["params"]:
            if not isinstance(p, Tensor):
                raise TypeError(f"{op}: expects tensors, got {type(p).__name__}")
            if not p.is_leaf:
                raise TgValueError(
                    f"{op}: a computed tensor of shape {p.shape} cannot be optimized"
                )
            if id(p) in held:
                raise TgValueError(f"{op}: a parameter of shape {p.shape} appears twice")
            held.add(id(p))
        self._check_all(group)
        self.param_groups.append(group)

    def _check_all(self, group: dict[str, Any]) -> None:
        op = type(self).__name__
        for name, (low, high) in _BOUNDS.items():
            if name in group and name not in self._unbounded:
                number(group[name], op, name, low, high)
        if "betas" in group:
            self._betas_below_one(group)
        self._check(group)

    def _check(self, group: dict[str, Any]) -> None:
        """Raises ValueError for settings of its own that are outside their range."""

    def _betas_below_one(self, group: dict[str, Any]) -> None:
        op, betas = type(self).__name__, group["betas"]
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TgValueError(f"{op}: betas expects two numbers, got {betas}")
        for i, beta in enumerate(betas):
            if not 0.0 <= number(beta, op, f"betas[{i}]") < 1.0:
                raise TgValueError(f"{op}: betas[{i}] lies in [0, 1), got {beta}")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the gradients, or fills them with zeros."""
        zero_grads((p for g in self.param_groups for p in g["params"]), set_to_none)

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Changes every parameter that has a gradient; closure recomputes and returns the loss."""
        if captures and (c := current()) is not None and c.step_of(self, closure):
            return None
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update(group)
        return loss

    def _register(self, table: str, hook: Callable) -> Handle:
        """A hook around step; the first one of an optimizer gives it a step of its own."""
        hooks = self.__dict__.setdefault(table, {})
        key = next_key()
        hooks[key] = hook
        if "step" not in self.__dict__:
            self.step = MethodType(_step_with_hooks, self)  # type: ignore[method-assign]
        return Handle(hooks, key)

    def register_step_pre_hook(self, hook: Callable) -> Handle:
        """Calls hook(optimizer, args, kwargs) before every step; what it returns, unless None, is
        the args and kwargs that step gets."""
        return self._register("_step_pre_hooks", hook)

    def register_step_post_hook(self, hook: Callable) -> Handle:
        """Calls hook(optimizer, args, kwargs) after every step."""
        return self._register("_step_post_hooks", hook)

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("step", "_step_pre_hooks", "_step_post_hooks")
        return {k: v for k, v in self.__dict__.items() if k not in left_out}

    def _update(self, group: dict[str, Any]) -> None:
        """Changes the parameters of a group that have a gradient, one after the other."""
        l1 = group.get("l1_decay", 0.0)
        p: Any
        for p in group["params"]:
            if p._grad is None:
                continue
            p._writable("optimizer step", ())
            self._step(p, -p._grad if group["maximize"] else p._grad, group, self.state[p])
            if l1:
                p.copy_(p.sign() * (p.abs() - group["lr"] * l1).clamp_(min=0.0))

    def _step(self, p: Any, g: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        """Changes one parameter, against g."""
        raise NotImplementedError

    # --- state ------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """The state by the number of the parameter, and the groups with numbers for tensors."""
        numbers: dict[Tensor, int] = {}
        groups = []
        for g in self.param_groups:
            ids = [numbers.setdefault(p, len(numbers)) for p in g["params"]]
            groups.append({**{k: v for k, v in g.items() if k != "params"}, "params": ids})
        state = {numbers[p]: dict(s) for p, s in self.state.items() if s and p in numbers}
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state; all of it or, on an error, nothing.

        Raises StateError when groups, numbers of parameters or shapes differ.
        """
        op = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= {*state_dict}:
            raise StateError(f"{op}: expects a dict with the keys 'state' and 'param_groups'")
        groups, saved = self.param_groups, state_dict["param_groups"]
        have, want = [len(g["params"]) for g in groups], [len(g["params"]) for g in saved]
        if have != want:
            raise StateError(
                f"{op}: the optimizer has groups of {have} parameters, the state of {want}"
            )
        by_number = {
            n: p
            for g, s in zip(groups, saved, strict=True)
            for n, p in zip(s["params"], g["params"], strict=True)
        }
        state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
        for n, entries in state_dict["state"].items():
            if n not in by_number:
                raise StateError(f"{op}: the state names parameter {n!r}, which no group holds")
            p = by_number[n]
            state[p] = {k: self._own(n, k, v, p) for k, v in entries.items()}
        loaded = [
            {**g, **deepcopy({k: v for k, v in s.items() if k != "params"})}
            for g, s in zip(groups, saved, strict=True)
        ]
        for group in loaded:
            self._check_all(group)
        self.state = state
        for group, new in zip(groups, loaded, strict=True):
            group.update(new)

    def _own(self, number: Any, name: str, value: Any, p: Tensor) -> Any:
        """A private copy of one entry of a loaded state, in the dtype of its parameter; counts and
        factors, which PyTorch keeps as 0-d tensors, as numbers."""
        if name in _NUMBERS:
            return _NUMBERS[name](value)
        return self._copied(number, name, value, p, p.shape)

    def _copied(self, number: Any, name: str, value: Any, p: Tensor, shape: tuple[int, ...]) -> Any:
        if not isinstance(value, (Tensor, np.ndarray)):
            return deepcopy(value)
        t: Any = as_tensor(value)
        if t.shape != shape:
            raise StateError(
                f"{type(self).__name__}.load_state_dict: {name} of parameter {number} has shape "
                f"{t.shape}, expected {shape}"
            )
        return t.detach().to(p.dtype).clone(memory_format="contiguous")

    def __repr__(self) -> str:
        lines = []
        for i, g in enumerate(self.param_groups):
            lines.append(f"  Parameter Group {i}")
            lines += [f"    {k}: {v}" for k, v in sorted(g.items()) if k != "params"]
        return f"{type(self).__name__} (\n" + "\n".join(lines) + "\n)"


def _step_with_hooks(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
    if captures:
        refuse("the hooks of an optimizer run in Python")
    for hook in list(self.__dict__.get("_step_pre_hooks", {}).values()):
        replaced = hook(self, args, kwargs)
        if replaced is not None:
            if not (isinstance(replaced, tuple) and len(replaced) == 2):
                raise TypeError(
                    f"{type(self).__name__}.step: a hook returns None or (args, kwargs), got "
                    f"{type(replaced).__name__}"
                )
            args, kwargs = replaced
    loss = type(self).step(self, *args, **kwargs)
    for hook in list(self.__dict__.get("_step_post_hooks", {}).values()):
        hook(self, args, kwargs)
    return loss
