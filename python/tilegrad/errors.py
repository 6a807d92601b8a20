"""The exceptions tilegrad raises. Each is also the built-in class a Python user would expect."""

import builtins


class TilegradError(Exception):
    """Base of every exception raised on purpose by tilegrad."""


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


class MemoryError(TilegradError, builtins.MemoryError):
    """The machine does not have the memory that was asked for."""


class ZeroDivisionError(TilegradError, builtins.ZeroDivisionError):
    """An integer was divided by zero."""


class StateError(TilegradError, builtins.RuntimeError):
    """A saved state does not fit the object it is loaded into."""


class DataError(TilegradError, builtins.ValueError):
    """The content of a file is not what its format promises."""


class FileNotFoundError(TilegradError, builtins.FileNotFoundError):
    """A file that is needed is not there."""


class PackageError(TilegradError, builtins.ImportError):
    """An optional package is needed and not installed."""


class LinAlgError(TilegradError, builtins.RuntimeError):
    """A matrix is singular, not positive definite, or its factorisation did not converge."""
