"""ST-LPIPS: structure with random weights, the published numbers with the published weights, and bad weights."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from memgan.errors import ConfigError, MissingDependencyError, ShapeError, WeightsError, WeightsNotFoundError
from memgan.evaluation.networks.stlpips import (
    STLPIPS,
    BlurPool,
    ShiftTolerantTrunk,
    read_stlpips_weights,
    unit_normalized,
)


def pair() -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(48.0) / 48, torch.arange(64.0) / 64, indexing="ij")
    clean = [torch.sin(19 * x + 4 * y), torch.cos(11 * x * y + 3 * y), torch.sin(23 * (x - 0.5) * (y + 0.3))]
    clean = torch.stack(clean)[None]
    return clean, (clean * 0.8 + 0.15 * torch.sin(150 * x + 70 * y)).clamp(-1, 1)


@pytest.fixture(scope="module")
def alex() -> STLPIPS:
    return STLPIPS("alex")


# What the package's own LPIPS(net, variant="shift_tolerant") says of pair(), and of its first picture mirrored.
@pytest.mark.parametrize(("net", "distance", "mirrored"), [("alex", 0.0085366, 0.296844), ("vgg", 0.470839, 0.474167)])
def test_the_published_numbers(net: str, distance: float, mirrored: float) -> None:
    clean, other = pair()
    result = STLPIPS(net)(torch.cat([clean, clean.flip(-1)]), torch.cat([other, clean]))
    assert result.shape == (2,) and result.dtype == torch.float32
    assert result.tolist() == pytest.approx([distance, mirrored], abs=1e-5)


def test_equal_pictures_have_no_distance_and_order_does_not_matter(alex: STLPIPS) -> None:
    clean, other = pair()
    assert alex(clean, clean).item() == 0
    assert alex(clean, other).item() == pytest.approx(alex(other, clean).item(), rel=1e-5)


def test_more_blur_is_further(alex: STLPIPS) -> None:
    clean, _ = pair()
    blurred = [torch.nn.functional.avg_pool2d(clean, side, 1, side // 2, count_include_pad=False) for side in (3, 5, 9)]
    distances = [alex(clean, picture).item() for picture in blurred]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_differentiable_and_frozen(alex: STLPIPS) -> None:
    clean, other = pair()
    other.requires_grad_()
    alex(clean, other).sum().backward()
    assert other.grad.isfinite().all() and other.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in alex.parameters())


def test_the_gradient_is_finite_where_all_features_vanish() -> None:
    features = torch.zeros(1, 4, 2, 2, requires_grad=True)
    (unit_normalized(features) - 1).square().sum().backward()
    assert features.grad.isfinite().all()


def test_autocast_changes_nothing(alex: STLPIPS) -> None:
    clean, other = pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = alex(clean, other)
    assert torch.equal(result, alex(clean, other))


def test_blur_pool() -> None:
    constant = BlurPool(2)(torch.ones(1, 2, 9, 12))
    assert constant.shape == (1, 2, 6, 7)
    assert torch.allclose(constant, torch.ones(()))  # mirrored, not padded with zeros
    point = torch.zeros(1, 1, 8, 8)
    point[0, 0, 3, 3] = 1
    assert BlurPool(1)(point).max() == pytest.approx(4 / 16)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_taps(net: str) -> None:
    torch.manual_seed(0)
    widths = {"alex": [64, 192, 384, 256, 256], "vgg": [64, 128, 256, 512, 512]}[net]
    taps = ShiftTolerantTrunk(net)(torch.randn(1, 3, 32, 32))
    assert [tap.shape[1] for tap in taps] == widths
    assert all(tap.min() >= 0 for tap in taps)
    assert len(ShiftTolerantTrunk(net, 2)(torch.randn(1, 3, 32, 32))) == 2
    assert STLPIPS(net, "random")(torch.zeros(2, 3, 32, 40), torch.ones(2, 3, 32, 40)).shape == (2,)


def test_weights_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "alex.pth"
    torch.save({"lin0.model.1.weight": torch.ones(1, 64, 1, 1)}, file)
    assert torch.equal(read_stlpips_weights("alex", file)["lin0.model.1.weight"], torch.ones(1, 64, 1, 1))
    with pytest.raises(WeightsError, match="do not fit"):
        STLPIPS("alex", file)
    file.write_bytes(file.read_bytes()[:100])
    for damaged in (file, Path(__file__)):
        with pytest.raises(WeightsError, match=r"cannot be read.*stlpips-pytorch"):
            read_stlpips_weights("alex", damaged)
    with pytest.raises(WeightsNotFoundError, match=r"nowhere\.pth"):
        read_stlpips_weights("alex", tmp_path / "nowhere.pth")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"stlpips-pytorch.*memgan\[eval\]"):
        read_stlpips_weights("alex")


def test_the_package_is_found_but_not_imported() -> None:
    assert len(read_stlpips_weights("alex")) == 20
    assert not [name for name in sys.modules if name.startswith("stlpips_pytorch")]


def test_bad_input_is_named(alex: STLPIPS) -> None:
    picture = torch.zeros(1, 3, 32, 32)
    for a, b in [(picture, picture[:, :1]), (picture[0], picture[0]), (picture[..., :31], picture[..., :31])]:
        with pytest.raises(ShapeError, match="needed"):
            alex(a, b)
    with pytest.raises(ConfigError, match="squeeze"):
        STLPIPS("squeeze")
