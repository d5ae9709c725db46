"""How true estimates of errors are: ranks, areas, tenths, and what is measured of faces."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import write_faces
from torch import Tensor

from memgan import hub
from memgan.degradation import Degradation, DegradationParameters, apply_degradation
from memgan.errors import ConfigError
from memgan.evaluation.metrics.regions import region_mask
from memgan.evaluation.reliability import (
    JudgedFace,
    area_interval,
    correlation,
    figures_of,
    measure_reliability,
    rank_correlation,
    reliability_table,
    roc_area,
)
from memgan.hub.reliability import load_reliability_of
from memgan.hub.resolver import embedded_dir
from memgan.image import load_picture, to_tensor
from memgan.network.fast import prepare_for_inference
from memgan.network.model import build_memgan
from memgan.network.reliability import ReliabilityConfig, ReliabilityEstimate, ReliabilityNet, block_error


def test_correlations() -> None:
    a = np.array([1.0, 2.0, 3.0, 4.0])
    assert correlation(a, 3 - 2 * a) == pytest.approx(-1)
    assert correlation(a, np.array([1.0, 3.0, 2.0, 5.0])) == pytest.approx(5.5 / math.sqrt(5 * 8.75))
    assert rank_correlation(a, np.exp(a**2)) == pytest.approx(1)
    assert rank_correlation(a, np.array([1.0, 3.0, 2.0, 5.0])) == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert rank_correlation(np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(1.5 / math.sqrt(3))
    assert math.isnan(rank_correlation(a, np.ones(4)))


def test_area_under_the_roc_curve() -> None:
    is_positive = np.array([False, False, True, True])
    assert roc_area(np.array([0.1, 0.4, 0.35, 0.8]), is_positive) == 0.75
    assert roc_area(np.array([0.5, 0.5, 0.5, 0.5]), is_positive) == 0.5
    assert math.isnan(roc_area(np.zeros(4), np.zeros(4, bool)))


def test_the_interval_draws_faces_not_pictures() -> None:
    """Copies of the same faces say nothing new; as many other faces do."""
    draw = np.random.default_rng(1)
    is_positive = np.arange(40) % 2 == 0
    score = is_positive + draw.normal(size=40)
    low, high = area_interval([str(i) for i in range(40)], score, is_positive)
    assert low < roc_area(score, is_positive) < high < 1
    names = [str(i) for i in range(40)] * 9
    copied = area_interval(names, np.tile(score, 9), np.tile(is_positive, 9))
    assert copied == pytest.approx((low, high), abs=1e-9)
    others = area_interval([str(i) for i in range(360)], np.tile(score, 9), np.tile(is_positive, 9))
    assert others[1] - others[0] < 0.5 * (high - low)
    assert all(math.isnan(end) for end in area_interval(["a", "b"], np.zeros(2), np.zeros(2, bool)))


def judged(name: str, level: float, distance: float) -> JudgedFace:
    """Twenty blocks whose error is half as large again as expected in the upper half, and detail the wrong way."""
    expected = level * np.arange(1, 21, dtype=np.float32)
    true = expected * np.where(np.arange(20) < 10, 1.0, 1.5).astype(np.float32)
    return JudgedFace(name, expected, true, -expected, 0.3, distance, distance)


def test_figures() -> None:
    found = figures_of([judged("a", 1.0, 0.2), judged("a", 1.0, 0.5), judged("b", 1.0, 0.6)])
    assert (found.num_faces, found.num_pictures, found.num_at_risk) == (2, 3, 2)
    assert found.rank_pooled == found.rank_within == pytest.approx(1)
    assert found.detail_pooled == found.detail_within == pytest.approx(-1)
    assert [tenth.expected for tenth in found.tenths] == pytest.approx([1.5 + 2 * i for i in range(10)])
    assert [tenth.true / tenth.expected for tenth in found.tenths] == pytest.approx([1.0] * 5 + [1.5] * 5)
    assert found.largest_deviation == pytest.approx(0.5)
    assert found.expected_error == pytest.approx(10.5) and found.true_error == pytest.approx(10.5 + 0.5 * 7.75)
    assert found.expected_at_risk == pytest.approx(1.3) and found.risk_area == 1
    assert math.isnan(found.distance_correlation)  # the expected one is always the same
    text = reliability_table({"0": found, "1": found}, "fidelity")
    assert text.splitlines()[0].split() == ["fidelity", "0", "1"]
    assert "50.0%" in text and "9.50 / 9.50" in text and "11.50 / 17.25" in text


def test_the_order_within_a_picture_is_not_that_of_all() -> None:
    """Faces whose level is known, but not where they are wrong."""
    faces = [
        JudgedFace(str(i), 10**i * np.array([1.0, 1.1]), 10**i * np.array([1.1, 1.0]), np.zeros(2), 0.1, 0.1, 0.1)
        for i in range(9)
    ]
    found = figures_of(faces)
    assert found.rank_within == pytest.approx(-1) and found.rank_pooled > 0.95


class Knowing(ReliabilityNet):
    """Expects of a brightened picture the very brightening, and a distance and risk by the dial."""

    def __init__(self, size_px: int = 64) -> None:
        super().__init__(ReliabilityConfig(image_size=size_px, stem_channels=2, channels=2, blocks=1))

    def forward(self, degraded: Tensor, restored: Tensor, fidelity: Tensor) -> ReliabilityEstimate:
        return ReliabilityEstimate(2 * block_error(restored, degraded) + 1e-3, fidelity, fidelity)


def brightened(faces: Tensor) -> Tensor:
    return (faces + torch.linspace(0, 0.2, 64)).clamp(-1, 1)


def described(faces: Tensor) -> Tensor:
    return faces.flatten(1).mean(1, keepdim=True)


def test_what_is_measured(tmp_path: Path) -> None:
    """Faces that are hardly degraded: what was added to them is the error, and half of what is expected."""
    hardly = Degradation(blur_sigma=(0, 0), downscale=(1, 1), noise_sigma=(0, 0), jpeg_quality=(100, 100))
    faces = write_faces(tmp_path / "faces", count=4)
    restorers = {0.0: lambda x: x, 0.5: brightened}
    options = {"describe": described, "settings": hardly, "seeds": [0, 1], "batch_size": 3}
    plain, bright = measure_reliability(Knowing(), restorers, faces, **options).values()
    assert plain.num_faces == bright.num_faces == 4 and plain.num_pictures == 8
    assert plain.true_error < 1.5 and plain.true_distance < 0.01 and plain.expected_distance == 0
    added = np.linspace(0, 0.2 * 127.5, 64).reshape(4, 16).mean(1)
    columns = region_mask("face", 4, 4).sum(0).numpy()
    assert bright.true_error == pytest.approx(float(added @ columns / columns.sum()), rel=0.05)
    assert bright.expected_error == pytest.approx(2 * bright.true_error, rel=0.05)
    assert bright.true_distance == pytest.approx(0.1, abs=0.02) and bright.expected_distance == 0.5
    assert bright.rank_within > 0.65  # blocks of a column are equal
    halves = [measure_reliability(Knowing(), restorers, faces, half=half, **options) for half in ("even", "odd")]
    assert [half[0.5].num_faces for half in halves] == [2, 2]
    both = (halves[0][0.5].true_error + halves[1][0.5].true_error) / 2
    assert both == pytest.approx(bright.true_error) and halves[0][0.5].true_error != halves[1][0.5].true_error
    aged = measure_reliability(Knowing(), {0.0: lambda x: x}, faces, is_aged=True, **options)[0.0]
    assert aged.true_error > 2 * plain.true_error


def test_nothing_to_measure_is_refused(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", count=1)
    for restorers, seeds in (({}, [0]), ({0.0: brightened}, []), ({1.5: brightened}, [0])):
        with pytest.raises(ConfigError, match="at least one each, settings from 0 to 1"):
            measure_reliability(Knowing(), restorers, faces, seeds=seeds, describe=described)
    with pytest.raises(ConfigError, match="In a face of 32 px is no block"):
        measure_reliability(Knowing(32), {0.0: brightened}, faces, describe=described)


EMBEDDED = hub.REGISTRY[hub.DEFAULT_NAME]
NO_DAMAGE = DegradationParameters(blur_sigma=0, downscale=1, noise_sigma=0, jpeg_quality=95)


@pytest.mark.slow
@pytest.mark.skipif(EMBEDDED.reliability is None, reason="no weights that estimate errors are registered")
@pytest.mark.parametrize(
    ("field", "strengths"),
    [("blur_sigma", (0.5, 3, 8, 16)), ("noise_sigma", (1, 10, 25, 50)), ("downscale", (1.5, 4, 8, 16))],
)
@torch.inference_mode()
def test_the_embedded_weights_expect_more_of_more_damage(field: str, strengths: tuple[float, ...]) -> None:
    """Mean error inside the face, identity distance and risk rise with blur, noise and shrinking."""
    checkpoint = hub.load(EMBEDDED.name)
    network = prepare_for_inference(build_memgan(checkpoint.config, checkpoint.state).eval())
    estimator = load_reliability_of(EMBEDDED).build()
    face = to_tensor(load_picture(embedded_dir() / "self_check" / f"{EMBEDDED.name}.png").rgb)
    inside = region_mask("face", 32, 32)
    found = []
    for strength in strengths:
        parameters = dataclasses.replace(NO_DAMAGE, **{field: strength})
        degraded = apply_degradation(face, parameters, torch.Generator().manual_seed(0))[None]
        restored = network(degraded)[0].clamp(-1, 1)
        error, distance, risk = estimator(degraded, restored, torch.zeros(1))
        found.append([float(error[0, inside].mean()), float(distance), float(risk)])
    rises = np.diff(np.array(found), axis=0)
    assert (rises > 0).all(), found
