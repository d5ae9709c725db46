"""Knows the rules of systems for names of files: no file is touched."""

import os
import unicodedata
from pathlib import Path, PurePath

from memgan.errors import ConfigError

_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"} | {
    f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³"
}
_FORBIDDEN = '<>:"|?*\\'  # on Windows
_MOST_CHARACTERS = 259  # of a path on Windows, if long ones are not switched on


def folded(name: str) -> str:
    """Equal for names that are one file where case and the form of letters (NFC, NFD) do not matter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def name_problem(path: PurePath, *, windows: bool = os.name == "nt") -> str | None:
    """Why no file can have this name, where that is known without trying."""
    if not windows:
        return None
    for part in path.parts[1:] if path.anchor else path.parts:
        if part.partition(".")[0].rstrip(" ").upper() in _RESERVED:
            return f"Windows reserves the name {part!r}"
        if part.endswith((".", " ")):
            return f"Windows drops the dot or blank at the end of {part!r}"
        if any(character in _FORBIDDEN or ord(character) < 32 for character in part):
            return f"Windows allows none of {_FORBIDDEN} in a name: {part!r}"
    if len(str(path)) > _MOST_CHARACTERS and not str(path).startswith("\\\\?\\"):
        return f"its path has {len(str(path))} characters, of which Windows allows {_MOST_CHARACTERS}"
    return None


def expand_home(path: str | os.PathLike[str]) -> Path:
    """The path with the user's home folder in place of ``~``.

    Raises:
        ConfigError: if there is none, as in a container whose user has neither ``HOME`` nor an entry in the system.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{os.fspath(path)!r} has no home folder to stand for; give the whole path.") from error
