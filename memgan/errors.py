"""Exceptions of memgan: one tree, so that ``except MemGANError`` catches everything a caller can cause.

Every message says what was given, what is allowed and what to do next.
"""


class MemGANError(Exception):
    """Base of all errors raised on purpose by this library."""


class ConfigError(MemGANError, ValueError):
    """A configuration value or an option is not allowed."""


class ShapeError(MemGANError, ValueError):
    """A tensor or an array has the wrong shape."""


class FaceIndexError(ConfigError):
    """A setting names a face that the picture does not have."""


class ImageError(MemGANError, ValueError):
    """A picture cannot be read, is empty, too large, not finite or of an unsupported type."""


class FilmError(ImageError):
    """A film cannot be read, or has nothing that can be restored."""


class OutputError(MemGANError, OSError):
    """A result cannot be written where it was asked for."""


class DataError(MemGANError, ValueError):
    """A training or evaluation data set is missing, empty or unreadable."""


class DeviceError(MemGANError, RuntimeError):
    """A device computes something else than what the network is."""


class WeightsError(MemGANError):
    """Weights cannot be used."""


class WeightsNotFoundError(WeightsError, FileNotFoundError):
    """Weights are neither at the given path, embedded, cached nor downloadable."""


class ChecksumError(WeightsError):
    """A weight file's SHA-256 differs from the registered one."""


class StateMismatchError(WeightsError):
    """The tensors of a weight file do not fit the network that its configuration describes."""


class MissingDependencyError(MemGANError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""


def shown(value: object) -> str:
    """What a message shows of a value: its ``repr``, cut to one line of 100 characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # of whole numbers with thousands of digits, and of whatever a caller's class does
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 100 else f"{text[:100]}..."


def brief(error: BaseException) -> str:
    """What a message quotes of another library's error: one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
