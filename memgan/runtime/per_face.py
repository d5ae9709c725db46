"""Settings that may differ from face to face of a picture: one number, or a number for each of some faces."""

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from memgan.errors import FaceIndexError
from memgan.runtime.checks import check_int, check_number


@dataclasses.dataclass(frozen=True)
class PerFace:
    """Numbers of some faces by their index, and the number of all others."""

    values: tuple[tuple[int, float], ...]
    """Pairs of index and number; the indices rise."""
    rest: float

    def of_each_face(self, name: str, count: int) -> list[float]:
        """The number of each of ``count`` faces; ``name``: of the option.

        Raises:
            FaceIndexError: if there is a number for a face that is not there.
        """
        numbers = [self.rest] * count
        for index, value in self.values:
            if index >= count:
                there = f"are faces 0 to {count - 1}" if count > 1 else "is face 0 alone" if count else "is no face"
                raise FaceIndexError(
                    f"{name} names face {index}, and there {there} to restore: leave the index out, "
                    "or give one number for all faces."
                )
            numbers[index] = value
        return numbers

    def __str__(self) -> str:
        return ", ".join([*(f"{index}={value:g}" for index, value in self.values), f"others {self.rest:g}"])


Setting: TypeAlias = float | PerFace
AnySetting: TypeAlias = Setting | Mapping[int, float]
"""What a caller may give for all faces of a picture, or for some of them by their index in the result."""


def check_setting(name: str, given: Any, rest: float, low: float, high: float) -> Setting:
    """A number, or a mapping from the index of a face to its number, brought to its type.

    Args:
        name: of the option.
        given: a number, a mapping, or a :class:`PerFace`, which keeps its own ``rest``.
        rest: the number of faces that a mapping does not name.
        low, high: least and largest allowed number.

    Raises:
        ConfigError: if a number is outside of its range, or an index is no whole number from 0.
    """
    if isinstance(given, PerFace):
        pairs, rest = dict(given.values), given.rest
    elif isinstance(given, Mapping):
        pairs = dict(given)
    else:
        return check_number(name, given, low, high)
    numbers = {
        check_int(f"an index of {name}", index, 0): check_number(f"{name} of face {index}", value, low, high)
        for index, value in pairs.items()
    }
    return PerFace(tuple(sorted(numbers.items())), check_number(name, rest, low, high))


def is_everywhere(setting: Setting, value: float) -> bool:
    """Whether every face has this number."""
    if isinstance(setting, PerFace):
        return setting.rest == value and all(number == value for _, number in setting.values)
    return setting == value


def parse_setting(text: str) -> float | dict[int, float]:
    """What ``0.5`` or ``0=0.3,2=1`` on a command line says, in numbers from 0 to 1."""
    parts = text.split(",")
    try:
        given: float | dict[int, float]
        if "=" in text:
            given = {int(index): float(value) for index, value in (part.split("=") for part in parts)}
        else:
            given = float(text)
        check_setting("setting", given, 0, 0, 1)
    except ValueError:  # a ConfigError too
        given = {}
    if isinstance(given, dict) and len(given) < len(parts):  # wrong, or a face twice
        raise argparse.ArgumentTypeError(
            f"{text} is no number from 0 to 1; for some faces by their index, give such as 0=0.3,2=1"
        )
    return given


def with_rest(given: Any, own: Setting) -> Any:
    """A mapping whose other faces have the number that is already set, if that is one number for all faces."""
    if isinstance(given, Mapping) and not isinstance(own, PerFace):
        return PerFace(tuple(given.items()), own)
    return given
