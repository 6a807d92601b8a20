"""AlexNet."""

from __future__ import annotations

from .. import nn
from ..tensor import Tensor


class AlexNet(nn.Module):
    """AlexNet as published: images (N, 3, 224, 224), logits of num_classes.

    Convolutions 2, 4 and 5 have two groups, as on the two devices of the paper; responses are
    normalised over channels; pools overlap. Weights begin normal with deviation 0.01, the biases of
    convolutions 2, 4, 5 and of the hidden linear layers as 1, the others as 0. Source: Krizhevsky,
    Sutskever and Hinton, 2012: 60 million parameters. (The paper counts 253,440 units in the first
    layer; 96 maps of 55x55, as its figure draws them, are 290,400.)
    """

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()

        def conv(*args: int, **options: int) -> nn.Conv2d:
            return nn.utils.skip_init(nn.Conv2d, *args, **options)

        def linear(n: int, m: int) -> nn.Linear:
            return nn.utils.skip_init(nn.Linear, n, m)

        def normalised() -> list[nn.Module]:
            # The paper's alpha of 1e-4 multiplies the sum over 5 channels, PyTorch's the mean.
            return [nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0), nn.MaxPool2d(3, 2)]

        self.features = nn.Sequential(
            conv(3, 96, 11, 4, 2), nn.ReLU(), *normalised(),
            conv(96, 256, 5, padding=2, groups=2), nn.ReLU(), *normalised(),
            conv(256, 384, 3, padding=1), nn.ReLU(),
            conv(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            conv(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(),
            linear(9216, 4096), nn.ReLU(), nn.Dropout(dropout),
            linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout),
            linear(4096, num_classes),
        )  # fmt: skip
        layers = [m for m in self.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        for i, m in enumerate(layers):
            nn.init.normal_(m.weight, 0.0, 0.01)
            nn.init.constant_(m.bias, 1.0 if i in (1, 3, 4, 5, 6) else 0.0)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.features(input))
