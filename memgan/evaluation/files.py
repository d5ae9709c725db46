"""Reports as files: strict JSON, written all at once."""

import json
import math
import os
from pathlib import Path
from typing import Any

from memgan.errors import OutputError


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write ``data`` as JSON; an existing file is replaced only when the new one is complete.

    Numbers that JSON does not know (infinite PSNR, undefined NIQE) become ``null``.

    Raises:
        OutputError: if the file cannot be written.
    """
    path = Path(path)
    text = json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"
    partial = path.with_name(f".{path.name[:40]}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path} ({reason}); check that the folder exists and can be written") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
