"""Runs that are interrupted and continued are the runs that they would have been."""

import contextlib
import dataclasses
import json
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny import register_tiny, settings, write_faces
from training_runs import (
    Report,
    everything,
    one_bad_batch,
    register_small,
    run_in_a_group,
    stop_after,
    stopped_and_continued,
    watch_steps,
    write_prior,
)

from memgan.apps.cli.main import main
from memgan.errors import ConfigError, DataError, OutputError
from memgan.training import engine
from memgan.training.checkpoint import checkpoints, find_checkpoint
from memgan.training.engine import resume_run, train
from memgan.training.step import Trainer

PLAIN = {"losses.adversarial": 0.0, "run.steps": 3}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_stopped_and_continued_is_the_same_run(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_small(monkeypatch)
    config = everything({"run.workers": workers})
    faces, prior = write_faces(tmp_path / "faces", count=5), write_prior(tmp_path / "prior.safetensors")
    with monkeypatch.context() as patch:
        straight = watch_steps(patch)
        whole = train(config, [faces], prior, tmp_path / "straight")
    with monkeypatch.context() as patch:
        begun = watch_steps(patch, stop_after(3))
        with pytest.raises(SystemExit) as end:
            train(config, [faces], prior, tmp_path / "stopped")
    assert end.value.code == 128 + signal.SIGTERM
    assert [path.name for path in checkpoints(tmp_path / "stopped")] == ["step-00000003"]
    assert not (tmp_path / "stopped" / "memgan.safetensors").exists()
    with monkeypatch.context() as patch:
        continued = watch_steps(patch)
        assert main(["train", "--resume", str(tmp_path / "stopped")]) == 0
    assert len(straight) == 6 and begun + continued == straight
    for name in ("memgan.safetensors", "discriminator.safetensors"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    assert whole == tmp_path / "straight" / "memgan.safetensors"
    for path in checkpoints(tmp_path / "straight")[-1].iterdir():
        other = checkpoints(tmp_path / "stopped")[-1] / path.name
        assert path.name == "state.json" or path.read_bytes() == other.read_bytes(), path.name


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGHUP", 129)])
def test_signals_save_and_end_with_their_status(
    name: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    register_tiny(monkeypatch)
    number, faces = getattr(signal, name), write_faces(tmp_path / "faces")
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    watch_steps(monkeypatch, stop_after(2, number))
    command = f"train --recipe memgan-512 --faces {faces} -o {tmp_path / 'run'} --set preset=tiny run.batch_size=2"
    command += " losses.perceptual=0 losses.adversarial=0"
    if name == "SIGINT":
        assert main(command.split()) == status
    else:
        with pytest.raises(SystemExit) as end:
            main(command.split())
        assert end.value.code == status
    assert f"{name}: a checkpoint is saved after this step; a second signal ends at once" in capfd.readouterr().err
    assert find_checkpoint(tmp_path / "run").state["step"] == 2
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Report]]]:
    """The folder of ``run``, three steps with checkpoints at 2 and 3, and of ``faces``; what the steps reported."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        register_tiny(patch)
        patch.setattr(engine, "LOG_EVERY", 1)
        seen = watch_steps(patch)
        config = settings({**PLAIN, "run.checkpoint_every": 2})
        train(config, [write_faces(folder / "faces")], None, folder / "run")
    yield folder, seen


@pytest.fixture
def copied(finished: tuple[Path, list[Report]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that run, which tests may change."""
    register_tiny(monkeypatch)
    monkeypatch.setattr(engine, "LOG_EVERY", 1)
    return Path(shutil.copytree(finished[0] / "run", tmp_path / "run"))


