"""Implements MobileStyleGAN's synthesis network: Haar upsampling and depthwise-separable modulated convolutions.

Reference: Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity Image
Synthesis", 2021.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memgan.errors import ConfigError
from memgan.network.config import MemGANConfig
from memgan.network.synthesis import Corner, Synthesis, noise_at


def inverse_haar(x: Tensor) -> Tensor:
    """One level of the inverse Haar wavelet transform, (B, 4C, H, W) -> (B, C, 2H, 2W).

    The C low bands come first, then the three high bands of each channel.
    """
    batch, channels, height, width = x.shape
    channels //= 4
    low, high = torch.split(x, [channels, 3 * channels], dim=1)  # slices' gradients would be padded with zeros
    vertical, horizontal, diagonal = high.reshape(batch, channels, 3, height, width).unbind(2)
    upper, lower = low + vertical, low - vertical
    plus, minus = horizontal + diagonal, horizontal - diagonal
    pixels = torch.stack([upper + plus, upper - plus, lower + minus, lower - minus], dim=2) * 0.5
    grown = F.pixel_shuffle(pixels.reshape(batch, 4 * channels, height, width), 2)
    # On a GPU the shuffle hands out planes whatever it was given, and all that follows would work in both orders.
    is_channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return grown.contiguous(memory_format=torch.channels_last) if is_channels_last else grown


def _style(style_dim: int, channels: int) -> nn.Linear:
    """From w to factors on the channels of a feature map, about 1 at the start."""
    style = nn.Linear(style_dim, channels)
    nn.init.normal_(style.weight, std=1 / math.sqrt(style_dim))
    nn.init.ones_(style.bias)
    return style


def _modulated(x: Tensor, factors: Tensor) -> Tensor:
    """(B, C, H, W), (B, C) -> (B, C, H, W)."""
    return x * factors[:, :, None, None].to(x.dtype)


class MobileLayer(nn.Module):
    """Modulate, depthwise 3x3 (if separable), pointwise, noise, bias, leaky ReLU; the weights hold the demodulation."""

    noise: Tensor

    def __init__(self, channels_in: int, channels: int, scale: int, style_dim: int, *, separable: bool = True) -> None:
        super().__init__()
        self.gain = 1.0 / math.sqrt(9 * channels_in)
        self.style = _style(style_dim, channels_in)
        self.separable = separable
        if separable:
            self.depthwise = nn.Parameter(torch.randn(channels_in, 1, 3, 3))
            self.weight = nn.Parameter(torch.randn(channels, channels_in, 1, 1))
        else:
            self.weight = nn.Parameter(torch.randn(channels, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("noise", torch.zeros(1, 1, scale, scale))

    def forward(self, x: Tensor, w: Tensor, corner: Corner | None = None) -> Tensor:
        """(B, C_in, H, W), (B, D) -> (B, C, H, W)."""
        x = _modulated(x, self.style(w) * self.gain)
        if self.separable:
            x = F.conv2d(x, self.depthwise, padding=1, groups=x.shape[1])
            x = F.conv2d(x, self.weight, self.bias)
        else:
            x = F.conv2d(x, self.weight, self.bias, padding=1)
        return F.leaky_relu(x + noise_at(self.noise, x, corner).to(x.dtype), 0.2)


class MobileBlock(nn.Module):
    """One scale: Haar upsampling and the first layer, the second layer, and at the last scale the head."""

    def __init__(self, channels_in: int, channels: int, scale: int, style_dim: int, *, head: bool) -> None:
        super().__init__()
        self.up_style = _style(style_dim, channels_in)
        self.layer1 = MobileLayer(channels_in // 4, channels, scale, style_dim)
        self.layer2 = MobileLayer(channels, channels, scale, style_dim)
        self.head = MobileHead(channels, style_dim) if head else None

    def first(self, x: Tensor, w: Tensor, corner: Corner | None = None) -> Tensor:
        """(B, C_in, H, W) -> (B, C, 2H, 2W)."""
        features: Tensor = self.layer1(inverse_haar(_modulated(x, self.up_style(w))), w, corner)
        return features

    def second(self, x: Tensor, w: Tensor, corner: Corner | None = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        features: Tensor = self.layer2(x, w, corner)
        return features

    def to_rgb(self, x: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor | None:
        """The image at the last scale, nothing before: this family has no skip images."""
        return self.head(x, w) if self.head is not None else rgb


class MobileHead(nn.Module):
    """Modulated 1x1 convolution to the image.

    The prior's head makes twelve channels, the Haar bands of an image of twice the side; the low band halved is the
    image at this scale, so only those three channels are kept.
    """

    def __init__(self, channels: int, style_dim: int) -> None:
        super().__init__()
        self.gain = 1.0 / math.sqrt(channels)
        self.style = _style(style_dim, channels)
        self.weight = nn.Parameter(torch.randn(3, channels, 1, 1) * 0.1)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, C, H, W), (B, D) -> RGB (B, 3, H, W), about [-1, 1]."""
        return F.conv2d(_modulated(x, self.style(w) * self.gain), self.weight, self.bias)


