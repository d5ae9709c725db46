"""Pools the features of a classification network over whole pictures of any size, for distances of sets."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.errors import ShapeError

INPUT_PX = 224
"""Side of the pictures that these networks are trained on."""


def pooled_features(image: Tensor, last_map: Callable[[Tensor], Tensor]) -> Tensor:
    """Resize pictures to 224 px (bicubic, anti-aliased) and average a map over space; float32, autocast off.

    Args:
        image: (B, 3, H, W) RGB in [-1, 1], any size.
        last_map: (B, 3, 224, 224) float32 pictures, slightly beyond [-1, 1] at edges -> (B, D, h, w).

    Returns:
        (B, D).

    Raises:
        ShapeError: if the shape is not of that form.
    """
    if image.dim() != 4 or image.shape[1] != 3:
        raise ShapeError(f"The pictures have shape {tuple(image.shape)}; needed: (B, 3, H, W).")
    with torch.autocast(image.device.type, enabled=False):
        x = image.float()
        if x.shape[-2:] != (INPUT_PX, INPUT_PX):
            x = F.interpolate(x, (INPUT_PX, INPUT_PX), mode="bicubic", antialias=True, align_corners=False)
        return last_map(x).mean((2, 3))
