"""Peers timed in turns, each in a process of its own: their thread pools spin on after a call, and
would take the cores from whoever comes next.

A benchmark script calls main(). Started by it again with --worker, the script answers requests:
one line of JSON that says what to set up (a list), that it is to be timed ("time"), where its
result is to be written, or of what a process of its own is to tell the memory (objects).

All benchmarks write one format, {"machine", "versions", "rows", "summary"}. A row has its name, the
threads, seconds {peer: {low, median, high}} (quartiles of the rounds) and, where there are peers,
ratio {peer, low, median, high}: how many times as long the fastest of them takes, per round, with
the bounds of a confidence interval of 95 % of the median. Rows that a file has already stay unless
they are measured again, so that it can be filled in parts (--part 1/4).
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

REST = 0.025  # seconds before each sample, in which the other side's threads go to sleep
COMPARED = 1 << 20  # elements of a result that are compared; of larger ones every so many-th

Make = Callable[[str, list[Any]], Callable[[], Any] | None]


class Row(NamedTuple):
    """What is timed: a name, what the workers are told, its floating-point operations, the peers it
    is for, where not for all, the bytes it moves at least, and by what share of the largest element
    the results of a peer may differ; else it has no speed."""

    name: str
    spec: list[Any]
    flops: float = 0.0
    peers: tuple[str, ...] | None = None
    bytes: float = 0.0
    tolerance: float | None = None


def _set_up(peer: str, request: list[Any], make: Make) -> Any:
    """The call, after it was made once, or None; of another library, the message of what it
    raises."""
    try:
        call = make(peer, request)
        if call is not None:
            call()
    except Exception as e:
        if peer.startswith("tilegrad"):
            raise
        return f"{type(e).__name__}: {e}".partition("\n")[0]
    return call


def _resident(field: str) -> int:
    """VmRSS or VmHWM, its highest value, in bytes."""
    with open("/proc/self/status") as f:
        return 1024 * next(int(line.split()[1]) for line in f if line.startswith(field))


def _memory(peer: str, make: Make, spec: list[Any]) -> Any:
    """By how many bytes the process grows at most in three calls, with what they need; and the most
    that tilegrad's pool had in use. What importing takes does not count."""
    module = import_module(peer.split()[0])
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")  # forgets the highest value
    before = _resident("VmRSS")
    call = make(peer, spec)
    assert call is not None
    for _ in range(3):
        call()
    pool = module.memory_stats()["peak"] if peer == "tilegrad" else 0
    return [_resident("VmHWM") - before, pool]


