"""Other colours and light for a photograph, so that none is strange to the network."""

import math

import torch
from torch import Tensor

_FROM_RGB = torch.tensor(
    [
        [0.299, 0.587, 0.114],
        [-0.168736, -0.331264, 0.5],
        [0.5, -0.418688, -0.081312],
    ],
    dtype=torch.float64,
)
"""Lightness and the two differences of colour of ITU-T T.871."""
_ANY_HUE = 0.2
_HUE_RADIANS = 0.5
_SATURATION = (0.5, 2.0)
_CAST = 0.12
_DIMMED = 0.5
_EXPOSURE = (0.4, 1.3)
_GAMMA = (0.7, 1.3)


def recolour(images: Tensor, random: torch.Generator) -> Tensor:
    """Turn the hue, change saturation, colour cast, exposure and gamma, each picture's by its own draw.

    Portraits are mostly of one light and of the colours of skin and hair; a network that saw no others pulls bright
    colours and dim rooms towards these. The same is done to a face and to what is made of it, as nobody asked for other
    colours: the degradation comes afterwards.

    Args:
        images: (B, 3, H, W) RGB in [-1, 1], any float dtype.
        random: source of the draws, on the CPU.

    Returns:
        (B, 3, H, W) in [-1, 1], dtype and device of ``images``; values outside are clamped, as in a photograph.
    """
    out = torch.empty_like(images)
    for index, image in enumerate(images):
        u = torch.rand(9, generator=random, dtype=torch.float64).tolist()
        hue = math.pi if u[0] < _ANY_HUE else _HUE_RADIANS
        mix = _colour_matrix((2 * u[1] - 1) * hue, _geometric(_SATURATION, u[2]))
        cast = torch.tensor([math.exp((2 * part - 1) * _CAST) for part in u[3:6]], dtype=torch.float64)
        exposure = _geometric(_EXPOSURE, u[6]) if u[7] < _DIMMED else 1.0
        mix = (exposure * cast[:, None] * mix).to(images.device, torch.float32)
        light = torch.einsum("ij,jhw->ihw", mix, (image.float() + 1) / 2)
        out[index] = light.clamp(0, 1).pow(_geometric(_GAMMA, u[8])) * 2 - 1
    return out


def _geometric(limits: tuple[float, float], share: float) -> float:
    low, high = limits
    return low * (high / low) ** share


def _colour_matrix(radians: float, saturation: float) -> Tensor:
    """(3, 3): turns and scales the differences of colour and leaves the lightness."""
    cos, sin = saturation * math.cos(radians), saturation * math.sin(radians)
    turn = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    return torch.linalg.solve(_FROM_RGB, turn @ _FROM_RGB)
