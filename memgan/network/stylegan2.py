"""Implements StyleGAN2's synthesis network, with skip images and stored noise.

Reference: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from memgan.network.config import MemGANConfig
from memgan.network.layers import EqualLinear, modulated_conv2d, scaled_leaky_relu, upsample_2x
from memgan.network.synthesis import Corner, Synthesis, noise_at


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias and scaled leaky ReLU.

    Args:
        size_px: side of the full output map, which is that of the stored noise.
        up: double both sides.
        seed: of the stored noise, which comes from no global generator.
    """

    noise: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, size_px: int, *, up: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.up = up
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.modulation = EqualLinear(style_dim, in_channels, bias_init=1.0)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("noise", torch.randn(1, 1, size_px, size_px, generator=generator))

    def forward(self, x: Tensor, w: Tensor, corner: Corner | None = None) -> Tensor:
        """(B, in_channels, H, W), (B, style_dim) -> (B, out_channels, H, W), or doubled sides if ``up``."""
        scale = 1 / math.sqrt(self.weight[0].numel())
        x = modulated_conv2d(x, self.weight * scale, self.modulation(w), up=self.up)
        x = x + (self.noise_strength * noise_at(self.noise, x, corner)).to(x.dtype)
        return scaled_leaky_relu(x + self.bias.to(x.dtype)[:, None, None])


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to an image, without demodulation."""

    def __init__(self, in_channels: int, style_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.modulation = EqualLinear(style_dim, in_channels, bias_init=1.0)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor:
        """Features (B, C, H, W) and the image so far (B, 3, H/2, W/2), or ``None``, to an image (B, 3, H, W)."""
        weight = self.weight / math.sqrt(self.weight.shape[1])
        y = modulated_conv2d(x, weight, self.modulation(w), demodulate=False)
        y = y + self.bias.to(y.dtype)[:, None, None]
        return y if rgb is None else y + upsample_2x(rgb)


class StyleGAN2Block(nn.Module):
    """The two synthesis layers and the image output of one scale."""

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, size_px: int) -> None:
        super().__init__()
        self.conv1 = StyledConv(in_channels, out_channels, style_dim, size_px, up=True, seed=2 * size_px)
        self.conv2 = StyledConv(out_channels, out_channels, style_dim, size_px, seed=2 * size_px + 1)
        self.rgb = ToRGB(out_channels, style_dim)

    def first(self, x: Tensor, w: Tensor, corner: Corner | None = None) -> Tensor:
        """Up-sampling synthesis layer (F^GAN1): (B, in_channels, H, W) to (B, out_channels, 2H, 2W)."""
        features: Tensor = self.conv1(x, w, corner)
        return features

    def second(self, x: Tensor, w: Tensor, corner: Corner | None = None) -> Tensor:
        """Second synthesis layer (F^GAN2): (B, out_channels, H, W) to the same shape."""
        features: Tensor = self.conv2(x, w, corner)
        return features

    def to_rgb(self, x: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor:
        """Image (B, 3, H, W), about [-1, 1]: this scale's part plus the up-sampled ``rgb`` (B, 3, H/2, W/2)."""
        image: Tensor = self.rgb(x, rgb, w)
        return image


class StyleGAN2Synthesis(Synthesis):
    """Synthesis network of StyleGAN2, configuration F, with one w for all layers."""

    blocks: Sequence[StyleGAN2Block]

    def __init__(self, config: MemGANConfig) -> None:
        super().__init__(config)
        base, *scales = self.scales
        channels, style_dim = config.channels(base), config.style_dim
        self.const = nn.Parameter(torch.randn(1, channels, base, base))
        self.conv = StyledConv(channels, channels, style_dim, base, seed=2 * base + 1)
        self.rgb = ToRGB(channels, style_dim)
        blocks = (
            StyleGAN2Block(config.channels(scale // 2), config.channels(scale), style_dim, scale) for scale in scales
        )
        self.blocks = cast("Sequence[StyleGAN2Block]", nn.ModuleList(blocks))

    def start(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """w (B, D) -> features (B, C, 4, 4) after the 4 px convolution and their image (B, 3, 4, 4)."""
        x = self.conv(self.const.expand(w.shape[0], -1, -1, -1), w)
        return x, self.rgb(x, None, w)

    @staticmethod
    def state_from_prior(prior: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state in a prior, as :func:`memgan.training.priors.stylegan2.read_stylegan2` names its tensors."""
        synthesis = {key: value for key, value in prior.items() if key.startswith("synthesis.")}
        return {key.removeprefix("synthesis."): value.float() for key, value in synthesis.items()}
