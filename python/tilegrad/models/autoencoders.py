"""Autoencoders: images through a narrow or a restricted code, and back."""

from __future__ import annotations

from typing import Any

from .. import nn, ops
from ..errors import ValueError as TgValueError
from ..nn import functional as F
from ..tensor import Tensor


class Autoencoder(nn.Module):
    """x (N, ...) with ``features`` elements in [0, 1] to a sigmoid code (N, code), and back.

    Result: the logits (N, features) of the reconstruction, and the code. noise: in training that
    part of the elements, chosen anew every time, is set to 0 before; the reconstruction is to be of
    the whole input (a denoising autoencoder). 784 elements and a code of 500 give 785,284
    parameters. Source: Vincent et al., Extracting and composing robust features with denoising
    autoencoders, 2008. Raises ValueError.

    >>> import tilegrad as tg
    >>> logits, code = tg.models.Autoencoder(16, 3, noise=0.25)(tg.ones(5, 1, 4, 4))
    >>> logits.shape, code.shape
    ((5, 16), (5, 3))
    """

    def __init__(self, features: int = 784, code: int = 500, noise: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= noise < 1.0:
            raise TgValueError(f"Autoencoder: noise must lie in [0, 1), got {noise}")
        self.noise = noise
        self.encoder = nn.Linear(features, code)
        self.decoder = nn.Linear(code, features)

    def encode(self, input: Tensor) -> Tensor:
        """The code of input, (N, code)."""
        return ops.sigmoid(self.encoder(ops.flatten(input, 1)))

    def forward(self, input: Any) -> tuple[Tensor, Tensor]:
        if self.training and self.noise:
            input = input * (ops.rand_like(input) >= self.noise)  # type: ignore[operator]
        code = self.encode(input)
        return self.decoder(code), code

    def extra_repr(self) -> str:
        return f"noise={self.noise}"


def sparsity(code: Tensor, target: float) -> Tensor:
    """How far the mean activations over the batch are from target: the divergence of two coins
    with the probabilities target and mean, summed over the units of code (N, units), in nats.

    Source: A. Ng, Sparse autoencoder, lecture notes of CS294A, 2011.

    >>> import tilegrad as tg
    >>> sparsity(tg.tensor([[0.1, 0.5], [0.1, 0.5]]), 0.1).item() == sparsity(
    ...     tg.tensor([[0.5]]), 0.1).item()
    True
    """
    mean: Any = ops.mean(code, 0)
    other = (1.0 - target) / (1.0 - mean)
    return ops.sum(target * ops.log(target / mean) + (1.0 - target) * ops.log(other))


class VariationalAutoencoder(nn.Module):
    """x (N, ...) with ``features`` elements to a normal distribution over (N, latent), a draw from
    it, and back.

    Result: the logits (N, features) of the reconstruction, the mean and the logarithm of the
    variance of the code. Tanh layers of ``hidden`` units. 784 elements, 500 hidden units and a code
    of 20 give 815,824 parameters. Source: Kingma and Welling, Auto-encoding variational Bayes,
    2013.

    >>> import tilegrad as tg
    >>> net = tg.models.VariationalAutoencoder(16, 8, 2)
    >>> [t.shape for t in net(tg.ones(5, 1, 4, 4))], net.decoder(tg.randn(3, 2)).shape
    ([(5, 16), (5, 2), (5, 2)], (3, 16))
    """

    def __init__(self, features: int = 784, hidden: int = 500, latent: int = 20) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(features, hidden), nn.Tanh())
        self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, features)
        )

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(input)
        mean, log_variance = self.mean(h), self.log_variance(h)
        draw: Any = ops.randn_like(mean)
        return self.decoder(mean + draw * ops.exp(0.5 * log_variance)), mean, log_variance


def negative_bound(output: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Tensor:
    """An upper bound of minus the log likelihood of target under a VariationalAutoencoder, from
    one draw per sample; the mean over the batch, in nats.

    output: what the model gives; target (N, ...): what it is to rebuild, each element 0 or 1.

    >>> import tilegrad as tg
    >>> zero = tg.zeros(1, 2)
    >>> round(negative_bound((tg.zeros(1, 4), zero, zero), tg.ones(1, 4)).item() / 0.6931, 2)
    4.0
    """
    logits, mean, log_variance = output
    x = ops.flatten(target, 1)
    rebuilt: Any = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    spread: Any = mean * mean + ops.exp(log_variance) - log_variance - 1.0  # type: ignore[operator]
    return (rebuilt + 0.5 * ops.sum(spread)) / target.shape[0]
