"""Compares who two faces show, by a network for recognition."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from memgan.errors import ConfigError, WeightsError, WeightsNotFoundError, brief
from memgan.evaluation.metrics.identity import square_cut
from memgan.training.window import Area

SIDE_PX = 112
"""Side of the faces that networks of the ArcFace kind take."""
_BOX = (0.1266, 0.1194, 0.7489)
"""Left, top and side of ArcFace's template in a face aligned to FFHQ's, as shares of its side: the similarity that maps
the five points of the one onto those of the other turns by less than 0.01 degrees."""
_SHIFT = 0.01
"""Largest random shift of that box, as a share of the picture's side."""


class IdentityLoss(nn.Module):
    """Distance of two faces' directions in a recognition network's space; 0 for the same, at most 2.

    Args:
        network: (B, 3, 112, 112) RGB in [-1, 1], aligned to ArcFace's template -> (B, D). It is frozen.
    """

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        if isinstance(network, nn.Module):
            network.requires_grad_(False)

    def forward(self, restored: Tensor, area: Area, clean: Tensor, random: torch.Generator) -> Tensor:
        """Mean distance of clean faces and the same faces with an area restored; scalar float32.

        Args:
            restored, area: (B, 3, h, w) in [-1, 1], which gradients reach, and its place in the picture.
            clean: (B, 3, S, S) in [-1, 1].
            random: draws a shift and a mirroring, alike for both, so that no single pixel can be played upon.
        """
        shift = [(2 * float(part) - 1) * _SHIFT for part in torch.rand(2, generator=random)]
        mirrored = bool(torch.rand((), generator=random) < 0.5)

        def direction(image: Tensor) -> Tensor:
            face = arcface_chip(image, *shift)
            return F.normalize(self.network(face.flip(-1) if mirrored else face).float(), dim=1)

        with torch.no_grad():  # half of the network's work backwards
            wanted = direction(clean.float())
        found = direction(area.pasted(clean, restored))
        # The square root has no finite slope at zero.
        return ((found - wanted).square().sum(1) + 1e-6).sqrt().mean()


def arcface_chip(image: Tensor, right: float = 0.0, down: float = 0.0) -> Tensor:
    """Faces aligned to FFHQ's template, (B, 3, S, S), cut to ArcFace's: (B, 3, 112, 112).

    ``right`` and ``down`` shift the cut by shares of S, up to 0.1.
    """
    left, top, side = _BOX
    return square_cut(image, (left + right, top + down, side), SIDE_PX)


def identity_network(path: Path, device: torch.device | None = None) -> nn.Module:
    """A recognition network that was written by :func:`torch.export.save`, for batches of any size.

    Such a file may hold pickled objects, which torch runs when it reads them: give only a file that you made yourself
    or whose origin you trust. No other file of memgan can run code.

    ``device`` is where it is needed; ``None``: where it was exported.

    Raises:
        WeightsNotFoundError, WeightsError: if the file is missing or cannot be read.
        ConfigError: if the network does not take (B, 3, 112, 112).
    """
    if not path.is_file():
        raise WeightsNotFoundError(f"There is no identity network {path}; give the path of an existing file.")
    try:
        program = torch.export.load(path)
        # A program names its own device also where it makes or checks tensors.
        network = (program if device is None else move_to_device_pass(program, str(device))).module()
    except Exception as error:  # the reader has a dozen of its own
        raise WeightsError(
            f"{path} is no readable network ({brief(error)}); write it with "
            "torch.export.save(torch.export.export(...))."
        ) from error
    try:
        with torch.no_grad():
            shape = tuple(network(torch.zeros(3, 3, SIDE_PX, SIDE_PX, device=device)).shape)
    except Exception as error:
        raise ConfigError(
            f"The identity network {path} does not take faces of (3, 3, {SIDE_PX}, {SIDE_PX}): "
            f"{brief(error)}. Export it with a dynamic batch size."
        ) from error
    if len(shape) != 2 or shape[0] != 3:
        raise ConfigError(f"The identity network {path} gave {shape} for three faces; needed: (3, D).")
    return network
