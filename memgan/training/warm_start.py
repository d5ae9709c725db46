"""Finds starting values of a generator: the prior's mean latent code, or the weights of an earlier run."""

import dataclasses

import torch
from torch import Tensor

from memgan.network.conditioning import with_conditioning
from memgan.network.config import MemGANConfig
from memgan.network.encoder import LatentEncoder
from memgan.network.model import MemGAN, build_memgan

SEARCH_STEPS = 400
SEARCH_RATE = 0.02


def begin_at_mean_latent_(latent: LatentEncoder) -> float:
    """Let all faces begin with the prior's mean latent code instead of one drawn by chance.

    The mapping of a random code is some person's code, which is further from everybody else's than the mean is: the
    layers above would first learn to undo it. The first layer's bias, from which the mapping starts, is searched for.

    Args:
        latent: with the mapping of a prior; its first layer's bias is changed.

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
    optimizer = torch.optim.Adam([start], SEARCH_RATE)
    for _ in range(SEARCH_STEPS):
        missed = (latent.mapping(start[None])[0] - mean).square().mean() / variance
        (start.grad,) = torch.autograd.grad(missed, start)
        optimizer.step()
    with torch.no_grad():
        latent.project.bias.copy_(start)
    return float(missed.detach())


def continued(wanted: MemGANConfig, config: MemGANConfig, state: dict[str, Tensor]) -> MemGAN:
    """The generator of a weight file, with conditioning that does nothing yet if only ``wanted`` has any.

    Args:
        wanted: what is to be trained.
        config, state: what the file holds.

    Raises:
        StateMismatchError: if the tensors do not fit the configuration.
    """
    if not wanted.degradation_conditioning or config.degradation_conditioning:
        return build_memgan(config, state)
    generator = build_memgan(dataclasses.replace(config, degradation_conditioning=True))
    generator.load_checked(with_conditioning(state, generator.state_dict()))
    return generator
