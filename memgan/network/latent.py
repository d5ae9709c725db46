"""Maps the encoder's smallest features, or a random z, to the latent code w."""

import math

from torch import Tensor, nn

from memgan.network.layers import pixel_norm, scaled_leaky_relu


class MappingNetwork(nn.Module):
    """StyleGAN's mapping: pixel norm, then fully connected layers with leaky ReLU (slope 0.2, gain sqrt 2).

    The equalized learning rate of the original is folded into plain weights.
    """

    def __init__(self, style_dim: int, layers: int) -> None:
        super().__init__()
        linears = [nn.Linear(style_dim, style_dim) for _ in range(layers)]
        for linear in linears:
            nn.init.normal_(linear.weight, std=1 / math.sqrt(style_dim))
            nn.init.zeros_(linear.bias)
        self.layers = nn.ModuleList(linears)

    def forward(self, z: Tensor) -> Tensor:
        """(B, D) -> w, (B, D)."""
        x = pixel_norm(z)
        for layer in self.layers:
            x = scaled_leaky_relu(layer(x))
        return x


class LatentEncoder(nn.Module):
    """Flattened 4 px features -> linear -> the mapping network, which starts from the prior's -> w (Sec. 3.1)."""

    def __init__(self, channels: int, style_dim: int, layers: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels * 16, style_dim)
        # All images begin with nearly the same latent code: styles that differ by chance would tint each image.
        nn.init.normal_(self.project.weight, std=0.01 / math.sqrt(channels * 16))
        nn.init.normal_(self.project.bias)
        self.mapping = MappingNetwork(style_dim, layers)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, 4, 4) -> (B, D)."""
        latent: Tensor = self.mapping(self.project(features.flatten(1)))
        return latent
