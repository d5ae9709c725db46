"""Restored faces, carried to frames that the network does not see."""

import cv2
import numpy as np
from fakes import scene

from memgan.video.carry import KeyFace, carry

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
