"""Plans a film: which faces are restored in which frame, and how strongly; decided for each track as a whole."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from memgan.restoration.options import RestoreOptions
from memgan.runtime.per_face import PerFace
from memgan.video.frame_restorer import FaceWork
from memgan.video.tracks import Track

SAMPLE_EVERY = 8
"""Frames from one look at a track's sharpness to the next."""
_SMOOTH = 2  # looks before and after that are averaged with each: strength moves slowly
_ONLY_SHARP = 1 - 1e-9


@dataclasses.dataclass
class PlannedTrack:
    """A track that is restored."""

    track: Track
    weight: float
    """Strength asked for and allowed by the identity gate, 0 to 1."""
    fidelity: float
    identity_distance: float | None = None
    """Median over some frames; ``None`` without an identity gate, or if it sees no face."""
    looks: list[tuple[int, float]] = dataclasses.field(default_factory=list)
    """Frames, and how sharp the face is there already, 0 to 1; empty: not asked for."""

    def sample_frames(self) -> list[int]:
        """The frames in which the track is looked at before it is restored."""
        frames: list[int] = self.track.frames[::SAMPLE_EVERY].tolist()
        return frames

    def gate_frames(self, count: int = 3) -> list[int]:
        """Those of them in which the identity is asked for, spread over the track."""
        frames = self.sample_frames()
        return sorted({frames[round((number + 0.5) / count * len(frames) - 0.5)] for number in range(count)})

    def is_key(self, index: int, every: int) -> bool:
        """Whether the network sees the track in a frame: every so many frames, and after each gap."""
        place = int(np.searchsorted(self.track.frames, index))
        return bool((index - self._run_starts[place]) % every == 0)

    @functools.cached_property
    def _run_starts(self) -> np.ndarray:
        """For each frame of the track, the first one of those that follow one another up to it."""
        frames = self.track.frames
        begins = np.append(True, np.diff(frames) != 1)
        starts: np.ndarray = frames[begins][np.cumsum(begins) - 1]
        return starts

    def sharpness(self, index: int) -> float | None:
        """In a frame: between the looks, each averaged with its neighbors."""
        if not self.looks:
            return None
        between = float(np.interp(index, *self._smooth_looks))
        return 1.0 if between > _ONLY_SHARP else between

    @functools.cached_property
    def _smooth_looks(self) -> tuple[np.ndarray, np.ndarray]:
        frames, values = (np.array(column) for column in zip(*self.looks, strict=True))
        around = range(len(values))
        return frames, np.array([values[max(0, place - _SMOOTH) : place + _SMOOTH + 1].mean() for place in around])


class FilmFaces:
    """The faces of a film, frame by frame; frames are counted from the first one that is restored.

    Args:
        num_frames: of the film, or of the range that is restored.
        first: number of its first frame in the film.
        every: the network sees every so many frames of a track.
    """

    def __init__(
        self,
        planned: Sequence[PlannedTrack],
        num_frames: int,
        first: int = 0,
        every: int = 1,
        left_alone: Sequence[tuple[Track, str]] = (),
    ) -> None:
        self.planned, self.num_frames, self.first, self.every = list(planned), num_frames, first, every
        self.left_alone = list(left_alone)

    @property
    def changes(self) -> bool:
        """Whether any face will look different."""
        return any(
            track.weight > 0 and any(track.sharpness(frame) != 1 for frame in track.sample_frames())
            for track in self.planned
        )

    def works(self, start: int = 0) -> Iterator[list[FaceWork]]:
        """The faces of each frame, from frame ``start`` on."""
        starting = sorted(self.planned, key=lambda one: one.track.first, reverse=True)
        active: list[PlannedTrack] = []
        for index in range(start, self.num_frames):
            while starting and starting[-1].track.first <= index:
                active.append(starting.pop())
            active = [one for one in active if one.track.last >= index]
            works = (self._work(one, index) for one in active)
            yield [work for work in works if work is not None]

    def _work(self, planned: PlannedTrack, index: int) -> FaceWork | None:
        face = planned.track.face_at(index)
        if face is None or planned.weight == 0:
            return None
        is_key = planned.is_key(index, self.every)
        sharp = planned.sharpness(index)
        # A key face that is sharp itself may be carried to frames in which it is not.
        carried = range(index, min(index + self.every, planned.track.last + 1)) if is_key else ()
        return FaceWork(
            face,
            planned.track.number,
            planned.weight,
            planned.fidelity,
            sharp,
            is_key=is_key,
            runs=sharp != 1 or any(planned.sharpness(frame) != 1 for frame in carried),
        )

    def as_json(self) -> dict[str, Any]:
        """All of it, exactly."""
        return {
            "num_frames": self.num_frames,
            "first": self.first,
            "every": self.every,
            "planned": [
                {
                    "track": one.track.as_json(),
                    "weight": one.weight,
                    "fidelity": one.fidelity,
                    "identity_distance": one.identity_distance,
                    "looks": one.looks,
                }
                for one in self.planned
            ],
            "left_alone": [[track.as_json(), reason] for track, reason in self.left_alone],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "FilmFaces":
        """What :meth:`as_json` has given."""
        planned = [
            PlannedTrack(
                Track.from_json(one["track"]),
                one["weight"],
                one["fidelity"],
                one["identity_distance"],
                [(int(frame), float(value)) for frame, value in one["looks"]],
            )
            for one in values["planned"]
        ]
        left_alone = [(Track.from_json(track), reason) for track, reason in values["left_alone"]]
        return cls(planned, values["num_frames"], values["first"], values["every"], left_alone)


def plan_tracks(tracks: Sequence[Track], options: RestoreOptions) -> list[PlannedTrack]:
    """Each track with the strength and the setting of the dial that are asked for; they are counted in this order.

    Raises:
        FaceIndexError: if there is a number for a track that is not there.
    """
    weights, fidelities = (
        given.of_each_face(name, len(tracks)) if isinstance(given, PerFace) else [given] * len(tracks)
        for name, given in (("weight", options.weight), ("fidelity", options.fidelity))
    )
    return list(map(PlannedTrack, tracks, weights, fidelities))


def json_of_tracks(faces: FilmFaces) -> list[dict[str, Any]]:
    """What a record says of the tracks that are restored; frames are the film's."""
    return [
        {"number": number}
        | _json_of_track(one.track, faces.first)
        | {
            "strength": round(one.weight * (1 - _mean_sharpness(one)), 4),
            "sharpness": round(_mean_sharpness(one), 4) if one.looks else None,
            "fidelity": one.fidelity,
            "identity_distance": None if one.identity_distance is None else round(one.identity_distance, 4),
        }
        for number, one in enumerate(faces.planned)
    ]


def json_of_left_alone(faces: FilmFaces) -> list[dict[str, Any]]:
    """What a record says of the tracks that are not restored, and why."""
    return [_json_of_track(track, faces.first) | {"reason": reason} for track, reason in faces.left_alone]


def _json_of_track(track: Track, first: int) -> dict[str, Any]:
    """Its box at the beginning, in the middle and at the end too."""
    places = sorted({0, len(track.frames) // 2, len(track.frames) - 1})
    return {
        "frames": [track.first + first, track.last + first],
        "boxes_xyxy": {
            str(int(track.frames[place]) + first): [round(float(number), 1) for number in track.boxes[place]]
            for place in places
        },
        "score": round(track.score, 4),
    }


def _mean_sharpness(planned: PlannedTrack) -> float:
    return float(np.mean([value for _, value in planned.looks])) if planned.looks else 0.0
