"""Batches that processes of their own make for the training."""

import contextlib
import itertools
from pathlib import Path

import pytest
import torch
from fakes import random_prior_faces
from tiny import register_tiny, settings, write_faces

from memgan.errors import ConfigError
from memgan.hub import weight_file
from memgan.training.build import make_stream
from memgan.training.config import DataSettings
from memgan.training.data.clean_faces import FaceSet
from memgan.training.data.stream import Batch, FaceStream
from memgan.training.data.workers import worker_batches, worker_states
from memgan.training.engine import train

CPU = torch.device("cpu")


def made(folder: Path, count: int, seed: int = 3, workers: int = 2) -> list[Batch]:
    config = settings(
        {
            "run.workers": workers,
            "data.synthetic": 0.5,
            "data.synthetic_pool": 5,
            "data.aged": 0.3,
            "data.color_jitter": 0.5,
        }
    )
    torch.manual_seed(0)
    stream = make_stream(config, 64, FaceSet([folder], size_px=64), random_prior_faces(), CPU, seed)
    with contextlib.closing(worker_batches(stream, 4, CPU, worker_states(seed, workers))) as batches:
        return [batch for batch, _ in itertools.islice(batches, count)]


def test_processes_make_batches_of_their_own(tmp_path: Path) -> None:
    faces = write_faces(tmp_path)
    batches = made(faces, 6)
    for clean, degraded, _ in batches:
        assert clean.shape == degraded.shape == (4, 3, 64, 64) and clean.dtype == degraded.dtype == torch.float32
        assert clean.abs().max() <= 1 and not torch.equal(clean, degraded)
        assert (clean - degraded).abs().mean() < 0.3  # the degraded faces are those of the clean ones
    for first, second in itertools.combinations(batches, 2):
        assert not torch.equal(first.degraded, second.degraded)
    for first, second in zip(batches, made(faces, 6), strict=True):
        assert torch.equal(first.clean, second.clean) and torch.equal(first.degraded, second.degraded)
    assert not torch.equal(made(faces, 1, seed=4)[0].degraded, batches[0].degraded)


def test_processes_take_the_photographs_in_orders_of_their_own(tmp_path: Path) -> None:
    faces = FaceSet([write_faces(tmp_path, count=12)], size_px=64)
    both = [side.float() / 127.5 - 1 for i in range(12) for side in (faces[i], faces[i].flip(-1))]
    stream = FaceStream(faces, CPU, seed=1)
    stream.batch(1)  # it has an order by now
    with contextlib.closing(worker_batches(stream, 6, CPU, worker_states(1, 2))) as batches:
        made = [next(batches)[0].clean for _ in range(4)]
    orders = [[min(range(24), key=lambda i: (face - both[i]).abs().max()) // 2 for face in clean] for clean in made]
    assert orders[0] != orders[1]
    for first, second in ((0, 2), (1, 3)):  # in turn: every process goes through all of them before any comes again
        assert sorted(orders[first] + orders[second]) == list(range(12))


def test_processes_keep_together_what_was_cut_out(tmp_path: Path) -> None:
    faces = FaceSet([write_faces(tmp_path, count=12)], size_px=64)
    stream = FaceStream(faces, CPU, 1, DataSettings(background_swap=1.0))
    with contextlib.closing(worker_batches(stream, 6, CPU, worker_states(1, 2))) as batches:
        for _ in range(4):
            next(batches)
    assert stream.cut_outs.known.sum() == 12


@pytest.mark.parametrize("processes", [False, True])
def test_drawn_faces_come_last_with_their_codes(processes: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    prior = random_prior_faces()
    faces = FaceSet([write_faces(tmp_path)], size_px=64)
    stream = FaceStream(faces, CPU, 1, DataSettings(synthetic=0.5, synthetic_pool=20), prior_faces=prior)
    stream.keep_drawn()
    made = worker_batches(stream, 42, CPU, worker_states(1, 1)) if processes else stream.batches(42)
    with contextlib.closing(made) as batches:
        (clean, degraded, latent), _ = next(batches)
    assert clean.shape == degraded.shape == (42, 3, 64, 64) and 10 < len(latent) < 32
    apart = (clean[:, None] - degraded).abs().mean((2, 3, 4))
    assert (apart.diagonal() < apart.mean(0)).float().mean() > 0.9  # the degraded faces are those of the clean ones
    image = clean[-len(latent) :]
    assert 5 < len(latent.unique(dim=0)) <= 20
    with torch.no_grad():
        x, rgb = prior.synthesis.start(latent)
        for block in prior.synthesis.blocks:
            x = block.second(block.first(x, latent), latent)
            rgb = block.to_rgb(x, rgb, latent)
    assert (rgb.clamp(-1, 1) - image).abs().max() <= 0.5 / 127.5 + 1e-4  # 8-bit levels of the face of that code


def test_a_run_with_processes_learns_from_their_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_tiny(monkeypatch)
    config = settings({"run.workers": 2, "run.steps": 3, "losses.adversarial": 0.0})
    path = train(config, [write_faces(tmp_path / "faces")], None, tmp_path / "run")
    assert weight_file.read(path).metadata["train_steps"] == "3"


def test_processes_need_to_know_how_many_faces_to_keep() -> None:
    with pytest.raises(ConfigError, match="synthetic_pool"):
        settings({"run.workers": 2, "data.synthetic": 0.5})
    with pytest.raises(ConfigError, match="workers"):
        settings({"run.workers": -1})
    assert settings({"run.workers": 2}).run.workers == 2
