"""Draws clean faces, and the features behind them, from an imported prior."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from memgan.network.config import MemGANConfig
from memgan.network.latent import MappingNetwork
from memgan.network.model import build_memgan

TRUNCATION = 0.8
"""Psi: latent codes are pulled towards their mean by ``1 - psi``."""


class PriorFaces(nn.Module):
    """Draws clean faces from an imported prior.

    Args:
        config: a generator configuration of the prior's family and size.
        prior: imported tensors, see :mod:`memgan.training.priors`.
        autocast: context of the synthesis layers; the picture itself is always computed in float32.
    """

    mean_latent: Tensor

    def __init__(
        self,
        config: MemGANConfig,
        prior: dict[str, Tensor],
        *,
        autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        super().__init__()
        generator = build_memgan(config)
        generator.load_prior(prior)
        self.mapping: MappingNetwork = generator.latent.mapping
        self.synthesis = generator.decoder.synthesis
        self.style_dim = config.style_dim
        self.autocast = autocast
        self.requires_grad_(False).eval()
        z = torch.randn(4096, self.style_dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("mean_latent", self.mapping(z).mean(dim=0))

    @torch.no_grad()
    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw faces (B, 3, S, S) in [-1, 1], and return them with their latent codes w (B, D).

        ``generator`` is one of the CPU.
        """
        z = torch.randn(count, self.style_dim, generator=generator).to(self.mean_latent.device)
        w = torch.lerp(self.mean_latent.expand(count, -1), self.mapping(z), TRUNCATION)
        return self.synthesis(w, self.autocast).clamp(-1, 1), w

    @torch.no_grad()
    def features(self, latent: Tensor, up_to: int) -> dict[int, Tensor]:
        """F^GAN2 of latent codes w (B, D), by scale: (B, C_r, r, r) for r = 8 to ``up_to``."""
        found: dict[int, Tensor] = {}
        for scale, features, _ in self.synthesis.levels(latent, self.autocast):
            found[scale] = features
            if 2 * scale > up_to:
                break
        return found
