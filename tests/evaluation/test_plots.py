"""What a plot of the fidelity dial shows."""

import pytest

from memgan.errors import ConfigError
from memgan.evaluation import METRICS
from memgan.evaluation.plots import dial_points
from memgan.evaluation.results import EvaluationResult, FaceScores


def result(*metrics: str) -> EvaluationResult:
    """Two faces; the second is better by one than the first, and ``b`` by ten than ``a``."""
    scores = {"input": 0.0, "a": 1.0, "b": 11.0}
    rows = [{picture: dict.fromkeys(metrics, value + face) for picture, value in scores.items()} for face in (0, 1)]
    faces = tuple(FaceScores(str(number), 0, row) for number, row in enumerate(rows))
    return EvaluationResult(faces, ("a", "b"), {name: METRICS[name].info for name in metrics})


def test_each_metric_is_a_panel_and_each_dial_a_curve() -> None:
    points = dial_points(result("psnr", "ssim", "niqe"), {"one": ["a", "b"], "other": ["b"]})
    curves = {"one": [(1.5, 1.5), (11.5, 11.5)], "other": [(11.5, 11.5)]}
    assert points == {"ssim": curves, "niqe": curves}


@pytest.mark.parametrize("metrics", [("psnr",), ("ssim", "niqe")])
def test_metrics_that_make_no_plot(metrics: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="psnr and another metric"):
        dial_points(result(*metrics), {"one": ["a"]})