def test_a_used_folder_is_refused_and_left_as_it_is(copied: Path, tmp_path: Path) -> None:
    kept = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    faces = find_checkpoint(copied).sources.faces
    refused = r"holds a run already \(step-00000002, step-00000003, memgan.safetensors\).*--resume"
    with pytest.raises(ConfigError, match=refused):
        train(settings(PLAIN), faces, None, copied)
    other = Path(shutil.copytree(copied, tmp_path / "other"))
    with pytest.raises(ConfigError, match=refused):
        resume_run(copied, output=other)
    with pytest.raises(ConfigError, match=r"newer checkpoints than step-00000002 \(step-00000003\).*-o"):
        resume_run(copied / "step-00000002")
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == kept


def test_settings_may_change_except_the_network(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "memgan.training")
    with pytest.raises(ConfigError, match=r"architecture is .*begin another run"):
        resume_run(copied, {"architecture.use_memory": False})
    with pytest.raises(ConfigError, match="continues"):
        train(settings(PLAIN), [copied], None, copied, resume=copied, start_from=copied / "memgan.safetensors")
    caplog.clear()
    resume_run(copied, {"run.steps": 4, "optimizer.prior_rate": 0.5})  # other groups of parameters
    assert "with run.steps 4 (it was 3), optimizer.prior_rate 0.5 (it was 1.0)." in caplog.text
    assert "Other batches" not in caplog.text
    caplog.clear()
    state = copied / "step-00000004" / "state.json"
    state.write_text(state.read_text().replace('"processes": 1', '"processes": 2'))
    resume_run(copied, {"run.steps": 5, "run.batch_size": 3})
    assert "Other batches than before are drawn from here on, as these differ: processes, batch_size." in caplog.text
    saved = find_checkpoint(copied)
    assert saved.config.run.steps == 5 and saved.config.optimizer.prior_rate == 0.5  # the run knows them now


