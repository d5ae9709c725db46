"""Fuses memorized and generated features in two ways, affine and blend (Sec. 3.3, Eq. 6-8)."""

from typing import cast

import torch
from torch import Tensor, nn

from memgan.network.config import FusionConv


class AffineFusion(nn.Module):
    """Eq. 6-7: ``s, b = conv(F^M)``, ``s * F^GAN1 + b``; starts with s = 1 and b = 0, the prior itself.

    Args:
        memory_channels: width of F^M.
        channels: width of F^GAN1.
        conv: ``dense``: a 3x3 convolution; ``separable``: 1x1, with s kept in (0, 2). The mobile prior demodulates with
            constants, so that nothing renormalizes a gain that grows from level to level.
    """

    def __init__(self, memory_channels: int, channels: int, conv: FusionConv = "dense") -> None:
        super().__init__()
        kernel = 3 if conv == "dense" else 1
        self.bounded = conv == "separable"
        self.conv = nn.Conv2d(memory_channels, 2 * channels, kernel, padding=kernel // 2)
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, memory: Tensor, features: Tensor) -> Tensor:
        """(B, C_M, H, W), (B, C, H, W) -> (B, C, H, W)."""
        scale, shift = self.conv(memory).chunk(2, dim=1)
        if self.bounded:
            scale = torch.tanh(scale)
        return torch.addcmul(features + shift, features, scale)


class BlendFusion(nn.Module):
    """Eq. 8: ``conv(concat(F^M, F^GAN2))``; starts by handing on F^GAN2 and ignoring F^M.

    Args:
        memory_channels: width of F^M.
        channels: width of F^GAN2.
        conv: ``dense``: one 3x3 convolution; ``separable``: depthwise 3x3, then 1x1.
    """

    def __init__(self, memory_channels: int, channels: int, conv: FusionConv = "dense") -> None:
        super().__init__()
        total = memory_channels + channels
        identity = torch.eye(channels)
        if conv == "dense":
            pointwise = nn.Conv2d(total, channels, 3, padding=1)
            self.conv: nn.Module = pointwise
        else:
            depthwise = nn.Conv2d(total, total, 3, padding=1, groups=total, bias=False)
            pointwise = nn.Conv2d(total, channels, 1)
            nn.init.zeros_(depthwise.weight)
            with torch.no_grad():
                depthwise.weight[:, :, 1, 1] = 1
            self.conv = nn.Sequential(depthwise, pointwise)
        for parameter in pointwise.parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad():
            center = pointwise.kernel_size[0] // 2
            pointwise.weight[:, memory_channels:, center, center] = identity

    @property
    def pointwise(self) -> nn.Conv2d:
        """The convolution that mixes channels; its inputs are F^M's, then F^GAN2's."""
        return cast("nn.Conv2d", self.conv[1] if isinstance(self.conv, nn.Sequential) else self.conv)

    @property
    def depthwise(self) -> nn.Conv2d | None:
        """The convolution before it, of each channel alone; ``None`` where both are one."""
        return cast("nn.Conv2d", self.conv[0]) if isinstance(self.conv, nn.Sequential) else None

    def forward(self, memory: Tensor, features: Tensor) -> Tensor:
        """(B, C_M, H, W), (B, C, H, W) -> (B, C, H, W)."""
        fused: Tensor = self.conv(torch.cat([memory, features], dim=1))
        return fused
