"""The ``tilegrad`` command: info, demo, train, check, bench."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from . import kernels
from .errors import TilegradError
from .errors import ValueError as TgValueError

_OPTIONAL = ("rich", "matplotlib", "scikit-learn", "torch")


def _positive(text: str) -> int:
    n = int(text)
    if n < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {n}")
    return n


def parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    from . import __version__

    top = argparse.ArgumentParser(prog="tilegrad", description="Tensors, autodiff, own kernels.")
    top.add_argument("--version", action="version", version=f"tilegrad {__version__}")
    commands = top.add_subparsers(dest="command", required=True)

    p = commands.add_parser("info", help="what this installation is and uses")
    p.set_defaults(run=_info)

    p = commands.add_parser("demo", help="train LeNet-5 on handwritten digits")
    p.add_argument("--data", metavar="DIR", help="folder with the four MNIST files (gz or not)")
    p.add_argument("--epochs", type=_positive, help="5 for MNIST, 20 for the bundled digits")
    p.add_argument("--save", metavar="DIR", default="demo_out", help="output folder (%(default)s)")
    p.add_argument("--variant", choices=("modern", "1998"), default="modern")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--batch-size", type=_positive)
    p.add_argument("--threads", type=_positive)
    p.set_defaults(run=_demo)

    p = commands.add_parser("train", help="train a published model; without a name: list them")
    p.add_argument("recipe", nargs="?", metavar="RECIPE")
    p.add_argument("overrides", nargs="*", metavar="OPTION=VALUE", help="of the recipe")
    p.add_argument("--data", metavar="PATH", help="the file or folder the recipe reads")
    p.add_argument("--out", metavar="DIR", help="output folder (train_RECIPE)")
    p.add_argument("--epochs", type=_positive)
    p.add_argument("--lr", type=float, help="learning rate")
    p.add_argument("--batch", type=_positive, help="samples per step")
    p.add_argument("--seed", type=int)
    p.add_argument("--threads", type=_positive)
    p.add_argument("--quick", action="store_true", help="a trial run of seconds")
    p.add_argument("--resume", action="store_true", help="keep the state of the run, go on from it")
    p.set_defaults(run=_train)

    p = commands.add_parser("check", help="run the case tables against the NumPy reference here")
    p.add_argument("--threads", type=_positive)
    p.set_defaults(run=_check)

    p = commands.add_parser("bench", help="time the kernels, after checking their results")
    p.add_argument("pattern", nargs="?", default="", help="part of family/op-case")
    p.add_argument("--dtype", default="float32")
    p.add_argument("--vs", action="append", default=[], choices=("torch",), help="a peer to time")
    p.add_argument("--budget", type=float, default=0.3, help="seconds per candidate (%(default)s)")
    p.add_argument(
        "--json", metavar="FILE", help="write the report, schema in tilegrad.bench.report"
    )
    p.add_argument("--threads", type=_positive)
    p.add_argument(
        "--ladder", action="store_true", help="products and convolutions in every way of impl="
    )
    p.set_defaults(run=_bench)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 1 for an error, 2 for wrong arguments, 130 when
    interrupted."""
    top = parser()
    args, rest = top.parse_known_args(argv)
    if args.command == "train" and not any(text.startswith("-") for text in rest):
        args.overrides += rest  # argparse finds positional arguments in one place only
    elif rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        threads = getattr(args, "threads", None)
        if threads is not None and hasattr(kernels.host, "set_num_threads"):
            kernels.host.set_num_threads(threads)
        return args.run(args)
    except TilegradError as e:
        print(f"tilegrad {args.command}: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, `head` say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:  # a folder that cannot be written, a full disk
        print(f"tilegrad {args.command}: {e}", file=sys.stderr)
        return 1


def _info(args: argparse.Namespace) -> int:
    from . import __version__
    from .bench.report import machine

    host, m = kernels.host, machine()
    print(f"tilegrad       {__version__}")
    print(f"python         {m['python']}, {m['system']}")
    print(f"processor      {m['processor']}, {m['cores']} cores")
    print(f"kernels        {host.__name__}")
    if hasattr(host, "isa"):
        stats = host.memory_stats()
        print(f"instructions   {host.isa()} (of {', '.join(host.isas())})")
        print(f"threads        {host.num_threads()}")
        print(f"memory         {stats['memory_limit'] / 2**30:.1f} GiB usable")
    for name in ("numpy", "ml_dtypes", *_OPTIONAL):
        try:
            print(f"{name:<14} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            print(f"{name:<14} not installed (optional)")
    return 0


def _demo(args: argparse.Namespace) -> int:
    from .demo import demo

    return demo(args.data, args.epochs, args.save, args.variant, args.seed, args.batch_size)


def _train(args: argparse.Namespace) -> int:
    from .recipes import RECIPES, describe, run

    if args.recipe is None:
        print("tilegrad train RECIPE [--data PATH] [--epochs N] [OPTION=VALUE ...]\n")
        print("\n\n".join(map(describe, RECIPES.values())))
        return 0
    overrides: dict[str, Any] = {}
    for text in args.overrides:
        name, mark, value = text.partition("=")
        if not mark:
            raise TgValueError(f"expected OPTION=VALUE, got {text!r}")
        overrides[name] = value
    named = {k: getattr(args, k) for k in ("epochs", "lr", "batch", "seed")}
    overrides.update({k: v for k, v in named.items() if v is not None})
    result = run(args.recipe, args.data, args.out, overrides, args.quick, args.resume)
    return 130 if result.stopped else 0


def _check(args: argparse.Namespace) -> int:
    from .bench import check

    failed = 0
    print(
        "The largest error of each family against the NumPy reference, in units of the tolerance:"
    )
    for i, family in enumerate(check()):
        bad = len(family.failures)
        if i == 0:
            print(f"{'family':<16} {'rows':>5}", *(f"{isa or 'NumPy':>9}" for isa in family.worst))
        errors = (f"{w:>9.2f}" for w in family.worst.values())
        print(
            f"{family.family:<16} {family.rows:>5}", *errors, f"  {bad} FAILED" if bad else "  ok"
        )
        for line in family.failures:
            print(f"    {line}")
        failed += bad
    return 1 if failed else 0


def _ladder(args: argparse.Namespace) -> int:
    from .bench import ladder, select

    seen = False
    for family, case in select(args.pattern):
        for i, r in enumerate(ladder(case, dtype=args.dtype, budget=args.budget)):
            if i == 0:
                print(f"{family}/{case}  {args.dtype}, {kernels.host.isa()}")
                print(f"    {'impl':<13} {'threads':>7} {'GFLOP/s':>9} {'of registers':>13}")
            speed = f"{'-':>9}  {r.why}" if r.why else f"{r.gflops:>9.1f} {r.share:>13.1%}"
            print(f"    {r.impl or '(chosen)':<13} {r.threads:>7} {speed}", flush=True)
            seen = True
    if not seen:
        print(f"tilegrad bench: no product or convolution in {args.pattern!r}", file=sys.stderr)
    return 0 if seen else 1


def _bench(args: argparse.Namespace) -> int:
    if args.ladder:
        return _ladder(args)
    from .bench import report, run_case, select, validate
    from .bench.report import busy

    rows: list[dict[str, Any]] = []
    names = ("tilegrad", "reference", *args.vs)
    m = report([])["machine"]
    print(
        f"{m['processor']}; {m['isa']}; {m['threads']} threads; {args.dtype}; medians [quartiles]"
    )
    for family, case in select(args.pattern):
        row = run_case(family, case, dtype=args.dtype, peers=tuple(args.vs), budget=args.budget)
        rows.append(row)
        print(f"{family}/{case}  {_speeds(row, names)}", flush=True)
    if warning := busy():
        print(f"note: {warning}", file=sys.stderr)
    if not rows:
        print(f"tilegrad bench: no row matches {args.pattern!r}", file=sys.stderr)
        return 1
    if args.json:
        result = report(rows)
        validate(result)
        Path(args.json).write_text(json.dumps(result, indent=1) + "\n")
    return 0 if all(r["correct"] for r in rows) else 1


def _speeds(row: dict[str, Any], names: Sequence[str]) -> str:
    if not row["correct"]:
        return f"WRONG: error {row['error']}, tolerance {row['tolerance']:.1e}; not timed"
    ours = row["candidates"]["tilegrad"]
    parts = []
    for name in names:
        c = row["candidates"].get(name)
        if c is None or c["seconds"] is None:
            parts.append(f"{name}: none")
            continue
        rate = (
            f"{c['gflops']:.1f} GFLOP/s"
            if row["flops"] > row["bytes"]
            else f"{c['gbytes']:.1f} GB/s"
        )
        text = f"{name} {c['seconds'] * 1e6:.1f} us [{c['low'] * 1e6:.1f}, {c['high'] * 1e6:.1f}]"
        if name == "tilegrad":
            parts.append(f"{text} {rate}")
        elif ours["high"] < c["low"] or ours["low"] > c["high"]:
            parts.append(f"{text} ({c['seconds'] / ours['seconds']:.2f}x)")
        else:
            parts.append(f"{text} (undecided)")
    return "  ".join(parts)
