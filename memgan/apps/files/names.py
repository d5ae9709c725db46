"""Names results: a function of the input's name and the options alone. Loads nothing heavy and touches no file."""

from pathlib import PurePath

from memgan.runtime.path_rules import folded
from memgan.runtime.picture_formats import PICTURE_FORMATS

PICTURES, VIDEOS = "restored_imgs", "restored_videos"
RESTORED, CROPPED, COMPARED = "restored_faces", "cropped_faces", "cmp"
FOLDERS = (PICTURES, VIDEOS, RESTORED, CROPPED, COMPARED)
"""Of the results."""


def result_suffix(name: PurePath, ext: str) -> str:
    """The suffix that says the type of a result; ``ext``: as ``--ext`` has it."""
    own = name.suffix.lower()
    if ext != "auto":
        return own if _format(own) == _format(f".{ext}") else f".{ext}"
    return own if _format(own) else ".png"


def picture_name(name: PurePath, suffix: str, mark: str = "") -> PurePath:
    """Name of a whole picture: the input's, with ``mark`` before its suffix; another type's suffix is added.

    ``a.jpg`` stays ``a.jpg``; as a PNG file it is ``a.jpg.png``, so that it cannot be taken for that of ``a.png``.
    """
    return PurePath(PICTURES, _marked(name, suffix, mark))


def film_name(name: PurePath, suffix: str, mark: str = "") -> PurePath:
    """Name of a film, by the rule of :func:`picture_name`: ``a.mp4`` stays ``a.mp4``, or becomes ``a.mp4.mkv``."""
    return PurePath(VIDEOS, _marked(name, suffix, mark))


def face_name(folder: str, name: PurePath, index: int | None, page: str = "", end: str = "") -> PurePath:
    """Name of the file of a face: that of the input, as a whole, and the number: ``a.jpg_00.png``.

    ``index`` of ``None``: the input is the face, and names follow :func:`picture_name`.
    """
    if index is None:
        return PurePath(folder, _marked(name, ".png", f"{page}{end}"))
    return PurePath(folder, name.with_name(f"{name.name}{page}_{index:02d}{end}.png"))


def map_name(name: PurePath, index: int | None, page: str = "", end: str = "") -> PurePath:
    """Name of the map of a face's expected error, beside its restored file: ``a.jpg_00_map.png``, ``a.jpg_map.png``."""
    number = "" if index is None else f"_{index:02d}"
    return PurePath(RESTORED, name.with_name(f"{name.name}{page}{number}_map{end}.png"))


def _marked(name: PurePath, suffix: str, mark: str) -> PurePath:
    marked = f"{name.stem}{mark}{name.suffix}"
    return name.with_name(marked if has_same_type(name, suffix) else f"{marked}{suffix}")


def has_same_type(name: PurePath, suffix: str) -> bool:
    """Whether the name of a file and another suffix say the same type."""
    own = name.suffix.lower()
    return own == suffix or (_format(own) is not None and _format(own) == _format(suffix))


def page_mark(number: int) -> str:
    """What names of pages and of their faces contain; counts from 1, as viewers do."""
    return f"_p{number:04d}"


def labels(folders: list[PurePath]) -> dict[PurePath, PurePath]:
    """For each of several absolute folders the end of its path that tells it from the others: mostly its name."""
    found: dict[PurePath, PurePath] = {}
    length = 0
    while len(found) < len(folders):
        length += 1
        ends: dict[str, list[PurePath]] = {}
        for folder in folders:
            ends.setdefault(folded(_end(folder, length).as_posix()), []).append(folder)
        longest = all(len(folder.parts) <= length for folder in folders)
        for same in ends.values():
            for folder in same if len(same) == 1 or longest else ():
                found.setdefault(folder, _end(folder, length))
    return found


def _end(folder: PurePath, length: int) -> PurePath:
    """The last parts of a path; of a drive its letter."""
    drive = [part for part in folder.drive.replace("\\", "/").rstrip(":").split("/") if part]
    return PurePath(*[*drive, *folder.parts[bool(folder.anchor) :]][-length:])


def _format(suffix: str) -> str | None:
    return next((form.name for form in PICTURE_FORMATS if suffix in form.suffixes), None)
