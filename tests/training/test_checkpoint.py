"""Checkpoints: what they hold, which stay, and resuming."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from tiny import TINY_MOBILE as TINY
from tiny import settings

from memgan.errors import DataError, OutputError, WeightsError
from memgan.network.model import build_memgan
from memgan.training import checkpoint
from memgan.training.checkpoint import Sources, checkpoints, find_checkpoint, load_checkpoint, save_checkpoint
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
    saved = find_checkpoint(tmp_path)
    assert saved.state["elapsed_seconds"] == 12.5
    load_checkpoint(saved, resumed)
    resumed.random.set_state(saved.process_tensors()["windows"])
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
    load_checkpoint(find_checkpoint(save_checkpoint(tmp_path, first, {"elapsed_seconds": 0.0})), again)
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
    with pytest.raises(DataError, match="no checkpoint"):
        find_checkpoint(tmp_path)
    folder = save_checkpoint(tmp_path, trainer(), {"elapsed_seconds": 0.0})
    state = folder / "state.json"
    whole = state.read_text()
    state.write_text(whole.replace('"files"', '"other"'))
    with pytest.raises(WeightsError, match="--start-from"):
        find_checkpoint(tmp_path)
    state.write_text(whole[:100])
    with pytest.raises(WeightsError, match="damaged"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["optimizers.safetensors", "averaged.safetensors", "process-0.safetensors"])
@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), None])
def test_of_a_damaged_checkpoint_the_one_before_is_taken(
    name: str, damage: Callable[[bytes], bytes] | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = trainer()
    save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0})
    made.step_index = 7
    newest = save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0})
    assert find_checkpoint(tmp_path).folder == newest
    file = newest / name
    file.write_bytes(damage(file.read_bytes())) if damage else file.unlink()
    assert find_checkpoint(tmp_path).state["step"] == 0
    assert name in caplog.text and "The one before is taken" in caplog.text
    with pytest.raises(WeightsError, match=r"Resume from an older checkpoint|permissions"):
        find_checkpoint(newest)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer()
    first = save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0})
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    made.step_index = 5

    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"a part")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0})
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    monkeypatch.undo()
    assert find_checkpoint(save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0})).state["step"] == 5


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".step-00000004.tmp").mkdir()
    save_checkpoint(tmp_path, trainer(), {"elapsed_seconds": 0.0})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000000"]


def test_drawn_faces_that_stay_are_written_once(tmp_path: Path) -> None:
    made, pool = trainer(), {"faces": torch.arange(12, dtype=torch.uint8)}
    first = save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0}, pool=pool)
    made.step_index = 1
    second = save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0}, pool=pool, pool_from=first)
    assert (first / "pool-0.safetensors").samefile(second / "pool-0.safetensors")
    made.step_index = 2
    third = save_checkpoint(tmp_path, made, {"elapsed_seconds": 0.0}, pool=pool, pool_from=tmp_path / "gone")
    for folder in (second, third):
        assert torch.equal(find_checkpoint(folder).process_tensors()["pool/faces"], pool["faces"])


def test_files_that_are_gone_are_named_with_their_option(tmp_path: Path) -> None:
    sources = Sources((tmp_path,), tmp_path / "prior.safetensors")
    assert Sources.from_json(json.loads(json.dumps(sources.to_json()))) == sources
    with pytest.raises(DataError, match=r"prior.safetensors.*--prior"):
        sources.check()
    with pytest.raises(DataError, match="--faces"):
        Sources((tmp_path / "moved",)).check()
