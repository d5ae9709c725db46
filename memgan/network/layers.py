"""Provides StyleGAN2's layers in plain torch: FIR resampling, modulated convolution, equalized learning rates.

Samples outside the image count as zero. Every function keeps the input's dtype and can be differentiated twice.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FIR_TAPS = (0.125, 0.375, 0.375, 0.125)
"""The separable low-pass filter; its taps sum to one."""
_DEMODULATION_EPS = 1e-8


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2), which keeps the variance of a normally distributed input."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def pixel_norm(x: Tensor) -> Tensor:
    """(B, C, ...) divided by the root mean square over C, which is computed in float32 at least."""
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-8)).to(x.dtype)


def fir_filter(x: Tensor, padding: int, *, stride: int = 1, gain: float = 1.0) -> Tensor:
    """Filter every channel of (B, C, H, W) with the 4x4 low-pass kernel, of unit gain times ``gain``."""
    channels = int(x.shape[1])  # a plain number also while a graph is traced: ONNX wants kernels of known shape
    taps = torch.tensor(FIR_TAPS, dtype=x.dtype, device=x.device)
    kernel = (taps[:, None] * taps * gain).expand(channels, 1, 4, 4)
    return F.conv2d(x, kernel, stride=stride, padding=padding, groups=channels)


def upsample_2x(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, 2H, 2W): zero insertion, then the FIR filter with gain 4.

    Its polyphase form is the bilinear kernel (0.75, 0.25), so torch's own interpolation computes it; one ring of
    zeros around the input replaces the repeated border that interpolation would use.
    """
    doubled = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False)
    return doubled[:, :, 2:-2, 2:-2]


def conv2d_up(x: Tensor, weight: Tensor) -> Tensor:
    """Transposed convolution of stride 2, then the FIR filter: (B, I, H, W), (O, I, 3, 3) -> (B, O, 2H, 2W).

    Input pixel (i, j) adds ``weight[..., a, b]`` at (2i + a, 2j + b) before the filter.
    """
    return fir_filter(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), 1, gain=4.0)


def conv2d_down(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The FIR filter, then a convolution of stride 2: (B, I, H, W), (O, I, k, k) -> (B, O, H/2, W/2).

    Sides are even; k is 1 or 3.
    """
    if weight.shape[-1] == 1:  # filter and subsample first: a quarter of the work for the same numbers
        return F.conv2d(fir_filter(x, 1, stride=2), weight, bias)
    return F.conv2d(fir_filter(x, 2), weight, bias, stride=2)


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, up: bool = False) -> Tensor:
    """Convolution whose weights are scaled per sample and input channel by a style.

    The scale is applied to the activations before, and its normalization to the outputs after one ordinary
    convolution. That gives the numbers of per-sample weights (up to rounding) without a grouped convolution.

    Args:
        x: (B, I, H, W), any float dtype.
        weight: (O, I, k, k), odd k, with the equalized learning rate already applied; k = 3 if ``up``.
        style: (B, I) scales.
        demodulate: divide each output channel by the norm of its modulated weights.
        up: double both sides with :func:`conv2d_up`.

    Returns:
        (B, O, H, W), or (B, O, 2H, 2W) if ``up``.
    """
    norm = None
    if demodulate:
        # The norm is computed in float32 at least and outside autocast. Dividing the style by its largest magnitude
        # keeps half-precision activations in range and cancels exactly against the norm.
        with torch.autocast(x.device.type, enabled=False):
            style = style.to(torch.promote_types(style.dtype, torch.float32))
            peak = style.detach().abs().amax(1, keepdim=True).clamp_min(1e-8)
            style = style / peak
            power = F.linear(style.square(), weight.to(style.dtype).square().sum((2, 3)))
            norm = torch.rsqrt(power + _DEMODULATION_EPS / peak.square())[:, :, None, None]
    x = x * style.to(x.dtype)[:, :, None, None]
    half = int(weight.shape[-1]) // 2  # int: in a trace, older torch gives sizes as tensors
    y = conv2d_up(x, weight) if up else F.conv2d(x, weight, padding=half)
    return y if norm is None else y * norm.to(y.dtype)


class ScaledLeakyReLU(nn.Module):
    """Module form of :func:`scaled_leaky_relu`."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        return scaled_leaky_relu(x)


class EqualLinear(nn.Module):
    """Fully connected layer with an equalized learning rate: weights of unit variance, scaled by their fan-in."""

    def __init__(self, in_dim: int, out_dim: int, *, bias_init: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim))
        self.bias = nn.Parameter(torch.full((out_dim,), bias_init))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_dim) to (..., out_dim)."""
        return F.linear(x, self.weight * (1 / math.sqrt(self.weight.shape[1])), self.bias)


class EqualConv2d(nn.Module):
    """Convolution with an equalized learning rate, "same" padding and an odd kernel.

    Args:
        in_channels, out_channels, kernel_size, bias: as of ``nn.Conv2d``.
        down: halve both sides with FIR filtering; ``kernel_size`` is 1 or 3 then.
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
