"""Keeps the slow variations of a restored face's colors those of the input."""

import math

import cv2
import numpy as np

# Standard deviation of the filter as a share of the crop's side: 16 px at 512. Measured on degraded faces, from 8 to 32
# px make no difference to the error of the colors; 16 px average the blocks of JPEG's chroma and still follow an iris.
_SIGMA = 1 / 32
_SMALL_SIGMA = 4.0  # pixels: a Gaussian filter of less would be told from its samples


def lock_color(restored: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Replace the low frequencies of a restored face by those of the input.

    Blur, noise and compression leave the low frequencies of a picture as they are, so where the restoration differs
    there it is the network's guess: paler or redder skin, another eye color. All channels are treated alike, which
    makes it the same in RGB and in YCbCr.

    Args:
        restored: (S, S, 3) uint8 RGB.
        crop: (S, S, 3) uint8 RGB, what it was made from.

    Returns:
        (S, S, 3) uint8 RGB; ``restored`` itself where the two have the same low frequencies.
    """
    difference = cv2.subtract(crop, restored, dtype=cv2.CV_32F)
    size = restored.shape[0]
    sigma = max(1.0, size * _SIGMA)
    block = int(sigma / _SMALL_SIGMA)
    if block < 2 or size % block:
        low = cv2.GaussianBlur(difference, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        return cv2.add(restored, low, dtype=cv2.CV_8U)  # rounds and clips
    # A wide filter leaves nothing that a smaller picture could not hold, so it is applied to blocks of pixels: that
    # costs a tenth, and for photographs the result is the same to a small part of a level. The picture is mirrored
    # before it is made small: the blocks would be mirrored around other pixels.
    border = block * math.ceil(4 * sigma / block)
    wide = cv2.copyMakeBorder(difference, border, border, border, border, cv2.BORDER_REFLECT_101)
    side = wide.shape[0] // block
    small = cv2.resize(wide, (side, side), interpolation=cv2.INTER_AREA)
    # Averaging blocks and interpolating between them are filters too: their variance is part of what is wanted.
    left = math.sqrt(sigma**2 - (block**2 - 1) / 12 - block**2 / 6) / block
    small = cv2.GaussianBlur(small, (0, 0), left)
    low = cv2.resize(small, wide.shape[:2], interpolation=cv2.INTER_LINEAR)[border:-border, border:-border]
    return cv2.add(restored, low, dtype=cv2.CV_8U)
