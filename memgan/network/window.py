"""Says which part of an image is decoded: a window at every scale, and its corner in the full map."""

from typing import NamedTuple

from torch import Tensor


class Corner(NamedTuple):
    """Top-left position of a part in the full feature map, in pixels of that map."""

    top: int
    left: int


class Window(NamedTuple):
    """A square part of the image that is decoded alone above a scale; training saves time with it.

    Positions and sizes are in pixels of the features at ``scale``; up to and including ``scale`` everything is full.
    """

    scale: int
    top: int
    left: int
    size: int

    def at(self, scale: int) -> tuple[int, int, int]:
        """(top, left, size) in pixels at a larger ``scale``."""
        factor = scale // self.scale
        return self.top * factor, self.left * factor, self.size * factor

    def corner(self, scale: int) -> Corner | None:
        """Where the part begins in the full map at ``scale``; ``None`` where the map is decoded in full."""
        return Corner(*self.at(scale)[:2]) if scale > self.scale else None

    def crop(self, features: Tensor) -> Tensor:
        """The window of full features (B, C, r, r), r at least ``scale``."""
        top, left, size = self.at(features.shape[-1])
        return features[..., top : top + size, left : left + size]
