"""Makes the arguments of a command from dataclasses of options, and the options from the arguments."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from memgan.runtime.options import Option, option_of

T = TypeVar("T")


def add_options(parser: argparse.ArgumentParser, *kinds: type[Any], groups: Sequence[str]) -> None:
    """Add an argument for every field of these dataclasses that is in one of the groups, which head the help."""
    headings = {title: parser.add_argument_group(title) for title in groups}
    for field in (field for kind in kinds for field in dataclasses.fields(kind)):
        described = option_of(field)
        if described.group in headings:
            headings[described.group].add_argument(*_words(field), help=described.help, **_details(field, described))


def options_from(args: argparse.Namespace, kind: type[T]) -> T:
    """The options of a dataclass as the arguments say; fields that are no arguments of the command keep their default.

    Raises:
        ConfigError: if an option is not allowed.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if option_of(field).group:
            word = next(word for word in _words(field) if word.startswith("--"))  # argparse's name for it
            name = word.removeprefix("--").replace("-", "_")
            if not hasattr(args, name):
                continue
            given = getattr(args, name)
            if given is None and field.default is True:
                given = True
                setattr(args, name, given)  # reports show what was used
            values[field.name] = not given if word.startswith("--no-") and field.default is True else given
    return kind(**values)


def _words(field: "dataclasses.Field[Any]") -> tuple[str, ...]:
    return option_of(field).words or (f"--{field.name.replace('_', '-')}",)


def _details(field: "dataclasses.Field[Any]", described: Option) -> dict[str, Any]:
    if field.default is True and not any(word.startswith("--no-") for word in _words(field)):
        return {"action": argparse.BooleanOptionalAction}  # no default: some Pythons would add it to the help
    if isinstance(field.default, bool):  # a word switches it on, or off what is on by default
        return {"action": "store_true"}
    if field.default is dataclasses.MISSING:
        return {"required": True, "metavar": described.metavar, "type": described.parse}
    if described.repeated:
        return {"action": "append", "default": [], "metavar": described.metavar, "type": described.parse}
    default = field.default if described.command_default is None else described.command_default
    if described.choices:
        return {"default": default, "choices": described.choices}
    kind = described.parse or (str if default is None else type(default))
    return {"default": default, "metavar": described.metavar, "type": kind}
