"""Computes NIQE, the naturalness of a picture without a truth (Mittal, Soundararajan and Bovik, IEEE SPL 2013).

Written after the paper, with the conventions of its authors' MATLAB release: BT.601 gray in whole counts, the upper
left blocks of 96 px, a 7 x 7 window, bicubic halving with anti-aliasing. ``niqe_pristine.npz`` holds the release's
statistics of pristine photographs (mean and covariance of 36 features; (c) 2012 The University of Texas at Austin,
free to use, copy, modify and distribute for any purpose if this notice stays), unchanged, as BasicSR distributes them.
"""

import functools
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.image import to_uint8
from memgan.runtime.checks import check_pictures

BLOCK_PX = 96  # side of the blocks whose features are compared; a picture needs at least two along each side
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
_GRAY = (0.298936021293776, 0.587043074451121, 0.114020904255103)  # rgb2gray's


def niqe(image: Tensor) -> Tensor:
    """Distance of a picture's local statistics from those of pristine photographs; lower is more natural.

    Sharp photographs give about 3 to 6. What is beyond a multiple of 96 px on the right and below is ignored.

    Args:
        image: (B, 3, H, W) RGB in [-1, 1], rounded to 8 bit here; sides of at least 192 px.

    Returns:
        (B,) float32 on the CPU; NaN for a picture without any texture.

    Raises:
        ShapeError: if the shape is not of that form.
    """
    check_pictures(image, least_px=2 * BLOCK_PX)
    return torch.tensor([_distance(block_features(one)) for one in to_uint8(image)], dtype=torch.float32)


def block_features(rgb: np.ndarray) -> np.ndarray:
    """18 features of every block of (H, W, 3) uint8, then 18 at half size: (blocks, 36); NaN without texture."""
    rows, columns = rgb.shape[0] // BLOCK_PX, rgb.shape[1] // BLOCK_PX
    gray = np.floor(rgb[: rows * BLOCK_PX, : columns * BLOCK_PX].astype(np.float64) @ np.array(_GRAY) + 0.5)
    plane = torch.from_numpy(gray)[None, None]
    features = []
    for block_px in (BLOCK_PX, BLOCK_PX // 2):
        blocks = _normalized(plane)[0, 0].reshape(rows, block_px, columns, block_px).transpose(1, 2)
        features.append(_features(blocks.reshape(-1, block_px, block_px).numpy()))
        plane = _halved(plane)
    return np.concatenate(features, axis=1)


def _distance(features: np.ndarray) -> float:
    mean, covariance = _pristine()
    known = features[~np.isnan(features).any(axis=1)]
    if len(known) < 2:
        return math.nan
    difference = mean - known.mean(axis=0)
    pooled = (covariance + np.cov(known, rowvar=False)) / 2
    return math.sqrt(difference @ np.linalg.pinv(pooled) @ difference)


@functools.cache
def _pristine() -> tuple[np.ndarray, np.ndarray]:
    with np.load(Path(__file__).with_name("niqe_pristine.npz"), allow_pickle=False) as stored:
        return stored["mu_pris_param"][0], stored["cov_pris_param"]


def _normalized(plane: Tensor) -> Tensor:
    """Mean subtracted, contrast normalized coefficients of (1, 1, H, W) float64."""
    offset = torch.arange(-3.0, 4.0, dtype=torch.float64)
    window = torch.exp(-(offset**2) / (2 * (7 / 6) ** 2))
    window = window / window.sum()

    def local_mean(x: Tensor) -> Tensor:
        x = F.pad(x, (3, 3, 3, 3), mode="replicate")
        return F.conv2d(F.conv2d(x, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))

    mean = local_mean(plane)
    deviation = (local_mean(plane**2) - mean**2).abs().sqrt()
    return (plane - mean) / (deviation + 1)


def _halved(plane: Tensor) -> Tensor:
    """Half size as MATLAB's ``imresize``: bicubic (a = -0.5), widened by two, edge pixels repeated in the mirror."""
    mirrored = torch.from_numpy(np.pad(plane[0, 0].numpy(), 4, mode="symmetric"))[None, None]
    half = F.interpolate(mirrored, scale_factor=0.5, mode="bicubic", antialias=True, align_corners=False)
    return half[..., 2:-2, 2:-2]


def _features(blocks: np.ndarray) -> np.ndarray:
    """(n, side, side) normalized coefficients -> (n, 18)."""
    flat = blocks.reshape(len(blocks), -1)
    shape, left, right = _fit(flat)
    columns = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        products = blocks * np.roll(blocks, shift, axis=(1, 2))
        shape, left, right = _fit(products.reshape(len(blocks), -1))
        mean = (right - left) * np.exp(_log_gamma(2 / shape) - _log_gamma(1 / shape))
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=1)


def _fit(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Asymmetric generalized Gaussian by moments: (n, samples) -> shape, left and right scale, (n,) each."""
    below, above = samples < 0, samples > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.sqrt((samples**2 * below).sum(1) / below.sum(1))
        right = np.sqrt((samples**2 * above).sum(1) / above.sum(1))
        skew = left / right
        moment = np.abs(samples).mean(1) ** 2 / (samples**2).mean(1)
        moment = moment * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes, ratios = _shape_table()
    # The ratio rises with the shape, so the nearest entry is found by bisection.
    place = np.searchsorted(ratios, np.nan_to_num(moment)).clip(1, len(ratios) - 1)
    place -= moment - ratios[place - 1] <= ratios[place] - moment
    shape = np.where(np.isnan(moment), np.nan, shapes[place])
    to_scale = np.exp((_log_gamma(1 / shape) - _log_gamma(3 / shape)) / 2)
    return shape, left * to_scale, right * to_scale


@functools.cache
def _shape_table() -> tuple[np.ndarray, np.ndarray]:
    shapes = np.arange(200, 10001) / 1000
    return shapes, np.exp(2 * _log_gamma(2 / shapes) - _log_gamma(1 / shapes) - _log_gamma(3 / shapes))


def _log_gamma(values: np.ndarray) -> np.ndarray:
    return torch.lgamma(torch.from_numpy(np.asarray(values, dtype=np.float64))).numpy()
