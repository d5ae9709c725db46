"""Defines what a synthesis family is: the layers of a face generator, one scale after the other.

A family is one file with a subclass of :class:`Synthesis` and one entry in :data:`memgan.network.config.FAMILIES`.
"""

import abc
import contextlib
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol, TypeAlias, cast

from torch import Tensor, nn

from memgan.errors import ShapeError
from memgan.network.config import FAMILIES, MemGANConfig

Corner: TypeAlias = tuple[int, int]
"""Position (top, left) of a part in the full feature map, in pixels of that map."""


class SynthesisBlock(Protocol):
    """One scale of a family; a fusion can follow either of its two layers."""

    def first(self, x: Tensor, w: Tensor, corner: Corner | None = None) -> Tensor:
        """F^GAN1: (B, C', H, W) features of the scale below and w (B, D) to (B, C, 2H, 2W)."""

    def second(self, x: Tensor, w: Tensor, corner: Corner | None = None) -> Tensor:
        """F^GAN2: (B, C, H, W) and w (B, D) to the same shape."""

    def to_rgb(self, x: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor | None:
        """The image so far (B, 3, H, W), about [-1, 1], from that of the scale below; ``None``: not drawn yet."""


class Synthesis(nn.Module, abc.ABC):
    """Synthesis network of a family, cut into steps so that a decoder can fuse features in between.

    Attributes:
        blocks: an ``nn.ModuleList`` with one block per scale 8, 16, ..., ``config.image_size``. Where ``corner`` is
            given, a block computes the part of its full output map that begins there; within two pixels of an inner
            border the numbers differ from the full map's, for the neighbors are taken as zero.
    """

    last_blend_rate: ClassVar[float] = 1.0
    """Factor on the learning rate of the blend fusion at the largest scale."""
    blocks: Sequence[SynthesisBlock]

    def __init__(self, config: MemGANConfig) -> None:
        super().__init__()
        self.scales = config.scales

    @abc.abstractmethod
    def start(self, w: Tensor) -> tuple[Tensor, Tensor | None]:
        """w (B, D) to the 4 px features (B, C, 4, 4) and the image so far (B, 3, 4, 4), if there is one yet."""

    @staticmethod
    @abc.abstractmethod
    def state_from_prior(prior: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The strict state, float32, in the ``synthesis.*`` tensors of an imported prior of this family.

        Raises:
            KeyError: if a tensor is missing.
        """

    def levels(
        self, w: Tensor, layers: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    ) -> Iterator[tuple[int, Tensor, Tensor | None]]:
        """The bare prior, scale by scale from 8 px; a scale is computed when it is asked for.

        Args:
            w: (B, D).
            layers: context of the layers, such as autocast. Images are drawn outside of it, in w's dtype.

        Yields:
            scale r, F^GAN2 (B, C_r, r, r) and the image so far (B, 3, r, r).
        """
        with layers():
            x, rgb = self.start(w)
        for scale, block in zip(self.scales[1:], self.blocks, strict=True):
            with layers():
                x = block.second(block.first(x, w), w)
            rgb = block.to_rgb(x.to(w.dtype), rgb, w)
            yield scale, x, rgb

    def forward(
        self, w: Tensor, layers: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
    ) -> Tensor:
        """Images (B, 3, S, S) of the bare prior, about [-1, 1], not clipped; arguments as for :meth:`levels`."""
        rgb = None
        for _, _, image in self.levels(w, layers):
            rgb = image
        return cast("Tensor", rgb)  # the last block of every family draws


def build_synthesis(config: MemGANConfig) -> Synthesis:
    """The synthesis network of ``config.family``, whose module is imported now."""
    module, _, name = FAMILIES[config.family].rpartition(".")
    family: type[Synthesis] = getattr(importlib.import_module(module), name)
    return family(config)


def noise_at(noise: Tensor, x: Tensor, corner: Corner | None) -> Tensor:
    """The part of a stored noise map (1, 1, S, S) that belongs to ``x``: the full map, or what begins at ``corner``.

    Raises:
        ShapeError: if ``x`` (B, C, H, W) does not lie inside the full map.
    """
    height, width = x.shape[-2:]
    size = noise.shape[-1]
    top, left = corner or (0, 0)
    inside = 0 <= top <= size - height and 0 <= left <= size - width
    if not inside or (corner is None and (height, width) != (size, size)):
        raise ShapeError(
            f"A layer of {size} px was to give {height}x{width} pixels at corner={corner}; allowed: the full map with "
            "corner=None, or a corner (top, left) of a part inside it, counted in output pixels."
        )
    return noise if corner is None else noise[..., top : top + height, left : left + width]
