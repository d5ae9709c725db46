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
    low = _blurred(difference, max(1.0, restored.shape[0] * _SIGMA))
    return cv2.add(restored, low, dtype=cv2.CV_8U)  # rounds and clips


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian filter of (S, S, 3) float32.

    A wide one leaves nothing that a smaller picture could not hold, so it is applied to blocks of pixels: that costs a
    tenth, and for photographs the result is the same to a small part of a level.
    """
    size, block = image.shape[0], int(sigma / _SMALL_SIGMA)
    if block < 2 or size % block:
        return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    # Mirrored before it is made small: the blocks would be mirrored around other pixels.
    border = block * math.ceil(4 * sigma / block)
    image = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REFLECT_101)
    side = image.shape[0] // block
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    # Averaging blocks and interpolating between them are filters too: their variance is part of what is wanted.
    left = math.sqrt(sigma**2 - (block**2 - 1) / 12 - block**2 / 6) / block
    small = cv2.GaussianBlur(small, (0, 0), left)
    blurred = cv2.resize(small, image.shape[:2], interpolation=cv2.INTER_LINEAR)
    return blurred[border:-border, border:-border]
