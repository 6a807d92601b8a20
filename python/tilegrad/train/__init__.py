"""Training: a loop, its progress, and checkpoints."""

from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import load_checkpoint as load_checkpoint
from .checkpoint import load_tensors as load_tensors
from .checkpoint import save_checkpoint as save_checkpoint
from .checkpoint import save_tensors as save_tensors
from .progress import Progress as Progress
from .trainer import RateTest as RateTest
from .trainer import Trainer as Trainer
from .trainer import accuracy as accuracy


def __getattr__(name: str) -> object:
    """Classifier and Regressor, which need scikit-learn."""
    if name in ("Classifier", "Regressor"):
        from . import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
