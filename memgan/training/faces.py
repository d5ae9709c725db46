"""Clean faces for training: photographs and, without limit, faces drawn from the prior."""

import torch
from torch import Tensor, nn

from memgan.config import MemGANConfig
from memgan.network.latent import MappingNetwork
from memgan.network.model import build_memgan


class PriorFaces(nn.Module):
    """Draws clean faces from an imported prior.

    Args:
        config: a generator configuration of the prior's family and size.
        prior: imported tensors, see :mod:`memgan.priors`.
        truncation: psi; latent codes are pulled towards their mean by ``1 - psi``.
    """

    mean_latent: Tensor

    def __init__(self, config: MemGANConfig, prior: dict[str, Tensor], truncation: float = 0.8) -> None:
        super().__init__()
        generator = build_memgan(config)
        generator.load_prior(prior)
        self.scales = config.scales
        self.mapping: MappingNetwork = generator.latent.mapping
        self.synthesis = generator.decoder.synthesis
        self.truncation = truncation
        self.style_dim = config.style_dim
        self.requires_grad_(False).eval()
        z = torch.randn(4096, self.style_dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("mean_latent", self.mapping(z).mean(dim=0))

    @torch.no_grad()
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw faces.

        Args:
            count: B.
            generator: CPU generator of the latent codes.

        Returns:
            (B, 3, S, S) RGB in [-1, 1].
        """
        z = torch.randn(count, self.style_dim, generator=generator).to(self.mean_latent.device)
        w = torch.lerp(self.mean_latent.expand(count, -1), self.mapping(z), self.truncation)
        x, rgb = self.synthesis.start(w, noise="stored")
        for block in self.synthesis.blocks:
            x = block.second(block.first(x, w), w)
            rgb = block.to_rgb(x, rgb, w)
        return rgb.clamp(-1, 1)