class MobileSynthesis(Synthesis):
    """Synthesis network of the ``mobile`` family; its image is drawn by the last block alone.

    Raises:
        ConfigError: if the widths at scales 4 and 8 differ, or a width that is doubled in size has no four bands.
    """

    last_blend_rate = 0.1  # the last features are ten times smaller than all others, and the head amplifies as much
    blocks: Sequence[MobileBlock]

    def __init__(self, config: MemGANConfig) -> None:
        super().__init__(config)
        widths = [config.channels(scale) for scale in self.scales]
        if widths[0] != widths[1]:
            raise ConfigError(
                f"The mobile family needs equal widths at scales 4 and 8, not {widths[0]} and {widths[1]}; raise "
                "channel_base or lower channel_max."
            )
        if any(width % 4 for width in widths[:-1]):
            raise ConfigError(
                f"The mobile family needs widths that are multiples of 4 below the last scale, not {widths}: change "
                "channel_base or channel_max."
            )
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.layer0 = MobileLayer(widths[0], widths[0], 4, config.style_dim, separable=False)
        blocks = (
            MobileBlock(before, width, scale, config.style_dim, head=scale == config.image_size)
            for before, width, scale in zip(widths[:-1], widths[1:], self.scales[1:], strict=True)
        )
        self.blocks = cast("Sequence[MobileBlock]", nn.ModuleList(blocks))

    def start(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """w (B, D) -> 4 px features (B, C, 4, 4) and no image."""
        return self.layer0(self.constant.expand(w.shape[0], -1, -1, -1), w), None

    @staticmethod
    def state_from_prior(prior: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state in a prior, as :func:`memgan.training.priors.mobile.convert_random_face` names its tensors.

        Raises:
            KeyError: if a tensor is missing.
        """

        def linear(source: str, target: str) -> dict[str, Tensor]:
            weight, bias = (prior[f"synthesis.{source}.modulation.{part}"] for part in ("weight", "bias"))
            return {f"{target}.weight": weight, f"{target}.bias": bias.flatten()}

        def layer(source: str, target: str) -> dict[str, Tensor]:
            state = {
                **linear(f"{source}.conv", f"{target}.style"),
                f"{target}.weight": prior[f"synthesis.{source}.w"],
                f"{target}.bias": prior[f"synthesis.{source}.bias"].flatten(),
                f"{target}.noise": prior[f"synthesis.{source}.noise"],
            }
            if f"synthesis.{source}.dw" in prior:
                state[f"{target}.depthwise"] = prior[f"synthesis.{source}.dw"]
            return state

        state = {"constant": prior["synthesis.input"], **layer("conv1", "layer0")}
        levels = sum(key.endswith(".up.modulation.weight") for key in prior)
        for i in range(levels):
            state |= linear(f"layers.{i}.up", f"blocks.{i}.up_style")
            state |= layer(f"layers.{i}.conv1", f"blocks.{i}.layer1") | layer(f"layers.{i}.conv2", f"blocks.{i}.layer2")
        head = f"blocks.{levels - 1}.head"
        state |= linear(f"layers.{levels - 1}.to_img.conv", f"{head}.style")
        state[f"{head}.weight"] = prior["synthesis.img.w"][:3] * 0.5
        state[f"{head}.bias"] = prior["synthesis.img.bias"].flatten()[:3] * 0.5
        return {key: value.float() for key, value in state.items()}
