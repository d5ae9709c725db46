"""Compares pixels (Eq. 9), and the grids that up-sampling leaves in them."""

import torch.nn.functional as F
from torch import Tensor

from memgan.errors import ShapeError

PERIODS = (4, 8, 16)
"""Pixels after which grids repeat; those of 2 px repeat after 4 too. Doubling 32 px features to 512 px leaves 16."""
CELLS = 4
"""Side, in periods, of the squares within which the strength of a grid may differ: edges show it, flat parts do not."""
_MIN_SIDE_PX = 32
_TINY = 1e-8  # the root of zero has no gradient


def check_images(a: Tensor, b: Tensor) -> None:
    """Raise :class:`ShapeError` unless both are the same (B, 3, H, W) with sides of at least 32 px."""
    if a.shape != b.shape or a.dim() != 4 or a.shape[1] != 3 or min(a.shape[-2:]) < _MIN_SIDE_PX:
        raise ShapeError(
            f"The pictures have shapes {tuple(a.shape)} and {tuple(b.shape)}; needed: two equal (B, 3, H, W) with "
            f"sides of at least {_MIN_SIDE_PX} px."
        )


def l1_loss(restored: Tensor, target: Tensor, levels: int = 1, finest: float = 1.0) -> Tensor:
    """Mean absolute difference (Eq. 9) of two (B, 3, H, W) pictures in [-1, 1]; scalar float32, 0 to 2.

    Args:
        restored, target: the pictures.
        levels: resolutions over which it is averaged: the full one, and the means over squares of 2, 4, ... px.
        finest: weight of the full resolution and of the next, relative to the others.
    """
    check_images(restored, target)
    error = restored.float() - target.float()
    total = finest * error.abs().mean()
    for level in range(1, levels):
        if min(error.shape[-2:]) > 1:
            error = F.avg_pool2d(error, 2)
        total = total + (finest if level == 1 else 1.0) * error.abs().mean()
    return total / levels


def rms_loss(restored: Tensor, target: Tensor) -> Tensor:
    """Root of each face's mean squared difference, averaged over the faces; scalar float32, 0 to 2.

    Its best answer is the mean of all faces that fit, not their median as with :func:`l1_loss`; PSNR is its logarithm.

    Args:
        restored, target: (B, 3, H, W) in [-1, 1].
    """
    check_images(restored, target)
    squares = (restored.float() - target.float()).square().flatten(1).mean(1)
    return (squares + _TINY).sqrt().mean()


def checkerboard_distance(restored: Tensor, target: Tensor) -> Tensor:
    """How far the errors depend on a pixel's place in a grid of 4, 8 or 16 px; scalar float32, 0 for none.

    Args:
        restored, target: (B, C, H, W) in [-1, 1], sides of at least 16 px; what is left of whole blocks is ignored.

    Returns:
        mean square of the blocks' average errors by place, less their mean over all places, averaged over the grids.
    """
    error = restored.float() - target.float()
    total = error.new_zeros(())
    for period in PERIODS:
        height, width = (side // period * period for side in error.shape[-2:])
        cells = F.pixel_unshuffle(error[..., :height, :width], period)
        side = tuple(min(CELLS, count) for count in cells.shape[-2:])
        places = F.avg_pool2d(cells, side).unflatten(1, (-1, period**2))
        total = total + (places - places.mean(2, keepdim=True)).square().mean()
    return total / len(PERIODS)
