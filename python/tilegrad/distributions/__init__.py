"""``tilegrad.distributions``: random variables as objects, with PyTorch's names and arguments.

Parameters are tensors or numbers that broadcast; their common shape is the batch shape, one
variable per element. ``sample`` draws outside the graph; ``rsample``, where there is one, passes
gradients to the parameters; ``log_prob`` and ``entropy`` are differentiable to any order.
"""

from .continuous import Exponential as Exponential
from .continuous import Laplace as Laplace
from .continuous import Normal as Normal
from .continuous import Uniform as Uniform
from .discrete import Bernoulli as Bernoulli
from .discrete import Categorical as Categorical
from .distribution import Distribution as Distribution
from .distribution import Independent as Independent
from .kl import kl_divergence as kl_divergence
from .kl import register_kl as register_kl
from .multivariate import MultivariateNormal as MultivariateNormal

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "Exponential", "Independent", "Laplace",
    "MultivariateNormal", "Normal", "Uniform", "kl_divergence", "register_kl",
]  # fmt: skip
