"""Enlarges what is not face: the canvas that restored faces are pasted on."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np

from memgan.errors import ConfigError, ImageError
from memgan.image import Picture, from_array, resize, to_8bit, to_array

MAX_RESULT_PIXELS = 2**28


class BackgroundUpsampler(Protocol):
    """Enlarges a picture, as ``RealESRGANer`` of Real-ESRGAN does."""

    def enhance(self, img: np.ndarray, outscale: float) -> Sequence[Any]:
        """(H, W, 3) BGR uint8 or uint16 -> a sequence whose first item is the enlarged picture."""


def result_size(picture: Picture, upscale: float) -> tuple[int, int]:
    """Width and height of ``picture`` enlarged by ``upscale``, rounded down to whole pixels.

    Raises:
        ImageError: if it would be empty or have more than 2**28 pixels.
    """
    height, width = picture.rgb.shape[:2]
    size = int(width * upscale), int(height * upscale)
    if min(size) < 1 or size[0] * size[1] > MAX_RESULT_PIXELS:
        raise ImageError(
            f"a picture of {width} x {height} pixels, {upscale:g} times as large, would have {size[0]} x {size[1]}; "
            f"allowed are 1 to {MAX_RESULT_PIXELS} pixels in all; choose another upscale"
        )
    return size


def enlarge(
    picture: Picture, size: tuple[int, int], upscale: float, upsampler: BackgroundUpsampler | None = None
) -> Picture:
    """The picture ``upscale`` times as large, sharing no memory with ``picture``.

    Args:
        size: width and height, see :func:`result_size`.
        upsampler: for the colors; transparency, and everything if ``None``, is resized with OpenCV's Lanczos filter.
            Whatever size and type it gives back is brought to the right ones.

    Raises:
        ImageError: if the upsampler gives back no picture.
    """
    alpha = None if picture.alpha is None else resize(picture.alpha, *size, cv2.INTER_LANCZOS4)
    if upsampler is None:
        return dataclasses.replace(picture, rgb=resize(picture.rgb, *size, cv2.INTER_LANCZOS4), alpha=alpha)
    # Always three channels: some upsamplers give gray and transparent pictures back in another form.
    bgr = to_array(Picture(picture.rgb), "bgr")
    rgb = from_array(upsampler.enhance(bgr, outscale=upscale)[0], "bgr").rgb
    if rgb.dtype != picture.rgb.dtype:
        rgb = to_8bit(rgb) if picture.peak == 255 else rgb.astype(np.uint16) * 257
    return dataclasses.replace(picture, rgb=resize(rgb, *size), alpha=alpha)


def check_upsampler(upsampler: Any) -> None:
    """A ConfigError for what is neither ``None`` nor has a method ``enhance``."""
    if upsampler is not None and not callable(getattr(upsampler, "enhance", None)):
        raise ConfigError(
            f"bg_upsampler is {upsampler!r}; it needs a method enhance(img, outscale=...) -> (picture, ...), "
            "or leave it out to enlarge with a Lanczos filter."
        )