def test_the_command_takes_settings_from_the_run(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(copied), "--print-config", "--set", "run.steps=9"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == dataclasses.asdict(settings({**PLAIN, "run.checkpoint_every": 2, "run.steps": 9}))
    assert main(["train", "--resume", str(copied), "--start-from", str(copied / "memgan.safetensors")]) == 2
    assert "leave out --start-from" in capsys.readouterr().err
    assert main(["train", "--resume", str(copied.parent)]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err


def test_a_run_can_move_and_branch(
    finished: tuple[Path, list[Report]], copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same step again, from an older checkpoint, by relative paths; with more faces other batches are drawn."""
    faces, straight = finished[0] / "faces", finished[1]
    state = copied / "step-00000002" / "state.json"
    state.write_text(state.read_text().replace(str(faces), str(tmp_path / "gone")))
    with pytest.raises(DataError, match="--faces"):
        resume_run(copied / "step-00000002", output=tmp_path / "branch")
    shutil.copytree(faces, tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        seen = watch_steps(patch)
        found = resume_run(Path("run/step-00000002"), output=Path("branch"), faces=(Path("faces"),))
    assert found == Path("branch/memgan.safetensors")
    assert [report["loss"] for report in seen] == [straight[2]["loss"]]
    assert find_checkpoint(Path("branch")).sources.faces == (tmp_path / "faces",)
    write_faces(tmp_path / "faces", count=6)
    with monkeypatch.context() as patch:
        seen = watch_steps(patch)
        resume_run(Path("run/step-00000002"), output=Path("other"), faces=(Path("faces"),))
    assert seen[0]["loss"] != straight[2]["loss"]


def test_a_damaged_last_checkpoint_costs_its_steps_and_none_is_logged_twice(
    finished: tuple[Path, list[Report]], copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cut = copied / "step-00000003" / "averaged.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    seen = watch_steps(monkeypatch)
    resume_run(copied, {"run.steps": 4})
    assert "step-00000003 is damaged (averaged.safetensors)" in caplog.text
    assert seen[0]["loss"] == finished[1][2]["loss"] and len(seen) == 2
    assert sorted(path.name for path in copied.glob("step-*")) == [
        "step-00000002",
        "step-00000003.damaged",
        "step-00000004",
    ]
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(copied / "logs"))
    events.Reload()
    logged = [(event.step, event.value) for event in events.Scalars("loss")]
    expected = [report["loss"] for report in (*finished[1], seen[1])]
    assert logged == list(zip((1, 2, 3, 4), expected, strict=True))


def test_a_checkpoint_says_what_the_run_read(finished: tuple[Path, list[Report]]) -> None:
    folder = finished[0]
    state = json.loads((folder / "run" / "step-00000003" / "state.json").read_text())
    assert state["sources"]["faces"] == [str(folder / "faces")] and state["step"] == 3
    assert state["stream"]["faces"][0] == 4 and state["train_config"]["run"]["steps"] == 3


def test_training_continues_while_no_checkpoint_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register_tiny(monkeypatch)
    save, tried = engine.save_checkpoint, []

    def full_at_first(folder: Path, trainer: Trainer, *rest: object) -> Path:
        tried.append(trainer.step_index)
        if trainer.step_index < 3:
            raise OutputError("No space left on device.")
        return save(folder, trainer, *rest)

    monkeypatch.setattr(engine, "save_checkpoint", full_at_first)
    train(settings({**PLAIN, "run.checkpoint_every": 1}), [write_faces(tmp_path / "faces")], None, tmp_path / "run")
    assert tried == [1, 2, 3]
    assert "No checkpoint at step 2: No space left on device. Training continues." in caplog.text
    monkeypatch.setattr(engine, "save_checkpoint", lambda *_: (_ for _ in ()).throw(OutputError("No space left.")))
    with pytest.raises(OutputError):  # what was learned would be lost
        resume_run(tmp_path / "run", {"run.steps": 4})


def test_ten_bad_steps_in_a_row_end_the_run_and_keep_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_tiny(monkeypatch)

    def broken(trainer: Trainer, batch: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        bad = trainer.step_index == 1 or trainer.step_index >= 4
        return (batch[0], batch[1] * float("nan")) if bad else batch

    seen = watch_steps(monkeypatch, broken)
    config = settings({**PLAIN, "run.steps": 100, "run.checkpoint_every": 2})
    with pytest.raises(
        DataError, match=r"10 steps in a row, up to step 14.*step-00000003.*learning_rate \(it is 0.001"
    ):
        train(config, [write_faces(tmp_path / "faces")], None, tmp_path / "run")
    assert [report["skipped"] for report in seen] == [0, 1, 0, 0] + [1] * 10
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000003"]
    assert find_checkpoint(tmp_path / "run").state["skipped"] == 1


def two(tmp_path: Path, work: Callable[..., object]) -> None:
    with contextlib.ExitStack() as probes:
        sockets = [probes.enter_context(socket.socket()) for _ in range(3)]
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in sockets]
    torch.multiprocessing.spawn(run_in_a_group, args=(ports, str(tmp_path), work), nprocs=2)


@pytest.mark.slow
def test_two_processes_stop_together_and_continue_exactly(tmp_path: Path) -> None:
    """One of them gets the signal; each draws batches and windows of its own."""
    write_faces(tmp_path / "faces", count=5)
    write_prior(tmp_path / "prior.safetensors")
    two(tmp_path, stopped_and_continued)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    for found in (first, second):
        assert len(found["straight"]) == 6 and len(found["begun"]) == 3
        assert found["begun"] + found["continued"] == found["straight"]
    assert all(one["loss"] != other["loss"] for one, other in zip(first["straight"], second["straight"], strict=True))
    assert first["windows"] != second["windows"]
    whole, stopped = (tmp_path / name / "memgan.safetensors" for name in ("straight", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()


@pytest.mark.slow
def test_two_processes_skip_together_what_one_cannot_use(tmp_path: Path) -> None:
    write_faces(tmp_path / "faces", count=5)
    write_prior(tmp_path / "prior.safetensors")
    two(tmp_path, one_bad_batch)
    skipped = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert skipped == [[0, 1, 0, 0, 0, 0]] * 2
