"""Reads pictures by number out of folders and tar archives."""

import os
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from memgan.errors import DataError, ImageError
from memgan.image import IMAGE_SUFFIXES, decode_picture, resize, to_tensor, visible_8bit
from memgan.runtime.checks import check_int

Half = Literal["all", "even", "odd"]
"""Which pictures of an order: all, or those of even or odd numbers from 0."""
Sources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class _Place(NamedTuple):
    """Where the bytes of one picture file lie; ``size`` is -1 for a file of its own."""

    name: str
    path: Path
    offset: int = 0
    size: int = -1


class PictureSource:
    """Read access to the picture files of folders (with their sub-folders), tar archives and single files.

    Pictures are decoded when asked for. Nothing stays open, so that a source may be shared by threads and sent to other
    processes. The order is that of the names within each source.

    Args:
        sources: one path or several. Archives must be uncompressed: compressed ones cannot be read by number.

    Raises:
        DataError: if a path does not exist, is of another kind, or no picture is found.
    """

    def __init__(self, sources: Sources) -> None:
        paths = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
        self._places = [place for path in map(Path, paths) for place in sorted(_places_in(path))]
        if not self._places:
            raise DataError(
                f"No pictures in {', '.join(map(str, paths)) or 'no source'}; "
                f"needed: a folder or a tar archive of {', '.join(IMAGE_SUFFIXES)} files."
            )

    def __len__(self) -> int:
        return len(self._places)

    @property
    def names(self) -> list[str]:
        """Names within their sources, with ``/`` between folders."""
        return [place.name for place in self._places]

    def read(self, index: int) -> np.ndarray:
        """Picture number ``index`` as uint8 RGB (H, W, 3).

        Raises:
            DataError: if it cannot be decoded; the message names it.
        """
        place = self._places[index]
        try:
            with open(place.path, "rb") as file:
                file.seek(place.offset)
                return visible_8bit(decode_picture(file.read(place.size), place.name))
        except (OSError, ImageError) as error:
            raise DataError(f"{place.path}: {error}") from error


def spread_evenly(source: PictureSource, limit: int | None = None, half: Half = "all") -> list[int]:
    """Numbers of the pictures in the order of their names; at most ``limit`` (1 or more) of them, spread evenly.

    With ``half`` only every second picture counts, before ``limit``.
    """
    part = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}[half]
    order = sorted(range(len(source)), key=source.names.__getitem__)[part]
    count = len(order) if limit is None else min(check_int("limit", limit, 1), len(order))
    return [order[step * len(order) // count] for step in range(count)]


def read_face(source: PictureSource, index: int, size_px: int) -> Tensor:
    """An aligned face as (3, size_px, size_px) RGB in [-1, 1].

    Raises:
        DataError: if it cannot be decoded or is not square.
    """
    rgb = source.read(index)
    if rgb.shape[0] != rgb.shape[1]:
        raise DataError(
            f"{source.names[index]} is {rgb.shape[1]} x {rgb.shape[0]}; faces must be square, aligned to the template: "
            "`memgan restore` writes such faces of photographs to cropped_faces/."
        )
    return to_tensor(resize(rgb, size_px, size_px))


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(part.startswith(".") for part in path.parts)


def _places_in(path: Path) -> list[_Place]:
    if path.is_dir():
        files = [_Place(file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file()]
        return [place for place in files if _is_picture(place.name)]
    if not path.exists():
        raise DataError(f"There is no {path}; give an existing folder, tar archive or picture.")
    if _is_picture(path.name):
        return [_Place(path.name, path)]
    try:
        with tarfile.open(path, "r:") as archive:
            members = [member for member in archive if member.isreg() and not member.issparse()]
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{path} is no uncompressed tar archive ({error}); unpack it into a folder first.") from error
    places = [_Place(PurePosixPath(one.name).as_posix(), path, one.offset_data, one.size) for one in members]
    return [place for place in places if _is_picture(place.name)]
