"""Batches of photographs and drawn faces, seeded, changed and degraded."""

import contextlib
import itertools
import threading
from pathlib import Path

import pytest
import torch
from fakes import random_prior_faces
from tiny import write_faces

from memgan.training.config import DataSettings
from memgan.training.data.clean_faces import FaceSet
from memgan.training.data.stream import Batch, FaceStream

CPU = torch.device("cpu")


@pytest.mark.parametrize("setting", ["aged", "color_jitter", "background_swap"])
def test_only_a_share_of_the_photographs_is_changed(setting: str, tmp_path: Path) -> None:
    photographs = FaceSet([write_faces(tmp_path)], size_px=64)
    plain = FaceStream(photographs, CPU, seed=1).batch(8)
    none = FaceStream(photographs, CPU, 1, DataSettings().changed({setting: 0.0})).batch(8)
    assert torch.equal(plain.degraded, none.degraded)
    known = [face for i in range(len(photographs)) for face in (photographs[i], photographs[i].flip(-1))]

    def untouched(share: float) -> int:
        batch = FaceStream(photographs, CPU, 1, DataSettings().changed({setting: share})).batch(24)
        assert batch.clean.shape == batch.degraded.shape == (24, 3, 64, 64)
        levels = ((batch.clean + 1) * 127.5).round().to(torch.uint8)
        assert (batch.clean - batch.degraded).abs().mean() < 0.3  # the degraded face is of the changed one
        return sum(any(torch.equal(face, other) for other in known) for face in levels)

    assert untouched(0.0) == 24
    assert untouched(1.0) < untouched(0.5) < 24


def test_batches_made_beside_the_training_are_the_same(tmp_path: Path) -> None:
    photographs = FaceSet([write_faces(tmp_path)], size_px=64)
    shares = DataSettings(aged=0.3, mild=0.3, color_jitter=0.5, background_swap=0.5)
    makers = []

    class Watched(FaceStream):
        def batch(self, size: int) -> Batch:
            makers.append(threading.current_thread())
            return super().batch(size)

    found = {}
    for overlap in (False, True):
        with contextlib.closing(Watched(photographs, CPU, 1, shares).batches(3, overlap=overlap)) as batches:
            found[overlap] = [batch for batch, _ in itertools.islice(batches, 4)]
    for first, second in zip(found[False], found[True], strict=True):
        assert torch.equal(first.clean, second.clean) and torch.equal(first.degraded, second.degraded)
    assert not torch.equal(found[True][0].clean, found[True][1].clean)
    assert set(makers[:4]) == {threading.current_thread()} and threading.current_thread() not in makers[4:]
    assert not any(thread.is_alive() for thread in makers[4:])


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


def test_resident_photographs_make_the_same_batches(tmp_path: Path) -> None:
    photographs = FaceSet([write_faces(tmp_path)], size_px=64)
    shares = DataSettings(color_jitter=0.5, background_swap=0.5)
    kept, read = (FaceStream(photographs, CPU, 1, shares, resident=resident) for resident in (True, False))
    for _ in range(2):
        first, second = kept.batch(3), read.batch(3)
        assert torch.equal(first.clean, second.clean) and torch.equal(first.degraded, second.degraded)


def test_a_stream_can_be_put_where_another_is(tmp_path: Path) -> None:
    photographs = FaceSet([write_faces(tmp_path, count=5)], size_px=64)
    first, second = (FaceStream(photographs, CPU, seed, DataSettings(background_swap=0.5)) for seed in (1, 2))
    first.batch(3)  # in the middle of an order
    second.batch(4)
    state = first.state
    expected = [first.batch(4) for _ in range(2)]
    second.restore(state)
    for batch in expected:
        found = second.batch(4)
        assert torch.equal(batch.clean, found.clean) and torch.equal(batch.degraded, found.degraded)
    first.begin(1)
    assert torch.equal(first.batch(3).clean, FaceStream(photographs, CPU, 1, first.data).batch(3).clean)
