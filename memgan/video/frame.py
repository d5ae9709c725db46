"""One frame of a film: its time, its samples, and RGB of it."""

import dataclasses
from fractions import Fraction
from typing import Any

import cv2
import numpy as np

from memgan.errors import ShapeError
from memgan.video.coding import Coding
from memgan.video.orientation import Orientation
from memgan.video.pyav import cropped


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """A frame as it is in the film, with all that FFmpeg knows of it. One thread at a time may ask it for RGB."""

    index: int
    """From zero, in the order in which frames are shown."""
    pts: int
    """When it is shown, in units of ``time_base`` seconds."""
    time_base: Fraction
    duration: int | None
    """In units of ``time_base``; ``None``: the film does not say."""
    is_key: bool
    av_frame: Any
    """The ``av.VideoFrame``, not turned upright. It may serve to decode others: it must not be changed."""
    coding: Coding
    orientation: Orientation

    @property
    def bits(self) -> int:
        """Of a sample, such as 8 or 10."""
        return self.coding.bits

    @property
    def width(self) -> int:
        """In pixels, upright."""
        return self.orientation.size(self.av_frame.width, self.av_frame.height)[0]

    @property
    def height(self) -> int:
        """In pixels, upright."""
        return self.orientation.size(self.av_frame.width, self.av_frame.height)[1]

    def rgb(self) -> np.ndarray:
        """The picture, upright, with the film's own primaries and transfer: HDR stays what it is.

        Returns:
            (H, W, 3) RGB of the full range: uint8, or uint16 (white is 65535) where the film has more than 8 bits.
        """
        return self.orientation.upright(self.coding.rgb(self.av_frame))

    def with_changes(self, rgb: np.ndarray, changed: np.ndarray) -> "Frame":
        """This frame with another picture in some places; everything else keeps its bits.

        Args:
            rgb: (H, W, 3) what ``rgb`` gave, with changes.
            changed: (H, W) bool, upright. Only samples of these pixels are written, and of those only where ``rgb``
                differs. A sample of chroma stands for several pixels: it takes the mean of their changes.

        Raises:
            ShapeError: if an array has another size or type than ``rgb`` gave.
        """
        kind = np.uint8 if self.bits <= 8 else np.uint16
        if rgb.shape != (self.height, self.width, 3) or rgb.dtype != kind or changed.shape != rgb.shape[:2]:
            raise ShapeError(
                f"the picture is {rgb.dtype} {rgb.shape} and the mask {changed.shape}; of this frame they are "
                f"{kind.__name__} ({self.height}, {self.width}, 3) and ({self.height}, {self.width})"
            )
        rgb, changed = self.orientation.coded(rgb), self.orientation.coded(changed)
        rows, columns = _extent(changed, 1), _extent(changed, 0)
        if rows.stop == 0:
            return self
        size = (self.av_frame.width, self.av_frame.height)
        left, top, right, bottom = box = self.coding.region(rows, columns, *size)
        before = self.coding.rgb(self.av_frame if box == (0, 0, *size) else cropped(self.av_frame, box))
        after = np.ascontiguousarray(rgb[top:bottom, left:right])
        where = changed[top:bottom, left:right].astype(np.uint8)
        change = cv2.subtract(after, before, np.zeros(after.shape, np.float32), where, cv2.CV_32F)
        if not change.any():
            return self
        return dataclasses.replace(self, av_frame=self.coding.changed(self.av_frame, box, change, where))

    def resized(self, width: int, height: int) -> "Frame":
        """This frame in another size, upright, in pixels; tags, time and side data stay."""
        size = self.orientation.size(width, height)
        return dataclasses.replace(self, av_frame=self.coding.resized(self.av_frame, *size))


def _extent(used: np.ndarray, axis: int) -> slice:
    """From the first row (axis 1) or column (axis 0) that is used to the last; empty if none is."""
    (places,) = np.nonzero(used.any(axis))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
