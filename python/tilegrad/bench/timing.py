"""The one timing function. Every speed that tilegrad reports comes from here.

Candidates are timed in turns, in an order that is reversed every round, so that a change of the
machine's speed meets all of them alike. Medians and quartiles, never means: other programs can only
make a sample slower.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter_ns, sleep
from typing import NamedTuple

_SAMPLE_NS = 1_000_000  # one sample lasts at least this long, far above the clock's resolution


class Timing(NamedTuple):
    """Seconds per call: the median, its quartiles, and how many samples of how many calls."""

    median: float
    low: float
    high: float
    samples: int
    calls: int

    @property
    def iqr(self) -> float:
        """The distance between the quartiles."""
        return self.high - self.low


def measure(
    functions: Sequence[Callable[[], object]],
    *,
    budget: float = 0.3,
    min_samples: int = 5,
    max_samples: int = 200,
    pause: float = 0.0,
) -> list[Timing]:
    """Times the functions against each other, in turns.

    budget: seconds of measuring per function; at least min_samples are taken even if they take
    longer, and never more than max_samples. Each function is warmed up first, and called so often
    per sample that a sample lasts a millisecond. pause: seconds of rest and a call that
    does not count before every sample, for libraries whose threads go on spinning after a call and
    would take the cores of the next one.
    """
    calls = [_calls_per_sample(f) for f in functions]
    times: list[list[float]] = [[] for _ in functions]
    collecting = gc.isenabled()
    gc.disable()
    try:
        began = perf_counter_ns()
        limit = budget * len(functions) * 1e9
        rounds = 0
        while rounds < min_samples or (rounds < max_samples and perf_counter_ns() - began < limit):
            order = range(len(functions)) if rounds % 2 == 0 else reversed(range(len(functions)))
            for i in order:
                if pause:
                    sleep(pause)
                    functions[i]()  # wakes threads and caches
                times[i].append(_sample(functions[i], calls[i]))
            rounds += 1
    finally:
        if collecting:
            gc.enable()
    return [_summary(t, n) for t, n in zip(times, calls, strict=True)]


def _sample(f: Callable[[], object], calls: int) -> float:
    repeat = range(calls)
    t0 = perf_counter_ns()
    for _ in repeat:
        f()
    return (perf_counter_ns() - t0) / calls * 1e-9


def _calls_per_sample(f: Callable[[], object]) -> int:
    """Warms up, then finds how many calls fill one sample."""
    f()
    calls = 1
    while True:
        took = max(_sample(f, calls) * calls * 1e9, 1.0)
        if took >= _SAMPLE_NS / 2:
            return max(1, round(calls * _SAMPLE_NS / took)) if took < _SAMPLE_NS else calls
        calls *= max(2, min(10, int(_SAMPLE_NS / took)))


def _summary(times: list[float], calls: int) -> Timing:
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(median, low, high, len(times), calls)


def verdict(a: Timing, b: Timing) -> str:
    """Whether a is "faster" or "slower" than b; "undecided" where their quartiles overlap."""
    if a.high < b.low:
        return "faster"
    return "slower" if a.low > b.high else "undecided"
