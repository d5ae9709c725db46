"""Encodes the degraded image into features at every scale and a latent code (Sec. 3.1, Fig. 1a)."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from memgan.network.config import MemGANConfig
from memgan.network.layers import pixel_norm, scaled_leaky_relu

BIAS_STD = 0.5
"""Spread of the initial biases, about the size of the features themselves."""


def _conv(channels_in: int, channels_out: int, stride: int = 1, gain: float = math.sqrt(2.0)) -> nn.Conv2d:
    conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1)
    nn.init.normal_(conv.weight, std=gain / math.sqrt(9 * channels_in))
    nn.init.zeros_(conv.get_parameter("bias"))
    return conv


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip; starts close to the identity, so that deep encoders need no norms."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = _conv(channels, channels, gain=0.25)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        change: Tensor = self.second(F.leaky_relu_(self.first(x), 0.2))
        return change.add_(x)


class EncoderLevel(nn.Module):
    """Convolution to this scale (stride 2, or 1 for the first) and its residual blocks."""

    def __init__(self, channels_in: int, channels: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.enter = _conv(channels_in, channels, stride)
        # The memory sees only the direction of a feature, which without a constant part says nothing of brightness.
        nn.init.normal_(self.enter.get_parameter("bias"), std=BIAS_STD)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H/stride, W/stride)."""
        features: Tensor = self.blocks(F.leaky_relu_(self.enter(x), 0.2))
        return features


class Encoder(nn.Module):
    """Strided convolutional pyramid."""

    def __init__(self, config: MemGANConfig) -> None:
        super().__init__()
        self.scales = config.scales[::-1]
        widths = [config.encoder_width(scale) for scale in self.scales]
        self.levels = nn.ModuleList(
            EncoderLevel(before, width, config.encoder_depth(scale), stride=1 if scale == config.image_size else 2)
            for scale, before, width in zip(self.scales, [3, *widths[:-1]], widths, strict=True)
        )

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        """(B, 3, S, S) RGB in [-1, 1] -> features F^E by scale r, (B, C_r, r, r) for r = S, S/2, ..., 4."""
        features, x = {}, image
        for scale, level in zip(self.scales, self.levels, strict=True):
            x = level(x)
            features[scale] = x
        return features


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
    """Flattened 4 px features -> linear -> the mapping network, which starts from the prior's -> w."""

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
