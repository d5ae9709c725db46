"""What the samples of a film's frames stand for, and how to get from them to RGB and back.

Samples become RGB by swscale, which knows every pixel format and where its chroma lies. Only changes go the other way,
by the matrix alone: a sample that nobody changed keeps its bits, and what rounding did to it on the way to RGB is not
done to it twice.
"""

import dataclasses
import functools
from typing import Any

import cv2
import numpy as np

from memgan.video.planes import Layout, known_layout
from memgan.video.pyav import copied, cropped, filtered, reformatted

LUMA = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
"""Shares of red and blue in luma (ITU-T H.273, table 4), for each matrix that swscale knows, as it counts them."""

# FFmpeg's AVColorSpace (H.273). Those of constant luminance (10) are shown by everybody as if they were not.
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
UNKNOWN_MATRICES = (0, 2, 3)
"""RGB, unspecified, reserved: for films that have luma and chroma, it is to be guessed."""

FULL, LIMITED = 2, 1  # FFmpeg's AVColorRange
# Bilinear chroma, rounded, not truncated: without the flag, swscale's RGB is one level too dark on average.
RGB_FLAGS = 0x2 | 0x40000
RESIZE_FLAGS = 0x200 | 0x40000  # Lanczos


@dataclasses.dataclass(frozen=True)
class Coding:
    """Samples of a film's frames, as they are coded: before they are turned upright."""

    layout: Layout
    matrix: int
    """A key of ``LUMA``."""
    is_full_range: bool
    siting: tuple[float, float] = (0.5, 0.5)
    """Where the first sample of chroma lies, right and down, in pixels from the first one: where there are half as
    many as pixels."""

    @property
    def bits(self) -> int:
        return self.layout.bits

    @property
    def white(self) -> int:
        """Of the RGB pictures: 255, or 65535 where the film has more than 8 bits."""
        return 255 if self.bits <= 8 else 65535

    @property
    def _type(self) -> type[np.generic]:
        return np.uint8 if self.bits <= 8 else np.uint16

    def rgb(self, frame: Any) -> np.ndarray:
        """(H, W, 3) RGB of a frame of PyAV: uint8, or uint16 where the film has more than 8 bits."""
        if len(self.layout.components) == 1 or self.layout.is_rgb:
            return self._rgb_without_chroma(frame)
        width, height = frame.width, frame.height
        across, down = self.layout.subsampling
        if width % across or height % down:  # swscale would stretch chroma to the odd size
            frame = filtered(frame, ("pad", f"{-(-width // across) * across}:{-(-height // down) * down}"))
        # Not packed: it takes another way through swscale, which is slower, and wrong for some of its flags.
        target = "gbrp" if self.bits <= 8 else "gbrp16le"
        planar = reformatted(
            frame,
            format=target,
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range=FULL if self.is_full_range else LIMITED,
            dst_color_range=FULL,
            interpolation=RGB_FLAGS,
        )
        image: np.ndarray = cv2.merge(known_layout(target).views(planar))
        if self.bits > 8:  # swscale shifts samples to 16 bits, so that its white is less than 65535
            white = ((1 << self.bits) - 1) << (16 - self.bits) if self.is_full_range else 255 << 8
            image = cv2.addWeighted(image, 65535 / white, image, 0, 0)
        return image if image.shape[:2] == (height, width) else np.ascontiguousarray(image[:height, :width])

    def _rgb_without_chroma(self, frame: Any) -> np.ndarray:
        views = [np.ascontiguousarray(view, self._type) for view in self.layout.views(frame)]
        image: np.ndarray = cv2.merge(views * 3 if len(views) == 1 else views)
        black, white = (0, (1 << self.bits) - 1) if self.layout.is_rgb else self._luma_range
        if (black, white) == (0, self.white):
            return image
        level = (np.arange(1 << self.bits) - black) * (self.white / (white - black))
        return np.take(level.round().clip(0, self.white).astype(self._type), image)

    @property
    def _luma_range(self) -> tuple[int, int]:
        if self.is_full_range:
            return 0, (1 << self.bits) - 1
        return 16 << (self.bits - 8), 235 << (self.bits - 8)

    @functools.cached_property
    def _from_rgb(self) -> np.ndarray:
        """(components, 3) float64: change of each component, in its steps, for a change of R, G, B by one level."""
        largest = (1 << self.bits) - 1
        if self.layout.is_rgb:
            return np.eye(3) * largest / self.white
        black, white = self._luma_range
        red, blue = LUMA[self.matrix]
        luma = np.array([red, 1 - red - blue, blue])
        rows = [luma * (white - black)]
        if len(self.layout.components) == 3:
            span = largest if self.is_full_range else 224 << (self.bits - 8)
            rows.append((np.array([0, 0, 1]) - luma) * span / (2 * (1 - blue)))
            rows.append((np.array([1, 0, 0]) - luma) * span / (2 * (1 - red)))
        return np.stack(rows) / self.white

    @staticmethod
    def region(rows: slice, columns: slice, width: int, height: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) around a part of a frame: RGB of that region is that of the frame, in that part.

        There is a margin, because the interpolation of chroma looks beyond the part.
        """
        margin, grid = 8, 16
        left, top = ((part.start - margin) // grid * grid for part in (columns, rows))
        right, bottom = (-(-(part.stop + margin) // grid) * grid for part in (columns, rows))
        return max(left, 0), max(top, 0), min(right, width), min(bottom, height)

    def changed(self, frame: Any, box: tuple[int, int, int, int], change: np.ndarray, where: np.ndarray) -> Any:
        """A copy of a frame of PyAV with samples changed in a region.

        Args:
            box: (left, top, right, bottom) of the region, which begins at a sample of chroma.
            change: (H, W, 3) float32, by how many levels its R, G and B change; zero outside ``where``.
            where: (H, W) uint8, 0 or 1. Chroma that belongs to no pixel of 1 stays, too.
        """
        frame = copied(frame)
        left, top, right, bottom = box
        largest, shift = (1 << self.bits) - 1, self.layout.shift
        changes = cv2.split(cv2.transform(change, self._from_rgb))
        for component, samples, steps in zip(self.layout.components, self.layout.views(frame), changes):
            across, down = component.subsampling
            if (across, down) != (1, 1):
                steps = _at_chroma(steps, where, component.subsampling, self.siting)
            part = samples[top // down : -(-bottom // down), left // across : -(-right // across)]
            level = np.ascontiguousarray(part >> shift, self._type)
            level = cv2.add(level, steps, dtype=cv2.CV_8U if self._type is np.uint8 else cv2.CV_16U)  # rounds
            part[...] = np.minimum(level, largest) << shift
        return frame

    def resized(self, frame: Any, width: int, height: int) -> Any:
        """A frame of PyAV of another size, by Lanczos' filter, with the same tags."""
        color_range = FULL if self.is_full_range or self.layout.is_rgb else LIMITED
        resized = reformatted(
            frame,
            width=width,
            height=height,
            format=frame.format.name,
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range=color_range,
            dst_color_range=color_range,
            interpolation=RESIZE_FLAGS,
        )
        resized.colorspace, resized.color_range = (
            frame.colorspace,
            frame.color_range,
        )  # the scaler tags what it was told
        return resized


