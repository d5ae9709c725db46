"""Reads from the environment which folders hold downloads and whether the network may be used, at every call."""

import os
from pathlib import Path

HOME = "MEMGAN_HOME"
"""Environment variable: the folder that holds everything memgan downloads."""
MIRRORS = "MEMGAN_MIRRORS"
"""Environment variable: addresses, separated by blanks, under which weight files lie by their published names."""
_TRUE = ("1", "ON", "YES", "TRUE")


def cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Folder of downloaded files: the one given, else ``MEMGAN_HOME``, else ``memgan`` in the user's cache folder."""
    if given is not None:
        return Path(given).expanduser()
    if home := os.environ.get(HOME):
        return Path(home).expanduser()
    former = _xdg_cache() / "memgan"  # on every system, before platformdirs said where it belongs
    if former.is_dir():
        return former
    import platformdirs

    return platformdirs.user_cache_path("memgan", appauthor=False)


def _xdg_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def hub_cache_folder(given: str | os.PathLike[str] | None = None) -> Path:
    """Folder in which the Hugging Face client keeps repositories, shared with other programs unless one is given.

    The folder given, else ``MEMGAN_HOME``, else the client's own: ``HF_HUB_CACHE``, ``HF_HOME``/hub, or its default.
    """
    if given is not None or os.environ.get(HOME):
        return cache_folder(given)
    if own := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("HF_HOME") or _xdg_cache() / "huggingface").expanduser() / "hub"


def is_offline(given: bool | None = None) -> bool:
    """Whether the network is out of bounds: what is given, else what ``HF_HUB_OFFLINE`` says."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in _TRUE if given is None else given


def mirrors() -> tuple[str, ...]:
    """Addresses named by ``MEMGAN_MIRRORS``, without trailing slashes."""
    return tuple(address.rstrip("/") for address in os.environ.get(MIRRORS, "").split())
