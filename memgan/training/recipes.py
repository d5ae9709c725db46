"""Training settings that are recommended for each preset."""

import dataclasses

from memgan.errors import ConfigError
from memgan.training.config import TrainConfig

RECIPES: dict[str, dict[str, object]] = {
    "memgan-512": {},
    "memgan-mobile-512": {
        "learning_rate": 2e-4,
        "prior_rate": 0.1,
        "prior_frozen_steps": 300,
        "beta1": 0.9,
        "ema_decay": 0.995,
        "memory_warmup": True,
        "memory_positions": 4096,
        "l1_weight": 16.0,
        "l1_levels": 6,
        "l1_finest": 0.75,
        "perceptual_weight": 4.0,
        "calibrated_weight": 3.5,
        "adversarial_weight": 0.36,
        "perceptual_kind": "stlpips_vgg",
        "perceptual_taps": 3,
        "perceptual_unit_normalize": True,
        "adversarial_from": 1000,
        "adversarial_paired": True,
        "discriminator_kind": "features",
        "discriminator_semantic": True,
        "discriminator_size": 128,
        "discriminator_base": 4096,
        "discriminator_max": 256,
        "discriminator_rate": 5.0,
        "r1_gamma": 5.0,
        "synthetic_share": 0.4,
        "aged_share": 0.25,
        "mild_share": 0.25,
        "recolor_share": 0.3,
        "surroundings_share": 0.5,
        "component_share": 0.3,
        "prior_match_weight": 1.0,
        "prior_match_until": 1.0,
        "semantic_weight": 2.0,
        "texture_weight": 5.0,
        "known_weight": 15.0,
        "grid_weight": 800.0,
    },
}
"""Settings that differ from the defaults, by preset."""


def recipe(preset: str, **changes: object) -> TrainConfig:
    """The settings recommended for ``preset``, with some changed.

    Raises:
        ConfigError: for an unknown preset or field.
    """
    if preset not in RECIPES:
        raise ConfigError(f"No recipe for {preset!r}; there are: {', '.join(sorted(RECIPES))}.")
    known = {field.name for field in dataclasses.fields(TrainConfig)}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ConfigError(f"Unknown training settings {unknown}; known: {sorted(known)}.")
    return TrainConfig(**{"preset": preset, **RECIPES[preset], **changes})  # type: ignore[arg-type]
