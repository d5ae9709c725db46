"""Shares of the photographs that training changes before they are degraded."""

import contextlib
import itertools
import threading
from pathlib import Path

import pytest
import torch
from tiny import write_faces

from memgan.training.config import DataSettings
from memgan.training.data.photographs import FaceSet
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
            found[overlap] = list(itertools.islice(batches, 4))
    for first, second in zip(found[False], found[True], strict=True):
        assert torch.equal(first.clean, second.clean) and torch.equal(first.degraded, second.degraded)
    assert not torch.equal(found[True][0].clean, found[True][1].clean)
    assert set(makers[:4]) == {threading.current_thread()} and threading.current_thread() not in makers[4:]
    assert not any(thread.is_alive() for thread in makers[4:])
