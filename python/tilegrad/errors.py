"""The exceptions tilegrad raises. Each is also the built-in class a Python user would expect, and
knows the line of the user's program that led to it."""

import builtins
import os
import re
import sys
import warnings
from types import CodeType, FrameType

_PACKAGE = os.path.dirname(__file__) + os.sep
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_inside: dict[CodeType, bool] = {}  # whether a function is tilegrad's or the standard library's


def _is_inside(code: CodeType) -> bool:
    name = code.co_filename
    found = name.startswith((_PACKAGE, "<frozen ")) or (
        name.startswith(_LIBRARY) and "-packages" not in name
    )
    if len(_inside) < 10_000:
        _inside[code] = found
    return found


def user_frame(depth: int = 1, through: CodeType | None = None) -> tuple[FrameType | None, bool]:
    """The innermost frame outside tilegrad and the standard library, or None, and whether a call of
    ``through`` lies below it; depth: how many frames to leave out to begin with."""
    frame: FrameType | None = sys._getframe(depth)
    passed = False
    while frame is not None:
        code = frame.f_code
        inside = _inside.get(code)
        if not (_is_inside(code) if inside is None else inside):
            break
        passed |= code is through
        frame = frame.f_back
    return frame, passed


def user_line(depth: int = 1) -> str:
    """``file:line`` of the innermost frame outside tilegrad, "" where there is none.

    >>> user_line().startswith("<doctest")
    True
    """
    frame = user_frame(depth + 1)[0]
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""


def warn_user(message: str, category: type[Warning]) -> None:
    """A warning that shows the user's line."""
    frame = user_frame(2)[0] or sys._getframe(1)
    names = frame.f_globals
    registry = names.setdefault("__warningregistry__", {})
    warnings.warn_explicit(
        message, category, frame.f_code.co_filename, frame.f_lineno, names.get("__name__"), registry
    )


class TilegradError(Exception):
    """Base of every exception raised on purpose by tilegrad.

    ``where`` is the ``file:line`` of the user's program that led here ("" if there is none); a
    traceback shows it as a note under the message.

    >>> import tilegrad as tg
    >>> try:
    ...     tg.ones(2) + tg.ones(3)
    ... except tg.errors.ShapeError as e:
    ...     print(e.__notes__ == [f"at {e.where}"])
    True
    """

    where = ""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        # Looked for here alone: what succeeds pays nothing.
        self.where = user_line(2)
        if self.where:
            self.add_note(f"at {self.where}")


class GrowingGraphWarning(UserWarning):
    """A graph grows from step to step without being used."""


class ShapeError(TilegradError, builtins.ValueError):
    """Shapes, sizes or ranks do not fit."""


class DTypeError(TilegradError, builtins.TypeError):
    """An element type is not supported or does not match."""


class ValueError(TilegradError, builtins.ValueError):
    """A parameter is outside its range."""


class IndexError(TilegradError, builtins.IndexError):
    """An index is out of range."""


class DeviceError(TilegradError, builtins.RuntimeError):
    """A device is missing, or operands live on different devices."""


class GradientError(TilegradError, builtins.RuntimeError):
    """A gradient was asked for that does not exist or would be wrong."""


class CaptureError(TilegradError, builtins.RuntimeError):
    """A function does what ``capture`` cannot record and repeat."""


class NonFiniteError(ValueError):
    """A NaN or an infinity was born while ``trace_nonfinite`` watched; ``record`` says where."""

    record: object = None


class MemoryError(TilegradError, builtins.MemoryError):
    """The machine does not have the memory that was asked for."""


class ZeroDivisionError(TilegradError, builtins.ZeroDivisionError):
    """An integer was divided by zero."""


class StateError(TilegradError, builtins.RuntimeError):
    """A saved state does not fit the object it is loaded into."""


class DataError(TilegradError, builtins.ValueError):
    """The content of a file is not what its format promises."""


class WorkerError(TilegradError, builtins.RuntimeError):
    """A worker of a DataLoader died, gave no answer in time, or raised what cannot be sent."""


class FileNotFoundError(TilegradError, builtins.FileNotFoundError):
    """A file that is needed is not there."""


class PackageError(TilegradError, builtins.ImportError):
    """An optional package is needed and not installed."""


class LinAlgError(TilegradError, builtins.RuntimeError):
    """A matrix is singular, not positive definite, or its factorisation did not converge."""


def renamed(error: TilegradError, op: str, note: str = "", **names: str) -> TilegradError:
    """error as ``op``, the function the user called, would raise it: its name in front, its names
    of the arguments instead of those of the function below, and a note behind.

    >>> str(renamed(ShapeError("matmul: axis -1 of other"), "mv", other="vec"))
    'mv: axis -1 of vec'
    """
    text = str(error.args[0]).partition(": ")[2]
    for old, new in names.items():
        text = re.sub(rf"\b{old}\b", new, text)
    return type(error)(f"{op}: {text}{note}")
