"""Faults of ``mutation.py`` that provably change nothing, each with its reason."""

EQUIVALENT: dict[str, str] = {}


def split(planted):
    """(faults to plant, faults that change nothing)."""
    kept, excluded = [], []
    for f in planted:
        (excluded if str(f) in EQUIVALENT else kept).append(f)
    return kept, excluded
