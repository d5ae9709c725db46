"""Estimates from the pixels of an aligned face whether anything is wrong with it: blur, few pixels, noise, compression.

Sharp detail, noise and what compression takes away lie in different bands of frequencies and in different parts of a
face, so the estimate sees how energy is spread over a few bands, and in each over the face's flat and detailed blocks.
A network of one hidden layer turns that into a number; ``sharpness.npz`` holds it, and
``python -m memgan.training.sharpness`` fits it.
"""

import functools
from pathlib import Path

import cv2
import numpy as np

SIDE_PX = 512
"""Side of the crops for which the estimate is fitted."""
_ROWS, _COLUMNS = slice(80, 464), slice(96, 416)  # the face with its hair: what is behind it may be out of focus
_BLOCK_PX = 16
_PERCENTILES = (5, 10, 25, 50, 75, 90, 97)  # of the blocks' energy: noise shows in flat blocks, detail in the others
_SIGMAS = (0.7, 1.4, 2.8, 5.6)
_SMOOTH = 1.0  # of the picture whose gradients are asked for a direction: grain has none, lids, lips and hair have
_LEAST_ENERGY = 0.05  # in squared levels of 255: about what rounding to 8 bits makes
# Takes what varies in both directions, at the finest scale only: noise has it, edges and lines hardly do
# (Immerkaer, "Fast noise variance estimation", 1996); divided by its norm.
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32) / 6


def sharpness(crop: np.ndarray) -> float | None:
    """How sharp and clean an aligned face is, from 0 (degraded) to 1 (nothing is wrong with it).

    A face that has fewer pixels in its photograph than in the crop was enlarged, and is not sharp. Colors, make-up and
    retouching do not count, nor does what is behind the face.

    Args:
        crop: (S, S, 3) uint8 RGB, aligned to FFHQ's template.

    Returns:
        0 to 1; ``None`` where S is not 512, for which nothing is known.
    """
    if crop.shape[0] != SIDE_PX:
        return None
    model = _model()
    alone, full = model["limits"]
    share = min(max((full - damage(band_energies(crop), model)) / (full - alone), 0.0), 1.0)
    return float(share * share * (3 - 2 * share))


def band_energies(crop: np.ndarray) -> np.ndarray:
    """What the estimate sees of a face, (512, 512, 3) uint8 RGB: (42,) float64.

    Logarithms of the energy of each band in flat to detailed blocks, then how far the blocks' gradients have one
    direction, 0 to 1 (the coherence of the structure tensor).
    """
    fine: np.ndarray = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    bands = [cv2.filter2D(fine, -1, _NOISE_KERNEL, borderType=cv2.BORDER_REFLECT_101)]
    smooth = cv2.GaussianBlur(fine, (0, 0), _SMOOTH, borderType=cv2.BORDER_REFLECT_101)
    for sigma in _SIGMAS:
        coarse = cv2.GaussianBlur(fine, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
        bands.append(fine - coarse)
        fine = coarse
    energies = [np.percentile(_block_means(band * band), _PERCENTILES) for band in bands]
    right, down = (cv2.Scharr(smooth, -1, *order, scale=1 / 32) for order in ((1, 0), (0, 1)))
    across, along, both = (_block_means(one) for one in (right * right, down * down, right * down))
    directed = np.hypot(across - along, 2 * both) / (across + along + _LEAST_ENERGY)
    return np.concatenate([np.log(np.concatenate(energies) + _LEAST_ENERGY), np.percentile(directed, _PERCENTILES)])


def _block_means(plane: np.ndarray) -> np.ndarray:
    face = plane[_ROWS, _COLUMNS]
    means: np.ndarray = cv2.resize(face, None, fx=1 / _BLOCK_PX, fy=1 / _BLOCK_PX, interpolation=cv2.INTER_AREA)
    return means


def damage(energies: np.ndarray, model: dict[str, np.ndarray]) -> np.ndarray:
    """Logarithm of the odds that faces are degraded, (...) for (..., 35) of :func:`band_energies`."""
    hidden = np.tanh((energies - model["mean"]) / model["scale"] @ model["hidden"] + model["hidden_bias"])
    odds: np.ndarray = hidden @ model["output"] + model["output_bias"]
    return odds


@functools.cache
def _model() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("sharpness.npz")) as file:
        return {name: file[name].astype(np.float64) for name in file.files}
