"""Holds one face's way through a shot: finds of the detector, links made by the flow, and the curve through both."""

from typing import NamedTuple

import numpy as np

from memgan.faces.align import Face
from memgan.video.flow import follow, look_of, moved, size_of, state_of
from memgan.video.similarity import Similarity
from memgan.video.smoothing import RADIUS, smoothed

# Standard deviations, as shares of the size of the face. Measured on films of talking faces: landmarks of the detector
# 0.003 to 0.01; a step of the flow far less.
_FIND_NOISE = 0.004
_STEP_NOISE, _LEAST_STEP_PX = 0.0005, 0.03
_STEP_SHARE = 0.3  # of the distances that a step leaves: what a similarity cannot describe, such as a turning head
_LOST_NOISE = 0.05  # from frame to frame, of a face that is not followed
_FIXED = 1e-3  # of the noise of a find: a position that stays
_SMOOTHED_NOISE = 0.0006  # of a curve of finds and steps, from frame to frame
_LEAST_SMOOTHED_PX = 0.04

_LIKE_ITSELF = (
    0.4  # least correlation with its look at the last find; the same face turned and lit otherwise: above 0.5
)
_FILLED = 4  # frames of a gap across which a face is followed, or filled in though the detector missed it
_NEWEST = 0.5  # share of the newest step in the velocity


class _Place(NamedTuple):
    """Where a face is, and the picture in which it can be followed from there."""

    frame: int
    state: np.ndarray
    gray: np.ndarray
    """(h, w) uint8."""


class _Link(NamedTuple):
    """How far a face moves from one frame to a later one, usually the next."""

    start: int
    stop: int
    shift: np.ndarray
    """(7, 2), of the state."""
    noise: float
    """Standard deviation of the shift in pixels."""


