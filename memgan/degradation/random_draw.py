"""Draws random numbers that are the same on every device."""

import math

import torch


class RandomDraw:
    """Draws from a random number generator on the CPU, so that they do not depend on the device of the pictures."""

    def __init__(self, random: torch.Generator) -> None:
        self._random = random

    def uniform(self, low: float, high: float) -> float:
        """A number from ``low`` to ``high``."""
        return low + (high - low) * float(torch.rand((), generator=self._random, dtype=torch.float64))

    def log_uniform(self, low: float, high: float) -> float:
        """A number from ``low`` to ``high``, both above 0; equal ratios are equally likely."""
        return low * math.pow(high / low, self.uniform(0, 1))

    def bernoulli(self, probability: float) -> bool:
        """True with ``probability``."""
        return self.uniform(0, 1) < probability

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self._random))
