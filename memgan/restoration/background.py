"""Enlarges what is not face: the canvas that restored faces are pasted on."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch

from memgan.errors import ConfigError, ImageError
from memgan.image import MIN_SIDE, Picture, from_array, resize, resize_with_alpha, to_8bit, to_array, visible_rgb
from memgan.restoration.tiles import enlarge_in_tiles

MAX_RESULT_PIXELS = 2**28
# An upsampler may make a picture of a multiple of the size before it shrinks it, all in floats: so of a large picture
# it gets parts, of at most so many pixels a side before and after.
_MAX_PART = 2048
_MAX_ENLARGED_PART = 8192
_OVERLAP = 32  # pixels around a part that are enlarged with it, so that no edge is seen


class BackgroundUpsampler(Protocol):
    """Enlarges a picture, as ``RealESRGANer`` of Real-ESRGAN does."""

    def enhance(self, img: np.ndarray, outscale: float) -> Sequence[Any]:
        """(H, W, 3) BGR uint8 or uint16 -> a sequence whose first item is the enlarged picture, or that itself."""


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

    Colors that are hidden under transparent pixels do not enter visible ones.

    Args:
        size: width and height, see :func:`result_size`.
        upsampler: for the colors, as :func:`memgan.image.visible_rgb` shows them; transparency, and everything if
            ``None``, is resized with OpenCV's Lanczos filter. Whatever size and type it gives back is brought to the
            right ones. Of a picture with a side over 2048 pixels it gets overlapping parts.

    Raises:
        ImageError: if the upsampler gives back no picture.
    """
    if upsampler is None:
        rgb, alpha = resize_with_alpha(picture.rgb, picture.alpha, *size, cv2.INTER_LANCZOS4)
        return dataclasses.replace(picture, rgb=rgb, alpha=alpha)
    alpha = None if picture.alpha is None else resize(picture.alpha, *size, cv2.INTER_LANCZOS4)
    rgb = visible_rgb(picture)
    if max(rgb.shape[:2]) <= _MAX_PART:
        rgb = resize(_upsampled(rgb, upsampler, upscale), *size)
    else:
        # Whole multiples, so that every part is enlarged alike whatever its size is.
        part = min(_MAX_PART, _MAX_ENLARGED_PART // math.ceil(upscale))
        rgb = enlarge_in_tiles(rgb, size, lambda few: _upsampled(few, upsampler, math.ceil(upscale)), part, _OVERLAP)
    return dataclasses.replace(picture, rgb=rgb, alpha=alpha)


def _upsampled(rgb: np.ndarray, upsampler: BackgroundUpsampler, outscale: float) -> np.ndarray:
    """What an upsampler makes of (H, W, 3) RGB, in the type of that."""
    # Always three channels: some upsamplers give gray and transparent pictures back in another form.
    given = upsampler.enhance(to_array(Picture(rgb), "bgr"), outscale=outscale)
    try:
        first = given if isinstance(given, np.ndarray | torch.Tensor) else given[0]
        # Results may have shorter sides than pictures that are given, if they are asked for, and longer ones.
        least = min(MIN_SIDE, max(1, int(min(rgb.shape[:2]) * outscale)))
        sides = least, MAX_RESULT_PIXELS
        enlarged = from_array(first, "bgr", max_pixels=MAX_RESULT_PIXELS, sides=sides).rgb
    except (ImageError, TypeError, LookupError) as error:
        raise ImageError(
            f"the background upsampler {type(upsampler).__name__} gave a {type(given).__name__} ({error}); its "
            "enhance(img, outscale=...) must give a sequence whose first item is the enlarged picture, an array"
        ) from error
    if enlarged.dtype == rgb.dtype:
        return enlarged
    return to_8bit(enlarged) if rgb.dtype == np.uint8 else enlarged.astype(np.uint16) * 257


def check_upsampler(upsampler: Any) -> None:
    """A ConfigError for what is neither ``None`` nor has a method ``enhance``."""
    if upsampler is not None and not callable(getattr(upsampler, "enhance", None)):
        raise ConfigError(
            f"bg_upsampler is {upsampler!r}; it needs a method enhance(img, outscale=...) -> (picture, ...), "
            "or leave it out to enlarge with a Lanczos filter."
        )
