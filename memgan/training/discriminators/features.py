"""Tells real from restored pictures by features that a fixed network learned from millions of photographs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from memgan.errors import ConfigError, ShapeError
from memgan.training.sync import average_

GRID = 8
"""Logits per side of a picture: one for each of the squares of this grid and each tap."""
_MOMENTUM = 0.01
_SLOPE = 0.2


class FeatureDiscriminator(nn.Module):
    """Tells real faces from restored ones by the taps of a fixed network (Projected GANs, Sauer et al., 2021).

    A discriminator of pictures has to learn first what edges and hair are, for which small batches give it no time. The
    taps know; three layers on each, with spectral normalization in place of the R1 penalty, learn within tens of steps
    what is missing in them. They cost next to nothing, as the perceptual loss has computed the taps already.

    Args:
        widths: channels of the taps, shallow to deep.
        hidden: channels of the layers on every tap.

    Raises:
        ConfigError: without taps, or if a width is below 1.
    """

    square: Tensor
    """Running mean square of the taps of real faces; taps differ in size by orders of magnitude."""

    def __init__(self, widths: Sequence[int], *, hidden: int = 64) -> None:
        super().__init__()
        if not widths or min(*widths, hidden) < 1:
            raise ConfigError(f"widths is {tuple(widths)}, hidden is {hidden}; needed: taps, all widths at least 1.")
        self.widths = tuple(widths)
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(width, hidden, 1)),
                nn.LeakyReLU(_SLOPE),
                spectral_norm(nn.Conv2d(hidden, hidden, 3, padding=1)),
                nn.LeakyReLU(_SLOPE),
                spectral_norm(nn.Conv2d(hidden, 1, 1)),
            )
            for width in self.widths
        )
        self.gain = nn.Parameter(torch.ones(len(self.widths)))
        self.register_buffer("square", torch.zeros(len(self.widths)))

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Judge pictures.

        Args:
            taps: (B, C, h, w) each, with the C that were given.

        Returns:
            (B, T, G, G) float32 logits by tap and square of what the tap saw, above zero for real; G is :data:`GRID`.
            Of coarser taps a judgment stands in all squares that it is about, so that taps weigh alike.

        Raises:
            ShapeError: for other taps.
        """
        if [tap.shape[1] for tap in taps if tap.dim() == 4] != list(self.widths):
            shapes = [tuple(tap.shape) for tap in taps]
            raise ShapeError(f"The taps have shapes {shapes}; needed: (B, C, h, w) with C of {self.widths}.")
        scale = (self.square + 1e-8).rsqrt()
        logits = [
            F.adaptive_avg_pool2d(head(tap * factor.to(tap.dtype)).float(), GRID) * gain
            for head, tap, factor, gain in zip(self.heads, taps, scale, self.gain, strict=True)
        ]
        return torch.cat(logits, 1)

    @torch.no_grad()
    def observe_(self, taps: Sequence[Tensor]) -> None:
        """Let the scale of the taps follow those of real faces; call it once a step, before judging."""
        square = average_(torch.stack([tap.float().square().mean() for tap in taps]))
        self.square.copy_(torch.where(self.square == 0, square, self.square.lerp(square, _MOMENTUM)))
