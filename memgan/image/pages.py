"""Reads and writes files that hold several pictures: pages of a TIFF, frames of an animation."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from memgan.errors import OutputError
from memgan.image.decoding import PictureFile
from memgan.image.files import read_file
from memgan.image.formats import FORMATS
from memgan.image.page_writers import ApngFrames, AvifFrames, GifFrames, PictureWriter, TiffPages, WebpFrames
from memgan.image.picture import Picture
from memgan.runtime.atomic_file import atomic_write

_KINDS = ("AVIF", "GIF", "PNG", "TIFF", "WEBP")
PAGE_SUFFIXES = tuple(suffix for suffix, form in FORMATS.items() if form.name in _KINDS)
"""Of the files that can hold several pictures and are written so."""
_DEFAULT_DURATION_MS = 100.0


def holds_pages(suffix: str, is_animation: bool) -> bool:
    """Whether files of a suffix (lower case, with dot) hold several pictures as pages, or as frames of an animation."""
    return suffix in PAGE_SUFFIXES and (is_animation or FORMATS[suffix].name == "TIFF")


class Timing(NamedTuple):
    """How an animation plays."""

    durations_ms: tuple[float, ...]
    """How long each frame is shown."""
    num_loops: int = 0
    """How often it plays; 0: for ever."""


class Pages:
    """The pictures of a file, each decoded when its turn comes; made by :func:`open_pages`."""

    def __init__(self, file: PictureFile) -> None:
        self._file = file
        durations = file.durations_ms
        self.timing = None if durations is None else Timing(durations, file.num_loops)
        """``None``: pages, not an animation."""

    def __len__(self) -> int:
        """How many pictures the file holds; 1 for most."""
        return len(self._file)

    @property
    def num_pixels(self) -> int:
        """Of the first picture, by its header: nothing is decoded."""
        width, height = self._file.size
        return width * height

    def __iter__(self) -> Iterator[Picture]:
        """Each picture in its order. Frames of an animation are whole pictures: what earlier ones leave is composited.

        Raises:
            ImageError: at a picture that cannot be decoded or whose size is outside the limits.
        """
        return map(self._file.picture, range(len(self._file)))


def open_pages(path: str | os.PathLike[str], *, allow_truncated: bool = False) -> Pages:
    """The pictures of a file of any kind that is read; only what says how many they are is read at once.

    Args:
        allow_truncated: as for :func:`memgan.image.load_picture`.

    Raises:
        ImageError, MissingDependencyError: as :func:`memgan.image.load_picture`.
    """
    data, name = read_file(path)
    return Pages(PictureFile(data, name, allow_truncated=allow_truncated))


class PagesWriter:
    """Writes pictures one after the other into one file, all or nothing: a context manager.

    The file appears when the ``with`` block ends; after an exception, or without any picture, there is none.
    Pages of a TIFF keep their notes, depth and size. An animation has the notes of its first frame. GIF has 256 colors
    in each frame and no color profile; WebP and AVIF have 8 bit; AVIF does not say how often it plays.

    Args:
        path: its suffix, one of :data:`PAGE_SUFFIXES`, says the kind.
        timing: of an animation; its durations are those of the pictures in their order. ``None``: 100 ms each, for
            ever. Pages of a TIFF have none.
        quality: 1 to 100, for the kinds that lose detail; ``None``: by the input, see :func:`memgan.image.encode`.
        provenance: state in XMP that faces were restored, if any were.

    Raises:
        OutputError: if the suffix cannot hold several pictures, or the file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        timing: Timing | None = None,
        quality: int | None = None,
        provenance: bool = True,
    ) -> None:
        self._path, self._timing = Path(path), timing or Timing(())
        self._quality, self._provenance = quality, provenance
        suffix = self._path.suffix.lower()
        if suffix not in PAGE_SUFFIXES:
            raise OutputError(
                f"{self._path.name}: files of the suffix {suffix!r} hold one picture; allowed are "
                f"{', '.join(PAGE_SUFFIXES)}"
            )
        self._suffix = suffix
        self._opened = contextlib.ExitStack()
        self._writer: PictureWriter | None = None
        self._size: tuple[int, ...] = ()
        self._count = 0

    def __enter__(self) -> "PagesWriter":
        return self

    def add(self, picture: Picture) -> tuple[str, ...]:
        """Write the next picture. In an animation it must have the size of the first.

        Returns:
            Short sentences on what the file cannot hold of what the picture carries.

        Raises:
            OutputError: if it has not, or the format cannot hold it.
        """
        size = picture.rgb.shape[1::-1]
        if self._writer is None:
            self._size, self._writer = size, self._opened_writer()
        if size != self._size and not isinstance(self._writer, TiffPages):
            raise OutputError(
                f"{self._path.name}: frame {self._count} is {size[0]} x {size[1]} pixels, the first one "
                f"{self._size[0]} x {self._size[1]}; frames must be equal, only pages of a TIFF may differ"
            )
        durations = self._timing.durations_ms
        duration = durations[self._count] if self._count < len(durations) else _DEFAULT_DURATION_MS
        self._count += 1
        return self._writer.add(picture, duration)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None and error is None:
                self._writer.close()
        except BaseException as problem:
            self._opened.__exit__(type(problem), problem, problem.__traceback__)
            raise
        self._opened.__exit__(kind, error, traceback)

    def _opened_writer(self) -> PictureWriter:
        temporary = self._opened.enter_context(atomic_write(self._path))
        kind, loops = FORMATS[self._suffix].name, self._timing.num_loops
        if kind == "AVIF":
            spooled = AvifFrames(temporary, self._quality, self._provenance)
            self._opened.callback(spooled.discard)
            return spooled
        file = self._opened.enter_context(temporary.open("w+b"))
        if kind == "TIFF":
            return TiffPages(file, self._provenance)
        if kind == "WEBP":
            return WebpFrames(file, loops, self._quality, self._provenance)
        return ApngFrames(file, loops, self._provenance) if kind == "PNG" else GifFrames(file, loops, self._provenance)
