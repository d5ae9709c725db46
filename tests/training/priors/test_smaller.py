"""A prior cut to smaller pictures, and the architecture that a run asks for."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from ir_writer import tiny_random_face

from memgan.errors import ConfigError
from memgan.network.config import MemGANConfig, preset
from memgan.training.build import architecture
from memgan.training.config import TrainConfig, recipe
from memgan.training.data.clean_faces import PriorFaces
from memgan.training.priors.mobile import convert_random_face
from memgan.training.priors.smaller import FITTED_FACES, smaller_prior

FULL = MemGANConfig(
    name="full",
    family="mobile",
    image_size=64,
    channel_base=2048,
    channel_max=8,
    style_dim=4,
    latent_layers=3,
    fusion_conv="separable",
    memory_max_slots=4,
)


def prior() -> dict[str, torch.Tensor]:
    files, _ = tiny_random_face(levels=4)
    return convert_random_face(files, levels=4)


def test_the_new_head_is_the_best_linear_one() -> None:
    """Least squares: what it misses of the prior's own pictures has nothing to do with its features."""
    small = dataclasses.replace(FULL, image_size=32)
    large_faces, small_faces = PriorFaces(FULL, prior()), PriorFaces(small, smaller_prior(small, prior()))
    generator = torch.Generator().manual_seed(0)
    images, latents = zip(*(large_faces.draw(1, generator) for _ in range(FITTED_FACES)), strict=True)
    features = torch.cat([small_faces.features(latent, 32)[32] for latent in latents])
    wanted = F.interpolate(torch.cat(images), (32, 32), mode="area")
    with torch.no_grad():
        found = small_faces.synthesis.blocks[-1].head(features, torch.cat(latents))
    missed = (wanted - found).transpose(0, 1).flatten(1)
    assert missed.square().mean() < wanted.var()
    assert missed.mean(1).abs().max() < 1e-3
    rows = features.transpose(0, 1).flatten(1)
    correlation = (missed @ rows.T) / (missed.norm(dim=1)[:, None] * rows.norm(dim=1))
    assert correlation.abs().max() < 1e-3


def test_the_levels_kept_are_those_of_the_prior() -> None:
    full, cut = prior(), smaller_prior(dataclasses.replace(FULL, image_size=16), prior())
    kept = {key for key in cut if ".to_img." not in key and not key.startswith("synthesis.img.")}
    assert all(torch.equal(cut[key], full[key]) for key in kept)
    assert {key.split(".")[2] for key in cut if key.startswith("synthesis.layers.")} == {"0", "1"}


def test_a_prior_that_fits_or_is_of_another_family_is_left_alone() -> None:
    full = prior()
    assert smaller_prior(FULL, full) is full
    assert smaller_prior(dataclasses.replace(FULL, image_size=128), full) is full
    other = {"mapping.0.weight": torch.zeros(4, 4), "synthesis.const": torch.zeros(1)}
    assert smaller_prior(dataclasses.replace(preset("memgan-512"), image_size=64), other) is other


def test_architecture_is_the_preset_with_the_changes() -> None:
    assert architecture(TrainConfig()) == preset("memgan-512")
    changed = architecture(
        recipe(
            "memgan-mobile-512", {"architecture": {"image_size": 64, "use_memory": False, "memory_temperature": 0.1}}
        )
    )
    base = preset("memgan-mobile-512")
    assert (changed.image_size, changed.use_memory, changed.memory_temperature) == (64, False, 0.1)
    assert changed.encoder_channels == base.encoder_channels[:5]
    assert changed.encoder_blocks == base.encoder_blocks[:5]
    assert changed.name != base.name
    given = architecture(
        recipe("memgan-mobile-512", {"architecture": {"image_size": 32, "encoder_blocks": [0, 1, 0, 1]}})
    )
    assert given.encoder_blocks == (0, 1, 0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory_size": 3}, "memory_size"),
        ({"image_size": 100}, "image_size is 100"),
        ({"family": "large"}, "family is 'large'"),
        ({"use_memory": "maybe"}, "use_memory is 'maybe'"),
    ],
)
def test_wrong_changes_are_explained(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        architecture(TrainConfig().changed({"architecture": change}))
