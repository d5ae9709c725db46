"""Finds the pictures that a command works on, and names their results."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple


class InputPicture(NamedTuple):
    """A file to work on."""

    path: Path
    name: PurePath
    """Relative path of its results without suffix; no two inputs of a run have the same."""


def collect_inputs(
    paths: Sequence[Path], suffixes: Sequence[str], *, recursive: bool = False, own: Sequence[Path] = ()
) -> tuple[list[InputPicture], list[str]]:
    """Find the pictures that the arguments of a command mean.

    Args:
        paths: files (of any suffix: they were named on purpose) and folders (of which files with ``suffixes`` count).
        suffixes: in lower case, with dot.
        recursive: also look into folders of folders; results then lie in folders alike.
        own: folders with earlier results, which are no inputs.

    Returns:
        inputs: without repetitions, in the order of ``paths``, sorted within a folder.
        problems: one message for each path that gives nothing.
    """
    found: dict[Path, PurePath] = {}
    problems: list[str] = []
    own = [folder.resolve() for folder in own]

    def is_own(path: Path) -> bool:
        return any(path == folder or folder in path.parents for folder in own)

    for path in paths:
        if is_own(path.resolve()):
            problems.append(f"{path}: lies among the results of this command; choose another output folder")
        elif path.is_dir():
            before = len(found)
            for file in _files_in(path, recursive, problems):
                if file.suffix.lower() in suffixes and not is_own(file.resolve()):
                    found.setdefault(file.resolve(), file.relative_to(path))
            if len(found) == before:
                hint = "" if recursive else "; --recursive looks into its folders too"
                problems.append(f"{path}: no (further) pictures in this folder ({' '.join(suffixes)}){hint}")
        elif not path.exists():
            problems.append(f"{path}: does not exist; check the path")
        else:
            found.setdefault(path.resolve(), PurePath(path.name))
    return _named(found), problems


def _files_in(folder: Path, recursive: bool, problems: list[str]) -> Iterator[Path]:
    def report(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions")

    for root, folders, files in os.walk(folder, onerror=report):
        folders[:] = sorted(folders) if recursive else []
        # Hidden files are other programs' notes about pictures, not pictures.
        yield from (Path(root, file) for file in sorted(files) if not file.startswith("."))


def _named(found: dict[Path, PurePath]) -> list[InputPicture]:
    """Give every input its own name: its stem, if needed with its suffix (``a_jpg``), if needed with a number."""
    stems = {path: relative.with_suffix("") for path, relative in found.items()}
    wanted = [_key(stem) for stem in stems.values()]
    names: dict[Path, PurePath] = {path: stem for path, stem in stems.items() if wanted.count(_key(stem)) == 1}
    taken = {_key(name) for name in names.values()}
    for path, stem in stems.items():
        if path in names:
            continue
        base = stem.with_name(f"{stem.name}_{found[path].suffix[1:]}" if found[path].suffix else stem.name)
        name, number = base, 1
        while _key(name) in taken:
            number += 1
            name = base.with_name(f"{base.name}_{number}")
        names[path] = name
        taken.add(_key(name))
    return [InputPicture(path, names[path]) for path in found]


def _key(name: PurePath) -> str:
    """Equal for names that are one file on a file system that ignores case or normalizes letters."""
    return unicodedata.normalize("NFC", name.as_posix()).casefold()
