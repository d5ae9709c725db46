"""Runs that are interrupted and continued are the runs that they would have been."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from tiny import register_tiny, settings, write_faces
from training_runs import everything, register_small, stop_after, watch_steps, write_prior

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


def test_a_used_folder_is_refused_and_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    config, faces, run = settings(PLAIN), [write_faces(tmp_path / "faces")], tmp_path / "run"
    train(config, faces, None, run)
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"holds a run already \(step-00000003, memgan.safetensors\).*--resume"):
        train(config, faces, None, run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == kept
    train(config, faces, None, tmp_path / "other")
    with pytest.raises(ConfigError, match="holds a run already"):
        resume_run(run, output=tmp_path / "other")
    older = run / "step-00000003"
    resume_run(run, {"run.steps": 4})
    with pytest.raises(ConfigError, match=r"newer checkpoints than step-00000003 \(step-00000004\)"):
        resume_run(older, {"run.steps": 5})
    resume_run(older, {"run.steps": 5}, output=tmp_path / "branch")
    assert [path.name for path in checkpoints(tmp_path / "branch")] == ["step-00000005"]


def test_settings_may_change_except_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register_tiny(monkeypatch)
    caplog.set_level("INFO", "memgan.training")
    run = tmp_path / "run"
    train(settings(PLAIN), [write_faces(tmp_path / "faces")], None, run)
    with pytest.raises(ConfigError, match=r"architecture is .*begin another run"):
        resume_run(run, {"architecture.use_memory": False})
    with pytest.raises(ConfigError, match="continues"):
        train(settings(PLAIN), [tmp_path / "faces"], None, run, resume=run, start_from=run / "memgan.safetensors")
    caplog.clear()
    resume_run(run, {"run.steps": 4, "optimizer.prior_rate": 0.5})
    assert "with run.steps 4 (it was 3), optimizer.prior_rate 0.5 (it was 1.0)." in caplog.text
    assert "Other batches" not in caplog.text
    caplog.clear()
    resume_run(run, {"run.steps": 5, "run.batch_size": 3})
    assert "Other batches than before are drawn from here on, as these differ: batch_size." in caplog.text
    saved = find_checkpoint(run)
    assert saved.config.run.steps == 5 and saved.config.optimizer.prior_rate == 0.5  # the run knows them now
    write_faces(tmp_path / "faces", count=6)
    caplog.clear()
    resume_run(run, {"run.steps": 6})
    assert "as these differ: faces." in caplog.text


def test_a_run_can_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    with monkeypatch.context() as patch:
        straight = watch_steps(patch)
        train(settings({**PLAIN, "run.steps": 4}), [write_faces(tmp_path / "faces")], None, tmp_path / "straight")
    with monkeypatch.context() as patch:
        watch_steps(patch, stop_after(2))
        with pytest.raises(SystemExit):
            train(settings({**PLAIN, "run.steps": 4}), [tmp_path / "faces"], None, tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere" / "run")
    shutil.move(tmp_path / "faces", tmp_path / "elsewhere" / "faces")
    with pytest.raises(DataError, match="--faces"):
        resume_run(tmp_path / "elsewhere" / "run")
    monkeypatch.chdir(tmp_path / "elsewhere")
    continued = watch_steps(monkeypatch)
    assert resume_run(Path("run"), faces=(Path("faces"),)) == Path("run/memgan.safetensors")
    assert continued == straight[2:]
    assert find_checkpoint(Path("run")).sources.faces == (tmp_path / "elsewhere" / "faces",)


def test_a_damaged_last_checkpoint_costs_its_steps_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    register_tiny(monkeypatch)
    run, faces = tmp_path / "run", [write_faces(tmp_path / "faces")]
    with monkeypatch.context() as patch:
        straight = watch_steps(patch)
        train(settings({**PLAIN, "run.steps": 4, "run.checkpoint_every": 2}), faces, None, run)
    cut = run / "step-00000004" / "averaged.safetensors"
    cut.write_bytes(cut.read_bytes()[:-100])
    with monkeypatch.context() as patch:
        again = watch_steps(patch)
        resume_run(run)
    assert "step-00000004 is damaged (averaged.safetensors)" in caplog.text
    assert again == straight[2:]
    assert sorted(path.name for path in run.glob("step-*")) == [
        "step-00000002",
        "step-00000004",
        "step-00000004.damaged",
    ]


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
        DataError, match=r"10 steps in a row, up to step 14.*step-00000004.*learning_rate \(it is 0.001"
    ):
        train(config, [write_faces(tmp_path / "faces")], None, tmp_path / "run")
    assert [report["skipped"] for report in seen] == [0, 1, 0, 0] + [1] * 10
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["step-00000003", "step-00000004"]
    assert find_checkpoint(tmp_path / "run").state["skipped"] == 1


def test_the_log_has_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    register_tiny(monkeypatch)
    monkeypatch.setattr(engine, "LOG_EVERY", 2)
    run, faces = tmp_path / "run", [write_faces(tmp_path / "faces")]
    train(settings({**PLAIN, "run.steps": 7, "run.checkpoint_every": 3}), faces, None, run)
    straight = logged(accumulator, run)
    assert [step for step, _ in straight] == [2, 4, 6]
    shutil.rmtree(run / "step-00000007")  # as if it had been killed after its seventh step
    resume_run(run, {"run.steps": 10})
    shutil.rmtree(run / "step-00000010")
    resume_run(run, {"run.steps": 10})
    assert [step for step, _ in logged(accumulator, run)] == [2, 4, 6, 8, 10]
    assert logged(accumulator, run)[:3] == straight


def logged(accumulator: object, run: Path) -> list[tuple[int, float]]:
    events = accumulator.EventAccumulator(str(run / "logs"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("loss")]


def test_a_checkpoint_says_what_the_run_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    run = tmp_path / "run"
    train(settings(PLAIN), [write_faces(tmp_path / "faces")], None, run)
    state = json.loads((run / "step-00000003" / "state.json").read_text())
    assert state["sources"]["faces"] == [str(tmp_path / "faces")] and state["step"] == 3
    assert state["stream"]["faces"][0] == 4 and state["train_config"]["run"]["steps"] == 3