class Path:
    """A face in one shot, from its first frame on. Frames are counted over the film."""

    def __init__(self, index: int, face: Face, rgb: np.ndarray, gray: np.ndarray, scale: float) -> None:
        """``face`` was found in frame ``index``; ``gray`` is the frame at ``scale`` of its size."""
        self.number: int | None = None
        """Given when the first frame is."""
        self.end: int | None = None
        """The frame after the last; ``None`` while the face is still followed."""
        self.first = self._newest = index
        self._scale = scale
        self._velocity: np.ndarray | None = None  # of the middle of the box, in pixels per frame
        self._finds: dict[int, np.ndarray] = {}
        self._scores: dict[int, float] = {}
        self._links: list[_Link] = []
        self._shown: set[int] = set()
        self._curve: dict[int, np.ndarray] = {}
        self.best_score, self.num_finds = face.score, 0
        self._add_find(index, face, rgb, gray)

    def _add_find(self, index: int, face: Face, rgb: np.ndarray, gray: np.ndarray) -> None:
        state = state_of(face)
        self._tip = _Place(index, state, gray)
        self.last_seen = index
        self.first_missed: int | None = None
        """The first frame since the last find in which the detector looked, and did not see it."""
        self.best_score, self.num_finds = max(self.best_score, face.score), self.num_finds + 1
        self._finds[index], self._scores[index] = state, face.score
        self._shown.add(index)
        self.look = look_of(rgb, state)
        self._gray_look = look_of(gray, self._shrunk(state))

    @property
    def tip(self) -> np.ndarray:
        """The state in the newest frame in which it was found or followed."""
        return self._tip.state

    @property
    def is_lost(self) -> bool:
        """The flow has not followed it into the newest frame."""
        return self._tip.frame < self._newest

    @property
    def expected(self) -> np.ndarray:
        """The state in the newest frame; of a lost face by the speed that it had."""
        state: np.ndarray = self.tip + self._speed * (self._newest - self._tip.frame)
        return state

    @property
    def _speed(self) -> np.ndarray:
        return np.zeros(2) if self._velocity is None else self._velocity

    def score(self, index: int) -> float:
        """Of the last find up to this frame, or else of the first."""
        return self._scores[max((seen for seen in self._scores if seen <= index), default=min(self._scores))]

    def shows(self, index: int) -> bool:
        """Whether the face is taken to be in sight in a frame."""
        return index in self._shown and (self.end is None or index < self.end)

    def is_find(self, index: int) -> bool:
        """Whether the detector saw it there."""
        return index in self._finds

    def advance(self, gray: np.ndarray) -> None:
        """Follow the face into the next frame: from where it was last, if it was lost for a few frames only."""
        self._newest += 1
        before, ahead = self._tip, self._newest - self._tip.frame
        moved_by = self._follow(before, gray, self._speed * ahead) if ahead <= _FILLED + 1 else None
        if moved_by is None:
            return
        shift, noise = moved_by
        self._links.append(_Link(before.frame, self._newest, shift, noise))
        self._shown.update(range(before.frame + 1, self._newest + 1))
        velocity = _middle(shift) / ahead
        self._velocity = velocity if self._velocity is None else self._velocity + _NEWEST * (velocity - self._velocity)
        self._tip = _Place(self._newest, before.state + shift, gray)

    def see(self, face: Face, rgb: np.ndarray, grays: list[np.ndarray]) -> None:
        """The detector saw the face in the newest frame; ``grays`` are the frames from the key frame before to it."""
        index, last_seen = self._newest, self.last_seen
        self._add_find(index, face, rgb, grays[-1])
        self._go_back(grays)
        gap: list[int] = []
        for frame in range(last_seen + 1, index + 1):
            if frame not in self._shown:
                gap.append(frame)
                continue
            if len(gap) <= _FILLED:
                self._shown.update(gap)
            gap = []

    def begin(self, grays: list[np.ndarray]) -> None:
        """Look for the face, which is new, in the frames before: all of ``grays`` but the first and the last."""
        self.first = self._newest - self._go_back(grays[1:])

    def _go_back(self, grays: list[np.ndarray]) -> int:
        """Follow the face backwards through frames that end with the newest; returns in how many."""
        after, velocity = self._tip, np.zeros(2)
        for frame, gray in zip(range(self._newest - 1, 0, -1), grays[-2::-1], strict=False):
            back = after.frame - frame
            moved_by = self._follow(after, gray, velocity * back) if back <= _FILLED + 1 else None
            if moved_by is None:
                continue
            shift, noise = moved_by
            self._links.append(_Link(frame, after.frame, -shift, noise))
            self._shown.update(range(frame, after.frame))
            velocity = _middle(shift) / back
            after = _Place(frame, after.state + shift, gray)
        return self._newest - after.frame

    def close(self, end: int) -> None:
        """The face is gone: it was in sight, up to frame ``end``, for as long as the flow followed it."""
        self.end = self.last_seen + 1
        while self.end < end and self.end in self._shown:
            self.end += 1

    def _follow(self, start: _Place, gray: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, float] | None:
        """The shift of the state, and its noise, to where the face looks like itself."""
        small = self._shrunk(start.state)
        step = follow(start.gray, gray, small, Similarity(1, complex(*(guess * self._scale))))
        if step is None:
            return None
        there = moved(small, step.similarity)
        if look_of(gray, there) @ self._gray_look < _LIKE_ITSELF:
            return None
        noise = max(_STEP_NOISE * size_of(small), _LEAST_STEP_PX) + _STEP_SHARE * step.noise
        return (there - small) / self._scale, noise / self._scale

    def _shrunk(self, state: np.ndarray) -> np.ndarray:
        return (state + 0.5) * self._scale - 0.5

    def solve(self, given: int) -> None:
        """Draw the curve that fits finds and links best, from where it was when frame ``given`` was given away.

        Weighted least squares: each link says how far two frames are apart, each find where one is. Positions up to
        ``given`` stay, so that the curve goes on from there without a jump. What nothing is known of stays where it is.
        """
        last = self._newest if self.end is None else self.end - 1
        start = max(self.first, given)
        count = last - start + 1
        if count < 1:
            return
        size = size_of(self.tip)
        matrix, target = np.zeros((count, count)), np.zeros((count, 14))

        def pull(frame: int, state: np.ndarray, noise: float) -> None:
            matrix[frame - start, frame - start] += 1 / noise**2
            target[frame - start] += state.ravel() / noise**2

        def tie(first: int, second: int, shift: np.ndarray, noise: float) -> None:
            pull(first, -shift, noise)
            pull(second, shift, noise)
            matrix[first - start, second - start] -= 1 / noise**2
            matrix[second - start, first - start] -= 1 / noise**2

        if start in self._curve:
            pull(start, self._curve[start], _FIXED * _FIND_NOISE * size)
        for frame, state in self._finds.items():
            if start <= frame <= last and (frame > start or start not in self._curve):
                pull(frame, state, _FIND_NOISE * size)
        for frame in range(start, last):
            tie(frame, frame + 1, np.zeros((7, 2)), _LOST_NOISE * size)
        for link in self._links:
            if start <= link.start and link.stop <= last:
                tie(*link)
        for frame, state in enumerate(np.linalg.solve(matrix, target), start):
            self._curve[frame] = state.reshape(7, 2)

    def at(self, index: int) -> np.ndarray:
        """The smoothed state in a frame in which the face is shown."""
        first = last = index
        while first > index - RADIUS and self.shows(first - 1) and first - 1 in self._curve:
            first -= 1
        while last < index + RADIUS and self.shows(last + 1) and last + 1 in self._curve:
            last += 1
        states = np.stack([self._curve[frame] for frame in range(first, last + 1)])
        noise = max(_SMOOTHED_NOISE * size_of(self.tip), _LEAST_SMOOTHED_PX / self._scale)
        return smoothed(states, index - first, noise)

    def forget(self, given: int) -> None:
        """Drop what is not needed any more when frames up to ``given`` have been given away."""
        oldest = given - RADIUS
        self._finds = {index: state for index, state in self._finds.items() if index >= oldest}
        self._links = [link for link in self._links if link.start >= oldest]
        self._curve = {index: state for index, state in self._curve.items() if index >= oldest}
        self._shown = {index for index in self._shown if index >= oldest}
        last_score = max((index for index in self._scores if index <= oldest), default=oldest)
        self._scores = {index: score for index, score in self._scores.items() if index >= last_score}


def _middle(shift: np.ndarray) -> np.ndarray:
    """(2,): of the middle of the box."""
    middle: np.ndarray = shift[5:].mean(axis=0)
    return middle
