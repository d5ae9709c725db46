"""Decoder: synthesis blocks with affine and blend fusion in between (Fig. 1b)."""

from typing import NamedTuple

from torch import Tensor, nn

from memgan.network.config import MemGANConfig
from memgan.network.fusion import AffineFusion, BlendFusion
from memgan.network.mobile import MobileSynthesis
from memgan.network.stylegan2 import StyleGAN2Synthesis

SYNTHESIS = {"mobile": MobileSynthesis, "stylegan2": StyleGAN2Synthesis}


class Window(NamedTuple):
    """A square part of the picture that is decoded alone above a scale; training saves time with it.

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

    @property
    def mirrored(self) -> "Window":
        """Where the same part lies in the mirror image."""
        return self._replace(left=self.scale - self.left - self.size)

    def crop(self, features: Tensor) -> Tensor:
        """The window of full features (B, C, r, r), r at least ``scale``."""
        top, left, size = self.at(features.shape[-1])
        return features[..., top : top + size, left : left + size]


class Decoder(nn.Module):
    """A synthesis network with fusions at the fused scales.

    Args:
        config: names the synthesis family, the fused scales and the fusions in use.
    """

    def __init__(self, config: MemGANConfig) -> None:
        super().__init__()
        self.scales = config.scales
        self.synthesis = SYNTHESIS[config.family](config)
        self.affine = nn.ModuleDict()
        self.blend = nn.ModuleDict()
        for scale in config.fused_scales:
            widths = config.encoder_width(scale), config.channels(scale)
            if config.use_affine:
                self.affine[str(scale)] = AffineFusion(*widths, config.fusion_conv)
            if config.use_blend:
                self.blend[str(scale)] = BlendFusion(*widths, config.fusion_conv)

    def forward(
        self,
        memories: dict[int, Tensor],
        w: Tensor,
        *,
        noise: str = "stored",
        window: Window | None = None,
        keep: dict[int, Tensor] | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            memories: F^M by scale, (B, C_r, r, r); above ``window.scale`` only the window of it. Scales that are not
                fused need none.
            w: (B, D) latent code.
            noise: ``stored`` (deterministic), ``random`` or ``none``.
            window: decode only this part above its scale.
            keep: filled with the decoded features F^D by scale, for training; ``None``: they are not kept.

        Returns:
            RGB, about [-1, 1]: (B, 3, S, S), or the window of it.
        """
        x, rgb = self.synthesis.start(w, noise=noise)
        for scale, block in zip(self.scales[1:], self.synthesis.blocks, strict=True):
            if window is not None and scale == 2 * window.scale:
                x = window.crop(x)
                rgb = None if rgb is None else window.crop(rgb)
            corner = window.at(scale)[:2] if window is not None and scale > window.scale else None
            name = str(scale)
            x = block.first(x, w, noise=noise, window=corner)
            if name in self.affine:
                x = self.affine[name](memories[scale], x)
            x = block.second(x, w, noise=noise, window=corner)
            if name in self.blend:
                x = self.blend[name](memories[scale], x)
            if keep is not None:
                keep[scale] = x
            rgb = block.to_rgb(x, rgb, w)
        return rgb
