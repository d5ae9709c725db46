"""Defines a face as detectors give it."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
    """One detected face, in pixels of the picture it was found in.

    Coordinates follow OpenCV: the center of the top left pixel is (0, 0), so the picture covers -0.5 to width - 0.5.
    A face may reach beyond the picture.
    """

    box_xyxy: np.ndarray
    """(4,) float32: left, top, right, bottom."""
    landmarks: np.ndarray
    """(5, 2) float32 (x, y): the eye on the left of an upright picture, the other eye, the tip of the nose, the mouth
    corner on the left, the other mouth corner."""
    score: float
    """Confidence of the detector, 0 to 1."""
    grain_seed: int = 0
    """Of the noise that comes back with the restored face: a person may have the same, or another, in every frame."""

    @property
    def eye_distance(self) -> float:
        """Distance between the eyes in pixels."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        width, height = self.box_xyxy[2:] - self.box_xyxy[:2]
        return float(width * height)

    @property
    def size(self) -> float:
        """Longer side of the box in pixels."""
        return float((self.box_xyxy[2:] - self.box_xyxy[:2]).max())

    @property
    def center(self) -> tuple[float, float]:
        """Center (x, y) of the box."""
        left, top, right, bottom = self.box_xyxy.tolist()
        return (left + right) / 2, (top + bottom) / 2


def most_central(faces: Sequence[Face], width: int, height: int) -> Face:
    """The face whose box center is nearest to the center of a ``width`` x ``height`` picture.

    Raises:
        ValueError: if there is no face.
    """
    middle = ((width - 1) / 2, (height - 1) / 2)
    return min(faces, key=lambda face: float(np.hypot(face.center[0] - middle[0], face.center[1] - middle[1])))
