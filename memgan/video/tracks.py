"""Holds faces over time: what is known of one in a frame, and in all frames of a track."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from memgan.errors import DataError, shown
from memgan.faces.align import Face
from memgan.runtime.short_repr import short_repr


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class TrackedFace(Face):
    """A face in one frame of a film. Its score is that of the last find up to this frame, or else of the first."""

    track: int
    """Number of the face's track, from 0 in the order in which they begin; a shot's first frame begins new ones."""
    frame: int
    """Number of the frame, from 0."""
    is_detected: bool
    """Whether the detector saw it in this frame; if not, it was carried there by the flow, or filled in."""

    __repr__ = short_repr


@dataclasses.dataclass(frozen=True, eq=False)
class FrameFaces:
    """What is known of one frame."""

    index: int
    """Number of the frame, from 0."""
    faces: list[TrackedFace]
    """In the order of their tracks' numbers."""
    is_cut: bool
    """Whether the frame begins a shot; the first frame does."""

    __repr__ = short_repr


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """One face from where it comes into sight to where it is gone, within one shot; N frames."""

    number: int
    frames: np.ndarray
    """(N,) int64, rising; a face that was hidden for long is not in the frames of that gap."""
    boxes: np.ndarray
    """(N, 4) float32: left, top, right, bottom."""
    landmarks: np.ndarray
    """(N, 5, 2) float32."""
    scores: np.ndarray
    """(N,) float64."""
    is_detected: np.ndarray
    """(N,) bool."""

    __repr__ = short_repr

    @property
    def first(self) -> int:
        """Number of the first frame."""
        return int(self.frames[0])

    @property
    def last(self) -> int:
        """Number of the last frame, which is part of the track."""
        return int(self.frames[-1])

    @property
    def score(self) -> float:
        """Highest score of its finds: once seen clearly, it is a face."""
        return float(self.scores.max())

    @property
    def area(self) -> float:
        """Median of the areas of its boxes in square pixels (of an even number, the lower one in the middle)."""
        return self._areas[self._typical]

    @property
    def typical(self) -> TrackedFace:
        """The face in the first frame in which its box has the median area, with the score of the track."""
        return dataclasses.replace(self.faces[self._typical], score=self.score)

    @property
    def faces(self) -> list[TrackedFace]:
        """The face in every frame of the track."""
        rows = zip(self.boxes, self.landmarks, self.scores, self.frames, self.is_detected, strict=True)
        return [
            TrackedFace(box, points, float(score), track=self.number, frame=int(frame), is_detected=bool(is_detected))
            for box, points, score, frame, is_detected in rows
        ]

    def face_at(self, frame: int) -> TrackedFace | None:
        """The face in a frame; ``None`` if the track is not there."""
        place = int(np.searchsorted(self.frames, frame))
        if place == len(self.frames) or self.frames[place] != frame:
            return None
        return TrackedFace(
            self.boxes[place],
            self.landmarks[place],
            float(self.scores[place]),
            track=self.number,
            frame=frame,
            is_detected=bool(self.is_detected[place]),
        )

    @property
    def _areas(self) -> list[float]:
        sides = (self.boxes[:, 2:] - self.boxes[:, :2]).astype(np.float64)
        return [float(area) for area in sides.prod(axis=1)]

    @property
    def _typical(self) -> int:
        areas = self._areas
        return areas.index(sorted(areas)[(len(areas) - 1) // 2])

    def as_json(self) -> dict[str, Any]:
        """The track in what JSON knows; :meth:`from_json` gives the same numbers, bit for bit."""
        return {
            "number": self.number,
            "frames": self.frames.tolist(),
            "boxes": self.boxes.tolist(),
            "landmarks": self.landmarks.tolist(),
            "scores": self.scores.tolist(),
            "is_detected": self.is_detected.tolist(),
        }

    @classmethod
    def from_json(cls, values: Any) -> "Track":
        """The track of which :meth:`as_json` gave ``values``.

        Raises:
            DataError: if they are something else.
        """
        try:
            track = cls(
                int(values["number"]),
                np.array(values["frames"], np.int64),
                np.array(values["boxes"], np.float32),
                np.array(values["landmarks"], np.float32),
                np.array(values["scores"], np.float64),
                np.array(values["is_detected"], bool),
            )
            count = len(track.frames)
            shapes = [part.shape for part in (track.boxes, track.landmarks, track.scores, track.is_detected)]
            if not count or track.frames.ndim != 1 or shapes != [(count, 4), (count, 5, 2), (count,), (count,)]:
                raise ValueError("the numbers are of different frames")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{shown(values)} is no track ({error}); give what Track.as_json gave.") from error
        return track


def collect_tracks(frames: Iterable[FrameFaces]) -> list[Track]:
    """The tracks of frames that follow one another, by their numbers; about 100 bytes per face and frame."""
    found: dict[int, list[TrackedFace]] = {}
    for frame in frames:
        for face in frame.faces:
            found.setdefault(face.track, []).append(face)
    return [
        Track(
            number,
            np.array([face.frame for face in faces], np.int64),
            np.stack([face.box_xyxy for face in faces]),
            np.stack([face.landmarks for face in faces]),
            np.array([face.score for face in faces], np.float64),
            np.array([face.is_detected for face in faces], bool),
        )
        for number, faces in sorted(found.items())
    ]
