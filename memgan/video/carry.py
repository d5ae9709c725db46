"""Carries the restored picture of a face from frame to frame, along with the face's own motion."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from memgan.video.face_motion import motion, motion_gray, places, taken

_CHANGE = 10.0  # levels of 255 by which a frame may differ from what was carried before that counts for little
_NEIGHBORHOOD = 1 / 32  # of the crop's side, over which that is averaged
_LIGHT = 16  # blocks along a side of the crop over which light is followed
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
        picture_of_key, light, trust = _moved(key, crop)
        share = trust / max(abs(frame - key.frame), 1)
        total += share
        picture += share[:, :, None] * (picture_of_key + light)
        alike = np.maximum(alike, trust)
    picture /= total[:, :, None]
    return _rounded(crop + alike[:, :, None] * (picture - crop))


def _moved(key: KeyFace, crop: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The restored picture of a key face as it looks in another frame, and how far to believe that.

    Args:
        key: what is moved.
        crop: (S, S, 3) uint8 RGB, the other frame's face.

    Returns:
        moved: (S, S, 3) uint8 RGB.
        light: (S, S, 3) float32, what is to be added for the light of the other frame.
        trust: (S, S) float32, 0 to 1: how much the other frame looks as the key face's own, moved the same way.
    """
    flow = motion(motion_gray(crop), motion_gray(key.crop))
    size = len(crop)
    where = places(flow, size)
    before, after = taken(key.crop, where), taken(key.output, where)
    side = max(3, round(size * _NEIGHBORHOOD))
    change = cv2.subtract(crop, before, dtype=cv2.CV_32F)
    differs = cv2.blur(cv2.transform(np.abs(change), np.full((1, 3), 1 / 3, np.float32)), (side, side))
    light = cv2.resize(cv2.resize(change, (_LIGHT, _LIGHT), interpolation=cv2.INTER_AREA), (size, size))
    return after, light, np.exp(-np.square(differs / np.float32(_CHANGE)))


def _rounded(picture: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return result
