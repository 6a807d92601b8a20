"""The ladder of a case: its product or convolution in every way that ``impl=`` selects, from the
formula up, and what share of the processor's multiply-adds each way reaches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .. import dtypes, kernels
from ..cases import Case
from ..errors import DeviceError, ValueError
from ..grad_mode import no_grad
from ..kernels import contract, reference
from ..tensor import from_numpy
from ..testing import tol
from .kernel_calls import Call, difference, recording
from .timing import measure

_IMPLS = {"matmul": contract.MATMUL, "conv": contract.CONV}
_ROUNDS = 20000  # of multiply-adds: a tenth of a millisecond


class Rung(NamedTuple):
    """One way of one kernel call. why says why it has no speed: it does not apply, or its result
    is wrong. share: of the multiply-adds that so many threads do in registers; an algorithm that
    needs fewer than the formula, by whose count gflops is given, may pass 1."""

    impl: str
    threads: int
    gflops: float = 0.0
    share: float = 0.0
    why: str = ""


def ladder(case: Case, *, dtype: Any = "float32", budget: float = 0.3) -> Iterator[Rung]:
    """The rungs of a case's product or convolution, first on one thread, then what is chosen
    without ``impl`` on one and on all; none where the case has no such call.

    The first rung, ``"registers"``, is the multiply-adds alone: they wait for no memory.
    """
    host = kernels.host
    if not hasattr(host, "_fma_chains"):
        raise DeviceError(f"bench: a ladder needs the compiled kernels, not {host.__name__}")
    inputs = [from_numpy(a) for a in case.arrays(dtypes.dtype(dtype))]
    with recording() as calls, no_grad():
        case.function()(*inputs)
    call = max((c for c in calls if c.name in _IMPLS), key=Call.flops, default=None)
    if call is None or not call.flops():
        return
    threads = host.num_threads()
    host.set_num_threads(1)
    try:
        yield from _rungs(call, threads, budget)
    finally:
        host.set_num_threads(threads)


def _rungs(call: Call, threads: int, budget: float) -> Iterator[Rung]:
    host, expected = kernels.host, getattr(reference, call.name)(*call.args)
    limit = tol(expected.dtype, call.terms(expected))
    functions: dict[str, Callable[[], Any]] = {}
    refused = {}
    for impl in (*_IMPLS[call.name], ""):
        run = functools.partial(getattr(host, call.name), *call.args, impl=impl)
        try:
            error = difference(run(), expected)
        except ValueError as e:
            refused[impl] = str(e).partition("does not apply: it ")[2] or str(e)
            continue
        if error <= limit:
            functions[impl] = run
        else:
            refused[impl] = f"WRONG: error {error:.1e}, tolerance {limit:.1e}"
    wide = expected.dtype == dtypes.float64
    chains = functools.partial(host._fma_chains, _ROUNDS, wide)
    peak, *times = measure([chains, *functions.values()], budget=budget)
    most = chains() / peak.median / 1e9
    yield Rung("registers", 1, most, 1.0)
    speeds = {n: call.flops() / t.median / 1e9 for n, t in zip(functions, times, strict=True)}
    for impl in (*_IMPLS[call.name], ""):
        if impl in refused:
            yield Rung(impl, 1, why=refused[impl])
        else:
            yield Rung(impl, 1, speeds[impl], speeds[impl] / most)
    if threads > 1 and "" in functions:
        host.set_num_threads(threads)
        (time,) = measure([functions[""]], budget=budget)
        speed = call.flops() / time.median / 1e9
        yield Rung("", threads, speed, speed / most / threads)
