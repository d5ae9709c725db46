"""Gives photographs other colors and light, so that none is strange to the network."""

import math

import torch
from torch import Tensor

from memgan.degradation.jpeg import LUMA
from memgan.degradation.random_draw import RandomDraw

_FROM_RGB = torch.tensor([LUMA, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=torch.float64)
"""Lightness and the two differences of color of ITU-T T.871."""
_ANY_HUE = 0.2
_HUE_RADIANS = 0.5
_SATURATION = (0.5, 2.0)
_CAST = 0.12
_DIMMED = 0.5
_EXPOSURE = (0.25, 1.3)
_GAMMA = (0.7, 1.3)


def jitter_colors(images: Tensor, random: torch.Generator) -> Tensor:
    """Turn the hue, change saturation, color cast, exposure and gamma, each picture's by its own draw.

    Args:
        images: (B, 3, H, W) RGB in [-1, 1], any float dtype.
        random: source of the draws, on the CPU.

    Returns:
        (B, 3, H, W) in [-1, 1], dtype and device of ``images``; values outside are clamped, as in a photograph.
    """
    out, draw = torch.empty_like(images), RandomDraw(random)
    for index, image in enumerate(images):
        hue = math.pi if draw.bernoulli(_ANY_HUE) else _HUE_RADIANS
        mix = _color_matrix(draw.uniform(-hue, hue), draw.log_uniform(*_SATURATION))
        cast = torch.tensor([math.exp(draw.uniform(-_CAST, _CAST)) for _ in range(3)], dtype=torch.float64)
        exposure = draw.log_uniform(*_EXPOSURE)
        if draw.bernoulli(_DIMMED):
            cast *= exposure
        mix = (cast[:, None] * mix).to(images.device, torch.float32)
        light = torch.einsum("ij,jhw->ihw", mix, (image.float() + 1) / 2)
        out[index] = light.clamp(0, 1).pow(draw.log_uniform(*_GAMMA)) * 2 - 1
    return out


def _color_matrix(radians: float, saturation: float) -> Tensor:
    """(3, 3): turns and scales the differences of color and leaves the lightness."""
    cos, sin = saturation * math.cos(radians), saturation * math.sin(radians)
    turn = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    return torch.linalg.solve(_FROM_RGB, turn @ _FROM_RGB)
