"""Switches of other libraries' kernels. Programs set them; nothing here depends on them."""

from . import cudnn as cudnn
from . import mps as mps
