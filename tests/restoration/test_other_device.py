"""Whether tensors are where they belong when everything runs on another device than the CPU, on a stand-in for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import Embedding, FakeDetector, face_at, random_prior_faces, scene
from other_device import CUDA, OtherDevice, PlacementError
from tiny import TINY as STYLEGAN2
from tiny import TINY_MOBILE as TINY
from tiny import register_tiny, save_tiny_weights, settings, write_faces
from torch import nn

from memgan import MemGANRestorer, hub
from memgan.apps.cli.main import main
from memgan.degradation import age_seeded, degrade_seeded
from memgan.faces import facexlib_adapter
from memgan.faces.facexlib_adapter import DETECTORS, FacexlibRetinaFace, build_network
from memgan.faces.parsing import mask_maker
from memgan.network.config import MemGANConfig
from memgan.network.model import MemGAN, build_memgan
from memgan.training import engine
from memgan.training.data.augmentation import CutOuts, jitter_colors, swap_backgrounds


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """One CUDA device, as far as anybody asks."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def pictures(count: int = 2, size: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_stand_in_keeps_places_apart() -> None:
    with OtherDevice():
        there, here = torch.ones(2, 3, device="cuda"), torch.ones(2, 3)
        assert there.is_cuda and there.device == CUDA and not here.is_cuda and (there * 2)[0].is_cuda
        assert here.to("cuda").is_cuda and not here.is_cuda and not there.cpu().is_cuda
        assert (there * torch.tensor(2.0)).is_cuda and here.new_zeros(3, device=CUDA).is_cuda
        assert torch.zeros_like(there).is_cuda and not torch.from_numpy(np.ones(3)).is_cuda
        here.copy_(there)
        there[:1] = here[:1]
        assert not here.is_cuda and there.is_cuda and there[torch.tensor([0])].is_cuda
        module = nn.Linear(3, 2).to("cuda")
        module(there).sum().backward()
        assert module.weight.is_cuda and module.weight.grad.is_cuda
        for wrong in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            lambda: module(here),
            lambda: here[torch.tensor([0], device="cuda")],
            lambda: there.__setitem__([0], here[:1]),
            lambda: torch.tensor(2.0, device="cuda") + here,
            lambda: torch.rand(3, generator=torch.Generator(), device="cuda"),
        ):
            with pytest.raises(PlacementError, match="cuda"):
                wrong()
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        with pytest.raises(TypeError, match="numpy"):
            np.asarray(there)
    assert torch.ones(2).device.type == "cpu"


@pytest.mark.parametrize("config", [TINY, STYLEGAN2], ids=lambda config: config.family)
def test_the_network(config: MemGANConfig) -> None:
    torch.manual_seed(0)
    network, given = build_memgan(config).eval(), pictures(2, config.image_size)
    with torch.no_grad():
        expected = network(given)[0]
        with OtherDevice():
            found = network.to("cuda")(given.to("cuda"))[0]
            assert found.is_cuda
            torch.testing.assert_close(found.cpu(), expected)


def test_degradations_and_changes_of_clean_faces() -> None:
    random = torch.Generator().manual_seed(0)
    with OtherDevice():
        faces = pictures(2, 128).to("cuda")
        people = CutOuts(2)(faces, [0, 1], [False, True])
        made = {
            "degraded": degrade_seeded(faces, [1, 2]),
            "old": torch.cat(age_seeded(faces, list(range(2)))),
            "recolored": jitter_colors(faces, random),
            "elsewhere": swap_backgrounds(faces, people, lambda: faces[0].flip(-1), random),
        }
        for name, found in made.items():
            assert found.is_cuda and found.isfinite().all(), name


