"""Compares fine detail, band by band: its statistics, and the part of it that the degraded picture still shows."""

import torch
import torch.nn.functional as F
from torch import Tensor

TEXTURE_BANDS = 3
"""Bands whose statistics are compared, each an octave below the one before; the first is the picture's finest."""
TEXTURE_MIN_PX = 37
"""Shortest side of which the last of them still has pixels with neighbors."""
KNOWN_BANDS = 4
"""Bands of which the known part is compared."""
KNOWN_MIN_PX = 61
"""Shortest side of which the last of them still has a pixel."""
CELL_PX = 16
"""Side, in pixels of the band, of the squares whose statistics are taken; they overlap by half."""
FLOOR = 1.0 / 127.5
"""Amplitude, of one level of 255, below which detail is as good as none."""
_NEIGHBORS = ((0, 1), (1, 0), (1, 1), (1, -1))


def texture_distance(restored: Tensor, target: Tensor) -> Tensor:
    """How far the local statistics of detail are from the truth's; scalar float32, 0 for the same.

    In squares of every band the amplitude (its logarithm, so that faint skin counts like strong hair) and the
    correlation of neighbors in four directions are compared, much as in texture synthesis (Portilla and Simoncelli,
    2000).

    Args:
        restored, target: (B, C, H, W) in [-1, 1], sides of at least :data:`TEXTURE_MIN_PX`.

    Returns:
        mean difference of the logarithm of amplitudes plus that of the correlations, averaged over the bands.
    """
    found, wanted = restored.float().contiguous(), target.float().contiguous()  # bands are taken plane by plane
    total = found.new_zeros(())
    for _ in range(TEXTURE_BANDS):
        (band, found), (true_band, wanted) = _split(found), _split(wanted)
        (amplitude, correlation), (true_amplitude, true_correlation) = _statistics(band), _statistics(true_band)
        total = total + (amplitude - true_amplitude).abs().mean() + (correlation - true_correlation).abs().mean()
    return total / TEXTURE_BANDS


def known_detail_distance(restored: Tensor, target: Tensor, degraded: Tensor) -> Tensor:
    """How much of the detail that the degraded picture shows is missing or elsewhere; scalar float32, 0 for none.

    The squared correlation of degraded and true band, taken square by square, is the share of the band that a gain
    would explain. The difference from the truth, relative to the truth's amplitude there, counts by that share.

    Args:
        restored, target, degraded: (B, C, H, W) in [-1, 1], the same area of the picture, sides of at least
            :data:`KNOWN_MIN_PX`.

    Returns:
        mean over bands and squares of share times relative difference.
    """
    found, wanted, given = (image.float().contiguous() for image in (restored, target, degraded))
    total = found.new_zeros(())
    for _ in range(KNOWN_BANDS):
        (band, found), (true_band, wanted), (given_band, given) = _split(found), _split(wanted), _split(given)
        share, amplitude = _known(given_band, true_band)
        difference = _pooled((band - true_band).abs()).mean(1, keepdim=True)
        total = total + (share * difference / amplitude).mean()
    return total / KNOWN_BANDS


def _split(image: Tensor) -> tuple[Tensor, Tensor]:
    """The finest band of (B, C, H, W), two pixels less at every edge, and what is left below it at half the side."""
    smooth = image
    # A binomial filter as means over 2 x 2 pixels, four times: convolutions of a single channel take several times as
    # long, on a GPU twenty times, and would follow autocast, whose rounding is as large as faint skin.
    for _ in range(4):
        smooth = F.avg_pool2d(smooth, 2, 1)
    return image[..., 2:-2, 2:-2] - smooth, smooth[..., ::2, ::2]


def _statistics(band: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithm of a band's amplitude and correlations of its neighbors, by square."""
    center = band[..., 1:-1, 1:-1]
    height, width = center.shape[-2:]
    power = _pooled(center.square()) + FLOOR**2
    products = [
        _pooled(center * band[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]) / power
        for down, right in _NEIGHBORS
    ]
    return power.log() / 2, torch.cat(products, 1)


@torch.no_grad()
def _known(band: Tensor, true_band: Tensor) -> tuple[Tensor, Tensor]:
    """Squared correlation with the true band over the channels of every square, 0 to 1, and that band's amplitude."""
    cross, power, true_power = (
        _pooled(product).mean(1, keepdim=True) for product in (band * true_band, band.square(), true_band.square())
    )
    share = cross.clamp_min(0).square() / ((power + FLOOR**2) * (true_power + FLOOR**2))
    return share, true_power.sqrt() + FLOOR


def _pooled(values: Tensor) -> Tensor:
    """Means over squares of :data:`CELL_PX`, or as large as there is room for."""
    side = min(CELL_PX, *values.shape[-2:])
    return F.avg_pool2d(values, side, max(side // 2, 1))
