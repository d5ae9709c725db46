"""Compares deep features: those of a network that knows objects, and the prior's own where it drew the face."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from memgan.evaluation.networks.efficientnet import EfficientNetLite
from memgan.evaluation.networks.pooled import INPUT_PX
from memgan.training.window import Area

VARIANT = 2
"""EfficientNet-lite2: another network than the one of FD-ENLite0, so that what is trained is not what is reported."""
CONTEXT = 1 / 16
"""Least surroundings of the area, as a share of the picture's side."""


class DeepFeatureLoss(nn.Module):
    """Eq. 10 with deep features of whole objects: squared distance as a share of the truth's variance, over the taps.

    The (frozen) network sees the area, with the truth around it, at the size at which a face fills its field of view.
    """

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.network = network

    def forward(self, restored: Tensor, area: Area, clean: Tensor) -> Tensor:
        """Distance of clean faces and the same faces with an area restored; see :meth:`taps` and :meth:`distance`."""
        return self.distance(*self.taps(restored, area, clean))

    def taps(self, restored: Tensor, area: Area, clean: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Taps of the network in the area and a little around it, restored and clean; the clean ones without gradient.

        ``restored`` is (B, 3, h, w) in [-1, 1], which gradients reach, and lies at ``area`` of ``clean`` (B, 3, S, S).
        """
        size = clean.shape[-1]
        around = area.enlarged(round(size * CONTEXT), size)
        truth, mixed = around.crop(clean).float(), around.crop(area.pasted(clean, restored))
        sides = [max(32, round(side * INPUT_PX / size)) for side in truth.shape[-2:]]
        with torch.autocast(truth.device.type, enabled=False):
            found = self.network.taps(_resized(mixed, sides))
            with torch.no_grad():
                wanted = self.network.taps(_resized(truth, sides))
        return found, wanted

    @staticmethod
    def distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
        """Mean over the taps; scalar float32, 0 for equal ones."""
        return torch.stack([_missed_share(tap, goal) for tap, goal in zip(found, wanted, strict=True)]).mean()


def prior_distance(
    decoded: dict[int, Tensor], reference: dict[int, Tensor], latent_pred: Tensor, latent_true: Tensor
) -> Tensor:
    """Squared distance of the decoded features and the latent code to those that the prior drew the face from.

    Args:
        decoded: F^D by scale, (B, C_r, r, r).
        reference: the prior's F^GAN2 by scale; its scales are compared.
        latent_pred, latent_true: (B, D) latent codes of the degraded and of the clean faces.

    Returns:
        scalar float32; every scale, and the code, counts as the share of the variance that is missed, averaged.
    """
    terms = [_missed_share(decoded[scale], features) for scale, features in reference.items()]
    return torch.stack([*terms, _missed_share(latent_pred, latent_true)]).mean()


def _missed_share(found: Tensor, true: Tensor) -> Tensor:
    """Squared distance as a share of the variance of ``true``; scalar float32."""
    true = true.float()
    return (found.float() - true).square().mean() / true.var().clamp_min(1e-8)


def _resized(image: Tensor, sides: list[int]) -> Tensor:
    return F.interpolate(image, sides, mode="bilinear", antialias=True, align_corners=False)
