"""Gives photographs other colors and light, and puts others behind the persons that it cuts out of them."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.degradation.eq14 import gaussian_blur
from memgan.degradation.jpeg import LUMA
from memgan.degradation.random_draw import RandomDraw
from memgan.evaluation.metrics.regions import oval
from memgan.image.tensors import to_uint8

_FROM_RGB = torch.tensor([LUMA, [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=torch.float64)
"""Lightness and the two differences of color of ITU-T T.871."""
_ANY_HUE = 0.2
_HUE_RADIANS = 0.5
_SATURATION = (0.5, 2.0)
_CAST = 0.12
_DIMMED = 0.5
_PHOTO_EXPOSURE = (0.25, 1.3)
_GAMMA = (0.7, 1.3)
_ZOOM = (0.6, 2.5)
_DEFOCUSED = 0.8
_DEFOCUS_PX = (2.0, 25.0)
"""Standard deviation of the blur, for pictures of 512 px."""
_BEHIND_EXPOSURE = (0.05, 1.3)
_SIDE_PX = 128
"""Side at which a person is cut out: finer takes longer and finds no more of the hair."""
_ROUNDS = 3
_SOFT_PX = 0.7
"""Standard deviation of the edges' softness, at that side."""
_HEAD = ((0.5, 0.46), (0.37, 0.47))
_SHOULDERS = ((0.5, 1.12), (0.5, 0.27))
"""Center (right, down) and radii of two ovals in a face aligned to FFHQ's template, as shares of its side."""
_SURELY = 0.72
"""A person all within these shares of the ovals' radii."""
_BORDER = 0.03
"""The picture's own border is surely background at the top, and at the sides down to the shoulders."""
_SHOULDERS_FROM = 0.6


def jitter_colors(images: Tensor, random: torch.Generator) -> Tensor:
    """Turn the hue, change saturation, color cast, exposure and gamma, each picture's by its own draw.

    ``images`` are (B, 3, H, W) RGB in [-1, 1], of any float dtype, and so is the result, clamped as in a photograph;
    ``random``, on the CPU, is the source of the draws.
    """
    out, draw = torch.empty_like(images), RandomDraw(random)
    for index, image in enumerate(images):
        hue = math.pi if draw.bernoulli(_ANY_HUE) else _HUE_RADIANS
        mix = _color_matrix(draw.uniform(-hue, hue), draw.log_uniform(*_SATURATION))
        cast = torch.tensor([math.exp(draw.uniform(-_CAST, _CAST)) for _ in range(3)], dtype=torch.float64)
        exposure = draw.log_uniform(*_PHOTO_EXPOSURE)
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


def swap_backgrounds(images: Tensor, people: Tensor, another: Callable[[], Tensor], random: torch.Generator) -> Tensor:
    """Put other photographs behind aligned faces.

    What is not the person becomes a section of another photograph, or a few of these side by side, mostly out of focus,
    darker or lighter.

    Args:
        images: (B, 3, S, S) RGB in [-1, 1], faces aligned to FFHQ's template, any float dtype, as is what comes back.
        people: (B, S, S) float32 on the same device, where the persons are (1), see :class:`CutOuts`.
        another: gives a photograph, (3, S, S) in [-1, 1], at every call any.
        random: source of the draws, on the CPU.
    """
    out, draw, side = torch.empty_like(images), RandomDraw(random), images.shape[-1]
    for index, (image, person) in enumerate(zip(images, people, strict=True)):
        behind = _scene(another, side, draw).to(image.device)
        if draw.bernoulli(_DEFOCUSED):
            behind = gaussian_blur(behind, draw.log_uniform(*_DEFOCUS_PX) * side / 512)
        behind = (behind + 1) * draw.log_uniform(*_BEHIND_EXPOSURE) - 1
        out[index] = torch.lerp(behind.clamp(-1, 1), image.float(), person)
    return out


