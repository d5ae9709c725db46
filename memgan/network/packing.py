"""Runs the encoder with weights that lie as oneDNN reads them, and with the activations inside the convolutions.

torch turns a convolution's weights into oneDNN's order at every call, which on a CPU takes as long as the smaller
layers themselves. The operators used here are those that torch.compile calls. Where a build of torch lacks them, or
oneDNN lacks the number type on this machine, torch's ordinary convolutions do.
"""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memgan.network.encoder import Encoder, EncoderLevel, ResidualBlock

SLOPE = 0.2
"""Of the encoder's leaky ReLU."""
_SAMPLES = 256
"""Of each tensor, by which changes are seen that torch does not count."""
_reorder: Callable[..., Tensor] | None = getattr(torch._C._nn, "mkldnn_reorder_conv2d_weight", None)
OPERATOR: Callable[..., Tensor] | None = _reorder and getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
"""oneDNN's convolution with an activation behind it; ``None``: this build of torch has none."""


class PackedEncoder:
    """An :class:`Encoder` in a number type, for maps with their channels innermost; weights changed later are not seen.

    Args:
        encoder: whose weights are copied.
        dtype: of weights, features and sums that are handed on.
    """

    def __init__(self, encoder: Encoder, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._made_of, self._samples = _identity(encoder), _samples(encoder)
        self._scales = encoder.scales
        befores = (encoder.scales[0], *encoder.scales[:-1])
        self._levels = [
            _PackedLevel(cast("EncoderLevel", level), before, scale, dtype)
            for level, before, scale in zip(encoder.levels, befores, encoder.scales, strict=True)
        ]

    def fits(self, encoder: Encoder, dtype: torch.dtype) -> bool:
        """Whether this is the packed form of an encoder as it is now."""
        is_same = self.dtype == dtype and self._made_of == _identity(encoder)
        return is_same and torch.equal(self._samples, _samples(encoder))

    def __call__(self, image: Tensor) -> dict[int, Tensor]:
        """As :meth:`Encoder.forward`, in :attr:`dtype`."""
        features = {}
        x = image.to(self.dtype).contiguous(memory_format=torch.channels_last)
        for scale, level in zip(self._scales, self._levels, strict=True):
            x = features[scale] = level(x)
        return features


class _PackedLevel:
    def __init__(self, level: EncoderLevel, before: int, scale: int, dtype: torch.dtype) -> None:
        self._enter = _PackedConv(level.enter, before, dtype, active=True)
        self._blocks = [
            (_PackedConv(block.first, scale, dtype, active=True), _PackedConv(block.second, scale, dtype, active=False))
            for block in cast("Iterable[ResidualBlock]", level.blocks)
        ]

    def __call__(self, x: Tensor) -> Tensor:
        x = self._enter(x)
        for first, second in self._blocks:
            x = second(first(x)).add_(x)
        return x


class _PackedConv:
    """A 3x3 convolution and, if ``active``, the activation behind it; ``side`` is that of the maps it is packed for."""

    def __init__(self, conv: nn.Conv2d, side: int, dtype: torch.dtype, *, active: bool) -> None:
        self._stride, self._active = list(conv.stride), active
        self._weight = conv.weight.detach().to(dtype)
        self._bias = cast("Tensor", conv.bias).detach().to(dtype)  # no parameter in torch.func.functional_call
        self._operator = OPERATOR
        if self._operator is not None and _reorder is not None:
            size = [1, self._weight.shape[1], side, side]
            try:
                self._weight = _reorder(self._weight.to_mkldnn(), [1, 1], self._stride, [1, 1], 1, size)
            except RuntimeError:  # not in this number type, or not on this processor
                self._operator = None

    def __call__(self, x: Tensor) -> Tensor:
        if self._operator is None:
            y = F.conv2d(x, self._weight, self._bias, stride=self._stride, padding=1)
            return F.leaky_relu_(y, SLOPE) if self._active else y
        activation = ("leaky_relu", [SLOPE]) if self._active else ("none", [])
        return self._operator(x, self._weight, self._bias, [1, 1], self._stride, [1, 1], 1, *activation, "")


def _identity(encoder: Encoder) -> list[tuple[int, int]]:
    """What changes when weights are exchanged or written to."""
    return [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in encoder.parameters()]


def _samples(encoder: Encoder) -> Tensor:
    """Numbers from all over the weights: torch counts no changes by ``.data``, by numpy or of inference tensors."""
    tensors = [parameter.detach().flatten() for parameter in encoder.parameters()]
    # Odd steps: an even one may be that of a kernel or of the channels.
    return torch.cat([numbers[:: (len(numbers) // _SAMPLES) | 1] for numbers in tensors])
