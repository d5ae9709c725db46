"""Carries a face from one frame to the next by optical flow, and says whether it still looks like itself.

A face is a state here: (7, 2) float64, five landmarks and the left top and right bottom of the box, in pixels.
"""

from typing import NamedTuple

import cv2
import numpy as np

from memgan.faces.align import Face, crop_from_box_matrix, fit_to_template
from memgan.faces.warp import compose_affine, crop_region
from memgan.video.similarity import Similarity, fit_similarity

_FACE_PX = 128  # longer side of the face's box in the pictures between which the flow is measured
_MOST_ENLARGED = 3.0
_SURROUNDINGS = 0.5  # of that side, around the face before and after
_WINDOW_PX, _LEVELS = 15, 3
_STOP = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 20, 0.01)
_POINTS = 9  # across the box
_TOLERANCE_PX = 0.5  # of points that agree on one similarity, at _FACE_PX
_LEAST_SUPPORT = 0.3
_MOST_ZOOM = 1.25  # per frame
_MOST_SHIFT = 1.0  # per frame, in sides of the box

# Levels of a face are its median, and so many standard deviations up and down.
_MOST_SPREADS = 3.0
_LEAST_SPREAD = 4.0  # levels

_LOOK_PX = 24
_LOOK_ZOOM = 1.5  # of the face in what is compared, relative to the FFHQ template: without hair and background


def _square(count: int) -> np.ndarray:
    """(count, count, 2) points (x, y) from -1 to 1."""
    line = np.linspace(-1, 1, count)
    return np.stack(np.meshgrid(line, line), axis=-1)


_ELLIPSE = 0.85 * _square(_POINTS)[np.hypot(*_square(_POINTS).T) < 1]
"""(N, 2) points of a face, as its box goes from -1 to 1."""
_INSIDE = np.hypot(*_square(_LOOK_PX).T) < 1
"""(_LOOK_PX, _LOOK_PX) bool: what of a look is compared."""


class Step(NamedTuple):
    """How a face moves from one frame to another."""

    similarity: Similarity
    noise: float
    """Root mean square distance in pixels of the points that agree with it: noise, and what the face does besides."""


def state_of(face: Face) -> np.ndarray:
    """The state of a face."""
    return np.concatenate([face.landmarks, face.box_xyxy.reshape(2, 2)]).astype(np.float64)


def size_of(state: np.ndarray) -> float:
    """Longer side of the box, at least one pixel."""
    return max(1.0, float((state[6] - state[5]).max()))


def moved(state: np.ndarray, similarity: Similarity) -> np.ndarray:
    """The state after a motion: landmarks and the center of the box move, the box stays upright."""
    points = similarity(np.concatenate([state[:5], state[5:].mean(axis=0, keepdims=True)]))
    half = (state[6] - state[5]) / 2 * similarity.zoom
    return np.concatenate([points[:5], [points[5] - half, points[5] + half]])


