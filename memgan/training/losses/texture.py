"""Compares the statistics of fine detail: how much there is in a spot and which way it runs, not where it lies."""

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = 3
"""Bands that are compared, each an octave below the one before; the first is the picture's finest."""
CELL_PX = 16
"""Side, in pixels of the band, of the squares whose statistics are taken; they overlap by half."""
FLOOR = 1.0 / 127.5
"""Amplitude, of one level of 255, below which detail is as good as none."""
MIN_SIDE_PX = 37
"""Shortest side of which the last band still has pixels with neighbors."""
_NEIGHBORS = ((0, 1), (1, 0), (1, 1), (1, -1))


def texture_distance(restored: Tensor, target: Tensor) -> Tensor:
    """How far the local statistics of detail are from the truth's; scalar float32, 0 for the same.

    Skin, hair and grain cannot be foretold pixel by pixel from a blurred picture. Every loss that compares pixels, or
    features near to them, is then least for their mean, which is smooth. Statistics can be foretold: in squares of
    every band the amplitude (its logarithm, so that faint skin counts like strong hair) and the correlation of
    neighbors in four directions are compared, much as in texture synthesis (Portilla and Simoncelli, 2000; patchwise,
    with features, Sajjadi et al., EnhanceNet, 2017).

    Args:
        restored, target: (B, C, H, W) in [-1, 1], sides of at least :data:`MIN_SIDE_PX`.

    Returns:
        mean difference of the logarithm of amplitudes plus that of the correlations, averaged over the bands.
    """
    found, wanted = restored.float().contiguous(), target.float().contiguous()  # bands are taken plane by plane
    total = found.new_zeros(())
    for _ in range(LEVELS):
        (band, found), (true_band, wanted) = split(found), split(wanted)
        (amplitude, correlation), (true_amplitude, true_correlation) = _statistics(band), _statistics(true_band)
        total = total + (amplitude - true_amplitude).abs().mean() + (correlation - true_correlation).abs().mean()
    return total / LEVELS


def split(image: Tensor) -> tuple[Tensor, Tensor]:
    """The finest band of (B, C, H, W), two pixels less at every edge, and what is left below it at half the side."""
    smooth = _smoothed(image)
    return image[..., 2:-2, 2:-2] - smooth, smooth[..., ::2, ::2]


def _statistics(band: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of a band's amplitude and correlations of its neighbors, by square."""
    center = band[..., 1:-1, 1:-1]
    height, width = center.shape[-2:]
    power = pooled(center.square()) + FLOOR**2
    products = [
        pooled(center * band[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]) / power
        for down, right in _NEIGHBORS
    ]
    return power.log() / 2, torch.cat(products, 1)


def pooled(values: Tensor) -> Tensor:
    """Means over squares of :data:`CELL_PX`, or as large as there is room for."""
    side = min(CELL_PX, *values.shape[-2:])
    return F.avg_pool2d(values, side, max(side // 2, 1))


def _smoothed(image: Tensor) -> Tensor:
    """Binomial filter of five taps in both directions; two pixels less at every edge."""
    # Means over 2 x 2 pixels, four times: convolutions of a single channel take several times as long, on a GPU twenty
    # times, and would follow autocast, whose rounding is as large as faint skin.
    for _ in range(4):
        image = F.avg_pool2d(image, 2, 1)
    return image
