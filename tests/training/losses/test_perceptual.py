"""The distances of features (Eq. 10, LPIPS)."""

import math

import pytest
import torch
from fakes import Slope, noise
from torch import nn

from memgan.errors import ConfigError
from memgan.evaluation.networks.stlpips import STLPIPS
from memgan.training.losses.perceptual import PerceptualLoss, feature_network


def test_perceptual_loss_is_the_weighted_l1_of_the_taps() -> None:
    a, b = torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5)
    assert PerceptualLoss(Slope())(a, b).item() == pytest.approx(0.5 * 1.0 + 3 * 0.5)


def test_unit_normalized_features_forget_their_scale() -> None:
    loss = PerceptualLoss(Slope(), unit_normalize=True)
    assert loss.weights == (0.5, 0.5)
    a = noise(1, 3, 32, 32).abs() + 0.5
    assert loss(a, a * 0.4).item() == pytest.approx(0, abs=2e-3)
    gray, red = torch.ones(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    red[:, 0] = 1
    # Root mean squares over three colors: 1, 1, 1 against sqrt(3), 0, 0.
    assert loss(red, gray).item() == pytest.approx(0.5 * (math.sqrt(3) - 1 + 2) / 3, abs=2e-3)


def test_only_the_first_taps_may_count() -> None:
    a, b = torch.zeros(1, 3, 32, 32), torch.full((1, 3, 32, 32), 0.5)
    loss = PerceptualLoss(Slope(), taps=1)
    found, wanted = loss.features(a, b)
    assert len(found) == len(wanted) == 2
    assert loss(a, b).item() == loss.distance(found, wanted).item() == pytest.approx(0.5)


def test_calibrated_distance_is_that_of_the_metric() -> None:
    a, b = noise(2, 3, 48, 48), noise(2, 3, 48, 48, seed=1)
    loss = PerceptualLoss(feature_network("stlpips_vgg"))
    assert loss.calibrated_distance(*loss.features(a, b)).item() == pytest.approx(STLPIPS("vgg")(a, b).mean().item())
    assert loss.calibrated_distance(*loss.features(a, a)).item() == 0
    with pytest.raises(ConfigError, match="stlpips_vgg"):
        PerceptualLoss(Slope()).calibrated_distance(*PerceptualLoss(Slope()).features(a, b))


def test_the_installed_trunk_prefers_like_pictures() -> None:
    loss = PerceptualLoss(feature_network("stlpips_vgg", num_taps=2))
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 48), indexing="ij")
    clean = torch.stack([torch.sin(30 * x), torch.cos(25 * y), torch.sin(20 * (x + y))])[None]
    blurred = [nn.functional.avg_pool2d(clean, k, 1, k // 2, count_include_pad=False) for k in (3, 9)]
    near, far = (loss(picture, clean).item() for picture in blurred)
    assert 0 < near < far
