"""Rows of complex numbers. The inputs are parts a + i b and the results taken apart again, so that
every derivative is checked over the reals."""

import re
from typing import Any

import tilegrad as tg

from . import Arg, Case

_NAMES = {k: v for k, v in vars(tg).items() if callable(v)} | {"pad": tg.nn.functional.pad}
_A, _ROW, _SQUARE = Arg((3, 4), 0.3, 1.5), Arg((4,), 0.3, 1.5), Arg((3, 3), layout="transposed")
_Z = (_A, _A)
_STRIDED = (Arg((3, 4), layout="strided"), Arg((3, 4), layout="reversed"))


def _row(name: str, op: str, text: str, args: tuple[Arg, ...], **options: Any) -> Case:
    """text: an expression of a, b, c and d, the inputs, and z, which is complex(a, b)."""
    text = re.sub(r"\bz\b", "complex(a, b)", text)
    call = eval(f"lambda {', '.join('abcd'[: len(args)])}: view_as_real({text})", dict(_NAMES))
    return Case(name, op, args, call=call, half=False, reduction=16, **options)


def _real(name: str, op: str, text: str, args: tuple[Arg, ...], **options: Any) -> Case:
    """A result that is real."""
    text = re.sub(r"\bz\b", "complex(a, b)", text)
    call = eval(f"lambda {', '.join('abcd'[: len(args)])}: {text}", dict(_NAMES))
    return Case(name, op, args, call=call, half=False, reduction=16, **options)


CASES = [
    # --- made and taken apart ---
    _row("broadcast", "complex", "complex(a, b)", (Arg((3, 1)), Arg((4,)))),
    _row("plain", "polar", "polar(a, b)", _Z),
    _row("strided", "view_as_complex", "view_as_complex(a) * 1j", (Arg((4, 2)),)),
    _row("reversed", "view_as_real", "z * 1j", _STRIDED),
    _real("plain", "real", "real(z * 1j)", _Z),
    _real("of_real", "real", "real(a) * 2.0", (_A,)),
    _real("plain", "imag", "imag(z * 1j)", _Z),
    _row("plain", "conj", "resolve_conj(conj(z))", _STRIDED),
    _row("plain", "resolve_conj", "resolve_conj(z)", _Z),
    _row("plain", "resolve_neg", "resolve_neg(z)", _Z),
    Case("plain", "is_conj", (_A,), differentiable=False,
         call=lambda a: tg.tensor(tg.is_conj(a))),
    _real("all_quadrants", "angle", "angle(z)", (Arg((5, 5)), Arg((5, 5)))),
    _real("of_real", "angle", "angle(a)", (Arg((5,)),)),
    _row("complex", "adjoint", "resolve_conj(adjoint(z)) @ z", _Z),
    _real("all_quadrants", "abs", "abs(z)", (Arg((5, 5)), Arg((5, 5)))),
    _real("origin", "abs", "abs(z * 0.0)", _Z, second=False),
    _row("complex", "sgn", "sgn(z)", _Z),
    # --- analytic functions of one variable ---
    *[
        _row("complex", op, f"{op}(z)", _Z)
        for op in (
            "neg square reciprocal sqrt rsqrt exp exp2 expm1 log log2 log10 log1p sin cos tan asin "
            "acos atan sinh cosh tanh asinh atanh sigmoid"
        ).split()
    ],
    # --- of two: complex with complex, with real, with numbers ---
    *[
        _row(f"complex_{kind}", op, text, args)
        for op, sign in (("add", "+"), ("sub", "-"), ("mul", "*"), ("div", "/"))
        for kind, text, args in (
            ("broadcast", f"z {sign} complex(c, d)", (*_Z, _ROW, _ROW)),
            ("with_real", f"c {sign} z", (*_Z, _ROW)),
            ("number", f"(2.5 - 1j) {sign} z", _Z),
        )
    ],
    _row("complex_square", "pow", "z ** 2", _Z),
    _row("complex_negative", "pow", "z ** -3", _Z),
    _row("complex_exponent", "pow", "z ** complex(c, d)", (*_Z, _ROW, _ROW)),
    _row("complex_base_real", "pow", "c ** z", (*_Z, _ROW)),
    _row("complex", "where", "where(c > 1, z, c)", (*_Z, Arg((4,), grad=False))),
    # --- sums and products ---
    _row("complex", "sum", "sum(z, 0)", _STRIDED),
    _row("complex", "mean", "mean(z)", _Z),
    _row("complex", "prod", "prod(z, 1)", _Z),
    _row("complex", "cumsum", "cumsum(z, 1)", _Z),
    _row("complex", "cumprod", "cumprod(z, 1)", _Z),
    _row("complex", "matmul", "z @ complex(c, d)", (_SQUARE, _SQUARE, Arg((3, 2)), Arg((2, 3, 2)))),
    _row("complex_with_real", "matmul", "matmul(c + 0j, z)", (*_Z, Arg((3,)))),
    _row("complex", "vdot", "vdot(z, complex(c, c))", (_ROW, _ROW, _ROW)),
    _row("complex", "einsum", "einsum('ij,kj->ki', z, z * 1j)", _Z),
    _row("complex", "linear", "linear(z, complex(c, d), a[0, :2] + 0j)",
         (*_Z, Arg((2, 4)), Arg((2, 4)))),
    _real("complex", "norm", "norm(z, dim=1)", _Z),
    # --- short-time transforms ---
    _real("pairs", "stft", "stft(a, 6, 2, 5, b, return_complex=False)", (Arg((2, 9)), Arg((5,)))),
    _row("complex", "stft", "stft(z, 4, window=c, center=False, normalized=True)",
         (Arg((9,)), Arg((9,)), _ROW)),
    _real("onesided", "istft", "istft(z, 6, 2, 5, c)",
          (Arg((2, 4, 5)), Arg((2, 4, 5)), Arg((5,), 0.5, 1.5))),
    _row("complex", "istft",
         "istft(z, 4, window=c, center=False, normalized=True, length=9, return_complex=True)",
         (Arg((4, 5)), Arg((4, 5)), Arg((4,), 0.5, 1.5))),
    *[
        Case("periodic", f"{kind}_window", (), {"window_length": 6}, differentiable=False,
             half=False)
        for kind in ("bartlett", "blackman", "hamming", "hann", "kaiser")
    ],
    # --- moved ---
    _row("complex", "cat", "cat([z, c[None] + 0j])", (*_Z, _ROW)),
    _row("complex", "stack", "stack([z, z * 1j], 1)", _Z),
    _row("complex", "take_along_dim", "z[[2, 0, 2], [1, 1, 1]]", _Z),
    _row("complex", "gather", "gather(z, 1, argsort(a.detach(), 1))", _Z),
    _row("complex", "index_add", "index_add(z, 0, argsort(a[:2, 0].detach()), z[:2])", _Z),
    _row("complex", "scatter_add", "scatter_add(z, 0, argsort(a.detach(), 0), z * 1j)", _Z),
    _row("complex", "roll", "roll(z, 1, 0)", _Z),
    _row("complex", "pad", "pad(z, (1, 2), value=0.5)", _Z),
    _row("complex_reflect", "pad", "pad(z, (1, 2), 'reflect')", _Z),
    _row("complex", "clone", "clone(z.T)", _Z),
    _row("complex", "broadcast_to", "broadcast_to(z, (2, 3, 4)) ** 2", _Z),
]  # fmt: skip
