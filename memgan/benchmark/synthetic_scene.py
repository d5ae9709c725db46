"""Draws a picture to measure with: texture, with faces that the detector takes for faces."""

import math

import cv2
import numpy as np

from memgan.errors import ConfigError
from memgan.faces.align import FFHQ_SIZE_PX, FFHQ_TEMPLATE, Face

_MAX_SIDE = 512  # of a face's aligned square; larger ones only shrink into the crop
_MIN_SIDE = 64
_FILLED = 0.9  # share of its cell that a face's square takes

# Center, half axes, color and standard deviation of the blur of ellipses in the 512 px crop, from back to front. Eyes,
# nose and mouth lie at FFHQ_TEMPLATE.
_ELLIPSES = (
    ((256, 230), (190, 235), (60, 45, 38), 8),  # hair
    ((256, 290), (148, 190), (215, 170, 145), 5),  # face
    ((256, 170), (130, 60), (215, 170, 145), 10),  # forehead
    ((192, 241), (42, 26), (180, 135, 115), 8),  # left eye
    ((192, 201), (38, 7), (70, 50, 42), 3),  # its brow
    ((192, 239), (27, 13), (240, 236, 232), 1.5),
    ((192, 239), (12, 12), (60, 45, 40), 1.5),
    ((192, 230), (29, 5), (60, 40, 35), 2),
    ((318, 242), (42, 26), (180, 135, 115), 8),  # right eye
    ((318, 202), (38, 7), (70, 50, 42), 3),  # its brow
    ((318, 240), (27, 13), (240, 236, 232), 1.5),
    ((318, 240), (12, 12), (60, 45, 40), 1.5),
    ((318, 231), (29, 5), (60, 40, 35), 2),
    ((256, 284), (13, 55), (228, 185, 160), 7),  # nose
    ((256, 320), (32, 16), (190, 140, 120), 6),
    ((240, 324), (8, 5), (110, 70, 60), 2),  # nostrils
    ((272, 324), (8, 5), (110, 70, 60), 2),
    ((257, 371), (58, 17), (175, 90, 90), 3),  # mouth
    ((257, 371), (54, 3), (110, 50, 50), 1.5),
    ((256, 440), (60, 14), (195, 150, 128), 10),  # chin
)
_BOX = np.array([106, 96, 410, 468])  # where a detector's usually is
_BACKGROUND = (95, 105, 100)


def _draw_face(side: int) -> np.ndarray:
    """(side, side, 3) uint8 RGB: a face as crude as detectors accept, with its landmarks at the FFHQ template's."""
    face = np.full((FFHQ_SIZE_PX, FFHQ_SIZE_PX, 3), _BACKGROUND, np.float32)
    for center, axes, color, blur in _ELLIPSES:
        shape = np.zeros(face.shape[:2], np.float32)
        cv2.ellipse(shape, center, axes, 0, 0, 360, 1, cv2.FILLED, cv2.LINE_AA)
        shape = cv2.GaussianBlur(shape, (0, 0), blur)[:, :, None]
        face += shape * (np.array(color, np.float32) - face)
    return cv2.resize(np.rint(face).astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)


def draw_scene(width: int, height: int, num_faces: int, seed: int = 0) -> tuple[np.ndarray, list[Face]]:
    """A textured picture with faces in rows, (height, width, 3) uint8 RGB, and where the faces are.

    ``seed`` is that of the texture.

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
    face, scale, faces = _draw_face(side), side / FFHQ_SIZE_PX, []
    for index in range(num_faces):
        row, column = divmod(index, columns)
        left = int((column + 0.5) * width / columns - side / 2)
        top = int((row + 0.5) * height / rows - side / 2)
        picture[top : top + side, left : left + side] = face
        box = scale * _BOX + (left, top, left, top)
        landmarks = (FFHQ_TEMPLATE + 0.5) * scale - 0.5 + (left, top)
        faces.append(Face(box.astype(np.float32), landmarks.astype(np.float32), 1.0))
    return picture, faces
