"""Conditions the fusions on how degraded the whole image is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memgan.network.config import MemGANConfig

HIDDEN = 128  # width between the statistics and the factors
_FLOOR = 1e-6
_PREFIX = "conditioning."


class Adjustment(NamedTuple):
    """Scale and shift of the features F^M of one scale, (B, C_r, 1, 1) float32 each."""

    gain: Tensor
    shift: Tensor

    def of(self, face: int) -> "Adjustment":
        """That of one face."""
        return Adjustment(self.gain[face : face + 1], self.shift[face : face + 1])

    def __call__(self, memory: Tensor) -> Tensor:
        """(B, C_r, H, W), all of the image or a part, -> the same, in its dtype."""
        return torch.addcmul(self.shift.to(memory.dtype), memory, self.gain.to(memory.dtype))


class DegradationConditioning(nn.Module):
    """Scales and shifts F^M, channel by channel, by the spread of all channels over the whole image.

    Two linear layers turn the spread at all fused scales into a gain and a shift for every channel (FiLM, Perez et al.,
    AAAI 2018; from statistics of the features as in squeeze-and-excitation, Hu et al., CVPR 2018). It starts with gain
    1 and shift 0. Not part of the paper.
    """

    def __init__(self, config: MemGANConfig) -> None:
        super().__init__()
        self.widths = {scale: config.encoder_width(scale) for scale in config.fused_scales}
        total = sum(self.widths.values())
        self.enter = nn.Linear(total, HIDDEN)
        self.leave = nn.Linear(HIDDEN, 2 * total)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, features: Mapping[int, Tensor]) -> dict[int, Adjustment]:
        """F^E of whole images by scale, (B, C_r, r, r), -> what to do to F^M, by fused scale."""
        with torch.autocast(features[next(iter(self.widths))].device.type, enabled=False):
            return self.adjustments([_variance(features[scale]) for scale in self.widths])

    def adjustments(self, variances: Sequence[Tensor]) -> dict[int, Adjustment]:
        """Variances of all channels, (B, C_r) float32 for each fused scale, -> what to do to F^M, by fused scale."""
        spread = torch.cat([*variances], 1).add(_FLOOR).log() / 2  # of a ten times fainter channel as clear a sign
        hidden = F.leaky_relu(self.enter(spread.to(self.enter.weight.dtype)), 0.2)
        gains, shifts = self.leave(hidden)[..., None, None].chunk(2, dim=1)
        widths = list(self.widths.values())
        pairs = zip(gains.split(widths, 1), shifts.split(widths, 1), strict=True)
        return {scale: Adjustment(1 + gain, shift) for scale, (gain, shift) in zip(self.widths, pairs, strict=True)}


def with_conditioning(state: Mapping[str, Tensor], template: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors and, if conditioning is not among them, that of ``template`` with a last layer of zeros."""
    if any(name.startswith(_PREFIX) for name in state):
        return dict(state)
    added = {name: tensor for name, tensor in template.items() if name.startswith(_PREFIX)}
    last = f"{_PREFIX}leave."
    return {**state, **{name: tensor * 0 if name.startswith(last) else tensor for name, tensor in added.items()}}


def _variance(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C) float32: variance over the positions."""
    if torch.is_grad_enabled() and features.requires_grad:
        variance: Tensor = _Variance.apply(features)
        return variance
    if torch.onnx.is_in_onnx_export():
        # Programs that run the graph may round every result to 8 bits: of two squares that are nearly the same, nothing
        # true is left in the difference.
        features = features - features.mean((2, 3), keepdim=True)
    return _moments(features)[1]  # plain operators: an exported graph has no others


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """(B, C, H, W) -> mean and variance over the positions, (B, C) float32 each."""
    rows = features.permute(0, 2, 3, 1).flatten(1, 2).float()  # as they lie with the channels innermost
    # A product with a row of equal weights: of narrow rows a CPU takes sums eight times slower.
    weights = rows.new_full((1, 1, rows.shape[1]), 1 / rows.shape[1])
    mean = (weights @ rows)[:, 0]
    return mean, ((weights @ rows.square())[:, 0] - mean.square()).clamp_min(0)


class _Variance(torch.autograd.Function):
    """The variance, whose gradient is one product and one sum per number instead of a dozen passes over them."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        mean, variance = _moments(features)
        ctx.save_for_backward(features, mean, variance)
        return variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        features, mean, variance = ctx.saved_tensors
        slope = gradient * (variance > 0) * (2 / features[0, 0].numel())
        offset = -slope * mean
        slope, offset = slope[:, :, None, None], offset[:, :, None, None]
        # In float32: rounded, the two would no longer cancel over the positions.
        return torch.addcmul(offset, features, slope).to(features.dtype)
