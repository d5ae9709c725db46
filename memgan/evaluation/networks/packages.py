"""Finds files in installed packages without importing these."""

import importlib.util
from pathlib import Path

from memgan.errors import MissingDependencyError


def package_file(package: str, file: str, install: str = "memgan[eval]") -> Path:
    """Path of a file within a package of PyPI; if that is missing, an error with the remedy ``pip install``."""
    found = importlib.util.find_spec(package.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise MissingDependencyError(
            f"{Path(file).name} comes with the package {package}, which is not installed: pip install '{install}'."
        )
    return Path(found.submodule_search_locations[0], file)
