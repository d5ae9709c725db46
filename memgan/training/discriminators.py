"""Tells real from restored pictures: by what a small network sees in them, or by features of a fixed network."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from memgan.errors import ConfigError, ShapeError
from memgan.network.layers import EqualConv2d, EqualLinear, ScaledLeakyReLU, scaled_leaky_relu
from memgan.training.sync import average_

GRID = 8
"""Logits per side of a picture: one for each of the squares of this grid and each tap."""
_MOMENTUM = 0.01
_SLOPE = 0.2
_FINAL_SCALE = 4
_STDDEV_GROUP = 4
"""Samples per group of the minibatch standard deviation."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions parallel to a 1x1 one; both branches halve the sides and are added with equal variance."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = EqualConv2d(in_channels, in_channels, 3)
        self.conv2 = EqualConv2d(in_channels, out_channels, 3, down=True)
        self.skip = EqualConv2d(in_channels, out_channels, 1, bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W), even sides, to (B, out_channels, H/2, W/2)."""
        y = scaled_leaky_relu(self.conv2(scaled_leaky_relu(self.conv1(x))))
        return (y + self.skip(x)) / math.sqrt(2)


def minibatch_stddev(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C + 1, H, W): with the mean standard deviation over a group of samples as a last channel.

    Sample n belongs to group n modulo (B / g), where g is the largest divisor of B up to :data:`_STDDEV_GROUP`. The
    statistic is taken in float32 at least.
    """
    batch, _, height, width = x.shape
    group = next(g for g in range(min(_STDDEV_GROUP, batch), 0, -1) if batch % g == 0)
    grouped = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, (group, batch // group))
    deviation = (grouped.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    channel = deviation.repeat(group).view(batch, 1, 1, 1).expand(-1, -1, height, width)
    return torch.cat([x, channel.to(x.dtype)], 1)


class Discriminator(nn.Module):
    """StyleGAN2's discriminator (Sec. 3.4), of the width ``min(channel_max, channel_base // r)`` at scale r.

    Raises:
        ConfigError: if ``image_size``, in pixels, is no power of two from 8 to 1024, or a width would be below 1.
    """

    def __init__(self, image_size: int = 512, *, channel_base: int = 32768, channel_max: int = 512) -> None:
        super().__init__()
        if image_size not in (8, 16, 32, 64, 128, 256, 512, 1024):
            raise ConfigError(f"image_size is {image_size!r}; allowed: a power of two from 8 to 1024.")
        for name, value, least in (("channel_base", channel_base, image_size), ("channel_max", channel_max, 1)):
            if value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}.")

        def width(scale: int) -> int:
            return min(channel_max, channel_base // scale)

        self.image_size = image_size
        self.from_rgb = EqualConv2d(3, width(image_size), 1)
        scales = [image_size >> level for level in range(int(math.log2(image_size // _FINAL_SCALE)))]
        self.blocks = nn.Sequential(*(ResidualBlock(width(scale), width(scale // 2)) for scale in scales))
        last = width(_FINAL_SCALE)
        self.conv = EqualConv2d(last + 1, last, 3)
        self.head = nn.Sequential(EqualLinear(last * _FINAL_SCALE**2, last), ScaledLeakyReLU(), EqualLinear(last, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] to logits (B, 1), above zero for real; S is ``image_size``.

        A sample's logit depends on the others of its group.

        Raises:
            ShapeError: if ``image`` has another shape.
        """
        size = self.image_size
        if image.dim() != 4 or image.shape[0] == 0 or tuple(image.shape[1:]) != (3, size, size):
            raise ShapeError(f"The discriminator was given {tuple(image.shape)}; it needs (B, 3, {size}, {size}).")
        x = self.blocks(scaled_leaky_relu(self.from_rgb(image)))
        x = scaled_leaky_relu(self.conv(minibatch_stddev(x)))
        return self.head(x.flatten(1))


class FeatureDiscriminator(nn.Module):
    """Tells real faces from restored ones by the taps of a fixed network (Projected GANs, Sauer et al., 2021).

    Three layers look at each tap, with spectral normalization in place of the R1 penalty.

    The taps have ``widths`` channels, shallow to deep, the layers on them ``hidden``.

    Raises:
        ConfigError: without taps, or if a width is below 1.
    """

    square: Tensor
    """Running mean square of the taps of real faces; taps differ in size by orders of magnitude."""

    def __init__(self, widths: Sequence[int], *, hidden: int = 64) -> None:
        super().__init__()
        if not widths or min(*widths, hidden) < 1:
            raise ConfigError(f"widths is {tuple(widths)}, hidden is {hidden}; needed: taps, all widths at least 1.")
        self.widths = tuple(widths)
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(width, hidden, 1)),
                nn.LeakyReLU(_SLOPE),
                spectral_norm(nn.Conv2d(hidden, hidden, 3, padding=1)),
                nn.LeakyReLU(_SLOPE),
                spectral_norm(nn.Conv2d(hidden, 1, 1)),
            )
            for width in self.widths
        )
        self.gain = nn.Parameter(torch.ones(len(self.widths)))
        self.register_buffer("square", torch.zeros(len(self.widths)))

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Taps (B, C, h, w) to (B, T, G, G) float32 logits by tap and square of a grid, above zero for real.

        G is :data:`GRID`; a coarser tap's judgment stands in all squares that it is about, so that taps weigh alike.

        Raises:
            ShapeError: for taps of other widths.
        """
        if [tap.shape[1] for tap in taps if tap.dim() == 4] != list(self.widths):
            shapes = [tuple(tap.shape) for tap in taps]
            raise ShapeError(f"The taps have shapes {shapes}; needed: (B, C, h, w) with C of {self.widths}.")
        scale = (self.square + 1e-8).rsqrt()
        logits = [
            F.adaptive_avg_pool2d(head(tap * factor.to(tap.dtype)).float(), GRID) * gain
            for head, tap, factor, gain in zip(self.heads, taps, scale, self.gain, strict=True)
        ]
        return torch.cat(logits, 1)

    @torch.no_grad()
    def observe_(self, taps: Sequence[Tensor]) -> None:
        """Let the scale of the taps follow those of real faces; call it once a step, before judging."""
        square = average_(torch.stack([tap.float().square().mean() for tap in taps]))
        self.square.copy_(torch.where(self.square == 0, square, self.square.lerp(square, _MOMENTUM)))
