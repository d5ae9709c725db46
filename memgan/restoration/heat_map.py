"""Draws the expected error of a restored face over it, in colors that mean the same for every face."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from memgan.errors import ConfigError
from memgan.image import gray_of
from memgan.restoration.result import RestoredFace

LAST_LEVEL = 20
"""Expected error, in levels of 255, of the last color of the scale; more has the same color."""
_STEP = 5  # between the numbers of the legend
_DARKENED = 0.75  # so that the colors are seen on bright skin too
_SHARES = (0.15, 0.8)  # of the color in what is shown: without an error the face, with much of it the color
_MID_GRAY = 128
_LEGEND_SIDE = 192  # smaller pictures have no room for one


def draw_heat_map(face: RestoredFace) -> np.ndarray:
    """A restored face in gray, colored by how far it may be from the truth; (S, S, 3) uint8 RGB.

    What stays gray is sure, what glows is made up. The scale ends at :data:`LAST_LEVEL` for every face, so that maps
    compare; a legend at the bottom, over the edge of the picture, has its numbers. The colors are OpenCV's ``inferno``:
    they grow lighter evenly, also for those who cannot tell red from green.

    Raises:
        ConfigError: if the face has no :attr:`~memgan.restoration.result.RestoredFace.expected_error`.
    """
    if face.expected_error is None:
        raise ConfigError(
            "this face has no expected_error, and so no map: restore it with reliability=True. Faces that were sharp "
            "already are not restored and have none."
        )
    picture = _colored(face.expected_error, gray_of(face.restored))
    return _with_legend(picture) if len(picture) >= _LEGEND_SIDE else picture


def _colored(error: np.ndarray, gray: np.ndarray) -> np.ndarray:
    """(H, W) levels and (H, W) uint8 -> (H, W, 3) uint8."""
    place = np.clip(error / LAST_LEVEL, 0, 1).astype(np.float32)
    color = cv2.applyColorMap(np.rint(place * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    low, high = _SHARES
    share = (low + (high - low) * place)[:, :, None]
    mixed = share * color + (1 - share) * _DARKENED * gray[:, :, None].astype(np.float32)
    return np.rint(mixed).astype(np.uint8)


def _with_legend(picture: np.ndarray) -> np.ndarray:
    """The same picture with the scale over its lowest rows."""
    side = len(picture)
    unit = side / 512
    height, left, right = round(44 * unit), round(24 * unit), side - round(24 * unit)
    top = side - height
    drawn = Image.fromarray(picture)
    drawing = ImageDraw.Draw(drawn)
    drawing.rectangle((0, top, side, side), fill=(16, 16, 16))
    levels = np.linspace(0, LAST_LEVEL, right - left, dtype=np.float32)[None].repeat(round(10 * unit), 0)
    bar = _colored(levels, np.full(levels.shape, _MID_GRAY, np.uint8))
    drawn.paste(Image.fromarray(bar), (left, top + round(8 * unit)))
    font = ImageFont.load_default(size=13 * unit)
    for level in range(0, LAST_LEVEL + 1, _STEP):
        text = f"{level}+" if level == LAST_LEVEL else f"{level} levels" if level == 0 else str(level)
        x = left + (right - left - 1) * level / LAST_LEVEL
        drawing.line((x, top + round(18 * unit), x, top + round(21 * unit)), fill=(200, 200, 200))
        anchor = "la" if level == 0 else "ra" if level == LAST_LEVEL else "ma"
        drawing.text((x, top + round(24 * unit)), text, fill=(225, 225, 225), font=font, anchor=anchor)
    return np.array(drawn)
