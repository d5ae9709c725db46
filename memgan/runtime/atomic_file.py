"""Files that are replaced at once or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from memgan.errors import OutputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place when the block ends well, and else vanishes.

    Raises:
        OutputError: if the file cannot be written; whatever ``OSError`` the block raises counts as that.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error}); choose another place or free some space.") from error
    finally:
        with contextlib.suppress(OSError):  # its folder may be what could not be made
            temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, all or nothing: an existing one is replaced only when the new one is complete.

    Raises:
        OutputError: if it cannot be written.
    """
    # Not tempfile: it would leave the file readable by its owner only.
    partial = path.with_name(f".{path.name[:40]}.{os.getpid()}-{os.urandom(4).hex()}.part")
    try:
        try:
            partial.write_bytes(data)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {path} ({reason}); check that the folder exists and can be written") from error
