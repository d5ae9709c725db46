"""Tells real from restored pictures by StyleGAN2's discriminator (Sec. 3.4)."""

import math

import torch
from torch import Tensor, nn

from memgan.errors import ConfigError, ShapeError
from memgan.network.layers import EqualConv2d, EqualLinear, ScaledLeakyReLU
from memgan.network.ops import scaled_leaky_relu

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
    """Tells real faces from restored ones (Sec. 3.4).

    Args:
        image_size: side of the pictures in pixels, a power of two from 8 to 1024.
        channel_base: the width at scale r is ``min(channel_max, channel_base // r)``.
        channel_max: upper limit of the width.

    Raises:
        ConfigError: if a value is not allowed.
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
        """Score pictures.

        Args:
            image: (B, 3, S, S) in [-1, 1], S = ``image_size``.

        Returns:
            Logits (B, 1); above zero means real. A sample's logit depends on the others of its group.

        Raises:
            ShapeError: if ``image`` has another shape.
        """
        size = self.image_size
        if image.dim() != 4 or image.shape[0] == 0 or tuple(image.shape[1:]) != (3, size, size):
            raise ShapeError(f"The discriminator was given {tuple(image.shape)}; it needs (B, 3, {size}, {size}).")
        x = self.blocks(scaled_leaky_relu(self.from_rgb(image)))
        x = scaled_leaky_relu(self.conv(minibatch_stddev(x)))
        return self.head(x.flatten(1))
