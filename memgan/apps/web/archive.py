"""Packs results for the way to a visitor."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from memgan.runtime.atomic_file import atomic_write
from memgan.runtime.records import RECORDS_NAME


def zip_folder(folder: Path, archive: Path, cleaned: Callable[[str], str]) -> None:
    """Put all files of a folder into a zip file. Pictures and films are small already: they are stored as they are.

    Args:
        cleaned: gives a text of the record without what is no visitor's business: the folders of this machine.
    """
    # Dates before 1980, which a machine without a clock may give, cannot be in a zip file.
    with (
        atomic_write(archive) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, strict_timestamps=False) as file,
    ):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if name == RECORDS_NAME:
                lines = path.read_text("utf-8").splitlines()
                file.writestr(name, "".join(f"{_cleaned(line, cleaned)}\n" for line in lines))
            elif path.is_file() and not path.name.startswith("."):  # the record's lock is no result
                file.write(path, name)


def _cleaned(line: str, cleaned: Callable[[str], str]) -> str:
    def within(value: object) -> object:
        if isinstance(value, dict):
            return {name: within(one) for name, one in value.items()}
        if isinstance(value, list):
            return [within(one) for one in value]
        return cleaned(value) if isinstance(value, str) else value

    return json.dumps(within(json.loads(line)), ensure_ascii=False)
