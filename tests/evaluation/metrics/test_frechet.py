"""The Frechet distance against closed forms and scipy, and the network of FD-ENLite0."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg
from skimage import data
from torch import Tensor

from memgan.errors import DataError, MissingDependencyError, ShapeError, WeightsError, WeightsNotFoundError
from memgan.evaluation import enlite0_features, frechet_distance
from memgan.evaluation.metrics.frechet import small_sample_note
from memgan.evaluation.networks import efficientnet
from memgan.evaluation.networks.efficientnet import EfficientNetLite
from memgan.evaluation.networks.pooled import PooledFeatures
from memgan.image import to_tensor


def sample(count: int, mean: list[float], root: Tensor, seed: int = 0) -> Tensor:
    """Features whose mean and covariance (root root') are exactly the ones asked for."""
    draws = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    draws = draws - draws.mean(0)
    white = draws @ torch.linalg.inv(torch.linalg.cholesky(draws.T @ draws / (count - 1))).T
    return white @ root.T.double() + torch.tensor(mean, dtype=torch.float64)


def by_square_root(a: Tensor, b: Tensor) -> float:
    first, second = (np.cov(x.double().numpy(), rowvar=False) for x in (a, b))
    step = (a.double().mean(0) - b.double().mean(0)).numpy()
    return float(step @ step + np.trace(first + second - 2 * linalg.sqrtm(first @ second).real))


def test_gaussians_with_a_closed_form() -> None:
    a = sample(50, [1.0, 2.0, -1.0], torch.diag(torch.tensor([1.0, 2.0, 3.0])))
    b = sample(70, [0.0, 4.0, -1.0], torch.diag(torch.tensor([2.0, 0.5, 3.0])), seed=1)
    # Of diagonal covariances: squared distance of the means plus that of the standard deviations.
    assert frechet_distance(a, b) == pytest.approx((1 + 4 + 0) + (1 + 2.25 + 0), abs=1e-9)


@pytest.mark.parametrize(("first", "second"), [(400, 300), (400, 12), (9, 11)])
def test_equal_to_the_matrix_square_root(first: int, second: int) -> None:
    generator = torch.Generator().manual_seed(3)
    mix = torch.randn(2, 8, 8, generator=generator)
    a = torch.randn(first, 8, generator=generator) @ mix[0]
    b = torch.randn(second, 8, generator=generator) @ mix[1] + 0.4
    assert frechet_distance(a, b) == pytest.approx(by_square_root(a, b), rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_fewer_pictures_than_features() -> None:
    # Two pictures each, on crossing lines: no covariance is regular, and the square roots are known.
    a = torch.tensor([[1.0, 0, 0, 0, 0], [-1, 0, 0, 0, 0]])
    b = torch.tensor([[0.0, 3, 0, 0, 0], [0, -3, 0, 0, 0]])
    assert frechet_distance(a, b) == pytest.approx(2 + 18)
    assert frechet_distance(a, 3 * a) == pytest.approx((3 - 1) ** 2 * 2)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    # The bias that the note warns of: of one distribution, the fewer the further.
    draws = torch.randn(1200, 64, generator=torch.Generator().manual_seed(1))
    few, many = frechet_distance(draws[:20], draws[20:40]), frechet_distance(draws[:600], draws[600:])
    assert few > 5 * many > 0
    note = small_sample_note(20, 64)
    assert note is not None and "biased upwards" in note and "20" in note and "64" in note
    assert small_sample_note(65, 64) is None


def test_far_from_the_origin_nothing_is_lost() -> None:
    a = sample(40, [0.0, 0.0], torch.eye(2))
    assert frechet_distance(a + 1e6, a + 1e6 + 1e-3) == pytest.approx(2e-6, rel=1e-2)


def test_bad_features_are_named() -> None:
    good = torch.zeros(3, 4)
    for bad in (good[:, :3], good[0]):
        with pytest.raises(ShapeError, match="needed"):
            frechet_distance(good, bad)
    with pytest.raises(DataError, match="at least 2"):
        frechet_distance(good, good[:1])
    with pytest.raises(DataError, match="finite"):
        frechet_distance(good, good.log() * 0)


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
    conv = torch.nn.Conv2d(1, 1, 3, stride=2, bias=False)
    conv.weight.data.copy_(torch.arange(9.0).view(1, 1, 3, 3))
    picture = torch.zeros(1, 1, 4, 6)
    picture[0, 0, 0, 0], picture[0, 0, 3, 5] = 1, 1
    result = efficientnet._same(conv, picture)[0, 0]
    # The first pixel lies under the first weight of the first window, the last under the middle of the last.
    assert result.tolist() == [[0, 0, 0], [0, 0, 4]]
    conv.weight.data.add_(1)
    assert efficientnet._same(conv, picture)[0, 0].tolist() == [[1, 0, 0], [0, 0, 5]]
    assert efficientnet._same(conv, picture[..., 1:, 1:]).shape == (1, 1, 2, 3)


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
