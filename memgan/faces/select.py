"""Turns what callers know about faces (boxes, landmarks) into faces."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from memgan.errors import ConfigError, ImageError
from memgan.faces.align import FFHQ_TEMPLATE, Face, crop_from_box_matrix, fit_to_template
from memgan.faces.warp import invert_affine

_MAX_COORDINATE = 1e6
_MAX_SIZE = 20  # of a face, relative to the picture: mirroring the picture into more of a crop takes ever longer
_FACE_BOX = np.array([[106, 96], [410, 96], [106, 468], [410, 468]], np.float64)  # corners in the 512 px crop


def given_faces(faces: Iterable[Any], rgb: np.ndarray, detector: Any = None) -> list[Face]:
    """Faces as callers name them.

    Args:
        faces: each a :class:`Face`, a box (left, top, right, bottom), or five landmarks (5, 2) or (10,) as in
            :attr:`Face.landmarks`; all in pixels of the picture.
        rgb: the picture, (H, W, 3) uint8 RGB.
        detector: if it has a method ``locate(image, face) -> Face | None``, that looks for the landmarks in a box;
            otherwise, and where it sees nothing, the face counts as upright.

    Raises:
        ImageError: if one is none of these, is not finite, or lies outside the picture.
    """
    locate = getattr(detector, "locate", None)
    found = []
    if not isinstance(faces, Iterable):
        raise ImageError(f"faces is {faces!r:.200}; give several, such as [face]")
    for number, given in enumerate(faces):
        face = _with_box(given) if isinstance(given, Face) else _face_from(given)
        if face is None or not _is_near(face, rgb.shape[1], rgb.shape[0]):
            raise ImageError(
                f"face {number} is {given!r:.200}; allowed are a memgan.faces.Face, a box (left, top, right, bottom), "
                "or five landmarks (x, y): left eye, right eye, nose, left and right mouth corner; finite, in pixels "
                "of the picture, and at least partly inside it"
            )
        if locate is not None and np.size(given) == 4:
            face = locate(rgb, face) or face
        found.append(face)
    return found


def detected_faces(found: Any, rgb: np.ndarray) -> list[Face]:
    """What a detector has given, as faces: their boxes and landmarks may be lists, and a face only a box or landmarks.

    Raises:
        ConfigError: if it is no sequence of faces.
    """
    faces: list[Face] = []
    try:
        for given in found:
            face = _as_arrays(given) if isinstance(given, Face) else given_faces([given], rgb)[0]
            if face.box_xyxy.shape != (4,) or face.landmarks.shape != (5, 2):
                raise ValueError("a face has a box of four numbers and five landmarks of two")
            faces.append(face)
    except (TypeError, ValueError) as error:  # an ImageError is a ValueError
        raise ConfigError(
            f"the detector gave {found!r:.200} ({error}); allowed is a list of memgan.faces.Face, of boxes (left, top, "
            "right, bottom), or of five landmarks (x, y), in pixels of the picture."
        ) from error
    return faces


def _as_arrays(face: Face) -> Face:
    """The face itself, or one whose box and landmarks, given as lists or tensors, are arrays; ValueError: no score."""
    if not math.isfinite(face.score):
        raise ValueError("a face's score is a finite number")
    if isinstance(face.box_xyxy, np.ndarray) and isinstance(face.landmarks, np.ndarray):
        return face
    box, landmarks = (np.asarray(values, np.float32) for values in (face.box_xyxy, face.landmarks))
    return dataclasses.replace(face, box_xyxy=box, landmarks=landmarks)


def _face_from(given: Any) -> Face | None:
    try:
        values = np.asarray(given, np.float64)
    except (TypeError, ValueError, RuntimeError):  # of tensors with a gradient or on another device
        return None
    if not (np.abs(values) < _MAX_COORDINATE).all():  # nor NaN
        return None
    if values.shape == (4,):
        image_from_crop = invert_affine(crop_from_box_matrix(values))  # refuses empty boxes
        landmarks = FFHQ_TEMPLATE @ image_from_crop[:, :2].T + image_from_crop[:, 2]
        return Face(values.astype(np.float32), landmarks.astype(np.float32), 1.0)
    if values.shape not in ((5, 2), (10,)):
        return None
    landmarks = values.reshape(5, 2)
    box = _box_around(landmarks)
    return None if box is None else Face(box, landmarks.astype(np.float32), 1.0)


def _with_box(face: Face) -> Face | None:
    """The face itself, or with a box around its landmarks if its own is none."""
    try:
        face = _as_arrays(face)
    except (TypeError, ValueError):
        return None
    box = np.asarray(face.box_xyxy, np.float64)
    if box.shape == (4,) and np.isfinite(box).all() and (box[2:] - box[:2]).min() >= 1:
        return face
    landmarks = np.asarray(face.landmarks, np.float64)
    around = _box_around(landmarks) if fit_to_template(landmarks) is not None else None
    return None if around is None else dataclasses.replace(face, box_xyxy=around)


def _is_near(face: Face, width: int, height: int) -> bool:
    reach = _MAX_SIZE * max(width, height)
    left, top, right, bottom = face.box_xyxy.tolist()
    is_seen = left < width and top < height and right > -1 and bottom > -1
    # Degenerate landmarks give way to the box, so they may be anywhere.
    has_far_landmarks = fit_to_template(face.landmarks) is not None and np.abs(face.landmarks).max() > reach
    return is_seen and face.size <= reach and not has_far_landmarks


def _box_around(landmarks: np.ndarray) -> np.ndarray | None:
    """(4,) float32: where a detector's box around these landmarks usually is."""
    matrix = fit_to_template(landmarks, max_residual=np.inf)
    if matrix is None:
        return None
    image_from_crop = invert_affine(matrix)
    corners = _FACE_BOX @ image_from_crop[:, :2].T + image_from_crop[:, 2]
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)]).astype(np.float32)
