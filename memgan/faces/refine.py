"""Looks at a found face again: for its landmarks, upright and at the best size; for certainty, at several sizes."""

from typing import NamedTuple

import cv2
import numpy as np

from memgan.errors import ImageError
from memgan.faces.align import FFHQ_SIZE_PX, Face, crop_from_box_matrix, fit_to_template
from memgan.faces.anchors import Detections, RawNetwork, decode, merge_by_box_voting
from memgan.faces.warp import compose_affine, crop_region, invert_affine

_SIDE_PX = 256  # of the crop
_ZOOM = 0.75  # size of the face relative to the FFHQ template, so that its surroundings are seen too
_FACE_CENTER = (256.0, 290.0)  # of a box around the template
_MAX_OFFSET = 0.2  # between that center and the face's, as a share of the crop's side
_VOTE_THRESHOLD = 0.3
_CERTAIN_SCORE = 0.99
_CERTAIN_ROLL = np.deg2rad(20)
_UPRIGHT_BONUS = 0.02
# What is a face stays one when it is seen with more or less around it, and in a mirror (measured: the mean score of
# faces of 18 to 64 px is 0.97 and more, that of patterns that once looked like a face 0.88 and less).
_LOOKS = ((0.4, True), (0.55, False), (1.0, True), (1.3, False))  # zoom, mirrored


class _Candidate(NamedTuple):
    landmarks: np.ndarray  # (5, 2) in picture pixels
    score: float
    roll: float  # of the face within the crop, in radians


def refine_landmarks(network: RawNetwork, image: np.ndarray, face: Face) -> Face | None:
    """Find the landmarks of one face again, whatever its rotation.

    In the whole picture landmarks of small and of rotated faces are coarse, and those of a face turned by more
    than 90 degrees are wrong: the network has seen upright faces only. So the face is cut out as its landmarks say,
    and unless the network is then certain, turned by 180, 90 and 270 degrees as well.

    Args:
        network: raw outputs of RetinaFace for one picture.
        image: (H, W, 3) uint8 RGB.
        face: a face found in it.

    Returns:
        The face with better landmarks and the score of this pass; ``None`` if there is no face to be seen.
    """
    try:
        matrix = fit_to_template(face.landmarks)
        matrix = crop_from_box_matrix(face.box_xyxy) if matrix is None else matrix
    except ImageError:  # neither landmarks nor box make sense
        return None
    best = _candidate(network, image, matrix)
    if best is None or best.score < _CERTAIN_SCORE or abs(best.roll) > _CERTAIN_ROLL:
        for quarter_turns in (2, 1, 3):
            other = _candidate(network, image, matrix, quarter_turns)
            if other is not None and (best is None or other.score > best.score + _UPRIGHT_BONUS):
                best = other
    if best is None:
        return None
    if abs(best.roll) > _CERTAIN_ROLL / 2 and (upright := fit_to_template(best.landmarks)) is not None:
        straight = _candidate(network, image, upright)
        if straight is not None and straight.score > best.score - _UPRIGHT_BONUS:
            best = straight
    return Face(face.box_xyxy, best.landmarks.astype(np.float32), best.score)


def second_look(network: RawNetwork, image: np.ndarray, face: Face) -> float:
    """How much a find looks like a face at other sizes and in a mirror: the mean of the scores, 0 to 1.

    Args:
        network, image: as for :func:`refine_landmarks`.
        face: its result.
    """
    matrix = fit_to_template(face.landmarks)
    matrix = crop_from_box_matrix(face.box_xyxy) if matrix is None else matrix
    seen = [_in_the_middle(network, image, matrix, zoom=zoom, mirrored=mirrored)[0] for zoom, mirrored in _LOOKS]
    return float(np.mean([found.scores[0] if len(found) else 0.0 for found in seen]))


def _candidate(
    network: RawNetwork, image: np.ndarray, template_from_image: np.ndarray, quarter_turns: int = 0
) -> _Candidate | None:
    found, matrix = _in_the_middle(network, image, template_from_image, quarter_turns=quarter_turns)
    if not len(found):
        return None
    landmarks = found.landmarks[0].astype(np.float64)  # merged detections come in the order of their scores
    aligning = fit_to_template(landmarks, max_residual=np.inf)
    if aligning is None:
        return None
    image_from_crop = invert_affine(matrix)
    return _Candidate(
        landmarks @ image_from_crop[:, :2].T + image_from_crop[:, 2],
        float(found.scores[0]),
        float(np.arctan2(aligning[1, 0], aligning[0, 0])),
    )


def _in_the_middle(
    network: RawNetwork,
    image: np.ndarray,
    template_from_image: np.ndarray,
    *,
    zoom: float = _ZOOM,
    quarter_turns: int = 0,
    mirrored: bool = False,
) -> tuple[Detections, np.ndarray]:
    """What the network finds in the middle of a crop, best first; and the matrix (2, 3) from picture to crop."""
    scale = zoom * _SIDE_PX / FFHQ_SIZE_PX
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarter_turns]
    turn = scale * np.array([[cosine, -sine], [sine, cosine]], np.float64)
    middle = (_SIDE_PX - 1) / 2
    crop_from_template = np.column_stack([turn, (middle, middle) - turn @ _FACE_CENTER])
    matrix = compose_affine(crop_from_template, template_from_image)
    # Black outside the picture: the mirror image of a tightly cut face continues it to a larger one, and its landmarks
    # spread (measured: half the eye distance wrong, against a twentieth).
    crop = crop_region(image, matrix, _SIDE_PX, cv2.BORDER_CONSTANT)
    if mirrored:
        crop = np.ascontiguousarray(crop[:, ::-1])
    merged = merge_by_box_voting([decode(*network(crop), _SIDE_PX, _SIDE_PX, _VOTE_THRESHOLD)])
    offsets = np.abs((merged.boxes[:, :2] + merged.boxes[:, 2:]) / 2 - middle).max(axis=1, initial=0)
    return merged.select(offsets <= _MAX_OFFSET * _SIDE_PX), matrix
