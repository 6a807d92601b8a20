"""``tilegrad.utils.data``, as in PyTorch, is ``tilegrad.data``; ``checkpoint`` saves memory."""

from . import checkpoint as checkpoint
from . import data as data
