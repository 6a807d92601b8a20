"""The demonstration: LeNet-5 on handwritten digits."""

from .lenet import lenet5 as lenet5
from .run import Run as Run
from .run import demo as demo
from .run import weights_hash as weights_hash
