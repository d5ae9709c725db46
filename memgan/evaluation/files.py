"""Reports as files: strict JSON, written all at once."""

import json
import math
import os
from pathlib import Path
from typing import Any

from memgan.image import write_whole


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write ``data`` as JSON; an existing file is replaced only when the new one is complete.

    Numbers that JSON does not know (infinite PSNR, undefined NIQE) become ``null``.

    Raises:
        OutputError: if the file cannot be written.
    """
    text = json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"
    write_whole(Path(path), text.encode())


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
