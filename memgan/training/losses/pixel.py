"""Compares pixels (Eq. 9)."""

import torch.nn.functional as F
from torch import Tensor

from memgan.training.losses.feature_networks import check_images


def l1_loss(restored: Tensor, target: Tensor, levels: int = 1, finest: float = 1.0) -> Tensor:
    """Mean absolute difference (Eq. 9) of two (B, 3, H, W) pictures in [-1, 1]; scalar float32, 0 to 2.

    Args:
        restored, target: the pictures.
        levels: resolutions over which it is averaged: the full one, and the means over squares of 2, 4, ... px. At full
            resolution most of the difference is fine detail that nobody can foretell, and colors and shading, which
            the input shows well, hardly count; in the means they are all that is left.
        finest: weight of the full resolution and of the next, relative to the others. Below 1 the loss minds less that
            detail lies elsewhere than in the truth.
    """
    check_images(restored, target)
    error = restored.float() - target.float()
    total = finest * error.abs().mean()
    for level in range(1, levels):
        if min(error.shape[-2:]) > 1:
            error = F.avg_pool2d(error, 2)
        total = total + (finest if level == 1 else 1.0) * error.abs().mean()
    return total / levels
