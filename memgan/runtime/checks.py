"""Checks what callers choose: every message says what was given, what is allowed and what to do."""

import math
import operator
from typing import TYPE_CHECKING, Any

from memgan.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor


def check_number(name: str, value: Any, low: float, high: float, *, low_allowed: bool = True) -> float:
    """``value`` as a number from ``low`` to ``high``; anything else is a :class:`ConfigError`."""
    try:
        result = math.nan if _is_switch(value) or getattr(value, "ndim", None) else float(value)
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not (math.isfinite(result) and (low <= result if low_allowed else low < result) and result <= high):
        raise ConfigError(
            f"{name} is {value!r:.200}; allowed: {'from' if low_allowed else 'above'} {low:g} to {high:g}."
        )
    return result


def check_choice(name: str, value: object, allowed: tuple[str, ...], more: str = "") -> None:
    """Raise :class:`ConfigError` if ``value`` is none of ``allowed``; ``more`` says what else is."""
    if not isinstance(value, str) or value not in allowed:  # an array would be compared number by number
        raise ConfigError(f"{name} is {value!r:.200}; allowed are {', '.join(allowed)}{more}.")


def check_pictures(*images: "Tensor", least_px: int = 1) -> None:
    """Refuse batches that are not all of one shape (B, 3, H, W) with sides of at least ``least_px``.

    Raises:
        ShapeError: naming the shapes.
    """
    shapes = list(dict.fromkeys(tuple(image.shape) for image in images))
    if len(shapes) > 1 or len(shapes[0]) != 4 or shapes[0][1] != 3 or min(shapes[0][2:]) < least_px:
        raise ShapeError(
            f"The pictures have the shape {' and '.join(map(str, shapes))}; needed: {'equal ' * (len(images) > 1)}"
            f"(B, 3, H, W) with sides of at least {least_px} px."
        )


def check_int(name: str, value: Any, least: int) -> int:
    """``value``, also numpy's and torch's kinds, as a whole number of at least ``least``; else a ConfigError."""
    try:
        number = least - 1 if _is_switch(value) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ConfigError(f"{name} is {value!r:.200}; it must be a whole number of at least {least}.")
    return number


def check_switch(name: str, value: Any) -> bool:
    """``value``, also of numpy or torch, 0, 1 or ``None``, as a switch; texts and arrays are a :class:`ConfigError`."""
    if isinstance(value, str | bytes) or getattr(value, "ndim", None) or not hasattr(type(value), "__bool__"):
        raise ConfigError(f"{name} is {value!r:.200}; allowed are True and False.")
    return bool(value)


def _is_switch(value: Any) -> bool:
    """Whether a value is ``True`` or ``False`` of Python, numpy or torch, which count as numbers there."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def parse_ints(name: str, text: str) -> list[int]:
    """The numbers of a text such as ``0,1,2``; anything else is a :class:`ConfigError`."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"{name} is {text!r}; give whole numbers such as 0,1,2.") from error


def check_exclusive(**given: Any) -> None:
    """Raise :class:`ConfigError` if more than one of several options that mean the same is not ``None``."""
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ConfigError(f"{' and '.join(names)} are given, but all say what network to use: give one of them.")
