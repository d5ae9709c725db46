"""The same network, faster: what restoring needs, without what only training needs."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from memgan.network.conditioning import Adjustment
from memgan.network.encoder import Encoder
from memgan.network.folding import FoldedAffine, FoldedLayer, FoldedLevel, can_fold, fold_level, fold_start
from memgan.network.model import MemGAN

STRIP_ROWS = 32
"""Rows of features that are worked on at once: few enough to stay in the cache, and in memory that is used again."""


class FastMemGAN(MemGAN):
    """A :class:`MemGAN` of the mobile family whose pictures are made faster; it shares all parts with the trained one.

    Its pictures equal the trained network's up to the rounding of sums that are taken in another order. What this form
    is not made for (random noise, windows, gradients, devices other than the CPU), the trained network does.

    - The linear steps between two activations are one matrix per face (:mod:`memgan.network.folding`).
    - Features lie with their channels innermost, and are changed in place.
    - One face at a time is decoded in strips of rows, each with the rows around it that its convolutions reach.
      Numbers of full size would be written to fresh memory at every step, which costs more than the arithmetic.

    Args:
        network: is not changed. What is loaded into either is in both.
    """

    def __init__(self, network: MemGAN) -> None:
        super().__init__(network.config, *network.parts)
        self.training = network.training
        self.metadata = getattr(network, "metadata", {})  # license and the like, of networks that came from a file

    def _generate(
        self, image: Tensor, *, noise: str, window: object, keep_features: bool
    ) -> tuple[Tensor, Tensor, dict[int, Tensor] | None]:
        learns = torch.is_grad_enabled() and (image.requires_grad or any(p.requires_grad for p in self.parameters()))
        if noise != "stored" or window is not None or learns or image.device.type != "cpu":
            return super()._generate(image, noise=noise, window=window, keep_features=keep_features)
        made = [self._generate_one(face, keep_features) for face in image.split(1)]
        restored, latent = (torch.cat(column) for column in list(zip(*made))[:2])
        features = {r: torch.cat([face[2][r] for face in made]) for r in self.config.scales} if keep_features else None
        return restored, latent, features

    def _generate_one(self, image: Tensor, keep_features: bool) -> tuple[Tensor, Tensor, dict[int, Tensor] | None]:
        """:meth:`_generate` for one face (1, 3, S, S)."""
        features = _encode(self.encoder, image)
        latent = self.latent(features[4])
        adjustments = self.adjustments(features)
        synthesis = self.decoder.synthesis
        with torch.autocast(image.device.type, enabled=False):
            w = latent.float()
            leave = fold_start(self.decoder, w)
        x, _ = synthesis.start(latent)
        x = _doubled(leave(x.permute(0, 2, 3, 1)))
        for index, scale in enumerate(self.config.scales[1:]):
            with torch.autocast(image.device.type, enabled=False):
                level = fold_level(self.decoder, index, w)
            read = self._reader(scale, adjustments.get(scale))
            x = self._decode_level(level, x, scale, features[scale], read)
        return x.permute(0, 3, 1, 2).contiguous(), latent, features if keep_features else None

    def _decode_level(
        self, level: FoldedLevel, x: Tensor, scale: int, query: Tensor, read: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Doubled features (1, S, S, C') -> those of the next scale (1, 2S, 2S, C''), or RGB (1, S, S, 3)."""
        is_last = scale == self.config.image_size
        result = None
        for start in range(0, scale, STRIP_ROWS):
            stop = min(start + STRIP_ROWS, scale)
            made = self._decode_strip(level, x, query, read, start, stop)
            if result is None:
                side, channels = (scale, 3) if is_last else (2 * scale, made.shape[-1] // 4)
                result = made.new_empty(1, side, side, channels)
            if is_last:
                result[:, start:stop] = made
            else:
                result[:, 2 * start : 2 * stop].copy_(_doubled(made))
        return result

    def _reader(self, scale: int, adjustment: Adjustment | None) -> Callable[[Tensor], Tensor]:
        """What turns F^E of a strip into F^M."""
        read: Callable[[Tensor], Tensor] = _unchanged
        if str(scale) in self.memory:
            read = self.memory[str(scale)]
        return read if adjustment is None else lambda features: adjustment(read(features))

    def _decode_strip(
        self,
        level: FoldedLevel,
        x: Tensor,
        query: Tensor,
        read: Callable[[Tensor], Tensor],
        start: int,
        stop: int,
    ) -> Tensor:
        """Rows ``start`` to ``stop`` of a level's result; each 3x3 convolution reaches one row further."""
        side = x.shape[1]
        spans = [(max(start - reach, 0), min(stop + reach, side)) for reach in (3, 2, 1, 0)]
        if level.blend is None:
            spans = [*spans[1:], spans[-1]]
        (top, bottom), (memory_top, memory_bottom) = spans[:2]
        x = _synthesise(level.first, x[:, top:bottom], spans[0], spans[1])
        memory = None
        if level.affine is not None or level.blend is not None:
            memory = read(query[:, :, memory_top:memory_bottom]).permute(0, 2, 3, 1)
        if level.affine is not None:
            x = _modulate(level.affine, memory, x)
        x = _synthesise(level.second, x, spans[1], spans[2])
        if level.blend is None:
            return level.leave(x)
        blend = level.blend
        made = level.leave(_depthwise(x, blend.depthwise, spans[2], spans[3]))
        memory = _depthwise(memory, blend.memory_depthwise, spans[1], spans[3])
        flat = made.view(1, -1, made.shape[-1])
        flat.baddbmm_(memory.flatten(1, 2).to(flat.dtype), blend.memory_weight.mT.to(flat.dtype))
        return made


def prepare_for_inference(network: MemGAN) -> MemGAN:
    """The fastest form of a network that gives the same pictures (up to 1e-4); the one given is not changed.

    Args:
        network: any MemGAN.

    Returns:
        A :class:`FastMemGAN` for the mobile family with separable fusions; else ``network`` itself. It shares the
        parameters, has the same attributes and state names, and moves between devices like any module.
    """
    return FastMemGAN(network) if can_fold(network.decoder) else network


def _unchanged(features: Tensor) -> Tensor:
    return features


def _encode(encoder: Encoder, image: Tensor) -> dict[int, Tensor]:
    """:meth:`Encoder.forward` in place; (B, C_r, r, r) with the channels innermost in memory."""
    features = {}
    x = image.contiguous(memory_format=torch.channels_last)
    for scale, level in zip(encoder.scales, encoder.levels, strict=True):
        x = F.leaky_relu_(level.enter(x), 0.2)
        for block in level.blocks:
            x = block.second(F.leaky_relu_(block.first(x), 0.2)).add_(x)
        features[scale] = x
    return features


def _doubled(x: Tensor) -> Tensor:
    """(B, H, W, 2 * 2 * C) -> (B, 2H, 2W, C), not yet contiguous if it can be helped."""
    batch, height, width, channels = x.shape
    pixels = x.view(batch, height, width, 2, 2, channels // 4).transpose(2, 3)
    return pixels.reshape(batch, 2 * height, 2 * width, channels // 4)


def _depthwise(x: Tensor, weight: Tensor, span: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """3x3 convolution of each channel of (B, H, W, C), whose rows are those of ``span``; rows ``wanted`` of it."""
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1, groups=len(weight)).permute(0, 2, 3, 1)
    return y[:, wanted[0] - span[0] : wanted[1] - span[0]]


def _synthesise(layer: FoldedLayer, x: Tensor, span: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    x = layer.mix(_depthwise(x, layer.depthwise, span, wanted))
    return F.leaky_relu_(x.add_(layer.noise[:, slice(*wanted)].to(x.dtype)), 0.2)


def _modulate(affine: FoldedAffine, memory: Tensor, x: Tensor) -> Tensor:
    scale = affine.double_scale(memory).sigmoid_()
    return affine.shift(memory).addcmul_(x, scale, value=2)
