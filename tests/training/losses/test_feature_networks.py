"""The feature networks and their weight files."""

from pathlib import Path

import pytest
import torch
from fakes import Slope, noise
from safetensors.torch import save_file

from memgan.errors import ConfigError, ShapeError, WeightsError, WeightsNotFoundError
from memgan.training.losses.perceptual import PerceptualLoss, StlpipsVgg, Vgg19, feature_network
from memgan.training.losses.pixel import l1_loss


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)  # random weights of the feature networks


@pytest.mark.parametrize(
    ("network", "widths", "sides"),
    [
        (lambda taps: Vgg19(None, taps), [64, 128, 256, 512, 512], [32, 16, 8, 4, 2]),
        (lambda taps: StlpipsVgg("random", taps), [64, 128, 256, 512, 512], [32, 17, 9, 5, 3]),
    ],
    ids=["vgg19", "stlpips_vgg"],
)
def test_feature_networks(network: type, widths: list[int], sides: list[int]) -> None:
    whole = network(5)
    taps = whole(noise(2, 3, 32, 32))
    assert [tuple(tap.shape) for tap in taps] == [(2, width, side, side) for width, side in zip(widths, sides)]
    assert len(whole.default_weights) == len(widths)
    short = network(2)
    assert len(short(noise(1, 3, 32, 40))) == len(short.default_weights) == 2
    assert not any(parameter.requires_grad for parameter in whole.parameters())
    assert not whole.train().training
    restored = noise(1, 3, 32, 32).requires_grad_()
    for unit_normalize in (False, True):
        loss = PerceptualLoss(short, unit_normalize=unit_normalize)(restored, noise(1, 3, 32, 32, seed=1))
        (gradient,) = torch.autograd.grad(loss, restored)
        assert loss.dtype == torch.float32 and gradient.isfinite().all() and gradient.abs().sum() > 0
        assert PerceptualLoss(short, unit_normalize=unit_normalize)(restored, restored).item() == 0


def test_vgg19_equals_torchvision_s(tmp_path: Path) -> None:
    from torchvision.models.vgg import cfgs, make_layers

    reference = make_layers(cfgs["E"]).eval()
    state = {f"features.{name}": value for name, value in reference.state_dict().items()}
    torch.save(state | {"classifier.0.bias": torch.zeros(1)}, tmp_path / "vgg19.pth")
    save_file({name: state[name] for name in list(state)[:8]}, tmp_path / "vgg19.safetensors")  # two stages
    image = noise(1, 3, 32, 32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    scaled = ((image + 1) / 2 - mean) / std
    for name, lasts in (("vgg19.pth", (2, 7, 16, 25, 34)), ("vgg19.safetensors", (2, 7))):  # conv1_2 ... conv5_4
        taps = feature_network("vgg19", tmp_path / name, len(lasts))(image)
        assert len(taps) == len(lasts)
        for tap, last in zip(taps, lasts):
            with torch.no_grad():
                assert (tap - reference[: last + 1](scaled)).abs().max() < 1e-5
    with pytest.raises(WeightsError, match="lacks tensors"):
        feature_network("vgg19", tmp_path / "vgg19.safetensors", 3)


def test_bad_input_is_named(tmp_path: Path) -> None:
    loss = PerceptualLoss(Slope())
    picture = torch.zeros(1, 3, 32, 32)
    for function in (l1_loss, loss):
        with pytest.raises(ShapeError, match="needed"):
            function(picture, picture[..., 1:])
        with pytest.raises(ShapeError, match="32 px"):
            function(picture[..., 1:], picture[..., 1:])
    with pytest.raises(ConfigError, match="resnet"):
        feature_network("resnet")
    with pytest.raises(ConfigError, match="needs the path"):
        feature_network("vgg19")
    with pytest.raises(ConfigError, match="1 to 5"):
        feature_network("vgg19", tmp_path, 6)
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth"):
        feature_network("vgg19", tmp_path / "none.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("no weights")
        with pytest.raises(WeightsError, match="cannot be read"):
            feature_network("vgg19", tmp_path / name)
