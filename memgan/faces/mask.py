"""Makes the soft mask: how much of the restored crop reaches the picture."""

import functools
from collections.abc import Callable

import numpy as np

MaskMaker = Callable[[np.ndarray], np.ndarray]
"""(S, S, 3) uint8 RGB restored face -> (S, S) numbers in [0, 1]: which part of it to paste."""

_ROUNDNESS = 6.0


@functools.lru_cache(maxsize=8)
def soft_mask(size_px: int = 512, feather: float = 0.2) -> np.ndarray:
    """Rounded square that is 1 in the middle and falls smoothly to 0 at the edges of the crop.

    Args:
        size_px: side S of the crop.
        feather: width of the falling part, as a share of half the side, over 0 to 1.

    Returns:
        (S, S) float32 in [0, 1], read-only; its outermost pixels are 0.
    """
    half = (size_px - 1) / 2
    position = np.abs(np.arange(size_px) - half) / half
    # The p-norm's level lines are squares with rounded corners: no corner of the crop can be seen.
    radius = np.add.outer(position**_ROUNDNESS, position**_ROUNDNESS) ** (1 / _ROUNDNESS)
    ramp = np.clip((1 - radius) / feather, 0, 1)
    mask: np.ndarray = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    mask.setflags(write=False)
    return mask
