"""The fit of the estimate of sharpness: its examples, their labels, and what is fitted."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from memgan.degradation.random_draw import RandomDraw
from memgan.faces.sharpness import damage
from memgan.training.sharpness import LIMITS, examples, fit, is_degraded, limits, photograph


def draw(seed=0):
    return RandomDraw(torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def face():
    return np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)


def test_examples_are_the_same_for_the_same_seed(face):
    first, again = list(examples(face, 3)), list(itertools.islice(examples(face, 3), 12))
    assert len(first) > 40
    for one, other in zip(first[:12], again, strict=True):
        assert one.kind == other.kind and np.array_equal(one.crop, other.crop)
    assert {one.crop.shape for one in first} == {(512, 512, 3)} and {one.crop.dtype for one in first} == {face.dtype}
    labels = {one.kind: one.degraded for one in first}
    assert labels["clean"] is labels["gray"] is labels["dark"] is labels["jpeg"] is False
    assert labels["aged"] is labels["old_print"] is True


def test_labels_follow_the_strongest_damage():
    for name, (low, high) in LIMITS.items():
        assert is_degraded({name: low}) is False
        assert is_degraded({name: (low + high) / 2}) is None
        assert is_degraded({name: high}) is is_degraded({"blur_sigma": 0.1, name: high}) is True
    assert is_degraded({}) is False


def test_a_photograph_without_damage_is_the_face_or_a_turned_one(face):
    upright = [photograph(face, {}, draw(seed)) for seed in range(8)]
    same = [np.array_equal(one, face) for one in upright]
    assert any(same) and not all(same)


def test_damage_is_of_its_strength():
    gray = np.full((512, 512, 3), 128, np.uint8)
    color = photograph(gray, {"noise_sigma": 5.0}, draw(1)).astype(float)
    grain = photograph(gray, {"grain_sigma": 5.0}, draw(1)).astype(float)
    assert np.ptp(grain, axis=2).max() == 0 < np.ptp(color, axis=2).max()
    assert 3 < grain.std() < 5.5  # less if it was turned, which interpolates


def test_the_fit_separates_what_can_be_separated():
    random = np.random.default_rng(0)
    seen = random.normal(size=(400, 5))
    wrong = np.hypot(seen[:, 0], seen[:, 1]) > 1.2  # no straight line does it
    model = fit(seen, wrong)
    odds = damage(seen, model)
    assert ((odds > 0) == wrong).mean() > 0.95
    alone, full = limits(odds[wrong])
    assert alone < full < np.quantile(odds[wrong], 0.02)


def test_the_command_explains_itself():
    done = subprocess.run(
        [sys.executable, "-m", "memgan.training.sharpness", "--help"], capture_output=True, text=True, check=True
    )
    assert "FACES" in done.stdout and "--limit" in done.stdout
