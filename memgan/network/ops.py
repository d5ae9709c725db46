"""Computes what several networks share: FIR resampling and the modulated convolution, in plain torch.

All resampling uses the low-pass filter [1, 3, 3, 1] (outer product, unit gain), as StyleGAN2 does. Samples outside the
image count as zero. Every function keeps the input's dtype, works for any even or odd side unless stated otherwise,
and can be differentiated twice.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

FIR_TAPS = (0.125, 0.375, 0.375, 0.125)
"""The separable low-pass filter; its taps sum to one."""

_DEMODULATION_EPS = 1e-8


def scaled_leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU of slope 0.2 times sqrt(2), which keeps the variance of a normally distributed input."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def pixel_norm(x: Tensor) -> Tensor:
    """Divide by the root mean square over dimension 1.

    Args:
        x: (B, C, ...), any float dtype; the mean is taken in float32 at least.
    """
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-8)).to(x.dtype)


def fir_filter(x: Tensor, padding: tuple[int, int], *, stride: int = 1, gain: float = 1.0) -> Tensor:
    """Filter every channel with the 4x4 low-pass kernel.

    Args:
        x: (B, C, H, W).
        padding: zeros before and after, the same for both axes.
        stride: step between output samples in input pixels.
        gain: factor on the result (4 after zero insertion by two).

    Returns:
        (B, C, H', W') with H' = (H + sum(padding) - 4) // stride + 1, W' alike.
    """
    channels = int(x.shape[1])  # a plain number also while a graph is traced: ONNX wants kernels of known shape
    taps = torch.tensor(FIR_TAPS, dtype=x.dtype, device=x.device)
    kernel = (taps[:, None] * taps * gain).expand(channels, 1, 4, 4)
    before, after = padding
    if before == after:
        return F.conv2d(x, kernel, stride=stride, padding=before, groups=channels)
    return F.conv2d(F.pad(x, (before, after, before, after)), kernel, stride=stride, groups=channels)


def upsample_2x(x: Tensor) -> Tensor:
    """Double both sides: zero insertion, then the FIR filter with gain 4.

    Its polyphase form is the bilinear kernel (0.75, 0.25), so torch's own interpolation computes it; one ring of
    zeros around the input replaces the repeated border that interpolation would use.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, C, 2H, 2W).
    """
    doubled = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False)
    return doubled[:, :, 2:-2, 2:-2]


def downsample_2x(x: Tensor) -> Tensor:
    """Halve both sides: the FIR filter, then every second sample.

    Args:
        x: (B, C, H, W), even sides.

    Returns:
        (B, C, H/2, W/2).
    """
    return fir_filter(x, (1, 1), stride=2)


def conv2d_up(x: Tensor, weight: Tensor) -> Tensor:
    """Transposed 3x3 convolution of stride 2, then the FIR filter (the up-sampling convolution of StyleGAN2).

    Args:
        x: (B, I, H, W).
        weight: (O, I, 3, 3); input pixel (i, j) adds ``weight[..., a, b]`` at (2i + a, 2j + b) before the filter.

    Returns:
        (B, O, 2H, 2W).
    """
    return fir_filter(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), (1, 1), gain=4.0)


def conv2d_down(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The FIR filter, then a convolution of stride 2 (the down-sampling convolution of StyleGAN2).

    Args:
        x: (B, I, H, W), even sides.
        weight: (O, I, 3, 3) or (O, I, 1, 1).
        bias: (O,) or ``None``.

    Returns:
        (B, O, H/2, W/2).
    """
    if weight.shape[-1] == 1:  # filter and subsample first: a quarter of the work for the same numbers
        return F.conv2d(downsample_2x(x), weight, bias)
    return F.conv2d(fir_filter(x, (2, 2)), weight, bias, stride=2)


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
            wide = torch.promote_types(style.dtype, torch.float32)
            scales = style.to(wide)
            peak = scales.detach().abs().amax(1, keepdim=True).clamp_min(1e-8)
            scales = scales / peak
            power = F.linear(scales.square(), weight.to(wide).square().sum((2, 3)))
            norm = torch.rsqrt(power + _DEMODULATION_EPS / peak.square())[:, :, None, None]
            style = scales
    x = x * style.to(x.dtype)[:, :, None, None]
    half = int(weight.shape[-1]) // 2  # int: in a trace, older torch gives sizes as tensors
    y = conv2d_up(x, weight) if up else F.conv2d(x, weight, padding=half)
    return y if norm is None else y * norm.to(y.dtype)
