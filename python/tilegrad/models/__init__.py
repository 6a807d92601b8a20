"""Architectures as they were published, with untrained parameters."""

from .alexnet import AlexNet as AlexNet
from .autoencoders import Autoencoder as Autoencoder
from .autoencoders import VariationalAutoencoder as VariationalAutoencoder
from .autoencoders import negative_bound as negative_bound
from .autoencoders import sparsity as sparsity
from .characters import CharacterModel as CharacterModel
from .characters import CharLSTM as CharLSTM
from .characters import CharTransformer as CharTransformer
from .googlenet import GoogLeNet as GoogLeNet
from .googlenet import SmallInception as SmallInception
from .highway import HighwayNet as HighwayNet
from .lecun import LeNet5 as LeNet5
from .lecun import TableConv2d as TableConv2d
from .lecun import ZipCodeNet as ZipCodeNet
from .lecun import mlp as mlp
from .resnet import CifarResNet as CifarResNet
from .resnet import ResNet as ResNet
from .resnet import resnet18 as resnet18
from .resnet import resnet20 as resnet20
from .resnet import resnet34 as resnet34
from .resnet import resnet50 as resnet50
from .resnet import resnet101 as resnet101
from .resnet import resnet152 as resnet152
