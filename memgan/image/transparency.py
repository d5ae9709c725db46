"""Resizes and shows partly transparent pictures so that colors that nobody sees leave no trace."""

import itertools

import cv2
import numpy as np

from memgan.image.picture import Picture, to_8bit
from memgan.image.tensors import resize

_REACH = 5  # pixels: of OpenCV's widest filter, and one more
_CLEAR = 8  # pixels that are at least one part in so many opaque show their own color
_BLOCK = 4  # side of the smallest neighborhoods whose visible colors are averaged
_ROWS = 256  # worked on at once


def resize_with_alpha(
    rgb: np.ndarray, alpha: np.ndarray | None, width: int, height: int, interpolation: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Resize colors and their transparency, as if the picture were laid on a background first and resized then.

    Each color counts as much as it is seen (premultiplied alpha), so that no color from under a transparent pixel
    enters a visible one. Where the result is fully transparent, the hidden colors are resized for themselves.

    Args:
        rgb: (H, W, 3) uint8 or uint16, not premultiplied.
        alpha: (H, W) of the same type; ``None``: opaque.
        width, height, interpolation: as for :func:`memgan.image.resize`.

    Returns:
        (height, width, 3) and (height, width) of the same type.
    """
    resized = resize(rgb, width, height, interpolation)
    if alpha is None:
        return resized, None
    opacity = resize(alpha, width, height, interpolation)
    peak = np.iinfo(alpha.dtype).max
    hides: np.ndarray = (alpha < peak).astype(np.uint8)
    if resized.shape == rgb.shape or not hides.any():
        return resized, opacity
    if width >= rgb.shape[1] and height >= rgb.shape[0]:
        # Where the filter sees opaque pixels only, weights make no difference.
        hides = cv2.dilate(hides, np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8))
    else:
        hides[:] = 1
    mixed = (resize(hides, width, height, cv2.INTER_NEAREST) > 0) & (opacity > 0)
    weights = alpha.astype(np.float32)
    total = resize(weights, width, height, interpolation)[mixed]
    for channel in range(3):
        seen = resize(weights * rgb[:, :, channel], width, height, interpolation)[mixed]
        resized[mixed, channel] = np.clip(np.rint(seen / total), 0, peak)
    return resized, opacity


def visible_rgb(picture: Picture) -> np.ndarray:
    """The colors of a picture, with those that are hidden replaced by a smooth continuation of the visible ones.

    This is what detectors and networks see. Pixels that are at least an eighth opaque show their own color, so that no
    background enters the edges of a cut-out; of less opaque ones the continuation takes over. A picture of which
    nothing is visible is gray.

    Returns:
        (H, W, 3) uint8 or uint16; ``picture.rgb`` itself if nothing is replaced.
    """
    rgb, alpha = picture.rgb, picture.alpha
    if alpha is None or int(alpha.min()) * _CLEAR >= picture.peak:
        return rgb
    shown = _continuation(rgb, alpha)
    for start in range(0, rgb.shape[0], _ROWS):
        rows = slice(start, start + _ROWS)
        own = np.minimum(alpha[rows].astype(np.float32) * (_CLEAR / picture.peak), 1)[:, :, None]
        shown[rows] = np.rint(shown[rows] + own * (rgb[rows].astype(np.float32) - shown[rows]))
    return shown


def visible_8bit(picture: Picture) -> np.ndarray:
    """(H, W, 3) uint8: :func:`visible_rgb` with 8 bit."""
    return to_8bit(visible_rgb(picture))


def _continuation(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Visible colors continued over the whole picture, (H, W, 3) of its type: each pixel as its surroundings are.

    Means over ever larger neighborhoods, weighted by opacity; the smallest in which something is seen counts most.
    """
    height, width = alpha.shape
    peak = np.iinfo(alpha.dtype).max
    size = -(-width // _BLOCK), -(-height // _BLOCK)
    weights = alpha.astype(np.float32) / peak
    planes = itertools.chain((weights * rgb[:, :, channel] for channel in range(3)), (weights,))
    level = cv2.merge([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes])
    *total, share = level.sum(axis=(0, 1), dtype=np.float64)
    levels = [level]
    while max(level.shape[:2]) > 1:
        level = cv2.resize(level, (-(-level.shape[1] // 2), -(-level.shape[0] // 2)), interpolation=cv2.INTER_AREA)
        levels.append(level)
    mean = np.array(total) / share if share > 0 else peak / 2
    colors: np.ndarray = np.full((1, 1, 3), mean, np.float32)
    for level in reversed(levels):
        seen = level[:, :, 3:]
        colors = cv2.resize(colors, level.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        colors += np.minimum(seen * _CLEAR, 1) * (level[:, :, :3] / np.maximum(seen, 1e-6) - colors)
    return resize(np.rint(colors).astype(rgb.dtype), width, height, cv2.INTER_LINEAR)
