"""The result of a benchmark as JSON, and its schema.

``{"schema": 1, "tilegrad": version, "machine": {...}, "rows": [...]}``. A row:

    family, case, op, dtype    which row of the case tables
    shapes                     of the inputs
    correct, error, tolerance  the gate: largest error relative to the largest reference value
    flops, bytes               of one call
    candidates                 by name ("tilegrad", "reference", "torch"): seconds (median), low
                               and high (quartiles), samples, calls per sample, gflops, gbytes
                               (10^9 per second)

Speeds of a row whose gate failed are null: what is wrong has no speed.
"""

from __future__ import annotations

import os
import platform
from typing import Any

from .. import kernels
from ..errors import DataError

SCHEMA = 1
_NUMBER = (int, float)
_OPTIONAL = (int, float, type(None))
_CANDIDATE = {
    "seconds": _OPTIONAL, "low": _OPTIONAL, "high": _OPTIONAL, "samples": int, "calls": int,
    "gflops": _OPTIONAL, "gbytes": _OPTIONAL,
}  # fmt: skip
_ROW = {
    "family": str, "case": str, "op": str, "dtype": str, "shapes": list, "correct": bool,
    "error": _OPTIONAL, "tolerance": _NUMBER, "flops": _NUMBER, "bytes": _NUMBER,
    "candidates": dict,
}  # fmt: skip
_MACHINE = {
    "processor": str, "cores": int, "threads": int, "isa": str, "kernels": str, "python": str,
    "system": str,
}  # fmt: skip
_REPORT = {"schema": int, "tilegrad": str, "machine": dict, "rows": list}


def processor() -> str:
    """The name of the CPU as the system states it."""
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def busy() -> str:
    """A warning where other programs want more cores than there are; else the empty string."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores + 1.0:
        return ""
    return f"the machine is busy (load {load:.1f} on {cores} cores): times are not to be trusted"


def machine() -> dict[str, Any]:
    """What the speeds depend on."""
    host = kernels.host
    compiled = hasattr(host, "isa")
    return {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": host.num_threads() if compiled else 1,
        "isa": host.isa() if compiled else "none",
        "kernels": host.__name__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The rows with what identifies library and machine."""
    from .. import __version__

    return {"schema": SCHEMA, "tilegrad": __version__, "machine": machine(), "rows": rows}


def validate(data: Any) -> None:
    """Raises DataError, with the path of the offending entry, unless data follows the schema."""
    _object("report", data, _REPORT)
    if data["schema"] != SCHEMA:
        raise DataError(f"benchmark: report.schema is {data['schema']}, expected {SCHEMA}")
    _object("report.machine", data["machine"], _MACHINE)
    for i, row in enumerate(data["rows"]):
        path = f"report.rows[{i}]"
        _object(path, row, _ROW)
        if not row["candidates"]:
            raise DataError(f"benchmark: {path}.candidates is empty")
        for name, candidate in row["candidates"].items():
            _object(f"{path}.candidates.{name}", candidate, _CANDIDATE)
            if not row["correct"] and candidate["seconds"] is not None:
                raise DataError(f"benchmark: {path} is not correct, but {name} has a speed")


def _object(path: str, value: Any, fields: dict[str, Any]) -> None:
    if not isinstance(value, dict):
        raise DataError(f"benchmark: {path} must be an object, got {type(value).__name__}")
    if set(value) != set(fields):
        wrong = sorted(set(value) ^ set(fields))
        raise DataError(
            f"benchmark: {path} must have the keys {sorted(fields)}; differing: {wrong}"
        )
    for key, kinds in fields.items():
        v = value[key]
        accepted = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(v, kinds) or (isinstance(v, bool) and bool not in accepted):
            raise DataError(f"benchmark: {path}.{key} has the wrong type {type(v).__name__}")
