"""Compares the detail that the degraded picture still shows, weighted by how much of it that is."""

import torch
from torch import Tensor

from memgan.training.losses.texture import FLOOR, pooled, split

LEVELS = 4
"""Bands that are compared, each an octave below the one before; the first is the picture's finest."""
MIN_SIDE_PX = 61
"""Shortest side of which the last band still has a pixel."""


def known_detail_distance(restored: Tensor, target: Tensor, degraded: Tensor) -> Tensor:
    """How much of the detail that the degraded picture shows is missing or elsewhere; scalar float32, 0 for none.

    Detail that a picture no longer shows has to be made up, and a loss that compares it pixel by pixel blurs it. Detail
    that it does show is that person's own, and making up another is a fault. Which is which differs between faces,
    bands and places. Where a band of the degraded picture correlates with the truth's, weaker or not, a network can
    know it: the squared correlation, taken square by square, is the share of the band that a gain would explain. The
    difference from the truth, relative to the truth's amplitude there, counts by that share.

    Args:
        restored, target, degraded: (B, C, H, W) in [-1, 1], the same part of the picture, sides of at least
            :data:`MIN_SIDE_PX`.

    Returns:
        mean over bands and squares of share times relative difference.
    """
    found, wanted, given = (image.float().contiguous() for image in (restored, target, degraded))
    total = found.new_zeros(())
    for _ in range(LEVELS):
        (band, found), (true_band, wanted), (given_band, given) = split(found), split(wanted), split(given)
        share, amplitude = _known(given_band, true_band)
        difference = pooled((band - true_band).abs()).mean(1, keepdim=True)
        total = total + (share * difference / amplitude).mean()
    return total / LEVELS


@torch.no_grad()
def _known(band: Tensor, true_band: Tensor) -> tuple[Tensor, Tensor]:
    """Squared correlation with the true band over the channels of every square, 0 to 1, and that band's amplitude."""
    cross, power, true_power = (
        pooled(product).mean(1, keepdim=True) for product in (band * true_band, band.square(), true_band.square())
    )
    share = cross.clamp_min(0).square() / ((power + FLOOR**2) * (true_power + FLOOR**2))
    return share, true_power.sqrt() + FLOOR
