"""The loss on deep features: what its network is shown, and what reaches the restored part."""

from pathlib import Path

import pytest
import torch

from memgan.errors import MissingDependencyError
from memgan.evaluation.networks.efficientnet import EfficientNetLite
from memgan.training.config import TrainConfig
from memgan.training.losses.deep_features import DeepFeatureLoss
from memgan.training.losses.objective import make_loss_networks
from memgan.training.window import Area

AREA = Area(120, 0, 160, 176)


def faces(size: int = 256) -> torch.Tensor:
    small = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    return torch.nn.functional.interpolate(small, (size, size), mode="bilinear")


@pytest.fixture(scope="module")
def loss() -> DeepFeatureLoss:
    torch.manual_seed(0)
    return DeepFeatureLoss(EfficientNetLite(0, "random"))


def test_equal_parts_cost_nothing_and_others_do(loss: DeepFeatureLoss) -> None:
    clean = faces()
    region = Area(40, 50, 120, 100)
    assert loss(region.crop(clean), region, clean).item() == 0
    near, far = region.crop(clean) + 0.05, -region.crop(clean)
    assert 0 < loss(near, region, clean).item() < loss(far, region, clean).item()


def test_only_the_part_gets_gradients(loss: DeepFeatureLoss) -> None:
    clean = faces().requires_grad_()
    region = Area(40, 50, 120, 100)
    part = (-region.crop(clean)).detach().requires_grad_()
    loss(part, region, clean.detach()).backward()
    assert part.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in loss.network.parameters())


def test_the_network_sees_the_part_in_its_surroundings_at_its_own_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    network = EfficientNetLite(0, "random")
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(network, "taps", lambda image: seen.append(image) or [image])
    clean = faces(512)
    DeepFeatureLoss(network)(AREA.crop(clean), AREA, clean)
    # 32 px more at the top, the bottom and the right; at the left the picture ends.
    assert seen[0].shape[-2:] == (round(224 * 224 / 512), round(208 * 224 / 512))
    torch.testing.assert_close(*seen)


def test_surroundings_end_with_the_picture() -> None:
    assert AREA.enlarged(32, 512) == Area(88, 0, 224, 208)
    assert Area(0, 0, 64, 64).enlarged(8, 64) == Area(0, 0, 64, 64)


def test_it_is_made_on_request_and_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, plain = torch.device("cpu"), TrainConfig().changed({"losses.perceptual": 0.0})
    assert make_loss_networks(plain, cpu).deep_feature is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"memgan\[train\]"):
        make_loss_networks(plain.changed({"losses.deep_feature": 1.0}), cpu)


def test_the_larger_variant_is_read_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "lite2.pth"
    made = EfficientNetLite(2, "random")
    torch.save(made.state_dict(), file)
    picture = torch.rand(1, 3, 64, 64) * 2 - 1
    for found, expected in zip(EfficientNetLite(2, file).taps(picture), made.taps(picture), strict=True):
        assert torch.equal(found, expected)
    assert [tap.shape[1:] for tap in made.taps(picture)] == [(24, 16, 16), (48, 8, 8), (120, 4, 4), (1280, 2, 2)]
    assert len(made._blocks) == 21 and len(EfficientNetLite(0, "random")._blocks) == 16
