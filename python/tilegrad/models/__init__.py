"""Architectures as they were published, with untrained parameters."""

from .alexnet import AlexNet as AlexNet
from .googlenet import GoogLeNet as GoogLeNet
from .lecun import LeNet5 as LeNet5
from .lecun import TableConv2d as TableConv2d
from .lecun import ZipCodeNet as ZipCodeNet
from .lecun import mlp as mlp
from .resnet import ResNet as ResNet
from .resnet import resnet18 as resnet18
from .resnet import resnet34 as resnet34
from .resnet import resnet50 as resnet50
from .resnet import resnet101 as resnet101
from .resnet import resnet152 as resnet152
