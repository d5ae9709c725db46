"""Similarities from points, the optical flow of a face, and whether a face looks like itself."""

import cv2
import numpy as np
import pytest

from memgan.faces.align import FFHQ_TEMPLATE, Face
from memgan.video.flow import follow, look_of, moved, size_of, state_of
from memgan.video.similarity import Similarity, fit_similarity


def texture(seed: int, height: int = 200, width: int = 300) -> np.ndarray:
    """(H, W) uint8: blobs of several sizes."""
    generator = np.random.default_rng(seed)
    picture = np.zeros((height, width), np.float32)
    for cell in (5, 12, 30):
        coarse = generator.normal(0, 30, (height // cell + 2, width // cell + 2)).astype(np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture + 120, 0, 255).astype(np.uint8)


def face_at(x: float, y: float, side: float) -> np.ndarray:
    """State of a face whose box is ``side`` high."""
    landmarks = (FFHQ_TEMPLATE - (258, 282)) * side / 372 + (x, y)
    box = np.array([x - 0.4 * side, y - side / 2, x + 0.4 * side, y + side / 2])
    return state_of(Face(box.astype(np.float32), landmarks.astype(np.float32), 1.0))


def around(x: float, y: float, degrees: float, zoom: float, shift: complex) -> Similarity:
    """A turn and a zoom around (x, y), and a shift."""
    factor = zoom * np.exp(1j * np.deg2rad(degrees))
    middle = complex(x, y)
    return Similarity(complex(factor), complex(middle - factor * middle + shift))


def warped(picture: np.ndarray, motion: Similarity) -> np.ndarray:
    factor, shift = motion
    matrix = np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
    return cv2.warpAffine(picture, matrix, picture.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def test_a_similarity_from_points() -> None:
    generator = np.random.default_rng(0)
    motion = around(50, 60, 20, 1.2, 7 - 3j)
    source = generator.uniform(0, 100, (60, 2))
    target = motion(source) + generator.normal(0, 0.1, (60, 2))
    target[:18] += generator.uniform(20, 40, (18, 2))  # a third does something else, and the same
    fit = fit_similarity(source, target, 0.2)
    assert fit is not None
    assert np.abs(fit.similarity(source) - motion(source)).max() < 0.3
    assert fit.similarity.zoom == pytest.approx(1.2, abs=0.005)
    assert (fit.distances[18:] < 1).all() and (fit.distances[:18] > 15).all()


def test_points_without_a_similarity() -> None:
    assert fit_similarity(np.zeros((2, 2)), np.ones((2, 2)), 1.0) is None
    assert fit_similarity(np.ones((9, 2)), np.random.default_rng(0).normal(size=(9, 2)), 1.0) is None


@pytest.mark.parametrize("side", [24.0, 60.0, 150.0])
@pytest.mark.parametrize(
    ("degrees", "zoom", "shift"), [(0, 1, 0), (0, 1, 0.1 + 0.06j), (4, 1.04, 0.03), (-6, 0.95, -0.1j)]
)
def test_a_face_is_followed(side: float, degrees: float, zoom: float, shift: complex) -> None:
    before, state = texture(0), face_at(150, 100, side)
    motion = around(150, 100, degrees, zoom, shift * side)
    step = follow(before, warped(before, motion), state)
    assert step is not None
    errors = moved(state, step.similarity) - moved(state, motion)
    assert np.abs(errors[:5]).max() < 0.004 * side + 0.1
    assert step.noise < 0.01 * side + 0.1


def test_the_background_and_the_mouth_are_not_followed() -> None:
    motion = around(150, 100, 0, 1, 6 + 2j)
    mask = cv2.ellipse(np.zeros((200, 300), np.uint8), ((150, 100), (80, 100), 0), 255, -1)
    face, scene = texture(1), texture(0)
    before = np.where(mask > 0, face, scene)
    after = np.where(warped(mask, motion) > 127, warped(face, motion), scene)
    after[125:150, 135:180] = texture(2)[125:150, 135:180]  # it speaks
    step = follow(before, after, face_at(150, 100, 100))
    assert step is not None
    assert abs(step.similarity(np.array([[150.0, 100.0]])) - (156, 102)).max() < 0.3


def test_light_that_falls_on_a_face() -> None:
    before, state = texture(0) // 4, face_at(150, 100, 60)
    after = np.clip(warped(before, around(150, 100, 0, 1, 5)) * 1.06 + 2, 0, 255).astype(np.uint8)
    step = follow(before, after, state)
    assert step is not None
    assert abs(step.similarity(np.array([[150.0, 100.0]])) - (155, 100)).max() < 0.5


def test_a_dark_face_before_lights() -> None:
    motion = around(150, 100, 0, 1, 12)
    mask = cv2.ellipse(np.zeros((200, 300), np.uint8), ((150, 100), (70, 90), 0), 255, -1)
    dark, lights = 15 + texture(1) // 10, np.where(texture(0) > 140, 255, 40).astype(np.uint8)
    before = np.where(mask > 0, dark, lights)
    after = np.where(warped(mask, motion) > 127, warped(dark, motion), lights)
    noise = np.random.default_rng(0).normal(0, 1, (2, 200, 300))
    before, after = (
        np.clip(picture + grain, 0, 255).astype(np.uint8) for picture, grain in zip((before, after), noise)
    )
    state = face_at(150, 100, 90)
    step = follow(before, after, state)
    assert step is not None
    assert abs(step.similarity(np.array([[150.0, 100.0]])) - (162, 100)).max() < 0.7
    assert look_of(before, state) @ look_of(after, moved(state, motion)) > 0.7


def test_a_guess_helps_with_what_is_quick() -> None:
    before, state = texture(0), face_at(100, 100, 60)
    motion = around(100, 100, 0, 1, 50)
    step = follow(before, warped(before, motion), state, Similarity(1, 48))
    assert step is not None
    assert abs(step.similarity(np.array([[100.0, 100.0]])) - (150, 100)).max() < 0.3


def test_where_nothing_can_be_followed() -> None:
    before, state = texture(0), face_at(150, 100, 60)
    assert follow(before, texture(1), state) is None, "another scene"
    assert follow(before, before, face_at(-200, 100, 60)) is None, "outside the picture"
    assert follow(np.full_like(before, 9), np.full_like(before, 9), state) is None, "nothing to be seen"
    assert follow(before[:2, :2], before[:2, :2], face_at(1, 1, 2)) is None, "next to no picture"


def test_looks() -> None:
    before, state = texture(0), face_at(150, 100, 80)
    look = look_of(before, state)
    assert np.linalg.norm(look) == pytest.approx(1, abs=1e-5)
    motion = around(150, 100, 15, 1.2, 10)
    assert look @ look_of(warped(before, motion), moved(state, motion)) > 0.95
    assert look @ look_of(np.clip(before * 0.4 + 20, 0, 255).astype(np.uint8), state) > 0.98
    assert abs(look @ look_of(texture(1), state)) < 0.4
    assert np.isfinite(look_of(np.zeros_like(before), state)).all()
    same_place = np.concatenate([np.full((5, 2), 30.0), state[5:]])
    assert np.isfinite(look_of(before, same_place)).all()


def test_states() -> None:
    state = face_at(150, 100, 80)
    assert size_of(state) == 80
    there = moved(state, around(150, 100, 90, 0.5, 0))
    np.testing.assert_allclose(there[5:], [[134, 80], [166, 120]], atol=1e-4)  # the box stays upright
    np.testing.assert_allclose(there[2] - (150, 100), 0.5 * (state[2] - (150, 100))[::-1] * (-1, 1), atol=1e-6)
