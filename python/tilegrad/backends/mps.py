"""Apple's GPU, which this build does not use."""


def is_available() -> bool:
    """Whether the device ``"mps"`` can be used: False."""
    return False


def is_built() -> bool:
    """Whether this build has code for it: False."""
    return False
