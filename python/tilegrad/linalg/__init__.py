"""``tilegrad.linalg``: linear algebra on the last two axes, with PyTorch's names and arguments.

The factorisations are LAPACK's, through NumPy, in float32 and float64; half types raise DTypeError.
All are differentiable, to any order and in both modes, where their docstrings do not say otherwise.
"""

from ..errors import LinAlgError as LinAlgError
from ..ops.matmul import matmul as matmul
from .norms import cross as cross
from .norms import diagonal as diagonal
from .norms import matrix_norm as matrix_norm
from .norms import multi_dot as multi_dot
from .norms import norm as norm
from .norms import vander as vander
from .norms import vecdot as vecdot
from .norms import vector_norm as vector_norm
from .solving import cholesky as cholesky
from .solving import det as det
from .solving import inv as inv
from .solving import lstsq as lstsq
from .solving import matrix_exp as matrix_exp
from .solving import matrix_power as matrix_power
from .solving import pinv as pinv
from .solving import slogdet as slogdet
from .solving import solve as solve
from .solving import solve_triangular as solve_triangular
from .solving import tensorinv as tensorinv
from .solving import tensorsolve as tensorsolve
from .spectral import cond as cond
from .spectral import eigh as eigh
from .spectral import eigvalsh as eigvalsh
from .spectral import matrix_rank as matrix_rank
from .spectral import qr as qr
from .spectral import svd as svd
from .spectral import svdvals as svdvals

__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv",
    "lstsq", "matmul", "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot",
    "norm", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd", "svdvals", "tensorinv",
    "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip
