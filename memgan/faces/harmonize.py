"""Harmonizes a restored face with its photograph: keeps the slow variations of its colors, gives back its grain."""

import math
from collections.abc import Iterator

import cv2
import numpy as np

# Standard deviation of the filter as a share of the crop's side: 16 px at 512. Measured on degraded faces, from 8 to 32
# px make no difference to the error of the colors; 16 px average the blocks of JPEG's chroma and still follow an iris.
_SIGMA = 1 / 32
_SMALL_SIGMA = 4.0  # pixels: a Gaussian filter of less would be told from its samples

# Bands between the plane and Gaussian filters of these standard deviations, in pixels of the canvas: noise of a picture
# that was enlarged lies in the lower ones.
_SIGMAS = (1.0, 2.0, 4.0)
_BLOCK = 9  # side of the neighborhoods whose noise is compared
_FLAT_SHARE = 25  # percentile: the flattest quarter of the neighborhoods holds noise rather than texture
_LEAST_LEVEL = 0.4  # of 255: below, rounding makes more noise
_LEAST_PIXELS = 200
_MAX_STEP = 4  # between neighborhoods that are looked at: these have most of their pixels in common
_ENOUGH_NEIGHBORHOODS = 2**14


def lock_color(restored: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Replace the low frequencies of a restored face by those of the input, in all channels alike.

    Blur, noise and compression leave the low frequencies of a picture as they are, so where the restoration differs
    there it is the network's guess: paler or redder skin, another eye color.

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


def missing_grain(
    before: np.ndarray, after: np.ndarray, amount: np.ndarray, seed: int = 0, seen: np.ndarray | None = None
) -> np.ndarray | None:
    """Noise like that which a restoration removed from a face, as far as its surroundings have it too.

    Args:
        before: (H, W) float32, brightness (BT.601) of a part of the picture, in levels of 255.
        after: the same with a restored face in it.
        amount: (H, W) float32 in [0, 1], how much of the restored face is seen there.
        seed: of the noise.
        seen: (H, W) bool, what belongs to the surroundings; ``None``: everything. Transparent pixels do not.

    Returns:
        (H, W) float32 in levels to add to all channels; the same for the same input. ``None`` if nothing is missing:
        the surroundings are clean, or the face is as noisy as it was.
    """
    inside, outside = amount > 0.6, amount < 0.1
    if seen is not None:
        # Nor do their neighbors: the step at the edge of a cut-out is no noise.
        outside &= cv2.erode(seen.astype(np.uint8), np.ones((_BLOCK, _BLOCK), np.uint8)) > 0
    if min(np.count_nonzero(inside), np.count_nonzero(outside)) < _LEAST_PIXELS:
        return None
    wanted = [min(levels) for _, levels in _bands(before, inside, outside)]
    if max(wanted) < _LEAST_LEVEL:
        return None  # a clean photograph: most of the work is spared
    missing = [
        level**2 - left**2 if level >= _LEAST_LEVEL else 0.0
        for level, (_, (left,)) in zip(wanted, _bands(after, inside), strict=True)
    ]
    if max(missing) <= 0:
        return None
    white = np.random.default_rng(seed).standard_normal(amount.shape, np.float32)
    grain = np.zeros_like(amount)
    for power, (noise, (level,)) in zip(missing, _bands(white, inside), strict=True):
        if power > 0:
            noise *= np.sqrt(power) / max(level, 1e-6)
            grain += noise
    grain *= amount
    return grain


def _bands(plane: np.ndarray, *places: np.ndarray) -> Iterator[tuple[np.ndarray, list[float]]]:
    """Each band, and its typical amplitude in the flattest neighborhoods of each of these places, (H, W) bool."""
    fine = plane
    for sigma in _SIGMAS:
        coarse = cv2.GaussianBlur(plane, (0, 0), sigma)
        band, fine = fine - coarse, coarse
        power = cv2.blur(band * band, (_BLOCK, _BLOCK))
        # In a large picture not every neighborhood is needed to know how noisy the flattest quarter is.
        step = max(1, min(_MAX_STEP, math.isqrt(power.size // _ENOUGH_NEIGHBORHOODS)))
        levels = []
        for where in places:
            few = where[::step, ::step]
            some = power[::step, ::step][few] if np.count_nonzero(few) >= _LEAST_PIXELS else power[where]
            levels.append(float(np.sqrt(np.percentile(some, _FLAT_SHARE))))
        yield band, levels
