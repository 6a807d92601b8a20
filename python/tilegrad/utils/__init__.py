"""``tilegrad.utils.data``, as in PyTorch, is ``tilegrad.data``."""

from . import data as data
