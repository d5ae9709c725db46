"""Decodes memories and a latent code into an image: synthesis blocks with affine and blend fusion (Fig. 1b)."""

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from memgan.network.config import MemGANConfig
from memgan.network.fusion import AffineFusion, BlendFusion
from memgan.network.synthesis import build_synthesis
from memgan.network.window import Window


class Decoder(nn.Module):
    """A synthesis network with fusions at the fused scales.

    Attributes:
        affine, blend: ``nn.ModuleDict`` of the fusions by scale as text.

    Args:
        config: names the synthesis family, the fused scales and the fusions in use.
    """

    affine: Mapping[str, AffineFusion]
    blend: Mapping[str, BlendFusion]

    def __init__(self, config: MemGANConfig) -> None:
        super().__init__()
        self.scales = config.scales
        self.synthesis = build_synthesis(config)
        affine, blend = nn.ModuleDict(), nn.ModuleDict()
        for scale in config.fused_scales:
            widths = config.encoder_width(scale), config.channels(scale)
            if config.use_affine:
                affine[str(scale)] = AffineFusion(*widths, config.fusion_conv)
            if config.use_blend:
                blend[str(scale)] = BlendFusion(*widths, config.fusion_conv)
        self.affine = cast("Mapping[str, AffineFusion]", affine)
        self.blend = cast("Mapping[str, BlendFusion]", blend)

    def forward(
        self,
        memories: Mapping[int, Tensor],
        w: Tensor,
        *,
        window: Window | None = None,
        keep: dict[int, Tensor] | None = None,
    ) -> Tensor:
        """Decode.

        Args:
            memories: F^M by scale, (B, C_r, r, r); above ``window.scale`` only the window of it. Scales that are not
                fused need none.
            w: (B, D) latent code.
            window: decode only this part above its scale.
            keep: filled with the decoded features F^D by scale, for training; ``None``: they are not kept.

        Returns:
            RGB, about [-1, 1]: (B, 3, S, S), or the window of it.
        """
        x, rgb = self.synthesis.start(w)
        for scale, block in zip(self.scales[1:], self.synthesis.blocks, strict=True):
            if window is not None and scale == 2 * window.scale:
                x = window.crop(x)
                rgb = None if rgb is None else window.crop(rgb)
            corner = None if window is None else window.corner(scale)
            name = str(scale)
            x = block.first(x, w, corner)
            if name in self.affine:
                x = self.affine[name](memories[scale], x)
            x = block.second(x, w, corner)
            if name in self.blend:
                x = self.blend[name](memories[scale], x)
            if keep is not None:
                keep[scale] = x
            rgb = block.to_rgb(x, rgb, w)
        return cast("Tensor", rgb)  # the last block of every family draws
