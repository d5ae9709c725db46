"""Cuts a prior of smaller pictures out of a large one, for experiments that a small computer can repeat."""

import dataclasses
import re

import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.network.config import MemGANConfig
from memgan.training.data.clean_faces import PriorFaces

FITTED_FACES = 12
"""Faces on which the new head is fitted."""
_LEVEL = re.compile(r"synthesis\.layers\.(\d+)\.")


def smaller_prior(config: MemGANConfig, prior: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep a mobile prior's levels up to a smaller size, with a new head that shows its pictures at that size.

    The prior draws its picture from its last level only. What the levels below know of it is a linear function of their
    features, fitted by least squares to the prior's own pictures, shrunk.

    Returns:
        tensors of the same names for ``config``; ``prior`` itself if it is not larger, or of another family.
    """
    levels = [int(found[1]) for key in prior if (found := _LEVEL.match(key)) is not None]
    full_size = 8 << max(levels, default=0)
    if config.family != "mobile" or config.image_size >= full_size:
        return prior
    full = dataclasses.replace(config, image_size=full_size, encoder_channels=None, encoder_blocks=None)
    weight, bias = _fitted_head(PriorFaces(full, prior), config.image_size)
    last = config.scales.index(config.image_size) - 1
    head = f"synthesis.layers.{last}.to_img.conv.modulation"
    kept = {
        key: value
        for key, value in prior.items()
        if not key.startswith("synthesis.img.")
        and ".to_img." not in key
        and ((found := _LEVEL.match(key)) is None or int(found[1]) <= last)
    }
    channels = weight.shape[1]
    # The generator takes the first three channels, halved, and scales the features by 1 / sqrt(C) before.
    return kept | {
        f"{head}.weight": torch.zeros(channels, config.style_dim),
        f"{head}.bias": torch.ones(channels),
        "synthesis.img.w": 2 * channels**0.5 * weight[:, :, None, None],
        "synthesis.img.bias": 2 * bias,
    }


@torch.no_grad()
def _fitted_head(faces: PriorFaces, size: int) -> tuple[Tensor, Tensor]:
    """Least-squares weight (3, C) and bias (3,) from the features at ``size`` to the pictures, shrunk to it."""
    generator = torch.Generator().manual_seed(0)
    gram, product = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for _ in range(FITTED_FACES):
        image, latent = faces.draw(1, generator)
        found = faces.features(latent, size)[size].float()
        rows = F.pad(found.permute(0, 2, 3, 1).flatten(0, 2), (0, 1), value=1.0).double()
        wanted = F.interpolate(image, (size, size), mode="area").permute(0, 2, 3, 1).flatten(0, 2).double()
        gram, product = gram + rows.T @ rows, product + rows.T @ wanted
    gram = gram + 1e-9 * gram.diagonal().diag()  # solvable whatever the features are
    solution = torch.linalg.solve(gram, product).float().T
    return solution[:, :-1].contiguous(), solution[:, -1].contiguous()
