"""Describes options as fields of dataclasses: help text, allowed values and how a command line spells them.

An option stands once, in the field: the dataclass checks itself by :func:`check_options`, and
:mod:`memgan.apps.cli.arguments` makes the arguments of a command from the same fields.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from memgan.runtime.checks import check_choice, check_int, check_number, check_switch
from memgan.runtime.per_face import check_setting

_KEY = "option"


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known about an option besides its name and default."""

    help: str
    group: str = ""
    """Heading on the command line; empty: the option is not offered there."""
    words: tuple[str, ...] = ()
    """Spellings on the command line; empty: the name with dashes. Of what is on by default, a flag ``--no-...``
    switches it off, and any other has a second one, ``--no-...``."""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    """Least allowed number; ``None``: any value is."""
    high: float = float("inf")
    low_allowed: bool = True
    parse: Callable[[str], Any] | None = None
    """Turns the text of the command line into the value; ``None``: by the type of the default."""
    per_face: bool = False
    """The value may also be a mapping from the index of a face to its number; other faces have the default."""
    repeated: bool = False
    """The word may be given several times; the value is the sequence of all."""
    command_default: Any = None
    """Default on the command line; ``None``: that of the field."""


def option(default: Any, help: str, **details: Any) -> Any:
    """A dataclass field with this default (``MISSING``: it has to be given) and the details of :class:`Option`."""
    return dataclasses.field(default=default, metadata={_KEY: Option(help, **details)})


def option_of(field: "dataclasses.Field[Any]") -> Option:
    """What :func:`option` was told about a field."""
    described: Option = field.metadata[_KEY]
    return described


def check_options(options: Any) -> None:
    """Check every field of a frozen dataclass of options, and bring numbers and switches to their type.

    Raises:
        ConfigError: if an option is not allowed.
    """
    for field in dataclasses.fields(options):
        described, value = option_of(field), getattr(options, field.name)
        if value is None and field.default is None:
            continue
        if described.choices:
            check_choice(field.name, value, described.choices)
        elif described.per_face and described.low is not None:
            rest: Any = field.default
            setting = check_setting(field.name, value, rest, described.low, described.high)
            object.__setattr__(options, field.name, setting)
        elif isinstance(field.default, bool):
            object.__setattr__(options, field.name, check_switch(field.name, value))
        elif described.low is not None and isinstance(field.default, int):
            object.__setattr__(options, field.name, check_int(field.name, value, int(described.low)))
        elif described.low is not None:
            number = check_number(field.name, value, described.low, described.high, low_allowed=described.low_allowed)
            object.__setattr__(options, field.name, number)
