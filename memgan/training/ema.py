"""Averages the generator's weights over the steps; the average is what ships."""

import copy

import torch
from torch import Tensor

from memgan.network.model import MemGAN


class AveragedWeights:
    """Exponential moving average of a generator's parameters; its buffers are copied, as the memory averages itself.

    Args:
        generator: the network to follow.
        decay: largest decay; ``(1 + n) / (10 + n)`` after n updates if that is lower.
    """

    def __init__(self, generator: MemGAN, decay: float) -> None:
        self.network = copy.deepcopy(generator).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, generator: MemGAN) -> None:
        """Follow one step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(mine, [parameter.detach() for parameter in generator.parameters()], 1 - decay)
        for buffer, source in zip(self.network.buffers(), generator.buffers(), strict=True):
            buffer.copy_(source)
