"""Chooses the window of a picture that is decoded, and the area of it that the losses look at."""

from typing import NamedTuple

import torch
from torch import Tensor

from memgan.network.decoder import Window

COMPONENTS = ((0.377, 0.469), (0.623, 0.469), (0.502, 0.725))
"""Eyes and mouth of a face aligned to FFHQ's template: right and down, as shares of the picture's side."""
FOCUS_SHIFT = 1 / 16
"""Largest random shift of a focus from there, right and down."""


class Focus(NamedTuple):
    """A place of interest, as shares of the picture's side."""

    right: float
    down: float

    def within(self, area: "Area", image_size: int) -> tuple[float, float]:
        """The same place in pixels (right, down), counted from an area's corner."""
        return self.right * image_size - area.left, self.down * image_size - area.top


class Area(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Tensor) -> Tensor:
        """(..., H, W) -> (..., height, width)."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def pasted(self, image: Tensor, patch: Tensor) -> Tensor:
        """``image`` with ``patch`` in this place, float32; gradients reach the patch."""
        mixed = image.float().clone()
        self.crop(mixed).copy_(patch)
        return mixed

    def within(self, window: Window | None, image_size: int) -> "Area":
        """The same place, counted from the picture's corner instead of the window's."""
        if window is None:
            return self
        top, left, _ = window.at(image_size)
        return Area(top + self.top, left + self.left, self.height, self.width)

    def enlarged(self, margin: int, image_size: int) -> "Area":
        """With ``margin`` more on every side, as far as the picture goes."""
        top, left = max(self.top - margin, 0), max(self.left - margin, 0)
        bottom = min(self.top + self.height + margin, image_size)
        right = min(self.left + self.width + margin, image_size)
        return Area(top, left, bottom - top, right - left)


def draw_focus(share: float, generator: torch.Generator) -> Focus | None:
    """A place in an eye's or the mouth's surroundings for a ``share`` of the calls; ``None`` for the others."""
    if not share or torch.rand((), generator=generator) >= share:
        return None
    right, down = COMPONENTS[int(torch.randint(len(COMPONENTS), (), generator=generator))]
    shift_right, shift_down = (torch.rand(2, generator=generator) * 2 - 1).mul(FOCUS_SHIFT).tolist()
    return Focus(right + shift_right, down + shift_down)


def draw_window(
    size: int | None, scale: int, image_size: int, generator: torch.Generator, focus: Focus | None = None
) -> Window | None:
    """A window of ``size`` pixels of the features at ``scale``, around a focus or any place; ``None`` for no size."""
    if size is None or image_size <= scale:
        return None
    right, down = _anywhere(generator) if focus is None else focus
    return Window(scale, _start(down * scale, size, scale), _start(right * scale, size, scale), size)


def smallest_side(size: int | None, scale: int, image_size: int, margin: int) -> int:
    """Side in pixels of the area that :func:`valid_area` leaves at least, wherever the window lies."""
    if size is None or image_size <= scale:
        return image_size
    return size * (image_size // scale) - 2 * margin


def valid_area(window: Window | None, image_size: int, margin: int) -> Area:
    """The area of a decoded window that is free of its padding; edges of the picture itself need no margin."""
    if window is None:
        return Area(0, 0, image_size, image_size)
    factor = image_size // window.scale
    side = window.size * factor

    def span(start: int) -> tuple[int, int]:
        first = 0 if start == 0 else margin
        last = side if start + window.size == window.scale else side - margin
        return first, last - first

    (top, height), (left, width) = span(window.top), span(window.left)
    return Area(top, left, height, width)


def random_area(
    image: Tensor, side: int | None, generator: torch.Generator, around: tuple[float, float] | None = None
) -> Area:
    """A square of ``side`` px, or as large as the picture allows (``None``): around (right, down) px or any place."""
    height, width = image.shape[-2:]
    side = min(side or height, height, width)
    if around is None:
        right, down = _anywhere(generator)
        around = right * width, down * height
    return Area(_start(around[1], side, height), _start(around[0], side, width), side, side)


def _anywhere(generator: torch.Generator) -> Focus:
    """Any place of the picture, its borders as often as its middle."""
    return Focus(*torch.rand(2, generator=generator).tolist())


def _start(center: float, size: int, limit: int) -> int:
    """Where ``size`` pixels around ``center`` begin, within ``limit``."""
    return min(max(round(center - size / 2), 0), limit - size)
