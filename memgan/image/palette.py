"""Brings pictures to 256 colors, for GIF."""

import numpy as np
from PIL import Image

from memgan.image.picture import Picture, in_srgb, to_8bit

NUM_COLORS = 255
"""One more is for what is not seen."""
TOO_MANY_COLORS = "GIF holds 256 colors: the others are approximated"
"""A problem."""


def indexed(picture: Picture) -> tuple[Image.Image, bool]:
    """A picture in 256 colors, and whether none of its colors had to be approximated.

    More colors are brought to so many by an octree with error diffusion: of Pillow's methods this one is nearest, at a
    distance from which single pixels are not seen, for the time it takes.

    Number 255 is clear: what is less than half opaque.
    """
    picture = in_srgb(picture)
    rgb = to_8bit(picture.rgb)
    image = Image.fromarray(rgb)
    is_exact = image.getcolors(NUM_COLORS) is not None
    if not is_exact:
        palette = image.quantize(NUM_COLORS, Image.Quantize.FASTOCTREE)
        numbers = np.array(image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG))
        colors = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    else:
        packed = rgb.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
        values, numbers = np.unique(packed, return_inverse=True)
        colors = np.stack([values >> 16, values >> 8 & 255, values & 255], axis=1).astype(np.uint8)
    numbers = numbers.reshape(rgb.shape[:2]).astype(np.uint8)
    if picture.alpha is not None:
        numbers[to_8bit(picture.alpha) < 128] = NUM_COLORS
    whole = np.zeros((256, 3), np.uint8)
    whole[: len(colors)] = colors
    result = Image.fromarray(numbers, "P")
    result.putpalette(whole.tobytes())
    return result, is_exact
