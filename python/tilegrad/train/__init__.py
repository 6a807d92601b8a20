"""Training: a loop, its progress, logs, checkpoints, and pictures of what was learned."""

from . import plots as plots
from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import load_checkpoint as load_checkpoint
from .checkpoint import load_tensors as load_tensors
from .checkpoint import save_checkpoint as save_checkpoint
from .checkpoint import save_tensors as save_tensors
from .loggers import CSVLogger as CSVLogger
from .loggers import JSONLogger as JSONLogger
from .loggers import TensorBoardLogger as TensorBoardLogger
from .progress import Progress as Progress
from .study import confusion_matrix as confusion_matrix
from .study import decision_grid as decision_grid
from .study import double_descent as double_descent
from .study import layer_outputs as layer_outputs
from .study import loss_surface as loss_surface
from .trainer import RateTest as RateTest
from .trainer import Trainer as Trainer
from .trainer import accuracy as accuracy
