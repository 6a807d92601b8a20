"""Optimizers and learning-rate schedules, with PyTorch's names and arguments."""

from . import lr_scheduler as lr_scheduler
from . import swa_utils as swa_utils
from .algorithms import SGD as SGD
from .algorithms import Adam as Adam
from .algorithms import AdamW as AdamW
from .optimizer import Optimizer as Optimizer