def _at_chroma(
    steps: np.ndarray, where: np.ndarray, subsampling: tuple[int, int], siting: tuple[float, float]
) -> np.ndarray:
    """(H, W) changes at pixels, at the samples of chroma, rounded up: (H / down, W / across)."""
    across, down = subsampling
    (kernel_x, x), (kernel_y, y) = (_kernel(step, site) for step, site in zip(subsampling, siting))
    means = cv2.sepFilter2D(steps, -1, kernel_x, kernel_y, anchor=(x, y), borderType=cv2.BORDER_REPLICATE)
    is_changed = cv2.dilate(where, np.ones((down, across), np.uint8), anchor=(0, 0))  # any pixel of the sample
    return np.multiply(means[::down, ::across], is_changed[::down, ::across])


def _kernel(step: int, site: float) -> tuple[np.ndarray, int]:
    """Weights of pixels in a sample of chroma, of its own or of three around its place; which is of its first pixel."""
    if step == 2 and site != 0.5:
        return np.array([0.25, 0.5, 0.25]), 1 - int(site)
    return np.full(step, 1 / step), 0


def colors_of(frame: Any) -> tuple[int | None, bool]:
    """Matrix (a key of ``LUMA``; ``None``: one that swscale does not know) and whether the range is full.

    What is not tagged is taken as players do: the matrix of BT.709 for high definition, otherwise that of BT.601; a
    limited range, but a full one where there is no color.
    """
    name = frame.format.name
    is_full_range = frame.color_range == FULL or name.startswith("yuvj")
    if name.startswith(("gray", "ya")):
        is_full_range = frame.color_range != LIMITED
    if frame.colorspace in UNKNOWN_MATRICES:
        return (1 if frame.width >= 1280 or frame.height >= 720 else 5), is_full_range
    return MATRICES.get(frame.colorspace), is_full_range


def siting_of(frame: Any, coding: Coding) -> tuple[float, float]:
    """Where a frame's chroma lies, as ``Coding.siting`` has it: PyAV does not tell before version 19, swscale knows.

    In a small part of the frame, one sample of chroma is set. The middle of the spot that it makes is its place.
    """
    subsampling = coding.layout.subsampling
    is_planar = all(component.step == 1 for component in coding.layout.components)
    if 2 not in subsampling or not is_planar or min(frame.width, frame.height) < 16:
        return Coding.siting
    probe = cropped(frame, (0, 0, 16, 16))
    for samples in coding.layout.views(probe):
        samples[...] = 1 << (coding.bits - 1 + coding.layout.shift)
    spot = 4
    coding.layout.views(probe)[1][spot, spot] += 1 << (coding.bits - 2 + coding.layout.shift)
    target = "yuv444p" if coding.bits <= 8 else "yuv444p16le"
    colors = {"src_colorspace": coding.matrix, "dst_colorspace": coding.matrix}
    ranges = {"src_color_range": LIMITED, "dst_color_range": LIMITED}
    shown = reformatted(probe, format=target, interpolation=RGB_FLAGS, **colors, **ranges)
    light = known_layout(target).views(shown)[1].astype(np.float64)
    light -= light[-1, -1]
    places = (light.sum(0) @ np.arange(16), light.sum(1) @ np.arange(16))
    right, down = (
        round(2 * (place / light.sum() - spot * step)) / 2 if step == 2 else 0.5
        for place, step in zip(places, subsampling)
    )
    return right, down
