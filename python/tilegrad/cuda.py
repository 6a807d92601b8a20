"""What programs ask before they choose a device: this build has no CUDA, and says so."""


def is_available() -> bool:
    """Whether a CUDA device can be used: False.

    >>> import tilegrad as tg
    >>> tg.device("cuda" if tg.cuda.is_available() else "cpu")
    device(type='cpu')
    """
    return False


def device_count() -> int:
    """How many CUDA devices can be used: 0."""
    return 0


def manual_seed(seed: int) -> None:
    """Seeds the current CUDA device: nothing to do. ``tilegrad.manual_seed`` seeds the CPU."""


def manual_seed_all(seed: int) -> None:
    """Seeds every CUDA device: nothing to do."""


def empty_cache() -> None:
    """Gives the cached memory of CUDA devices back: nothing to do."""
