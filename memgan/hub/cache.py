"""Reads from the environment which folders hold downloads and whether the network may be used, at every call."""

import contextlib
import os
import tempfile
import time
from pathlib import Path

from memgan.errors import ConfigError
from memgan.runtime.path_rules import expand_home

HOME = "MEMGAN_HOME"
"""Environment variable: the folder that holds everything memgan downloads."""
MIRRORS = "MEMGAN_MIRRORS"
"""Environment variable: addresses, separated by blanks, under which weight files lie by their published names."""
_ABANDONED_S = 24 * 3600.0
"""A temporary file that is older belongs to nobody any more."""


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Folder of downloaded files: the one given, else ``MEMGAN_HOME``, else ``memgan`` in the user's cache folder.

    Raises:
        ConfigError: if the one given is empty text, which would be the working folder; or if the user has no home, and
            the folder in the system's temporary one that would do instead is another user's.
    """
    if given is not None:
        if not os.fspath(given).strip():
            raise ConfigError(f"The folder for downloads is {given!r}; give a folder, or None for the usual one.")
        return expand_home(given)
    if home := os.environ.get(HOME):
        return expand_home(home)
    root = _cache_root()
    if root is None:
        return _homeless_folder()
    former = root / "memgan"
    if former.is_dir():  # as on every system before platformdirs said where it belongs
        return former
    import platformdirs

    return platformdirs.user_cache_path("memgan", appauthor=False)


def hub_cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the Hugging Face client's repositories: the one given, else ``MEMGAN_HOME``, else the client's own."""
    if given is not None or os.environ.get(HOME):
        return cache_folder(given)
    if own := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return expand_home(own)
    if own := os.environ.get("HF_HOME"):
        return expand_home(own) / "hub"
    root = _cache_root()
    return (_homeless_folder() if root is None else root) / "huggingface" / "hub"


def _cache_root() -> Path | None:
    """The user's folder for caches; ``None``: there is no home, as in a container with a user that no one has named."""
    if given := os.environ.get("XDG_CACHE_HOME"):
        return expand_home(given)
    home = os.path.expanduser("~")
    return Path(home) / ".cache" if os.path.isabs(home) else None


def _homeless_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"memgan-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    if folder.exists():
        found = folder.lstat()
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
            raise ConfigError(f"{folder} can be written by other users; set {HOME} to a folder of this user.")
    return folder


def is_offline(given: bool | None = None) -> bool:
    """Whether the network is out of bounds: what is given, else what ``HF_HUB_OFFLINE`` says."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE") if given is None else given


def mirrors() -> tuple[str, ...]:
    """Addresses named by ``MEMGAN_MIRRORS``, without trailing slashes."""
    return tuple(address.rstrip("/") for address in os.environ.get(MIRRORS, "").split())


def keep_newest(folder: Path, suffix: str, count: int) -> None:
    """Delete all but the ``count`` files of this suffix that were changed last, and what broken-off writing left.

    What cannot be deleted, such as a file that another process holds open on Windows, is left for the next time.
    """
    ages: list[tuple[float, Path]] = []
    found: list[Path] = []
    with contextlib.suppress(OSError):  # a folder may be writable and not readable
        found = list(folder.iterdir())
    for path in found:
        with contextlib.suppress(OSError):  # another process may have deleted it
            ages.append((time.time() - path.stat().st_mtime, path))
    files = [path for _, path in sorted(ages) if path.suffix == suffix]
    left_over = [path for age, path in ages if path.suffix == ".tmp" and age > _ABANDONED_S]
    for path in (*files[count:], *left_over):
        with contextlib.suppress(OSError):
            path.unlink()
