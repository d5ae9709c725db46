"""Provides layers with an equalized learning rate: weights of unit variance, scaled by their fan-in when used."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memgan.network.ops import conv2d_down, scaled_leaky_relu


class ScaledLeakyReLU(nn.Module):
    """Module form of :func:`memgan.network.ops.scaled_leaky_relu`."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        return scaled_leaky_relu(x)


class EqualLinear(nn.Module):
    """Fully connected layer with an equalized learning rate.

    Args:
        in_dim: input width.
        out_dim: output width.
        bias_init: initial value of the offset.
    """

    def __init__(self, in_dim: int, out_dim: int, *, bias_init: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim))
        self.bias = nn.Parameter(torch.full((out_dim,), bias_init))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_dim) to (..., out_dim)."""
        return F.linear(x, self.weight * (1 / math.sqrt(self.weight.shape[1])), self.bias)


class EqualConv2d(nn.Module):
    """Convolution with an equalized learning rate and "same" padding.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        kernel_size: odd side of the kernel; 1 or 3 if ``down``.
        bias: whether an offset is added.
        down: halve both sides with FIR filtering.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True, down: bool = False
    ) -> None:
        super().__init__()
        self.down = down
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H, W), or half the sides if ``down``."""
        weight = self.weight * (1 / math.sqrt(self.weight[0].numel()))
        if self.down:
            return conv2d_down(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, padding=weight.shape[-1] // 2)
