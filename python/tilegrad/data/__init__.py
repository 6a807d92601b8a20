"""Data: datasets, batches, and the files they come from; also ``tilegrad.utils.data``."""

from .dataset import ChainDataset as ChainDataset
from .dataset import ConcatDataset as ConcatDataset
from .dataset import Dataset as Dataset
from .dataset import IterableDataset as IterableDataset
from .dataset import Subset as Subset
from .dataset import TensorDataset as TensorDataset
from .dataset import random_split as random_split
from .digits import MNIST as MNIST
from .digits import digits as digits
from .idx import read_idx as read_idx
from .idx import write_idx as write_idx
from .loader import DataLoader as DataLoader
from .loader import default_collate as default_collate
from .sampler import BatchSampler as BatchSampler
from .sampler import RandomSampler as RandomSampler
from .sampler import Sampler as Sampler
from .sampler import SequentialSampler as SequentialSampler
from .sampler import SubsetRandomSampler as SubsetRandomSampler
from .sampler import WeightedRandomSampler as WeightedRandomSampler
from .workers import WorkerInfo as WorkerInfo
from .workers import get_worker_info as get_worker_info
