"""Optimizers that use the curvature of the loss: LBFGS and SDLM."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .. import autograd, ops
from ..errors import GradientError, StateError
from ..errors import ValueError as TgValueError
from ..grad_mode import enable_grad, no_grad
from .optimizer import Optimizer


class _Point(NamedTuple):
    """After a step of length t: the loss, its gradient, and its slope along the direction."""

    t: float
    loss: float
    grad: Any
    slope: float


def _cubic(a: _Point, b: _Point, bounds: tuple[float, float] | None = None) -> float:
    """Where the cubic with these values and slopes is smallest, within the bounds."""
    if a.t > b.t:
        a, b = b, a
    low, high = bounds or (a.t, b.t)
    d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if square >= 0.0:
        d2 = math.sqrt(square)
        rise = b.slope - a.slope + 2.0 * d2
        if rise != 0.0:
            best = b.t - (b.t - a.t) * (b.slope + d2 - d1) / rise
            return min(max(best, low), high)
    return (low + high) / 2.0


def _strong_wolfe(
    at: Callable[[float], _Point], start: _Point, t: float, largest: float, tolerance: float,
    budget: int,
) -> tuple[_Point, int]:  # fmt: skip
    """A point under the strong Wolfe conditions, or the best found, and how many were tried: first
    a bracket, then a zoom by cubic interpolation (Nocedal and Wright, 2006, section 3.5).

    largest: the largest element of the direction; a bracket that moves no element by the tolerance
    ends the search.
    """

    def too_high(p: _Point) -> bool:
        return p.loss > start.loss + 1e-4 * p.t * start.slope

    def flat(p: _Point) -> bool:
        return abs(p.slope) <= -0.9 * start.slope

    before, now, tries = start, at(t), 0
    while tries < budget:
        if too_high(now) or (tries > 1 and now.loss >= before.loss):
            break
        if flat(now):
            return now, tries + 1
        if now.slope >= 0.0:
            break
        t = _cubic(before, now, (now.t + 0.01 * (now.t - before.t), now.t * 10.0))
        before, now = now, at(t)
        tries += 1
    else:
        before = start
    ends = [before, now]
    low = 0 if before.loss <= now.loss else 1
    stuck = done = False
    while not done and tries < budget and abs(ends[1].t - ends[0].t) * largest >= tolerance:
        t = _cubic(ends[0], ends[1])
        left, right = sorted(p.t for p in ends)
        margin = 0.1 * (right - left)
        close = min(right - t, t - left) < margin
        if close and (stuck or t >= right or t <= left):
            t = right - margin if abs(t - right) < abs(t - left) else left + margin
            close = False
        stuck = close
        new = at(t)
        tries += 1
        if too_high(new) or new.loss >= ends[low].loss:
            ends[1 - low] = new
            low = 0 if ends[0].loss <= ends[1].loss else 1
        else:
            done = flat(new)
            if not done and new.slope * (ends[1 - low].t - ends[low].t) >= 0.0:
                ends[1 - low] = ends[low]
            ends[low] = new
    return ends[low], tries + 1


class LBFGS(Optimizer):
    """Limited-memory BFGS (Liu and Nocedal, 1989): Newton's direction from the last history_size
    changes of the gradient, over all parameters together, which form one group.

    ``step(closure)`` iterates up to max_iter times; closure zeroes the gradients, computes the
    loss, calls backward and returns the loss. max_eval: calls of closure per step, max_iter * 5 / 4
    unless given. Stops when no element of the gradient exceeds tolerance_grad or neither loss nor
    parameters move by tolerance_change. line_search_fn: "strong_wolfe", or None for steps of lr.

    >>> import tilegrad as tg
    >>> x = tg.tensor([-1.2, 1.0], dtype=tg.float64, requires_grad=True)
    >>> optimizer = tg.optim.LBFGS([x], line_search_fn="strong_wolfe")
    >>> def rosenbrock():
    ...     optimizer.zero_grad()
    ...     loss = (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> for _ in range(3):
    ...     loss = optimizer.step(rosenbrock)
    >>> [round(v, 3) for v in x.tolist()]
    [1.0, 1.0]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change,
                "history_size": history_size, "line_search_fn": line_search_fn,
            },
        )  # fmt: skip

    def _check(self, group: dict[str, Any]) -> None:
        if self.param_groups and group["params"] is not self.param_groups[0]["params"]:
            raise TgValueError("LBFGS: all parameters form one group")
        if group.get("l1_decay"):
            raise TgValueError("LBFGS: there is no l1_decay, whose loss is not smooth")
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise TgValueError(
                f"LBFGS: line_search_fn is 'strong_wolfe' or None, got {group['line_search_fn']!r}"
            )

    def _gradient(self) -> Any:
        """The gradients as one vector."""
        params = self.param_groups[0]["params"]
        return ops.cat(
            [(ops.zeros_like(p) if p._grad is None else p._grad).ravel() for p in params]
        )

    def _move(self, t: float, direction: Any) -> None:
        at = 0
        for p in self.param_groups[0]["params"]:
            p.add_(direction[at : at + p.numel()].reshape(p.shape), alpha=t)
            at += p.numel()

    def _direction(self, grad: Any, state: dict[str, Any]) -> Any:
        """Minus the inverse Hessian times the gradient, by the two-loop recursion."""
        q = -grad
        old = list(zip(state["old_dirs"], state["old_stps"], state["ro"], strict=True))
        weights = []
        for y, s, ro in reversed(old):
            weights.append(ops.dot(s, q).item() * ro)
            q.add_(y, alpha=-weights[-1])
        q.mul_(state["H_diag"])
        for (y, s, ro), weight in zip(old, reversed(weights), strict=True):
            q.add_(s, alpha=weight - ops.dot(y, q).item() * ro)
        return q

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Iterates from where the parameters are; returns the loss there."""
        if closure is None:
            raise TgValueError("LBFGS: step needs a closure that recomputes the loss")
        closure = enable_grad()(closure)
        (group,) = self.param_groups
        params, lr, tolerance = group["params"], group["lr"], group["tolerance_change"]
        for p in params:
            p._writable("optimizer step", ())
        state = self.state[params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = closure()
        loss, evaluations = float(first), 1
        state["func_evals"] += 1
        grad = self._gradient()
        if not grad.numel() or grad.abs().max().item() <= group["tolerance_grad"]:
            return first
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                state.update(d=-grad, old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
                t = min(1.0, 1.0 / grad.abs().sum().item()) * lr
            else:
                self._remember(grad, group["history_size"], state)
                state["d"] = self._direction(grad, state)
                t = lr
            d = state["d"]
            state.update(prev_flat_grad=grad.clone(), prev_loss=loss, t=t)
            slope = ops.dot(grad, d).item()
            if slope > -tolerance:
                break
            largest = d.abs().max().item()
            called = 0
            if group["line_search_fn"] is not None:
                origin = [p.clone() for p in params]

                def at(t: float, d: Any = d, origin: list[Any] = origin) -> _Point:
                    self._move(t, d)
                    loss, grad = float(closure()), self._gradient()
                    for p, x in zip(params, origin, strict=True):
                        p.copy_(x)
                    return _Point(t, loss, grad, ops.dot(grad, d).item())

                start = _Point(0.0, loss, grad, slope)
                budget = group["max_eval"] - evaluations
                found, called = _strong_wolfe(at, start, t, largest, tolerance, budget)
                state["t"], loss, grad = found.t, found.loss, found.grad
                self._move(found.t, d)
            else:
                self._move(t, d)
                if iteration < group["max_iter"]:  # else nobody looks at it
                    loss, grad, called = float(closure()), self._gradient(), 1
            evaluations += called
            state["func_evals"] += called
            if (
                evaluations >= group["max_eval"]
                or grad.abs().max().item() <= group["tolerance_grad"]
                or largest * abs(state["t"]) <= tolerance
                or abs(loss - state["prev_loss"]) < tolerance
            ):
                break
        return first

    def _remember(self, grad: Any, size: int, state: dict[str, Any]) -> None:
        """Adds the last step and the change of the gradient along it, where that curves upward."""
        y, s = grad - state["prev_flat_grad"], state["d"] * state["t"]
        curvature = ops.dot(y, s).item()
        if curvature <= 1e-10:
            return
        for name, value in (("old_dirs", y), ("old_stps", s), ("ro", 1.0 / curvature)):
            state[name] = [*state[name], value][-size:]
        state["H_diag"] = curvature / ops.dot(y, y).item()

    def _own(self, number: Any, name: str, value: Any, p: Any) -> Any:
        """The vectors span all parameters; a checkpoint keeps lists of them as the rows of one.
        PyTorch keeps the numbers as 0-d tensors, and scratch as ``al``."""
        if name == "al":
            return None
        if name in ("H_diag", "t", "prev_loss"):
            return float(value)
        if name == "ro":
            return [float(v) for v in value]
        total = sum(p.numel() for p in self.param_groups[0]["params"])
        if name in ("old_dirs", "old_stps"):
            return [self._copied(number, name, v, p, (total,)) for v in value]
        return self._copied(number, name, value, p, (total,))


class SDLM(Optimizer):
    """Stochastic diagonal Levenberg-Marquardt: p -= lr / (|h| + mu) g, one rate for every weight,
    with h an estimate of the diagonal of the Gauss-Newton matrix, the Hessian without the second
    derivatives of the model. mu bounds the rate where the loss is flat.

    ``update_curvature(closure)`` estimates h, before the first step and then once in a while (an
    epoch, say), on a few hundred examples.

    Sources: Becker and LeCun, 1989; LeCun et al., 1998, appendix C, where a backward pass through
    squared weights finds h. Here random signs do, so that it is exact for shared weights and holds
    for every model (Martens et al., 2012).

    >>> import tilegrad as tg
    >>> x = tg.tensor([3.0, 1.0], requires_grad=True)
    >>> def closure():
    ...     outputs = x * tg.tensor([1.0, 10.0])
    ...     return outputs.square().sum() / 2, outputs
    >>> optimizer = tg.optim.SDLM([x], lr=1.0, mu=0.0)
    >>> optimizer.update_curvature(closure)
    >>> closure()[0].backward()
    >>> optimizer.step()
    >>> x.tolist()
    [0.0, 0.0]
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        mu: float = 0.02,
        gamma: float = 0.05,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr, "mu": mu, "gamma": gamma, "weight_decay": weight_decay,
                "maximize": maximize,
            },
        )  # fmt: skip

    def update_curvature(
        self, closure: Callable[[], Any], samples: int = 1, generator: Any = None
    ) -> None:
        """Estimates the diagonal of J'HJ, where J is the derivative of the outputs by the
        parameters and H that of the loss by the outputs, twice: the mean of (J'u) * (J'Hu) over
        samples vectors u of random signs. h moves by gamma towards it (all the way at first).

        closure: returns (loss, outputs), recorded and without calling backward. Raises
        GradientError when the outputs depend on no parameter, or the loss not on the outputs.
        """
        if samples < 1:
            raise TgValueError(f"SDLM: samples must be at least 1, got {samples}")
        rates = {p: g["gamma"] for g in self.param_groups for p in g["params"] if p.requires_grad}
        params = list(rates)
        with enable_grad():
            loss, outputs = closure()
            if not loss.requires_grad or not outputs.requires_grad:
                raise GradientError("SDLM: loss and outputs must depend on the parameters")
            slope: Any = autograd.grad(loss, outputs, create_graph=True)[0]
        totals: list[Any] = [None] * len(params)
        for _ in range(samples):
            u = ops.bernoulli(ops.full_like(outputs, 0.5), generator=generator) * 2.0 - 1.0
            if slope.requires_grad:
                (hu,) = autograd.grad(slope, outputs, u, retain_graph=True)
            else:
                hu = ops.zeros_like(u)
            pairs = [
                autograd.grad(outputs, params, v, retain_graph=True, allow_unused=True)
                for v in (u, hu)
            ]
            for i, (ju, jhu) in enumerate(zip(*pairs, strict=True)):
                if ju is not None:
                    totals[i] = ju * jhu if totals[i] is None else totals[i] + ju * jhu
        for p, total in zip(params, totals, strict=True):
            if total is None:
                continue
            state, estimate = self.state[p], (total / samples).detach()
            if "curvature" in state:
                state["curvature"].add_((estimate - state["curvature"]).mul_(rates[p]))
            else:
                state["curvature"] = estimate

    def _step(self, p: Any, g: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        if "curvature" not in state:
            raise StateError("SDLM: update_curvature must estimate the curvature before a step")
        if group["weight_decay"]:
            g = g.add(p, alpha=group["weight_decay"])
        p.sub_((g / state["curvature"].abs().add_(group["mu"])).mul_(group["lr"]))
