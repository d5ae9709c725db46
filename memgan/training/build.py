"""Builds what a run trains and trains on, as the settings say: networks with their starting values, and batches."""

import dataclasses
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from memgan.degradation import Degradation
from memgan.hub import weight_file
from memgan.network.conditioning import with_conditioning
from memgan.network.config import MemGANConfig, preset
from memgan.network.encoder import LatentEncoder
from memgan.network.model import MemGAN, build_memgan
from memgan.training.config import TrainConfig
from memgan.training.data.clean_faces import PriorFaces
from memgan.training.data.stream import FaceStream, Photographs
from memgan.training.discriminators import Discriminator, FeatureDiscriminator
from memgan.training.losses.objective import LossNetworks
from memgan.training.window import smallest_side

_SEARCH_STEPS = 400
_SEARCH_RATE = 0.02


def architecture(config: TrainConfig) -> MemGANConfig:
    """The generator's configuration: ``config.preset`` with the changes of ``config.architecture``.

    With another ``image_size`` the encoder keeps the widths and depths that the preset has at the smaller scales.

    Raises:
        ConfigError: if a change names an unknown field or value.
    """
    base, changes = preset(config.preset), config.architecture
    if not changes:
        return base
    values = json.loads(base.to_json()) | {"name": f"{base.name}-changed"} | changes
    count = int(values["image_size"]).bit_length() - 2 if isinstance(values["image_size"], int) else 0
    for field in ("encoder_channels", "encoder_blocks"):
        kept = values[field]
        if field not in changes and kept is not None and 0 < count < len(kept):
            values[field] = kept[:count]
    return MemGANConfig.from_json(json.dumps(values))


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


def continued(wanted: MemGANConfig, config: MemGANConfig, state: dict[str, Tensor]) -> MemGAN:
    """The generator of a configuration and its tensors, with conditioning that does nothing yet if ``wanted`` has it.

    Raises:
        StateMismatchError: if the tensors do not fit the configuration.
    """
    if not wanted.degradation_conditioning or config.degradation_conditioning:
        return build_memgan(config, state)
    generator = build_memgan(dataclasses.replace(config, degradation_conditioning=True))
    generator.load_checked(with_conditioning(state, generator.state_dict()))
    return generator


def begin_at_mean_latent_(latent: LatentEncoder) -> float:
    """Let all faces begin with the prior's mean latent code instead of one drawn by chance.

    The first layer's bias, from which the mapping starts, is searched for.

    Returns:
        squared distance left to the mean, as a share of the codes' variance.
    """
    generator = torch.Generator().manual_seed(0)
    style_dim = latent.project.out_features
    device = latent.project.bias.device
    with torch.no_grad():
        codes = latent.mapping(torch.randn(4096, style_dim, generator=generator).to(device))
    mean, variance = codes.mean(0), codes.var(0).mean().clamp_min(1e-12)
    start = torch.randn(style_dim, generator=generator).to(device).requires_grad_()
    optimizer = torch.optim.Adam([start], _SEARCH_RATE)
    for _ in range(_SEARCH_STEPS):
        missed = (latent.mapping(start[None])[0] - mean).square().mean() / variance
        (start.grad,) = torch.autograd.grad(missed, start)
        optimizer.step()
    with torch.no_grad():
        latent.project.bias.copy_(start)
    return float(missed.detach())


def make_discriminator(
    config: TrainConfig, image_size: int, networks: LossNetworks, device: torch.device
) -> nn.Module | None:
    """The discriminator for pictures of ``image_size`` or for their features, or ``None`` without adversarial loss."""
    settings = config.discriminator
    if not config.losses.adversarial:
        return None
    if settings.kind == "features":
        widths = () if networks.perceptual is None else networks.perceptual.network.widths
        if settings.deep_features and networks.deep_feature is not None:
            widths += tuple(networks.deep_feature.network.tap_widths)
        discriminator: nn.Module = FeatureDiscriminator(widths)
    else:
        # The largest power of two that every window leaves; of whole pictures that is their side.
        window = config.window
        left = smallest_side(window.size, window.scale, image_size, window.margin)
        side = settings.size or 1 << left.bit_length() - 1
        discriminator = Discriminator(side, channel_base=settings.channel_base, channel_max=settings.channel_max)
    return discriminator.to(device).to(memory_format=torch.channels_last)


def make_stream(
    config: TrainConfig,
    image_size: int,
    photographs: Photographs,
    prior_faces: PriorFaces | None,
    device: torch.device,
    seed: int,
    resident: bool = False,
) -> FaceStream:
    """The source of batches: on the device that trains, with the photographs if they are ``resident`` there, or on the
    CPU for worker processes."""
    return FaceStream(
        photographs,
        torch.device("cpu") if config.run.workers else device,
        seed,
        config.data,
        prior_faces=prior_faces,
        degradation=Degradation().at_size(image_size),
        resident=resident,
    )
