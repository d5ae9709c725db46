"""Grain: a face cleaner than the photograph around it looks pasted, so some of the photograph's own noise returns."""

import itertools

import cv2
import numpy as np

# Bands between Gaussian filters of these standard deviations, in pixels of the canvas: noise of a picture that was
# enlarged lies in the lower ones.
_SIGMAS = (0.0, 1.0, 2.0, 4.0)
_BLOCK = 9  # side of the neighbourhoods whose noise is compared
_FLAT_SHARE = 25  # percentile: the flattest quarter of the neighbourhoods holds noise rather than texture
_LEAST_LEVEL = 0.4  # of 255: below, rounding makes more noise
_LEAST_PIXELS = 200
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)


def missing_grain(before: np.ndarray, after: np.ndarray, amount: np.ndarray) -> np.ndarray | None:
    """Noise like that which a restoration removed from a face, as far as its surroundings have it too.

    Args:
        before: (H, W, 3) float32, a part of the picture, in levels of 255.
        after: the same with a restored face in it.
        amount: (H, W) float32 in [0, 1], how much of the restored face is seen there.

    Returns:
        (H, W) float32 in levels to add to all channels; the same for the same input. ``None`` if nothing is missing:
        the surroundings are clean, or the face is as noisy as it was.
    """
    inside, outside = amount > 0.6, amount < 0.1
    if inside.sum() < _LEAST_PIXELS or outside.sum() < _LEAST_PIXELS:
        return None
    white = np.random.default_rng(0).standard_normal(amount.shape, np.float32)
    grain = None
    for old, new, noise in zip(_bands(before @ _BRIGHTNESS), _bands(after @ _BRIGHTNESS), _bands(white), strict=True):
        wanted = min(_level(old, inside), _level(old, outside))
        missing = wanted**2 - _level(new, inside) ** 2
        if wanted < _LEAST_LEVEL or missing <= 0:
            continue
        layer = noise * (np.sqrt(missing) / max(_level(noise, inside), 1e-6))
        grain = layer if grain is None else grain + layer
    return None if grain is None else grain * amount


def _bands(plane: np.ndarray) -> list[np.ndarray]:
    blurred = [plane] + [cv2.GaussianBlur(plane, (0, 0), sigma) for sigma in _SIGMAS[1:]]
    return [fine - coarse for fine, coarse in itertools.pairwise(blurred)]


def _level(band: np.ndarray, where: np.ndarray) -> float:
    """Typical amplitude in the flattest neighbourhoods."""
    power = cv2.blur(band * band, (_BLOCK, _BLOCK))
    return float(np.sqrt(np.percentile(power[where], _FLAT_SHARE)))
