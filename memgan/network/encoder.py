"""Encodes the degraded image into features at every scale (Fig. 1a)."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from memgan.network.config import MemGANConfig

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
