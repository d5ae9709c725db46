"""Estimates how far a restorer's pictures are from the unknown truth, by a small network that sees before and after."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from memgan.errors import StateMismatchError, WeightsError
from memgan.hub.reliability import ReliabilityCheckpoint
from memgan.network.reliability import ReliabilityNet
from memgan.restoration.inference import in_batches, to_batch
from memgan.runtime.device import to_device
from memgan.runtime.isolation import unfilled
from memgan.runtime.kept import Kept

_KEPT_DEVICES = 2


class FaceReliability(NamedTuple):
    """What is expected of one restored face; see :class:`memgan.restoration.result.RestoredFace`."""

    expected_error: np.ndarray
    """(S, S) float32 in levels of 255."""
    reliability: float
    expected_identity_distance: float


class ReliabilityEstimator:
    """Says of the pictures of a restorer what error to expect; threads may share it.

    The weights are read when the first estimate is asked for. The network computes in float32.

    Args:
        network: what makes the restorer's pictures, with ``config.image_size``.
        load: reads the weights of the estimator.
    """

    def __init__(self, network: nn.Module, load: Callable[[], ReliabilityCheckpoint]) -> None:
        self.network = network
        self._load = load
        self._networks: Kept[torch.device, ReliabilityNet] = Kept(_KEPT_DEVICES)

    @torch.inference_mode()
    def estimate(
        self,
        crops: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        fidelity: float,
        *,
        device: torch.device,
        max_batch: int = 8,
    ) -> list[FaceReliability]:
        """What to expect of each face.

        Args:
            crops: aligned faces, (S, S, 3) uint8 RGB each, as they went into the restorer's network.
            outputs: what came out of it, as many of the same shape.
            fidelity: setting of the dial at which it did, 0 to 1.
            device: where to compute.
            max_batch: faces per run; halved as often as needed when a CUDA device runs out of memory.

        Raises:
            WeightsError: if the weights are missing or damaged, are for other restorers or faces of another size, or
                give values that are not finite.
        """
        network = self._networks.get(device, lambda: self._made(device))

        def estimated(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[FaceReliability]:
            before, after = (to_batch(faces, device) for faces in zip(*pairs, strict=True))
            found = network(before, after, torch.full((len(pairs),), fidelity, device=device))
            if not all(torch.isfinite(numbers).all() for numbers in found):
                raise WeightsError(
                    "The estimates of the error have values that are not finite: the weights that make them are "
                    "damaged. Fetch them again, or leave reliability out."
                )
            # The mean of a block is taken for its value in the middle, and what lies between is interpolated.
            maps = F.interpolate(found.expected_error[:, None], before.shape[2:], mode="bilinear", align_corners=False)
            columns = maps[:, 0].cpu().numpy(), (1 - found.risk).tolist(), found.identity_distance.tolist()
            return [FaceReliability(*one) for one in zip(*columns, strict=True)]

        return in_batches(estimated, list(zip(crops, outputs, strict=True)), device, max_batch)

    def _made(self, device: torch.device) -> ReliabilityNet:
        checkpoint = self._load()
        size, needed = checkpoint.config.image_size, getattr(self.network, "config").image_size  # noqa: B009
        if size != needed:
            raise StateMismatchError(
                f"{checkpoint.config.name} estimates the errors of faces of {size} px, and these have {needed}."
            )
        with torch.inference_mode(False), unfilled():
            network = checkpoint.build()
        to_device(network, device)
        return network
