"""Folds the linear steps of a mobile decoder into one matrix per face (see README.md)."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from memgan.network.decoder import AffineFusion, Decoder
from memgan.network.mobile import MobileBlock, MobileHead, MobileLayer, inverse_haar


class Mix(NamedTuple):
    """A pointwise convolution with weights (B, O, I) and biases (B, O) of its own for every face."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(B, H, W, I) -> (B, H, W, O)."""
        batch, height, width, _ = x.shape
        y = torch.baddbmm(self.bias[:, None], x.reshape(batch, height * width, -1), self.weight.mT)
        return y.view(batch, height, width, -1)


class FoldedLayer(NamedTuple):
    """A synthesis layer behind its modulation, which is folded into ``mix`` or into what made the features."""

    depthwise: Tensor
    mix: Mix
    noise: Tensor
    """(1, S, S, 1)."""


class FoldedAffine(NamedTuple):
    """Eq. 6-7 with 1 + tanh(s) written as 2 sigmoid(2 s): an exponential is a fraction of the cost of a tanh."""

    double_scale: Mix
    shift: Mix


class FoldedBlend(NamedTuple):
    """Eq. 8, cut into what it takes from F^M and from F^GAN2, so that the two need not be copied into one tensor."""

    memory_depthwise: Tensor
    depthwise: Tensor
    memory_weight: Tensor
    """(B, O, M): what the filtered F^M adds to the result of ``leave``."""


class FoldedLevel(NamedTuple):
    """One scale of the decoder, from the doubled features to those of the next scale (or to the image)."""

    first: FoldedLayer
    affine: FoldedAffine | None
    second: FoldedLayer
    blend: FoldedBlend | None
    leave: Mix
    """To the four pixels of the next scale, (B, 2 * 2 * C', C) with rows by (row, column, channel); last: to RGB."""


def can_fold(decoder: Decoder) -> bool:
    """Whether :func:`fold_level` knows every part of a decoder: mobile synthesis, separable fusions."""
    fusions = (*decoder.affine.values(), *decoder.blend.values())
    return all(isinstance(block, MobileBlock) for block in decoder.synthesis.blocks) and all(
        fusion.bounded if isinstance(fusion, AffineFusion) else fusion.depthwise is not None for fusion in fusions
    )


def _blocks(decoder: Decoder) -> Sequence[MobileBlock]:
    return cast("Sequence[MobileBlock]", decoder.synthesis.blocks)


def fold_start(decoder: Decoder, w: Tensor) -> Mix:
    """From the 4 px features to the 8 px level as :attr:`FoldedLevel.leave` is, for (B, D) float32 latent codes."""
    block = _blocks(decoder)[0]
    channels = block.up_style.out_features
    return _doubling(torch.eye(channels, channels + 1, dtype=w.dtype, device=w.device), block, w)


def fold_level(decoder: Decoder, index: int, w: Tensor) -> FoldedLevel:
    """Fold block ``index`` of a decoder that :func:`can_fold` accepts, for (B, D) float32 latent codes."""
    blocks = _blocks(decoder)
    block, name = blocks[index], str(decoder.scales[index + 1])
    # What leaves the level is known as a matrix with the bias as its last column.
    channels = block.layer2.weight.shape[0]
    fusion = dict(decoder.blend.items()).get(name)
    matrix = torch.eye(channels, channels + 1, dtype=w.dtype, device=w.device)
    if fusion is not None:
        pointwise = fusion.pointwise
        matrix = torch.cat([pointwise.weight.flatten(1), cast("Tensor", pointwise.bias)[:, None]], dim=1).float()
    leave = _doubling(matrix, blocks[index + 1], w) if block.head is None else _head(matrix, block.head, w)
    blend = None
    if fusion is not None and fusion.depthwise is not None:
        memory_channels = leave.weight.shape[2] - channels
        memory_depthwise, depthwise = torch.split(fusion.depthwise.weight, [memory_channels, channels])
        memory_weight, weight = torch.split(leave.weight, [memory_channels, channels], dim=2)
        blend, leave = FoldedBlend(memory_depthwise, depthwise, memory_weight), Mix(weight, leave.bias)
    return FoldedLevel(
        _layer(block.layer1, w, modulate=False),  # its style is in the matrix of the level below
        _affine(decoder.affine[name], len(w)) if name in decoder.affine else None,
        _layer(block.layer2, w, modulate=True),
        blend,
        leave,
    )


def _style(layer: MobileLayer | MobileHead, w: Tensor) -> Tensor:
    """(B, I) factors on the input channels of a layer."""
    style: Tensor = layer.style(w)
    return style * layer.gain


def _layer(layer: MobileLayer, w: Tensor, modulate: bool) -> FoldedLayer:
    weight = layer.weight.flatten(1).expand(len(w), -1, -1)
    if modulate:
        weight = weight * _style(layer, w)[:, None]
    return FoldedLayer(layer.depthwise, Mix(weight, layer.bias.expand(len(w), -1)), layer.noise.movedim(1, 3))


def _affine(fusion: AffineFusion, batch: int) -> FoldedAffine:
    scale, shift = fusion.conv.weight.flatten(1).expand(batch, -1, -1).chunk(2, dim=1)
    scale_bias, shift_bias = cast("Tensor", fusion.conv.bias).expand(batch, -1).chunk(2, dim=1)
    return FoldedAffine(Mix(2 * scale, 2 * scale_bias), Mix(shift, shift_bias))


def _doubling(matrix: Tensor, block: MobileBlock, w: Tensor) -> Mix:
    """``matrix`` (C, I + 1), then the up-sampling of ``block`` and the modulation of its first layer."""
    bands = matrix * block.up_style(w)[:, :, None]
    pixels = inverse_haar(bands[..., None])  # the matrix's columns stand for the rows of an image
    batch, channels, _, _ = pixels.shape
    pixels = pixels.view(batch, channels, -1, 2, 2) * _style(block.layer1, w)[:, :, None, None, None]
    rows = pixels.permute(0, 3, 4, 1, 2).reshape(batch, 4 * channels, -1)
    return Mix(rows[..., :-1], rows[..., -1])


def _head(matrix: Tensor, head: MobileHead, w: Tensor) -> Mix:
    rows = (head.weight.flatten(1) * _style(head, w)[:, None]) @ matrix
    return Mix(rows[..., :-1], rows[..., -1] + head.bias)
