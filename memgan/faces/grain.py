"""Gives a restored face the grain of its photograph: a face cleaner than what is around it looks pasted."""

import math
from collections.abc import Iterator

import cv2
import numpy as np

# Bands between Gaussian filters of these standard deviations, in pixels of the canvas: noise of a picture that was
# enlarged lies in the lower ones.
_SIGMAS = (0.0, 1.0, 2.0, 4.0)
_BLOCK = 9  # side of the neighborhoods whose noise is compared
_FLAT_SHARE = 25  # percentile: the flattest quarter of the neighborhoods holds noise rather than texture
_LEAST_LEVEL = 0.4  # of 255: below, rounding makes more noise
_LEAST_PIXELS = 200
_MAX_STEP = 4  # between neighborhoods that are looked at: these have most of their pixels in common
_ENOUGH_NEIGHBORHOODS = 2**14


def missing_grain(before: np.ndarray, after: np.ndarray, amount: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Noise like that which a restoration removed from a face, as far as its surroundings have it too.

    Args:
        before: (H, W) float32, brightness (BT.601) of a part of the picture, in levels of 255.
        after: the same with a restored face in it.
        amount: (H, W) float32 in [0, 1], how much of the restored face is seen there.
        seed: of the noise.

    Returns:
        (H, W) float32 in levels to add to all channels; the same for the same input. ``None`` if nothing is missing:
        the surroundings are clean, or the face is as noisy as it was.
    """
    inside, outside = amount > 0.6, amount < 0.1
    if min(np.count_nonzero(inside), np.count_nonzero(outside)) < _LEAST_PIXELS:
        return None
    wanted = [min(_levels(band, inside, outside)) for band in _bands(before)]
    if max(wanted) < _LEAST_LEVEL:
        return None  # a clean photograph: most of the work is spared
    missing = [
        level**2 - _levels(band, inside)[0] ** 2 if level >= _LEAST_LEVEL else 0.0
        for level, band in zip(wanted, _bands(after), strict=True)
    ]
    if max(missing) <= 0:
        return None
    white = np.random.default_rng(seed).standard_normal(amount.shape, np.float32)
    grain = np.zeros_like(amount)
    for power, noise in zip(missing, _bands(white), strict=True):
        if power > 0:
            noise *= np.sqrt(power) / max(_levels(noise, inside)[0], 1e-6)
            grain += noise
    grain *= amount
    return grain


def _bands(plane: np.ndarray) -> Iterator[np.ndarray]:
    fine = plane
    for sigma in _SIGMAS[1:]:
        coarse = cv2.GaussianBlur(plane, (0, 0), sigma)
        yield fine - coarse
        fine = coarse


def _levels(band: np.ndarray, *places: np.ndarray) -> list[float]:
    """Typical amplitude in the flattest neighborhoods of each of these places, (H, W) bool."""
    power = cv2.blur(band * band, (_BLOCK, _BLOCK))
    # In a large picture not every neighborhood is needed to know how noisy the flattest quarter is.
    step = max(1, min(_MAX_STEP, math.isqrt(power.size // _ENOUGH_NEIGHBORHOODS)))
    levels = []
    for where in places:
        few = where[::step, ::step]
        some = power[::step, ::step][few] if np.count_nonzero(few) >= _LEAST_PIXELS else power[where]
        levels.append(float(np.sqrt(np.percentile(some, _FLAT_SHARE))))
    return levels
