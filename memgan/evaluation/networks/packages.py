"""Finds files in installed packages without importing these."""

import importlib.util
from pathlib import Path

from memgan.errors import MissingDependencyError


def package_folder(package: str, contents: str, install: str = "memgan[eval]") -> Path:
    """Folder of an installed package.

    Args:
        package: its name on PyPI; nothing of it is imported.
        contents: what it contains, for the error message, in the plural.
        install: what to give to ``pip install`` if it is missing.

    Raises:
        MissingDependencyError: if it is not installed.
    """
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(
            f"{contents} come with the package {package}, which is not installed: pip install '{install}'."
        )
    return Path(found.submodule_search_locations[0])
