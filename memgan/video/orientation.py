"""How the frames of a film are to be turned before they are shown, as its display matrix says."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np


@dataclasses.dataclass(frozen=True)
class Orientation:
    """Turns coded frames upright: rows become columns first, then columns and rows are reversed."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise, 0, 90, 180 or 270, by which a frame is turned; mirrored ones are mirrored afterwards."""
        return 90 * self.transposed + 180 * self.flip_y

    @property
    def is_mirrored(self) -> bool:
        """Whether the frame, once it is turned, is mirrored too, left to right."""
        return self.transposed == (self.flip_x == self.flip_y)

    def upright(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) as coded, upright."""
        image = cv2.transpose(image) if self.transposed else image
        if self.flip_x or self.flip_y:
            image = cv2.flip(image, -1 if self.flip_x and self.flip_y else int(self.flip_x))
        return image

    def coded(self, array: np.ndarray) -> np.ndarray:
        """(H, W, ...) upright, as coded: a view."""
        array = array[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return array.swapaxes(0, 1) if self.transposed else array

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of a frame after turning, or before: it is the same."""
        return (height, width) if self.transposed else (width, height)


def orientation_of(matrix: Sequence[int] | None) -> Orientation:
    """What a display matrix asks for, nine numbers as FFmpeg has them; turns between right angles are left out.

    A point (x, y) of the frame comes to (a x + c y, b x + d y), where a, b, c, d are numbers 0, 1, 3 and 4.
    """
    if matrix is None:
        return Orientation()
    a, b, _, c, d = matrix[:5]
    if abs(b) + abs(c) > abs(a) + abs(d):
        return Orientation(True, flip_x=c < 0, flip_y=b < 0)
    return Orientation(False, flip_x=a < 0, flip_y=d < 0)
