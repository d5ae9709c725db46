"""Layers with an equalized learning rate: weights of unit variance, scaled by their fan-in when used."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        bias: whether an offset is added.
        bias_init: its initial effective value.
        lr_mul: factor on the learning rate of weight and bias (the initial function does not depend on it).
    """

    def __init__(
        self, in_dim: int, out_dim: int, *, bias: bool = True, bias_init: float = 0.0, lr_mul: float = 1.0
    ) -> None:
        super().__init__()
        self.lr_mul = lr_mul
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_dim,), bias_init / lr_mul)) if bias else None

    @property
    def scale(self) -> float:
        """Factor from the stored to the effective weight."""
        return self.lr_mul / math.sqrt(self.weight.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_dim) to (..., out_dim)."""
        bias = self.bias
        if bias is not None and self.lr_mul != 1:
            bias = bias * self.lr_mul
        return F.linear(x, self.weight * self.scale, bias)


class EqualConv2d(nn.Module):
    """Convolution with an equalized learning rate and "same" padding.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        kernel_size: odd side of the kernel.
        bias: whether an offset is added.
        stride: step of a plain strided convolution.
        groups: groups of channels; ``in_channels`` makes it depthwise.
        down: halve both sides with FIR filtering (then ``stride`` and ``groups`` stay 1 and the kernel 1 or 3).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        bias: bool = True,
        stride: int = 1,
        groups: int = 1,
        down: bool = False,
    ) -> None:
        super().__init__()
        self.stride, self.groups, self.down = stride, groups, down
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels // groups, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    @property
    def scale(self) -> float:
        """Factor from the stored to the effective weight."""
        return 1 / math.sqrt(self.weight[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) to (B, out_channels, H/s, W/s) with s = 2 if ``down``, else the stride."""
        weight = self.weight * self.scale
        if self.down:
            return conv2d_down(x, weight, self.bias)
        return F.conv2d(x, weight, self.bias, self.stride, weight.shape[-1] // 2, groups=self.groups)
