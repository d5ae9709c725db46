"""Writes files at once or not at all."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memgan.errors import MemGANError, OutputError


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, make_folders: bool = False) -> Iterator[Path]:
    """The path of a temporary file that replaces ``path`` when the block ends well, and is deleted otherwise.

    Raises:
        OutputError: if the file cannot be written; whatever ``OSError`` the block raises counts as that.
    """
    path = Path(path)
    # Not tempfile: its files are readable by their owner only. The name is cut, since names have a greatest length.
    temporary = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        if make_folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if path.exists() and not path.is_file():
            raise OSError("it is a device or a pipe, which a file must not replace")
        yield temporary
        os.replace(temporary, path)
    except MemGANError:
        raise
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); check that the folder exists, may be written and "
            "has room, or choose another place."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # its folder may be what could not be made
            temporary.unlink(missing_ok=True)


def copy_modification_time(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Give a file the time of the last change of another one.

    Raises:
        OutputError: if that cannot be done.
    """
    try:
        times = os.stat(source)
        os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    except OSError as error:
        raise OutputError(f"the date of {target} cannot be set ({error.strerror or error}); leave it out.") from error


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write ``data`` as JSON by :func:`atomic_write`; infinite and undefined numbers become ``null``."""
    finite = json.loads(json.dumps(data), parse_constant=lambda name: None)
    text = json.dumps(finite, indent=1) + "\n"
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
