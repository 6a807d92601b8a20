"""Augmentation: of images, one or whole batches at a time; of text; of audio.

Names follow torchvision. Images are uint8 in [0, 255] or floating in [0, 1], (C, H, W) or
(N, C, H, W), tensors or arrays, and come back as such; ``Normalize`` makes them floating. Random
numbers come from the default generator, or from a ``generator=`` given with the call.

>>> import tilegrad as tg
>>> train = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), Normalize(0.5, 0.25)])
>>> y = train(tg.zeros(10, 3, 32, 32, dtype=tg.uint8))
>>> y.shape, y.is_floating_point()
((10, 3, 32, 32), True)
"""

from .audio import AddNoise as AddNoise
from .audio import PitchShift as PitchShift
from .audio import Speed as Speed
from .base import Compose as Compose
from .base import RandomApply as RandomApply
from .base import Transform as Transform
from .base import numpy_generator as numpy_generator
from .geometry import CenterCrop as CenterCrop
from .geometry import Pad as Pad
from .geometry import RandomAffine as RandomAffine
from .geometry import RandomCrop as RandomCrop
from .geometry import RandomHorizontalFlip as RandomHorizontalFlip
from .geometry import RandomResizedCrop as RandomResizedCrop
from .geometry import RandomRotation as RandomRotation
from .geometry import RandomVerticalFlip as RandomVerticalFlip
from .geometry import Resize as Resize
from .geometry import TenCrop as TenCrop
from .mixing import CutMix as CutMix
from .mixing import MixUp as MixUp
from .text import SynonymReplacement as SynonymReplacement
from .text import Typos as Typos
from .values import ColorJitter as ColorJitter
from .values import GaussianNoise as GaussianNoise
from .values import Grayscale as Grayscale
from .values import LinearTransformation as LinearTransformation
from .values import Normalize as Normalize
from .values import RandomErasing as RandomErasing
from .values import ToFloat as ToFloat
