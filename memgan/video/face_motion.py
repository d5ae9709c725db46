"""Dense motion from one aligned face to another of the same track."""

import functools

import cv2
import numpy as np

SIDE = 256
"""Pixels along a side of the pictures in which motion is looked for: finer ones only add noise to it."""
_SMOOTH = 2.0  # of them: what stands still between noisy pixels has no motion of its own
_STEP = 6  # of them, between places that are asked for the motion of the whole face
_SURE = 0.4  # of them: by less, one place does not move otherwise than the whole


@functools.lru_cache(4)
def grid(size: int) -> np.ndarray:
    """(size, size, 2) float32: x and y of each pixel."""
    line = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), axis=-1)


_GRID = grid(SIDE)


def motion_gray(face: np.ndarray) -> np.ndarray:
    """A face as its motion is looked for, (SIDE, SIDE) uint8, of (S, S, 3) uint8 or float32 RGB in levels of 255."""
    gray = cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return gray if gray.dtype == np.uint8 else cv2.convertScaleAbs(gray)


def motion(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """How far from each pixel of a face the same was in another frame: (SIDE, SIDE, 2) float32, x and y in its pixels.

    It is found by dense inverse search (Kroeger et al., 2016, "Fast optical flow using dense inverse search").

    Args:
        now, before: of :func:`motion_gray`.
    """
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(now, before, np.zeros_like(_GRID))
    flow = cv2.GaussianBlur(flow, (0, 0), _SMOOTH)
    # What moves as the whole face does moves exactly so: the flow of a single place is not as sure.
    whole = _whole_motion(flow)
    own = flow - whole
    x, y = cv2.split(own)
    length = cv2.magnitude(x, y)
    share = np.maximum(1 - _SURE / np.maximum(length, 1e-6), 0)
    result: np.ndarray = whole + own * share[:, :, None]
    return result


def opposite(flow: np.ndarray) -> np.ndarray:
    """The motion from the other face to this one: by one step of an iteration, which is enough for what is smooth."""
    x, y = cv2.split(_GRID - flow)
    there = cv2.remap(flow, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.negative(there, out=there)


def places(flow: np.ndarray, size: int, into: np.ndarray | None = None) -> np.ndarray:
    """Where each pixel of a face of (size, size) was by a flow: (size, size, 2) float32, x and y.

    Args:
        flow: of :func:`motion`.
        size: of the face.
        into: an earlier result, overwritten.
    """
    into = cv2.resize(flow, (size, size), into)
    return cv2.scaleAdd(into, size / SIDE, grid(size), into)


def taken(face: np.ndarray, where: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
    """What a face, (S, S, 3), shows at some :func:`places`."""
    x, y = cv2.split(where)
    return cv2.remap(face, x, y, interpolation, borderMode=cv2.BORDER_REFLECT_101)


def _whole_motion(flow: np.ndarray) -> np.ndarray:
    """The similarity that most of the middle of a flow agrees on, as a flow."""
    part = slice(SIDE // 5, SIDE - SIDE // 8, _STEP)
    places = _GRID[part, part].reshape(-1, 2)
    matrix, _ = cv2.estimateAffinePartial2D(
        places, places + flow[part, part].reshape(-1, 2), method=cv2.RANSAC, ransacReprojThreshold=_SURE
    )
    if matrix is None:
        return np.zeros_like(flow)
    whole: np.ndarray = cv2.transform(_GRID, matrix.astype(np.float32)) - _GRID
    return whole
