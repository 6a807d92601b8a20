"""Rows of ``tilegrad.fft``. The inputs of complex transforms are two parts, and complex results are
taken apart, so that every derivative is checked over the reals."""

from collections.abc import Callable
from typing import Any

import tilegrad as tg
from tilegrad import fft

from . import Arg, Case

_ODD, _EVEN = Arg((2, 5)), Arg((2, 6), layout="strided")
_CUBE = Arg((3, 4, 5))
_OF_REAL = {"rfft", "ihfft", "rfft2", "ihfft2", "rfftn", "ihfftn"}


def _parts(y: Any) -> Any:
    return tg.view_as_real(y) if tg.is_complex(y) else y


def _row(name: str, op: str, arg: Arg, *args: Any, **options: Any) -> Case:
    function = getattr(fft, op)
    call: Callable = lambda a: _parts(function(a, *args, **options))  # noqa: E731
    if op not in _OF_REAL:
        call = lambda a, b: _parts(function(tg.complex(a, b), *args, **options))  # noqa: E731
    inputs = (arg,) if op in _OF_REAL else (arg, arg)
    return Case(name, f"fft.{op}", inputs, call=call, half=False, reduction=64)


CASES = [
    *[
        _row(name, op, arg, *args)
        for op in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")
        for name, arg, args in (
            ("odd", _ODD, ()),
            ("even", _EVEN, (None, -1, "ortho")),
            ("filled_up", _EVEN, (9, -1, "forward")),
            ("trimmed_odd", _EVEN, (3,)),
            ("trimmed_first_axis", _ODD, (1, 0)),
            ("one", Arg((3, 2)), (1,)),
        )
    ],
    *[
        _row(name, op, _CUBE, *args)
        for op in ("fftn", "ifftn", "rfftn", "irfftn", "hfftn", "ihfftn")
        for name, args in (
            ("all", ()),
            ("some", (None, (2, 0), "ortho")),
            ("sizes", ((6, -1), (1, 0), "forward")),
            ("last", ((3, 4),)),
        )
    ],
    *[
        _row("plain", op, _CUBE)
        for op in ("fft2", "ifft2", "rfft2", "irfft2", "hfft2", "ihfft2")
    ],
    *[
        Case("of_real", f"fft.{op}", (_EVEN,), half=False, reduction=64,
             call=lambda a, f=getattr(fft, op): _parts(f(a)))
        for op in ("fft", "irfft", "fftn", "hfft")
    ],
    *[
        Case(name, f"fft.{op}", (_ODD,), half=False,
             call=lambda a, f=getattr(fft, op), d=dim: f(a, d))
        for op in ("fftshift", "ifftshift") for name, dim in (("all", None), ("last", -1))
    ],
    *[
        Case("plain", f"fft.{op}", (), {"n": 5, "d": 0.5}, call=getattr(fft, op), half=False,
             differentiable=False)
        for op in ("fftfreq", "rfftfreq")
    ],
]  # fmt: skip
