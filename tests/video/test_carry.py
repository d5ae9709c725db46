"""Restored faces, carried to frames that the network does not see."""

import cv2
import numpy as np
import pytest
from fakes import scene

from memgan.video.carry import KeyFace, carry, steadied

SIZE = 256
SHARP = scene(SIZE, SIZE, seed=5)
BLURRED = cv2.GaussianBlur(SHARP, (0, 0), 2)


def moved(image: np.ndarray, x: float, y: float) -> np.ndarray:
    matrix = np.float64([[1, 0, x], [0, 1, y]])
    return cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def error(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference without the edges, in levels."""
    inner = slice(24, -24)
    return float(np.abs(first.astype(float) - second)[inner, inner].mean())


def test_a_face_that_does_not_move_gets_the_picture_of_the_frame_before() -> None:
    carried = carry(BLURRED, 1, [KeyFace(0, BLURRED, SHARP)])
    assert carried.dtype == np.uint8
    assert np.abs(carried.astype(int) - SHARP).max() <= 1


def test_detail_moves_along() -> None:
    now, wanted = moved(BLURRED, 3, -2), moved(SHARP, 3, -2)
    carried = carry(now, 1, [KeyFace(0, BLURRED, SHARP)])
    assert error(carried, wanted) < 0.35 * error(now, wanted)
    assert error(carried, wanted) < 0.35 * error(SHARP, wanted)


def test_light_follows_the_frame() -> None:
    brighter = cv2.add(BLURRED, np.full_like(BLURRED, 12))
    carried = carry(brighter, 1, [KeyFace(0, BLURRED, SHARP)])
    assert error(carried, cv2.add(SHARP, np.full_like(SHARP, 12))) < 2.5
    assert abs(carried.mean() - brighter.mean()) < 1


def test_what_is_new_stays_as_it_is() -> None:
    now = BLURRED.copy()
    now[100:140, 60:200] = 20  # something passes
    carried = carry(now, 1, [KeyFace(0, BLURRED, SHARP)])
    assert np.abs(carried[110:130, 80:180].astype(int) - 20).max() <= 3
    assert error(carried[:88], SHARP[:88]) < 0.5 * error(now[:88], SHARP[:88])


def test_the_nearer_of_two_frames_counts_more() -> None:
    dark, brighter = SHARP // 2, SHARP // 2 + np.uint8(20)
    keys = [KeyFace(0, BLURRED, dark), KeyFace(4, BLURRED, brighter)]
    shares = [(carry(BLURRED, index, keys).astype(float) - dark).mean() / 20 for index in (1, 2, 3)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75], atol=0.01)


def drawn(seed: int) -> np.ndarray:
    """The sharp face as a network draws it anew in each frame."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, SHARP.shape), (0, 0), 1)
    return np.clip(SHARP + 20 * noise, 0, 255).astype(np.uint8)


def steady(frames: int, steadiness: float, x: float = 0.0) -> list[np.ndarray]:
    """A face that moves by ``x`` pixels a frame, as it is shown."""
    shown: list[np.ndarray] = []
    for number in range(frames):
        crop, output = moved(BLURRED, x * number, 0), moved(drawn(number), x * number, 0)
        if shown:
            before = KeyFace(number - 1, moved(BLURRED, x * (number - 1), 0), shown[-1])
            output = steadied(output, crop, before, steadiness)
        shown.append(output)
    return shown


@pytest.mark.parametrize("x", [0.0, 0.6])
def test_what_is_drawn_anew_in_each_frame_is_averaged_out(x: float) -> None:
    alone, held = steady(12, 0.0, x), steady(12, 0.8, x)
    np.testing.assert_array_equal(alone[-1], moved(drawn(11), x * 11, 0))
    truth = moved(SHARP, x * 11, 0)
    assert error(held[-1], truth) < 0.7 * error(alone[-1], truth)
    before = moved(held[-2], x, 0), moved(alone[-2], x, 0)
    assert error(held[-1], before[0]) < 0.4 * error(alone[-1], before[1])


def test_what_changes_is_shown_at_once() -> None:
    crop, output = BLURRED.copy(), SHARP.copy()
    crop[100:140, 60:200] = output[100:140, 60:200] = 20
    shown = steadied(output, crop, KeyFace(0, BLURRED, SHARP), 0.9)
    assert np.abs(shown[108:132, 70:190].astype(int) - 20).max() <= 1


def test_another_scene_is_shown_at_once() -> None:
    crop, output = BLURRED[::-1, ::-1].copy(), SHARP[::-1, ::-1].copy()
    shown = steadied(output, crop, KeyFace(0, BLURRED, SHARP), 0.9)
    assert error(shown, output) < 1.5


def test_a_change_of_the_output_alone_comes_in() -> None:
    """Such as that of lids that hardly show in the input."""
    output = SHARP // 2
    output[100:140, 100:160] += 60
    shown = steadied(output, BLURRED, KeyFace(0, BLURRED, SHARP // 2), 0.9)
    part = np.s_[112:128, 112:148]
    assert np.abs(shown[part].astype(float) - output[part]).mean() < 2


def test_light_does_not_lag() -> None:
    shown = SHARP // 2
    for number in range(1, 20):  # a fade: everything becomes lighter by two levels a frame
        before = KeyFace(number - 1, BLURRED // 2 + np.uint8(2 * number - 2), shown)
        shown = steadied(SHARP // 2 + np.uint8(2 * number), BLURRED // 2 + np.uint8(2 * number), before, 0.9)
    assert np.abs(shown.astype(float) - (SHARP // 2 + np.uint8(38))).mean() < 1
