"""Carries the restored picture of a face from frame to frame, along with the face's own motion."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

_FLOW_SIDE = 256  # pixels of the pictures in which motion is looked for: finer ones only add noise to it
_FLOW_SMOOTH = 2.0  # of them: what stands still between noisy pixels has no motion of its own
_FLOW_STEP = 6  # of them, between places that are asked for the motion of the whole face
_SURE = 0.4  # of them: by less, one place does not move otherwise than the whole
_CHANGE = 10.0  # levels of 255 by which a frame may differ from what was carried before that counts for little
_NEIGHBORHOOD = 1 / 32  # of the crop's side, over which that is averaged
_LIGHT, _STEADY_LIGHT = 16, 2  # blocks along a side of the crop over which light is followed
_NEAR = 1 / 24  # of the crop's side, over which what the network draws anew has to cancel out
_DRIFT = 8.0  # levels that may be left of it
_FINE = 2.0  # pixels: standard deviation of the filter that tells fine detail
_MOST_GAIN = 1.5  # of it
_CRISP = 0.4  # share of what it lacks that is given back
_LEAST = 1e-3


class KeyFace(NamedTuple):
    """A face of a frame that the network saw."""

    frame: int
    """Its number."""
    crop: np.ndarray
    """(S, S, 3) uint8 RGB, aligned, before."""
    output: np.ndarray
    """(S, S, 3) uint8 RGB, after."""


def carry(crop: np.ndarray, frame: int, keys: Sequence[KeyFace]) -> np.ndarray:
    """What the network would make of a face, from what it made of the same face shortly before and after.

    Each of the restored pictures is moved along with the face's motion, and counts the more, pixel by pixel, the nearer
    it is in time and the more its own input, moved the same way, looks like this one. Where none does (a mouth has
    opened, a hand has come), the input stays.

    Args:
        crop: (S, S, 3) uint8 RGB, aligned.
        frame: its number.
        keys: one or two.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    total = np.full(crop.shape[:2], _LEAST, np.float32)
    picture = _LEAST * crop.astype(np.float32)
    alike = np.zeros(crop.shape[:2], np.float32)
    for key in keys:
        moved, light, trust = _moved(key, crop, _places(crop, key.crop))
        share = trust / max(abs(frame - key.frame), 1)
        total += share
        picture += share[:, :, None] * (moved + light)
        alike = np.maximum(alike, trust)
    picture /= total[:, :, None]
    return _rounded(crop + alike[:, :, None] * (picture - crop))


