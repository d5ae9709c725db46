"""The plan of a film: which faces are restored in which frame, and how strongly."""

import json

import numpy as np
import pytest
from fakes import face_at

from memgan.errors import FaceIndexError
from memgan.restoration.options import RestoreOptions
from memgan.video.film_faces import FilmFaces, PlannedTrack, json_of_left_alone, json_of_tracks, plan_tracks
from memgan.video.tracks import Track


def track(number: int, *frames: int, side: float = 64.0) -> Track:
    faces = [face_at(60 + frame, 50, side) for frame in frames]
    return Track(
        number,
        np.array(frames, np.int64),
        np.stack([face.box_xyxy for face in faces]),
        np.stack([face.landmarks for face in faces]),
        np.full(len(frames), 0.9),
        np.ones(len(frames), bool),
    )


def keys(faces: FilmFaces, start: int = 0) -> list[list[tuple[int, bool]]]:
    """Of each frame: the tracks in it, and whether the network sees them."""
    return [[(face.track, face.is_key) for face in found] for found in faces.works(start)]


def test_faces_are_in_the_frames_of_their_tracks() -> None:
    faces = FilmFaces([PlannedTrack(track(1, 1, 2, 3), 0.5, 0.25), PlannedTrack(track(0, 0, 1), 1.0, 0.0)], 5)
    found = list(faces.works())
    assert [[face.track for face in works] for works in found] == [[0], [0, 1], [1], [1], []]
    work = found[2][0]
    assert (work.weight, work.fidelity, work.sharpness, work.is_key, work.runs) == (0.5, 0.25, None, True, True)
    np.testing.assert_array_equal(work.face.landmarks, face_at(62, 50).landmarks)


def test_the_network_sees_every_nth_frame_and_the_first_one_after_a_gap() -> None:
    faces = FilmFaces([PlannedTrack(track(0, 1, 2, 3, 4, 7, 8, 9, 10), 1.0, 0.0)], 11, every=3)
    seen = [is_key for found in keys(faces) for _, is_key in found]
    assert seen == [True, False, False, True, True, False, False, True]


def test_a_plan_may_begin_later() -> None:
    planned = [PlannedTrack(track(0, *range(8)), 1.0, 0.0)]
    assert keys(FilmFaces(planned, 8, every=3), 5) == [[(0, False)], [(0, True)], [(0, False)]]


def test_a_track_of_no_strength_is_not_there() -> None:
    faces = FilmFaces([PlannedTrack(track(0, 0, 1), 0.0, 0.0)], 2)
    assert keys(faces) == [[], []] and not faces.changes


def test_sharpness_moves_slowly_and_sharp_faces_do_not_run() -> None:
    planned = PlannedTrack(track(0, *range(81)), 1.0, 0.0)
    assert planned.sample_frames() == list(range(0, 81, 8))
    planned.looks = [(frame, 1.0 if frame < 40 else 0.0) for frame in planned.sample_frames()]
    curve = [planned.sharpness(frame) for frame in range(81)]
    assert curve[:17] == [1.0] * 17 and curve[64:] == [0.0] * 17
    assert min(np.diff(curve)) > -0.026 and max(np.diff(curve)) == 0  # a fifth in eight frames
    runs = [found[0].runs for found in FilmFaces([planned], 81).works()]
    assert runs == [value != 1 for value in curve]
    carried = [found[0] for found in FilmFaces([planned], 81, every=8).works()]
    assert carried[24].runs and carried[24].is_key and carried[23].runs
    assert FilmFaces([planned], 81).changes
    planned = PlannedTrack(planned.track, 1.0, 0.0, looks=[(0, 1.0), (8, 1.0)])
    assert not FilmFaces([planned], 81).changes


def test_key_faces_that_are_carried_into_blur_run_although_they_are_sharp() -> None:
    planned = PlannedTrack(track(0, *range(20)), 1.0, 0.0)
    planned.looks = [(0, 1.0), (1, 1.0), (2, 1.0), (16, 0.0)]
    curve = [planned.sharpness(frame) for frame in range(20)]
    assert curve[0] == 1.0 and curve[4] is not None and curve[4] < 1
    works = [found[0] for found in FilmFaces([planned], 20, every=8).works()]
    assert works[0].is_key and works[0].runs  # for frame 4


@pytest.mark.parametrize("count", [1, 3, 8, 9, 100])
def test_the_identity_is_asked_for_in_frames_that_are_looked_at(count: int) -> None:
    planned = PlannedTrack(track(0, *range(5, 5 + count)), 1.0, 0.0)
    asked = planned.gate_frames()
    assert set(asked) <= set(planned.sample_frames())
    assert len(asked) == min(3, len(planned.sample_frames()))


def test_settings_are_counted_in_the_order_of_the_tracks() -> None:
    options = RestoreOptions(weight={1: 0.5}, fidelity={0: 1.0})  # type: ignore[arg-type]
    planned = plan_tracks([track(7, 0), track(3, 0)], options)
    assert [(one.weight, one.fidelity) for one in planned] == [(1.0, 1.0), (0.5, 0.0)]
    with pytest.raises(FaceIndexError, match="weight names face 1"):
        plan_tracks([track(7, 0)], options)


def test_a_plan_survives_json_exactly() -> None:
    planned = PlannedTrack(track(2, 1, 2, 5), 1 / 3, 0.1, 0.2, [(1, 2 / 3), (5, 0.1)])
    plan = FilmFaces([planned], 7, 100, 2, [(track(4, 3), "too small")])
    again = FilmFaces.from_json(json.loads(json.dumps(plan.as_json())))
    assert again.as_json() == plan.as_json()
    for one, other in zip(plan.works(), again.works(), strict=True):
        assert [(face.weight, face.sharpness, face.is_key) for face in one] == [
            (face.weight, face.sharpness, face.is_key) for face in other
        ]
        for face, twin in zip(one, other, strict=True):
            np.testing.assert_array_equal(face.face.landmarks, twin.face.landmarks)


def test_records_count_the_frames_of_the_film() -> None:
    planned = PlannedTrack(track(2, 1, 2, 5), 0.5, 0.1, 0.23456, [(1, 0.2), (5, 0.4)])
    plan = FilmFaces([planned], 7, 100, 1, [(track(4, 3), "too small")])
    (row,) = json_of_tracks(plan)
    assert row["frames"] == [101, 105] and sorted(row["boxes_xyxy"]) == ["101", "102", "105"]
    assert (row["strength"], row["sharpness"], row["fidelity"], row["identity_distance"]) == (0.35, 0.3, 0.1, 0.2346)
    (left,) = json_of_left_alone(plan)
    assert left["frames"] == [103, 103] and left["reason"] == "too small"
