"""Cuts in scenes that are made of known pictures."""

import functools

import cv2
import numpy as np
import pytest

from memgan.video.cuts import LOOK_AHEAD, CutFinder

HEIGHT, WIDTH = 90, 160


@functools.cache
def panorama(seed: int) -> np.ndarray:
    """(2 HEIGHT, 4 WIDTH) uint8: large and small things, much wider than a frame."""
    generator = np.random.default_rng(seed)
    picture = np.zeros((2 * HEIGHT, 4 * WIDTH), np.float32)
    for cell in (6, 15, 40):
        coarse = generator.normal(0, 40, (2 * HEIGHT // cell + 2, 4 * WIDTH // cell + 2)).astype(np.float32)
        picture += cv2.resize(coarse, picture.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + 110, 0, 255).astype(np.uint8)


def view(seed: int, x: int = 200, y: int = 40) -> np.ndarray:
    """(HEIGHT, WIDTH) uint8: a frame of a scene, seen from (x, y)."""
    return panorama(seed)[y : y + HEIGHT, x : x + WIDTH]


def cuts(frames: list[np.ndarray]) -> list[int]:
    finder = CutFinder()
    said = [is_cut for frame in frames if (is_cut := finder.feed(frame)) is not None]
    assert len(said) == max(0, len(frames) - LOOK_AHEAD)
    said += finder.finish()
    assert len(said) == len(frames)
    return [index for index, is_cut in enumerate(said) if is_cut]


def test_hard_cuts() -> None:
    assert cuts([view(seed, 200 + 2 * index) for index, seed in enumerate([0] * 7 + [1] * 9 + [2] * 3 + [3])]) == [
        *(0, 7, 16, 19)
    ]


@pytest.mark.parametrize("count", range(4))
def test_short_films(count: int) -> None:
    assert cuts([view(0)] * count) == [0][:count]
    assert cuts([view(0), view(1)]) == [0, 1]


@pytest.mark.parametrize("speed", [3, 12, 40])
def test_pans_are_no_cuts(speed: int) -> None:
    places = list(range(0, 3 * WIDTH, speed))
    assert cuts([view(0, x) for x in places]) == [0]
    assert cuts([cv2.blur(view(0, x), (max(1, speed // 2), 1)) for x in places]) == [0]  # as a camera sees it


def test_zooms_and_turns_are_no_cuts() -> None:
    frames = []
    for index in range(12):
        matrix = cv2.getRotationMatrix2D((2 * WIDTH, HEIGHT), 3.0 * index, 1.06**index)
        frames.append(cv2.warpAffine(panorama(0), matrix, panorama(0).shape[::-1])[45:135, 240:400])
    assert cuts(frames) == [0]


def test_people_who_come_and_go_are_no_cuts() -> None:
    for width, speed in ((40, 0), (60, 20), (100, 30)):  # one appears at once, two walk across
        frames = [view(0).copy() for _ in range(16)]
        for index, frame in enumerate(frames[4:12], start=4):
            left = 50 if speed == 0 else max(0, speed * (index - 4) - width)
            right = left + width if speed == 0 else speed * (index - 4)
            frame[20:, left:right] = panorama(1)[20:HEIGHT, left : min(right, WIDTH)]
        assert cuts(frames) == [0]


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("kind", ["white", "bright", "black"])
def test_flashes_are_no_cuts(kind: str, length: int) -> None:
    frames = [view(0, 200 + 2 * index) for index in range(12)]
    for index in range(5, 5 + length):
        flash = {"white": 255.0, "black": 0.0}.get(kind, 2.0 * frames[index] + 60)
        frames[index] = np.clip(np.full(frames[index].shape, flash), 0, 255).astype(np.uint8)
    assert cuts(frames) == [0]


def test_light_that_changes_is_no_cut() -> None:
    frames = [np.clip(view(0) * (0.5 if index < 6 else 1.0) + 5, 0, 255).astype(np.uint8) for index in range(12)]
    assert cuts(frames) == [0]


def test_a_flash_at_a_cut_hides_no_cut() -> None:
    frames = [view(0)] * 6 + [np.full((HEIGHT, WIDTH), 255, np.uint8)] + [view(1)] * 6
    assert len(cuts(frames)) in (2, 3)  # one for the new scene, whichever the white frame belongs to
    assert set(cuts(frames)) <= {0, 6, 7}


def test_a_short_shot_is_no_flash() -> None:
    dark = view(1) // 2
    assert cuts([view(0)] * 6 + [dark] * 2 + [view(0)] * 6) == [0, 6, 8]


def test_a_cut_amid_quick_motion() -> None:
    generator = np.random.default_rng(0)
    frames = [
        view(index // 10, 200 + int(x), 40 + int(y)) for index, (x, y) in enumerate(generator.normal(0, 9, (20, 2)))
    ]
    assert cuts(frames) == [0, 10]


def test_dark_and_even_scenes() -> None:
    black = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert cuts([black] * 8) == [0]
    assert cuts([black] * 5 + [view(0)] * 5 + [black] * 5) == [0, 5, 10]


def test_frames_of_any_shape() -> None:
    for shape in ((1, 1), (3, 500), (500, 3), (90, 161)):
        assert cuts([np.full(shape, 90, np.uint8)] * 4) == [0]
