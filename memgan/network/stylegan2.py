"""StyleGAN2 synthesis network (skip pictures, stored noise) cut into steps, so that a decoder can work in between."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, ShapeError
from memgan.network.config import MemGANConfig
from memgan.network.layers import EqualLinear
from memgan.network.ops import modulated_conv2d, scaled_leaky_relu, upsample_2x

Noise = Literal["stored", "random", "none"]
Window = tuple[int, int]


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias and scaled leaky ReLU.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        style_dim: width of w.
        size_px: side of the full output map, which is that of the stored noise.
        up: double both sides.
        seed: seed of the stored noise; building the network draws it from no global generator.
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

    def forward(self, x: Tensor, w: Tensor, *, noise: Noise = "stored", window: Window | None = None) -> Tensor:
        """Apply the layer.

        Args:
            x: (B, in_channels, H, W): the full map, or a window of it.
            w: (B, style_dim).
            noise: ``stored`` (deterministic), ``random`` (drawn anew from torch's generator) or ``none``.
            window: top-left corner (row, column) of the output in the full output map; ``None`` for the full map.

        Returns:
            (B, out_channels, H, W), or doubled sides if ``up``.

        Raises:
            ConfigError: if ``noise`` is none of the three.
            ShapeError: if the output does not lie inside the full map.
        """
        scale = 1 / math.sqrt(self.weight[0].numel())
        x = modulated_conv2d(x, self.weight * scale, self.modulation(w), up=self.up)
        added = self._noise(x, noise, window)
        if added is not None:
            x = x + (self.noise_strength * added).to(x.dtype)
        return scaled_leaky_relu(x + self.bias.to(x.dtype)[:, None, None])

    def _noise(self, x: Tensor, noise: Noise, window: Window | None) -> Tensor | None:
        height, width = x.shape[2:]
        size = self.noise.shape[-1]
        top, left = window or (0, 0)
        inside = 0 <= top <= size - height and 0 <= left <= size - width
        if not inside or (window is None and (height, width) != (size, size)):
            raise ShapeError(
                f"A layer of {size} px was to give {height}x{width} pixels at window={window}; allowed: the full map "
                "with window=None, or a window (row, column) that lies inside it, counted in output pixels."
            )
        if noise == "stored":
            return self.noise[:, :, top : top + height, left : left + width]
        if noise == "random":
            return torch.randn(x.shape[0], 1, height, width, dtype=x.dtype, device=x.device)
        if noise == "none":
            return None
        raise ConfigError(f"noise is {noise!r}; allowed: stored, random, none.")


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to a picture, without demodulation.

    Args:
        in_channels: input channels.
        style_dim: width of w.
    """

    def __init__(self, in_channels: int, style_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.modulation = EqualLinear(style_dim, in_channels, bias_init=1.0)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor:
        """Features (B, C, H, W) and the picture so far (B, 3, H/2, W/2), or ``None``, to a picture (B, 3, H, W)."""
        weight = self.weight / math.sqrt(self.weight.shape[1])
        y = modulated_conv2d(x, weight, self.modulation(w), demodulate=False)
        y = y + self.bias.to(y.dtype)[:, None, None]
        return y if rgb is None else y + upsample_2x(rgb)


class StyleGAN2Block(nn.Module):
    """The two synthesis layers and the picture output of one scale.

    Args:
        in_channels: channels of the scale below.
        out_channels: channels of this scale.
        style_dim: width of w.
        size_px: side of this scale's full map.
    """

    def __init__(self, in_channels: int, out_channels: int, style_dim: int, size_px: int) -> None:
        super().__init__()
        self.conv1 = StyledConv(in_channels, out_channels, style_dim, size_px, up=True, seed=2 * size_px)
        self.conv2 = StyledConv(out_channels, out_channels, style_dim, size_px, seed=2 * size_px + 1)
        self.rgb = ToRGB(out_channels, style_dim)

    def first(self, x: Tensor, w: Tensor, *, noise: Noise = "stored", window: Window | None = None) -> Tensor:
        """Up-sampling synthesis layer (F^GAN1): (B, in_channels, H, W) to (B, out_channels, 2H, 2W).

        ``window`` is the corner of the output in this scale's full map. Within two pixels of a window's border the
        result differs from the full map's, for the neighbors are taken as zero.
        """
        return self.conv1(x, w, noise=noise, window=window)

    def second(self, x: Tensor, w: Tensor, *, noise: Noise = "stored", window: Window | None = None) -> Tensor:
        """Second synthesis layer (F^GAN2), same shape as ``x`` (B, out_channels, H, W); one border pixel differs."""
        return self.conv2(x, w, noise=noise, window=window)

    def to_rgb(self, x: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor:
        """Picture (B, 3, H, W), about [-1, 1]: this scale's part plus the up-sampled ``rgb`` (B, 3, H/2, W/2)."""
        return self.rgb(x, rgb, w)


class StyleGAN2Synthesis(nn.Module):
    """Synthesis network of StyleGAN2, configuration F, with one w for all layers.

    Attributes:
        blocks: one :class:`StyleGAN2Block` per scale 8, 16, ..., ``config.image_size``.

    Args:
        config: gives image size, widths and ``style_dim``; its other fields are not looked at.
    """

    def __init__(self, config: MemGANConfig) -> None:
        super().__init__()
        base, *scales = config.scales
        channels, style_dim = config.channels(base), config.style_dim
        self.const = nn.Parameter(torch.randn(1, channels, base, base))
        self.conv = StyledConv(channels, channels, style_dim, base, seed=2 * base + 1)
        self.rgb = ToRGB(channels, style_dim)
        self.blocks = nn.ModuleList(
            StyleGAN2Block(config.channels(scale // 2), config.channels(scale), style_dim, scale) for scale in scales
        )

    def start(self, w: Tensor, *, noise: Noise = "stored") -> tuple[Tensor, Tensor]:
        """The 4 px level.

        Args:
            w: (B, style_dim).
            noise: ``stored``, ``random`` or ``none``.

        Returns:
            Features (B, C, 4, 4) after the 4 px convolution and the picture so far (B, 3, 4, 4).
        """
        x = self.conv(self.const.expand(w.shape[0], -1, -1, -1), w, noise=noise)
        return x, self.rgb(x, None, w)

    def forward(self, w: Tensor, *, noise: Noise = "stored") -> Tensor:
        """The bare prior: w (B, style_dim) to pictures (B, 3, S, S), about [-1, 1], not clipped."""
        x, rgb = self.start(w, noise=noise)
        for block in self.blocks:
            x = block.second(block.first(x, w, noise=noise), w, noise=noise)
            rgb = block.to_rgb(x, rgb, w)
        return rgb
