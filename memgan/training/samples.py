"""Writes sample pictures of a run: degraded, restored and true faces side by side."""

from pathlib import Path

import torch
from torch import Tensor

from memgan.image import Picture, save_picture, to_uint8
from memgan.network.model import MemGAN


@torch.no_grad()
def write_samples(path: Path, generator: MemGAN, clean: Tensor, degraded: Tensor) -> None:
    """Write a sheet with one row per face: degraded, restored, clean.

    Args:
        path: PNG to write; its folder is made.
        generator: restores, in evaluation mode.
        clean, degraded: (B, 3, S, S) in [-1, 1].
    """
    restored = torch.cat([generator(face[None]).image for face in degraded])  # one by one: little memory
    rows = torch.cat([degraded, restored.float(), clean], dim=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(Picture(to_uint8(torch.cat(list(rows), dim=1))), path)
