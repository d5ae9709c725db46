"""Checkpoints: what they hold, which stay, and resuming."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import TINY_MOBILE as TINY
from tiny import settings

from memgan.errors import DataError, WeightsError
from memgan.network.model import build_memgan
from memgan.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from memgan.training.discriminators import Discriminator
from memgan.training.step import Trainer


def trainer() -> Trainer:
    torch.manual_seed(0)
    return Trainer(settings(), build_memgan(TINY), Discriminator(64, channel_base=256, channel_max=16))


def test_checkpoints_resume_exactly(tmp_path: Path) -> None:
    batches = [torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(i)) * 2 - 1 for i in range(4)]
    straight = trainer()
    for clean, degraded in batches:
        straight.set_rate(1.0)
        straight.step(clean, degraded)
    stopped = trainer()
    for clean, degraded in batches[:2]:
        stopped.set_rate(1.0)
        stopped.step(clean, degraded)
    save_checkpoint(tmp_path, stopped, {"elapsed_seconds": 12.5})
    resumed = trainer()
    assert load_checkpoint(tmp_path, resumed)["elapsed_seconds"] == 12.5
    for clean, degraded in batches[2:]:
        resumed.set_rate(1.0)
        resumed.step(clean, degraded)
    for one, other in (
        (straight.generator, resumed.generator),
        (straight.averaged.network, resumed.averaged.network),
        (straight.discriminator, resumed.discriminator),
    ):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], value, msg=lambda text, name=name: f"{name}: {text}")


def test_optimizer_state_belongs_to_parameters_by_name(tmp_path: Path) -> None:
    first, again = trainer(), trainer()
    first.step(*torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    for group in again.generator_optimizer.param_groups:
        group["params"].reverse()  # as if parameters had been added before others
    load_checkpoint(save_checkpoint(tmp_path, first, {"elapsed_seconds": 0.0}), again)
    theirs = dict(again.generator.named_parameters())
    for name, parameter in first.generator.named_parameters():
        for entry, value in first.generator_optimizer.state[parameter].items():
            assert torch.equal(again.generator_optimizer.state[theirs[name]][entry], value), (name, entry)


def test_old_checkpoints_go_and_nothing_half_written_counts(tmp_path: Path) -> None:
    made = trainer()
    for step in (1, 2, 3):
        made.step_index = step
        save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0})
    (tmp_path / ".step-00000009.tmp").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    assert not list(checkpoints(tmp_path)[0].glob("*.pt*"))  # safetensors and JSON only


def test_bad_checkpoints_are_explained(tmp_path: Path) -> None:
    made = trainer()
    with pytest.raises(DataError, match="no checkpoint"):
        load_checkpoint(tmp_path, made)
    folder = save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0})
    save_file({"generator.0.exp_avg": torch.zeros(1)}, folder / "optimizers.safetensors")
    with pytest.raises(WeightsError, match="--start-from"):
        load_checkpoint(tmp_path, made)
    (folder / "optimizers.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match="damaged"):
        load_checkpoint(tmp_path, made)
