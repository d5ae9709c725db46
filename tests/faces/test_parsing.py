"""Masks from facexlib's parsing networks, with random weights and with stand-ins that see what they are told."""

import numpy as np
import pytest
import torch
from fakes import FakeDetector, FakeNetwork, face_at, scene

from memgan import MemGANRestorer
from memgan.errors import ConfigError, WeightsNotFoundError
from memgan.faces import create_parser, facexlib_adapter, parsing
from memgan.faces.parsing import ParsingMask, soften

NAMES = ("parsenet", "bisenet")
PARSENET = "background skin nose glasses eye eye brow brow ear ear mouth lip lip hair hat earring necklace neck clothes"
BISENET = "background skin brow brow eye eye glasses ear ear earring nose mouth lip lip neck necklace clothes hair hat"


class Sees(torch.nn.Module):
    """A parser that finds one class in the left half and background elsewhere."""

    def __init__(self, number):
        super().__init__()
        self.number, self.seen = number, []
        self.anchor = torch.nn.Parameter(torch.zeros(()))

    def forward(self, image):
        self.seen.append(image)
        scores = torch.zeros(1, 19, 512, 512)
        scores[:, 0] = 1
        scores[:, self.number, :, :256] = 2
        return scores, None


@pytest.fixture
def random_weights(monkeypatch):
    """facexlib's own networks, built with random weights instead of loaded."""
    asked = []

    def load_network(name, **options):
        torch.manual_seed(0)
        asked.append((name, options))
        return facexlib_adapter.build_network(name)

    monkeypatch.setattr(facexlib_adapter, "load_network", load_network)
    return asked


@pytest.mark.parametrize("name", [pytest.param("parsenet", marks=pytest.mark.slow), "bisenet"])
def test_the_real_networks_run(name, random_weights):
    face = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    parser = create_parser(name, weights_dir="folder", offline=True)
    mask = parser(face)
    assert mask.shape == (128, 128) and mask.dtype == np.float32 and 0 <= mask.min() <= mask.max() <= 1
    np.testing.assert_array_equal(parser(face), mask)
    assert random_weights == [(f"parsing_{name}", {"weights_dir": "folder", "offline": True})]


@pytest.mark.parametrize(("name", "classes"), [("parsenet", PARSENET), ("bisenet", BISENET)])
def test_glasses_and_hair_are_not_cut_but_clothes_are(name, classes):
    face = np.zeros((64, 64, 3), np.uint8)
    pasted = {}
    for number, word in enumerate(classes.split()):
        mask = ParsingMask(Sees(number), parsing._LAYOUTS[name])(face)
        pasted.setdefault(word, mask[:, :24].min() > 0.9)
        assert mask[:, 44:].max() < 0.1
    left_out = {word for word, is_pasted in pasted.items() if not is_pasted}
    wanted = {"background", "hat", "necklace", "neck", "clothes"} | ({"earring"} if name == "bisenet" else set())
    assert left_out - {"earring"} == wanted - {"earring"}


@pytest.mark.parametrize(("name", "white"), [("parsenet", (1, 1, 1)), ("bisenet", (2.2489, 2.4286, 2.64))])
def test_pictures_are_prepared_as_the_networks_were_trained(name, white):
    network = Sees(1)
    ParsingMask(network, parsing._LAYOUTS[name])(np.full((64, 64, 3), 255, np.uint8))
    assert network.seen[0].shape == (1, 3, 512, 512)
    assert network.seen[0][0, :, 5, 5].tolist() == pytest.approx(white, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_the_restorer_uses_it(name, monkeypatch):
    monkeypatch.setattr(facexlib_adapter, "load_network", lambda name, **options: Sees(1))
    options = {"detector": FakeDetector(face_at(80, 60, 90)), "device": "cpu", "upscale": 1, "color_lock": False}
    image = scene()
    result = MemGANRestorer(network=FakeNetwork(0.3), mask=name, **options).enhance(image)[2]
    changed = (result != image).any(axis=2)
    assert changed[40:80, 45:75].mean() > 0.9 and not changed[:, 92:].any()
    everywhere = MemGANRestorer(network=FakeNetwork(0.3), **options).enhance(image)[2]
    assert (everywhere != image).any(axis=2)[40:80, 92:115].mean() > 0.8


def test_edges_are_soft_and_closed():
    inside = np.zeros((512, 512), bool)
    inside[150:400, 150:350] = True
    mask = soften(inside)
    assert mask[275, 250] == pytest.approx(1, abs=1e-3) and mask[5, 5] == 0
    assert np.abs(np.diff(mask, axis=1)).max() < 0.06


def test_missing_files_name_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("MEMGAN_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsNotFoundError, match=r"parsing_parsenet"):
        create_parser("parsenet", weights_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"'unet'.*parsenet"):
        create_parser("unet")
