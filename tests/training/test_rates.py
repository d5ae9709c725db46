"""Learning rate and progress of a run."""

import pytest
from tiny import settings

from memgan.training.rates import progress, rate_factor


def test_learning_rate_warms_up_and_falls() -> None:
    config = settings({"optimizer.warmup_steps": 10, "optimizer.decay_from": 0.5})
    assert rate_factor(0, 0.0, config) == pytest.approx(0.1)
    assert rate_factor(50, 0.4, config) == 1.0
    falling = [rate_factor(50, done, config) for done in (0.5, 0.6, 0.8, 1.0)]
    assert falling == sorted(falling, reverse=True) and falling[-1] == pytest.approx(0.05)


def test_a_run_ends_by_steps_or_minutes_and_compiling_is_no_progress() -> None:
    assert progress(30, 1e9, 0.0, settings({"run.steps": 100, "run.minutes": None})) == 0.3
    config = settings({"run.steps": 1000, "run.minutes": 10})
    assert progress(0, 0.0, 0.0, config) == 0.0
    assert progress(1, 200.0, 200.0, config) == 0.001
    assert progress(50, 400.0, 200.0, config) == 0.5
    assert progress(900, 400.0, 200.0, config) == 0.9
    assert progress(50, 600.0, 200.0, config) == 1.0 == progress(0, 700.0, 650.0, config)
