"""The mutation score of the gradients: plants faults one at a time (``faults.py``,
``faulty_kernels.py``) and counts how many the tests below notice.

    python tests/mutation [--seed 0] [--limit N] [--only TEXT ...] [-- pytest arguments]

The tests run once without a fault, noting which derivatives and gradient kernels each goes through;
they must pass. Then every fault gets a process of its own, forked with everything imported, that
plants it and runs the tests that go through it until one fails. Exits with 1 under 99 %. A fault
that no test goes through, and one under which the tests run too long, counts as not caught.
"""

import argparse
import collections
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import equivalent
import faults
import faulty_kernels
import pytest
import sources

from tilegrad import kernels, tape
from tilegrad.linalg import solving  # noqa: F401  rules that are loaded on use
from tilegrad.nn import functional  # noqa: F401
from tilegrad.ops import rules

HERE = Path(__file__).parent.parent
TESTS = [
    "test_ops.py", "test_derivatives.py", "test_autograd.py", "test_conv.py", "test_indexing.py",
    "test_edges.py", "test_general.py", "test_losses.py", "test_activation_layers.py",
    "test_more_layers.py", "test_layers.py", "test_attention.py", "test_recurrent.py",
    *sorted(p.name for p in HERE.glob("test_*_kernels.py")),
]  # fmt: skip
"""Where a fault must be noticed: files that ``make test`` runs."""

GOAL = 0.99
CAUGHT = ("wrong values", "an exception", "a crash")


class Trace:
    """Notes what runs: functions of the derivatives, rules with the operands they serve, gradient
    kernels."""

    def __init__(self, functions):
        self.codes = {
            id(f.__code__): ("code", key) for key in functions.keys for f in functions.live[key]
        }
        self.seen, self.operands = set(), collections.defaultdict(set)

    def profile(self, frame, event, arg):
        if event == "call":
            key = self.codes.get(id(frame.f_code))
            if key is not None:
                self.seen.add(key)

    def install(self):
        for rule in rules.RULES.values():
            for path in sources.PATHS:
                if getattr(rule, path) is not None:
                    setattr(rule, path, self._rule(rule.name, path, getattr(rule, path)))
        for name in (*faulty_kernels.GRADIENTS, "unary_grad"):
            setattr(kernels.host, name, self._kernel(name, getattr(kernels.host, name)))
        tape.watchers.append(self._recorded)
        sys.setprofile(self.profile)

    def _recorded(self, out, inputs, params):
        self.seen.add(("rule", out._node.rule.name, "forward"))

    def _rule(self, name, path, function):
        def traced(*args):
            results = function(*args)
            self.seen.add(("rule", name, path))
            self.operands[name, path] |= {i for i, g in enumerate(results) if g is not None}
            return results

        return traced

    def _kernel(self, name, function):
        def traced(*args):
            self.seen.add(("kernel", name, args[0]) if name == "unary_grad" else ("kernel", name))
            return function(*args)

        return traced


