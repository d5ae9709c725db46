"""The mean of what a network draws of a face and of its mirror image."""

import json

import numpy as np
import torch
from fakes import FakeDetector, FakeNetwork, face_at, restorer_options, scene
from tiny import TINY_MOBILE as TINY
from tiny import write_faces
from torch import Tensor

from memgan import MemGANRestorer
from memgan.apps.cli.main import main
from memgan.hub import weight_file
from memgan.network.model import build_memgan
from memgan.restoration.inference import run_network


class Leaning(FakeNetwork):
    """Adds 0.2 to the left half, whatever is in the picture."""

    def forward(self, image: Tensor) -> tuple[Tensor, None]:
        drawn = super().forward(image)[0].clone()
        drawn[..., : image.shape[-1] // 2] += 0.2
        return drawn, None


def test_what_leans_to_a_side_is_evened_out():
    faces = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    made = run_network(lambda x: (Leaning()(x)[0].bfloat16(),), faces, self_ensemble=True)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, faces + 0.1, atol=5e-3, rtol=0)
    assert torch.equal(
        run_network(lambda x: (x * 2,), faces, self_ensemble=True), faces * 2
    )  # one that does not lean is left as it is


def test_the_restorer_draws_every_face_and_its_mirror_image():
    def restored(network, **options):
        detector = FakeDetector(face_at(60, 60), face_at(100, 60))
        own = MemGANRestorer(network=network, detector=detector, device="cpu", upscale=1, **options)
        return np.stack(own.enhance(scene())[1]).astype(int)

    network, plain, even = Leaning(0.5), Leaning(0.5), FakeNetwork(0.5, 0.1)
    once, both, wanted = restored(plain), restored(network, self_ensemble=True), restored(even)
    assert torch.equal(network.batches[1], network.batches[0].flip(-1)) and len(network.batches) == 2
    assert len(plain.batches) == 1
    assert np.abs(both - wanted).max() <= 1 < np.abs(once - wanted).max()


def test_the_commands_have_it(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    weights = weight_file.save(tmp_path / "tiny.safetensors", TINY, build_memgan(TINY).state_dict())
    faces = write_faces(tmp_path / "faces", count=2)
    figures = []
    for words in ((), ("--self-ensemble",)):
        command = ["evaluate", str(faces), "--weights", str(weights), "--metrics", "psnr", "--device", "cpu"]
        assert main([*command, *words, "--json", str(tmp_path / "all.json")]) == 0
        assert ("mirror image" in capsys.readouterr().out) == bool(words)
        report = json.loads((tmp_path / "all.json").read_text())
        assert report["self_ensemble"] is bool(words)
        figures.append(report["means"]["tiny"]["psnr"]["mean"])
    assert figures[1] > figures[0]  # what is wrong with the two cancels in part

    for words in ((), ("--self-ensemble",)):
        seen = restorer_options(monkeypatch, str(faces), "-o", str(tmp_path / "out"), *words)
        assert seen["self_ensemble"] is bool(words)
