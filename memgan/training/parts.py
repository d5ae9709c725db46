"""The parts of a training run, made as its settings say."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from memgan import checkpoint as weight_file
from memgan.config import MemGANConfig
from memgan.network.model import MemGAN, build_memgan
from memgan.training.config import TrainConfig
from memgan.training.discriminator import Discriminator
from memgan.training.faces import PriorFaces
from memgan.training.features import feature_network
from memgan.training.losses import PerceptualLoss
from memgan.training.warm_start import begin_at_mean_latent_


def make_generator(built: MemGANConfig, prior: dict[str, Tensor] | None, start_from: Path | None) -> MemGAN:
    """The generator of a weight file, or a new one that starts from a prior."""
    if start_from is not None:
        loaded = weight_file.read(start_from)
        return build_memgan(loaded.config, loaded.state)
    generator = build_memgan(built)
    if prior is not None:
        generator.load_prior(prior)
        begin_at_mean_latent_(generator.latent)
    return generator


def make_discriminator(config: TrainConfig, image_size: int, device: torch.device) -> Discriminator | None:
    """The discriminator for pictures of ``image_size``, or ``None`` without adversarial loss."""
    if not config.adversarial_weight:
        return None
    return Discriminator(
        config.discriminator_size or image_size,
        channel_base=config.discriminator_base,
        channel_max=config.discriminator_max,
    ).to(device)


def make_perceptual(config: TrainConfig, weights: Path | None, device: torch.device) -> PerceptualLoss | None:
    """Eq. 10 with its feature network, or ``None`` without it."""
    if not config.perceptual_weight:
        return None
    network = feature_network(config.perceptual_kind, weights, config.perceptual_taps)
    return PerceptualLoss(network, unit_normalise=config.perceptual_unit_normalise).to(device)


def make_prior_faces(
    config: TrainConfig,
    built: MemGANConfig,
    prior: dict[str, Tensor] | None,
    device: torch.device,
    autocast: Callable[[], contextlib.AbstractContextManager],
) -> PriorFaces | None:
    """Faces drawn from the prior, or ``None`` if there shall be none."""
    if not config.synthetic_share or prior is None:
        return None
    faces = PriorFaces(built, prior, autocast=autocast)
    return faces.to(device, memory_format=torch.channels_last)


def make_prior_features(
    config: TrainConfig, prior_faces: PriorFaces | None
) -> Callable[[Tensor], dict[int, Tensor]] | None:
    """The prior's features by latent code, or ``None`` if they shall not be matched."""
    if prior_faces is None or not config.prior_match_weight:
        return None
    return functools.partial(prior_faces.features, up_to=config.prior_match_scale)