class Mutation:
    """The pytest plugin that runs the collected tests under faults."""

    def __init__(self, options):
        self.options, self.status = options, 2
        self.failed = []

    # --- in the processes that run tests
    def pytest_runtest_makereport(self, item, call):
        if call.excinfo is not None:
            wrong = AssertionError, pytest.fail.Exception
            self.how = "wrong values" if call.excinfo.errisinstance(wrong) else "an exception"

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid)

    def _run(self, items, after=lambda i, seconds: None, stop=True):
        for i, item in enumerate(items):
            following = items[i + 1] if i + 1 < len(items) else None
            begun = time.perf_counter()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            after(i, time.perf_counter() - begun)
            if self.failed and stop:
                return

    def _control(self, file):
        trace = Trace(self.sources)
        trace.install()
        reached, seconds = collections.defaultdict(list), []

        def after(i, spent):
            seconds.append(spent)
            for key in trace.seen:
                reached[key].append(i)
            trace.seen.clear()

        self._run(self.items, after, stop=False)
        sys.setprofile(None)
        pickle.dump((self.failed, reached, seconds, trace.operands), file)

    def _under(self, fault, order, file):
        try:
            fault.plant()
        except Exception as e:
            file.write(json.dumps(["not planted", repr(e)]).encode())
            return
        self._run([self.items[i] for i in order])
        file.write(
            json.dumps([self.how, self.failed[0]] if self.failed else ["survived", ""]).encode()
        )

    def _fork(self, body, timeout):
        file = tempfile.TemporaryFile()
        pid = os.fork()
        if pid:
            return pid, file
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(timeout)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            body(file)
            file.flush()
            status = 0
        finally:
            os._exit(status)

    # --- in the process that plans
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        self.items = session.items
        self.sources = sources.Sources()
        begun = time.perf_counter()
        pid, file = self._fork(self._control, 900)
        _, code = os.waitpid(pid, 0)
        with file:
            if code:
                print(f"the run without a fault ended with status {code}")
                return True
            file.seek(0)
            failed, reached, self.seconds, operands = pickle.load(file)
        if failed:
            print("without a fault these fail, so nothing can be counted:", *failed, sep="\n  ")
            return True
        print(f"{len(self.items)} tests pass without a fault ({time.perf_counter() - begun:.0f} s)")
        planted = self._chosen([
            *faults.in_sources(self.sources), *faults.in_results(operands), *faults.in_saved(),
            *faulty_kernels.in_kernels(),
        ])  # fmt: skip
        self._count(planted, reached)
        return True

    def _chosen(self, every):
        every, excluded, unused = equivalent.split(every)
        print(f"{len(every)} faults, {len(excluded)} more that change nothing (equivalent.py)")
        if unused:
            sys.exit(f"equivalent.py lists what is no fault any more: {sorted(unused)}")
        if self.options.equivalent:
            every = excluded
        if self.options.only:
            every = [f for f in every if any(text in str(f) for text in self.options.only)]
        if self.options.limit and self.options.limit < len(every):
            # By turns from every kind, so that a sample has them all.
            random.Random(self.options.seed).shuffle(every)
            turns, kinds = collections.Counter(), {}
            for f in every:
                kinds[id(f)] = turns[f.kind]
                turns[f.kind] += 1
            every = sorted(every, key=lambda f: kinds[id(f)])[: self.options.limit]
        return every

    def _count(self, planted, reached):
        begun, running = time.perf_counter(), {}
        total, caught, self.killers = collections.Counter(), collections.Counter(), {}
        by, waiting = collections.Counter(), list(planted[::-1])
        while waiting or running:
            while waiting and len(running) < self.options.jobs:
                fault = waiting.pop()
                order = self._order(fault, reached)
                pid, file = self._fork(
                    lambda file, f=fault, o=order: self._under(f, o, file), self.options.timeout
                )
                running[pid] = fault, file
            pid, code = os.waitpid(-1, 0)
            fault, file = running.pop(pid)
            with file:
                file.seek(0)
                result, detail = json.loads(file.read() or b'["not run", ""]')
            if os.WIFSIGNALED(code):
                result = "ran too long" if os.WTERMSIG(code) == signal.SIGALRM else "a crash"
            if result.startswith("not "):
                sys.exit(f"{fault}: {result}: {detail}")
            total[fault.kind] += 1
            if result in CAUGHT:
                caught[fault.kind] += 1
                by[result] += 1
                self.killers.setdefault(fault.reaches, {})[detail] = True
            else:
                reason = "no test reaches it" if fault.reaches not in reached else result
                print(f"{reason}: {fault}", flush=True)
            if self.options.verbose:
                print(f"{result} {detail}: {fault}", flush=True)
        n, k = sum(total.values()), sum(caught.values())
        width = max(map(len, total), default=0)
        for kind, count in sorted(total.items()):
            print(f"  {kind:{width}}  {caught[kind]:4} of {count:4}")
        spent = time.perf_counter() - begun
        print(f"caught/planted = {k}/{n} = {100 * k / max(n, 1):.1f} % ({spent:.0f} s)")
        print("noticed by:", ", ".join(f"{how} {by[how]}" for how in CAUGHT))
        reached_goal = k == 0 if self.options.equivalent else k >= GOAL * n
        self.status = 0 if n and reached_goal else 1

    def _order(self, fault, reached):
        """The tests through the fault: those that noticed one at the same place first, then the
        fastest; every other test of gradients before those of values."""
        known = self.killers.get(fault.reaches, {})

        def key(i):
            item = self.items[i]
            slope = "test_gradient[" in item.nodeid or "equals_composite" in item.nodeid
            return item.nodeid not in known, not slope, self.seconds[i]

        return sorted(reached.get(fault.reaches, ()), key=key)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the sample that --limit takes")
    parser.add_argument("--limit", type=int, help="how many faults at most")
    parser.add_argument("--only", action="append", help="faults whose line holds this text")
    parser.add_argument(
        "--equivalent",
        action="store_true",
        help="plant those of equivalent.py; then none may be noticed",
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--timeout", type=int, default=120, help="seconds for one fault")
    parser.add_argument("--verbose", action="store_true", help="a line for every fault")
    parser.add_argument("tests", nargs="*", help="arguments of pytest instead of all tests")
    options = parser.parse_args()
    plugin = Mutation(options)
    tests = options.tests or [str(HERE / t) for t in TESTS]
    quiet = ["-qq", "-s", "--no-header", "--no-summary", "--tb=no", "-pno:cacheprovider"]
    code = pytest.main([*quiet, *tests], plugins=[plugin])
    return plugin.status if code == 0 else 2


if __name__ == "__main__":
    sys.exit(main())
