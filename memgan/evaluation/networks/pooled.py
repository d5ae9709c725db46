"""Pools the last map of a classification network over whole pictures of any size, for distances of sets."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.evaluation.networks.efficientnet import EfficientNetLite
from memgan.evaluation.networks.stlpips import STLPIPS
from memgan.runtime.checks import check_pictures

INPUT_PX = 224  # side of the pictures that these networks are trained on
# To EfficientNet-lite0's root mean square, 0.4 on photographs: kernel distances depend on it.
_ALEX_SCALE = 100.0


class PooledFeatures(nn.Module):
    """Averages the last tap of a frozen network over space, times ``scale``; in float32, autocast off."""

    def __init__(self, network: EfficientNetLite | STLPIPS, scale: float = 1.0) -> None:
        super().__init__()
        self.network = network
        self.scale = scale

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [-1, 1], resized to 224 px (bicubic, anti-aliased) -> (B, D) float32, non-negative."""
        check_pictures(image)
        with torch.autocast(image.device.type, enabled=False):
            x = image.float()
            if x.shape[-2:] != (INPUT_PX, INPUT_PX):
                x = F.interpolate(x, (INPUT_PX, INPUT_PX), mode="bicubic", antialias=True, align_corners=False)
            return self.scale * self.network.taps(x)[-1].mean((2, 3))


def enlite0_features() -> PooledFeatures:
    """(B, 3, H, W) -> (B, 1280) in [0, 6]; see :class:`EfficientNetLite` for the errors."""
    return PooledFeatures(EfficientNetLite(0))


def alex_features() -> PooledFeatures:
    """(B, 3, H, W) -> (B, 256), mostly below 4; see :class:`STLPIPS` for the errors."""
    return PooledFeatures(STLPIPS("alex"), _ALEX_SCALE)
