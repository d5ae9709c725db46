"""Knows the rules of systems for names of files, as functions of names: no file is touched."""

import os
import unicodedata
from pathlib import PurePath

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