def _scene(another: Callable[[], Tensor], side: int, draw: RandomDraw) -> Tensor:
    """(3, side, side) float32: a random section of a photograph, or of a wall of smaller ones."""
    tile = round(side * draw.log_uniform(*_ZOOM))
    count = math.ceil(side / tile)
    rows = [torch.cat([_resized(another()[None], tile)[0] for _ in range(count)], -1) for _ in range(count)]
    wall = torch.cat(rows, -2)
    spare = wall.shape[-1] - side
    top, left = draw.integer(0, spare), draw.integer(0, spare)
    return wall[:, top : top + side, left : left + side]


class CutOuts:
    """Which parts of aligned portraits are the person: GrabCut (Rother et al., 2004) from the template's shape.

    Cutting out takes longer than all else that is done to a photograph: what was found of each of ``count`` is kept,
    2 KB each. It runs on as many threads as torch has, one for each picture; worker processes have one each.
    """

    def __init__(self, count: int) -> None:
        self._packed = torch.zeros(count, _SIDE_PX**2 // 8, dtype=torch.uint8)
        self.known = torch.zeros(count, dtype=torch.bool)

    def share_memory(self) -> None:
        """Let processes that are started from now on keep what they find together."""
        self._packed.share_memory_()
        self.known.share_memory_()

    def __call__(self, images: Tensor, numbers: list[int], flipped: list[bool]) -> Tensor:
        """Cut the persons out of photographs, or out of their mirror images.

        Args:
            images: (B, 3, S, S) RGB in [-1, 1].
            numbers: which photographs they are.
            flipped: which of them are mirrored. People are always cut out the photograph's own way round: from its
                mirror image GrabCut makes something slightly different, and which came first must not matter.

        Returns:
            (B, S, S) float32 on their device: 1 the person, 0 the background, with soft edges.
        """
        new = [place for place, number in enumerate(numbers) if not self.known[number]]
        if new:
            upright = [images[place].flip(-1) if flipped[place] else images[place] for place in new]
            found = _grab_cuts(torch.stack(upright)).reshape(len(new), -1)
            places = torch.tensor([numbers[place] for place in new])
            self._packed[places] = torch.from_numpy(np.packbits(found, axis=1))
            self.known[places] = True  # only now: another process may be looking
        masks = np.unpackbits(self._packed[torch.tensor(numbers, dtype=torch.long)].numpy(), axis=1)
        masks = masks.reshape(-1, _SIDE_PX, _SIDE_PX)
        masks = np.where(np.array(flipped, bool)[:, None, None], masks[..., ::-1], masks)
        people = gaussian_blur(torch.from_numpy(masks).float(), _SOFT_PX)
        return _resized(people[:, None].to(images.device), images.shape[-1])[:, 0]


def _grab_cuts(images: Tensor) -> np.ndarray:
    """(B, 3, S, S) to (B, ``_SIDE_PX``, ``_SIDE_PX``) uint8: 1 the person, 0 the background."""
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        found = list(threads.map(_grab_cut, to_uint8(_resized(images, _SIDE_PX))))
    return np.array(found, np.uint8).reshape(-1, _SIDE_PX, _SIDE_PX)  # of no picture, too


def _grab_cut(picture: np.ndarray) -> np.ndarray:
    labels = np.full((_SIDE_PX, _SIDE_PX), cv2.GC_PR_BGD, np.uint8)
    labels[_within(1.0)] = cv2.GC_PR_FGD
    border, shoulders = round(_BORDER * _SIDE_PX), round(_SHOULDERS_FROM * _SIDE_PX)
    labels[:border] = labels[:shoulders, :border] = labels[:shoulders, -border:] = cv2.GC_BGD
    labels[_within(_SURELY)] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # it clusters colors from a random start, which every thread has of its own
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, labels, (0, 0, 0, 0), *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    return labels & 1  # both kinds of foreground are odd


def _within(share: float) -> np.ndarray:
    """(``_SIDE_PX``, ``_SIDE_PX``) bool: in one of the ovals, their radii multiplied by ``share``."""
    head, shoulders = (
        oval(_SIDE_PX, _SIDE_PX, center, (wide * share, high * share)) for center, (wide, high) in (_HEAD, _SHOULDERS)
    )
    return (head | shoulders).numpy()


def _resized(images: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to (B, C, side, side) float32."""
    return F.interpolate(images.float(), size=[side, side], mode="bilinear", align_corners=False, antialias=True)
