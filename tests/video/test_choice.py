"""Which tracks are restored: of a whole film, and of frames as they come in."""

import dataclasses

import numpy as np
import pytest

from memgan.faces.align import FFHQ_TEMPLATE
from memgan.restoration.options import RestoreOptions
from memgan.video.choice import StreamChoice, choose_tracks
from memgan.video.tracks import FrameFaces, Track, TrackedFace, collect_tracks

WIDTH, HEIGHT = 640, 360


def face(track: int, frame: int, x: float, side: float, score: float = 0.99) -> TrackedFace:
    """A face in the middle row."""
    landmarks = (FFHQ_TEMPLATE - (258, 282)) * side / 372 + (x, HEIGHT / 2)
    box = np.array([x - side / 2, HEIGHT / 2 - side / 2, x + side / 2, HEIGHT / 2 + side / 2], np.float32)
    return TrackedFace(box, landmarks.astype(np.float32), score, track=track, frame=frame, is_detected=True)


FILM = [
    FrameFaces(0, [face(0, 0, 100, 80), face(1, 0, 330, 60)], True),
    FrameFaces(1, [face(0, 1, 100, 40), face(1, 1, 330, 60)], False),
    FrameFaces(2, [face(0, 2, 100, 40), face(1, 2, 330, 60), face(2, 2, 500, 90, 0.5)], False),
    FrameFaces(3, [face(1, 3, 330, 60), face(2, 3, 500, 90, 0.95)], False),
    FrameFaces(4, [face(3, 4, 500, 10)], True),
]


def tracks() -> list[Track]:
    return collect_tracks(FILM)


def names(options: RestoreOptions) -> tuple[list[int], dict[int, str]]:
    chosen, others = choose_tracks(tracks(), options, WIDTH, HEIGHT)
    return [track.number for track in chosen], {track.number: reason for track, reason in others}


def test_all_are_chosen_but_what_is_too_small() -> None:
    assert names(RestoreOptions()) == ([2, 1, 0], {3: "too small"})
    assert names(RestoreOptions(min_eye_distance=0)) == ([2, 1, 0, 3], {})


@pytest.mark.parametrize(
    ("options", "chosen", "others"),
    [
        ({"min_face_size": 50}, [2, 1], {0: "too small", 3: "too small"}),
        ({"max_face_size": 70}, [1, 0], {2: "too large", 3: "too small"}),
        ({"score_threshold": 0.97}, [1, 0], {2: "doubtful", 3: "too small"}),
        ({"score_threshold": 0.9}, [2, 1, 0], {3: "too small"}),
        ({"face_index": (0,)}, [2], {0: "not chosen", 1: "not chosen", 3: "too small"}),
        ({"face_index": (2, 1)}, [0, 1], {2: "not chosen", 3: "too small"}),
        ({"face_index": (0,), "max_face_size": 70}, [1], {0: "not chosen", 2: "too large", 3: "too small"}),
        ({"face_index": (7,)}, [], {0: "not chosen", 1: "not chosen", 2: "not chosen", 3: "too small"}),
        ({"only_center_face": True}, [1], {0: "not chosen", 2: "not chosen", 3: "too small"}),
        ({"only_center_face": True, "face_index": (0, 2)}, [2], {0: "not chosen", 1: "not chosen", 3: "too small"}),
    ],
)
def test_options_decide_per_track(options: dict[str, object], chosen: list[int], others: dict[int, str]) -> None:
    # In frame 0 face 0 is larger than 70 px, in frame 2 face 2 is doubtful: a track is one whole.
    assert names(RestoreOptions(**options)) == (chosen, others)  # type: ignore[arg-type]


def test_of_equal_areas_the_earlier_is_first() -> None:
    film = [FrameFaces(0, [face(0, 0, 300, 50)], True), FrameFaces(1, [face(1, 1, 300, 50)], False)]
    for given in (collect_tracks(film), collect_tracks(film)[::-1]):
        chosen, _ = choose_tracks(given, RestoreOptions(face_index=(0,)), WIDTH, HEIGHT)
        assert [track.number for track in chosen] == [0]


def test_no_tracks() -> None:
    assert choose_tracks([], RestoreOptions(face_index=(0,), only_center_face=True), WIDTH, HEIGHT) == ([], [])


def stream(options: RestoreOptions, film: list[FrameFaces]) -> list[tuple[list[int], dict[int, str]]]:
    choice, result = StreamChoice(options, WIDTH, HEIGHT), []
    for frame in film:
        chosen, left_alone = choice.choose(frame)
        reasons = {found.face.track: found.reason for found in left_alone if isinstance(found.face, TrackedFace)}
        assert len(chosen) + len(reasons) == len(frame.faces)
        result.append(([face.track for face in chosen], reasons))
    return result


def test_a_stream_decides_once_per_track() -> None:
    too_small = {3: "too small"}
    assert stream(RestoreOptions(), FILM) == [
        ([0, 1], {}),
        ([0, 1], {}),
        ([0, 1, 2], {}),
        ([1, 2], {}),
        ([], too_small),
    ]
    # 80 px at first and 40 px later; 0.5 at first and 0.95 later.
    options = RestoreOptions(min_face_size=70, score_threshold=0.9)
    small, doubtful = {1: "too small"}, {2: "doubtful"}
    expected = [([0], small), ([0], small), ([0], small | doubtful), ([], small | doubtful), ([], {3: "doubtful"})]
    film = [*FILM[:4], FrameFaces(4, [dataclasses.replace(FILM[4].faces[0], score=0.3)], True)]
    assert stream(options, film) == expected


def test_a_stream_counts_the_faces_of_the_frame_in_which_a_track_begins() -> None:
    others = "not chosen"
    assert stream(RestoreOptions(face_index=(0,)), FILM[:4]) == [
        ([0], {1: others}),
        ([0], {1: others}),
        ([0, 2], {1: others}),
        ([2], {1: others}),
    ]
    assert stream(RestoreOptions(only_center_face=True), FILM[:4]) == [
        ([1], {0: others}),
        ([1], {0: others}),
        ([1], {0: others, 2: others}),
        ([1], {2: others}),
    ]
