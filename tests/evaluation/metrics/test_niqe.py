"""NIQE against another implementation, against BasicSR's numbers, and on pictures that get worse."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import gamma
from skimage import data

from memgan.errors import ShapeError
from memgan.evaluation import niqe
from memgan.evaluation.metrics.niqe import BLOCK_PX, block_features
from memgan.image import to_tensor


def batch(*pictures: np.ndarray) -> torch.Tensor:
    return torch.stack([to_tensor(np.ascontiguousarray(picture)) for picture in pictures])


def halving_matrix(size: int) -> np.ndarray:
    """imresize(., 0.5) as a matrix, from its description: weights by distance, mirrored indices, rows sum to 1."""
    matrix = np.zeros((size // 2, size))
    for row in range(size // 2):
        center = 2 * row + 0.5
        for column in range(math.floor(center) - 4, math.floor(center) + 6):
            x = abs(column - center) / 2
            weight = 0.0
            if x <= 1:
                weight = 1.5 * x**3 - 2.5 * x**2 + 1
            elif x <= 2:
                weight = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            inside = -column - 1 if column < 0 else 2 * size - column - 1 if column >= size else column
            matrix[row, inside] += weight
    return matrix / matrix.sum(axis=1, keepdims=True)


def fitted(values: np.ndarray) -> tuple[float, float, float]:
    shapes = np.arange(0.2, 10.001, 0.001)
    left, right = (np.sqrt(np.mean(part**2)) for part in (values[values < 0], values[values > 0]))
    skew = left / right
    wanted = np.mean(np.abs(values)) ** 2 / np.mean(values**2) * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    ratios = gamma(2 / shapes) ** 2 / (gamma(1 / shapes) * gamma(3 / shapes))
    shape = shapes[np.argmin((ratios - wanted) ** 2)]
    scale = math.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale


def features_one_by_one(rgb: np.ndarray) -> np.ndarray:
    """The features, block by block, with scipy."""
    height, width = (side // 96 * 96 for side in rgb.shape[:2])
    red, green, blue = (rgb[:height, :width, channel].astype(float) for channel in range(3))
    gray = np.round(0.298936021293776 * red + 0.587043074451121 * green + 0.114020904255103 * blue)
    y, x = np.mgrid[-3:4, -3:4]
    window = np.exp(-(x**2 + y**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()
    rows: list[list[float]] = [[] for _ in range(height // 96 * (width // 96))]
    for side in (96, 48):
        mean = ndimage.correlate(gray, window, mode="nearest")
        deviation = np.sqrt(np.abs(ndimage.correlate(gray**2, window, mode="nearest") - mean**2))
        normal = (gray - mean) / (deviation + 1)
        for number, row in enumerate(rows):
            top, left = (part * side for part in divmod(number, width // 96))
            block = normal[top : top + side, left : left + side]
            shape, low, high = fitted(block)
            row += [shape, (low + high) / 2]
            for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                shape, low, high = fitted(block * np.roll(block, shift, axis=(0, 1)))
                row += [shape, (high - low) * gamma(2 / shape) / gamma(1 / shape), low, high]
        gray = halving_matrix(gray.shape[0]) @ gray @ halving_matrix(gray.shape[1]).T
    return np.array(rows)


def test_features_equal_another_implementation() -> None:
    rgb = data.coffee()[:300, 100:400]
    mine, other = block_features(rgb), features_one_by_one(rgb)
    assert mine.shape == other.shape == (9, 36)
    np.testing.assert_allclose(mine, other, atol=2e-3)  # the shape's table has steps of 0.001
    assert np.abs(mine - other).mean() < 1e-5


# What the NIQE of BasicSR 1.4.2 says of the same gray values and the same statistics.
@pytest.mark.parametrize(("name", "expected"), [("chelsea", 2.572084), ("coffee", 4.058465)])
def test_the_number_of_another_library(name: str, expected: float) -> None:
    (value,) = niqe(batch(getattr(data, name)()))
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected, abs=2e-4)


def test_damage_makes_it_worse() -> None:
    clean = data.coffee()[:384, :384]
    noise = np.random.default_rng(0).normal(0, 1, clean.shape)
    noisy = [np.clip(clean + sigma * noise, 0, 255).astype(np.uint8) for sigma in (15, 40)]
    blurred = [ndimage.gaussian_filter(clean, (sigma, sigma, 0)) for sigma in (1.5, 4.0)]
    values = niqe(batch(clean, *noisy, *blurred)).tolist()
    assert values[0] < values[1] < values[2]
    assert values[0] < values[3] < values[4]


def test_only_whole_blocks_count_and_pictures_are_apart() -> None:
    rgb = data.coffee()[:384, :384]
    alone = niqe(batch(rgb[:288, :288]))
    assert torch.equal(niqe(batch(rgb[:300, :383])[..., :300, :300]), alone)
    together = niqe(batch(rgb[:288, :288], rgb[96:, 96:]))
    assert together[0] == alone[0] and together[1] != alone[0]


def test_counts_are_rounded_as_in_a_file() -> None:
    picture = batch(data.coffee()[:192, :192])
    assert torch.equal(niqe(picture + 0.3 / 127.5), niqe(picture))


def test_a_flat_picture_has_no_value_and_small_ones_are_refused() -> None:
    assert math.isnan(niqe(torch.zeros(1, 3, 192, 192)).item())
    half = batch(data.coffee()[:192, :384])
    half[..., :192] = 0.2
    assert math.isfinite(niqe(half).item())  # the blocks that have texture
    for shape in ((1, 3, 191, 400), (1, 1, 200, 200), (3, 200, 200)):
        with pytest.raises(ShapeError, match="192 px"):
            niqe(torch.zeros(shape))
    assert BLOCK_PX == 96
