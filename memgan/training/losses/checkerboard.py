"""Measures the grids that up-sampling leaves: errors that repeat every few pixels although the faces do not."""

import torch.nn.functional as F
from torch import Tensor

PERIODS = (4, 8, 16)
"""Pixels after which grids repeat; those of 2 px repeat after 4 too. Doubling 32 px features to 512 px leaves 16."""
CELLS = 4
"""Side, in periods, of the squares within which the strength of a grid may differ: edges show it, flat parts do not."""


def checkerboard_distance(restored: Tensor, target: Tensor) -> Tensor:
    """How far the errors depend on a pixel's place in a grid of 4, 8 or 16 px; scalar float32, 0 for none.

    A network that doubles its features' sides can treat the pixels that come of one feature differently. The pattern is
    a level or two strong, which no other loss minds, but it lies over the whole picture and is seen in dark hair. It is
    the same in all cells, while the other errors differ: averaged over the cells of a block only the pattern is left.

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
