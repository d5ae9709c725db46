"""Keeps what is carried from one segment of a film to the next, so that an interrupted run goes on exactly."""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from memgan.runtime.atomic_file import atomic_write
from memgan.video.carry import KeyFace


class KeptKeys:
    """The last key face of each track where segments begin, in files beside these.

    Args:
        folder: of the segments.
        every: frames in a segment.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every = folder, every

    def keep(self, index: int, keys: Mapping[int, KeyFace]) -> None:
        """Write the key faces down if frame ``index`` begins a segment; an OutputError if that cannot be done."""
        if index % self._every == 0:
            arrays = {f"{track}_{name}": value for track, key in keys.items() for name, value in key._asdict().items()}
            with atomic_write(self._path(index)) as temporary, open(temporary, "wb") as file:
                np.savez(file, **arrays)

    def load(self, index: int) -> dict[int, KeyFace]:
        """The key faces where frame ``index`` begins a segment; none at the beginning of the film."""
        if index == 0:
            return {}
        with np.load(self._path(index)) as file:
            tracks = {int(name.partition("_")[0]) for name in file.files}
            return {
                track: KeyFace(int(file[f"{track}_frame"]), file[f"{track}_crop"], file[f"{track}_output"])
                for track in tracks
            }

    def drop(self, index: int) -> None:
        """Delete what no run needs any more, once the segments before frame ``index`` are written."""
        if index % self._every == 0:
            for path in self._folder.glob("keys-*.npz"):
                found = re.fullmatch(r"keys-(\d+)\.npz", path.name)
                if found is not None and int(found[1]) < index:
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _path(self, index: int) -> Path:
        return self._folder / f"keys-{index:08d}.npz"
