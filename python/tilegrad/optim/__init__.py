"""Optimizers and learning-rate schedules, with PyTorch's names and arguments."""

from . import lr_scheduler as lr_scheduler
from . import swa_utils as swa_utils
from .adaptive import Adadelta as Adadelta
from .adaptive import Adagrad as Adagrad
from .adaptive import Adamax as Adamax
from .adaptive import NAdam as NAdam
from .adaptive import RAdam as RAdam
from .adaptive import RMSprop as RMSprop
from .algorithms import SGD as SGD
from .algorithms import Adam as Adam
from .algorithms import AdamW as AdamW
from .curvature import LBFGS as LBFGS
from .curvature import SDLM as SDLM
from .matrix import Adafactor as Adafactor
from .matrix import Muon as Muon
from .optimizer import Optimizer as Optimizer
from .plain import ASGD as ASGD
from .plain import Lion as Lion
from .plain import Rprop as Rprop
