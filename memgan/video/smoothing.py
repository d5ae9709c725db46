"""Smooths what is measured frame by frame, without lag: by the frames before and after."""

import numpy as np

RADIUS = 8
"""Frames before and after that a smoothed one depends on."""

_WIDTH = 3.0  # standard deviation of the weights, in frames


def smoothed(values: np.ndarray, place: int, noise: float) -> np.ndarray:
    """One frame of a curve, as it is without noise.

    A parabola is fitted by least squares with Gaussian weights to the frames around it, so a motion that speeds up does
    not lag. What is quicker than a parabola can follow shows in the distances from it: by as much as their mean square
    exceeds ``noise``, the frame stays as it was measured (Wiener's factor, or James and Stein's).

    Args:
        values: (N, K, 2) points in the frames of the window, one after another.
        place: index of the frame that is asked for.
        noise: standard deviation of the measured values, in their units.

    Returns:
        (K, 2) float64.
    """
    count = len(values)
    flat = values.reshape(count, -1)
    if count < 4:
        return np.array(values[place], np.float64)
    offsets = np.arange(count) - place
    weights = np.exp(-0.5 * (offsets / _WIDTH) ** 2)
    powers = np.stack([np.ones(count), offsets, offsets**2], axis=1)
    weighted = powers * weights[:, None]
    coefficients = np.linalg.solve(weighted.T @ powers, weighted.T @ flat)
    residuals = flat - powers @ coefficients
    # A fit of three parameters takes their share of the noise with it.
    freedom = max(1e-9, weights.sum() - float(np.trace(np.linalg.solve(weighted.T @ powers, weighted.T @ weighted))))
    power = float((weights @ residuals**2).mean()) / freedom
    kept = max(0.0, 1 - noise**2 / power) if power > 0 else 0.0
    return np.reshape(coefficients[0] + kept * residuals[place], values.shape[1:])
