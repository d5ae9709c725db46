"""A tiny weight file for the tests of finding, reading and writing weights."""

from pathlib import Path

import torch

from memgan import checkpoint
from memgan.config import MemGANConfig

CONFIG = MemGANConfig(name="tiny", image_size=16, channel_base=64, channel_max=8, style_dim=8, latent_layers=2)


def tiny_state() -> dict[str, torch.Tensor]:
    """Tensors of several kinds; no network has them."""
    generator = torch.Generator().manual_seed(0)
    return {
        "convolution.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "convolution.bias": torch.randn(4, generator=generator),
        "memory.count": torch.arange(5),
    }


def write(folder: Path) -> Path:
    """Write ``tiny.safetensors`` into ``folder``."""
    return checkpoint.save(folder / "tiny.safetensors", CONFIG, tiny_state(), {"licence": "none", "steps": "3"})
