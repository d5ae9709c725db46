"""Follows all faces of one shot, frame by frame."""

import dataclasses
from collections.abc import Callable

import numpy as np

from memgan.faces.align import Face
from memgan.faces.detect import Finds
from memgan.video.flow import size_of
from memgan.video.matching import match, overlap
from memgan.video.path import Path
from memgan.video.smoothing import RADIUS
from memgan.video.tracks import FrameFaces, TrackedFace

PATIENCE = 8
"""Frames for which a face may not be seen before it counts as gone; at least the time of two looks."""

_CLEAR_SCORE = 0.99  # of a find that makes a track even if it is the only one
_SAME_PLACE = 0.4  # overlap of two boxes that cannot be two faces


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One frame as it comes in."""

    index: int
    rgb: np.ndarray
    """(H, W, 3) uint8."""
    gray: np.ndarray
    """(h, w) uint8, the frame at the scale of the flow."""


def lag(every: int) -> int:
    """Frames that are kept back when the detector has looked: what comes may still change them."""
    return max(RADIUS, max(2 * every, PATIENCE) - every)


class Shot:
    """The faces from one cut to the next."""

    def __init__(self, start: int, every: int, scale: float, find: Callable[[Frame], Finds], first_number: int):
        """``find`` looks for faces in every ``every``-th frame, from the first frame, number ``start``, on.

        Args:
            scale: of the gray pictures, relative to the frames.
            first_number: of the first new track.
        """
        self._start, self._every, self._scale, self._find = start, every, scale, find
        self.next_number = first_number
        self._paths: list[Path] = []
        self._grays: list[np.ndarray] = []  # from the last key frame on
        self._given = start - 1
        self._newest = start - 1
        self._num_looks = 0

    def add(self, frame: Frame) -> list[FrameFaces]:
        """Take the next frame; gives those that are settled."""
        for path in self._paths:
            if path.end is None:
                path.advance(frame.gray)
        self._grays.append(frame.gray)
        self._newest = frame.index
        if (frame.index - self._start) % self._every:
            return []
        self._look(frame)
        return self._give(frame.index - lag(self._every))

    def close(self) -> list[FrameFaces]:
        """The shot is over; gives the rest of its frames."""
        for path in self._paths:
            if path.end is None:
                path.close(self._newest + 1)
        if self._num_looks > 1:
            self._paths = [path for path in self._paths if not _is_doubtful(path)]
        return self._give(self._newest)

    def _look(self, frame: Frame) -> None:
        finds, doubtful = self._find(frame)
        self._num_looks += 1
        alive = [path for path in self._paths if path.end is None]
        pairs = match(alive, finds, frame.rgb)
        seen = {index for _, index in pairs}
        new = [face for index, face in enumerate(finds) if index not in seen]
        matched = [(path, finds[index]) for path, index in pairs]
        left = [path for path in alive if all(path is not other for other, _ in pairs)]
        # What scores too low to be a face may still be one that was seen before.
        matched += [(path, doubtful[index]) for path, index in match(left, doubtful, frame.rgb)]
        for path, face in matched:
            path.see(face, frame.rgb, self._grays)
        for path in alive:
            if path.last_seen < frame.index:
                self._miss(path, frame.index)
        for face in new:
            self._begin(face, frame)
        self._grays = self._grays[-1:]

    def _miss(self, path: Path, index: int) -> None:
        """The detector did not see a face in frame ``index``."""
        path.first_missed = index if path.first_missed is None else path.first_missed
        if _is_doubtful(path):
            self._paths.remove(path)
        elif index - path.last_seen >= max(2 * self._every, PATIENCE):
            path.close(path.first_missed)

    def _begin(self, face: Face, frame: Frame) -> None:
        path = Path(frame.index, face, frame.rgb, frame.gray, self._scale)
        path.begin(self._grays)
        for other in self._paths:
            # One that was expected here gives way.
            if other.end is None and other.last_seen < frame.index and overlap(other.expected, path.tip) > _SAME_PLACE:
                other.close(path.first)
        self._paths.append(path)

    def _give(self, until: int) -> list[FrameFaces]:
        """The frames up to ``until`` that were not given yet."""
        if until <= self._given:
            return []
        for path in self._paths:
            path.solve(self._given)
        frames = [self._frame(index) for index in range(self._given + 1, until + 1)]
        self._given = until
        self._paths = [path for path in self._paths if path.end is None or path.end > until]
        for path in self._paths:
            path.forget(until)
        return frames

    def _frame(self, index: int) -> FrameFaces:
        shown = [path for path in self._paths if path.shows(index)]
        for path in sorted((path for path in shown if path.number is None), key=lambda path: -size_of(path.tip)):
            path.number = self.next_number
            self.next_number += 1
        faces = [self._face(path, path.number, index) for path in shown if path.number is not None]
        return FrameFaces(index, sorted(faces, key=lambda face: face.track), index == self._start)

    def _face(self, path: Path, number: int, index: int) -> TrackedFace:
        state = path.at(index).astype(np.float32)
        return TrackedFace(
            state[5:].ravel(),
            state[:5],
            path.score(index),
            track=number,
            frame=index,
            is_detected=path.is_find(index),
        )


def _is_doubtful(path: Path) -> bool:
    """Whether a face was seen only once, and not clearly."""
    return path.num_finds == 1 and path.best_score < _CLEAR_SCORE
