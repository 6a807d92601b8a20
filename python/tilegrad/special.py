"""``tilegrad.special``: special functions under the names of ``torch.special``."""

from __future__ import annotations

import math
from typing import Any

from .ops import digamma as digamma
from .ops import digamma as psi
from .ops import erf as erf
from .ops import erfc as erfc
from .ops import erfinv as erfinv
from .ops import exp2 as exp2
from .ops import expm1 as expm1
from .ops import lgamma as gammaln
from .ops import log, where
from .ops import log1p as log1p
from .ops import log_softmax as log_softmax
from .ops import logit as logit
from .ops import logsumexp as logsumexp
from .ops import mvlgamma as multigammaln
from .ops import polygamma as polygamma
from .ops import round as round
from .ops import sigmoid as expit
from .ops import sinc as sinc
from .ops import softmax as softmax
from .ops import xlogy as xlogy
from .ops.elementwise import real_operand
from .tensor import Tensor


def entr(input: Any) -> Tensor:
    """-x ln x, element by element: 0 at zero, -inf below.

    >>> import tilegrad as tg
    >>> tg.special.entr(tg.tensor([0.0, 0.5]))
    tensor([0.    , 0.3466])
    """
    x: Any = real_operand("entr", input, True)
    inside = x > 0
    y = -x * log(where(inside, x, 1.0))
    return where(inside, y, where(x == 0, 0.0, where(x < 0, -math.inf, x)))


def xlog1py(input: Any, other: Any) -> Tensor:
    """a * ln(1 + b), and 0 where a is 0 and b is no NaN.

    >>> import tilegrad as tg
    >>> tg.special.xlog1py(tg.tensor([0.0, 2.0]), tg.tensor([-1.0, 0.0]))
    tensor([0., 0.])
    """
    from .ops.rules import promote

    pair: Any = promote("xlog1py", input, other, floating=True)
    a, b = pair
    skip = (a == 0) & (b == b)  # NaN alone differs from itself
    return where(skip, 0.0, a * log1p(where(skip, 0.0, b)))


def ndtr(input: Any) -> Tensor:
    """The normal distribution function, element by element.

    >>> import tilegrad as tg
    >>> tg.special.ndtr(tg.tensor([0.0]))
    tensor([0.5])
    """
    x: Any = real_operand("ndtr", input, True)
    return erfc(x * -math.sqrt(0.5)) * 0.5  # type: ignore[operator]


def ndtri(input: Any) -> Tensor:
    """The inverse of ndtr, element by element; NaN outside of [0, 1].

    >>> import tilegrad as tg
    >>> tg.special.ndtri(tg.tensor([0.5]))
    tensor([0.])
    """
    x: Any = real_operand("ndtri", input, True)
    return erfinv(x * 2.0 - 1.0) * math.sqrt(2.0)  # type: ignore[operator]


__all__ = [
    "digamma", "entr", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammaln", "log1p",
    "log_softmax", "logit", "logsumexp", "multigammaln", "ndtr", "ndtri", "polygamma", "psi",
    "round", "sinc", "softmax", "xlog1py", "xlogy",
]  # fmt: skip
