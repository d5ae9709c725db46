"""Runs a network of the mobile family faster on a CPU, without what only training needs."""

import functools
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from memgan.network.decoder import Window
from memgan.network.folding import FoldedAffine, FoldedLayer, FoldedLevel, can_fold, fold_level, fold_start
from memgan.network.model import Encoded, MemGAN, MemGANOutput

STRIP_ROWS = 32
"""Rows of features that are worked on at once: few enough to stay in the cache, and in memory that is used again."""


class FastMemGAN(MemGAN):
    """A :class:`MemGAN` of the mobile family that restores faster; it shares all components with the trained one.

    Its images equal the trained network's up to the rounding of sums that are taken in another order. What this form
    is not made for (windows, kept features, gradients, devices other than the CPU), the trained network does.
    """

    def __init__(self, network: MemGAN) -> None:
        super().__init__(network.config, *network.components)
        self.training = network.training
        self.metadata = network.metadata

    def forward(self, image: Tensor, *, window: Window | None = None) -> MemGANOutput:
        """As :meth:`MemGAN.forward`, one face after the other."""
        restore = functools.partial(super().forward, window=window)
        if len(image) < 2 or window is not None or not self._is_fast(image):
            return restore(image)
        images, latents = zip(*map(restore, torch.split(image, 1)), strict=True)
        return MemGANOutput(torch.cat(images), torch.cat(latents))

    def encode(self, image: Tensor, window: Window | None = None) -> Encoded:
        """As :meth:`MemGAN.encode`; the memory is read when it is asked for."""
        if window is not None or not self._is_fast(image):
            return super().encode(image, window)
        self.check_image(image)
        features = self.encoder(image.contiguous(memory_format=torch.channels_last))
        return Encoded(features, self.latent(features[4]), _LazyMemories(self, features))

    def decode(
        self, encoded: Encoded, window: Window | None = None, *, keep: dict[int, Tensor] | None = None
    ) -> Tensor:
        """As :meth:`MemGAN.decode`."""
        latent, memories = encoded.latent, encoded.memories
        if window is not None or keep is not None or not self._is_fast(latent):
            return super().decode(encoded, window, keep=keep)
        with torch.autocast(latent.device.type, enabled=False):
            w = latent.float()
            leave = fold_start(self.decoder, w)
        x, _ = self.decoder.synthesis.start(latent)
        x = _doubled(leave(x.permute(0, 2, 3, 1)))
        for index, scale in enumerate(self.config.scales[1:]):
            with torch.autocast(latent.device.type, enabled=False):
                level = fold_level(self.decoder, index, w)
            x = self._decode_level(level, x, functools.partial(_rows, memories, scale))
        return x.permute(0, 3, 1, 2).contiguous()

    def _is_fast(self, given: Tensor) -> bool:
        """Whether the fast form does for an input: on the CPU, and nothing learns."""
        learns = torch.is_grad_enabled() and (given.requires_grad or any(p.requires_grad for p in self.parameters()))
        return given.device.type == "cpu" and not learns

    def _decode_level(self, level: FoldedLevel, x: Tensor, read: Callable[[int, int], Tensor]) -> Tensor:
        """Doubled features (B, S, S, C') -> those of the next scale (B, 2S, 2S, C''), or RGB (B, S, S, 3)."""
        batch, side = x.shape[:2]
        factor = 1 if side == self.config.image_size else 2
        result = x.new_empty(0)
        for start in range(0, side, STRIP_ROWS):
            stop = min(start + STRIP_ROWS, side)
            made = _decode_strip(level, x, read, start, stop)
            if factor == 2:
                made = _doubled(made)
            if start == 0:  # the first strip knows width and dtype
                result = made.new_empty(batch, factor * side, factor * side, made.shape[-1])
            result[:, factor * start : factor * stop].copy_(made)
        return result


