"""Folds the linear steps of a mobile decoder into one matrix per face (see README.md)."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from memgan.network.conditioning import Adjustment
from memgan.network.decoder import AffineFusion, Decoder
from memgan.network.memory import EPS, MemoryBank
from memgan.network.mobile import MobileBlock, MobileHead, MobileLayer

HAAR = ((0.5, 0.5, 0.5, 0.5), (0.5, 0.5, -0.5, -0.5), (0.5, -0.5, 0.5, -0.5), (0.5, -0.5, -0.5, 0.5))
"""Pixels by row and column, of the low band and the three high ones: :func:`memgan.network.mobile.inverse_haar`."""
_FEW_COLUMNS = 16
_HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class Mix(NamedTuple):
    """A pointwise convolution with weights (O, I) and biases (O,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(1, H, W, I) -> (1, H, W, O)."""
        if len(self.bias) < _FEW_COLUMNS:
            return (x @ self.weight.mT).add_(self.bias)
        if x.dtype == torch.bfloat16 or not _HAS_ONEDNN:
            return F.linear(x, self.weight, self.bias)
        # In float32 oneDNN takes less time for a product with few columns, and adds the bias on its way.
        return F.conv2d(x.permute(0, 3, 1, 2), self.weight[:, :, None, None], self.bias).permute(0, 2, 3, 1)


class FoldedRead(NamedTuple):
    """Eq. 1 to 3 and what follows until the fusions, (N, C) features to F^M."""

    key: Tensor | None
    """(C, K) directions of the slots, divided by the temperature; ``None`` without memory."""
    values: Tensor | None
    """(K, C) slots, centered, rescaled and multiplied by the gain of the conditioning."""
    gain: Tensor | None
    """(C,) factors of the features themselves; ``None``: they are left out."""
    shift: Tensor
    """(C,)."""

    def __call__(self, features: Tensor) -> Tensor:
        """(N, C) -> (N, C), computed in float32."""
        features = features.float()
        if self.gain is None:
            result = self.shift.expand(len(features), -1).contiguous()
        else:
            result = torch.addcmul(self.shift, features, self.gain)
        if self.key is None or self.values is None:
            return result
        # Sums by products: of narrow rows a CPU takes them several times slower.
        length = (features.square() @ features.new_ones(features.shape[1], 1)).sqrt_().clamp_min_(EPS)
        weights = (features / length).mm(self.key).exp_()  # of cosines, which no exponential carries out of range
        total = weights @ weights.new_ones(weights.shape[1], 1)
        return result.addcdiv_(weights @ self.values, total)


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
    """(O, M): what the filtered F^M adds to the result of ``leave``."""


class FoldedLevel(NamedTuple):
    """One scale of the decoder, from the doubled features to those of the next scale (or to the image)."""

    first: FoldedLayer
    affine: FoldedAffine | None
    second: FoldedLayer
    blend: FoldedBlend | None
    leave: Mix
    """To the four pixels of the next scale, (2 * 2 * C', C) with rows by (row, column, channel); last: to RGB."""


def can_fold(decoder: Decoder) -> bool:
    """Whether :func:`fold_level` knows every part of a decoder: mobile synthesis, separable fusions."""
    fusions = (*decoder.affine.values(), *decoder.blend.values())
    return all(isinstance(block, MobileBlock) for block in decoder.synthesis.blocks) and all(
        fusion.bounded if isinstance(fusion, AffineFusion) else fusion.depthwise is not None for fusion in fusions
    )


def _blocks(decoder: Decoder) -> Sequence[MobileBlock]:
    return cast("Sequence[MobileBlock]", decoder.synthesis.blocks)


def fold_start(decoder: Decoder, w: Tensor, dtype: torch.dtype) -> Mix:
    """From the 4 px features to the 8 px level as :attr:`FoldedLevel.leave` is, for a (1, D) float32 latent code."""
    block = _blocks(decoder)[0]
    channels = block.up_style.out_features
    return _mix(_doubling(torch.eye(channels, channels + 1, dtype=w.dtype, device=w.device), block, w), dtype)


def fold_level(decoder: Decoder, index: int, w: Tensor, dtype: torch.dtype) -> FoldedLevel:
    """Fold block ``index`` of a decoder that :func:`can_fold` accepts, for a (1, D) float32 latent code.

    The sums are taken in float32; ``dtype`` is what the result computes in.
    """
    blocks = _blocks(decoder)
    block, name = blocks[index], str(decoder.scales[index + 1])
    # What leaves the level is known as a matrix with the bias as its last column.
    channels = block.layer2.weight.shape[0]
    fusion = dict(decoder.blend.items()).get(name)
    matrix = torch.eye(channels, channels + 1, dtype=w.dtype, device=w.device)
    if fusion is not None:
        pointwise = fusion.pointwise
        matrix = torch.cat([pointwise.weight.flatten(1), cast("Tensor", pointwise.bias)[:, None]], dim=1).float()
    rows = _doubling(matrix, blocks[index + 1], w) if block.head is None else _head(matrix, block.head, w)
    blend = None
    if fusion is not None and fusion.depthwise is not None:
        widths = [rows.shape[1] - 1 - channels, channels]
        memory_depthwise, depthwise = torch.split(fusion.depthwise.weight.to(dtype), widths)
        memory_rows, rows = torch.split(rows, [widths[0], channels + 1], dim=1)
        blend = FoldedBlend(memory_depthwise, depthwise, memory_rows.to(dtype, copy=True))
    return FoldedLevel(
        _layer(block.layer1, w, dtype, modulate=False),  # its style is in the matrix of the level below
        _affine(decoder.affine[name], dtype) if name in decoder.affine else None,
        _layer(block.layer2, w, dtype, modulate=True),
        blend,
        _mix(rows, dtype),
    )


def fold_read(bank: MemoryBank | None, adjustment: Adjustment | None, channels: int) -> FoldedRead:
    """Fold a bank and the conditioning of its read, for one face, in float32."""
    if adjustment is None:
        gain, shift = (torch.full((channels,), value, dtype=torch.float32) for value in (1.0, 0.0))
    else:
        gain, shift = adjustment.gain.flatten(), adjustment.shift.flatten()
    if bank is None:
        return FoldedRead(None, None, gain, shift)
    values = bank.values() * gain
    return FoldedRead(bank.key().mT / bank.temperature, values, gain if bank.residual else None, shift)


def _mix(rows: Tensor, dtype: torch.dtype) -> Mix:
    """(O, I + 1) with the bias as last column."""
    return Mix(rows[:, :-1].to(dtype).contiguous(), rows[:, -1].to(dtype).contiguous())


def _style(layer: MobileLayer | MobileHead, w: Tensor) -> Tensor:
    """(I,) factors on the input channels of a layer."""
    style: Tensor = layer.style(w)[0]
    return style * layer.gain


def _layer(layer: MobileLayer, w: Tensor, dtype: torch.dtype, modulate: bool) -> FoldedLayer:
    weight = layer.weight.flatten(1)
    if modulate:
        weight = weight * _style(layer, w)
    mix = Mix(weight.to(dtype), layer.bias.to(dtype))
    return FoldedLayer(layer.depthwise.to(dtype), mix, layer.noise.movedim(1, 3).to(dtype))


def _affine(fusion: AffineFusion, dtype: torch.dtype) -> FoldedAffine:
    scale, shift = fusion.conv.weight.flatten(1).to(dtype).chunk(2)
    scale_bias, shift_bias = cast("Tensor", fusion.conv.bias).to(dtype).chunk(2)
    return FoldedAffine(Mix(2 * scale, 2 * scale_bias), Mix(shift, shift_bias))


def _doubling(matrix: Tensor, block: MobileBlock, w: Tensor) -> Tensor:
    """``matrix`` (C, I + 1), then the up-sampling of ``block`` and the modulation of its first layer."""
    factors = _bands(block.up_style(w)[0])[:, None] * _style(block.layer1, w)[:, None, None]  # (C / 4, 1, 4)
    pixels = torch.bmm(factors * factors.new_tensor(HAAR), _bands(matrix))
    return pixels.transpose(0, 1).flatten(0, 1)


def _bands(x: Tensor) -> Tensor:
    """The four bands of each channel side by side, (4C, ...) -> (C, 4, ...)."""
    low, high = x[: len(x) // 4], x[len(x) // 4 :]
    return torch.cat([low[:, None], high.view(-1, 3, *high.shape[1:])], dim=1)


def _head(matrix: Tensor, head: MobileHead, w: Tensor) -> Tensor:
    rows = (head.weight.flatten(1) * _style(head, w)) @ matrix
    rows[:, -1] += head.bias
    return rows
