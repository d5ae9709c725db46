"""Builds what a training run is made of, as its settings say."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from memgan.degradation import Degradation
from memgan.hub import weight_file
from memgan.network.config import MemGANConfig
from memgan.network.model import MemGAN, build_memgan
from memgan.training.config import TrainConfig
from memgan.training.data.prior_faces import PriorFaces
from memgan.training.data.stream import FaceStream, Photographs
from memgan.training.discriminators.features import FeatureDiscriminator
from memgan.training.discriminators.pictures import Discriminator
from memgan.training.losses.objective import LossNetworks
from memgan.training.warm_start import begin_at_mean_latent_, continued


def make_generator(built: MemGANConfig, prior: dict[str, Tensor] | None, start_from: Path | None) -> MemGAN:
    """The generator of a weight file, or a new one, which starts from the prior if there is one.

    A weight file's own configuration counts; only conditioning is added to one that has none, if ``built`` has it.
    """
    if start_from is not None:
        loaded = weight_file.read(start_from)
        return continued(built, loaded.config, loaded.state)
    generator = build_memgan(built)
    if prior is not None:
        generator.load_prior(prior)
        begin_at_mean_latent_(generator.latent)
    return generator


def make_discriminator(
    config: TrainConfig, image_size: int, networks: LossNetworks, device: torch.device
) -> nn.Module | None:
    """The discriminator for pictures of ``image_size`` or for their features, or ``None`` without adversarial loss."""
    settings = config.discriminator
    if not config.losses.adversarial:
        return None
    if settings.kind == "features":
        shown = [None if networks.perceptual is None else networks.perceptual.network.widths]
        if settings.deep_features and networks.deep_feature is not None:
            shown.append(networks.deep_feature.network.tap_widths)
        discriminator: nn.Module = FeatureDiscriminator([width for widths in shown if widths for width in widths])
    else:
        discriminator = Discriminator(
            settings.size or image_size, channel_base=settings.channel_base, channel_max=settings.channel_max
        )
    return discriminator.to(device).to(memory_format=torch.channels_last)


def make_prior_faces(
    config: TrainConfig,
    built: MemGANConfig,
    prior: dict[str, Tensor] | None,
    device: torch.device,
    autocast: Callable[[], contextlib.AbstractContextManager[object]],
) -> PriorFaces | None:
    """Faces drawn from the prior, or ``None`` if none are wanted or there is no prior."""
    if not config.data.synthetic or prior is None:
        return None
    faces = PriorFaces(built, prior, autocast=autocast)
    return faces.to(device).to(memory_format=torch.channels_last)


def make_stream(
    config: TrainConfig,
    image_size: int,
    photographs: Photographs,
    prior_faces: PriorFaces | None,
    device: torch.device,
    seed: int,
) -> FaceStream:
    """The source of batches: on the device that trains, or on the CPU for worker processes."""
    stream = FaceStream(
        photographs,
        torch.device("cpu") if config.run.workers else device,
        seed,
        config.data,
        prior_faces=prior_faces,
        degradation=Degradation().at_size(image_size),
    )
    if config.run.workers and stream.synthetic:
        stream.keep_drawn()
    return stream
