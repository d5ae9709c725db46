"""The training command end to end, and a short run that must learn."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import TINY_MOBILE as TINY
from tiny import register_tiny, settings, write_faces

from memgan.apps.cli.main import main
from memgan.errors import DataError
from memgan.hub import weight_file
from memgan.network.model import build_memgan
from memgan.training import build, engine
from memgan.training.data.clean_faces import FaceSet
from memgan.training.data.stream import Batch, FaceStream
from memgan.training.engine import train
from memgan.training.losses.objective import LossNetworks
from memgan.training.memory_estimate import Need
from memgan.training.step import Trainer

CPU = torch.device("cpu")


def test_command_trains_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    faces, run = write_faces(tmp_path / "faces"), tmp_path / "run"
    common = (
        f"train --recipe memgan-512 --faces {faces} -o {run} --set preset=tiny run.batch_size=2 losses.perceptual=0 "
        "discriminator.size=32 discriminator.channel_base=256 memory.warmup=true window.size=12 window.scale=16 "
        "window.margin=4 run.checkpoint_every=2"
    ).split()
    assert main([*common, "run.steps=2"]) == 0
    loaded = weight_file.read(run / "memgan.safetensors")
    assert loaded.config == TINY and loaded.metadata["train_steps"] == "2"
    assert json.loads(loaded.metadata["train_config"])["window"]["size"] == 12
    assert (run / "samples" / "step-00000002.png").stat().st_size > 1000
    assert main(["train", "--resume", str(run), "--set", "run.steps=4"]) == 0
    assert weight_file.read(run / "memgan.safetensors").metadata["train_steps"] == "4"
    assert (
        main([*common, "run.steps=1", "--start-from", str(run / "memgan.safetensors"), "-o", str(tmp_path / "tuned")])
        == 0
    )


def test_a_run_from_weights_draws_faces_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    seen = []

    class Recorded(FaceStream):
        def batch(self, size: int) -> Batch:
            seen.append(super().batch(size))
            return seen[-1]

    monkeypatch.setattr(build, "FaceStream", Recorded)
    faces = [write_faces(tmp_path / "faces")]

    def degraded_by(name: str, steps: int = 1, **options: Path) -> torch.Tensor:
        seen.clear()
        train(settings({"run.steps": steps, "losses.adversarial": 0.0}), faces, None, tmp_path / name, **options)
        return seen[-1].degraded

    first, start = degraded_by("first"), tmp_path / "first" / "memgan.safetensors"
    second = degraded_by("second", start_from=start)
    assert not torch.equal(second, first)
    assert torch.equal(degraded_by("again", start_from=start), second)
    assert not torch.equal(degraded_by("third", start_from=tmp_path / "second" / "memgan.safetensors"), second)
    assert torch.equal(degraded_by("anew"), first)
    resumed = degraded_by("first", 2, resume=tmp_path / "first")
    assert not torch.equal(degraded_by("second", 2, resume=tmp_path / "second"), resumed)
    assert torch.equal(degraded_by("anew", 2, resume=tmp_path / "anew"), resumed)


def test_networks_are_compiled_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    faces, compiled = write_faces(tmp_path / "faces"), []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, *_, **__: compiled.append(type(module).__name__))
    train(settings({"run.steps": 1, "losses.adversarial": 0.0, "run.compile": True}), [faces], None, tmp_path / "run")
    assert compiled == ["Encoder", "Decoder"]
    train(settings({"run.steps": 1, "losses.adversarial": 0.0}), [faces], None, tmp_path / "other")
    assert len(compiled) == 2


def test_the_architecture_of_a_run_can_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    config = settings(
        {"run.steps": 1, "losses.adversarial": 0.0, "architecture": {"use_affine": False, "image_size": 32}}
    )
    loaded = weight_file.read(train(config, [write_faces(tmp_path / "faces")], None, tmp_path / "run"))
    assert (loaded.config.image_size, loaded.config.use_affine, loaded.config.use_blend) == (32, False, True)
    assert json.loads(loaded.metadata["train_config"])["architecture"] == {"use_affine": False, "image_size": 32}


def test_the_discriminator_is_kept_for_fine_tuning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register_tiny(monkeypatch)
    faces = write_faces(tmp_path / "faces")
    common = (
        f"train --recipe memgan-512 --faces {faces} --set preset=tiny run.batch_size=2 losses.perceptual=0 "
        "discriminator.size=32"
    ).split()
    small = ["discriminator.channel_base=256", "discriminator.channel_max=16", "run.steps=1"]
    assert main([*common, *small, "-o", str(tmp_path / "first")]) == 0
    kept = tmp_path / "first" / "discriminator.safetensors"
    state = load_file(kept)
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert max(value.shape[0] for value in state.values()) == 16
    tune = ["--start-from", str(tmp_path / "first" / "memgan.safetensors"), "--discriminator-from", str(kept)]
    started = []

    def stop(self: Trainer, *_: object) -> None:
        started.append(self.discriminator.state_dict())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", stop)
        assert main([*common, *small, "run.seed=7", *tune, "-o", str(tmp_path / "second")]) == 130
    assert all(torch.equal(started[0][key], value.float()) for key, value in state.items())

    assert main([*common, "discriminator.channel_base=128", *tune, "-o", str(tmp_path / "third")]) == 2
    assert "channel_max" in capsys.readouterr().err
    kept.write_bytes(b"cut")
    assert main([*common, *small, *tune, "-o", str(tmp_path / "fourth")]) == 2
    assert "discriminator.safetensors that a run ended with" in capsys.readouterr().err
    assert main([*common, "losses.adversarial=0", *tune, "-o", str(tmp_path / "fifth")]) == 2
    assert "losses.adversarial is 0" in capsys.readouterr().err


def test_windows_that_leave_too_little_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_tiny(monkeypatch)
    faces = write_faces(tmp_path / "faces")
    options = "preset=tiny losses.perceptual=0 discriminator.size=32 window.size=8 window.scale=16 window.margin=4"
    assert main(f"train --recipe memgan-512 --faces {faces} -o {tmp_path / 'run'} --set {options}".split()) == 2
    assert "leaves 24 px" in capsys.readouterr().err


def test_training_without_faces_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    with pytest.raises(DataError, match="--faces"):
        train(settings(), [], None, tmp_path / "run")


@pytest.mark.parametrize(("count", "fits"), [(1, True), (2, False)])
def test_photographs_stay_on_a_gpu_if_they_fit(
    count: int, fits: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "memgan.training")
    gpu, trainer = torch.device("cuda"), Trainer(settings({"losses.adversarial": 0.0}), build_memgan(TINY), None)
    found = [Need("a step", 6_000, gpu, ""), Need("workers", 9_000, CPU, "")]
    monkeypatch.setattr(engine.memory_estimate, "needs", lambda *_: found)
    monkeypatch.setattr(engine.memory_estimate, "check", lambda *_: None)
    monkeypatch.setattr(engine, "free_memory", lambda device: 30_000)
    faces = [torch.zeros(3, 64, 64, dtype=torch.uint8)] * count  # 12,288 bytes each, of the 24,000 that are left
    networks = LossNetworks()
    assert engine._check_memory(trainer.config, trainer, networks, None, faces, gpu) is fits
    assert ("decoded for every batch" in caplog.text) is not fits
    assert engine._check_memory(trainer.config, trainer, networks, None, faces, CPU) is False


@pytest.mark.slow
def test_a_handful_of_faces_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes at most: the restored faces must come much nearer to the truth than the degraded ones are."""
    register_tiny(monkeypatch)
    faces = write_faces(tmp_path / "faces", count=4)
    config = settings(
        {
            "run.steps": 900,
            "run.batch_size": 4,
            "optimizer.learning_rate": 2e-3,
            "losses.adversarial": 0.0,
            "losses.l1": 1.0,
            "optimizer.decay_from": 0.5,
        }
    )
    path = train(config, [faces], None, tmp_path / "run")
    loaded = weight_file.read(path)
    network = build_memgan(loaded.config).eval()
    network.load_checked(loaded.state)
    clean, degraded, _ = FaceStream(FaceSet([faces], size_px=64), CPU, seed=99).batch(8)
    with torch.no_grad():
        restored = network(degraded).image
    before, after = (degraded - clean).abs().mean(), (restored - clean).abs().mean()
    assert after < 0.6 * before, f"mean error {float(after):.4f}, degraded {float(before):.4f}"
