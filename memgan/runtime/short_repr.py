"""Shows records that hold arrays in one line."""

import dataclasses
from typing import Any

from memgan.errors import shown

_MAX_NUMBERS = 4
"""Of arrays whose values are shown: a box, a size."""


def short_repr(record: Any) -> str:
    """A dataclass in one line, for ``__repr__``: arrays by type and shape, and only what differs from defaults."""
    parts = []
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if field.default is not dataclasses.MISSING and value is field.default:
            continue
        if field.default_factory is not dataclasses.MISSING and _equals(value, field.default_factory()):
            continue
        if field.repr:
            parts.append(f"{field.name}={_short(value)}")
    return f"{type(record).__name__}({', '.join(parts)})"


def _equals(value: Any, default: Any) -> bool:
    return type(value) is type(default) and not hasattr(value, "shape") and bool(value == default)


def _short(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None and not isinstance(value, type):
        if len(shape) == 1 and shape[0] <= _MAX_NUMBERS:
            return f"[{', '.join(f'{number:.5g}' for number in value.tolist())}]"
        return f"<{str(dtype).removeprefix('torch.')} {tuple(shape)}>"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return short_repr(value)
    if (isinstance(value, bytes | list | tuple | dict | set) and len(value) > _MAX_NUMBERS) or isinstance(value, list):
        return f"<{type(value).__name__} of {len(value)}>"
    return shown(value)
