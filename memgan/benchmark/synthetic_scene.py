"""Draws a picture to measure with: texture, with faces that the detector takes for faces."""

import math
from typing import Any

import cv2
import numpy as np

from memgan.errors import ConfigError
from memgan.faces.align import FFHQ_SIZE_PX, FFHQ_TEMPLATE, Face

_MAX_SIDE = 512  # of a face's aligned square; larger ones only shrink into the crop
_MIN_SIDE = 64
_FILLED = 0.9  # share of its cell that a face's square takes

_LEFT_EYE, _RIGHT_EYE, _NOSE, _LEFT_MOUTH, _RIGHT_MOUTH = FFHQ_TEMPLATE
_Ellipse = tuple[tuple[int, int], tuple[int, int], tuple[int, int, int], float]
_EYE_SHAPES: list[_Ellipse] = [
    ((0, 2), (42, 26), (180, 135, 115), 8),
    ((0, -38), (38, 7), (70, 50, 42), 3),  # brow
    ((0, 0), (27, 13), (240, 236, 232), 1.5),
    ((0, 0), (12, 12), (60, 45, 40), 1.5),
    ((0, -9), (29, 5), (60, 40, 35), 2),
]
# By origin: (center, half axes, color, standard deviation of the blur) of ellipses in the 512 px crop, from back to
# front.
_SHAPES: list[tuple[Any, list[_Ellipse]]] = [
    (
        (256, 0),
        [
            ((0, 230), (190, 235), (60, 45, 38), 8),  # hair
            ((0, 290), (148, 190), (215, 170, 145), 5),
            ((0, 170), (130, 60), (215, 170, 145), 10),  # forehead
        ],
    ),
    (_LEFT_EYE, _EYE_SHAPES),
    (_RIGHT_EYE, _EYE_SHAPES),
    (
        _NOSE,
        [
            ((0, -30), (13, 55), (228, 185, 160), 7),
            ((0, 6), (32, 16), (190, 140, 120), 6),
            ((-16, 10), (8, 5), (110, 70, 60), 2),
            ((16, 10), (8, 5), (110, 70, 60), 2),
        ],
    ),
    ((_LEFT_MOUTH + _RIGHT_MOUTH) / 2, [((0, 0), (58, 17), (175, 90, 90), 3), ((0, 0), (54, 3), (110, 50, 50), 1.5)]),
    ((256, 440), [((0, 0), (60, 14), (195, 150, 128), 10)]),  # chin
]
_BACKGROUND = (95, 105, 100)


def draw_face(side: int = FFHQ_SIZE_PX) -> np.ndarray:
    """(side, side, 3) uint8 RGB: a face as crude as detectors accept, with its landmarks at the FFHQ template's."""
    face = np.full((FFHQ_SIZE_PX, FFHQ_SIZE_PX, 3), _BACKGROUND, np.float32)
    for origin, shapes in _SHAPES:
        for center, axes, color, blur in shapes:
            shape = np.zeros(face.shape[:2], np.float32)
            x, y = (int(value) for value in np.add(origin, center))
            cv2.ellipse(shape, (x, y), axes, 0, 0, 360, 1, cv2.FILLED, cv2.LINE_AA)
            shape = cv2.GaussianBlur(shape, (0, 0), blur)[:, :, None]
            face += shape * (np.array(color, np.float32) - face)
    return cv2.resize(np.rint(face).astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)


def draw_scene(width: int, height: int, num_faces: int, seed: int = 0) -> tuple[np.ndarray, list[Face]]:
    """A textured picture with faces in rows.

    Args:
        width, height: in pixels.
        num_faces: from 0.
        seed: of the texture.

    Returns:
        (height, width, 3) uint8 RGB, and where the faces are.

    Raises:
        ConfigError: if a face would have fewer than 64 px.
    """
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(60, 180, (9, 16, 3)).astype(np.float32)
    texture: np.ndarray = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    texture += np.asarray(generator.normal(0, 6, texture.shape), np.float32)
    picture: np.ndarray = np.clip(np.rint(texture), 0, 255).astype(np.uint8)
    if num_faces == 0:
        return picture, []
    columns = min(num_faces, max(1, round(math.sqrt(num_faces * width / height))))
    rows = math.ceil(num_faces / columns)
    side = min(_MAX_SIDE, int(_FILLED * min(width / columns, height / rows)))
    if side < _MIN_SIDE:
        raise ConfigError(
            f"{num_faces} faces in {width} x {height} pixels would have {side} px each; give fewer faces, or a larger "
            f"picture: at least {_MIN_SIDE} px are needed."
        )
    face, faces = draw_face(side), []
    for index in range(num_faces):
        row, column = divmod(index, columns)
        left = int((column + 0.5) * width / columns - side / 2)
        top = int((row + 0.5) * height / rows - side / 2)
        picture[top : top + side, left : left + side] = face
        faces.append(_face_at(left, top, side))
    return picture, faces


def _face_at(left: int, top: int, side: int) -> Face:
    """The face of a drawn square; its box is where a detector's usually is."""
    scale = side / FFHQ_SIZE_PX
    landmarks = (FFHQ_TEMPLATE + 0.5) * scale - 0.5 + (left, top)
    box = np.array([106, 96, 410, 468]) * scale + (left, top, left, top)
    return Face(box.astype(np.float32), landmarks.astype(np.float32), 1.0)
