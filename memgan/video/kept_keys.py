"""Keeps what is carried from one segment of a film to the next, so that an interrupted run goes on exactly."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from memgan.runtime.atomic_file import atomic_write
from memgan.video.carry import KeyFace


class KeptKeys:
    """The last key faces of each track where segments begin, in files beside these.

    Args:
        folder: of the segments.
        every: frames in a segment.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._folder, self._every = folder, every

    def keep(self, index: int, keys: Mapping[int, Sequence[KeyFace]]) -> None:
        """Write the key faces down if frame ``index`` begins a segment; an OutputError if that cannot be done."""
        if index % self._every == 0:
            arrays = {
                f"{track}_{place}_{name}": value
                for track, faces in keys.items()
                for place, key in enumerate(faces)
                for name, value in key._asdict().items()
            }
            with atomic_write(self._path(index)) as temporary, open(temporary, "wb") as file:
                np.savez(file, **arrays)

    def load(self, index: int) -> dict[int, list[KeyFace]]:
        """The key faces where frame ``index`` begins a segment, in their order; none at the beginning of the film."""
        if index == 0:
            return {}
        keys: dict[int, list[KeyFace]] = {}
        with np.load(self._path(index)) as file:
            places = {(int(track), int(place)) for track, place, _ in (name.split("_") for name in file.files)}
            for track, place in sorted(places):
                frame, crop, output = (file[f"{track}_{place}_{name}"] for name in KeyFace._fields)
                keys.setdefault(track, []).append(KeyFace(int(frame), crop, output))
        return keys

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
