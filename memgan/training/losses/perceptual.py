"""Compares the features of two pictures (Eq. 10, LPIPS)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from memgan.errors import ConfigError
from memgan.evaluation.networks.stlpips import unit_normalized
from memgan.training.losses.feature_networks import FeatureNetwork, check_images


class PerceptualLoss(nn.Module):
    """Weighted L1 distance of the features of a fixed network (Eq. 10); lower is more alike.

    Args:
        network: see :func:`memgan.training.losses.feature_networks.feature_network`.
        unit_normalize: divide the features at every position by their root mean square over channels first, so that
            every tap counts alike whatever its scale. Off: the literal Eq. 10, with the network's own weights.
        taps: how many of the network's taps count, from the input on; ``None``: all.
    """

    def __init__(self, network: FeatureNetwork, *, unit_normalize: bool = False, taps: int | None = None) -> None:
        super().__init__()
        self.network = network
        own = network.default_weights[:taps]
        self.weights = (1 / len(own),) * len(own) if unit_normalize else own
        self.unit_normalize = unit_normalize

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar float32 loss of two (B, 3, H, W) pictures in [-1, 1], sides >= 32 px; gradients reach ``restored``.

        The convolutions follow autocast; normalization and differences are float32.
        """
        return self.distance(*self.features(restored, target))

    def features(self, restored: Tensor, target: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """All taps of both pictures; gradients reach ``restored``."""
        check_images(restored, target)
        with torch.no_grad():
            wanted = self.network(target)
        return self.network(restored), wanted

    def distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Eq. 10 of taps; those behind the last weight do not count."""
        total = found[0].new_zeros((), dtype=torch.float32)
        for weight, tap, goal in zip(self.weights, found, wanted, strict=False):
            total = total + weight * (self._prepared(tap) - self._prepared(goal)).abs().mean()
        return total

    def calibrated_distance(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """The distance that the network's own channel weights were fitted for (LPIPS, Zhang et al., 2018); scalar.

        Squared differences of unit-normalized taps, weighted by channel as people's judgments of pairs want it.

        Raises:
            ConfigError: if the network has no such weights.
        """
        if self.network.calibration is None:
            raise ConfigError(f"{type(self.network).__name__} has no calibration; use the network stlpips_vgg.")
        total = found[0].new_zeros((), dtype=torch.float32)
        for weight, tap, goal in zip(self.network.calibration, found, wanted, strict=True):
            difference = (unit_normalized(tap.float()) - unit_normalized(goal.float())).square()
            total = total + (difference * weight.view(1, -1, 1, 1)).sum(1).mean()
        return total

    def _prepared(self, tap: Tensor) -> Tensor:
        tap = tap.float()
        return unit_normalized(tap, 1e-3) * tap.shape[1] ** 0.5 if self.unit_normalize else tap
