"""Fits rotation, uniform scale and shift to pairs of points of which some are wrong."""

from typing import NamedTuple

import numpy as np

_ITERATIONS = 8


class Similarity(NamedTuple):
    """z -> factor * z + shift, with points (x, y) as complex numbers x + iy."""

    factor: complex
    shift: complex

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Where points (N, 2) go, (N, 2) float64."""
        moved = self.factor * (points @ (1, 1j)) + self.shift
        return np.stack([moved.real, moved.imag], axis=-1)

    @property
    def zoom(self) -> float:
        """How many times as large things become."""
        return abs(self.factor)


class Fit(NamedTuple):
    """A similarity, and how well the pairs of points agree with it."""

    similarity: Similarity
    distances: np.ndarray
    """(N,) float64: how far each target is from where its source goes."""


def fit_similarity(source: np.ndarray, target: np.ndarray, tolerance: float) -> Fit | None:
    """The similarity on which most pairs agree.

    Iteratively reweighted least squares with the weights of a Cauchy distribution. Its width starts at the median
    distance and goes down to ``tolerance``, so that a third of the pairs may be far off (a talking mouth, a hand).

    Args:
        source, target: (N, 2), pair by pair.
        tolerance: distance that is taken for noise.

    Returns:
        ``None`` if the points are fewer than three, or all in one place.
    """
    if len(source) < 3:
        return None
    start, end = source @ (1, 1j), target @ (1, 1j)
    weights = np.ones(len(source))
    for _ in range(_ITERATIONS):
        total = weights.sum()
        start_mean, end_mean = (weights @ start) / total, (weights @ end) / total
        centered = start - start_mean
        power = float(weights @ np.abs(centered) ** 2)
        if power < 1e-6 * total:
            return None
        factor = complex((weights * centered.conj()) @ (end - end_mean) / power)
        similarity = Similarity(factor, complex(end_mean - factor * start_mean))
        distances = np.abs(end - factor * start - similarity.shift)
        width = max(tolerance, float(np.median(distances)))
        weights = 1 / (1 + (distances / width) ** 2)
    return Fit(similarity, distances)
