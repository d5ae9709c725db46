"""Finds the pictures and films that a command works on, and says which files it leaves out and why."""

import heapq
import os
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

from memgan.apps.files.film_content import SHARED_SUFFIXES, has_film
from memgan.apps.files.names import FOLDERS, labels
from memgan.runtime.records import RECORDS_NAME, is_records_folder

CACHES = frozenset(
    (
        "@eadir",  # Synology
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "$recycle.bin",  # Windows
        "recycler",
        "system volume information",
        "thumbs.db",
        "desktop.ini",
        "__macosx",  # archives that were packed on macOS
        "lost+found",
    )
)
"""Names, in lower case, of folders and files that file managers, NAS systems and archives make."""
_AT_ONCE = 2**16  # names of a folder that are sorted and held in memory
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class InputFile(NamedTuple):
    """A file to work on."""

    path: Path
    """As it was given."""
    name: PurePath
    """Relative path that the names of its results are made of."""
    is_film: bool = False


class LeftOut(NamedTuple):
    """A file or folder that is not worked on."""

    path: Path
    reason: str
    kind: str = ""
    """Its suffix, if that is why."""
    is_problem: bool = False
    """It was named on purpose, or should be a picture or a film."""
    is_usual: bool = False
    """Nobody expects it to be taken: it is only listed."""


class _Root(NamedTuple):
    """An argument of the command."""

    given: Path
    folder: str
    """Absolute: the folder given, or that of the file given."""
    file: str | None = None
    """Name of the file given."""
    is_film: bool = False


class Inputs:
    """The files that the arguments of a command mean; looked for anew by each loop, so that none has to be kept.

    Files are taken whatever their suffix (they were named on purpose); of folders those with ``suffixes`` or
    ``films``, but no hidden ones, no caches of file managers and no results of earlier runs. Each counts once, under
    the name that was given, also if it is a link. A file's name is its path relative to the folder that was given; if
    another one that was given has the same, the names of the folders come in front.

    Args:
        paths: files and folders.
        suffixes: of pictures, in lower case, with dot.
        films: suffixes of films. A file that was named is a film too if it has none of all these and its content is.
        film_problem: why films are left out; ``None``: they are taken.
        recursive: also look into folders of folders. Links to folders outside are followed once.
        own: folders of this command's results, which are no inputs.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        suffixes: Collection[str],
        *,
        films: Collection[str] = (),
        film_problem: str | None = None,
        recursive: bool = False,
        own: Sequence[Path] = (),
    ) -> None:
        self._suffixes, self._recursive = frozenset(suffixes), recursive
        self._films, self._film_problem = frozenset(films), film_problem
        self._own = {os.path.realpath(folder) for folder in own}
        self._arguments: list[_Root | LeftOut] = list(map(self._argument, dict.fromkeys(paths)))
        roots = [one for one in self._arguments if isinstance(one, _Root)]
        self._given = dict.fromkeys((root.folder, root.file) for root in roots)
        self._folders = [folder for folder, file in self._given if file is None]
        self._files = Counter(file for _, file in self._given if file is not None)
        every = list(map(PurePath, dict.fromkeys(root.folder for root in roots)))
        self._labels = labels(every) if len(every) > 1 else {}

    def __iter__(self) -> Iterator[InputFile | LeftOut]:
        """In the order of ``paths``; within a folder sorted, its files before its folders."""
        seen: set[tuple[str, str | None]] = set()
        for root in self._arguments:
            if isinstance(root, LeftOut):
                yield root
                continue
            path = root.folder if root.file is None else os.path.join(root.folder, root.file)
            if (root.folder, root.file) in seen or any(self._takes(folder, path) for folder in _upwards(path)[1:]):
                continue  # given twice, or a part of another folder that is given
            seen.add((root.folder, root.file))
            if root.file is not None:
                if root.is_film and self._film_problem is not None:
                    yield LeftOut(root.given, self._film_problem, is_problem=True)
                else:
                    yield InputFile(root.given, self._name(root, PurePath(root.file)), root.is_film)
                continue
            found = False
            for one in self._walk(root):
                found = found or isinstance(one, InputFile)
                yield one
            if not found:
                hint = "" if self._recursive else "; --recursive looks into its folders too"
                has_films = bool(self._films) and self._film_problem is None
                known = " ".join(sorted(self._suffixes | (self._films if has_films else frozenset())))
                kinds = "pictures or films" if has_films else "pictures"
                yield LeftOut(root.given, f"no {kinds} in this folder ({known}){hint}", is_problem=True)

    def _argument(self, path: Path) -> _Root | LeftOut:
        """What one argument is."""
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError) as error:
            reason = _why_unreadable(str(path), error)
            return LeftOut(path, reason, is_problem=True)
        if any(folder in self._own for folder in _upwards(os.path.realpath(path))):
            reason = "lies among the results of this command; choose another output folder"
            return LeftOut(path, reason, is_problem=True)
        absolute = os.path.abspath(path)
        if stat.S_ISDIR(mode):
            return _Root(path, absolute)
        if stat.S_ISREG(mode):
            suffix = _suffix(absolute)
            is_film = suffix in self._films or (bool(self._films) and suffix not in self._suffixes and has_film(path))
            return _Root(path, *os.path.split(absolute), is_film)
        return LeftOut(path, f"is {_KINDS.get(stat.S_IFMT(mode), 'no file')}; copy what it gives into a file", "", True)

    def _takes(self, folder: str, path: str) -> bool:
        """Whether a path is found by looking into a folder above it, since that was given."""
        if (folder, None) not in self._given:
            return False
        *folders, name = PurePath(os.path.relpath(path, folder)).parts
        is_folder = (path, None) in self._given
        if is_folder:
            folders, name = [*folders, name], ""
        if (folders and not self._recursive) or any(_is_passed_over(part) for part in folders):
            return False
        if is_folder or _is_passed_over(name):
            return is_folder
        is_film = self._is_film(path)
        return (is_film and self._film_problem is None) or (not is_film and _suffix(name) in self._suffixes)

    def _is_film(self, path: str) -> bool:
        """Whether a file of a folder is one."""
        suffix = _suffix(path)
        return suffix in self._films and (suffix not in SHARED_SUFFIXES or has_film(path))

    def _name(self, root: _Root, relative: PurePath) -> PurePath:
        """The path relative to the root; if another root has the same one, with the root's name in front."""
        if not self._labels:
            return relative
        name = str(relative)
        elsewhere = self._files[name] > ((root.folder, name) in self._given)
        if not elsewhere and (self._recursive or len(relative.parts) == 1):
            others = (folder for folder in self._folders if folder != root.folder)
            elsewhere = any(os.path.isfile(os.path.join(folder, name)) for folder in others)
        return self._labels[PurePath(root.folder)] / relative if elsewhere else relative

    def _walk(self, root: _Root) -> Iterator[InputFile | LeftOut]:
        """What lies in a folder that was given."""
        followed = [os.path.realpath(root.folder)]  # nothing in them is looked at through a link
        waiting = [PurePath()]
        while waiting:
            folder = waiting.pop()
            here = root.given / folder
            has_results = is_records_folder(here)
            try:
                for entry in _sorted_entries(here, lambda entry: not _is_folder(entry)):
                    yield self._file(root, folder, entry)
                if not self._recursive:
                    return
                below: list[PurePath] = []
                for entry in _sorted_entries(here, _is_folder):
                    reason = self._folder_problem(entry, followed, has_results)
                    if reason:
                        usual = _is_passed_over(entry.name) or os.path.realpath(entry.path) in self._own
                        yield LeftOut(here / entry.name, reason, is_usual=usual)
                    else:
                        below.append(folder / entry.name)
                waiting += reversed(below)
            except OSError as error:
                reason = f"cannot be listed ({error.strerror}); check its permissions"
                yield LeftOut(here, reason, is_problem=True)

    def _file(self, root: _Root, folder: PurePath, entry: "os.DirEntry[str]") -> InputFile | LeftOut:
        path, suffix = root.given / folder / entry.name, _suffix(entry.name)
        if (
            _is_passed_over(entry.name) or entry.name == RECORDS_NAME
        ):  # other programs' notes about pictures, not pictures
            return LeftOut(path, "hidden, or of a file manager", is_usual=True)
        is_film = self._is_film(entry.path)
        if not is_film and suffix not in self._suffixes:
            return LeftOut(path, "file of another type", suffix or "without suffix")
        if is_film and self._film_problem is not None:
            return LeftOut(path, self._film_problem)
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            return LeftOut(path, _why_unreadable(entry.path, error), is_problem=True)
        if not stat.S_ISREG(mode):
            return LeftOut(path, f"is {_KINDS.get(stat.S_IFMT(mode), 'no file')}")
        return InputFile(path, self._name(root, folder / entry.name), is_film)

    def _folder_problem(self, entry: "os.DirEntry[str]", followed: list[str], has_results: bool) -> str | None:
        """Why a folder is not looked into; remembers a link that is followed."""
        if _is_passed_over(entry.name):
            return "hidden, or of a file manager"
        real = os.path.realpath(entry.path)
        if real in self._own or (has_results and entry.name in FOLDERS):
            return "results of an earlier run"
        if entry.is_symlink():
            if any(_is_within(real, other) or _is_within(other, real) for other in followed):
                return "link to a folder that is looked at anyway"
            followed.append(real)
        return None


