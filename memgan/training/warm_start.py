"""Starting values that are looked for instead of drawn."""

import torch

from memgan.network.latent import LatentEncoder

SEARCH_STEPS = 400
SEARCH_RATE = 0.02


def begin_at_mean_latent_(latent: LatentEncoder, seed: int = 0) -> float:
    """Let all faces begin with the prior's mean latent code instead of one drawn by chance.

    The mapping of a random code is some person's code, which is further from everybody else's than the mean is: the
    layers above would first learn to undo it. The first layer's bias, from which the mapping starts, is searched for.

    Args:
        latent: with the mapping of a prior; its first layer's bias is changed.
        seed: of the codes whose mean is taken.

    Returns:
        squared distance left to the mean, as a share of the codes' variance.
    """
    generator = torch.Generator().manual_seed(seed)
    style_dim = latent.project.out_features
    device = latent.project.bias.device
    with torch.no_grad():
        codes = latent.mapping(torch.randn(4096, style_dim, generator=generator).to(device))
    mean, variance = codes.mean(0), codes.var(0).mean().clamp_min(1e-12)
    start = torch.randn(style_dim, generator=generator).to(device).requires_grad_()
    optimiser = torch.optim.Adam([start], SEARCH_RATE)
    for _ in range(SEARCH_STEPS):
        missed = (latent.mapping(start[None])[0] - mean).square().mean() / variance
        (start.grad,) = torch.autograd.grad(missed, start)
        optimiser.step()
    with torch.no_grad():
        latent.project.bias.copy_(start)
    return float(missed.detach())
