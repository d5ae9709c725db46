"""Makes the small JPEG pictures that the page shows; what is downloaded never passes through here."""

import dataclasses
import secrets
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from memgan.image import Picture, in_srgb, to_8bit
from memgan.restoration.heat_map import draw_heat_map
from memgan.restoration.result import RestoredFace

_LONGEST = 1600  # pixels of a side of a picture on the page
_FACE = 256  # of a face
_QUALITY = 88


def picture_preview(picture: Picture, folder: Path) -> Path:
    """A JPEG file of a whole picture, in sRGB; what is transparent is white."""
    alpha = None if picture.alpha is None else _small(picture.alpha, _LONGEST)
    small = in_srgb(dataclasses.replace(picture, rgb=_small(picture.rgb, _LONGEST), alpha=alpha))
    rgb = to_8bit(small.rgb)
    if alpha is not None:
        share = to_8bit(alpha)[:, :, None].astype(np.float32) / 255
        rgb = np.rint(share * rgb + (1 - share) * 255).astype(np.uint8)
    return _saved(rgb, folder)


def face_preview(face: RestoredFace, folder: Path) -> Path:
    """A JPEG file of a face before and after, side by side."""
    return _saved(np.hstack([_small(panel, _FACE) for panel in (face.crop, face.restored)]), folder)


def map_preview(face: RestoredFace, folder: Path) -> Path:
    """A JPEG file of how far a face may be from the truth; of one that has an ``expected_error``."""
    return _saved(_small(draw_heat_map(face), _FACE), folder)


def _small(pixels: np.ndarray, longest: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _saved(rgb: np.ndarray, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)  # not what it lies in, which is gone if the visitor is
    path = folder / f"{secrets.token_hex(8)}.jpg"  # a name of its own, since browsers keep what an address had
    Image.fromarray(rgb).save(path, "JPEG", quality=_QUALITY)
    return path
