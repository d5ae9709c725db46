"""What is known of a track, and that it can be written down."""

import json

import numpy as np
import pytest

from memgan.errors import DataError
from memgan.video.tracks import FrameFaces, Track, TrackedFace, collect_tracks


def face(track: int, frame: int, side: float, score: float = 0.9, is_detected: bool = True) -> TrackedFace:
    """A square face at (10, 20)."""
    landmarks = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]]) * side + (10, 20)
    box = np.array([10, 20, 10 + side, 20 + side], np.float32)
    return TrackedFace(box, landmarks.astype(np.float32), score, track=track, frame=frame, is_detected=is_detected)


def frames(*faces: TrackedFace) -> list[FrameFaces]:
    return [
        FrameFaces(index, [face for face in faces if face.frame == index], index == 0)
        for index in range(max(face.frame for face in faces) + 1)
    ]


def test_tracks_are_collected() -> None:
    faces = [face(1, 0, 30), face(0, 1, 50), face(1, 1, 31, 0.95, False), face(1, 3, 35)]
    first, second = collect_tracks(frames(*faces))
    assert (first.number, first.first, first.last) == (0, 1, 1)
    assert (second.number, second.first, second.last) == (1, 0, 3)
    assert second.frames.tolist() == [0, 1, 3] and second.is_detected.tolist() == [True, False, True]
    assert second.score == 0.95
    for given, kept in zip([faces[0], faces[2], faces[3]], second.faces, strict=True):
        assert (kept.track, kept.frame, kept.score) == (given.track, given.frame, given.score)
        assert kept.is_detected == given.is_detected
        np.testing.assert_array_equal(kept.landmarks, given.landmarks)
        np.testing.assert_array_equal(kept.box_xyxy, given.box_xyxy)
    assert collect_tracks([]) == []
    assert collect_tracks([FrameFaces(0, [], True)]) == []


@pytest.mark.parametrize(
    ("sides", "typical"), [([40], 0), ([10, 90, 50], 2), ([10, 90, 50, 40], 3), ([40, 20, 40, 60], 0)]
)
def test_the_typical_face_has_the_median_area(sides: list[float], typical: int) -> None:
    faces = [face(0, frame, side, 0.8 + frame / 100) for frame, side in enumerate(sides)]
    (track,) = collect_tracks(frames(*faces))
    assert track.area == sides[typical] ** 2
    assert track.typical.frame == typical and track.typical.area == track.area
    assert track.typical.score == track.score == max(face.score for face in faces)


def test_json_keeps_every_bit() -> None:
    generator = np.random.default_rng(0)
    count = 20
    track = Track(
        3,
        np.arange(7, 7 + count),
        generator.normal(100, 30, (count, 4)).astype(np.float32),
        generator.normal(100, 30, (count, 5, 2)).astype(np.float32),
        generator.uniform(0, 1, count),
        generator.uniform(0, 1, count) > 0.5,
    )
    read = Track.from_json(json.loads(json.dumps(track.as_json())))
    assert read.number == 3
    for name in ("frames", "boxes", "landmarks", "scores", "is_detected"):
        before, after = getattr(track, name), getattr(read, name)
        assert before.dtype == after.dtype and before.tobytes() == after.tobytes(), name
    assert "Track(" in repr(track) and len(repr(track)) < 300


@pytest.mark.parametrize(
    "change",
    [
        {"number": None},
        {"frames": []},
        {"frames": [0, 1]},
        {"boxes": [[1, 2, 3]]},
        {"landmarks": "none"},
        {"frames": [[0]]},
        {"number": 1e999},
    ],
)
def test_what_is_no_track(change: dict[str, object]) -> None:
    values = collect_tracks(frames(face(0, 0, 30)))[0].as_json()
    with pytest.raises(DataError, match=r"is no track .* give what Track\.as_json gave"):
        Track.from_json({**values, **change})
    with pytest.raises(DataError):
        Track.from_json([change])
