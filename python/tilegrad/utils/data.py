"""The same names as ``tilegrad.data``."""

from ..data import MNIST as MNIST
from ..data import DataLoader as DataLoader
from ..data import Dataset as Dataset
from ..data import Subset as Subset
from ..data import TensorDataset as TensorDataset
from ..data import default_collate as default_collate
from ..data import digits as digits
from ..data import random_split as random_split
from ..data import read_idx as read_idx
from ..data import write_idx as write_idx
