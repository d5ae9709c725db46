"""Adapts the restorer to callers of GFPGAN and CodeFormer: their options, network and helper."""

from typing import Any

import torch
from torch import Tensor, nn

from memgan.errors import ConfigError
from memgan.runtime.checks import check_choice

GFPGAN_ARCHES = ("clean", "bilinear", "original", "RestoreFormer")


def check_gfpgan_options(arch: Any, channel_multiplier: Any) -> None:
    """A ConfigError for what GFPGAN itself does not know, so that a slip does not pass unseen."""
    if arch is not None:
        check_choice("arch", arch, GFPGAN_ARCHES, " (all without effect), or None")
    if channel_multiplier not in (None, 1, 2):
        raise ConfigError(f"channel_multiplier is {channel_multiplier!r}; allowed: 1, 2 (without effect), or None.")


class GFPGANNetwork(nn.Module):
    """A restorer's network with the arguments and the result that callers of GFPGAN's and CodeFormer's networks use.

    Args:
        network: takes (B, 3, S, S) RGB in [-1, 1]; its first result is the restored batch. It is not copied: moving
            this module moves it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        image: Tensor,
        *,
        return_rgb: bool = False,
        weight: float = 1.0,
        w: float | None = None,
        adain: bool = False,
    ) -> tuple[Tensor]:
        """Aligned faces, (B, 3, S, S) RGB in [-1, 1], to the restored faces alone, of the same shape.

        Args:
            return_rgb, adain: accepted because callers pass them; without effect.
            weight: strength: 1: the restoration; 0: the input; linear in between.
            w: CodeFormer's name of ``weight``; wins if given.
        """
        restored: Tensor = self.network(image)[0]
        strength = weight if w is None else w
        return (restored if strength == 1.0 else torch.lerp(image.to(restored.dtype), restored, strength),)


class FaceHelper:
    """What callers of GFPGAN touch of its helper: parts to move between devices and state to forget. There is none."""

    def __init__(self) -> None:
        self.face_det = nn.Identity()
        self.face_parse = nn.Identity()

    def clean_all(self) -> None:
        """Nothing is kept between calls."""
