"""Aligned faces on their way into the network, and the form of the network that restores them."""

import numpy as np
import pytest
import torch
from restoring import FakeDetector, face_at, scene
from test_folding import CONFIG, trained

from memgan import MemGANRestorer, hub
from memgan.image import to_tensor
from memgan.inference import to_batch
from memgan.network.fast import FastMemGAN


def test_a_batch_holds_the_numbers_of_to_tensor():
    levels = np.arange(256, dtype=np.uint8)
    crops = [np.stack([levels, levels[::-1], levels // 2], axis=-1).reshape(16, 16, 3), scene(16, 16)[:, ::-1]]
    batch = to_batch(crops, torch.device("cpu"))
    assert batch.is_contiguous() and batch.dtype == torch.float32
    assert torch.equal(batch, torch.stack([to_tensor(crop) for crop in crops]))


@pytest.fixture
def checkpoint() -> hub.Checkpoint:
    return hub.Checkpoint(CONFIG, trained().state_dict())


def test_the_restorer_runs_the_fast_form_and_gives_the_same_faces(checkpoint):
    options = {"device": "cpu", "detector": FakeDetector(face_at(80, 60)), "upscale": 1}
    restorer = MemGANRestorer(checkpoint, **options)
    plain = MemGANRestorer(network=trained(), **options)
    assert isinstance(restorer.network, FastMemGAN) and not isinstance(plain.network, FastMemGAN)
    for made, expected in zip(restorer.enhance(scene())[1], plain.enhance(scene())[1], strict=True):
        difference = np.abs(made.astype(int) - expected)
        assert difference.max() <= 1  # a sum that is rounded otherwise may cross the border between two levels
        assert expected.std() > 1


def test_evidence_and_weights_of_the_fast_form_are_those_of_the_trained_network(checkpoint):
    options = {"device": "cpu", "detector": FakeDetector(face_at(80, 60))}
    restorer = MemGANRestorer(checkpoint, **options)
    plain = MemGANRestorer(network=trained(), **options)
    assert restorer.network.config == CONFIG
    assert set(restorer.network.state_dict()) == set(checkpoint.state)
    made, expected = (r.restore(scene(), evidence=True).faces[0].evidence for r in (restorer, plain))
    assert set(made) == set(expected) == set(CONFIG.fused_scales)
    assert all(np.array_equal(made[scale], expected[scale]) for scale in made)
