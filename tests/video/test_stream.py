"""Frames of a camera: in order, delayed by a known number, restored."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.errors import FilmError, ImageError
from memgan.runtime.per_face import PerFace
from memgan.video import VideoOptions, VideoRestorer

pytest.importorskip("scipy")
FRAME = scene()


def made(every: int = 1, **options: object) -> tuple[FakeNetwork, VideoRestorer]:
    network = FakeNetwork(1.0, 0.2)
    own = {"upscale": 1, "color_lock": False, "grain": 0, **options}
    restorer = MemGANRestorer(network=network, detector=FakeDetector(face_at(60, 60, 48)), device="cpu", **own)
    return network, VideoRestorer(restorer, VideoOptions(every=every))


def test_every_frame_comes_back_in_order_with_its_face_restored() -> None:
    network, video = made()
    frames = [np.clip(FRAME.astype(int) + index, 0, 255).astype(np.uint8) for index in range(20)]
    results = list(video.stream(frames))
    assert len(results) == 20 and len(network.batches) == 20
    for frame, result in zip(frames, results, strict=True):
        np.testing.assert_array_equal(result[:20], frame[:20])
        change = result[55:65, 55:65].astype(float) - frame[55:65, 55:65]
        assert change.mean() == pytest.approx(0.2 * 127.5, abs=1.5)


def test_frames_without_a_face_come_back_as_they_are() -> None:
    restorer = MemGANRestorer(network=FakeNetwork(), detector=FakeDetector(), device="cpu", upscale=1)
    results = list(VideoRestorer(restorer).stream([FRAME] * 20))
    assert len(results) == 20 and all(np.array_equal(result, FRAME) for result in results)


@pytest.mark.parametrize("every", [1, 4])
def test_the_delay_is_what_it_says(every: int) -> None:
    network, video = made(every)
    taken = 0

    def camera() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield FRAME

    most = 0
    for count, _ in enumerate(video.stream(camera()), 1):
        most = max(most, taken - count)
        if count == 60:
            break
    assert 0 < most <= video.delay
    if every == 4:
        assert len(network.batches) <= 60 / 4 + video.delay / 4 + 1


def test_results_have_the_form_of_the_frames() -> None:
    _, video = made(upscale=2)
    deep = FRAME.astype(np.uint16) * 257
    (result,) = video.stream([deep])
    assert result.dtype == np.uint16 and result.shape == (240, 320, 3)
    alpha = np.dstack([FRAME, np.full(FRAME.shape[:2], 200, np.uint8)])
    (result,) = made()[1].stream([alpha])
    np.testing.assert_array_equal(result[:, :, 3], 200)
    (result,) = made()[1].stream([FRAME[:, :, 0]])
    assert result.shape == FRAME.shape[:2]


def test_no_frames_give_none() -> None:
    assert list(made()[1].stream([])) == []


def test_a_frame_of_another_size_is_refused() -> None:
    with pytest.raises(FilmError, match=r"frame 1 has the shape \(60, 160, 3\), those before \(120, 160, 3\)"):
        list(made()[1].stream([FRAME, FRAME[:60]]))
    with pytest.raises(ImageError):
        list(made()[1].stream([np.zeros((4, 4, 7), np.uint8)]))


def test_the_identity_gate_decides_once_for_a_track() -> None:
    asked = []

    def embed(face: np.ndarray) -> np.ndarray:
        asked.append(face)
        return np.array([1.0, 0.0]) if np.array_equal(face, asked[0]) else np.array([0.0, 1.0])  # somebody else

    network, video = made(identity=embed)
    results = list(video.stream([FRAME] * 12))
    assert len(network.batches) == 12 and 2 <= len(asked) <= 5
    for result in results:
        np.testing.assert_array_equal(result, FRAME)


def test_settings_count_tracks() -> None:
    _, video = made()
    video.restorer.options = dataclasses.replace(video.restorer.options, weight=PerFace(((0, 0.0),), 1.0))
    (result,) = video.stream([FRAME])
    np.testing.assert_array_equal(result, FRAME)