def steadied(output: np.ndarray, crop: np.ndarray, before: KeyFace, steadiness: float) -> np.ndarray:
    """A restored face with as much as can be of what was shown before: what the network draws anew is averaged out.

    Args:
        output: (S, S, 3) uint8 RGB, the network's picture.
        crop: (S, S, 3) uint8 RGB, what it was made of.
        before: the face as it was, and as it was shown.
        steadiness: share of that, 0 to below 1, where nothing has changed but by motion.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    # Motion shows better in the restored pictures: they have no noise. Of light, only what changes over large parts is
    # followed: finer changes are mostly what compression makes.
    moved, light, trust = _moved(before, crop, _places(output, before.output), _STEADY_LIGHT)
    change = moved + light - output
    # What the network draws anew cancels out over some pixels. What is left there has changed, or was moved wrongly.
    side = max(3, round(len(crop) * _NEAR))
    left = cv2.blur(change, (side, side))
    trust *= np.exp(-np.square(cv2.transform(np.abs(left), np.full((1, 3), 1 / (3 * _DRIFT), np.float32))))
    share = np.float32(steadiness) * trust
    return _rounded(_as_crisp(output + share[:, :, None] * change, output))


def _as_crisp(picture: np.ndarray, output: np.ndarray) -> np.ndarray:
    """A mean of pictures with as much fine detail as one of them has: what differs between them cancels out.

    Args:
        picture: (S, S, 3) float32.
        output: (S, S, 3) uint8.
    """
    side = max(3, round(len(picture) * _NEIGHBORHOOD))
    fine, wanted = (one - cv2.GaussianBlur(one, (0, 0), _FINE) for one in (picture, output.astype(np.float32)))
    of_colors = np.ones((1, 3), np.float32)
    energy, own = (cv2.blur(cv2.transform(one * one, of_colors), (side, side)) for one in (wanted, fine))
    gain = np.sqrt(np.clip((energy + 1) / (own + 1), 1, _MOST_GAIN**2))
    result: np.ndarray = picture + (_CRISP * (gain - 1))[:, :, None] * fine
    return result


def _moved(
    key: KeyFace, crop: np.ndarray, places: tuple[np.ndarray, np.ndarray], light_blocks: int = _LIGHT
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The restored picture of a key face as it looks in another frame, and how far to believe that.

    Args:
        key: what is moved.
        crop: (S, S, 3) uint8 RGB, the other frame's face.
        places: see :func:`_places`.
        light_blocks: along a side of the crop; what varies over so many follows the frame.

    Returns:
        moved: (S, S, 3) uint8 RGB.
        light: (S, S, 3) float32, what is to be added for the light of the other frame.
        trust: (S, S) float32, 0 to 1: how much the other frame looks as the key face's own, moved the same way.
    """
    before, after = (
        cv2.remap(one, *places, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101) for one in (key.crop, key.output)
    )
    size = len(crop)
    side = max(3, round(size * _NEIGHBORHOOD))
    change = cv2.subtract(crop, before, dtype=cv2.CV_32F)
    differs = cv2.blur(cv2.transform(np.abs(change), np.full((1, 3), 1 / 3, np.float32)), (side, side))
    light = cv2.resize(cv2.resize(change, (light_blocks,) * 2, interpolation=cv2.INTER_AREA), (size, size))
    return after, light, np.exp(-np.square(differs / np.float32(_CHANGE)))


def _places(now: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of a face was in another frame: x and y, (S, S) float32 each.

    They are found by dense inverse search (Kroeger et al., 2016, "Fast optical flow using dense inverse search").

    Args:
        now, before: (S, S, 3) uint8 RGB.
    """
    size = len(now)
    first, second = (
        cv2.resize(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), (_FLOW_SIDE, _FLOW_SIDE), interpolation=cv2.INTER_AREA)
        for one in (now, before)
    )
    still = np.zeros((_FLOW_SIDE, _FLOW_SIDE, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(first, second, still)
    flow = cv2.GaussianBlur(flow, (0, 0), _FLOW_SMOOTH)
    # What moves as the whole face does moves exactly so: the flow of a single place is not as sure.
    whole = _whole_motion(flow)
    own = flow - whole
    length = np.linalg.norm(own, axis=2, keepdims=True)
    flow = whole + own * np.maximum(1 - _SURE / np.maximum(length, 1e-6), 0)
    x, y = cv2.split(cv2.resize(flow, (size, size)) * np.float32(size / _FLOW_SIDE) + _grid(size))
    return x, y


def _whole_motion(flow: np.ndarray) -> np.ndarray:
    """The similarity that most of the middle of a flow, (S, S, 2) in pixels, agrees on, as a flow."""
    size = len(flow)
    part = slice(size // 5, size - size // 8, _FLOW_STEP)
    grid = _grid(size)
    places = grid[part, part].reshape(-1, 2)
    matrix, _ = cv2.estimateAffinePartial2D(
        places, places + flow[part, part].reshape(-1, 2), method=cv2.RANSAC, ransacReprojThreshold=_SURE
    )
    if matrix is None:
        return np.zeros_like(flow)
    moved: np.ndarray = cv2.transform(grid, matrix.astype(np.float32)) - grid
    return moved


def _grid(size: int) -> np.ndarray:
    """(size, size, 2) float32: x and y of each pixel."""
    line = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), axis=-1)


def _rounded(picture: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return result
