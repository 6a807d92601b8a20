"""What ``load_state_dict`` says where a state and a module differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def _described(x: Any) -> str:
    """Shape and dtype of a tensor or array, the type of anything else."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{tuple(x.shape)} {x.dtype}"
    return type(x).__name__


def differences(
    kind: str, rows: Sequence[tuple[str, Any]], own: Mapping[str, Any], state: Mapping[Any, Any]
) -> str:
    """A table of rows (what is wrong, name) with what the module of class kind and the state have
    under that name, and a last line with a repair where one is obvious.

    >>> import tilegrad as tg
    >>> net = tg.nn.Linear(2, 3, bias=False)
    >>> try:
    ...     net.load_state_dict({"model.weight": tg.ones(3, 2)})
    ... except tg.errors.StateError as error:
    ...     print(error)
    load_state_dict: the state does not fit Linear: 1 missing, 1 unexpected
                  name          the module      the state
      missing     weight        (3, 2) float32  -
      unexpected  model.weight  -               (3, 2) float32
    without "model." in front, 1 of 1 missing names are there: load {k.removeprefix("model."): v for
    k, v in state.items()}
    """
    table = [("", "name", "the module", "the state")]
    for what, name in rows:
        ours, theirs = (_described(d[name]) if name in d else "-" for d in (own, state))
        table.append((what, str(name), ours, theirs))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    counts = Counter(what for what, _ in rows)
    lines = [
        f"load_state_dict: the state does not fit {kind}: "
        + ", ".join(f"{n} {what}" for what, n in counts.items()),
        *("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in table),
        *_repair(own, state),
    ]
    return "\n".join(lines)


def uncounted(name: str, state: Mapping[Any, Any]) -> bool:
    """Whether name is the count of a batch norm whose estimates are in the state: PyTorch before
    0.4.1 kept no count."""
    prefix, _, rest = name.rpartition("num_batches_tracked")
    return not rest and f"{prefix}running_mean" in state


def _prefixes(names: set[str], wanted: set[str]) -> Counter[str]:
    """How many names are one of wanted behind a prefix that ends in a dot, by prefix."""
    parts = ((name, i + 1) for name in names for i, c in enumerate(name) if c == ".")
    return Counter(name[:i] for name, i in parts if name[i:] in wanted)


def _repair(own: Mapping[str, Any], state: Mapping[Any, Any]) -> list[str]:
    """What to do about names that differ by a prefix, or lie one level further down."""
    given = {k for k in state if isinstance(k, str)} - set(own)
    missing = set(own) - set(state)
    for key, inner in state.items():
        if isinstance(inner, Mapping) and (n := len(missing & set(inner))):
            return [f"{n} of {len(missing)} missing names are in state[{key!r}]: load that"]
    more, less = _prefixes(given, missing), _prefixes(missing, given)
    ((extra, n),) = more.most_common(1) or [("", 0)]
    ((lacking, m),) = less.most_common(1) or [("", 0)]
    if not n and not m:
        return []
    how, prefix, new = ("with", lacking, f'"{lacking}" + k')
    if n >= m:
        how, prefix, new = ("without", extra, f'k.removeprefix("{extra}")')
    return [
        f'{how} "{prefix}" in front, {max(n, m)} of {len(missing)} missing names are there: load '
        f"{{{new}: v for k, v in state.items()}}"
    ]