class _LazyMemories(Mapping[int, Tensor]):
    """F^M by fused scale, read from the features where and when it is asked for."""

    def __init__(self, network: FastMemGAN, features: Mapping[int, Tensor]) -> None:
        self._network, self._features = network, features
        self._adjustments = network.adjustments(features)

    def rows(self, scale: int, top: int, bottom: int) -> Tensor:
        """(B, C_r, bottom - top, r) of the scale r."""
        return self._network._read(scale, self._features[scale][:, :, top:bottom], self._adjustments)

    def __getitem__(self, scale: int) -> Tensor:
        return self.rows(scale, 0, scale)

    def __iter__(self) -> Iterator[int]:
        return iter(self._network.config.fused_scales)

    def __len__(self) -> int:
        return len(self._network.config.fused_scales)


def _rows(memories: Mapping[int, Tensor], scale: int, top: int, bottom: int) -> Tensor:
    """Rows of F^M of a scale, (B, H, W, C)."""
    if isinstance(memories, _LazyMemories):
        return memories.rows(scale, top, bottom).permute(0, 2, 3, 1)
    return memories[scale][:, :, top:bottom].permute(0, 2, 3, 1)


def _decode_strip(level: FoldedLevel, x: Tensor, read: Callable[[int, int], Tensor], start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop`` of a level's result; each 3x3 convolution reaches one row further."""
    side = x.shape[1]
    spans = [(max(start - reach, 0), min(stop + reach, side)) for reach in (3, 2, 1, 0)]
    if level.blend is None:
        spans = [*spans[1:], spans[-1]]
    x = _synthesize(level.first, x[:, slice(*spans[0])], spans[0], spans[1])
    if level.affine is None and level.blend is None:
        return level.leave(_synthesize(level.second, x, spans[1], spans[2]))
    memory = read(*spans[1])
    if level.affine is not None:
        x = _modulate(level.affine, memory, x)
    x = _synthesize(level.second, x, spans[1], spans[2])
    if level.blend is None:
        return level.leave(x)
    made = level.leave(_depthwise(x, level.blend.depthwise, spans[2], spans[3]))
    memory = _depthwise(memory, level.blend.memory_depthwise, spans[1], spans[3])
    flat = made.view(len(made), -1, made.shape[-1])
    flat.baddbmm_(memory.flatten(1, 2).to(flat.dtype), level.blend.memory_weight.mT.to(flat.dtype))
    return made


def prepare_for_inference(network: MemGAN) -> MemGAN:
    """The fastest form of a network that gives the same images (up to 1e-4); the one given is not changed.

    For the mobile family with separable fusions a :class:`FastMemGAN`, which shares the parameters, has the same
    attributes and state names, and moves between devices like any module; else ``network`` itself.
    """
    return FastMemGAN(network) if can_fold(network.decoder) else network


def _doubled(x: Tensor) -> Tensor:
    """(B, H, W, 2 * 2 * C) -> (B, 2H, 2W, C), not yet contiguous if it can be helped."""
    batch, height, width, channels = x.shape
    pixels = x.view(batch, height, width, 2, 2, channels // 4).transpose(2, 3)
    return pixels.reshape(batch, 2 * height, 2 * width, channels // 4)


def _depthwise(x: Tensor, weight: Tensor, span: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """3x3 convolution of each channel of (B, H, W, C), whose rows are those of ``span``; rows ``wanted`` of it."""
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1, groups=len(weight)).permute(0, 2, 3, 1)
    return y[:, wanted[0] - span[0] : wanted[1] - span[0]]


def _synthesize(layer: FoldedLayer, x: Tensor, span: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    x = layer.mix(_depthwise(x, layer.depthwise, span, wanted))
    return F.leaky_relu_(x.add_(layer.noise[:, slice(*wanted)].to(x.dtype)), 0.2)


def _modulate(affine: FoldedAffine, memory: Tensor, x: Tensor) -> Tensor:
    scale = affine.double_scale(memory).sigmoid_()
    return affine.shift(memory).addcmul_(x, scale, value=2)