@pytest.mark.slow
def test_a_whole_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    register_tiny(monkeypatch)
    monkeypatch.setattr(Accelerator, "device", CUDA)
    monkeypatch.setattr(engine, "PriorFaces", lambda *_, **__: random_prior_faces())
    monkeypatch.setattr(engine, "load_prior", lambda _: {})
    monkeypatch.setattr(engine, "smaller_prior", lambda *_: {})
    monkeypatch.setattr(MemGAN, "load_prior", lambda *_: None)
    monkeypatch.setattr("memgan.training.losses.objective.identity_network", lambda _, device: Embedding().to(device))
    config = settings(
        {
            "run.steps": 2,
            "run.batch_size": 4,
            "losses.perceptual": 1.0,
            "losses.perceptual_network": "stlpips_vgg",
            "losses.perceptual_size": 48,
            "losses.perceptual_unit_normalize": True,
            "losses.lpips": 1.0,
            "losses.adversarial_from": 0,
            "losses.adversarial_paired": True,
            "discriminator.kind": "features",
            "discriminator.deep_features": True,
            "losses.deep_feature": 1.0,
            "losses.texture": 1.0,
            "losses.known_detail": 1.0,
            "losses.checkerboard": 1.0,
            "losses.identity": 1.0,
            "losses.prior_match": 1.0,
            "data.synthetic": 0.4,
            "data.synthetic_pool": 4,
            "data.aged": 0.5,
            "data.mild": 0.5,
            "data.color_jitter": 0.9,
            "data.background_swap": 0.9,
            "window.component_focus": 0.9,
            "optimizer.clip_norm": 1.0,
            "losses.l1_levels": 3,
        }
    )
    faces = write_faces(tmp_path / "faces")
    for name in ("prior", "identity"):  # what is loaded instead of them is patched in
        (tmp_path / name).touch()
    with OtherDevice():
        engine.train(config, [faces], tmp_path / "prior", tmp_path / "run", identity_weights=tmp_path / "identity")
        more = config.changed({"run.steps": 3})
        engine.train(
            more,
            [faces],
            tmp_path / "prior",
            tmp_path / "run",
            identity_weights=tmp_path / "identity",
            resume=tmp_path / "run",
        )
    assert hub.read(tmp_path / "run" / "memgan.safetensors").config.image_size == 64
    assert list((tmp_path / "run" / "samples").glob("*.png"))


@pytest.mark.slow
def test_the_papers_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import Accelerator

    register_tiny(monkeypatch)
    monkeypatch.setattr(Accelerator, "device", CUDA)
    faces = write_faces(tmp_path / "faces")
    with OtherDevice():  # with a discriminator of pictures, R1, and a window
        config = settings(
            {
                "run.steps": 2,
                "losses.adversarial_from": 0,
                "window.size": 8,
                "window.scale": 16,
                "window.margin": 0,
                "discriminator.size": 32,
            }
        )
        engine.train(config, [faces], None, tmp_path / "run")
        start, judge = (tmp_path / "run" / f"{name}.safetensors" for name in ("memgan", "discriminator"))
        engine.train(config, [faces], None, tmp_path / "next", start_from=start, discriminator_from=judge)
    assert (tmp_path / "next" / "discriminator.safetensors").exists()


@pytest.mark.usefixtures("cuda")
def test_a_restorer(tmp_path: Path) -> None:
    weights = save_tiny_weights(tmp_path / "tiny.safetensors")
    options = {"detector": FakeDetector(face_at(70, 60), face_at(100, 60))}
    expected = MemGANRestorer(weights, device="cpu", **options).restore(scene(), evidence=True)
    with OtherDevice():
        restorer = MemGANRestorer(weights, **options)
        assert restorer.device.type == "cuda"
        found = restorer.restore(scene(), evidence=True)
        np.testing.assert_allclose(found.image.astype(int), expected.image.astype(int), atol=1)
        assert len(restorer.enhance(scene())[1]) == 2
        assert len(list(restorer.restore_batch([scene(seed=1), scene(seed=2)]))) == 2


@pytest.mark.usefixtures("cuda")
@pytest.mark.slow
def test_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    weights = save_tiny_weights(tmp_path / "tiny.safetensors")
    faces = write_faces(tmp_path / "faces", size=32)
    metrics = "psnr,ssim,st_lpips,fd_enlite0,kd_enlite0,fd_alex,kd_alex --region whole,face,around"
    with OtherDevice():
        status = main(
            f"evaluate {faces} --reference {faces} --weights {weights} --metrics {metrics} --device cuda "
            f"--memory-health --sheet {tmp_path / 'a.png'} --memory-sheet {tmp_path / 'b.png'}".split()
        )
    assert status == 0 and "psnr_face" in capsys.readouterr().out


@pytest.mark.parametrize("name", DETECTORS)
def test_facexlibs_detectors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facexlib_adapter, "load_network", lambda name, **_: build_network(name).eval())
    with OtherDevice():
        found = FacexlibRetinaFace(name, device="cuda")(scene())
        assert all(len(part) == len(found[0]) for part in found)


@pytest.mark.parametrize("name", ["parsenet", "bisenet"])
def test_facexlibs_parsers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facexlib_adapter, "load_network", lambda name, **_: build_network(name).eval())
    with OtherDevice():
        mask = mask_maker(name, torch.device("cuda"))(scene(64, 64))
    assert mask.shape == (64, 64)
