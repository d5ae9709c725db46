"""A restorer within programs that set what they like: its results stay, and so do their settings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import host_settings
import pytest
from tiny import FAST_CONFIG, trained

from memgan import hub

SCRIPT = Path(host_settings.__file__)


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Levels that the results are off, by setting; in a process that nothing else has been done in."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    hub.save(path, FAST_CONFIG, trained().state_dict())
    paths = os.pathsep.join([str(SCRIPT.parents[1]), str(SCRIPT.parent)])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", [*host_settings.SETTINGS, *host_settings.CHECKS])
def test_results_are_the_same_bit_for_bit(name: str, off: dict[str, int]) -> None:
    assert off[name] == 0


@pytest.mark.parametrize("name", list(host_settings.PRECISION))
def test_what_programs_choose_for_speed_moves_no_value_by_more_than_a_level(name: str, off: dict[str, int]) -> None:
    assert off[name] <= 1
