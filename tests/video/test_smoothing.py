"""Smoothing: noise goes, motion stays."""

import numpy as np
import pytest

from memgan.video.smoothing import RADIUS, smoothed

NOISE = 0.5


def curve(values: np.ndarray) -> np.ndarray:
    """A whole curve (N, K, 2), smoothed frame by frame."""
    rows = []
    for index in range(len(values)):
        first = max(0, index - RADIUS)
        rows.append(smoothed(values[first : index + RADIUS + 1], index - first, NOISE))
    return np.stack(rows)


def path(x: np.ndarray) -> np.ndarray:
    """(N, 7, 2): seven points that move along the same way."""
    return np.stack([x, 0.3 * x], axis=-1)[:, None] + np.arange(14).reshape(7, 2)


def noisy(values: np.ndarray, seed: int = 0) -> np.ndarray:
    return values + np.random.default_rng(seed).normal(0, NOISE, values.shape)


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


TIME = np.arange(80.0)


@pytest.mark.parametrize(
    "x", [0 * TIME, 4 * TIME, 0.05 * TIME**2, 30 * np.sin(TIME / 12)], ids=["still", "even", "faster", "swaying"]
)
def test_noise_goes_and_slow_motion_stays(x: np.ndarray) -> None:
    truth = path(x)
    errors = curve(noisy(truth)) - truth
    assert rms(errors[RADIUS:-RADIUS]) < 0.55 * NOISE
    assert rms(np.diff(errors, 2, axis=0)) < 0.35 * rms(np.diff(noisy(truth) - truth, 2, axis=0))


def test_what_is_exact_stays_exact() -> None:
    truth = path(0.05 * TIME**2 - 3 * TIME)
    assert np.abs(curve(truth) - truth).max() < 1e-8


@pytest.mark.parametrize("kind", ["shaken", "stopping", "jumping"])
def test_quick_motion_is_not_smoothed_away(kind: str) -> None:
    x = {
        "shaken": np.random.default_rng(1).normal(0, 10, len(TIME)),
        "stopping": np.minimum(8 * TIME, 8 * 40),
        "jumping": np.where(TIME < 40, 0, 60.0),
    }[kind]
    truth = path(x)
    errors = curve(noisy(truth)) - truth
    assert rms(errors) < 1.2 * NOISE
    assert np.abs(errors).max() < 5 * NOISE


def test_there_is_no_lag() -> None:
    truth = path(20 * np.sin(TIME / 6))
    errors, speed = curve(noisy(truth)) - truth, np.gradient(truth, axis=0)
    assert abs((errors * speed).sum() / (speed**2).sum()) < 0.01  # frames


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_short_curves(count: int) -> None:
    values = path(TIME[:count])
    for place in range(count):
        np.testing.assert_allclose(smoothed(values, place, NOISE), values[place], atol=1e-9)
