"""Other surroundings for a face: parts of other photographs, near or far, mostly out of focus, often dark."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from memgan.degradation.draw import Draw
from memgan.degradation.eq14 import gaussian_blur
from memgan.evaluation.regions import oval
from memgan.image.tensors import to_uint8

_ZOOM = (0.6, 2.5)
_DEFOCUSED = 0.8
_DEFOCUS_PX = (2.0, 25.0)
"""Standard deviation of the blur, for pictures of 512 px."""
_EXPOSURE = (0.05, 1.3)

_CUT_PX = 128
"""Side at which a person is cut out: finer takes longer and finds no more of the hair."""
_CUT_ROUNDS = 3
_HEAD = ((0.5, 0.46), (0.37, 0.47))
_SHOULDERS = ((0.5, 1.12), (0.5, 0.27))
"""Centre (right, down) and radii of two ovals in a face aligned to FFHQ's template, as shares of its side."""
_SURELY = 0.72
"""A person all within these shares of the ovals' radii."""
_BORDER = 0.03
"""The picture's own border is surely background at the top, and at the sides down to the shoulders."""
_SHOULDERS_FROM = 0.6


def change_surroundings(images: Tensor, another: Callable[[], Tensor], random: torch.Generator) -> Tensor:
    """Put other photographs behind aligned faces.

    Portraits mostly stand before plain walls or gardens; a network that saw nothing else draws hair and leaves into
    dark rooms and crowds. The person is cut out (:func:`cut_out`), the rest becomes a part of another photograph or a
    few of these side by side, mostly out of focus, darker or lighter. What the cut misses of hair, hats and hands is
    lost, in the picture to aim at as well: the degradation comes afterwards.

    Args:
        images: (B, 3, S, S) RGB in [-1, 1], faces aligned to FFHQ's template, any float dtype.
        another: gives a photograph, (3, S, S) in [-1, 1], at every call any.
        random: source of the draws, on the CPU.

    Returns:
        (B, 3, S, S) in [-1, 1], dtype and device of ``images``.
    """
    if not len(images):
        return images
    out, draw, side = torch.empty_like(images), Draw(random), images.shape[-1]
    for index, (image, person) in enumerate(zip(images, cut_out(images), strict=True)):
        behind = _scene(another, side, draw).to(image.device)
        if draw.chance(_DEFOCUSED):
            behind = gaussian_blur(behind, draw.factor(*_DEFOCUS_PX) * side / 512)
        behind = (behind + 1) * draw.factor(*_EXPOSURE) - 1
        out[index] = torch.lerp(behind.clamp(-1, 1), image.float(), person)
    return out


def cut_out(images: Tensor) -> Tensor:
    """Which parts of aligned portraits are the person: GrabCut (Rother et al., 2004) from the template's shape.

    On as many threads as torch has, one for each picture: beside a GPU all else takes less time. Processes that make
    batches beside one another have one each.

    Args:
        images: (B, 3, S, S) RGB in [-1, 1], at least one.

    Returns:
        (B, S, S) float32 on their device: 1 the person, 0 the background, with soft edges.
    """
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        found = list(threads.map(_grab_cut, to_uint8(_resized(images, _CUT_PX))))
    people = gaussian_blur(torch.from_numpy(np.stack(found)), 0.7)
    return _resized(people[:, None], images.shape[-1])[:, 0].to(images.device)


def _grab_cut(picture: np.ndarray) -> np.ndarray:
    """(``_CUT_PX``, ``_CUT_PX``, 3) uint8 to float32: 1 the person, 0 the background."""
    labels = np.full((_CUT_PX, _CUT_PX), cv2.GC_PR_BGD, np.uint8)
    labels[_within(1.0)] = cv2.GC_PR_FGD
    border, shoulders = round(_BORDER * _CUT_PX), round(_SHOULDERS_FROM * _CUT_PX)
    labels[:border] = labels[:shoulders, :border] = labels[:shoulders, -border:] = cv2.GC_BGD
    labels[_within(_SURELY)] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # it clusters colours from a random start, which every thread has of its own
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(picture, labels, None, *models, _CUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    return (labels & 1).astype(np.float32)  # both kinds of foreground are odd


def _within(share: float) -> np.ndarray:
    """(``_CUT_PX``, ``_CUT_PX``) bool: in one of the ovals, their radii multiplied by ``share``."""
    head, shoulders = (
        oval(_CUT_PX, _CUT_PX, centre, (wide * share, high * share)) for centre, (wide, high) in (_HEAD, _SHOULDERS)
    )
    return (head | shoulders).numpy()


def _scene(another: Callable[[], Tensor], side: int, draw: Draw) -> Tensor:
    """(3, side, side) float32: a random part of a photograph, or of a wall of smaller ones."""
    tile = round(side * draw.factor(*_ZOOM))
    count = math.ceil(side / tile)
    rows = [torch.cat([_resized(another()[None], tile)[0] for _ in range(count)], -1) for _ in range(count)]
    wall = torch.cat(rows, -2)
    spare = wall.shape[-1] - side
    top, left = draw.whole(0, spare), draw.whole(0, spare)
    return wall[:, top : top + side, left : left + side]


def _resized(images: Tensor, side: int) -> Tensor:
    """(B, C, H, W) to (B, C, side, side) float32."""
    return F.interpolate(images.float(), size=[side, side], mode="bilinear", align_corners=False, antialias=True)
