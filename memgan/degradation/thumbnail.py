"""Degrades a picture to a small copy, sharpened, compressed and enlarged again, as cameras and web pages do."""

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.degradation.eq14 import gaussian_blur
from memgan.degradation.jpeg import Codec, compress


@dataclasses.dataclass(frozen=True)
class Thumbnail:
    """Settings of one copy."""

    factor: float
    """How many times smaller, at least 1."""
    noise_sigma: float
    """Standard deviation of the camera's noise, in 8-bit levels of the small copy."""
    sharpening: float
    """Amount of unsharp masking: the share of the detail above the blur that is added; 0: none."""
    sharpening_sigma: float
    """Standard deviation of that blur, in pixels of the small copy."""
    jpeg_quality: int
    """1 to 100."""


@torch.no_grad()
def thumbnail(levels: Tensor, settings: Thumbnail, noise: torch.Generator, codec: Codec) -> Tensor:
    """Downsample by cubic interpolation, add noise, sharpen, compress, upsample by cubic interpolation.

    Unlike Eq. 14 this leaves halos along edges, from sharpening and cubic interpolation, and sharpened noise and JPEG
    blocks.

    Args:
        levels: (3, H, W) float32 in [0, 255].
        settings: see :class:`Thumbnail`.
        noise: source of the noise, on the device of ``levels``.
        codec: ``real`` or ``simulated``.

    Returns:
        (3, H, W), integers in [0, 255].
    """
    size = list(levels.shape[-2:])
    small = _cubic(levels, [max(8, round(side / settings.factor)) for side in size])
    small = small + settings.noise_sigma * torch.randn(small.shape, generator=noise, device=small.device)
    small = small + settings.sharpening * (small - gaussian_blur(small, settings.sharpening_sigma))
    small = compress(small.clamp(0, 255).round(), settings.jpeg_quality, codec)
    return _cubic(small, size).clamp(0, 255).round()


def _cubic(levels: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(levels[None], size=size, mode="bicubic", align_corners=False, antialias=True)[0]
