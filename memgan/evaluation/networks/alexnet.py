"""Extracts features for FD-Alex and KD-Alex by the AlexNet of ST-LPIPS.

Its pooled last map has 256 features, so that a Frechet distance needs 256 pictures, not 1,280 as on EfficientNet-lite0.
It too was trained on ImageNet, but its architecture differs from the EfficientNet that memgan's own weights are trained
with: a gain that only networks related to the training's see does not show in it.
"""

from pathlib import Path

from torch import Tensor, nn

from memgan.evaluation.networks.pooled import pooled_features
from memgan.evaluation.networks.stlpips import STLPIPS

NUM_FEATURES = 256
_SCALE = 100.0
"""Scales features to EfficientNet-lite0's root mean square, 0.4 on photographs: kernel distances depend on it."""


class PooledAlexNet(nn.Module):
    """The trunk of :class:`memgan.evaluation.networks.stlpips.STLPIPS` up to its pooled last tap; frozen.

    Args:
        weights: see there, also for the errors.
    """

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.metric = STLPIPS("alex", weights)

    def forward(self, image: Tensor) -> Tensor:
        """Pooled features of whole pictures, resized to 224 px (bicubic, anti-aliased) as for EfficientNet-lite0.

        Args:
            image: (B, 3, H, W) RGB in [-1, 1], any size.

        Returns:
            (B, 256) float32, non-negative, mostly below 4.

        Raises:
            ShapeError: if the shape is not of that form.
        """
        return _SCALE * pooled_features(image, lambda x: self.metric.taps(x)[-1])
