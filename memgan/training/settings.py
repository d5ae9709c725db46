"""Declares groups of settings as frozen dataclasses whose fields carry their help and check their values.

A field is declared with :func:`setting`. The types that a field may have are those of JSON: bool, int, float, str,
``Literal``, a mapping, and each of them or ``None``.
"""

import dataclasses
import json
import operator
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from memgan.errors import ConfigError
from memgan.runtime.checks import parse_json

S = TypeVar("S", bound="Settings")
_BOUNDS = (("at least", "least", operator.ge), ("above", "above", operator.gt), ("at most", "most", operator.le))
_WORDS = {"none": None, "true": True, "false": False}


def setting(
    default: Any, help: str, *, least: float | None = None, above: float | None = None, most: float | None = None
) -> Any:
    """A field of a :class:`Settings` class; its values have bounds, of which ``above`` is not allowed itself."""
    return dataclasses.field(default=default, metadata={"help": help, "least": least, "above": above, "most": most})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of a group of settings; ``path`` is the group's dotted name with a dot behind it.

    A value of another type than its field's, or out of range, is a :class:`ConfigError`, and so is an unknown name.
    """

    path: ClassVar[str]

    def __init_subclass__(cls, path: str = "") -> None:
        cls.path = path

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            if not isinstance(getattr(self, field.name), Settings):
                value = _checked(self.path + field.name, hints[field.name], getattr(self, field.name), field.metadata)
                object.__setattr__(self, field.name, value)

    @classmethod
    def from_dict(cls: type[S], values: Mapping[str, Any]) -> S:
        """Settings of a (nested) mapping, such as JSON gives; what it leaves out keeps its default."""
        hints = typing.get_type_hints(cls)
        known = [field.name for field in dataclasses.fields(cls)]
        given: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise ConfigError(f"There is no setting {cls.path}{name}; there are: {', '.join(known)}.")
            if isinstance(hints[name], type) and issubclass(hints[name], Settings):
                if not isinstance(value, Mapping):
                    raise ConfigError(f"{cls.path}{name} is {value!r}; it is a group of settings: name one of them.")
                value = hints[name].from_dict(value)
            given[name] = value
        return cls(**given)

    def changed(self: S, changes: Mapping[str, Any]) -> S:
        """The same settings with others by dotted name, as ``{"losses.l1": 2.0}``."""
        return self.from_dict(merged(dataclasses.asdict(self), changes))

    def differences(self, other: "Settings") -> dict[str, tuple[Any, Any]]:
        """What ``other``, of the same class, has other values of: dotted name, own value, its value."""
        found: dict[str, tuple[Any, Any]] = {}
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, Settings):
                found |= mine.differences(theirs)
            elif mine != theirs:
                found[self.path + field.name] = mine, theirs
        return found

    def to_json(self) -> str:
        """All settings as a JSON object, which :meth:`from_dict` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1)

    @classmethod
    def describe(cls) -> Iterator[tuple[str, str, Any, str]]:
        """Dotted name, type, default and help of every setting."""
        hints = typing.get_type_hints(cls)
        for field in dataclasses.fields(cls):
            hint = hints[field.name]
            if isinstance(hint, type) and issubclass(hint, Settings):
                yield from hint.describe()
            else:
                default = {} if field.default is dataclasses.MISSING else field.default
                yield cls.path + field.name, _type_name(hint), default, field.metadata["help"]


def parse_change(text: str) -> tuple[str, Any]:
    """Dotted name and value of a text such as ``losses.l1=2``; the value is JSON, none, true, false, or plain words."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"{text!r} is no setting; give NAME=VALUE, such as losses.checkerboard=800.")
    value = value.strip()
    if value.lower() in _WORDS:
        return name.strip(), _WORDS[value.lower()]
    try:
        return name.strip(), parse_json(value)
    except ValueError:
        return name.strip(), value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``changes``, mapping by mapping; ``{"a.b": 1}`` means ``{"a": {"b": 1}}``."""
    result = dict(base)
    for dotted, value in changes.items():
        name, dot, rest = dotted.partition(".")
        if dot:
            value = {rest: value}
        if isinstance(value, Mapping):
            value = merged(result[name] if isinstance(result.get(name), Mapping) else {}, value)
        result[name] = value
    return result


def _kinds(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _type_name(hint: Any) -> str:
    names = {bool: "true or false", int: "integer", float: "number", str: "text", types.NoneType: "null"}
    words: list[str] = []
    for kind in _kinds(hint):
        is_literal = typing.get_origin(kind) is typing.Literal
        words += map(str, typing.get_args(kind)) if is_literal else [names.get(kind, "group")]
    return " or ".join(words)


def _checked(name: str, hint: Any, value: Any, bounds: Mapping[str, Any]) -> Any:
    """The value, a whole number as a float where floats are wanted."""
    kinds = _kinds(hint)
    if value is None and types.NoneType in kinds:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds:
        value = float(value)
    if not any(_is_a(kind, value) for kind in kinds):
        raise ConfigError(f"{name} is {value!r}; allowed: {_type_name(hint)}.")
    stated = [
        (f"{word} {bounds[key]:g}", test, bounds[key]) for word, key, test in _BOUNDS if bounds.get(key) is not None
    ]
    if not all(test(value, bound) for _, test, bound in stated):  # none holds of NaN
        or_none = ", or None" if types.NoneType in kinds else ""
        raise ConfigError(f"{name} is {value!r}; it must be {' and '.join(text for text, *_ in stated)}{or_none}.")
    return value


def _is_a(kind: Any, value: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return any(type(value) is type(allowed) and value == allowed for allowed in typing.get_args(kind))
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, typing.get_origin(kind) or kind)
