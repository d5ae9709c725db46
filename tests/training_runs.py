"""Small settings, faces and feature networks that the training tests share."""

import contextlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from memgan.config import PRESETS, MemGANConfig
from memgan.network.model import build_memgan
from memgan.training import recipes
from memgan.training.config import TrainConfig
from memgan.training.faces import PriorFaces
from memgan.training.features import FeatureNetwork

TINY = MemGANConfig(
    name="tiny",
    family="mobile",
    image_size=64,
    channel_base=1024,
    channel_max=32,
    style_dim=32,
    latent_layers=2,
    encoder_channels=(32, 32, 24, 16, 16),
    fusion_conv="separable",
    memory_max_slots=8,
)


def register_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the preset ``tiny`` known to the training code."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setitem(recipes.RECIPES, "tiny", {})


def settings(**changes: object) -> TrainConfig:
    """A few quick steps of the preset ``tiny``."""
    values = {
        "preset": "tiny",
        "steps": 4,
        "batch_size": 2,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "beta1": 0.9,
        "discriminator_base": 256,
        "perceptual_weight": 0.0,
        "r1_every": 2,
    }
    return TrainConfig(**{**values, **changes})  # type: ignore[arg-type]


def write_faces(folder: Path, count: int = 4, size: int = 64) -> Path:
    """Smooth coloured shapes, one PNG each: something that a few hundred steps can learn."""
    folder.mkdir(parents=True, exist_ok=True)
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    for i in range(count):
        inside = ((xs / (0.5 + 0.05 * i)) ** 2 + (ys / 0.8) ** 2 < 1).float()
        eyes = ((xs.abs() - 0.2) ** 2 + (ys + 0.1) ** 2 < 0.01).float()
        rgb = torch.stack(
            [0.2 + 0.5 * inside - 0.4 * eyes, 0.3 + 0.3 * inside - 0.3 * eyes, 0.3 + 0.1 * i * (1 - inside)]
        )
        Image.fromarray((rgb.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return folder


def random_prior_faces() -> PriorFaces:
    """A source of pictures with random weights, of the preset ``tiny``."""
    faces = PriorFaces.__new__(PriorFaces)
    torch.nn.Module.__init__(faces)
    network = build_memgan(TINY)
    faces.mapping, faces.synthesis = network.latent.mapping, network.decoder.synthesis
    faces.scales, faces.truncation, faces.style_dim = TINY.scales, 0.8, TINY.style_dim
    faces.autocast = contextlib.nullcontext
    faces.register_buffer("mean_latent", torch.zeros(TINY.style_dim))
    return faces.requires_grad_(False)


class OneConvolution(FeatureNetwork):
    """A feature network small enough for tests."""

    def __init__(self) -> None:
        super().__init__()
        self.default_weights = (1.0,)
        self.widths = (8,)
        torch.manual_seed(5)
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self._freeze()

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """One tap."""
        return [self.conv(image)]
