"""The same names as ``tilegrad.data``."""

from ..data import *  # noqa: F403
