"""The parts of a training run, made as its settings say."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from memgan.degradation import Degradation
from memgan.errors import ConfigError
from memgan.hub import weight_file
from memgan.network.config import MemGANConfig
from memgan.network.model import MemGAN, build_memgan
from memgan.training.config import TrainConfig
from memgan.training.data.prior_faces import PriorFaces
from memgan.training.data.stream import FaceStream, Photographs
from memgan.training.discriminators.features import FeatureDiscriminator
from memgan.training.discriminators.pictures import Discriminator
from memgan.training.losses.deep_features import SemanticLoss, semantic_network
from memgan.training.losses.feature_networks import feature_network
from memgan.training.losses.identity import IdentityLoss, identity_network
from memgan.training.losses.perceptual import PerceptualLoss
from memgan.training.warm_start import begin_at_mean_latent_, continued, return_to_prior_


def make_generator(
    built: MemGANConfig, prior: dict[str, Tensor] | None, start_from: Path | None, prior_above: int | None = None
) -> MemGAN:
    """The generator of a weight file, its scales above ``prior_above`` from the prior, or one that is all new.

    A weight file's own configuration counts; only conditioning is added to one that has none, if ``built`` has it.
    """
    loaded = None if start_from is None else weight_file.read(start_from)
    generator = build_memgan(built) if loaded is None else continued(built, loaded.config, loaded.state)
    if prior is None:
        return generator
    if loaded is None:
        generator.load_prior(prior)
        begin_at_mean_latent_(generator.latent)
    elif prior_above is not None:
        fresh = build_memgan(generator.config)
        fresh.load_prior(prior)
        return_to_prior_(generator, fresh, prior_above)
    return generator


def make_discriminator(
    config: TrainConfig,
    image_size: int,
    perceptual: PerceptualLoss | None,
    semantic: SemanticLoss | None,
    device: torch.device,
) -> nn.Module | None:
    """The discriminator for pictures of ``image_size`` or for their features, or ``None`` without adversarial loss."""
    if not config.adversarial_weight:
        return None
    if config.discriminator_kind == "features":
        widths = (*perceptual.network.widths, *(semantic.network.tap_widths if config.discriminator_semantic else ()))
        return FeatureDiscriminator(widths).to(device, memory_format=torch.channels_last)
    return Discriminator(
        config.discriminator_size or image_size,
        channel_base=config.discriminator_base,
        channel_max=config.discriminator_max,
    ).to(device, memory_format=torch.channels_last)


def make_perceptual(config: TrainConfig, weights: Path | None, device: torch.device) -> PerceptualLoss | None:
    """Eq. 10 with its feature network, or ``None`` if no loss looks at features."""
    if not config.looks_at_features:
        return None
    # The first taps do for Eq. 10 alone; calibration and discriminator look at all.
    judged = config.adversarial_weight and config.discriminator_kind == "features"
    built = None if config.calibrated_weight or judged else config.perceptual_taps
    network = feature_network(config.perceptual_kind, weights, built)
    loss = PerceptualLoss(network, unit_normalize=config.perceptual_unit_normalize, taps=config.perceptual_taps)
    if config.compile_losses:
        loss.distance = torch.compile(loss.distance)
        loss.calibrated_distance = torch.compile(loss.calibrated_distance)
    return loss.to(device, memory_format=torch.channels_last)


def make_identity(config: TrainConfig, weights: Path | None, device: torch.device) -> IdentityLoss | None:
    """The identity loss, or ``None`` without it.

    Raises:
        ConfigError: if only one of its weight and its network is given.
    """
    if not config.identity_weight and weights is None:
        return None
    if not config.identity_weight or weights is None:
        raise ConfigError(
            f"identity_weight is {config.identity_weight} and the identity network {weights}: give both, or neither."
        )
    return IdentityLoss(identity_network(weights, device))


def make_semantic(config: TrainConfig, device: torch.device) -> SemanticLoss | None:
    """The loss on deep features, or ``None`` without it."""
    if not config.semantic_weight:
        return None
    return SemanticLoss(semantic_network()).to(device, memory_format=torch.channels_last)


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


def make_stream(
    config: TrainConfig,
    image_size: int,
    photographs: Photographs,
    prior_faces: PriorFaces | None,
    device: torch.device,
    seed: int,
) -> FaceStream:
    """What draws and degrades faces: on the device that trains, or on the CPU for processes of their own."""
    stream = FaceStream(
        photographs,
        torch.device("cpu") if config.workers else device,
        seed,
        prior_faces=prior_faces,
        synthetic_share=config.synthetic_share,
        pool=config.synthetic_pool,
        degradation=Degradation().at_size(image_size),
        aged_share=config.aged_share,
        mild_share=config.mild_share,
        recolor_share=config.recolor_share,
        surroundings_share=config.surroundings_share,
    )
    if config.workers and stream.synthetic_share:
        stream.keep_drawn()
    return stream
