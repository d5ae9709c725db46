"""Decodes memories and a latent code into an image: synthesis blocks with affine and blend fusion (Sec. 3.3)."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from memgan.network.config import FusionConv, MemGANConfig
from memgan.network.synthesis import Corner, build_synthesis


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
        return self.at(scale)[:2] if scale > self.scale else None

    def crop(self, features: Tensor) -> Tensor:
        """The window of full features (B, C, r, r), r at least ``scale``."""
        top, left, size = self.at(features.shape[-1])
        return features[..., top : top + size, left : left + size]


class AffineFusion(nn.Module):
    """Eq. 6-7: ``s, b = conv(F^M)``, ``s * F^GAN1 + b``; starts with s = 1 and b = 0, the prior itself.

    Args:
        memory_channels: width of F^M.
        channels: width of F^GAN1.
        conv: ``dense``: a 3x3 convolution; ``separable``: 1x1, with s kept in (0, 2).
    """

    def __init__(self, memory_channels: int, channels: int, conv: FusionConv) -> None:
        super().__init__()
        kernel = 3 if conv == "dense" else 1
        self.bounded = conv == "separable"
        self.conv = nn.Conv2d(memory_channels, 2 * channels, kernel, padding=kernel // 2)
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, memory: Tensor, features: Tensor) -> Tensor:
        """(B, C_M, H, W), (B, C, H, W) -> (B, C, H, W)."""
        scale, shift = self.conv(memory).chunk(2, dim=1)
        if self.bounded:
            scale = torch.tanh(scale)
        return torch.addcmul(features + shift, features, scale)


class BlendFusion(nn.Module):
    """Eq. 8: ``conv(concat(F^M, F^GAN2))``; starts by handing on F^GAN2 and ignoring F^M.

    Args:
        memory_channels: width of F^M.
        channels: width of F^GAN2.
        conv: ``dense``: one 3x3 convolution; ``separable``: depthwise 3x3, then 1x1.
    """

    def __init__(self, memory_channels: int, channels: int, conv: FusionConv) -> None:
        super().__init__()
        total = memory_channels + channels
        if conv == "dense":
            pointwise = nn.Conv2d(total, channels, 3, padding=1)
            self.conv: nn.Module = pointwise
        else:
            depthwise = nn.Conv2d(total, total, 3, padding=1, groups=total, bias=False)
            pointwise = nn.Conv2d(total, channels, 1)
            _hand_on_(depthwise.weight.detach())
            self.conv = nn.Sequential(depthwise, pointwise)
        for parameter in pointwise.parameters():
            nn.init.zeros_(parameter)
        _hand_on_(pointwise.weight.detach()[:, memory_channels:])

    @property
    def pointwise(self) -> nn.Conv2d:
        """The convolution that mixes channels; its inputs are F^M's, then F^GAN2's."""
        return cast("nn.Conv2d", self.conv[1] if isinstance(self.conv, nn.Sequential) else self.conv)

    @property
    def depthwise(self) -> nn.Conv2d | None:
        """The convolution before it, of each channel alone; ``None`` where both are one."""
        return cast("nn.Conv2d", self.conv[0]) if isinstance(self.conv, nn.Sequential) else None

    def forward(self, memory: Tensor, features: Tensor) -> Tensor:
        """(B, C_M, H, W), (B, C, H, W) -> (B, C, H, W)."""
        fused: Tensor = self.conv(torch.cat([memory, features], dim=1))
        return fused


def _hand_on_(kernel: Tensor) -> None:
    """Fill an odd kernel (C, C, K, K), or (C, 1, K, K) of single channels, so that it gives its input.

    ``nn.init.dirac_`` sets channel by channel, which takes seconds where tensors are only counted.
    """
    channels, middle = kernel.shape[1], kernel.shape[2] // 2
    kernel.zero_()
    kernel[:, :, middle, middle] = torch.eye(channels, dtype=kernel.dtype, device=kernel.device)


class Decoder(nn.Module):
    """A synthesis network with fusions at the fused scales; ``affine`` and ``blend`` hold them by scale as text."""

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
            memories: F^M by fused scale, (B, C_r, r, r); above ``window.scale`` only the window of it.
            w: (B, D) latent code.
            window: decode only this part above its scale.
            keep: filled with the decoded features F^D by scale; ``None``: they are not kept.

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
