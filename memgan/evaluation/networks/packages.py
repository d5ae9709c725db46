"""Files that packages of PyPI carry, found without importing the packages."""

import importlib.util
from pathlib import Path

from memgan.errors import MissingDependencyError


def package_folder(package: str, missing: str) -> Path:
    """Folder of an installed package.

    Args:
        package: its name for ``import``; nothing of it is run.
        missing: message if it is not installed: what it carries, and how to get it.

    Raises:
        MissingDependencyError: if it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(missing)
    return Path(found.submodule_search_locations[0])
