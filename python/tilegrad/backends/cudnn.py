"""The switches of cuDNN, which this build does not use: setting them has no effect."""

benchmark = False
deterministic = False
enabled = False


def is_available() -> bool:
    """Whether cuDNN can be used: False."""
    return False