def left_out_line(left_out: Iterable[LeftOut]) -> str | None:
    """One line on what was left out without being a problem; ``None``: nothing that matters."""
    reasons: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for one in left_out:
        if not (one.is_problem or one.is_usual):
            reasons[one.reason] += 1
            kinds.update([one.kind] if one.kind else [])
    if not reasons:
        return None
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(8)) + ", ..." * (len(kinds) > 8)
    counted = [
        f"{reason}: {count}" + f" ({listed})" * (reason == "file of another type") for reason, count in reasons.items()
    ]
    return f"left out: {'; '.join(counted)}; --dry-run lists them"


def _sorted_entries(folder: Path, wanted: Callable[["os.DirEntry[str]"], bool]) -> Iterator["os.DirEntry[str]"]:
    """Entries of a folder by name; of a very large one only a part is held at a time, and the folder is read again."""
    last: str | None = None
    while True:
        with os.scandir(folder) as entries:
            further = (entry for entry in entries if (last is None or entry.name > last) and wanted(entry))
            part = heapq.nsmallest(_AT_ONCE, further, key=lambda entry: entry.name)
        yield from part
        if len(part) < _AT_ONCE:
            return
        last = part[-1].name


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _suffix(path: str) -> str:
    return PurePath(path).suffix.lower()


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name.lower() in CACHES


def _is_within(path: str, folder: str) -> bool:
    return folder in _upwards(path)


def _upwards(path: str) -> list[str]:
    """A path and all folders that it lies in."""
    pure = Path(path)
    return [str(pure), *map(str, pure.parents)]


def _why_unreadable(path: str, error: OSError | ValueError) -> str:
    if os.path.islink(path):
        return "a link that leads nowhere; mend or delete it"
    if isinstance(error, FileNotFoundError):
        return "does not exist; check the path"
    return f"cannot be read ({getattr(error, 'strerror', None) or error}); check the path"
