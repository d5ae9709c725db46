"""EfficientNet-lite: what it recognizes, its padding, its pooled features, and bad weights."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from memgan.errors import MissingDependencyError, ShapeError, WeightsError, WeightsNotFoundError
from memgan.evaluation import enlite0_features
from memgan.evaluation.networks import efficientnet
from memgan.evaluation.networks.efficientnet import EfficientNetLite
from memgan.evaluation.networks.pooled import PooledFeatures
from memgan.image import to_tensor


@pytest.fixture(scope="module")
def network() -> PooledFeatures:
    return enlite0_features()


# ImageNet's classes: 281 to 285 are cats, 967 is espresso.
@pytest.mark.parametrize(("name", "classes"), [("chelsea", range(281, 286)), ("coffee", [967])])
def test_it_sees_what_there_is(network: PooledFeatures, name: str, classes: list[int]) -> None:
    rgb = getattr(data, name)()
    left = (rgb.shape[1] - rgb.shape[0]) // 2
    square = to_tensor(np.ascontiguousarray(rgb[:, left : left + rgb.shape[0]]))[None]
    assert network.network._fc(network(square)).softmax(1)[0, list(classes)].sum() > 0.8


def test_features(network: PooledFeatures) -> None:
    pictures = torch.rand(2, 3, 80, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = network(pictures)
    assert features.shape == (2, 1280) and features.dtype == torch.float32
    assert features.min() >= 0 and features.max() <= 6
    torch.testing.assert_close(network(pictures[1:])[0], features[1], rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(network(pictures), features)
    with pytest.raises(ShapeError, match="needed"):
        network(pictures[0])
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_odd_padding_lies_at_the_right_and_the_bottom() -> None:
    conv = efficientnet._SameConv2d(1, 1, 3, stride=2, bias=False)
    conv.weight.data.copy_(torch.arange(9.0).view(1, 1, 3, 3))
    picture = torch.zeros(1, 1, 4, 6)
    picture[0, 0, 0, 0], picture[0, 0, 3, 5] = 1, 1
    result = conv(picture)[0, 0]
    # The first pixel lies under the first weight of the first window, the last under the middle of the last.
    assert result.tolist() == [[0, 0, 0], [0, 0, 4]]
    conv.weight.data.add_(1)
    assert conv(picture)[0, 0].tolist() == [[1, 0, 0], [0, 0, 5]]
    assert conv(picture[..., 1:, 1:]).shape == (1, 1, 2, 3)


def test_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [name for name in sys.modules if name.startswith("efficientnet_lite0")]  # read, not imported
    with pytest.raises(WeightsNotFoundError, match=r"none\.pth"):
        EfficientNetLite(0, tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    torch.save({"_fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    for name in ("bad.pth", "other.pth"):
        with pytest.raises(WeightsError, match=name):
            EfficientNetLite(0, tmp_path / name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"memgan\[eval\]"):
        EfficientNetLite(0)
    assert PooledFeatures(EfficientNetLite(0, "random"))(torch.zeros(1, 3, 32, 32)).shape == (1, 1280)
