"""Puts other photographs behind faces: near or far, mostly out of focus, often dark."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from memgan.degradation.eq14 import gaussian_blur
from memgan.degradation.random_draw import RandomDraw
from memgan.training.data.cut_out import cut_out, resized

_ZOOM = (0.6, 2.5)
_DEFOCUSED = 0.8
_DEFOCUS_PX = (2.0, 25.0)
"""Standard deviation of the blur, for pictures of 512 px."""
_EXPOSURE = (0.05, 1.3)


def swap_backgrounds(
    images: Tensor, another: Callable[[], Tensor], random: torch.Generator, people: Tensor | None = None
) -> Tensor:
    """Put other photographs behind aligned faces.

    Portraits mostly stand before plain walls or gardens; a network that saw nothing else draws hair and leaves into
    dark rooms and crowds. The person is cut out, the rest becomes a part of another photograph or a few of these side
    by side, mostly out of focus, darker or lighter. What the cut misses of hair, hats and hands is lost, in the picture
    to aim at as well: the degradation comes afterwards.

    Args:
        images: (B, 3, S, S) RGB in [-1, 1], faces aligned to FFHQ's template, any float dtype.
        another: gives a photograph, (3, S, S) in [-1, 1], at every call any.
        random: source of the draws, on the CPU.
        people: (B, S, S) float32 on the same device, where the persons are (1); ``None``: by
            :func:`memgan.training.data.cut_out.cut_out`.

    Returns:
        (B, 3, S, S) in [-1, 1], dtype and device of ``images``.
    """
    if people is None:
        people = cut_out(images)
    out, draw, side = torch.empty_like(images), RandomDraw(random), images.shape[-1]
    for index, (image, person) in enumerate(zip(images, people, strict=True)):
        behind = _scene(another, side, draw).to(image.device)
        if draw.bernoulli(_DEFOCUSED):
            behind = gaussian_blur(behind, draw.log_uniform(*_DEFOCUS_PX) * side / 512)
        behind = (behind + 1) * draw.log_uniform(*_EXPOSURE) - 1
        out[index] = torch.lerp(behind.clamp(-1, 1), image.float(), person)
    return out


def _scene(another: Callable[[], Tensor], side: int, draw: RandomDraw) -> Tensor:
    """(3, side, side) float32: a random part of a photograph, or of a wall of smaller ones."""
    tile = round(side * draw.log_uniform(*_ZOOM))
    count = math.ceil(side / tile)
    rows = [torch.cat([resized(another()[None], tile)[0] for _ in range(count)], -1) for _ in range(count)]
    wall = torch.cat(rows, -2)
    spare = wall.shape[-1] - side
    top, left = draw.integer(0, spare), draw.integer(0, spare)
    return wall[:, top : top + side, left : left + side]
