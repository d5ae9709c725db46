"""Aligned faces on their way into the network, and the form of the network that restores them."""

import numpy as np
import pytest
import torch
from fakes import FakeDetector, face_at, scene
from tiny import FAST_CONFIG as CONFIG
from tiny import trained

from memgan import MemGANRestorer, hub
from memgan.errors import ConfigError
from memgan.image import to_tensor
from memgan.network.fast import FastMemGAN
from memgan.restoration.inference import to_batch
from memgan.runtime.device import choose_dtype


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


@pytest.mark.parametrize(
    ("converted", "dtype", "levels"),
    [
        (torch.float16, "float32", 2),
        (torch.bfloat16, "float32", 8),
        (torch.bfloat16, "bfloat16", 8),
        (torch.float64, "float32", 1),
        (torch.float64, "bfloat16", 1),  # autocast leaves it alone
    ],
)
def test_a_network_converted_by_the_program_restores_in_its_own_type(converted, dtype, levels, checkpoint):
    options = {"device": "cpu", "detector": FakeDetector(face_at(80, 60)), "upscale": 1}
    expected = MemGANRestorer(checkpoint, **options, dtype="float32").restore(scene(), evidence=True).faces[0]
    restorer = MemGANRestorer(checkpoint, **options, dtype=dtype)
    restorer.network.to(converted)
    result = restorer.check()
    assert result.psnr > 30 and result.answer == "computed"
    face = restorer.restore(scene(), evidence=True).faces[0]
    assert np.abs(face.restored.astype(int) - expected.restored).max() <= levels
    for scale, cosines in face.evidence.items():
        assert np.abs(cosines - expected.evidence[scale]).max() < 0.05


@pytest.mark.parametrize("instructions", ["_is_avx512_bf16_supported", "_is_amx_tile_supported", None])
def test_bfloat16_is_chosen_where_the_processor_has_it(instructions, monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda answer=name == instructions: answer, raising=False)
    chosen = choose_dtype("auto", False, torch.device("cpu"))
    assert chosen == (torch.float32 if instructions is None else torch.bfloat16)
    assert choose_dtype("auto", False, torch.device("mps")) == torch.float32
    assert choose_dtype(None, False, torch.device("cpu")) == chosen
    assert choose_dtype("auto", False, torch.device("cpu"), exact=True) == torch.float32
    with pytest.raises(ConfigError, match="half=True needs a CUDA device"):
        choose_dtype("auto", True, torch.device("cpu"))
    with pytest.raises(ConfigError, match="contradict"):
        choose_dtype("bfloat16", True, torch.device("cpu"))


def test_without_any_question_to_ask_it_is_float32(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert choose_dtype("auto", False, torch.device("cpu")) == torch.float32


def test_bfloat16_faces_stay_close_to_those_of_float32(checkpoint):
    options = {"device": "cpu", "detector": FakeDetector(face_at(80, 60)), "upscale": 1}
    exact, rounded = (
        MemGANRestorer(checkpoint, dtype=dtype, **options).enhance(scene())[1][0] for dtype in (None, "bfloat16")
    )
    assert 0 < np.abs(exact.astype(int) - rounded).mean() < 2
