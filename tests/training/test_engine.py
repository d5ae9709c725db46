"""The training command end to end: streams, checkpoints, resuming, and a short run that must learn."""

import json
from pathlib import Path

import pytest
import torch
from fakes import random_prior_faces
from safetensors.torch import load_file
from tiny import TINY_MOBILE as TINY
from tiny import register_tiny, settings, write_faces

from memgan.apps.cli.main import main
from memgan.errors import DataError, WeightsError
from memgan.hub import weight_file
from memgan.network.model import build_memgan
from memgan.training import build
from memgan.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from memgan.training.config import DataSettings
from memgan.training.data.photographs import FaceSet
from memgan.training.data.stream import Batch, FaceStream
from memgan.training.discriminators.pictures import Discriminator
from memgan.training.engine import train
from memgan.training.schedule import progress, rate_factor
from memgan.training.step import Trainer

CPU = torch.device("cpu")


def trainer() -> Trainer:
    torch.manual_seed(0)
    return Trainer(settings(), build_memgan(TINY), Discriminator(64, channel_base=256, channel_max=16))


def test_stream_is_seeded_and_degrades(tmp_path: Path) -> None:
    faces = FaceSet([write_faces(tmp_path)], size_px=64)
    clean, degraded, _ = FaceStream(faces, CPU, seed=3).batch(6)
    again = FaceStream(faces, CPU, seed=3).batch(6)
    assert torch.equal(clean, again[0]) and torch.equal(degraded, again[1])
    assert clean.shape == degraded.shape == (6, 3, 64, 64) and clean.abs().max() <= 1
    assert not torch.equal(clean, degraded)
    originals = torch.stack([faces[i] for i in range(4)]).float() / 127.5 - 1
    both = torch.cat([originals, originals.flip(-1)])
    for face in clean:
        assert min((face - other).abs().max() for other in both) < 1e-6
    first = {i for face in clean[:4] for i, o in enumerate(both) if torch.allclose(face, o, atol=1e-6)}
    assert {i % 4 for i in first} == {0, 1, 2, 3}  # every face once before any comes again


def test_stream_mixes_in_faces_of_the_prior(tmp_path: Path) -> None:
    faces = FaceSet([write_faces(tmp_path)], size_px=64)
    prior = random_prior_faces()
    only = FaceStream([], CPU, seed=0, prior_faces=prior, data=DataSettings(synthetic=1.0)).batch(3)[0]
    assert only.shape == (3, 3, 64, 64) and not torch.equal(only[0], only[1])
    levels = (only + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    stream = FaceStream(faces, CPU, seed=0, prior_faces=prior, data=DataSettings(synthetic=0.5))
    originals = torch.stack([faces[i] for i in range(4)]).float() / 127.5 - 1
    both = torch.cat([originals, originals.flip(-1)])
    photographs = sum(
        any(torch.allclose(face, o, atol=1e-6) for o in both) for _ in range(10) for face in stream.batch(4)[0]
    )
    assert 10 <= photographs <= 30


def test_faces_of_the_prior_come_last_with_their_latent_codes(tmp_path: Path) -> None:
    faces = FaceSet([write_faces(tmp_path)], size_px=64)
    prior = random_prior_faces()
    batch = FaceStream(faces, CPU, seed=1, prior_faces=prior, data=DataSettings(synthetic=0.5)).batch(8)
    assert batch.latent is not None and 0 < len(batch.latent) < 8
    x, rgb = prior.synthesis.start(batch.latent)
    for block in prior.synthesis.blocks:
        x = block.second(block.first(x, batch.latent), batch.latent)
        rgb = block.to_rgb(x, rgb, batch.latent)
    # Neither flipped nor shuffled, else the features of the latent code would not be those of the face.
    assert (rgb.clamp(-1, 1) - batch.clean[-len(batch.latent) :]).abs().max() < 1 / 127
    torch.testing.assert_close(prior.features(batch.latent, 64)[64], x)
    assert sorted(prior.features(batch.latent, 16)) == [8, 16]
    assert FaceStream(faces, CPU, seed=1).batch(8).latent is None


def test_a_pool_uses_its_faces_again_with_new_degradations() -> None:
    stream = FaceStream(
        [], CPU, seed=0, prior_faces=random_prior_faces(), data=DataSettings(synthetic=1.0, synthetic_pool=8)
    )
    first, seen = stream.batch(8), 0
    for face, degraded, latent in zip(*stream.batch(8), strict=True):
        for i in range(8):
            if torch.equal(face, first.clean[i]):
                seen += 1
                assert torch.equal(latent, first.latent[i]) and not torch.equal(degraded, first.degraded[i])
    assert seen >= 5  # the others are new


def test_a_pool_is_renewed_little_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, drawn = random_prior_faces(), []
    draw = prior.draw
    monkeypatch.setattr(prior, "draw", lambda count, random: drawn.append(count) or draw(count, random))
    stream = FaceStream([], CPU, seed=0, prior_faces=prior, data=DataSettings(synthetic=1.0, synthetic_pool=5))
    first = stream.batch(5).latent
    for _ in range(60):
        last = stream.batch(4).latent
    assert 12 <= sum(drawn) - 5 <= 36  # a tenth of 240
    assert not any(torch.equal(latent, old) for latent in last for old in first)  # the oldest have gone


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
    (folder / "optimizers.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match="damaged"):
        load_checkpoint(tmp_path, made)


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
    assert main([*common, "run.steps=4", "--resume", str(run)]) == 0
    assert weight_file.read(run / "memgan.safetensors").metadata["train_steps"] == "4"
    assert (
        main([*common, "run.checkpoint_every=9", "run.steps=1", "--start-from", str(run / "memgan.safetensors")]) == 0
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
    assert "no readable discriminator" in capsys.readouterr().err
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
