"""Reads and writes files that hold several pictures: pages of a TIFF, frames of an animation."""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple

from memgan.image.picture import Picture

PAGE_SUFFIXES = (".avif", ".gif", ".png", ".tif", ".tiff", ".webp")
"""Of the files that can hold several pictures and are written so."""


class Timing(NamedTuple):
    """How an animation plays."""

    durations_ms: tuple[float, ...]
    """How long each frame is shown."""
    num_loops: int = 0
    """How often it plays; 0: for ever."""


class Pages:
    """The pictures of a file, each decoded when its turn comes; made by :func:`open_pages`."""

    timing: Timing | None
    """``None``: pages, not an animation."""

    def __len__(self) -> int:
        """How many pictures the file holds; 1 for most."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Picture]:
        """Each picture in its order. Frames of an animation are whole pictures: what earlier ones leave is composited.

        Raises:
            ImageError: at a picture that cannot be decoded or whose size is outside the limits.
        """
        raise NotImplementedError


def open_pages(path: str | os.PathLike[str]) -> Pages:
    """The pictures of a file of any kind that is read; only what says how many they are is read at once.

    Raises:
        ImageError, MissingDependencyError: as :func:`memgan.image.load_picture`.
    """
    raise NotImplementedError


class PagesWriter:
    """Writes pictures one after the other into one file, all or nothing: a context manager.

    The file appears when the ``with`` block ends; after an exception, or without any picture, there is none.

    Args:
        path: its suffix, one of :data:`PAGE_SUFFIXES`, says the kind.
        timing: makes an animation; its durations are those of the pictures in their order. ``None``: pages where the
            format has them (TIFF), else an animation of 100 ms a frame.
        quality: 1 to 100, for the kinds that lose detail.

    Raises:
        OutputError: if the suffix cannot hold several pictures, or the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], timing: Timing | None = None, quality: int = 95) -> None:
        raise NotImplementedError

    def __enter__(self) -> "PagesWriter":
        raise NotImplementedError

    def add(self, picture: Picture) -> None:
        """Write the next picture. In an animation it must have the size of the first.

        Raises:
            OutputError: if it has not, or the format cannot hold it.
        """
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise NotImplementedError
