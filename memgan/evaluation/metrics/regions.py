"""Restricts metrics to a region of the picture: the face, or everything around it."""

from typing import Literal

import torch
from torch import Tensor

from memgan.degradation import gaussian_blur

Region = Literal["whole", "face", "around"]
"""The whole picture, the inside of an oval around the face, or its outside."""
_CENTER = (0.5, 0.54)
_RADII = (0.26, 0.35)
"""Right and down, as shares of the side of a picture aligned to FFHQ's template: hairline to chin, without ears."""
_SOFT = 0.01  # sigma of a composite's soft edge, as a share of the side: networks respond to a hard edge


def oval(height: int, width: int, center: tuple[float, float], radii: tuple[float, float]) -> Tensor:
    """(height, width) bool on the CPU: inside of an oval. Center and radii: right and down, as shares of the sides."""
    down = ((torch.arange(height) + 0.5) / height - center[1]) / radii[1]
    right = ((torch.arange(width) + 0.5) / width - center[0]) / radii[0]
    return down[:, None] ** 2 + right[None, :] ** 2 < 1


def region_mask(region: Region, height: int, width: int) -> Tensor:
    """(height, width) bool on the CPU: the pixels of ``face`` or ``around`` of a face aligned to FFHQ's template."""
    face = oval(height, width, _CENTER, _RADII)
    return face if region == "face" else ~face


def composite(region: Region, image: Tensor, truth: Tensor) -> Tensor:
    """Show a region of (B, 3, H, W) ``image``, and the truth elsewhere, so that nothing else differs; soft edge."""
    if region == "whole":
        return image
    face = region_mask("face", *image.shape[-2:]).to(image)
    share = gaussian_blur(face[None], _SOFT * image.shape[-1])[0]
    return torch.lerp(truth, image, share if region == "face" else 1 - share)