def _write_result(path: str, result: Any) -> None:
    """The first array of a result, or a part of it."""
    first = result[0] if isinstance(result, (tuple, list)) else result
    values = np.asarray(first.detach() if hasattr(first, "detach") else first).ravel()
    np.save(path, values[:: values.size // COMPARED + 1].astype(np.float64))


def _serve(peer: str, make: Make) -> None:
    call: Callable[[], Any]
    call, calls = gc.collect, 1  # until the first request

    def sample(n: int) -> float:
        began = time.perf_counter()
        for _ in range(n):
            call()
        return (time.perf_counter() - began) / n

    gc.disable()
    for line in sys.stdin:
        request = json.loads(line)
        if isinstance(request, list):
            answer: Any = _set_up(peer, request, make)
            if callable(answer):
                call, calls, answer = answer, 1, True
                while sample(calls) * calls < 2e-3:
                    calls *= 2
        elif isinstance(request, dict) and "result" in request:
            answer = _write_result(request["result"], call())
        elif isinstance(request, dict):
            answer = _memory(peer, make, request["memory"])
        else:
            sample(max(1, calls // 4))  # threads awake, caches warm
            answer = min(sample(calls) for _ in range(3))
        print(json.dumps(answer), flush=True)


class _Worker:
    def __init__(self, peer: str, threads: int, settings: dict[str, str]) -> None:
        ours = str(threads)
        env = dict(os.environ, **settings, TILEGRAD_NUM_THREADS=ours, OMP_NUM_THREADS=ours)
        # NumPy inside tilegrad's process does no arithmetic here.
        env["OPENBLAS_NUM_THREADS"] = "1" if peer == "tilegrad" else ours
        self._process = subprocess.Popen(
            [sys.executable, sys.argv[0], "--worker", peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def ask(self, request: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the process of {self._process.args[-1]} ended early")
        return json.loads(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def main(
    description: str,
    rows: Iterable[Row],
    make: Make,
    peers: tuple[str, ...],
    memory: bool = False,
    summary: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    settings: dict[str, dict[str, str]] | None = None,
    yardstick: str | None = None,
) -> None:
    """The command line of a benchmark script. make(peer, spec) returns the call to be timed, or
    None where the peer has nothing of that kind. memory: the peak memory of every row is compared
    too. summary turns the measured rows into lines that are printed and written after them.
    settings: environment variables of a peer. yardstick: a name that make knows too, whose time is
    taken in the same turns but is no rival's."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", help="parts of names; all rows without")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--part", default="1/1", metavar="I/N", help="every N-th row from the I-th")
    parser.add_argument("--without", nargs="+", default=[], metavar="PEER")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return _serve(args.worker, make)
    # A peer is a module and perhaps, behind a space, a setting of it.
    missing = [p for p in peers if importlib.util.find_spec(p.split()[0]) is None]
    for peer in missing:
        print(f"{peer} is not installed here; measuring without it")
    names = ["tilegrad", *(p for p in peers if p not in missing + args.without)]
    sides = [*names, yardstick] if yardstick else names
    first, parts = map(int, args.part.split("/"))
    chosen = [r for r in rows if not args.rows or any(part in r.name for part in args.rows)]
    results = []
    for threads in args.threads:
        workers = {name: _Worker(name, threads, (settings or {}).get(name, {})) for name in sides}
        try:
            for row in chosen[first - 1 :: parts]:
                results.append(_compare(row, workers, threads, args.rounds, yardstick))
                if memory:
                    results[-1]["memory"] = _compare_memory(row, names, threads)
                for peer in set(args.without).intersection(row.peers or peers):
                    results[-1].setdefault("failed", {})[peer] = "left out of this run"
        finally:
            for worker in workers.values():
                worker.close()
    if args.json:
        results = _merged(args.json, results)
    lines = summary(results) if summary else []
    for line in lines:
        print(json.dumps(line))
    if args.json:
        _write(args.json, results, names, lines)


def _compare(
    row: Row, workers: dict[str, _Worker], threads: int, rounds: int, yardstick: str | None
) -> dict[str, Any]:
    sides = [
        n for n in workers
        if n in ("tilegrad", yardstick) or row.peers is None or n in row.peers
    ]  # fmt: skip
    answers = {name: workers[name].ask(row.spec) for name in sides}
    failed = {name: a for name, a in answers.items() if isinstance(a, str)}
    made = [name for name, a in answers.items() if a is True]
    if row.tolerance is not None:
        failed |= _differing(row.tolerance, {n: workers[n] for n in made if n != yardstick})
    samples: dict[str, list[float]] = {n: [] for n in made if n not in failed}
    for i in range(rounds):
        for name in list(samples) if i % 2 else reversed(samples):
            time.sleep(REST)
            samples[name].append(workers[name].ask("time"))
    medians = {name: statistics.median(s) for name, s in samples.items()}
    ours = medians["tilegrad"]
    line = f"{row.name:26} {threads} thread{'s' * (threads > 1):1} "
    line += "".join(f" {name} {m * 1e6:10.1f} us" for name, m in medians.items())
    for amount, unit in ((row.flops, "GFLOP/s"), (row.bytes, "GB/s")):
        line += f"  {amount / ours / 1e9:6.1f} {unit}" if amount else ""
    spread = {
        name: dict(zip(("low", "median", "high"), _quartiles(s), strict=True))
        for name, s in samples.items()
    }
    result = {"row": row.name, "threads": threads, "flops": row.flops, "seconds": spread}
    if row.bytes:
        result["bytes"] = row.bytes
    rivals = [name for name in samples if name not in ("tilegrad", yardstick)]
    if rivals:
        best = min(rivals, key=medians.__getitem__)
        r = result["ratio"] = {"peer": best, **_interval(samples["tilegrad"], samples[best])}
        line += f"  ratio {r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f})"
    print(line, *(f"{name}: {why}" for name, why in failed.items()), flush=True)
    return {**result, "failed": failed} if failed else result


def _differing(tolerance: float, workers: dict[str, _Worker]) -> dict[str, str]:
    """The peers whose results are not ours, and why."""
    results = {}
    for name, worker in workers.items():
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            worker.ask({"result": file.name})
            results[name] = np.load(file.name)
    ours, failed = results.pop("tilegrad"), {}
    for name, theirs in results.items():
        error = np.inf
        if ours.shape == theirs.shape:
            error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        if not error <= tolerance:
            failed[name] = f"its result differs by {error:.2g}"
    return failed


def _interval(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """The ratios of rounds: median, and the order statistics between which the true median lies in
    95 of 100 runs (sign test); the extremes of fewer than six rounds."""
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    n, outside, tail = len(ratios), 0, 2.0
    while outside < n // 2 and tail / 2**n <= 0.05:
        outside += 1
        tail += 2.0 * math.comb(n, outside)
    at = max(outside - 1, 0)
    return {"low": ratios[at], "median": statistics.median(ratios), "high": ratios[n - 1 - at]}


def _compare_memory(row: Row, names: list[str], threads: int) -> dict[str, int]:
    """The peak of each peer, in a fresh process."""
    peaks: dict[str, int] = {}
    for name in names:
        worker = _Worker(name, threads, {})
        peaks[name], pool = worker.ask({"memory": row.spec})
        if pool:
            peaks["tilegrad's pool"] = pool
        worker.close()
    line = "".join(f"  {name} {n / 2**20:.1f} MiB" for name, n in peaks.items())
    print(f"{'':26} peak memory{line}", flush=True)
    return peaks


def _quartiles(samples: list[float]) -> list[float]:
    if len(samples) < 2:
        return samples * 3
    return statistics.quantiles(samples, n=4, method="inclusive")


def _merged(path: str, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results, with those in the file that were not measured again before them."""
    if not os.path.exists(path):
        return results
    with open(path) as f:
        old = json.load(f)["rows"]
    new = {(r["row"], r["threads"]) for r in results}
    return [r for r in old if (r["row"], r["threads"]) not in new] + results


def _write(
    path: str, results: list[dict[str, Any]], names: list[str], lines: list[dict[str, Any]]
) -> None:
    from importlib.metadata import version

    from tilegrad import __version__
    from tilegrad.bench.report import machine

    modules = {name.split()[0] for name in names} - {"tilegrad"}
    versions = {"tilegrad": __version__, **{name: version(name) for name in sorted(modules)}}
    report = {"machine": machine(), "versions": versions, "rows": results}
    with open(path, "w") as f:
        json.dump({**report, "summary": lines} if lines else report, f, indent=1)
        f.write("\n")
