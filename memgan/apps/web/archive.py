"""Packs results for the way to a visitor."""

import zipfile
from pathlib import Path

from memgan.runtime.atomic_file import atomic_write


def zip_folder(folder: Path, archive: Path) -> None:
    """Put all files of a folder into a zip file. Pictures and films are small already: they are stored as they are."""
    with atomic_write(archive) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder).as_posix())
