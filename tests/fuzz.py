"""Random calls of every kernel of the contract, driven by the argument names.

Any call must return or raise an ordinary exception; under the sanitizers (``make asan``) a bad read
or write stops the process. Prints the seed of every call's stream, so a finding can be repeated:
``python tests/fuzz.py --seconds 60 --seed 7``.
"""

import argparse
import collections
import sys
import time

import ml_dtypes
import numpy as np

from tilegrad import kernels
from tilegrad.kernels import contract

DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "f4", "f4", "f8"]
# Nothing between: a size of a few gigabytes would be served, slowly.
HUGE = [2**63 - 1, 2**63 - 5, -(2**63), 2**62, 2**40, -(2**31), 2**64, 10**30]
EXPECTED = (ValueError, TypeError, IndexError, MemoryError, ZeroDivisionError, OverflowError)


class Fuzzer:
    """One stream of random arguments. A call first draws the shapes its arrays tend to share."""

    def __init__(self, seed):
        self.r = np.random.default_rng(seed)

    def pick(self, options):
        return options[self.r.integers(len(options))]

    def chance(self, p):
        return self.r.random() < p

    def new_call(self):
        ndim = int(self.pick([0, 1, 2, 3, 3, 4, 4, 4, 5]))
        self.shape = tuple(int(n) for n in self.r.integers(0, 7, ndim))
        if self.chance(0.7):
            self.shape = tuple(max(n, 1) for n in self.shape)
        self.dtype = np.dtype(ml_dtypes.bfloat16) if self.chance(0.05) else self.pick(DTYPES)
        self.spatial = max(ndim - 2, 0)
        self.taps = [1] * self.spatial
        self.listed = [self.near() for _ in range(self.r.integers(0, 4))]
        self.given = []
        self.sizes = [int(n) for n in self.r.integers(0, 7, 6)]
        self.kind = int(self.r.integers(0, len(contract.RECURRENT)))

    def number(self, low=-3, high=6):
        return int(self.pick(HUGE)) if self.chance(0.04) else int(self.r.integers(low, high))

    def numbers(self, low=0, high=4):
        n = self.spatial if self.chance(0.9) else int(self.r.integers(0, 5))
        return tuple(self.number(low, high) for _ in range(n))

    def near(self):
        """The shape of this call, sometimes broadcast, permuted or changed."""
        s = list(self.shape)
        if self.chance(0.2):
            s = [1 if self.chance(0.3) else n for n in s]
        if self.chance(0.1) and s:
            s[self.r.integers(len(s))] = int(self.r.integers(0, 9))
        if self.chance(0.08):
            s = s[1:]
        if self.chance(0.05):
            s = [2, *s]
        return s

    def array(self, shape=None, dtype=None):
        shape = self.near() if shape is None else shape
        dtype = np.dtype(self.dtype if dtype is None else dtype)
        if self.chance(0.04):
            dtype = np.dtype(self.pick([*DTYPES, "c8", ">f4", "S3", "O", "M8[s]"]))
        steps = [self.pick([1, 1, 1, 2, -1, -2]) if self.chance(0.3) else 1 for _ in shape]
        big = [n * abs(k) for n, k in zip(shape, steps, strict=True)]
        if dtype.kind in "OSM":
            a = np.zeros(big, dtype)
        elif dtype.kind in "?iub":
            a = np.asarray(self.r.integers(-3 if dtype.kind == "i" else 0, 5, big)).astype(dtype)
        else:
            a = np.asarray(self.r.standard_normal(big))
            if self.chance(0.2) and a.size:
                a.flat[0] = self.pick([np.nan, np.inf, -np.inf, 1e-42, -0.0])
            with np.errstate(all="ignore"):
                a = a.astype(dtype)
        a = np.asarray(a)[(*[slice(None, None, k) for k in steps], ...)]
        if self.chance(0.2) and a.ndim > 1:
            a = a.transpose(self.r.permutation(a.ndim))
            a = a if self.chance(0.3) else np.ascontiguousarray(a).reshape(shape)
        if self.chance(0.05) and a.ndim:
            a = np.broadcast_to(a[:1], a.shape)
        if self.chance(0.02):
            a.flags.writeable = False
        if self.chance(0.02) and a.size and a.dtype.kind in "fiu" and a.dtype.itemsize > 1:
            raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
            a = raw
        return a

    def arrays(self):
        """A list that mostly fits the other lists of this call; sometimes it shares an array."""
        out = [self.array(shape) for shape in self.listed]
        if self.chance(0.03):
            out = out[1:]
        if self.chance(0.05) and out and self.given:
            out[0] = self.pick(self.given)
        self.given += out
        return out

    def index(self):
        high = max([*self.shape, 1])
        a = self.array(dtype="i8")
        if a.dtype != np.int64 or not a.flags.writeable or self.chance(0.1):
            return a
        return np.asarray(self.r.integers(-high if self.chance(0.3) else 0, high, a.shape))

    def channels(self):
        n = self.shape[1] if len(self.shape) > 1 else 3
        if self.chance(0.15):
            return None
        return self.array([n] if self.chance(0.9) else None)

    def sequence(self, kernel, name):
        """An argument of attention or of a recurrent layer, mostly fitting the others."""
        b, h, t, s, d, e = self.sizes
        kind = contract.RECURRENT[self.kind]
        wide = {"lstm": 4, "gru": 3}.get(kind, 1) * d
        shapes = {
            "q": [b, h, t, d], "k": [b, h, s, d], "v": [b, h, s, e], "mask": [b, h, t, s],
            "g": [b, h, t, e], "x": [t, b, s], "w_in": [wide, s], "b_in": [wide],
            "h0": [b, d], "c0": [b, d], "gc": [b, d],
            "w": [wide, d], "bias": [wide], "h": [t, b, d], "c": [t, b, d], "gh": [t, b, d],
            "saved": [t, b, 4 * d],
        }  # fmt: skip
        if name == "op":
            return self.kind if self.chance(0.97) else int(self.r.integers(-2, 6))
        if name in ("causal", "reverse"):
            return self.chance(0.5)
        if name == "scale":
            return float(self.pick([0.5, 1.0, 0.0, np.nan, np.inf]))
        if name == "lengths":
            return None if self.chance(0.4) else self.r.integers(-2, 9, b)
        missing = {"c0": kind != "lstm", "c": kind != "lstm", "bias": kind != "gru",
                   "saved": self.kind < 2, "mask": self.chance(0.5),
                   "gc": self.chance(0.5), "b_in": self.chance(0.5)}  # fmt: skip
        if missing.get(name) and self.chance(0.97):
            return None
        shape = shapes[name]
        if self.chance(0.02):
            shape = self.pick([shape[1:], [*shape[:-1], 9], [1, *shape]])
        return self.array(shape)

    def argument(self, kernel, name):
        """A value for an argument of this name."""
        f = self.chance
        if f(0.01):
            return self.pick([None, "x", 1.5, (), object(), -1])
        if kernel.startswith(("attention", "recurrent")) and name not in ("p", "key", "offset"):
            return self.sequence(kernel, name)
        if kernel == "cross_entropy_grad" and name in ("g", "lse") and f(0.9):
            return self.array(self.shape[:1] if name == "lse" or f(0.7) else ())
        if name == "total_weight":
            return None if f(0.7) else np.array(self.pick([0.0, 2.0, np.nan]))
        if name == "reduction":
            return self.pick(["none", "mean", "sum"]) if f(0.98) else "x"
        if kernel == "layer_norm_grad" and name != "g" and f(0.8):
            if name == "ndim":
                return 1
            if name != "x":
                return self.array(self.shape[-1:] if name == "weight" else self.shape[:-1])
        if kernel == "avg_pool_grad" and name in ("kernel", "stride") and f(0.5):
            return tuple(self.taps)
        if kernel.endswith("_step"):
            if self.dtype not in ("f2", "f4", "f8") and f(0.9):
                self.dtype = self.pick([*"fffd", "e", ml_dtypes.bfloat16])
            if name in ("momentum_buffers", "max_exp_avg_sqs", "grad_avgs") and f(0.5):
                return None
            if name in ("params", "grads") or (name.endswith("s") and name != "eps"):
                return self.arrays()
            if name in ("first", "nesterov", "decoupled", "maximize"):
                return bool(f(0.5))
            if name != "step":
                return float(self.pick([0.0, 0.5, 1.0, -1.0, np.nan, np.inf, 1e-5]))
        if name == "op":
            table = {
                "unary": contract.UNARY, "unary_bool": contract.UNARY_BOOL,
                "unary_grad": contract.UNARY_GRAD, "binary": contract.BINARY,
                "binary_into": contract.BINARY, "compare": contract.COMPARE,
                "reduce": contract.REDUCE, "arg_reduce": contract.ARG_REDUCE,
                "cumulative": contract.CUMULATIVE,
            }[kernel]  # fmt: skip
            return int(self.r.integers(-1 if f(0.02) else 0, len(table) + (1 if f(0.02) else 0)))
        if name in ("kernel", "stride", "dilation"):
            return self.numbers(1, 4) if f(0.95) else self.numbers(-2, 4)
        if name in ("in_spatial", "out_spatial"):
            if kernel in ("conv_grad_input", "avg_pool_grad") and f(0.7):  # fits strides of 1
                return tuple(n + k - 1 for n, k in zip(self.shape[2:], self.taps, strict=False))
            return self.numbers(0, 9)
        if name == "padding":
            low = -1 if f(0.05) else 0
            return tuple((self.number(low, 3), self.number(low, 3)) for _ in self.numbers())
        if name == "widths":
            return tuple((self.number(0, 4), self.number(0, 4)) for _ in self.shape)
        if name in ("shifts", "axes"):
            if kernel in ("reduce", "moments", "logsumexp"):
                keep = [i for i in range(len(self.shape)) if f(0.5)]
                return tuple(keep) if f(0.95) else self.numbers(-2, 5)
            return tuple(self.number(-2, 3) for _ in self.shape[:2])
        if name in ("axis", "ndim"):
            return self.number(-2, max(len(self.shape), 1))
        if name == "groups":
            return self.pick([1, 1, 1, 2, 3, self.number()])
        if name == "shape":
            return self.shape if f(0.95) else self.numbers(-1, 9)
        if name == "dtype":
            return np.dtype(self.pick(DTYPES))
        if name == "value":
            return np.asarray(1, self.dtype) if kernel == "full" else 1.0
        if name == "impl":
            ways = contract.MATMUL if kernel == "matmul" else contract.CONV
            return "" if f(0.5) else self.pick([*ways, "x"])
        if name == "mode":
            return self.pick(["constant", "reflect", "replicate", "x"])
        if name == "order":
            return self.pick(["C", "K", "x"])
        if name in ("size", "low", "high", "key", "offset", "ignore_index", "divisor", "step"):
            return self.number(-2, 12)
        if name == "residual" and kernel == "batch_norm":
            return None if f(0.5) else self.array()
        if name in (
            "keepdims", "ceil_mode", "count_include_pad", "accumulate", "relu", "residual"
        ):  # fmt: skip
            return bool(f(0.5))
        if name == "power":
            return self.pick([2.0, np.inf, 1.0])
        if name == "total":
            return np.asarray(self.pick([0.0, 2.0, np.nan, np.inf]), self.pick(["f2", "f4", "f8"]))
        if name in ("p0", "p1", "p", "eps", "smoothing", "limit"):
            return float(self.pick([0.0, 0.5, 1.0, -1.0, np.nan, np.inf, 1e-5]))
        if name == "arrays":
            return [self.array() for _ in range(self.r.integers(0, 4))]
        if name == "indices":  # three types, where they fit
            a = self.index()
            narrow = self.pick([np.uint16, np.int32, np.int64])
            return a.astype(narrow) if a.dtype == np.int64 and (a >= 0).all() else a
        if name == "index":
            return self.index()
        if name == "target":
            return self.r.integers(0, 6, self.shape[:1]) if f(0.9) else self.index()
        if name == "cond":
            return self.array(dtype="?")
        if name in ("bias", "mean", "var", "rstd", "lse"):
            return self.channels()
        if name == "weight":
            return self.channels()
        if name == "w" and self.spatial and f(0.9):
            self.taps = [int(n) for n in self.r.integers(1, 4, self.spatial)]
            channels = [int(self.r.integers(0, 5)), max(self.shape[1], 1)]
            if kernel == "conv_grad_input":
                channels.reverse()
            return self.array([*channels, *self.taps])
        if name in ("a", "b", "x", "y", "g", "v", "w", "src", "dst", "out"):
            return self.array()
        raise SystemExit(f"fuzz: no generator for argument {name!r} of {kernel}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--kernel", action="append", help="only these")
    options = parser.parse_args()
    entries = [k for k in contract.KERNELS if not options.kernel or k.name in options.kernel]
    print(f"fuzz: seed {options.seed}, {len(entries)} kernels, {options.seconds:g} s", flush=True)
    fuzzer = Fuzzer(options.seed)
    done, returned, raised = 0, collections.Counter(), collections.Counter()
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        entry = entries[done % len(entries)]
        fuzzer.new_call()
        names = [a.split("=")[0].split(":")[0].strip() for a in entry.args.split(",")]
        args = [fuzzer.argument(entry.name, n) for n in names]
        try:
            result = getattr(kernels.host, entry.name)(*args)
            returned[entry.name] += 1
            for r in result if isinstance(result, tuple) else (result,):
                if isinstance(r, np.ndarray):
                    r.copy()  # reads every element
        except EXPECTED:
            raised[entry.name] += 1
        done += 1
    silent = [k.name for k in entries if not returned[k.name]]
    print(f"fuzz: {done} calls, {sum(returned.values())} returned, {sum(raised.values())} raised")
    if silent and done > 500 * len(entries):
        print("fuzz: never returned: " + ", ".join(silent))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
