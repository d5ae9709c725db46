"""Pooled features of the AlexNet of ST-LPIPS."""

import pytest
import torch
import torchvision
from skimage import data

from memgan.errors import ShapeError
from memgan.evaluation import STLPIPS, alex_features, enlite0_features, kernel_distance
from memgan.evaluation.networks.pooled import PooledFeatures
from memgan.image import to_tensor


def textures(count: int, seed: int) -> torch.Tensor:
    return (torch.randn(count, 3, 96, 96, generator=torch.Generator().manual_seed(seed)) * 0.4).clamp(-1, 1)


def photographs() -> torch.Tensor:
    """(4, 3, 256, 256) of different subjects."""
    names = ("astronaut", "chelsea", "coffee", "rocket")
    return torch.stack([to_tensor(getattr(data, name)()[:256, 100:356].copy()) for name in names])


@pytest.fixture(scope="module")
def network() -> PooledFeatures:
    return alex_features()


def test_features(network: PooledFeatures) -> None:
    pictures = textures(2, seed=0)
    features = network(pictures)
    assert features.shape == (2, 256) and features.dtype == torch.float32 and features.min() >= 0
    torch.testing.assert_close(network(pictures[1:])[0], features[1], rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(network(pictures), features)
    for bad in (pictures[0], pictures[:, :2]):
        with pytest.raises(ShapeError, match="needed"):
            network(bad)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_they_are_the_last_tap_of_st_lpips(network: PooledFeatures) -> None:
    metric, picture = STLPIPS("alex"), textures(1, seed=1)
    resized = torch.nn.functional.interpolate(picture, (224, 224), mode="bicubic", antialias=True)
    last = metric.net(metric.scaling_layer(resized))[-1]
    torch.testing.assert_close(network(picture), 100 * last.mean((2, 3)))


def test_the_scale_is_that_of_efficientnet(network: PooledFeatures) -> None:
    own, other = (describe(photographs()).square().mean().sqrt() for describe in (network, enlite0_features()))
    assert 0.8 < own / other < 1.25


def test_a_set_is_further_the_more_it_is_blurred(network: PooledFeatures) -> None:
    truth = photographs()
    describe = network(truth)
    distances = [
        kernel_distance(network(torchvision.transforms.functional.gaussian_blur(truth, side)), describe, pairs=True)
        for side in (3, 9, 25)
    ]
    assert distances == sorted(distances) and distances[2] > 0.05