def follow(before: np.ndarray, after: np.ndarray, state: np.ndarray, guess: Similarity | None = None) -> Step | None:
    """Where a face goes, by the flow (pyramidal Lucas-Kanade) of some 50 points all over it.

    The similarity is the one on which most of them agree. That they agree is the check: to carry them back as well
    finds no more wrong ones, and takes twice the time.

    Args:
        before, after: (H, W) uint8 gray.
        state: of the face in ``before``, in its pixels.
        guess: of the motion, such as the one before it.

    Returns:
        ``None`` where less than a third of the points agree: the face is hidden, leaves the picture, or is too quick.
    """
    size, center = size_of(state), state[5:].mean(axis=0)
    half = (state[6] - state[5]) / 2
    points = center + _ELLIPSE * half
    expected = points if guess is None else guess(points)
    window = _window(np.concatenate([points, expected]), _SURROUNDINGS * size, before.shape)
    if window is None:
        return None
    left, top, right, bottom = window
    zoom = min(_FACE_PX / size, _MOST_ENLARGED)
    width, height = max(1, round((right - left) * zoom)), max(1, round((bottom - top) * zoom))
    scale = np.array([width / (right - left), height / (bottom - top)])
    if min(width, height) < _WINDOW_PX:
        return None
    method = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    first, second = (
        cv2.resize(gray[top:bottom, left:right], (width, height), interpolation=method) for gray in (before, after)
    )

    levels = _stretch(first, ((points - (left, top)) * scale).astype(int))
    first, second = cv2.LUT(first, levels), cv2.LUT(second, levels)

    def inside(places: np.ndarray) -> np.ndarray:
        return np.expand_dims((places - (left, top) + 0.5) * scale - 0.5, 1).astype(np.float32)

    start = inside(points)
    end, found, _ = cv2.calcOpticalFlowPyrLK(
        *(first, second, start, inside(expected)),
        winSize=(_WINDOW_PX, _WINDOW_PX),
        maxLevel=_LEVELS,
        criteria=_STOP,
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    good = found[:, 0] > 0
    for places in (start[:, 0], end[:, 0]):
        good &= ((places >= 0) & (places <= (width - 1, height - 1))).all(axis=1)
    targets = (end[:, 0] + 0.5) / scale - 0.5 + (left, top)
    tolerance = _TOLERANCE_PX / zoom
    fit = fit_similarity(points[good], targets[good], tolerance)
    if fit is None:
        return None
    agreeing = fit.distances < 3 * tolerance
    shift = np.linalg.norm(fit.similarity(center[None])[0] - center)
    is_plausible = 1 / _MOST_ZOOM < fit.similarity.zoom < _MOST_ZOOM and shift < _MOST_SHIFT * size
    if agreeing.sum() < _LEAST_SUPPORT * len(points) or not is_plausible:
        return None
    return Step(fit.similarity, float(np.sqrt(np.mean(fit.distances[agreeing] ** 2))))


def _stretch(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(256,) uint8: new levels, among which those at (N, 2) places (x, y) fill the range and all others are cut off.

    So a face in the shadow has contrast, and what shines behind it has none.
    """
    columns, rows = np.clip(places, 0, (picture.shape[1] - 1, picture.shape[0] - 1)).T
    middle, spread = _middle_and_spread(picture[rows, columns])
    stretched = 127.5 + (np.arange(256) - middle) * (127.5 / (_MOST_SPREADS * spread))
    return np.clip(np.round(stretched), 0, 255).astype(np.uint8)


def _middle_and_spread(values: np.ndarray) -> tuple[float, float]:
    """Median, and the standard deviation as the median distance from it says, at least a few levels."""
    middle = float(np.median(values))
    return middle, max(_LEAST_SPREAD, 1.48 * float(np.median(np.abs(values - middle))))


def _window(points: np.ndarray, margin: float, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom (both exclusive) around points, as far as the picture goes; ``None``: outside it."""
    low = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(points.max(axis=0) + margin) + 1, (shape[1], shape[0])).astype(int)
    return None if (high <= low).any() else (int(low[0]), int(low[1]), int(high[0]), int(high[1]))


def look_of(picture: np.ndarray, state: np.ndarray) -> np.ndarray:
    """What a face looks like: (N,) float32 of mean 0 and length 1, so that products of looks are correlations.

    Args:
        picture: (H, W) or (H, W, 3) uint8.
        state: of the face, in pixels of the picture.
    """
    matrix = fit_to_template(state[:5], _LOOK_PX, np.inf)  # one kind of crop, however far the face turns
    if matrix is None:
        middle = state[5:].mean(axis=0)
        half = np.maximum((state[6] - state[5]) / 2, 1.0)
        matrix = crop_from_box_matrix(np.concatenate([middle - half, middle + half]), _LOOK_PX)
    middle = (_LOOK_PX - 1) / 2
    closer = np.array([[_LOOK_ZOOM, 0, middle * (1 - _LOOK_ZOOM)], [0, _LOOK_ZOOM, middle * (1 - _LOOK_ZOOM)]])
    crop = crop_region(picture, compose_affine(closer, matrix), _LOOK_PX, cv2.BORDER_REPLICATE)
    middle_level, spread = _middle_and_spread(crop[_INSIDE])
    look = np.clip((crop - middle_level) / spread, -_MOST_SPREADS, _MOST_SPREADS)
    window = _INSIDE if crop.ndim == 2 else _INSIDE[..., None]
    look = np.where(window, look - look[_INSIDE].mean(), 0).ravel().astype(np.float32)
    return look / max(1e-6, float(np.linalg.norm(look)))
