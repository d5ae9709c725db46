"""Finds files in installed packages without importing these."""

import importlib.util
from pathlib import Path

from memgan.errors import MissingDependencyError


def package_folder(package: str, missing: str) -> Path:
    """Folder of an installed package.

    Args:
        package: its import name; it is not imported.
        missing: message if it is not installed: what it contains, and how to install it.

    Raises:
        MissingDependencyError: if it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(missing)
    return Path(found.submodule_search_locations[0])
