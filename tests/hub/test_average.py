"""``memgan average``: means of weight files."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import TINY_MOBILE as TINY

from memgan.apps.cli import main as cli
from memgan.errors import ConfigError, StateMismatchError
from memgan.hub import weight_file as checkpoint
from memgan.hub.average import averaged
from memgan.hub.weight_file import Checkpoint
from memgan.network.config import MemGANConfig
from memgan.network.model import build_memgan

CONDITIONED = dataclasses.replace(TINY, name="conditioned", degradation_conditioning=True)


def weights(seed: int, config: MemGANConfig = TINY, **metadata: str) -> Checkpoint:
    torch.manual_seed(seed)
    network = build_memgan(config)
    if network.conditioning is not None:
        torch.nn.init.normal_(network.conditioning.leave.weight)
    return Checkpoint(config, network.state_dict(), metadata)


def test_every_number_lies_between() -> None:
    first, second = weights(0, steps="3", license="a"), weights(1, license="b")
    mean = averaged(first, second, 0.25)
    assert mean.config == TINY and mean.state.keys() == first.state.keys()
    for name, tensor in mean.state.items():
        torch.testing.assert_close(tensor, 0.75 * first.state[name] + 0.25 * second.state[name])
    assert mean.metadata["steps"] == "3" and mean.metadata["license"] == "a; b"
    assert mean.metadata["average"] == "0.75 of tiny and 0.25 of tiny"
    ends = averaged(first, second, 0.0).state, averaged(first, second, 1.0).state
    assert all(
        torch.equal(ends[0][n], first.state[n]) and torch.equal(ends[1][n], second.state[n]) for n in first.state
    )


@torch.no_grad()
def test_weights_without_conditioning_count_as_unconditioned() -> None:
    plain, conditioned = weights(0), weights(1, CONDITIONED)
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    for first, second, share in ((conditioned, plain, 1.0), (plain, conditioned, 0.0)):
        mean = averaged(first, second, share)
        assert mean.config.degradation_conditioning and mean.config.name == first.config.name
        restored = build_memgan(mean.config, mean.state).eval()(picture).image
        assert torch.equal(restored, build_memgan(TINY, plain.state).eval()(picture).image)
    half = averaged(conditioned, plain, 0.5).state["conditioning.leave.weight"]
    assert torch.equal(half, conditioned.state["conditioning.leave.weight"] / 2)


def test_other_networks_have_no_mean() -> None:
    wide = dataclasses.replace(TINY, memory_max_slots=4)
    with pytest.raises(StateMismatchError, match="memory_max_slots"):
        averaged(weights(0), weights(1, wide), 0.5)
    lacking = weights(1)
    del lacking.state["encoder.levels.0.enter.bias"]
    with pytest.raises(StateMismatchError, match=r"encoder\.levels\.0\.enter\.bias"):
        averaged(weights(0), lacking, 0.5)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="from 0 to 1"):
            averaged(weights(0), weights(1), share)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = []
    for seed in (0, 1):
        one = weights(seed)
        paths.append(checkpoint.save(tmp_path / f"{seed}.safetensors", one.config, one.state, {"license": "mine"}))
    out = tmp_path / "new" / "mean.safetensors"
    assert (
        cli.main(["average", str(paths[0]), str(paths[1]), "--share", "0.1", "-o", str(out), "--full-precision"]) == 0
    )
    assert str(out) in capsys.readouterr().out
    found, expected = checkpoint.read(out), averaged(weights(0), weights(1), 0.1)
    assert all(torch.equal(found.state[name], tensor) for name, tensor in expected.state.items())
    assert found.metadata == {"license": "mine", "average": "0.9 of tiny and 0.1 of tiny"}
    size = out.stat().st_size
    assert cli.main(["average", str(paths[0]), str(paths[1]), "--share", "0.1", "-o", str(out)]) == 0
    assert out.stat().st_size < 0.7 * size
    assert cli.main(["average", str(paths[0]), str(paths[1]), "--share", "2", "-o", str(tmp_path / "no")]) == 2
    assert "from 0 to 1" in capsys.readouterr().err and not (tmp_path / "no").exists()
